"""Ids: whether they lie in a range or a sorted list, hash tables of them, the distinct ones.

The hash tables are open-addressing ones with linear search: D. Knuth, "The Art of Computer
Programming", volume 3, section 6.4, algorithm L.
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel

_EMPTY = -1


@exact_kernel
def first_outside(rows, stop):
    """Return the first position whose value is not in [0, stop), or -1."""
    for j in range(rows.shape[0]):
        if rows[j] < 0 or rows[j] >= stop:
            return j
    return -1


@exact_kernel
def contains(ordered, value):
    """Tell whether an ascending array holds `value`."""
    low, high = 0, ordered.shape[0]
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < ordered.shape[0] and ordered[low] == value


@exact_kernel
def home(value, size):
    """Return where a value's search begins in a hash table of `size`, a power of two."""
    mixed = (uint64(value) * uint64(0x9E3779B97F4A7C15)) >> uint64(20)
    return mixed & uint64(size - 1)


# Whether a class was drawn before, or a label is a candidate, no processor can guess: the
# loops below end by one comparison, which is true for an empty place and for the value.


@exact_kernel
def find_key(keys, key):
    """Return the place of a number that is not 0 in a hash table, or the empty one for it."""
    mask = uint64(keys.shape[0] - 1)
    slot = home(key, keys.shape[0])
    while min(uint64(keys[slot]), uint64(keys[slot] ^ key)) != uint64(0):
        slot = (slot + uint64(1)) & mask
    return slot


@exact_kernel
def find_value(slots, values, value):
    """Return the slot of a hash table of positions that holds `value`, or its place.

    `slots` has a power of two of entries, more than there are values; an entry is a
    position in `values`, of which there are some, or -1.
    """
    mask = uint64(slots.shape[0] - 1)
    slot = home(value, slots.shape[0])
    while True:
        entry = int64(slots[slot])
        other = values[max(entry, 0)]
        if min(uint64(entry + 1), uint64(other ^ value)) == uint64(0):
            return slot
        slot = (slot + uint64(1)) & mask


@exact_kernel
def factorize(ids, num_first, slots, inverse, unique):
    """Give the distinct ids numbers, in the order in which they come.

    Writes `inverse` and `unique` such that unique[inverse[i]] == ids[i]; returns how many
    distinct ones there are among the first `num_first` ids, and among all. `slots` is a hash
    table of a power of two of entries, at least twice as many as ids; what it holds is lost.
    """
    mask = uint64(slots.shape[0] - 1)
    for slot in range(slots.shape[0]):
        slots[slot] = _EMPTY
    count = first = 0
    for i in range(ids.shape[0]):
        if i == num_first:
            first = count
        slot = home(ids[i], slots.shape[0])
        number = slots[slot]
        while number >= 0 and unique[number] != ids[i]:
            slot = (slot + uint64(1)) & mask
            number = slots[slot]
        if number < 0:
            number = count
            slots[slot] = number
            unique[number] = ids[i]
            count += 1
        inverse[i] = number
    if num_first >= ids.shape[0]:
        first = count
    return first, count
