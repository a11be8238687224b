"""Which examples of a batch have the same input: they are worked on together.

Words and items are as frequent as Zipf's law says, so a batch of a thousand inputs often
has a few hundred different ones. All that an example has in common with the others of the
same input, its products with the candidates above all, is computed once.

The *unique* inputs are numbered in the order in which they come, and `inverse` says which one
an example has, as in np.unique; the examples of each, its *members*, stand one after the
other, in order.
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
def _all_equal(bits, ids, inverse, first):
    """Tell whether each example's row is that of the first example of its unique input."""
    for i in range(ids.shape[0]):
        for d in range(bits.shape[1]):
            if bits[ids[i], d] != bits[ids[first[inverse[i]]], d]:
                return False
    return True


@exact_kernel
def _drop_repeated(hits):
    """Keep a sampled class that is several of an example's labels for the first of them."""
    for i in range(hits.shape[0]):
        for t in range(hits.shape[1] - 1, 0, -1):
            for earlier in range(t):
                hits[i, t] = NO_HIT if hits[i, earlier] == hits[i, t] else hits[i, t]


@exact_kernel
def _mark_left_out(hits, true_counts, sampled_counts):
    count = 0
    for j in range(hits.shape[0]):
        hit = hits[j]
        # Looked up where there is no hit, too: a branch would be a guess half of the time.
        apart = (hit >= 0) & (true_counts[j] != sampled_counts[max(hit, 0)])
        hits[j] = left_out(hit) if apart else hit
        count += apart
    return count


@exact_kernel
def join_hits(hits, true_counts, sampled_counts, subtract_log_q):
    """Say of each accidental hit whether the label can be worked on as the sampled class.

    `hits` are positions among the sampled classes, or NO_HIT. They stay if the expected counts,
    and so the logits, are equal. If not, the class is `left_out` and the label is a column of
    its own. A label that comes twice is the sampled class once, and a column of its own for the
    second time. Return how many classes are left out.
    """
    _drop_repeated(hits)
    if not subtract_log_q:
        return 0
    return _mark_left_out(hits.reshape(-1), true_counts.reshape(-1), sampled_counts)


@exact_kernel
def _set_apart(hits, keys):
    """Give an example that leaves sampled classes out a key of its own."""
    for i in range(keys.shape[0]):
        for t in range(hits.shape[1]):
            keys[i] = lone_key(i) if hits[i, t] < NO_HIT else keys[i]


@exact_kernel
def _list_members(count, hits, ranks, buffers):
    """List the members of each of the unique inputs, and their hits; `ranks` is scratch."""
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
    """List the accidental hits: without a branch, which would be a guess."""
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
    """Give the unique inputs numbers, and list their members and the accidental hits.

    Where `bits`, the numbers of the batch's table as integers, has rows, inputs are the same if
    all their bits are; where it has none, if their ids are. An example that leaves sampled
    classes out has its input to itself. Unless `hits` has no columns, there are sampled classes,
    and the own classes, as wide as `hits`, are looked up among them.

    Written to the buffers: `inverse`; the members of input u,
    members[member_indptr[u]:member_indptr[u + 1]], and `member_hits`, what `join_hits` says of
    each of their labels; the hits of input u, `hit_list` from hit_indptr[u] to
    hit_indptr[u + 1]; and `sizes`. `hash_table`, a power of two at least twice as long as `ids`
    and as the sampled classes, `input_keys` and `hits` are scratch.
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
        # Of activations no two are equal: a few numbers of each tell.
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
            members[inverse[i]] = i  # in the end the first
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
