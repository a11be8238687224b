"""Updates of rows by the summed gradients of a batch, scaled so that no row overshoots.

All gradients of a batch are taken at the same vectors. For a row that occurs often, their plain
sum would move the row far beyond the point where the gradients vanish, and the next batch would
move it back even further: vectors would grow without bound. Single steps do not have this
problem, because each sees what the last one has changed.

Occurrence i of a row has a gradient g_i, the sum of c u over the rows u of the other table that
it met, with c = rate * (y - p), and a weight a_i, the sum of the |c|. G is the sum of all g_i, A
the sum of all a_i. Along a unit vector d, the learning rate times the curvature of the losses is
at most sum |c| (u . d)**2, because p (1 - p) <= |y - p| for the logistic and the softmax loss. The
part of G along d is scaled by min(1, 1 / x), where x is this bound plus A / 4. The quarter allows
for the rows u, which move in the same batch. Two directions are treated in this way:

- The direction of m, the mean of the rows that were met. All these rows share it. Targets pull
  along m and noise words push, so the gradients cancel but the curvatures add up:
  x = A (|m|**2 + 1/4).
- The direction d = R / |R| of R, the rest of G: x = sum (g_i . d)**2 / a_i + A v + A / 4. Here v is
  the mean of (u . d)**2 over a sample of the rows that were met. It accounts for gradients that
  cancel within an occurrence, and is left out if A is too small for it to matter.

Two bounds follow, however often a row repeats and whatever the learning rate. The row moves along
R by at most four times the mean length of the rows that it met. And its scores g_i / a_i . r
change by at most 1 in the root mean square weighted by a_i, since
|R|**2 <= A sum (g_i . d)**2 / a_i (Cauchy-Schwarz inequality).

If x <= 1, as for a row that occurs once or a few times, the update is the plain sum. If A is very
small, x is not computed at all: it could exceed 1 only if the rows that were met had a mean
square eight times that of the samples.

A row belongs to one of OWNERS owners, and its gradients are added in the order of their
occurrence, so the result does not depend on how many threads share the owners.
"""

import math
from typing import Any, NamedTuple

from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, multiply_rows
from numba_ss.kernels.core.rows import axpy, dot, gather_row, pointer, prefetch
from numba_ss.kernels.core.tile import Matrix

OWNERS = 64
SAMPLES = 16  # rows from which mean and variance of a table's rows are estimated
_AHEAD = 4  # rows that are prefetched
_UNLIKELY = float32(8)
_OTHERS = float32(0.25)  # the quarter of A that allows for the rows of the other table
_TINY = float32(1e-30)


class Occurrences(NamedTuple):
    """The occurrences of rows of a table in a batch; the first axis of all arrays is the chunk."""

    words: Any  # int64 (chunks, occurrences): the row that each occurrence is of
    weights: Any  # same shape: sums of |gradients of scores|; without weight there is no gradient
    starts: Any  # int32 (chunks, OWNERS): where the chains of `chain_owners` begin
    chain: Any  # int32 (chunks, occurrences): the next occurrence of the same owner
    grads: Any  # (chunks, occurrences * stride): their gradients
    totals: Any  # (num_words + 1,): to which the weights of each row are added; or empty


class Met(NamedTuple):
    """Estimates for the rows of the other table that were met in the batch."""

    samples: Any  # (SAMPLES, stride): some of these rows
    mean: Any  # (stride,): the mean of the samples
    square: Any  # the squared length of the mean
    variance: Any  # the variance of the samples


class Lists(NamedTuple):
    """Scratch of the tasks that share an update; the first axis is the task.

    It holds a linked list of occurrences for each word, and space for sums.
    """

    heads: Any  # int32 (OWNERS * words of an owner,): 1 + the number of a word's list, 0 if none
    places: Any  # int32 (tasks, occurrences): entry -> position of the occurrence in the batch
    following: Any  # int32, same shape: entry -> next entry of the same list, -1 at its end
    first: Any  # int32, same shape: list -> its first entry
    last: Any  # int32, same shape: list -> its last entry
    sums: Any  # (tasks, 2, stride): G and R of one row
    means: Any  # (tasks, 2, stride): means of the samples of inputs and of outputs
    rows: Any  # (SAMPLES + 2,): offsets of the samples; then twice the offset of a single row
    products: Any  # (tasks, 2 * SAMPLES): inner products with the samples


@exact_kernel
def sample_rows(c, table, words, samples):
    """Copy those rows of the sample that belong to words of chunk `c`.

    The sample is spread evenly over `words` (chunks, words of a chunk). The table must not change
    meanwhile.
    """
    stride, each, size = table.shape[1], words.shape[1], words.shape[0] * words.shape[1]
    for i in range(SAMPLES):
        at = i * size // SAMPLES
        if at // each == c:
            row = pointer(table, words[c, at % each] * stride)
            gather_row(row, stride, pointer(samples, i * stride))


@exact_kernel
def measure_samples(samples, out):
    """Set `out` to the mean of the samples; return its squared length, and their variance.

    Rows of zeros are not counted: they belong to no word, or were never updated.
    """
    mean, stride = pointer(out, 0), samples.shape[1]
    for d in range(stride):
        mean[d] = float32(0)
    squares, count = float32(0), 0
    for i in range(SAMPLES):
        row = pointer(samples, i * stride)
        square = dot(row, row, stride)
        squares += square
        count += square > 0
        axpy(float32(1), row, stride, mean)
    share = float32(1) / float32(max(count, 1))
    for d in range(stride):
        mean[d] *= share
    square = dot(mean, mean, stride)
    return square, max(squares * share - square, float32(0))


@exact_kernel
def chain_owners(words, absent, starts, chain):
    """Chain the words of each owner, in order; leave out those that are `absent`.

    A word belongs to the owner word % OWNERS. The first word of an owner is words[starts[owner]],
    the next one after words[i] is words[chain[i]]; -1 ends the chain.
    """
    for owner in range(OWNERS):
        starts[owner] = -1
    for i in range(words.shape[0] - 1, -1, -1):
        if words[i] != absent:
            owner = words[i] % OWNERS
            chain[i] = starts[owner]
            starts[owner] = i


@exact_kernel
def list_occurrences(task, first_owner, last_owner, found, lists):
    """List the `Occurrences` of each word of some owners; return how many words there are.

    Those without weight are left out.
    """
    words, weights, starts, chain = found.words, found.weights, found.starts, found.chain
    places, following = lists.places[task], lists.following[task]
    first, last, heads = lists.first[task], lists.last[task], lists.heads
    region, size = heads.shape[0] // OWNERS, words.shape[1]
    num_words = count = 0
    for owner in range(first_owner, last_owner):
        for c in range(words.shape[0]):
            i = int64(starts[c, owner])
            while i >= 0:
                if weights[c, i] != 0:
                    head = owner * region + words[c, i] // OWNERS
                    which = heads[head] - 1
                    places[count] = c * size + i
                    following[count] = -1
                    if which < 0:
                        which = num_words
                        num_words += 1
                        heads[head] = num_words
                        first[which] = count
                    else:
                        following[last[which]] = count
                    last[which] = count
                    count += 1
                i = int64(chain[c, i])
    for which in range(num_words):
        place = places[first[which]]
        word = words[place // size, place % size]
        heads[word % OWNERS * region + word // OWNERS] = 0
    return num_words


@kernel
def _sum_list(i, places, following, grads, weights, stride, num_vectors, total):
    """Set `total` to the sum of the gradients of a list; return the sum of the weights.

    The list begins at entry `i` and has at least two entries.
    """
    size = num_vectors * LANES
    gather_row(pointer(grads, places[i] * stride), size, total)
    weight = weights[places[i]]
    i = following[i]
    while i >= 0:
        if following[i] >= 0:
            prefetch(pointer(grads, places[following[i]] * stride), size)
        axpy(float32(1), pointer(grads, places[i] * stride), size, total)
        weight += weights[places[i]]
        i = following[i]
    return weight


@kernel
def _bend(i, places, following, grads, weights, stride, size, rest):
    """Return the sum of (g . rest)**2 / a over the list from entry `i` on."""
    bend = float32(0)
    if following[i] < 0:  # one gradient: `rest` is a part of it, orthogonal to the other part
        square = dot(rest, rest, size)
        return square * square / weights[places[i]]
    while i >= 0:
        along = dot(pointer(grads, places[i] * stride), rest, size)
        bend += along * along / weights[places[i]]
        i = following[i]
    return bend


@kernel
def _spread(rest, twice, samples, rows, num_vectors, products):
    """Return the mean of (u . rest)**2 over the samples u."""
    # `multiply_rows` takes rows in pairs: here the same row twice.
    multiply_rows(
        Rows(rest, twice, 2), Rows(samples, rows, SAMPLES), Matrix(products, 2, 1), num_vectors
    )
    total = float32(0)
    for i in range(SAMPLES):
        total += products[2 * i] * products[2 * i]
    return total / float32(SAMPLES)


@kernel
def _add(a, x, size, y):
    """Add a * x to the row y; return the squared length of y, summed in any order."""
    square = float32(0)
    for d in range(size):
        y[d] += a * x[d]
        square += y[d] * y[d]
    return square


@kernel
def update_rows(task, first_owner, last_owner, found, met, table, num_vectors, lists):
    """Update those rows of a table that belong to some owners, by the `Occurrences` `found`.

    `met` describes the other table. Returns the largest squared length of an updated row, or
    infinity if one holds a NaN.
    """
    stride, size = table.shape[1], num_vectors * LANES
    num_words = list_occurrences(task, first_owner, last_owner, found, lists)
    places, following, first = lists.places[task], lists.following[task], lists.first[task]
    word_at, weight_at, grads = pointer(found.words, 0), pointer(found.weights, 0), found.grads
    sums = pointer(lists.sums, 2 * task * stride)
    rest = pointer(lists.sums, (2 * task + 1) * stride)
    samples, mean = pointer(met.samples, 0), pointer(met.mean, 0)
    same, twice = pointer(lists.rows, 0), pointer(lists.rows, SAMPLES)
    products = pointer(lists.products, 2 * task * SAMPLES)
    light = float32(1) / (_UNLIKELY * (met.square + met.variance) + _OTHERS)
    most = float32(0)
    for which in range(num_words):
        if which + _AHEAD < num_words:
            place = places[first[which + _AHEAD]]
            prefetch(pointer(table, word_at[place] * stride), size)
            prefetch(pointer(grads, place * stride), size)
        i = first[which]
        place = places[i]
        row = pointer(table, word_at[place] * stride)
        if following[i] < 0:
            total, weight = pointer(grads, place * stride), weight_at[place]
        else:
            total = sums
            weight = _sum_list(
                i, places, following, grads, weight_at, stride, num_vectors, total
            )
        if found.totals.shape[0] > 0:
            found.totals[word_at[place]] += weight
        if weight <= light:
            square = _add(float32(1), total, size, row)
        else:
            along = dot(total, mean, size) / max(met.square, _TINY)
            gather_row(total, size, rest)
            axpy(-along, mean, size, rest)
            square = dot(rest, rest, size)
            bend = _bend(i, places, following, grads, weight_at, stride, size, rest)
            if weight * met.variance > float32(1):
                bend += weight * _spread(rest, twice, samples, same, num_vectors, products)
            bend += _OTHERS * weight * square
            axpy(along / max(weight * (met.square + _OTHERS), float32(1)), mean, size, row)
            scale = square / max(bend, square, _TINY)
            square = _add(scale, rest, size, row)
        if not square <= most:
            most = square if square == square else float32(math.inf)
    return most
