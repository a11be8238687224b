"""rows.py: single rows, by pointers, against NumPy."""

import platform
import re

import numba
import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import FASTMATH, kernel
from numba_ss.kernels.core import rows
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.rows import pointer
from tests.conftest import needs_jit


@kernel
def dot_at(x, i, y, j, size):
    return rows.dot(pointer(x, i), pointer(y, j), size)


@kernel
def axpy_at(a, x, i, size, y, j):
    rows.axpy(a, pointer(x, i), size, pointer(y, j))


@kernel
def subtract_at(a, x, i, size, y, j):
    rows.subtract_scaled(a, pointer(x, i), size, pointer(y, j))


@kernel
def subtract_product_at(a, b, x, i, size, y, j):
    rows.subtract_product(a, b, pointer(x, i), size, pointer(y, j))


@kernel
def scale_at(x, i, size, y, j):
    rows.scale_row(pointer(x, i), size, pointer(y, j))


@kernel
def gather_at(x, i, size, y, j):
    return rows.gather_row(pointer(x, i), size, pointer(y, j))


@kernel
def add_scaled_at(a, x, i, num_vectors, y, j):
    return rows.add_scaled(a, pointer(x, i), num_vectors, pointer(y, j))


@kernel
def vector_dot_at(x, i, y, j, num_vectors):
    return rows.vector_dot(pointer(x, i), pointer(y, j), num_vectors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_vectors", [1, 2, 7])
def test_rows_of_whole_vectors(dtype, num_vectors, rng):
    """add_scaled, which also returns the squared length, and vector_dot."""
    size = num_vectors * LANES
    x, y = rng.standard_normal((2, size + 20)).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    expected = y.copy()
    expected[11 : 11 + size] += dtype(0.3) * x[3 : 3 + size]
    square = add_scaled_at(dtype(0.3), x, 3, num_vectors, y, 11)
    np.testing.assert_allclose(y, expected, atol=tolerance)
    part = y[11 : 11 + size]
    assert square == pytest.approx(reference.dot(part, part), rel=tolerance)
    product = vector_dot_at(x, 3, y, 11, num_vectors)
    assert product == pytest.approx(reference.dot(x[3 : 3 + size], part), abs=10 * tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 8, 16, 27, 129])
def test_row_operations(dtype, size, rng):
    x, y = rng.standard_normal((2, size + 20)).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    part, other = x[3 : 3 + size], y[11 : 11 + size].copy()
    assert dot_at(x, 3, y, 11, size) == pytest.approx(reference.dot(part, other), abs=tolerance)
    before = y.copy()
    axpy_at(dtype(0.5), x, 3, size, y, 11)
    np.testing.assert_allclose(y[11 : 11 + size], reference.axpy(0.5, part, other), atol=tolerance)
    changed = np.flatnonzero(y != before)
    assert changed.min() >= 11
    assert changed.max() < 11 + size
    a, b, other = dtype(0.3), dtype(-0.7), y[11 : 11 + size].copy()
    subtract_at(a, x, 3, size, y, 11)
    other = reference.subtract_scaled(a, part, other)
    np.testing.assert_array_equal(y[11 : 11 + size], other)
    subtract_product_at(a, b, x, 3, size, y, 11)
    other = reference.subtract_product(a, b, part, other)
    np.testing.assert_array_equal(y[11 : 11 + size], other)
    scale_at(x, 3, size, y, 11)
    np.testing.assert_array_equal(y[11 : 11 + size], reference.scale_row(part, other))
    np.testing.assert_array_equal(np.delete(y, np.s_[11 : 11 + size]), np.delete(before, np.s_[11 : 11 + size]))
    assert gather_at(x, 3, size, y, 11) == reference.gather_row(part) == 0
    np.testing.assert_array_equal(y[11 : 11 + size], part)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed(bad):
    x, y = np.arange(40, dtype=np.float32), np.empty(40, np.float32)
    x[33] = bad
    assert np.isnan(gather_at(x, 20, 20, y, 0))
    assert gather_at(x, 0, 33, y, 0) == 0
    assert np.isnan(reference.gather_row(x))
    assert not np.isfinite(dot_at(x, 20, np.ones(40, np.float32), 20, 20))


@needs_jit
def test_rows_that_do_not_lie_together_are_refused():
    x = np.zeros((8, 8), np.float32)
    for array in (x.T, x[::2], x[:, 1:]):
        with pytest.raises(numba.TypingError, match="expected a contiguous array"):
            dot_at(array, 0, x, 0, 8)


@needs_jit
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize(("function", "count"), [(dot_at, 2), (axpy_at, 2), (gather_at, 2)])
def test_loops_are_vector_code(function, count):
    x = np.ones(64, np.float32)
    arguments = {
        dot_at: (x, 0, x, 0, 64), axpy_at: (np.float32(1), x, 0, 60, x.copy(), 0),
        gather_at: (x, 0, 60, x.copy(), 0),
    }[function]
    # Anew, for what comes from the cache cannot be inspected.
    fresh = numba.njit(fastmath=set(FASTMATH), error_model="numpy")(function.py_func)
    fresh(*arguments)
    assert re.search(r"(mul|fmadd\d+|add)ps", fresh.inspect_asm(fresh.signatures[0]))
