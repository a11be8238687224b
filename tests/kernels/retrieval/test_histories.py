"""histories.py: what an example is told of its user, and each row once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from numba_ss import reference
from numba_ss.kernels.retrieval import histories
from tests.conftest import JIT

ABSENT = 99
KEYS = 4000 if JIT else 300


def fill(events, begins, positions, ends, unordered=False, key=0, length=4):
    """Return the histories as lists. Example i is of user n - 1 - i, of n."""
    begins, positions, ends = (np.asarray(a, np.int64) for a in (begins, positions, ends))
    users = np.arange(len(begins))[::-1].copy()
    offsets = np.full(len(begins) + 1, -7)
    user_events = histories.UserEvents(
        np.asarray(events, np.int32), begins[users], ends[users], unordered
    )
    longest = histories.measure_histories(user_events, users, positions, length, offsets)
    out = np.full(offsets[-1] + 5, -7)
    histories.fill_histories(user_events, users, positions, np.uint64(key), ABSENT, offsets, out)
    assert (out[offsets[-1] :] == -7).all()
    found = [out[i:j].tolist() for i, j in pairwise(offsets)]
    starts, most = reference.measure_histories(found)
    np.testing.assert_array_equal(offsets, starts)
    assert longest == most <= length
    return found


def test_the_events_before():
    events = [5, 6, 6, 7, 5, 8, 9]
    got = fill(events, [0, 0, 0, 0, 5, 5], [0, 1, 3, 5, 5, 7], [5, 5, 5, 5, 7, 7], length=4)
    assert got == [[ABSENT], [5], [5, 6, 6], [6, 6, 7, 5], [ABSENT], [8, 9]]
    assert fill(events, [0], [5], [5], length=1) == [[5]]


def test_the_other_events():
    for key in range(20):
        assert fill([3, 4], [0, 0], [0, 1], [2, 2], True, key) == [[4], [3]]
        assert fill([3, 4], [0, 1], [0, 1], [1, 2], True, key) == [[ABSENT], [ABSENT]]
        # The same item in another place is another event.
        assert fill([3, 3, 3], [0], [1], [3], True, key, length=5) == [[3, 3]]
        (got,) = fill(range(10, 16), [1], [3], [5], True, key, length=9)
        assert sorted(got) == [11, 12, 14]


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**32), st.booleans(), st.integers(1, 12),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
def test_fill_histories(key, seed, unordered, length, sizes):
    rng = np.random.default_rng(seed)
    stops = np.cumsum(sizes)
    events = rng.integers(0, 6, stops[-1])
    users = rng.integers(0, len(sizes), 30)
    begins, ends = (stops - sizes)[users], stops[users]
    positions = rng.integers(begins, ends)
    ref = reference.fill_histories(
        events, begins, positions, ends, unordered, key, length, ABSENT
    )
    assert fill(events, begins, positions, ends, unordered, key, length) == ref


@pytest.mark.parametrize("length", [1, 3])
def test_all_others_are_reached_alike(length):
    """Each of eight others as often, up to chance: fails once in 1e6 sound generators."""
    size, position = 9, 4
    counts, starts = np.zeros(size), np.zeros(size)
    for key in range(KEYS):
        (got,) = fill(range(size), [0], [position], [size], True, key, length)
        assert len(set(got)) == length
        counts[got] += 1
        starts[got[0]] += 1
    assert counts[position] == 0
    assert (counts > 0).sum() == size - 1
    # Given the first of a history the others follow: only first ones are independent.
    expected = KEYS / (size - 1)
    others = np.delete(starts, position)
    assert np.sum((others - expected) ** 2 / expected) < chi2.isf(1e-6, size - 2)
    np.testing.assert_array_equal(
        np.delete(counts, position),
        sum(np.roll(others, shift) for shift in range(length)),
    )


def test_examples_of_one_batch_draw_apart():
    """Of 200 events of one user, of 201: were the draws alike, two starts would do."""
    size = 201
    positions = np.arange(200)
    got = fill(range(size), [0] * 200, positions, [size] * 200, True, key=5, length=1)
    assert len({history[0] for history in got}) > 100
