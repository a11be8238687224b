"""What a batch of events is about: its histories, and the rows of tables that it needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Integers
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core import ids as id_kernels
from numba_ss.kernels.retrieval import histories


class Events(NamedTuple):
    """Events grouped by user, and the rows of features.

    The items of user u are items[offsets[u]:ends[u]]; what stands from there to the next
    offset is held out. `user_rows` (num_users, any) and `item_rows` (num_items + 1, any) are
    rows of features; the last line of the latter belongs to the empty history.
    """

    items: NDArray[np.int32]
    offsets: Integers
    ends: Integers
    user_rows: Integers
    item_rows: Integers

    def seen(self) -> tuple[Integers, Integers]:
        """Return the items of all users, one user after the other, and where each begins."""
        sizes = self.ends - self.offsets
        offsets = np.append(0, np.cumsum(sizes))
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets - offsets[:-1], sizes)
        return self.items[positions].astype(np.int64), offsets


class Examples(NamedTuple):
    """The rows that a batch of examples needs, and what for.

    `rows` are distinct items, of which the first `num_scored` are compared with the users.
    `first` and `history` are positions in `rows`: of the items that were given, and of all
    histories. That of example i is history[offsets[i]:offsets[i + 1]]; `longest` is the length of
    the longest. `user_rows` are the rows of the users' features.
    """

    rows: Integers
    num_scored: int
    first: Integers
    history: Integers
    offsets: Integers
    longest: int
    user_rows: Integers


def find_examples(
    scratch: Workspace, events: Events, users: Integers, positions: Integers, unordered: bool,
    key: np.uint64, length: int, first: Integers,
) -> Examples:
    """Return what is needed for the items `first` and for the histories of events.

    Example i is the event positions[i] of users[i], with a history of at most `length` events. If
    events are `unordered`, `key` draws which of them. The arrays lie in `scratch`.
    """
    array, skip = scratch.array, len(first)
    offsets = array("offsets", (len(users) + 1,), np.int64)
    user_events = histories.UserEvents(events.items, events.offsets, events.ends, unordered)
    longest = histories.measure_histories(user_events, users, positions, length, offsets)
    num_ids = skip + int(offsets[-1])
    ids = array("ids", (num_ids,), np.int64)
    ids[:skip] = first
    absent = len(events.item_rows) - 1
    histories.fill_histories(user_events, users, positions, key, absent, offsets, ids[skip:])
    slots, rows = array("slots", (num_ids,), np.int64), array("rows", (num_ids,), np.int64)
    num_scored, num_rows = id_kernels.factorize(ids, skip, hashes(scratch, num_ids), slots, rows)
    return Examples(
        rows[:num_rows], num_scored, slots[:skip], slots[skip:], offsets, longest,
        events.user_rows.take(users, axis=0),
    )


def hashes(scratch: Workspace, count: int) -> NDArray[np.int32]:
    """Return scratch for `factorize` of so many ids."""
    return scratch.array("hashes", (1 << (2 * count).bit_length(),), np.int32)


def owners_of(events: Events) -> NDArray[np.int32]:
    """Return the user of each event: looking that up takes a tenth of a small step."""
    sizes = np.diff(events.offsets, append=len(events.items))
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def epoch_order(seed: int, epoch: int, num_events: int) -> tuple[Integers, np.uint64]:
    """Return the order of an epoch's events, and the key of what is drawn of histories."""
    seeds = [seed, 1, epoch]
    order = np.random.default_rng(seeds).permutation(num_events)
    key: np.uint64 = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return order, key
