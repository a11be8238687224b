"""examples.py: which rows a batch needs, against the histories in plain Python."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.workspace import Workspace
from numba_ss.retrieval.examples import Events, epoch_order, find_examples, owners_of

KEY = np.uint64(5)


def some_events(rng, num_items=9):
    sizes, held_out = np.array([0, 7, 1, 4, 12]), np.array([1, 0, 2, 0, 1])
    offsets = np.append(0, np.cumsum(sizes + held_out))
    return Events(
        rng.integers(0, num_items, offsets[-1]).astype(np.int32), offsets[:-1],
        offsets[:-1] + sizes, rng.integers(0, 6, (5, 2)), rng.integers(0, 6, (num_items + 1, 1)),
    )


@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("length", [1, 3, 50])
def test_histories_are_positions_of_distinct_rows(unordered, length, rng):
    events = some_events(rng)
    positions = np.array([events.offsets[1], events.offsets[1] + 5, events.offsets[2], *range(24, 27)])
    users = owners_of(events)[positions].astype(np.int64)
    first = np.array([4, 4, 0, 8])
    got = find_examples(Workspace(), events, users, positions, unordered, KEY, length, first)
    want = reference.fill_histories(
        events.items, events.offsets[users], positions, events.ends[users], unordered, int(KEY),
        length, 9,
    )
    np.testing.assert_array_equal(got.rows[got.first], first)
    assert got.num_scored == 3
    assert len(np.unique(got.rows)) == len(got.rows)
    np.testing.assert_array_equal(np.diff(got.offsets), [len(history) for history in want])
    np.testing.assert_array_equal(got.rows[got.history], np.concatenate(want))
    assert got.longest == max(map(len, want))
    np.testing.assert_array_equal(got.user_rows, events.user_rows[users])


def test_owners(rng):
    events = some_events(rng)
    for position, user in enumerate(owners_of(events).tolist()):
        following = np.append(events.offsets, len(events.items))[user + 1]
        assert events.offsets[user] <= position < following


def test_every_epoch_has_an_order_and_a_key_of_its_own():
    orders = [epoch_order(seed, epoch, 50) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    for order, _ in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({order.tobytes() for order, _ in orders}) == 3
    assert len({int(key) for _, key in orders}) == 3
    again = epoch_order(1, 1, 50)
    np.testing.assert_array_equal(again[0], orders[1][0])
    assert again[1] == orders[1][1]
