"""Block products of rows that are scattered over a table.

A window of text needs the inner products of, say, ten rows of one table with six rows of
another, and then adds weighted sums of each side to the other. Such blocks are too small to be
copied together first. So here rows are given by their offsets, and the sums stay in
registers, as in `tile`.

The functions are called for a few rows at a time, so they take pointers (see `rows`). Tables
are float32, offsets int64; a row is `num_vectors` vectors of LANES numbers. With Numba's
compiler switched off, the same functions are written in NumPy.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.tile import LANES, emit_prefetch

# Sums that are held in registers: 2 rows of 6 vectors, or one row of 14. Together with their
# operands they fit into 16 registers.
_MOST, _MOST_OF_ONE = 6, 14

# Functions that emit code run inside Numba's compiler, where coverage is not measured.


class _Emitter:  # pragma: no cover
    """Writes LLVM code on vectors of LANES float32."""

    def __init__(self, builder):
        self.builder = builder
        self.vector = ir.VectorType(ir.FloatType(), LANES)
        self.zero = ir.Constant(self.vector, [0.0] * LANES)
        self.muladd = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fmuladd.v{LANES}f32",
        )

    def integer(self, value):
        return ir.Constant(ir.IntType(64), value)

    def plus(self, x, y):
        return self.builder.add(x, y)

    def item(self, base, index):
        return self.builder.load(self.builder.gep(base, [index]))

    def address(self, base, offset):
        place = self.builder.gep(base, [offset])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, base, offset):
        return self.builder.load(self.address(base, offset), align=4)

    def store(self, value, base, offset):
        self.builder.store(value, self.address(base, offset), align=4)

    def lanes(self, x, y, mask):
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), mask)
        return self.builder.shuffle_vector(x, y, mask)

    def splat(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        return self.lanes(one, undefined, [0] * LANES)

    def sums(self, vectors):
        """Return one vector whose lane i is the sum of vector i; at most LANES vectors."""
        vectors = vectors + [self.zero] * (LANES - len(vectors))
        step = 1
        while len(vectors) > 1:  # each round adds pairs, and halves the number of vectors
            low = [
                lane // (2 * step) * 2 * step + lane % step + LANES * (lane // step % 2)
                for lane in range(LANES)
            ]
            high = [lane + step for lane in low]
            vectors = [
                self.builder.fadd(self.lanes(x, y, low), self.lanes(x, y, high))
                for x, y in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            step *= 2
        return vectors[0]

    def loop(self, count, cells, start, body):
        """Run body(k, sums) -> sums for k = 0 .. count - 1, at least once."""
        builder = self.builder
        before = builder.block
        loop = builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(ir.IntType(64))
        sums = {cell: builder.phi(self.vector) for cell in cells}
        added = body(k, sums)
        following = builder.add(k, self.integer(1))
        k.add_incoming(self.integer(0), before)
        k.add_incoming(following, loop)
        for cell in cells:
            sums[cell].add_incoming(start[cell], before)
            sums[cell].add_incoming(added[cell], loop)
        again = builder.icmp_signed("<", following, count)
        self._keep_rolled(builder.cbranch(again, loop, after))
        builder.position_at_end(after)
        return added

    def switch(self, width, most, body):
        """Emit body(width) for each width from 1 to `most`, and a jump to the right one."""
        after = self.builder.append_basic_block("after")
        switch = self.builder.switch(width, after)
        for case in range(1, most + 1):
            block = self.builder.append_basic_block(f"width_{case}")
            switch.add_case(self.integer(case), block)
            self.builder.position_at_end(block)
            body(case)
            self.builder.branch(after)
        self.builder.position_at_end(after)

    def _keep_rolled(self, branch):
        # If LLVM unrolls the loop, it moves all loads to the front and spills the sums.
        module = self.builder.module
        flag = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        loop_id = ir.values.MDValue(module, [flag], name=str(len(module.metadata)))
        loop_id.operands = (loop_id, flag)  # the reference to itself makes it unique
        branch.set_metadata("llvm.loop", loop_id)


@intrinsic
def _compiled_prefetch(context, table, row, num_vectors):  # pragma: no cover
    signature = types.void(table, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        table, row, num_vectors = arguments
        size = builder.mul(num_vectors, ir.Constant(num_vectors.type, 4 * LANES))
        emit_prefetch(builder, builder.gep(table, [row]), size)
        return context.get_dummy_value()

    return signature, codegen


def _python_prefetch(table, row, num_vectors):
    pass


@intrinsic
def _compiled_dots(  # pragma: no cover
    context, a, a_rows, m, b, b_rows, n, c, c_stride, num_vectors, width
):
    """Emit the inner products of two rows of A with `width` rows of B."""
    number = types.int64
    signature = types.void(a, a_rows, number, b, b_rows, number, c, number, number, number)

    def codegen(context, builder, signature, arguments):
        emit = _Emitter(builder)
        a, a_rows, m, b, b_rows, n, c, c_stride, num_vectors, width = arguments

        def write(width):
            left = [
                builder.gep(a, [emit.item(a_rows, emit.plus(m, emit.integer(r)))]) for r in (0, 1)
            ]
            right = [
                builder.gep(b, [emit.item(b_rows, emit.plus(n, emit.integer(j)))])
                for j in range(width)
            ]
            cells = [(j, r) for j in range(width) for r in (0, 1)]

            def body(k, sums):
                offset = builder.mul(k, emit.integer(LANES))
                rows = [emit.load(pointer, offset) for pointer in left]
                added = {}
                for j in range(width):
                    column = emit.load(right[j], offset)
                    for r in (0, 1):
                        added[j, r] = builder.call(emit.muladd, [rows[r], column, sums[j, r]])
                return added

            sums = emit.loop(num_vectors, cells, dict.fromkeys(cells, emit.zero), body)
            for first in range(0, len(cells), LANES):
                group = cells[first : first + LANES]
                totals = emit.sums([sums[cell] for cell in group])
                for lane, (j, r) in enumerate(group):
                    row = builder.mul(emit.plus(n, emit.integer(j)), c_stride)
                    place = emit.plus(row, emit.plus(m, emit.integer(r)))
                    total = builder.extract_element(totals, ir.Constant(ir.IntType(32), lane))
                    builder.store(total, builder.gep(c, [place]))

        emit.switch(width, _MOST, write)
        return context.get_dummy_value()

    return signature, codegen


def _compiled_products(height, most):  # pragma: no cover
    """Emit C += G B for `height` rows and some vectors, `most` or fewer, of C."""

    @intrinsic
    def products(context, c, c_rows, r, g, g_row, g_column, b, b_rows, depth, column, width):
        number = types.int64
        signature = types.void(
            c, c_rows, number, g, number, number, b, b_rows, number, number, number
        )

        def codegen(context, builder, signature, arguments):
            emit = _Emitter(builder)
            c, c_rows, r, g, g_row, g_column, b, b_rows, depth, column, width = arguments
            rows = [emit.plus(r, emit.integer(i)) for i in range(height)]
            out = [emit.plus(column, emit.item(c_rows, row)) for row in rows]
            factors = [builder.mul(row, g_row) for row in rows]

            def write(width):
                spans = [emit.integer(v * LANES) for v in range(width)]
                cells = [(i, v) for i in range(height) for v in range(width)]
                start = {(i, v): emit.load(c, emit.plus(out[i], spans[v])) for i, v in cells}

                def body(k, sums):
                    source = emit.plus(column, emit.item(b_rows, k))
                    step = builder.mul(k, g_column)
                    scaled = [
                        emit.splat(emit.item(g, emit.plus(factor, step))) for factor in factors
                    ]
                    added = {}
                    for v in range(width):
                        vector = emit.load(b, emit.plus(source, spans[v]))
                        for i in range(height):
                            added[i, v] = builder.call(
                                emit.muladd, [scaled[i], vector, sums[i, v]]
                            )
                    return added

                sums = emit.loop(depth, cells, start, body)
                for i, v in cells:
                    emit.store(sums[i, v], c, emit.plus(out[i], spans[v]))

            emit.switch(width, most, write)
            return context.get_dummy_value()

        return signature, codegen

    return products


def _python_dots(a, a_rows, m, b, b_rows, n, c, c_stride, num_vectors, width):
    span = np.arange(num_vectors * LANES)
    left = a[a_rows[m : m + 2, None] + span]
    right = b[b_rows[n : n + width, None] + span]
    place = np.arange(n, n + width)[:, None] * c_stride + np.arange(m, m + 2)
    c[place] = right @ left.T


def _python_products(height, most):
    def products(c, c_rows, r, g, g_row, g_column, b, b_rows, depth, column, width):
        span = column + np.arange(width * LANES)
        rows = np.arange(r, r + height)
        for k in range(depth):
            factors = g[rows * g_row + k * g_column]
            c[c_rows[rows, None] + span] += factors[:, None] * b[b_rows[k] + span]

    return products


# prefetch(table, row, num_vectors): load a row into the cache before it is needed.
prefetch = _python_prefetch if config.DISABLE_JIT else _compiled_prefetch
_multiply_two = _python_dots if config.DISABLE_JIT else _compiled_dots
_make_products = _python_products if config.DISABLE_JIT else _compiled_products
_add_to_one, _add_to_two = _make_products(1, _MOST_OF_ONE), _make_products(2, _MOST)


@kernel
def _share(left, most):
    """Return the size of the next part if `left` is cut into equal parts of at most `most`."""
    parts = (left + most - 1) // most
    return (left + parts - 1) // parts


@kernel
def multiply_rows(a, a_rows, num_a, b, b_rows, num_b, c, c_stride, num_vectors):
    """Set C[n, m] to the inner product of row m of A and row n of B.

    Row m of A starts at a[a_rows[m]], row n of B at b[b_rows[n]]; C[n, m] stands at
    n * c_stride + m. `num_a` is even.
    """
    n = 0
    while n < num_b:
        width = _share(num_b - n, _MOST)
        for m in range(0, num_a, 2):
            _multiply_two(a, a_rows, m, b, b_rows, n, c, c_stride, num_vectors, width)
        n += width


@kernel
def add_products(
    c, c_rows, num_c, g, g_row, g_column, b, b_rows, depth, column, num_vectors
):
    """Compute C += G B: add sum over k < depth of G[r, k] B[k] to each row r of C.

    Row r of C starts at c[c_rows[r]], row k of B at b[b_rows[k]], and G[r, k] stands at
    r * g_row + k * g_column. Only the `num_vectors` vectors from `column` on are used. A row
    of C may occur twice only if zeros are added to it. The sums run over k in order, so the
    result has the same bits however the columns are cut.
    """
    # Two rows of C share each load of B; with one row of B there is little to share.
    pairs = num_c // 2 if depth > 1 else 0
    left, at = num_vectors, column
    while left > 0 and pairs > 0:
        width = _share(left, _MOST)
        for r in range(0, 2 * pairs, 2):
            _add_to_two(c, c_rows, r, g, g_row, g_column, b, b_rows, depth, at, width)
        at += width * LANES
        left -= width
    left, at = num_vectors, column
    while left > 0 and depth > 0 and 2 * pairs < num_c:
        width = _share(left, _MOST_OF_ONE)
        for r in range(2 * pairs, num_c):
            _add_to_one(c, c_rows, r, g, g_row, g_column, b, b_rows, depth, at, width)
        at += width * LANES
        left -= width
