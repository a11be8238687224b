"""Which examples of a batch have the same input, so that they are worked on together.

Words and items follow Zipf's law, so a batch of a thousand inputs often has only a few hundred
different ones. What the examples of one input have in common is computed once; above all its
products with the sampled classes.

The *unique* inputs are numbered in the order of their first occurrence. As in np.unique, `inverse`
holds the number of each example's input. The examples of an input are its *members*. All members
are listed one after the other, those of input 0 first, and those of one input in their order in
the batch.
"""

from numpy import uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.softmax.buffers import (
    COLUMN,
    HIT,
    MEMBER,
    NUM_LEFT_OUT,
    NUM_UNIQUE,
    integers,
)
from numba_ss.kernels.softmax.encodings import NO_HIT, left_out, lone_key
from numba_ss.kernels.softmax.sampling import find_hits

_FEW = 16  # numbers of a row that are looked at first; a number has 32 bits
_PLACE, _MASK, _MIX = uint64(0x803779B9), uint64(0xFFFFFFFF), uint64(0xBF58476D1CE4E5B9)


@exact_kernel
def row_keys(bits, ids, width, keys):
    """Write a key for each row `ids[i]` of `bits`, from its first `width` numbers.

    Equal rows have equal keys. Keys are not negative.
    """
    for i in range(ids.shape[0]):
        total = uint64(0)
        for d in range(width):
            mixed = ((uint64(bits[ids[i], d]) + uint64(d) * _PLACE) & _MASK) * _MIX
            total += mixed ^ (mixed >> uint64(32))
        keys[i] = total >> uint64(1)


@exact_kernel
def _all_equal(bits, ids, inverse, first):
    """Return whether each example's row equals the row of the first example of its input."""
    for i in range(ids.shape[0]):
        for d in range(bits.shape[1]):
            if bits[ids[i], d] != bits[ids[first[inverse[i]]], d]:
                return False
    return True


@exact_kernel
def _drop_repeated(hits):
    """If labels of an example repeat, keep the hit of the first one only."""
    for i in range(hits.shape[0]):
        for t in range(hits.shape[1] - 1, 0, -1):
            for earlier in range(t):
                hits[i, t] = NO_HIT if hits[i, earlier] == hits[i, t] else hits[i, t]


@exact_kernel
def _mark_left_out(hits, true_counts, sampled_counts):
    count = 0
    for j in range(hits.shape[0]):
        hit = hits[j]
        # The count is looked up even if there is no hit: a branch would often be mispredicted.
        apart = (hit >= 0) & (true_counts[j] != sampled_counts[max(hit, 0)])
        hits[j] = left_out(hit) if apart else hit
        count += apart
    return count


@exact_kernel
def join_hits(hits, true_counts, sampled_counts, subtract_log_q):
    """Decide for each accidental hit whether the label shares its logit with the sampled class.

    `hits` are positions among the sampled classes, or NO_HIT. A hit stays if both have the same
    expected count, and so the same logit. If not, it becomes `left_out`, and the label gets a
    column of its own. If an example has a label twice, the second one gets a column of its own,
    too. Returns how many sampled classes are left out by examples.
    """
    _drop_repeated(hits)
    if not subtract_log_q:
        return 0
    return _mark_left_out(hits.reshape(-1), true_counts.reshape(-1), sampled_counts)


@exact_kernel
def _set_apart(hits, keys):
    """Give each example that leaves out sampled classes a key of its own."""
    for i in range(keys.shape[0]):
        for t in range(hits.shape[1]):
            keys[i] = lone_key(i) if hits[i, t] < NO_HIT else keys[i]


@exact_kernel
def _list_members(count, hits, ranks, buffers):
    """List the members of all inputs, and what `join_hits` left of their hits.

    `ranks` is scratch.
    """
    inverse, indptr = integers(buffers, "inverse"), integers(buffers, "member_indptr")
    members, member_hits = integers(buffers, "members"), integers(buffers, "member_hits")
    indptr[: count + 1] = 0
    for i in range(inverse.shape[0]):
        place = inverse[i] + 1
        ranks[i] = indptr[place]
        indptr[place] += 1
    for u in range(count):
        indptr[u + 1] += indptr[u]
    for i in range(inverse.shape[0]):
        m = indptr[inverse[i]] + ranks[i]
        members[m] = i
        for t in range(hits.shape[1]):
            member_hits[t, m] = hits[i, t]


@exact_kernel
def _list_hits(inverse, members, member_hits, hit_list, hit_indptr):
    """List the accidental hits, without a branch that would be mispredicted."""
    count = 0
    hit_indptr[0] = 0
    for m in range(members.shape[0]):
        for t in range(member_hits.shape[0]):
            hit = member_hits[t, m]
            hit_list[MEMBER, count], hit_list[COLUMN, count], hit_list[HIT, count] = m, t, hit
            count += hit != NO_HIT
        hit_indptr[inverse[members[m]] + 1] = count


@exact_kernel
def group_inputs(bits, batch, buffers):
    """Assign numbers to the unique inputs; list their members and the accidental hits.

    `bits` is the batch's table as integers, or empty. If it is empty, inputs are the same if their
    ids are equal; otherwise, if all their bits are equal. An example that leaves out sampled
    classes shares its input with no other. If `hits` has columns, labels are looked up among the
    sampled classes.

    Written to the buffers:

    - `inverse`, and in `sizes` the number of inputs and of sampled classes that are left out;
    - the members of input u: members[member_indptr[u]:member_indptr[u + 1]];
    - `member_hits`: the result of `join_hits` for each of their labels;
    - the hits of input u: the columns from hit_indptr[u] to hit_indptr[u + 1] of `hit_list`.

    `input_keys`, `hits` and `hash_table` are scratch. The length of the latter is a power of two,
    at least twice the number of ids and of sampled classes.
    """
    ids, hits, hash_table = batch.ids, integers(buffers, "hits"), integers(buffers, "hash_table")
    keys, inverse = integers(buffers, "input_keys"), integers(buffers, "inverse")
    members, sizes = integers(buffers, "members"), integers(buffers, "sizes")
    size, dim, num_left_out = ids.shape[0], bits.shape[1], 0
    if hits.shape[1] > 0:
        find_hits(batch.own.reshape(-1), batch.sampled, hash_table, hits.reshape(-1))
        num_left_out = join_hits(
            hits, batch.own_counts, batch.sampled_counts, batch.subtract_log_q
        )
    if bits.shape[0] > 0:
        # Activations usually all differ, and a few numbers of each row show this.
        row_keys(bits, ids, min(dim, _FEW), keys)
    else:
        for i in range(size):
            keys[i] = ids[i]
    if num_left_out > 0:
        _set_apart(hits, keys)
    count = factorize(keys, 0, hash_table, inverse, members)[1]
    if bits.shape[0] > 0 and count < size:
        row_keys(bits, ids, dim, keys)
        _set_apart(hits, keys)
        count = factorize(keys, 0, hash_table, inverse, members)[1]
        for i in range(size - 1, -1, -1):
            members[inverse[i]] = i  # the first example of an input is the last to be written
        if not _all_equal(bits, ids, inverse, members):  # two rows have the same key
            count = size
            for i in range(size):
                inverse[i] = i
    _list_members(count, hits, keys, buffers)
    _list_hits(
        inverse, members, integers(buffers, "member_hits"), integers(buffers, "hit_list"),
        integers(buffers, "hit_indptr"),
    )
    sizes[NUM_UNIQUE], sizes[NUM_LEFT_OUT] = count, num_left_out
