"""Operations on single rows of numbers: inner products, scaled sums, copies.

Rows are passed as pointers. An array argument consists of seven numbers and a reference count; to
pass it costs as much as the work on a short row. With Numba's compiler switched off, a pointer is
a flat array.
"""

from numba import types
from numba.core.errors import TypingError
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.llvm import CACHE_LINE, LANES, intrinsic


def _pointer_type(array, start):  # pragma: no cover
    if isinstance(array, types.Array) and array.layout != "C":
        raise TypingError(f"pointer: expected a contiguous array, got {array}")
    return types.CPointer(array.dtype)


def _python_pointer(array, start):
    return array.reshape(-1)[start:]


@intrinsic(_python_pointer, result=_pointer_type)
def pointer(emit, array, start):
    """Return the address of element `start` of a contiguous array, or after another address."""
    return array + start


def _python_prefetch(row, size):
    pass


@intrinsic(_python_prefetch)
def prefetch(emit, row, size):
    """Load a row into the cache that will soon be read or written; it is not empty."""
    first, num_bytes = emit.bytes_at(row, size)
    num_lines = (num_bytes + (CACHE_LINE - 1)) // CACHE_LINE

    def ask(line, values):
        emit.prefetch(first + line * CACHE_LINE)
        return []

    emit.loop(num_lines, [], ask)


def _python_vector_dot(x, y, num_vectors):
    return x[: num_vectors * LANES] @ y[: num_vectors * LANES]


@intrinsic(_python_vector_dot, result=lambda x, y, num_vectors: x.dtype)
def vector_dot(emit, x, y, num_vectors):
    """Return the inner product of at least one whole vector.

    Lane l sums x[k * LANES + l] * y[k * LANES + l] over k; then the lanes are added up.
    """

    def add(k, sums):
        at = k * LANES
        return [emit.multiply_add(emit.load(x + at), emit.load(y + at), sums[0])]

    return emit.sum_lanes(emit.loop(num_vectors, [emit.zeros(x)], add)[0])


def _python_add_scaled(a, x, num_vectors, y):
    part = y[: num_vectors * LANES]
    part += a * x[: num_vectors * LANES]
    return part @ part


@intrinsic(_python_add_scaled, result=lambda a, x, num_vectors, y: y.dtype)
def add_scaled(emit, a, x, num_vectors, y):
    """Add a * x to the row y, at least one whole vector; return the squared length of y."""
    scale = emit.splat(a)

    def add(k, sums):
        at = k * LANES
        new = emit.multiply_add(scale, emit.load(x + at), emit.load(y + at))
        emit.store(new, y + at)
        return [emit.multiply_add(new, new, sums[0])]

    return emit.sum_lanes(emit.loop(num_vectors, [emit.zeros(y)], add)[0])


# Exact, with vector code that is written by hand. If the compiler were free to reorder the sum, the
# order would depend on whether the caller was compiled together with this function or was loaded
# from the cache.
@exact_kernel
def dot(x, y, size):
    """Return the inner product of two rows, in an order that depends on `size` alone."""
    whole = size // LANES
    total = vector_dot(x, y, whole) if whole > 0 else x[0] * y[0]
    for d in range(max(whole * LANES, 1), size):
        total += x[d] * y[d]
    return total


@kernel
def axpy(a, x, size, y):
    """Add a * x to the row y, in place."""
    for d in range(size):
        y[d] += a * x[d]


# Exact: the result of a step is defined as that of subtracting the gradients one by one.
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
