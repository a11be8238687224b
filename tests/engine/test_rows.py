"""rows.py: gradients into rows, one by one; and the distinct rows."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import rows


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


@pytest.mark.parametrize("num_first", [0, 2, 4])
def test_ascending_ids_keep_those_that_come_first(num_first):
    ids, inverse = np.array([7, 2, 9, 4]), np.array([0, 1, 0, 2, 1, 3])
    unique, places = rows.ascending(ids, inverse, num_first)
    assert unique[:num_first].tolist() == sorted(ids[:num_first].tolist())
    assert unique[num_first:].tolist() == ids[num_first:].tolist()
    np.testing.assert_array_equal(unique[places], ids[inverse])
