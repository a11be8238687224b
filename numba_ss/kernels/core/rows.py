"""Operations on single rows of numbers: inner products, scaled sums, copies.

Rows are passed as `pointer`: an array argument is seven numbers and a reference count, which
costs as much as the work on a short row. With Numba's compiler switched off, a pointer is a
flat array.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.tile import LANES, emit_prefetch

# Functions that emit code run inside Numba's compiler, where coverage is not measured.


@intrinsic
def _compiled_pointer(context, array, start):  # pragma: no cover
    if array.layout != "C":
        raise TypingError(f"pointer: expected a contiguous array, got {array}")
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context, builder, signature, arguments):
        proxy = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        return builder.gep(proxy.data, [arguments[1]])

    return signature, codegen


def _python_pointer(array, start):
    return array.reshape(-1)[start:]


@intrinsic
def _compiled_dot(context, x, y, num_vectors):  # pragma: no cover
    """Emit the inner product of at least one whole vector, with a sum for each lane."""
    signature = x.dtype(x, y, types.int64)

    def codegen(context, builder, signature, arguments):
        number = context.get_value_type(signature.return_type)
        vector = ir.VectorType(number, LANES)
        bits = signature.return_type.bitwidth
        muladd = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{LANES}f{bits}"
        )
        index = ir.IntType(64)

        def load(base, k):
            place = builder.gep(base, [builder.mul(k, ir.Constant(index, LANES))])
            return builder.load(builder.bitcast(place, vector.as_pointer()), align=bits // 8)

        before = builder.block
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        k, total = builder.phi(index), builder.phi(vector)
        added = builder.call(muladd, [load(arguments[0], k), load(arguments[1], k), total])
        following = builder.add(k, ir.Constant(index, 1))
        k.add_incoming(ir.Constant(index, 0), before)
        k.add_incoming(following, loop)
        total.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
        total.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), loop, after)
        builder.position_at_end(after)
        half = LANES // 2
        while half:  # each round adds the upper half of the lanes to the lower half
            mask = [lane + half if lane < half else lane for lane in range(LANES)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), mask)
            added = builder.fadd(added, builder.shuffle_vector(added, added, mask))
            half //= 2
        return builder.extract_element(added, ir.Constant(ir.IntType(32), 0))

    return signature, codegen


def _python_dot(x, y, num_vectors):
    return x[: num_vectors * LANES] @ y[: num_vectors * LANES]


@intrinsic
def _compiled_prefetch(context, row, size):  # pragma: no cover
    signature = types.void(row, types.int64)

    def codegen(context, builder, signature, arguments):
        width = ir.Constant(ir.IntType(64), signature.args[0].dtype.bitwidth // 8)
        emit_prefetch(builder, arguments[0], builder.mul(arguments[1], width))
        return context.get_dummy_value()

    return signature, codegen


def _python_prefetch(row, size):
    pass


# pointer(array, start): the address of element `start` of a contiguous array.
pointer = _python_pointer if config.DISABLE_JIT else _compiled_pointer
_vector_dot = _python_dot if config.DISABLE_JIT else _compiled_dot
# prefetch(row, size): load a row into the cache that will soon be read or written.
prefetch = _python_prefetch if config.DISABLE_JIT else _compiled_prefetch


# Exact, with the vector code written out. If the compiler were free to reorder the sum, the order
# would depend on whether the caller was compiled together with this function or loads it from
# the cache.
@exact_kernel
def dot(x, y, size):
    """Return the inner product of two rows, in an order that depends on `size` alone."""
    whole = size // LANES
    total = _vector_dot(x, y, whole) if whole > 0 else x[0] * y[0]
    for d in range(max(whole * LANES, 1), size):
        total += x[d] * y[d]
    return total


@kernel
def axpy(a, x, size, y):
    """Add a * x to the row y, in place."""
    for d in range(size):
        y[d] += a * x[d]


# Exact: it is part of the contract that gradients are subtracted one by one, bit for bit.
@exact_kernel
def subtract_scaled(a, x, size, y):
    """Subtract a * x from the row y, in place."""
    for d in range(size):
        y[d] -= a * x[d]


@exact_kernel
def subtract_product(a, b, x, size, y):
    """Subtract a * (b * x) from the row y, in place."""
    for d in range(size):
        y[d] -= a * (b * x[d])


@exact_kernel
def scale_row(factors, size, y):
    """Multiply the numbers of the row y by the factors, in place."""
    for d in range(size):
        y[d] *= factors[d]


@kernel
def gather_row(source, size, out):
    """Copy a row; return 0, or NaN if the row holds an infinity or a NaN."""
    probe = source[0] * float32(0)
    for d in range(size):
        value = source[d]
        out[d] = value
        probe += value * float32(0)
    return probe
