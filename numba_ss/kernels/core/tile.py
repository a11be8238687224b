"""Matrix products of blocks at the speed of the machine, and the transposition they need.

Loops that Numba compiles reach a third of the machine's rate on a matrix product, because LLVM
does not keep a block of the result in registers. Here the innermost block, `ROWS` rows by up to
`VECTORS` vectors of `LANES` numbers, is written out as LLVM vector code, and its sums stay in
registers while the loop runs over the depth. The code runs on any CPU that LLVM knows; the shape
of the block follows the registers of the host.

With Numba's compiler switched off, the same functions are written in NumPy.
"""

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_ss.kernels._jit import kernel


def _register_tile():
    """Return lanes, rows and vectors such that the sums fill the registers."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
        features = {}
    if features.get("avx512f") and config.ENABLE_AVX:
        return 16, 8, 3
    if features.get("avx2") and config.ENABLE_AVX:
        return 8, 4, 3
    if features.get("neon"):
        return 4, 8, 3
    return 4, 4, 3


LANES, ROWS, VECTORS = _register_tile()

CACHE_LINE = 64  # bytes
LINE = CACHE_LINE // 4  # float32 numbers of a cache line

# So many rows of the right-hand side are finished before the next ones are read: a panel of
# this depth and VECTORS vectors fits into the first-level cache.
_DEPTH = 128


# Functions that emit code run inside Numba's compiler, where coverage is not measured.


def _compiled_tile(vectors):  # pragma: no cover
    """Emit C (+)= A B for ROWS rows and `vectors` vectors of C."""

    @intrinsic
    def tile(
        context, a, a_start, a_row, a_depth, b, b_start, b_depth, b_vector, c, c_start, c_row,
        depth, accumulate,
    ):
        signature = types.void(
            a, *[types.int64] * 3, b, *[types.int64] * 3, c, *[types.int64] * 3, types.boolean
        )

        def codegen(context, builder, signature, arguments):
            number = context.get_value_type(a.dtype)
            vector = ir.VectorType(number, LANES)
            pointer = vector.as_pointer()
            align = a.dtype.bitwidth // 8
            suffix = f"v{LANES}f{a.dtype.bitwidth}"
            # "fmuladd" fuses only if the CPU can; "fma" may call a slow library function.
            muladd = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.{suffix}"
            )

            def data(position):
                array = cgutils.create_struct_proxy(signature.args[position])
                return array(context, builder, arguments[position]).data

            def integer(value):
                return ir.Constant(ir.IntType(64), value)

            def address(base, start, stride, count):
                return builder.gep(base, [builder.add(start, builder.mul(stride, integer(count)))])

            a0, a_row, a_depth = arguments[1:4]
            b0, b_depth, b_vector = arguments[5:8]
            c0, c_row, depth, accumulate = arguments[9:]
            cells = [(r, v) for r in range(ROWS) for v in range(vectors)]
            left = [address(data(0), a0, a_row, r) for r in range(ROWS)]
            right = [address(data(4), b0, b_vector, v) for v in range(vectors)]
            out = {}
            for r, v in cells:
                row = address(data(8), c0, c_row, r)
                out[r, v] = builder.bitcast(builder.gep(row, [integer(v * LANES)]), pointer)

            with builder.if_else(accumulate) as (then, otherwise):
                with then:
                    loaded = {cell: builder.load(out[cell], align=align) for cell in cells}
                    then_block = builder.block
                with otherwise:
                    zero = ir.Constant(vector, [0.0] * LANES)
                    otherwise_block = builder.block
            start = {cell: builder.phi(vector) for cell in cells}
            for cell in cells:
                start[cell].add_incoming(loaded[cell], then_block)
                start[cell].add_incoming(zero, otherwise_block)

            before = builder.block
            loop = builder.append_basic_block("depth")
            after = builder.append_basic_block("done")
            builder.cbranch(builder.icmp_signed(">", depth, integer(0)), loop, after)

            builder.position_at_end(loop)
            k = builder.phi(ir.IntType(64))
            sums = {cell: builder.phi(vector) for cell in cells}
            a_offset, b_offset = builder.mul(k, a_depth), builder.mul(k, b_depth)
            columns = [
                builder.load(builder.bitcast(builder.gep(p, [b_offset]), pointer), align=align)
                for p in right
            ]
            undefined = ir.Constant(vector, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            added = {}
            for r in range(ROWS):
                scalar = builder.load(builder.gep(left[r], [a_offset]))
                lane = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
                row = builder.shuffle_vector(lane, undefined, first_lane)
                for v in range(vectors):
                    added[r, v] = builder.call(muladd, [row, columns[v], sums[r, v]])
            following = builder.add(k, integer(1))
            k.add_incoming(integer(0), before)
            k.add_incoming(following, loop)
            for cell in cells:
                sums[cell].add_incoming(start[cell], before)
                sums[cell].add_incoming(added[cell], loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

            builder.position_at_end(after)
            results = {cell: builder.phi(vector) for cell in cells}
            for cell in cells:
                results[cell].add_incoming(start[cell], before)
                results[cell].add_incoming(added[cell], loop)
            for cell in cells:
                builder.store(results[cell], out[cell], align=align)
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _python_tile(vectors):
    def tile(
        a, a_start, a_row, a_depth, b, b_start, b_depth, b_vector, c, c_start, c_row, depth,
        accumulate,
    ):
        def view(array, start, shape, strides):
            strides = [stride * array.itemsize for stride in strides]
            return np.lib.stride_tricks.as_strided(array.reshape(-1)[start:], shape, strides)

        left = view(a, a_start, (ROWS, depth), (a_row, a_depth))
        right = view(b, b_start, (depth, vectors, LANES), (b_depth, b_vector, 1))
        out = view(c, c_start, (ROWS, vectors, LANES), (c_row, LANES, 1))
        product = np.tensordot(left, right, 1)
        out[...] = out + product if accumulate else product

    return tile


@intrinsic
def _compiled_transpose(  # pragma: no cover
    context, source, source_start, source_row, out, out_start, out_row
):
    signature = types.void(source, types.int64, types.int64, out, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        vector = ir.VectorType(context.get_value_type(source.dtype), LANES)
        align = source.dtype.bitwidth // 8

        def rows(position):
            array = cgutils.create_struct_proxy(signature.args[position])
            base = array(context, builder, arguments[position]).data
            start, stride = arguments[position + 1 : position + 3]
            for r in range(LANES):
                offset = builder.mul(stride, ir.Constant(ir.IntType(64), r))
                row = builder.gep(base, [builder.add(start, offset)])
                yield builder.bitcast(row, vector.as_pointer())

        values = [builder.load(row, align=align) for row in rows(0)]
        # log2(LANES) perfect shuffles of the rows make a transposition.
        half = LANES // 2
        pairs = [(lane, LANES + lane) for lane in range(LANES)]
        mask_type = ir.VectorType(ir.IntType(32), LANES)
        low = ir.Constant(mask_type, [i for pair in pairs[:half] for i in pair])
        high = ir.Constant(mask_type, [i for pair in pairs[half:] for i in pair])
        for _ in range(LANES.bit_length() - 1):
            values = [
                builder.shuffle_vector(values[r], values[r + half], mask)
                for r in range(half)
                for mask in (low, high)
            ]
        for value, row in zip(values, rows(3), strict=True):
            builder.store(value, row, align=align)
        return context.get_dummy_value()

    return signature, codegen


def _python_transpose(source, source_start, source_row, out, out_start, out_row):
    for i in range(LANES):
        column = source.reshape(-1)[source_start + i :: source_row][:LANES]
        out.reshape(-1)[out_start + i * out_row :][:LANES] = column


def emit_prefetch(builder, start, size):  # pragma: no cover
    """Emit prefetches for the cache lines of `size` bytes from `start` on."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    prefetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
        "llvm.prefetch.p0",
    )
    start = builder.bitcast(start, byte)
    # read = 0, keep in all caches = 3, data = 1
    hints = [ir.Constant(flag, value) for value in (0, 3, 1)]
    bounds = ir.Constant(size.type, 0), size, ir.Constant(size.type, CACHE_LINE)
    with cgutils.for_range_slice(builder, *bounds) as (offset, _):
        builder.call(prefetch, [builder.gep(start, [offset]), *hints])


@intrinsic
def _compiled_prefetch(context, array, row):  # pragma: no cover
    signature = types.void(array, types.int64)

    def codegen(context, builder, signature, arguments):
        proxy = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, proxy.strides)[0]
        start = builder.bitcast(proxy.data, ir.IntType(8).as_pointer())
        start = builder.gep(start, [builder.mul(arguments[1], stride)])
        emit_prefetch(builder, start, stride)
        return context.get_dummy_value()

    return signature, codegen


def _python_prefetch(array, row):
    pass


if config.DISABLE_JIT:
    _tile_1, _tile_2, _tile_3 = (_python_tile(vectors) for vectors in (1, 2, 3))
    _transpose, prefetch_row = _python_transpose, _python_prefetch
else:
    _tile_1, _tile_2, _tile_3 = (_compiled_tile(vectors) for vectors in (1, 2, 3))
    _transpose, prefetch_row = _compiled_transpose, _compiled_prefetch


@kernel
def multiply(
    a, a_start, a_row, a_depth, b, b_start, b_depth, b_vector, c, c_start, c_row,
    num_rows, num_vectors, depth, accumulate,
):
    """Compute C = A B, or C += A B, on blocks of larger arrays.

    Offsets and strides count numbers from each array's first: A[i, k] stands at
    a_start + i * a_row + k * a_depth, vector v of row k of B at
    b_start + k * b_depth + v * b_vector, row i of C at c_start + i * c_row.
    `num_rows` is a multiple of ROWS; each vector holds LANES numbers, and all of
    them are read and written. The sums run over k in order. `accumulate` is 0 or 1: a
    literal False would compile the function once more.
    """
    for k in range(0, max(depth, 1), _DEPTH):
        span = min(_DEPTH, depth - k)
        add = accumulate != 0 or k > 0
        v = 0
        while v < num_vectors:
            # Four vectors are taken as two and two: a single one would leave the adders idle.
            left = num_vectors - v
            width = 2 if left in (2, 4) else min(left, 3)
            b_at = b_start + k * b_depth + v * b_vector
            for i in range(0, num_rows, ROWS):
                a_at = a_start + i * a_row + k * a_depth
                c_at = c_start + i * c_row + v * LANES
                if width == 3:
                    _tile_3(
                        a, a_at, a_row, a_depth, b, b_at, b_depth, b_vector, c, c_at, c_row,
                        span, add,
                    )
                elif width == 2:
                    _tile_2(
                        a, a_at, a_row, a_depth, b, b_at, b_depth, b_vector, c, c_at, c_row,
                        span, add,
                    )
                else:
                    _tile_1(
                        a, a_at, a_row, a_depth, b, b_at, b_depth, b_vector, c, c_at, c_row,
                        span, add,
                    )
            v += width


@kernel
def transpose(source, source_start, source_row, num_rows, num_columns, out, out_start, out_row):
    """Write the transpose of a block; both counts are rounded up to multiples of LANES."""
    for i in range(0, num_rows, LANES):
        for d in range(0, num_columns, LANES):
            _transpose(
                source, source_start + i * source_row + d, source_row,
                out, out_start + d * out_row + i, out_row,
            )
