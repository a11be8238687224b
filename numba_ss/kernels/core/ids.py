"""Arrays of ids: range checks, lookup in a sorted array, hash tables, and distinct ids.

The hash tables use open addressing with linear probing: D. Knuth, "The Art of Computer
Programming", volume 3, section 6.4, algorithm L.
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel

_EMPTY = -1


@exact_kernel
def first_outside(rows, stop):
    """Return the first position whose value is not in [0, stop), or -1 if there is none."""
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
    """Return the slot where the search for a value begins; `size` is a power of two."""
    mixed = (uint64(value) * uint64(0x9E3779B97F4A7C15)) >> uint64(20)
    return mixed & uint64(size - 1)


# The processor cannot predict whether a search finds its value. So the loops below end by one
# comparison, which holds both for an empty slot and for the value.


@exact_kernel
def find_key(keys, key):
    """Return the slot of a key, or the empty slot where it belongs; keys are not 0."""
    mask = uint64(keys.shape[0] - 1)
    slot = home(key, keys.shape[0])
    while min(uint64(keys[slot]), uint64(keys[slot] ^ key)) != uint64(0):
        slot = (slot + uint64(1)) & mask
    return slot


@exact_kernel
def find_value(slots, values, value):
    """Return the slot that holds the position of `value`, or the empty slot where it belongs.

    An entry of `slots` is a position in `values`, which is not empty, or -1. The number of
    slots is a power of two, larger than the number of values.
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
    """Assign numbers to the distinct ids, in the order of their first occurrence.

    Writes `inverse` and `unique` such that unique[inverse[i]] == ids[i]. Returns how many
    distinct ids there are among the first `num_first` ids, and among all of them. `slots` is
    scratch for a hash table; its length is a power of two, at least twice the number of ids.
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
