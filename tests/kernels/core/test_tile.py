"""tile.py: the block product and the transposition, at every shape they meet."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core import tile
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.tile import Matrix


@kernel
def matrix(array, start, row, column):
    return Matrix(pointer(array, start), row, column)


@kernel
def multiply(a, b, c, num_rows, num_vectors, depth, accumulate):
    """Multiply matrices that are given as (array, start, row, column)."""
    tile.multiply(
        matrix(*a), matrix(*b), matrix(*c), num_rows, num_vectors, depth, accumulate
    )


@kernel
def transpose(source, num_rows, num_columns, out):
    tile.transpose(matrix(*source), num_rows, num_columns, matrix(*out))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_vectors", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("depth", [1, 5, 128, 300])
@pytest.mark.parametrize("accumulate", [False, True])
def test_multiply(dtype, num_vectors, depth, accumulate, rng):
    a = rng.standard_normal((2 * ROWS, depth + 3)).astype(dtype)
    b = rng.standard_normal((depth, num_vectors * LANES + 5)).astype(dtype)
    c = rng.standard_normal((2 * ROWS, num_vectors * LANES + 2)).astype(dtype)
    width = num_vectors * LANES
    ref = reference.multiply(a[:, 1 : depth + 1], b[:, 2 : width + 2])
    ref += c[:, 1 : width + 1] if accumulate else 0
    outside = c[:, [0, -1]].copy()
    multiply(
        (a, 1, a.shape[1], 1), (b, 2, b.shape[1], 1), (c, 1, c.shape[1], 1), 2 * ROWS,
        num_vectors, depth, accumulate,
    )
    tolerance = 2e-6 * depth if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(c[:, 1 : width + 1], ref, atol=tolerance)
    np.testing.assert_array_equal(c[:, [0, -1]], outside)


def test_multiply_reads_a_transposed_left_side(rng):
    a = rng.standard_normal((40, ROWS)).astype(np.float32)
    b = rng.standard_normal((40, 2 * LANES)).astype(np.float32)
    c = np.empty((ROWS, 2 * LANES), np.float32)
    multiply((a, 0, 1, ROWS), (b, 0, 2 * LANES, 1), (c, 0, 2 * LANES, 1), ROWS, 2, 40, False)
    np.testing.assert_allclose(c, reference.multiply(a.T, b), atol=1e-5)


def test_multiply_of_depth_zero():
    c = np.ones((ROWS, LANES), np.float32)
    empty = np.empty(1, np.float32)
    multiply((empty, 0, 0, 1), (empty, 0, 0, 1), (c, 0, LANES, 1), ROWS, 1, 0, False)
    assert not c.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transpose(dtype, rng):
    source = rng.standard_normal((2 * LANES, 3 * LANES + 5)).astype(dtype)
    out = np.zeros((3 * LANES, 2 * LANES + 3), dtype)
    transpose(
        (source, 2, source.shape[1], 1), 2 * LANES, 3 * LANES, (out, 1, out.shape[1], 1)
    )
    ref = reference.transpose(source[:, 2 : 3 * LANES + 2])
    np.testing.assert_array_equal(out[:, 1 : 2 * LANES + 1], ref)
    assert not out[:, [0, -1]].any()
