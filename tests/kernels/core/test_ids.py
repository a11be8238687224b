"""ids.py: ranges, sorted lists, hash tables, distinct ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels.core import ids as kernels


@pytest.mark.parametrize("value", [-1, 0, 3, 4, 9, 10])
def test_contains(value):
    ordered = np.array([0, 4, 9])
    assert kernels.contains(ordered, value) == reference.contains(ordered, value)


@pytest.mark.parametrize("rows", [[], [0, 4], [0, 5, -1], [-3], [2**62]])
def test_first_outside(rows):
    rows = np.array(rows, np.int64)
    assert kernels.first_outside(rows, 5) == reference.first_outside(rows, 5)


@given(st.lists(st.integers(-(2**40), 2**40), max_size=30), st.integers(-9, 9))
def test_hash_tables_find_what_they_hold(values, other):
    """Each value is put where it is not found; then it is found there, and nothing else is."""
    values = np.array(sorted({*values, 1, 2} - {0}), np.int64)
    keys, slots = np.zeros(64, np.int64), np.full(64, -1, np.int32)
    for i, value in enumerate(values):
        place = kernels.find_key(keys, value)
        assert place == reference.find_key(keys, value)
        assert keys[place] in (0, value)
        keys[place] = value
        place = kernels.find_value(slots, values, value)
        assert place == reference.find_value(slots, values, value)
        assert slots[place] in (-1, i)
        slots[place] = i
    for value in [*values, np.int64(other or 77)]:  # a Python -1 is no uint64
        held = value in values
        assert (keys[kernels.find_key(keys, value)] == value) == held
        found = slots[kernels.find_value(slots, values, value)]
        assert (values[found] == value if found >= 0 else False) == held
        assert kernels.home(value, 64) == reference.home(value, 64)


def number(ids, num_first):
    """Return inverse, unique and the two counts, from scratch full of what another call left."""
    inverse, unique = np.full((2, len(ids)), -7)
    table = np.full(1 << max(2 * len(ids) - 1, 0).bit_length(), 3, np.int32)
    first, count = kernels.factorize(np.asarray(ids), num_first, table, inverse, unique)
    return inverse.tolist(), unique[:count].tolist(), first, count


@pytest.mark.parametrize(("num_first", "first"), list(enumerate([0, 1, 1, 2, 2, 3, 3])))
def test_distinct_ones_among_the_first(num_first, first):
    expected = [0, 0, 1, 0, 2], [5, 7, 8], first, 3
    assert number([5, 5, 7, 5, 8], num_first) == expected


@given(st.lists(st.integers(0, 2**40), max_size=60), st.integers(0, 70), st.booleans())
def test_factorize(ids, num_first, few):
    ids = np.array(ids, np.int64) % (7 if few else 2**40)
    inverse, unique = (array.tolist() for array in reference.factorize(ids))
    first = len(set(ids[:num_first].tolist()))
    assert number(ids, num_first) == (inverse, unique, first, len(set(ids.tolist())))
