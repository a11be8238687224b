"""The summed gradients of a batch, added to the rows of a table so that none overshoots.

All gradients of a batch are taken at the same rows. Added up, those of a row that comes often
would move it far past where they point, and the next batch as far back: vectors grow without
end. Single steps one after the other cannot do that, for each sees what the last has changed.

Occurrence i of a row brings a gradient g_i, the sum of c u over the rows u that it met, where
c = rate * (y - p), and its weight a_i, the sum of all |c|. G is the sum of all g_i, A of all a_i.
Along a direction d, the learning rate times the curvature of the losses is at most
sum |c| (u . d)**2, for with the logistic and the softmax loss p (1 - p) <= |y - p|. The part of G
along d is scaled by min(1, 1 / x), where x is this curvature and a quarter of A, which stands for
the rows u that move in the same batch. Two directions are treated so:

- that of m, the mean of the rows that are met. All of them have it in common: targets pull along
  it, noise words push, and what cancels in the gradients adds up in the curvature. There
  x = A (|m|**2 + 1/4).
- that of R, the rest of G. With d = R / |R|,
  x = sum (g_i . d)**2 / a_i + A v + A / 4, and v is the mean of (u . d)**2 over some rows u that
  were met: it counts what cancels within an occurrence, and is left out where A is too small for
  it to matter.

So, whatever repeats, however often and at whatever rate, a row moves along R by no more than
four times the mean length of what it met, and its scores g_i / a_i . r change by 1 at most in the
root mean square weighted by a_i, since |R|**2 <= A sum (g_i . d)**2 / a_i (Cauchy and Schwarz).
Where x <= 1, as for a row that comes once or a few times, the change is the plain sum. x is not
taken where A is so small that it is at most 1 unless the rows that were met are, in the mean of
their squares, eight times as long as the samples.

A row belongs to one of OWNERS owners, and its gradients are added in the order in which they
occurred, so the result does not depend on how many threads share the owners.
"""

import math
from typing import Any, NamedTuple

from numpy import float32

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.row_tile import multiply_rows, prefetch
from numba_ss.kernels.core.rows import axpy, dot, gather_row, pointer
from numba_ss.kernels.core.tile import LANES

OWNERS = 64
SAMPLES = 16  # rows that tell how the rows of a table differ
_AHEAD = 4  # rows that are asked for before they are used
_UNLIKELY = float32(8)
_OTHERS = float32(0.25)  # of A, for the rows of the other table that move as well
_TINY = float32(1e-30)


class Met(NamedTuple):
    """What is known of the rows of the other table, which the rows of a table met."""

    samples: Any  # (SAMPLES, stride): some of them
    mean: Any  # (stride,): their mean
    square: Any  # its squared length
    variance: Any  # of the samples


class Lists(NamedTuple):
    """Scratch of the tasks that share an update; the first axis is the task."""

    heads: Any  # int32 (OWNERS * words of an owner,): the list of a word, from 1 on; 0 for none
    places: Any  # int32 (tasks, occurrences): which occurrence
    following: Any  # int32, likewise: the next occurrence of the same word, -1 after the last
    first: Any  # int32, likewise: where each list begins
    last: Any  # int32, likewise: where it ends
    sums: Any  # (tasks, 2, stride)
    means: Any  # (tasks, 2, stride): of the samples of inputs and of outputs
    rows: Any  # (SAMPLES + 2,): offsets of the samples; twice that of a row alone
    products: Any  # (tasks, 2 * SAMPLES)


@exact_kernel
def sample_rows(c, table, words, samples):
    """Copy the rows of those samples that are among the words of chunk `c`.

    The samples are spread evenly over `words` (chunks, words of a chunk). While they are copied
    nobody may change the table.
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

    Rows of zeros are not counted: they are of no word, or nothing is known of them yet.
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
def list_occurrences(first_owner, last_owner, words, weights, task, lists):
    """List the occurrences of each word of some owners; return how many words there are.

    A word belongs to owner word % OWNERS. What weighs nothing has no gradient, and is left out.
    """
    places, following = lists.places[task], lists.following[task]
    first, last, heads = lists.first[task], lists.last[task], lists.heads
    region = heads.shape[0] // OWNERS
    num_words = count = 0
    for i in range(words.shape[0]):
        word = words[i]
        owner = word % OWNERS
        if owner < first_owner or owner >= last_owner or weights[i] == 0:
            continue
        head = owner * region + word // OWNERS
        which = heads[head] - 1
        places[count] = i
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
    for which in range(num_words):
        word = words[places[first[which]]]
        heads[word % OWNERS * region + word // OWNERS] = 0
    return num_words


@kernel
def _sum_list(i, places, following, grads, weights, stride, num_vectors, total):
    """Set `total` to the sum of the gradients of the list that begins at `i`; return its weight."""
    size = num_vectors * LANES
    gather_row(pointer(grads, places[i] * stride), size, total)
    weight = weights[places[i]]
    i = following[i]
    while i >= 0:
        if following[i] >= 0:
            prefetch(pointer(grads, 0), places[following[i]] * stride, num_vectors)
        axpy(float32(1), pointer(grads, places[i] * stride), size, total)
        weight += weights[places[i]]
        i = following[i]
    return weight


@kernel
def _bend(i, places, following, grads, weights, stride, size, rest):
    """Return the sum of (g . rest)**2 / a over the list that begins at `i`."""
    bend = float32(0)
    if following[i] < 0:  # `rest` is all of the gradient that is not along the mean
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
    # Rows are multiplied in pairs: here the same one twice.
    multiply_rows(rest, twice, 2, samples, rows, SAMPLES, products, 2, num_vectors)
    total = float32(0)
    for i in range(SAMPLES):
        total += products[2 * i] * products[2 * i]
    return total / float32(SAMPLES)


@kernel
def _add(a, x, size, y):
    """Add a * x to the row y; return its squared length, in any order of summation."""
    square = float32(0)
    for d in range(size):
        y[d] += a * x[d]
        square += y[d] * y[d]
    return square


@kernel
def update_rows(
    task, first_owner, last_owner, words, grads, weights, met, table, num_vectors, lists
):
    """Change the rows of a table that belong to some owners.

    Row i of `grads`, as wide as the table, is the gradient of the i-th occurrence, of the word
    words[i] and with the weight weights[i]. `met` is of the other table. Returns the largest
    squared length of a row that was changed; infinity where there is a NaN.
    """
    stride, size = table.shape[1], num_vectors * LANES
    num_words = list_occurrences(first_owner, last_owner, words, weights, task, lists)
    places, following, first = lists.places[task], lists.following[task], lists.first[task]
    total = pointer(lists.sums, 2 * task * stride)
    rest = pointer(lists.sums, (2 * task + 1) * stride)
    samples, mean = pointer(met.samples, 0), pointer(met.mean, 0)
    same, twice = pointer(lists.rows, 0), pointer(lists.rows, SAMPLES)
    products = pointer(lists.products, 2 * task * SAMPLES)
    light = float32(1) / (_UNLIKELY * (met.square + met.variance) + _OTHERS)
    most = float32(0)
    for which in range(num_words):
        if which + _AHEAD < num_words:
            place = places[first[which + _AHEAD]]
            prefetch(pointer(table, 0), words[place] * stride, num_vectors)
            prefetch(pointer(grads, 0), place * stride, num_vectors)
        i = first[which]
        row = pointer(table, words[places[i]] * stride)
        weight = _sum_list(i, places, following, grads, weights, stride, num_vectors, total)
        if weight <= light:
            square = _add(float32(1), total, size, row)
        else:
            along = dot(total, mean, size) / max(met.square, _TINY)
            gather_row(total, size, rest)
            axpy(-along, mean, size, rest)
            square = dot(rest, rest, size)
            bend = _bend(i, places, following, grads, weights, stride, size, rest)
            if weight * met.variance > float32(1):
                bend += weight * _spread(rest, twice, samples, same, num_vectors, products)
            bend += _OTHERS * weight * square
            axpy(along / max(weight * (met.square + _OTHERS), float32(1)), mean, size, row)
            scale = square / max(bend, square, _TINY)
            square = _add(scale, rest, size, row)
        if not square <= most:
            most = square if square == square else float32(math.inf)
    return most
