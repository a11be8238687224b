"""Which items a batch touches: the histories of its examples, and each row once.

An example is an event of a user; what it is told of that user is the history, other
events of the same user.
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.rng import hash64


@exact_kernel
def measure_histories(begins, ends, users, positions, unordered, length, offsets):
    """Write where the history of each example starts; return the length of the longest.

    offsets[-1] is the length of all. See `fill_histories`.
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
    events[begins[user]:ends[user]]. Its history are the last events before it; where the
    user's events are `unordered`, some of the others, from a place on that is drawn with
    `key`. An empty one is the row `absent`.
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


@exact_kernel
def number_rows(ids, num_first, hashes, slots, rows):
    """Give the distinct ids numbers in the order in which they come.

    Writes slots and rows such that rows[slots[i]] == ids[i]; returns how many distinct
    ones there are among the first `num_first` ids, and among all. `hashes` is scratch, a
    power of two at least twice as long as `ids`.
    """
    mask = uint64(hashes.shape[0] - 1)
    for h in range(hashes.shape[0]):
        hashes[h] = -1
    count = first = 0
    for i in range(ids.shape[0]):
        if i == num_first:
            first = count
        row = ids[i]
        h = ((uint64(row) * uint64(0x9E3779B97F4A7C15)) >> uint64(32)) & mask
        slot = hashes[h]
        while slot >= 0 and rows[slot] != row:
            h = (h + uint64(1)) & mask
            slot = hashes[h]
        if slot < 0:
            slot = count
            hashes[h] = slot
            rows[slot] = row
            count += 1
        slots[i] = slot
    if num_first >= ids.shape[0]:
        first = count
    return first, count
