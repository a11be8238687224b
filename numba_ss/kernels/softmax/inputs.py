"""Which examples of a batch have the same input: they are worked on together.

Words and items are as frequent as Zipf's law says, so a batch of a thousand inputs often
has a few hundred different ones. All that an example has in common with the others of the
same input, its products with the candidates above all, is computed once.

The *distinct* inputs are numbered in the order in which they come; the examples of each,
its *members*, stand one after the other, in order.
"""

from numpy import uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.softmax.buffers import integers
from numba_ss.kernels.softmax.sampling import find_hits

_FEW = 16  # numbers of 32 bits
_PLACE, _MASK, _MIX = uint64(0x803779B9), uint64(0xFFFFFFFF), uint64(0xBF58476D1CE4E5B9)


@exact_kernel
def row_keys(bits, ids, width, keys):
    """Write a number >= 0 for the first `width` numbers of each row `ids[i]` of `bits`.

    Equal rows have equal ones.
    """
    for i in range(ids.shape[0]):
        total = uint64(0)
        for d in range(width):
            mixed = ((uint64(bits[ids[i], d]) + uint64(d) * _PLACE) & _MASK) * _MIX
            total += mixed ^ (mixed >> uint64(32))
        keys[i] = total >> uint64(1)


@exact_kernel
def _all_equal(bits, ids, slots, first):
    """Tell whether each example's row is that of the first example of its slot."""
    for i in range(ids.shape[0]):
        for d in range(bits.shape[1]):
            if bits[ids[i], d] != bits[ids[first[slots[i]]], d]:
                return False
    return True


@exact_kernel
def _drop_repeated(hits):
    """Keep a candidate that is several of an example's labels for the first of them."""
    for i in range(hits.shape[0]):
        for t in range(hits.shape[1] - 1, 0, -1):
            for earlier in range(t):
                hits[i, t] = -1 if hits[i, earlier] == hits[i, t] else hits[i, t]


@exact_kernel
def _join_flat(hits, true_counts, sampled_counts):
    count = 0
    for j in range(hits.shape[0]):
        hit = hits[j]
        # Looked up where there is no hit, too: a branch would be a guess half of the time.
        apart = (hit >= 0) & (true_counts[j] != sampled_counts[max(hit, 0)])
        hits[j] = -2 - hit if apart else hit
        count += apart
    return count


@exact_kernel
def join_hits(hits, true_counts, sampled_counts, subtract_log_q):
    """Say of each label that is a candidate whether it can be worked on as the candidate.

    `hits` are positions among the candidates, or -1. They stay where the logits are equal,
    for the expected counts are. Where these differ, the candidate `hit` is left out and the
    label is a column of its own: -2 - hit. A label that comes twice is the candidate once,
    and another column, -1, for the second time. Return how many candidates are left out.
    """
    _drop_repeated(hits)
    if not subtract_log_q:
        return 0
    return _join_flat(hits.reshape(-1), true_counts.reshape(-1), sampled_counts)


@exact_kernel
def _set_apart(joined, keys):
    """Give an example that leaves candidates out a key of its own."""
    for i in range(keys.shape[0]):
        for t in range(joined.shape[1]):
            keys[i] = -1 - i if joined[i, t] < -1 else keys[i]


@exact_kernel
def _list_members(slots, count, hits, ranks, offsets, members, joined):
    """List the members of each input, and what `join_hits` said of them; `ranks` is scratch."""
    offsets[: count + 1] = 0
    for i in range(slots.shape[0]):
        place = slots[i] + 1
        ranks[i] = offsets[place]
        offsets[place] += 1
    for u in range(count):
        offsets[u + 1] += offsets[u]
    for i in range(slots.shape[0]):
        m = offsets[slots[i]] + ranks[i]
        members[m] = i
        for t in range(hits.shape[1]):
            joined[t, m] = hits[i, t]


@exact_kernel
def _list_entries(slots, members, joined, entries, entry_offsets):
    """List the labels that are candidates: without a branch, which would be a guess."""
    count = 0
    entry_offsets[0] = 0
    for m in range(members.shape[0]):
        for t in range(joined.shape[0]):
            hit = joined[t, m]
            entries[0, count], entries[1, count], entries[2, count] = m, t, hit
            count += hit != -1
        entry_offsets[slots[members[m]] + 1] = count


@exact_kernel
def group_inputs(
    bits, ids, labels, candidates, true_counts, sampled_counts, subtract_log_q, buffers
):
    """Give the distinct inputs numbers, list their members, and write how many there are.

    Inputs are rows `ids` of a table. Where `bits`, the table's numbers as integers, has
    rows, they are the same if all their bits are; where it has none, if their ids are. An
    example that leaves candidates out has its input to itself. Unless `hits` has no columns,
    there are candidates, and `labels` and `true_counts`, as wide as `hits`, are looked up.

    Written to the buffers: slots[i], the number of example i's input; the members of input u,
    members[member_offsets[u]:member_offsets[u + 1]]; joined[t, m], what `join_hits` says of
    label t of member m; and the entries of input u, the labels that are candidates, from
    entry_offsets[u] to entry_offsets[u + 1]: their member, their column, and again what
    `join_hits` says; `sizes`, how many inputs there are, and how often a candidate is left
    out. `hashes`, a power of two at least twice as long as `ids` and as the candidates, `keys`
    and `hits` are scratch.
    """
    hits, hashes = integers(buffers, "hits"), integers(buffers, "hashes")
    keys, slots = integers(buffers, "keys"), integers(buffers, "slots")
    offsets, members = integers(buffers, "member_offsets"), integers(buffers, "members")
    joined, entries = integers(buffers, "joined"), integers(buffers, "entries")
    entry_offsets = integers(buffers, "entry_offsets")
    size, dim, num_apart = ids.shape[0], bits.shape[1], 0
    if hits.shape[1] > 0:
        find_hits(labels.reshape(-1), candidates, hashes, hits.reshape(-1))
        num_apart = join_hits(hits, true_counts, sampled_counts, subtract_log_q)
    if bits.shape[0] > 0:
        # Of activations no two are equal: a few numbers of each tell.
        row_keys(bits, ids, min(dim, _FEW), keys)
    else:
        for i in range(size):
            keys[i] = ids[i]
    if num_apart > 0:
        _set_apart(hits, keys)
    count = factorize(keys, 0, hashes, slots, members)[1]
    if bits.shape[0] > 0 and count < size:
        row_keys(bits, ids, dim, keys)
        _set_apart(hits, keys)
        count = factorize(keys, 0, hashes, slots, members)[1]
        for i in range(size - 1, -1, -1):
            members[slots[i]] = i  # in the end the first
        if not _all_equal(bits, ids, slots, members):  # two rows have the same key
            count = size
            for i in range(size):
                slots[i] = i
    _list_members(slots, count, hits, keys, offsets, members, joined)
    _list_entries(slots, members, joined, entries, entry_offsets)
    sizes = integers(buffers, "sizes")
    sizes[0], sizes[1] = count, num_apart
