"""Whether numbers are finite, and their squares, without a look at each of them."""

from numpy import float32

from numba_ss.kernels._jit import kernel


@kernel
def all_finite(values):
    """Tell whether no number of a one-dimensional array is NaN or infinite."""
    probe = float32(0)
    for k in range(values.shape[0]):
        probe += values[k] * float32(0)  # NaN, if it is not finite
    return probe == float32(0)


@kernel
def sum_of_squares(values):
    """Return the sum of the squares of a one-dimensional array."""
    total = float32(0)
    for k in range(values.shape[0]):
        total += values[k] * values[k]
    return total
