"""transfer.py: rows are copied and merged as the twins do it."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.core.transfer import copy_rows, merge_rows


@pytest.fixture
def table(rng):
    return rng.standard_normal((40, 19)).astype(np.float32)


@pytest.mark.parametrize("width", [16, 19, 32])
def test_copy_rows_from_places_to_places(rng, table, width):
    rows, places = rng.permutation(40)[:25], rng.permutation(30)[:25]
    source = table.copy()
    source.flags.writeable = False  # as arrays in shared memory are
    target = np.full((30, width), 7, np.float32)
    expected = reference.copy_rows(rows, table, places, target)
    copy_rows(rows, source, places, target)
    np.testing.assert_array_equal(target, expected)


def test_merge_rows_replaces_rows_of_one_block_and_moves_others(rng, table):
    before, rows = table.copy(), rng.permutation(40)[:25]
    slots = np.where(np.arange(25) % 3 == 0, -1, np.arange(25))
    old, new = rng.standard_normal((2, 25, 19)).astype(np.float32)
    square = merge_rows(rows, new, slots, old, table)
    np.testing.assert_allclose(table, reference.merge_rows(rows, new, slots, old, before), atol=1e-6)
    np.testing.assert_array_equal(table[rows[slots < 0]], new[slots < 0])
    np.testing.assert_allclose(square, (table[rows].astype(float) ** 2).sum(axis=1).max(), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_merge_rows_tells_of_a_row_that_is_not_finite(table, bad):
    new = np.zeros((12, 19), np.float32)
    new[3, 17] = bad
    assert np.isnan(merge_rows(np.arange(12), new, np.full(12, -1), new, table))


def test_merge_rows_of_nothing():
    none = np.empty((0, 4), np.float32)
    empty = np.empty(0, np.int64)
    assert merge_rows(empty, none, empty, none, np.ones((2, 4), np.float32)) == 0
