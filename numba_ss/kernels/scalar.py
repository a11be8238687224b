"""Elementary functions that LLVM turns into vector code."""

import math

import numpy as np
from numpy import float32, float64, int32

from numba_ss.kernels._jit import by_precision, exact_kernel, ordered_kernel

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
