"""Which items a batch touches: the histories of its examples, and each row once.

An example is an event of a user; what it is told of that user is the history, other
events of the same user.
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.rng import hash64


@exact_kernel
def fill_histories(
    events, begins, positions, ends, unordered, key, length, absent, offsets, out
):
    """Write the history of each example, at most `length` events, one after the other.

    Example i is the event positions[i] of a user whose events are
    events[begins[i]:ends[i]]. Its history are the events before it; where the user's
    events are `unordered`, as many of the others, from a place on that is drawn with
    `key`. An empty one is the row `absent`. Returns how many were written.
    """
    count = 0
    for i in range(positions.shape[0]):
        offsets[i] = count
        begin, position = begins[i], positions[i]
        if unordered:
            others = ends[i] - begin - 1
            draw = (hash64(key, uint64(position)) >> uint64(32)) * uint64(max(others, 0))
            place = int64(draw >> uint64(32))
            for _ in range(min(others, length)):
                out[count] = events[begin + place + (begin + place >= position)]
                count += 1
                place = place + 1 if place + 1 < others else 0
        else:
            for p in range(max(begin, position - length), position):
                out[count] = events[p]
                count += 1
        if count == offsets[i]:
            out[count] = absent
            count += 1
    offsets[positions.shape[0]] = count
    return count


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
