"""Draw candidates, and compute how often a class is expected among them.

Every operation is rounded as in TensorFlow. So the same seed gives the same candidates and the
same expected counts, bit for bit.
"""

import math
from typing import Any, NamedTuple

from numba import prange
from numpy import float32, float64, int64, uint64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.ids import contains, find_key, find_value
from numba_ss.kernels.core.rng import (
    NUM_DOUBLES,
    STREAM_SIZE,
    next_below,
    next_doubles,
    next_float,
    start_stream,
)
from numba_ss.kernels.core.scalar import exp_near, expm1

UNIFORM, LOG_UNIFORM, LEARNED_UNIGRAM, FIXED_UNIGRAM = range(4)

SCRATCH_SIZE = STREAM_SIZE + 2 * NUM_DOUBLES

_EMPTY = -1


class Distribution(NamedTuple):
    """The probabilities with which classes are drawn; arrays that a kind does not use are empty.

    `tree` is a Fenwick tree of the weights; `cut` and `alias` are Walker's alias tables.
    """

    kind: Any  # UNIFORM, LOG_UNIFORM, LEARNED_UNIGRAM or FIXED_UNIGRAM
    range_max: Any  # number of classes
    log_range: Any  # float64: log(range_max + 1)
    total: Any  # float64: sum of the weights
    weights: Any  # (range_max,)
    tree: Any  # int64 (range_max + 1,)
    cut: Any  # float32 (range_max,)
    alias: Any  # int64 (range_max,)
    exclude: Any  # int64, ascending: classes that are not drawn
    kept: Any  # float64: the probability of all other classes together


# The most draws for a sample, and for each of its classes: with more, distinct classes would hardly
# ever be found.
_PATIENCE, _PATIENCE_EACH = 2**24, 1024


@exact_kernel
def _tree_add(tree, index, amount):
    """Add `amount` to one weight of a Fenwick tree (P. Fenwick, 1994)."""
    index += 1
    while index < tree.shape[0]:
        tree[index] += amount
        index += index & -index


@exact_kernel
def _tree_find(tree, value):
    """Return the first index for which the sum of the weights up to it exceeds `value`."""
    index, step = 0, 1
    while step * 2 < tree.shape[0]:
        step *= 2
    while step > 0:
        if index + step < tree.shape[0] and tree[index + step] <= value:
            index += step
            value -= tree[index]
        step //= 2
    return index


@exact_kernel
def _draw(kind, stream, range_max, total, tree, cut, alias):
    """Draw one class, with replacement, from any distribution but the log-uniform."""
    if kind == UNIFORM:
        return int64(next_below(stream, range_max, 64))
    if kind == LEARNED_UNIGRAM:
        return int64(_tree_find(tree, int64(next_below(stream, int64(total), 32))))
    part = next_float(stream)
    index = int64(next_below(stream, range_max, 32))
    return index if part < cut[index] else int64(alias[index])


@exact_kernel
def _draw_log_uniform(uniform, log_range, range_max, out):
    """Fill `out` with int(exp(uniform * log_range)) - 1, as the exact exp gives it.

    A fast exp is good enough, unless its value is close to an integer or to range_max + 1. A
    block of draws with such a value is rare, and is computed again with the exact exp.
    """
    unsure = False
    for i in range(NUM_DOUBLES):
        value = exp_near(uniform[i] * log_range)
        whole = int64(value)
        rest = value - float64(whole)
        unsure |= min(rest, 1.0 - rest) < 1e-14 * value or whole > range_max
        out[i] = whole - 1
    if unsure:
        for i in range(NUM_DOUBLES):
            row = int64(math.exp(uniform[i] * log_range)) - 1
            out[i] = row if row < range_max else row % range_max


@exact_kernel
def _draw_many(distribution, stream, uniform, out):
    """Fill `out` with NUM_DOUBLES draws; `uniform` is scratch."""
    kind, range_max, total = distribution.kind, distribution.range_max, distribution.total
    tree, cut, alias = distribution.tree, distribution.cut, distribution.alias
    if kind == LOG_UNIFORM:
        next_doubles(stream, uniform)
        _draw_log_uniform(uniform, distribution.log_range, range_max, out)
    else:
        for i in range(NUM_DOUBLES):
            out[i] = _draw(kind, stream, range_max, total, tree, cut, alias)


@exact_kernel
def draw_candidates(distribution, key, high, block, unique, scratch, keys, out_candidates):
    """Fill `out_candidates`; return the number of draws it took.

    The draws are those from the block `block` of the stream (key, high), see `rng`. If the
    candidates are to be `unique`, a draw is repeated if its class was drawn before. A draw of an
    excluded class is repeated and not counted. If very many draws do not find enough classes, the
    rest of the candidates is -1.

    `scratch` has the shape (SCRATCH_SIZE,) and type uint64. `keys` (int64) is a hash table; its
    length is a power of two, above the number of candidates. From Python, numbers and arrays one by
    one are passed faster than in a named tuple.
    """
    exclude = distribution.exclude
    stream, rest = scratch[:STREAM_SIZE], scratch[STREAM_SIZE:]
    uniform, drawn = rest[:NUM_DOUBLES].view(float64), rest[NUM_DOUBLES:].view(int64)
    start_stream(stream, key, high, uint64(block))
    keys[:] = 0
    num_tries = 0
    filled = 0
    left = max(_PATIENCE, _PATIENCE_EACH * out_candidates.shape[0])
    while filled < out_candidates.shape[0] and left > 0:
        left -= NUM_DOUBLES
        _draw_many(distribution, stream, uniform, drawn)
        for i in range(NUM_DOUBLES):
            if filled == out_candidates.shape[0]:
                break
            row = drawn[i]
            if exclude.shape[0] > 0 and contains(exclude, row):
                continue
            num_tries += 1
            out_candidates[filled] = row
            if unique:
                slot = find_key(keys, row + 1)
                filled += int64(keys[slot] == 0)
                keys[slot] = row + 1
            else:
                filled += 1
    out_candidates[filled:] = -1
    return num_tries


@exact_kernel
def _probability(kind, row, range_max, log_range, total, weight):
    """Return the float32 probability of one class in one draw."""
    if kind == UNIFORM:
        return float32(1.0 / float64(range_max))
    if kind == LOG_UNIFORM:
        return float32(math.log((row + 2.0) / (row + 1.0)) / log_range)
    return weight / float32(total)


@exact_kernel
def _count_rows(distribution, rows, num_tries, num_sampled, memo, out):
    # Functions that are called for each class take no arrays: to pass one costs more than the
    # arithmetic.
    kind, range_max, log_range = distribution.kind, distribution.range_max, distribution.log_range
    total, weights, exclude = distribution.total, distribution.weights, distribution.exclude
    repeated = num_tries == num_sampled
    for j in range(rows.shape[0]):
        row = max(rows[j], 0)
        if not repeated and row < memo.shape[0] and memo[row] == memo[row]:
            out[j] = memo[row]
            continue
        weight = float32(weights[row]) if weights.shape[0] > 0 else float32(0)
        p = _probability(kind, row, range_max, log_range, total, weight)
        if exclude.shape[0] > 0:
            p = float32(0) if contains(exclude, row) else float32(float64(p) / distribution.kept)
        out[j] = p * float32(num_sampled) if repeated else float32(math.log1p(-p))
        if not repeated and row < memo.shape[0]:
            memo[row] = out[j]
    if not repeated:
        for j in range(rows.shape[0]):
            out[j] = float32(0) - expm1(float32(num_tries) * out[j])


@parallel_kernel
def expected_counts(
    distribution, labels, candidates, num_tries, num_chunks, memo, out_labels, out_candidates
):
    """Write the expected counts of labels and candidates.

    An excluded class has the count 0. The count of an absent label is meaningless. `memo` is kept
    from call to call and holds log(1 - p) for the first classes, NaN where it is not known yet.
    """
    for chunk in prange(num_chunks):
        for rows, out in ((labels, out_labels), (candidates, out_candidates)):
            # Slices, because LLVM makes no vector code of a loop from a variable start.
            start = chunk * rows.shape[0] // num_chunks
            stop = (chunk + 1) * rows.shape[0] // num_chunks
            _count_rows(
                distribution, rows[start:stop], num_tries, candidates.shape[0], memo,
                out[start:stop],
            )


@exact_kernel
def draw_and_count(
    distribution, key, high, block, unique, scratch, keys, memo, labels, out_candidates, out_labels,
    out_counts,
):
    """Do the work of `draw_candidates` and `expected_counts` on one thread; return the draws.

    `labels` and `out_labels` have two dimensions.
    """
    num_tries = draw_candidates(
        distribution, key, high, block, unique, scratch, keys, out_candidates
    )
    num_sampled = out_candidates.shape[0]
    for rows, out in (
        (labels.reshape(-1), out_labels.reshape(-1)), (out_candidates, out_counts)
    ):
        _count_rows(distribution, rows, num_tries, num_sampled, memo, out)
    return num_tries


@exact_kernel
def learn_labels(labels, weights, tree, budget):
    """Add 1 to the weight of each of the first `budget` labels."""
    for j in range(min(labels.shape[0], budget)):
        weights[labels[j]] += 1
        _tree_add(tree, labels[j], 1)


@exact_kernel
def distort(unigrams, distortion, out_weights):
    """Write the unigrams to the power of `distortion`; return their sum, added in order."""
    total = float32(0)
    for i in range(unigrams.shape[0]):
        out_weights[i] = float32(math.pow(unigrams[i], distortion))
        total += out_weights[i]
    return total


@exact_kernel
def fill_tree(weights, tree):
    """Write the Fenwick tree of `weights`; the tree has one entry more."""
    tree[0] = 0
    for i in range(weights.shape[0]):
        tree[i + 1] = weights[i]
    for i in range(1, tree.shape[0]):
        parent = i + (i & -i)
        if parent < tree.shape[0]:
            tree[parent] += tree[i]


@exact_kernel
def fill_alias(weights, cut, alias, share, low, high):
    """Write Walker's alias table of `weights`.

    A draw picks an index i and a number in [0, 1), each uniformly. The class is i if the number is
    below cut[i], else alias[i]. `share` (float64), `low` and `high` (integers) are scratch of the
    same length.

    A. J. Walker, "An Efficient Method for Generating Discrete Random Variables with
    General Distributions", ACM TOMS 3(3), 1977.
    """
    n = weights.shape[0]
    total = 0.0
    for i in range(n):
        total += float64(weights[i])
    num_low = num_high = 0
    for i in range(n):
        share[i] = float64(float32(weights[i] * float32(n))) / total
        cut[i] = float32(1)
        alias[i] = i
        if share[i] < 1.0:
            low[num_low] = i
            num_low += 1
        else:
            high[num_high] = i
            num_high += 1
    while num_low > 0 and num_high > 0:
        small, large = low[num_low - 1], high[num_high - 1]
        num_low -= 1
        num_high -= 1
        cut[small] = float32(share[small])
        alias[small] = large
        share[large] = share[large] - (1.0 - share[small])
        if share[large] < 1.0:
            low[num_low] = large
            num_low += 1
        else:
            high[num_high] = large
            num_high += 1


@exact_kernel
def find_hits(labels, candidates, slots, out_hits):
    """Write the last position of each label among the candidates, or -1."""
    if candidates.shape[0] == 0:
        out_hits[:] = -1
        return
    slots[:] = _EMPTY
    for j in range(candidates.shape[0]):
        slots[find_value(slots, candidates, candidates[j])] = j
    for j in range(labels.shape[0]):
        out_hits[j] = slots[find_value(slots, candidates, labels[j])]
