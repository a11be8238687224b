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
  cancel within an occurrence.

Two bounds follow, however often a row repeats and whatever the learning rate. The row moves along
R by at most four times the mean length of the rows that it met. And its scores g_i / a_i . r
change by at most 1 in the root mean square weighted by a_i, since
|R|**2 <= A sum (g_i . d)**2 / a_i (Cauchy-Schwarz inequality).

If x <= 1 in both directions, the update is the plain sum. So it is for nine rows out of ten, and a
test that needs no direction finds most of them: x is at most sum |g_i|**2 / a_i + A (s + 1/4) along
any d, where s is the Frobenius norm of the second moment of the sample, which is at least the
largest eigenvalue.

A row belongs to one of OWNERS owners, and its gradients are added in the order of their
occurrence, so the result does not depend on how many threads share the owners.
"""

import math
from typing import Any, NamedTuple

from numpy import float32

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, multiply_rows
from numba_ss.kernels.core.rows import (
    add_scaled,
    axpy,
    dot,
    gather_row,
    pointer,
    prefetch,
    vector_dot,
)
from numba_ss.kernels.core.tile import Matrix

OWNERS = 64
SAMPLES = 16  # rows from which the moments of a table's rows are estimated
_AHEAD = 4  # rows that are prefetched
_OTHERS = float32(0.25)  # the quarter of A that allows for the rows of the other table
_TINY = float32(1e-30)


class Occurrences(NamedTuple):
    """The occurrences of rows of a table in a batch; the first axis of all arrays is the chunk."""

    words: Any  # int64 (chunks, occurrences): the row that each occurrence is of
    weights: Any  # same shape: sums of |gradients of scores|; without weight there is no gradient
    starts: Any  # int32 (chunks, OWNERS + 1): see `sort_owners`
    order: Any  # int32 (chunks, occurrences): the occurrences, those of each owner together
    grads: Any  # (chunks, occurrences * stride): their gradients
    totals: Any  # (num_words + 1,): to which the weights of each row are added; or empty


class Met(NamedTuple):
    """Estimates for the rows of the other table that were met in the batch."""

    samples: Any  # (SAMPLES, stride): some of these rows, or zeros
    mean: Any  # (stride,): the mean of the samples that are not zero
    share: Any  # 1 / their number
    square: Any  # the squared length of the mean
    steepest: Any  # at least the mean of (u . d)**2 over the samples u, for any unit vector d


class Lists(NamedTuple):
    """Scratch of the tasks that share an update; the first axis is the task.

    It holds a linked list of occurrences for each word, and space for sums. An occurrence is
    given by its position in the batch.
    """

    heads: Any  # int32 (OWNERS * words of an owner,): 1 + the first occurrence of a word, or 0
    following: Any  # int32 (tasks, occurrences): the next occurrence of the same word, or -1
    words: Any  # int32, same shape: the words that occur
    sums: Any  # (tasks, stride): G, then R, of one row
    means: Any  # (tasks, 2, stride): means of the samples of inputs and of outputs
    rows: Any  # (SAMPLES + 2,): offsets of the samples; then twice the offset of a single row
    products: Any  # (tasks, SAMPLES * SAMPLES): inner products with the samples


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
def measure_samples(samples, rows, products, out):
    """Set `out` to the mean of the samples; return `share`, `square`, `steepest` of `Met`.

    Rows of zeros are not counted: they belong to no word, or were never updated. `rows` and
    `products` are those of `Lists`.
    """
    mean, stride, inner = pointer(out, 0), samples.shape[1], pointer(products, 0)
    all_rows = Rows(pointer(samples, 0), pointer(rows, 0), SAMPLES)
    multiply_rows(all_rows, all_rows, Matrix(inner, SAMPLES, 1), stride // LANES)
    for d in range(stride):
        mean[d] = float32(0)
    squares, count = float32(0), 0
    for i in range(SAMPLES):
        count += inner[i * SAMPLES + i] > 0
        axpy(float32(1), pointer(samples, i * stride), stride, mean)
    for i in range(SAMPLES * SAMPLES):
        squares += inner[i] * inner[i]
    share = float32(1) / float32(max(count, 1))
    for d in range(stride):
        mean[d] *= share
    return share, dot(mean, mean, stride), math.sqrt(squares) * share


@exact_kernel
def sort_owners(words, weights, absent, starts, order):
    """Sort the positions of the words by their owners; those of an owner stay in their order.

    A word belongs to the owner word % OWNERS. The positions of owner o are order[i] with i from
    starts[o] to starts[o + 1]. Those after starts[OWNERS] have no word, or no weight.
    """
    count = words.shape[0]
    for o in range(OWNERS + 1):
        starts[o] = 0
    for i in range(count):
        starts[_owner(words[i], weights[i], absent)] += 1
    for o in range(OWNERS):
        starts[o + 1] += starts[o]
    for i in range(count - 1, -1, -1):
        o = _owner(words[i], weights[i], absent)
        starts[o] -= 1
        order[starts[o]] = i


@exact_kernel
def _owner(word, weight, absent):
    return OWNERS if word == absent or weight == 0 else word & (OWNERS - 1)


@exact_kernel
def _head(word, region):
    """Return the position of a word in `heads`: the words of an owner stand side by side."""
    return (word & (OWNERS - 1)) * region + word // OWNERS


@exact_kernel
def list_occurrences(task, first_owner, last_owner, found, lists):
    """List the `Occurrences` of each word of some owners; return how many words there are.

    Those without weight are left out. `lists.heads` must be zeros, and says where lists begin.
    """
    words, starts, order = found.words, found.starts, found.order
    heads, following = pointer(lists.heads, 0), pointer(lists.following[task], 0)
    own, region = pointer(lists.words[task], 0), lists.heads.shape[0] // OWNERS
    size, num_words = words.shape[1], 0
    # From the last to the first, so that each list begins with the first.
    for c in range(words.shape[0] - 1, -1, -1):
        for k in range(starts[c, last_owner] - 1, starts[c, first_owner] - 1, -1):
            i = order[c, k]
            word = words[c, i]
            head = _head(word, region)
            later = heads[head] - 1
            following[c * size + i] = later
            own[num_words] = word
            num_words += later < 0
            heads[head] = c * size + i + 1
    return num_words


@kernel
def _sum_list(i, following, grads, stride, num_vectors, total):
    """Set `total` to the sum of the gradients of the list that begins with occurrence `i`."""
    gather_row(pointer(grads, i * stride), num_vectors * LANES, total)
    i = following[i]
    while i >= 0:
        add_scaled(float32(1), pointer(grads, i * stride), num_vectors, total)
        i = following[i]


@kernel
def _bend(i, following, grads, weights, stride, num_vectors, rest):
    """Return the sum of (g . rest)**2 / a over the list that begins with occurrence `i`."""
    bend = float32(0)
    while i >= 0:
        along = vector_dot(pointer(grads, i * stride), rest, num_vectors)
        bend += along * along / weights[i]
        i = following[i]
    return bend


@kernel
def _spread(rest, twice, samples, rows, num_vectors, products):
    """Return the sum of (u . rest)**2 over the samples u."""
    # `multiply_rows` takes rows in pairs: here the same row twice.
    multiply_rows(
        Rows(rest, twice, 2), Rows(samples, rows, SAMPLES), Matrix(products, 2, 1), num_vectors
    )
    total = float32(0)
    for i in range(SAMPLES):
        total += products[2 * i] * products[2 * i]
    return total


@kernel
def update_rows(task, first_owner, last_owner, found, met, table, num_vectors, lists):
    """Update those rows of a table that belong to some owners, by the `Occurrences` `found`.

    `met` describes the other table. Returns the largest squared length of an updated row, or
    infinity if one holds a NaN.
    """
    stride, size = table.shape[1], num_vectors * LANES
    num_words = list_occurrences(task, first_owner, last_owner, found, lists)
    # Pointers, because an array that is passed to a function costs an atomic count of references.
    heads, region = pointer(lists.heads, 0), lists.heads.shape[0] // OWNERS
    following, words = pointer(lists.following[task], 0), pointer(lists.words[task], 0)
    totals = pointer(found.totals, 0)
    weights, grads, rows = pointer(found.weights, 0), pointer(found.grads, 0), pointer(table, 0)
    rest = pointer(lists.sums, task * stride)
    samples, mean = pointer(met.samples, 0), pointer(met.mean, 0)
    same, twice = pointer(lists.rows, 0), pointer(lists.rows, SAMPLES)
    products = pointer(lists.products, task * SAMPLES * SAMPLES)
    keeps_totals = found.totals.shape[0] > 0
    steepest, most = met.steepest + _OTHERS, float32(0)
    for which in range(num_words):
        if which + _AHEAD < num_words:
            word = words[which + _AHEAD]
            prefetch(pointer(rows, word * stride), size)
            prefetch(pointer(grads, (heads[_head(word, region)] - 1) * stride), size)
        word = words[which]
        head = _head(word, region)
        begin = heads[head] - 1
        heads[head] = 0
        row = pointer(rows, word * stride)
        i, weight, bound = begin, float32(0), float32(0)
        while i >= 0:
            if following[i] >= 0:
                prefetch(pointer(grads, following[i] * stride), size)
            grad = pointer(grads, i * stride)
            weight += weights[i]
            bound += vector_dot(grad, grad, num_vectors) / weights[i]
            i = following[i]
        if keeps_totals:
            totals[word] += weight
        if bound + weight * steepest <= float32(1):
            i, square = begin, float32(0)
            while i >= 0:
                square = add_scaled(
                    float32(1), pointer(grads, i * stride), num_vectors, row
                )
                i = following[i]
        else:
            _sum_list(begin, following, grads, stride, num_vectors, rest)
            along = vector_dot(rest, mean, num_vectors) / max(met.square, _TINY)
            square = add_scaled(-along, mean, num_vectors, rest)
            bend = _bend(begin, following, grads, weights, stride, num_vectors, rest)
            spread = _spread(rest, twice, samples, same, num_vectors, products)
            bend += weight * (spread * met.share + _OTHERS * square)
            along /= max(weight * (met.square + _OTHERS), float32(1))
            add_scaled(along, mean, num_vectors, row)
            square = add_scaled(square / max(bend, square, _TINY), rest, num_vectors, row)
        if not square <= most:
            most = square if square == square else float32(math.inf)
    return most
