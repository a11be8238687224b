"""Elementary functions and row operations that LLVM turns into vector code."""

import math

import numpy as np
from numpy import float32, float64, int32

from numba_ss.kernels._jit import by_precision, exact_kernel, kernel, ordered_kernel

_LOG2_E = float32(1.4426950408889634)
# ln 2 in two parts: the product of the first with a small integer is exact.
_LN2_HIGH = float32(0.693359375)
_LN2_LOW = float32(-2.12194440e-4)


# 1.5 * 2**23: a number of moderate size, added to it, is rounded to an integer that
# stands in the low bits.
_ROUND = float32(12582912.0)


# Not `kernel`: reassociation would merge the parts of ln 2 and undo the rounding.
@ordered_kernel
def _exp_single(x):
    shifted = x * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = float32(1.9875691500e-4)
    p = p * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    p = (p * r) * r + r + float32(1)
    bits = float32(shifted).view(np.int32) << int32(23)
    power = int32(bits + int32(0x3F800000)).view(np.float32)
    return float32(0) if x < float32(-87) else p * power


@ordered_kernel
def _exp_double(x):
    return float64(math.exp(x))


@ordered_kernel
def _log1p_single(x):
    # log(1 + x) = 2 atanh(s) with s = x / (2 + x) in [0, 1/3]: no cancellation.
    s = x / (x + float32(2))
    t = s * s
    p = float32(0.0955)
    p = p * t + float32(0.0903)
    p = p * t + float32(0.111111)
    p = p * t + float32(0.14285715)
    p = p * t + float32(0.2)
    p = p * t + float32(0.33333334)
    return float32(2) * (s + s * t * p)


@ordered_kernel
def _log1p_double(x):
    return float64(math.log1p(x))


exp = by_precision(_exp_single, _exp_double)
exp.__doc__ = "Return e**x for x <= 0; float32 gives 0 below -87."

log1p = by_precision(_log1p_single, _log1p_double)
log1p.__doc__ = "Return log(1 + x) for x in [0, 1]."


# Exact: else a loop over numbers would take an estimate for whole vectors of them, and the
# result would depend on where the loop begins.
@exact_kernel
def inverse_root(x):
    """Return 1 / sqrt(x), and 0 for 0."""
    return float32(1) / float32(math.sqrt(x)) if x > float32(0) else float32(0)


# Exact, and eight sums side by side: a compiler that may reorder a sum does so in one way
# when it compiles a caller alone and in another with a callee from the cache.
@exact_kernel
def ordered_dot(x, x_at, y, y_at, size):
    """Return the inner product of `size` numbers of two flat arrays, in one fixed order."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = float32(0)
    whole = size // 8 * 8
    for d in range(0, whole, 8):
        i, j = x_at + d, y_at + d
        s0 += x[i] * y[j]
        s1 += x[i + 1] * y[j + 1]
        s2 += x[i + 2] * y[j + 2]
        s3 += x[i + 3] * y[j + 3]
        s4 += x[i + 4] * y[j + 4]
        s5 += x[i + 5] * y[j + 5]
        s6 += x[i + 6] * y[j + 6]
        s7 += x[i + 7] * y[j + 7]
    for d in range(whole, size):
        s0 += x[x_at + d] * y[y_at + d]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))


@kernel
def dot(x, y):
    """Return the inner product of two rows."""
    total = x[0] * y[0]
    for d in range(1, x.shape[0]):
        total += x[d] * y[d]
    return total


@kernel
def axpy(a, x, y):
    """Add a * x to the row y, in place."""
    for d in range(x.shape[0]):
        y[d] += a * x[d]


@kernel
def gather_row(source, out):
    """Copy a row; return 0, or NaN where it holds an infinity or a NaN."""
    probe = source[0] * float32(0)
    for d in range(source.shape[0]):
        value = source[d]
        out[d] = value
        probe += value * float32(0)
    return probe
