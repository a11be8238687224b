"""The histories of a batch: which items the model sees for each example.

An example is an event of a user. Its history holds other events of the same user.
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rng import hash64


@exact_kernel
def measure_histories(begins, ends, users, positions, unordered, length, offsets):
    """Write where the history of each example starts; return the longest length.

    offsets[-1] is the total length. See `fill_histories` for the arguments.
    """
    total = longest = 0
    for i in range(users.shape[0]):
        offsets[i] = total
        begin = begins[users[i]]
        others = ends[users[i]] - begin - 1 if unordered else positions[i] - begin
        size = min(max(others, 1), length)
        longest = max(longest, size)
        total += size
    offsets[users.shape[0]] = total
    return longest


@exact_kernel
def fill_histories(
    events, begins, ends, users, positions, unordered, key, absent, offsets, out
):
    """Write the history of each example to out[offsets[i]:offsets[i + 1]].

    Example i is the event positions[i] of the user users[i], whose events are
    events[begins[user]:ends[user]]. Its history is the last events before it. If the user's
    events are `unordered`, its history is some of the user's other events, beginning at a
    position that is drawn with `key`. An empty history is the single row `absent`.
    """
    for i in range(users.shape[0]):
        begin, position = begins[users[i]], positions[i]
        at, stop = offsets[i], offsets[i + 1]
        others = ends[users[i]] - begin - 1 if unordered else position - begin
        if others <= 0:
            out[at] = absent
        elif unordered:
            draw = (hash64(key, uint64(position)) >> uint64(32)) * uint64(others)
            place = int64(draw >> uint64(32))
            for p in range(at, stop):
                out[p] = events[begin + place + (begin + place >= position)]
                place = place + 1 if place + 1 < others else 0
        else:
            first = position - (stop - at)
            for p in range(at, stop):
                out[p] = events[first + p - at]
