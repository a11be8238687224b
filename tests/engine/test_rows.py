"""rows.py: gradients into rows, one by one; and the distinct rows."""

import numpy as np
import pytest

from numba_ss import ArgumentError, reference
from numba_ss.engine import rows
from numba_ss.engine.workspace import Workspace
from tests.conftest import densify


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subtract_rows_is_the_loop(dtype, rng):
    """The gradients may be wider than the table's rows."""
    table, ids = rng.standard_normal((6, 5)).astype(dtype), rng.integers(0, 6, 40)
    grads = rng.standard_normal((40, 8)).astype(dtype)
    want = reference.scatter_rows(table, ids, grads[:, :5], dtype(0.3))
    rows.subtract_rows(ids, grads, dtype(0.3), table)
    np.testing.assert_array_equal(table, want)


def test_add_rows(rng):
    sums, ids = np.ones((6, 5), np.float32), rng.integers(0, 6, 40)
    grads = rng.integers(-9, 9, (40, 5)).astype(np.float32)
    want = sums.copy()
    np.add.at(want, ids, grads)
    rows.add_rows(ids, grads, sums)
    np.testing.assert_array_equal(sums, want)


@pytest.mark.parametrize("num_first", [0, 3, 6])
def test_distinct_ids_as_they_come(num_first):
    ids = np.array([7, 2, 7, 9, 2, 4])
    unique, inverse, first = rows.distinct(ids, num_first)
    assert unique.tolist() == [7, 2, 9, 4]
    np.testing.assert_array_equal(unique[inverse], ids)
    assert first == len(set(ids[:num_first].tolist()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_a_row_are_added_up(dtype, rng):
    ids, padded = rng.integers(3, 9, 50), rng.standard_normal((50, 7)).astype(dtype)
    scratch = Workspace()
    for count in (50, 20, 0):
        have, sums = rows.sum_rows(ids[:count], padded[:count], 5, scratch)
        assert len(set(have.tolist())) == len(have)
        total = np.zeros((9, 5))
        total[have] = sums
        np.testing.assert_allclose(total, densify(ids[:count], padded[:count, :5], 9), atol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (4, 3, 2), (0, 3, 2)])
def test_the_first_dimension_counts_rows(shape):
    array = np.zeros(shape)
    table = rows.as_rows(array)
    table[:] = 7
    assert table.ndim == 2
    assert len(table) == (shape or (1,))[0]
    assert (array == 7).all()


def test_squares_that_are_too_large():
    grads = np.full((10, 10), 5e13, np.float32)
    rows.check_squares("grads", grads)
    for large in (1.1e15, 3e38, -1e20, np.nan):
        grads[5, 5] = large
        with pytest.raises(ArgumentError, match=r"grads: expected a sum of squares of at most 1e\+30"):
            rows.check_squares("grads", grads)
