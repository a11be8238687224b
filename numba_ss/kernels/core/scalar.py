"""Elementary functions that LLVM turns into vector code; a library call for each number is slow."""

import math

import numpy as np
from numpy import float32, float64, int32, int64

from numba_ss.kernels._jit import by_precision, exact_kernel, kernel, ordered_kernel

_LOG2_E = float32(1.4426950408889634)
# ln 2 in two parts: the product of the first with a small integer is exact.
_LN2_HIGH = float32(0.693359375)
_LN2_LOW = float32(-2.12194440e-4)


# 1.5 * 2**23. If a number of moderate size is added, the sum is rounded, and its low bits hold the
# number as an integer.
_ROUND = float32(12582912.0)


# Not `kernel`: reordering would merge the parts of ln 2 and undo the rounding.
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


_SMALLEST, _LIFTED, _LIFTED_BY = float32(1.1754944e-38), float32(8388608.0), float32(23)
_ROOT_HALF_BITS, _NUM_FRACTION_BITS = int32(0x3F3504F3), int32(23)


@ordered_kernel
def _log_single(x):
    # x = 2**n m with m in [sqrt(1/2), sqrt(2)): log x = n ln 2 + log m.
    small = x < _SMALLEST
    lifted = x * _LIFTED if small else x
    bits = float32(lifted).view(np.int32)
    n = (bits - _ROOT_HALF_BITS) >> _NUM_FRACTION_BITS
    f = int32(bits - (n << _NUM_FRACTION_BITS)).view(np.float32) - float32(1)
    power = float32(n) - (_LIFTED_BY if small else float32(0))
    p = float32(7.0376836292e-2)
    p = p * f + float32(-1.1514610310e-1)
    p = p * f + float32(1.1676998740e-1)
    p = p * f + float32(-1.2420140846e-1)
    p = p * f + float32(1.4249322787e-1)
    p = p * f + float32(-1.6668057665e-1)
    p = p * f + float32(2.0000714765e-1)
    p = p * f + float32(-2.4999993993e-1)
    p = p * f + float32(3.3333331174e-1)
    square = f * f
    tail = (f * square) * p + power * _LN2_LOW
    result = (f + (tail - float32(0.5) * square)) + power * _LN2_HIGH
    result = result if x < float32(np.inf) else x
    result = float32(-np.inf) if x == float32(0) else result
    return float32(np.nan) if x < float32(0) else result


@ordered_kernel
def _log_double(x):
    return float64(np.log(x))


exp = by_precision(_exp_single, _exp_double)
exp.__doc__ = "Return e**x for x <= 0; float32 gives 0 below -87."

log = by_precision(_log_single, _log_double)
log.__doc__ = "Return the natural logarithm of x."

log1p = by_precision(_log1p_single, _log1p_double)
log1p.__doc__ = "Return log(1 + x) for x in [0, 1]."


_NEAR_LOG2_E = 1.4426950408889634
_NEAR_LN2_HIGH, _NEAR_LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_NEAR_ROUND = 6755399441055744.0  # 1.5 * 2**52, see _ROUND


@exact_kernel
def exp_near(x):
    """Return e**x for a float64 x in [0, 40] to a few units in the last place."""
    shifted = x * _NEAR_LOG2_E + _NEAR_ROUND
    n = shifted - _NEAR_ROUND
    r = (x - n * _NEAR_LN2_HIGH) - n * _NEAR_LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = (p * r + 1.0) * r + 1.0
    bits = float64(shifted).view(np.int64) << int64(52)
    return p * int64(bits + int64(0x3FF0000000000000)).view(np.float64)


_EXPM1_LN2_HIGH, _EXPM1_LN2_LOW = float32(6.9313812256e-01), float32(9.0580006145e-06)
_EXPM1_LOG2_E = float32(1.4426950216)


@exact_kernel
def expm1(x):
    """Return e**x - 1 for a float32 x <= 0, with the bits of TensorFlow's C library.

    Let k ln 2 be the multiple of ln 2 nearest to x, and r the remainder. A rational function of
    r approximates e**r - 1; the steps and their constants are those of fdlibm's expm1f (Sun
    Microsystems, 1993). As vector code it takes a tenth of the library's time.
    """
    far = x < float32(-1.5 * 0.6931472)
    k = int32(_EXPM1_LOG2_E * x - float32(0.5)) if far else int32(-1)
    k = int32(0) if x >= float32(-0.5 * 0.6931472) else k
    t = float32(k)
    high = x - t * _EXPM1_LN2_HIGH
    low = t * _EXPM1_LN2_LOW
    r = high - low
    lost = (high - r) - low
    half = float32(0.5) * r
    square = r * half
    p = float32(4.0082177293e-06) + square * float32(-2.0109921195e-07)
    p = float32(-7.9365076090e-05) + square * p
    p = float32(1.5873016091e-03) + square * p
    p = float32(-3.3333335072e-02) + square * p
    p = float32(1) + square * p
    t = float32(3) - p * half
    e = square * ((p - t) / (float32(6) - r * t))
    near = r - (r * e - square)
    e = (r * (e - lost) - lost) - square
    power = int32((k + int32(127)) << int32(23)).view(np.float32)
    below = float32(0.5) * (r - e) - float32(0.5)
    beyond = (float32(1) - (e - r)) * power - float32(1)
    result = near if k == int32(0) else (below if k == int32(-1) else beyond)
    result = x if x > float32(-2.9802322e-08) else result
    return float32(-1) if x < float32(-18.8) else result


# Exact: otherwise LLVM would use the processor's estimate of 1 / sqrt(x) in vector code, but not
# in the rest of a loop. The result would then depend on where the loop begins.
@exact_kernel
def inverse_root(x):
    """Return 1 / sqrt(x), and 0 for 0."""
    return float32(1) / float32(math.sqrt(x)) if x > float32(0) else float32(0)


@kernel
def nan_if_infinite(logit):
    """Return a logit, or NaN if it is infinite, because -inf means an absent column."""
    return logit if abs(logit) < np.inf else logit * float32(np.nan)
