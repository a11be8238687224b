"""The histories of a batch: which items the model sees for each example.

An example is an event of a user. Its history holds other events of the same user.
"""

from typing import Any, NamedTuple

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rng import hash64


class UserEvents(NamedTuple):
    """The events of all users: those of a user are items[begins[user]:ends[user]]."""

    items: Any
    begins: Any
    ends: Any
    unordered: Any  # whether nothing is known of their order


class Histories(NamedTuple):
    """The items of each example's history, as rows of an array of vectors.

    Example i has the rows slots[offsets[i]:offsets[i + 1]].
    """

    offsets: Any  # int64 (batch_size + 1,)
    slots: Any  # int64 (offsets[-1],)
    places: Any  # int64, same shape: where each of these rows begins in the flat array
    shares: Any  # shares[n] is 1 / n


@exact_kernel
def _num_others(begin, end, position, unordered):
    """Return how many events of a user the history of the event at `position` may hold."""
    return end - begin - 1 if unordered else position - begin


@exact_kernel
def measure_histories(events, users, positions, length, offsets):
    """Write where the history of each example starts; return the length of the longest one.

    No history is longer than `length`; offsets[-1] is the sum of the lengths. See `fill_histories`.
    """
    begins, ends, unordered = events.begins, events.ends, events.unordered
    total = longest = 0
    for i in range(users.shape[0]):
        offsets[i] = total
        others = _num_others(begins[users[i]], ends[users[i]], positions[i], unordered)
        size = min(max(others, 1), length)
        longest = max(longest, size)
        total += size
    offsets[users.shape[0]] = total
    return longest


@exact_kernel
def fill_histories(events, users, positions, key, absent, offsets, out):
    """Write the history of each example to out[offsets[i]:offsets[i + 1]].

    Example i is the event at positions[i], an event of the user users[i]. Its history is the last
    events of this user before it. If the events are unordered, its history is consecutive ones of
    the user's other events, from a position that is drawn with `key`; after the last event comes
    the first. An empty history is the single row `absent`.
    """
    items, begins, ends, unordered = events.items, events.begins, events.ends, events.unordered
    for i in range(users.shape[0]):
        begin, position = begins[users[i]], positions[i]
        at, stop = offsets[i], offsets[i + 1]
        others = _num_others(begin, ends[users[i]], position, unordered)
        if others <= 0:
            out[at] = absent
        elif unordered:
            draw = (hash64(key, uint64(position)) >> uint64(32)) * uint64(others)
            place = int64(draw >> uint64(32))
            for p in range(at, stop):
                out[p] = items[begin + place + (begin + place >= position)]
                place = place + 1 if place + 1 < others else 0
        else:
            first = position - (stop - at)
            for p in range(at, stop):
                out[p] = items[first + p - at]
