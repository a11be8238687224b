"""scalar.py: accuracy, type and vector code of the elementary functions."""

import platform
import re

import numba
import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import FASTMATH
from numba_ss.kernels.core import scalar
from tests.conftest import JIT, needs_jit


@numba.njit
def _exp_all(x, out):
    for i in range(x.size):
        out[i] = scalar.exp(x[i])


@numba.njit
def _log_all(x, out):
    for i in range(x.size):
        out[i] = scalar.log(x[i])


@numba.njit
def _log1p_all(x, out):
    for i in range(x.size):
        out[i] = scalar.log1p(x[i])


@numba.njit
def _exp_near_all(x, out):
    for i in range(x.size):
        out[i] = scalar.exp_near(x[i])


@numba.njit
def _expm1_all(x, out):
    for i in range(x.size):
        out[i] = scalar.expm1(x[i])


@numba.njit(fastmath=set(FASTMATH), error_model="numpy")
def _inverse_roots(x, out):
    for i in range(x.size):
        out[i] = scalar.inverse_root(x[i])


def _exps(x):
    out = np.empty_like(x)
    _exp_all(x, out)
    return out


def test_exp_is_within_two_ulp():
    x = np.linspace(-86.9, 0, 200_001 if JIT else 301).astype(np.float32)
    ref = reference.exp(x)
    assert np.max(np.abs(_exps(x) - ref) / np.spacing(ref.astype(np.float32))) < 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_at_the_edges(dtype):
    x = np.array([-np.inf, -1000, -88, 0, np.nan], dtype)
    got = _exps(x)
    if dtype == np.float32:
        assert got[:3].tolist() == [0, 0, 0]
    assert got[0] == 0
    assert got[3] == 1
    assert np.isnan(got[4])


def test_log_is_within_two_ulp():
    """From the smallest numbers there are to the largest; near 1 it is small, and as exact."""
    many = 200_001 if JIT else 301
    near = 1 + np.linspace(-0.5, 1, many)
    x = np.concatenate([np.logspace(-44.8, 38.5, many), near]).astype(np.float32)
    got = np.empty_like(x)
    _log_all(x, got)
    ref = reference.log(x)
    assert np.max(np.abs(got - ref) / np.spacing(np.abs(ref).astype(np.float32))) < 2
    assert got[x == 1].tolist() == [0] * np.count_nonzero(x == 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_at_the_edges(dtype):
    x = np.array([0, -0.0, np.inf, np.nan, -1, -np.inf, 1], dtype)
    got = np.empty_like(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        _log_all(x, got)
    np.testing.assert_array_equal(got, reference.log(x))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_log1p_is_relatively_accurate(dtype, tolerance):
    x = np.concatenate([[0], np.logspace(-30, 0, 2001)]).astype(dtype)
    got = np.empty_like(x)
    _log1p_all(x, got)
    np.testing.assert_allclose(got, reference.log1p(x), rtol=tolerance)


def test_exp_near_is_near():
    """Well within what the draws that stand on it allow: 1e-14 of the result."""
    x = np.linspace(0, 40, 200_001 if JIT else 301)
    got = np.empty_like(x)
    _exp_near_all(x, got)
    np.testing.assert_allclose(got, reference.exp_near(x), rtol=2e-15)


def test_expm1_is_within_an_ulp():
    """Its very bits are those of the golden expected counts."""
    x = np.concatenate([-np.logspace(-38, 1.4, 50_001 if JIT else 301), [-0.0, -87, -1e30]])
    x = x.astype(np.float32)
    got = np.empty_like(x)
    _expm1_all(x, got)
    ref = reference.expm1(x)
    assert np.max(np.abs(got - ref) / np.spacing(np.abs(ref).astype(np.float32))) < 1
    assert got[-3:].tolist() == [0, -1, -1]
    _expm1_all(np.array([-np.inf, np.nan], np.float32), got)
    assert got[0] == -1
    assert np.isnan(got[1])


def test_inverse_root_is_correctly_rounded_twice():
    """A root and a quotient, no estimate: at most half an ulp from each of the two."""
    x = np.logspace(-44, 38, 20_001 if JIT else 301).astype(np.float32)
    got = np.empty_like(x)
    _inverse_roots(x, got)
    ref = reference.inverse_root(x)
    assert np.max(np.abs(got - ref) / np.spacing(ref.astype(np.float32))) < 1.5
    np.testing.assert_array_equal(got, np.float32(1) / np.sqrt(x))
    part = np.empty_like(x)
    for start in (1, 3, 8):  # wherever a loop begins, the same bits
        _inverse_roots(x[start:], part[start:])
        np.testing.assert_array_equal(part[start:], got[start:])


def test_inverse_root_at_the_edges():
    x = np.array([0, -0.0, -1, np.inf, np.nan, 1e-45], np.float32)
    got = np.empty_like(x)
    _inverse_roots(x, got)
    np.testing.assert_array_equal(got[:5], 0)
    np.testing.assert_allclose(got, reference.inverse_root(x), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_if_infinite(dtype):
    """The largest number is kept; the others are no logits."""
    for value in (0, -3.5, np.finfo(dtype).max, np.inf, -np.inf, np.nan):
        got = scalar.nan_if_infinite(dtype(value))
        np.testing.assert_array_equal(got, reference.nan_if_infinite(dtype(value)))


@needs_jit
def test_float32_stays_float32():
    for kernel in (
        scalar.inverse_root, scalar._exp_single, scalar._log_single, scalar._log1p_single
    ):
        kernel(np.float32(0.5))
        signature = next(s for s in kernel.nopython_signatures if "float32" in str(s.args))
        assert signature.return_type == numba.float32, kernel


@needs_jit
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize("function", [_exp_all, _log_all], ids=["exp", "log"])
def test_loops_are_vector_code(function):
    x = np.ones(64, np.float32)
    # Anew, for what comes from the cache cannot be inspected.
    kernel = numba.njit(fastmath=set(FASTMATH), error_model="numpy")(function.py_func)
    kernel(x, x.copy())
    assert re.search(r"(mul|fmadd\d+|add)ps", kernel.inspect_asm(kernel.signatures[0]))
