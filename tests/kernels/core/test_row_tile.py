"""row_tile.py: products of scattered rows, at every shape they meet."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products, multiply_rows
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.tile import Matrix


@kernel
def rows_of(table, offsets, count, first):
    return Rows(pointer(table, first), pointer(offsets, 0), count)


@kernel
def multiply(a, a_rows, b, b_rows, c, c_start, c_stride, num_vectors):
    left, right = rows_of(a, a_rows, len(a_rows), 0), rows_of(b, b_rows, len(b_rows), 0)
    multiply_rows(left, right, Matrix(pointer(c, c_start), c_stride, 1), num_vectors)


@kernel
def add(c, c_rows, g, g_row, g_column, b, b_rows, depth, first, num_vectors):
    add_products(
        rows_of(c, c_rows, len(c_rows), first), Matrix(pointer(g, 0), g_row, g_column),
        rows_of(b, b_rows, depth, first), num_vectors,
    )


def offsets(rng, count, rows, stride):
    """Return where `count` different rows of a flat table start."""
    return rng.permutation(rows)[:count] * stride


@pytest.mark.parametrize("num_a", [0, 2, 10])
@pytest.mark.parametrize("num_b", [1, 2, 3, 4, 5, 6, 7, 13])
@pytest.mark.parametrize("num_vectors", [1, 7])
def test_multiply_rows(num_a, num_b, num_vectors, rng):
    stride = num_vectors * LANES + 3
    a, b = rng.standard_normal((2, 20 * stride)).astype(np.float32)
    a_rows, b_rows = (offsets(rng, count, 19, stride) for count in (num_a, num_b))
    c = rng.standard_normal((num_b + 1, num_a + 5)).astype(np.float32)
    expected = c.astype(float)
    span = np.arange(num_vectors * LANES)
    products = reference.multiply_rows(a[a_rows[:, None] + span], b[b_rows[:, None] + span])
    expected[:num_b, 2 : 2 + num_a] = products
    multiply(a, a_rows, b, b_rows, c, 2, c.shape[1], num_vectors)
    np.testing.assert_allclose(c, expected, atol=1e-4)


@pytest.mark.parametrize("num_c", [1, 2, 5])
@pytest.mark.parametrize("depth", [0, 1, 6])
@pytest.mark.parametrize("num_vectors", [*range(1, 16), 29])
@pytest.mark.parametrize("by_row", [False, True])
def test_add_products(num_c, depth, num_vectors, by_row, rng):
    stride = num_vectors * LANES
    c, b = rng.standard_normal((2, 20 * stride)).astype(np.float32)
    g = rng.standard_normal(200).astype(np.float32)
    c_rows, b_rows = offsets(rng, num_c, 20, stride), offsets(rng, max(depth, 1), 20, stride)
    g_row, g_column = (9, 1) if by_row else (1, 9)
    rows = np.arange(num_c)
    factors = g[4 + rows[:, None] * g_row + np.arange(depth) * g_column]
    span = np.arange(stride)
    expected = c.astype(float)
    expected[c_rows[rows, None] + span] = reference.add_products(
        c[c_rows[rows, None] + span], factors, b[b_rows[:depth, None] + span]
    )
    whole = c.copy()
    add(whole, c_rows, g[4:], g_row, g_column, b, b_rows, depth, 0, num_vectors)
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    # In two parts, as two threads would: the same bits.
    for cut in range(num_vectors + 1):
        parts = c.copy()
        for first, count in ((0, cut), (cut, num_vectors - cut)):
            add(
                parts, c_rows, g[4:], g_row, g_column, b, b_rows, depth, first * LANES, count
            )
        np.testing.assert_array_equal(parts, whole)
