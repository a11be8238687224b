"""All classes, blockwise: normalisers of the full losses, and the best classes.

A range of classes is walked over `CLASSES` at a time, and for each such group the
batch in blocks: the logits of one group and one block are all that exists.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.ids import contains
from numba_ss.kernels.core.rows import gather_row, pointer
from numba_ss.kernels.core.scalar import exp, log1p
from numba_ss.kernels.core.tile import LANES, multiply, transpose
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.candidates import BLOCK

CLASSES = 128  # a multiple of ROWS


class Walk(NamedTuple):
    """All classes, the blocks of inputs that they are compared with, and scratch of each chunk."""

    weights: Any  # (num_classes, dim)
    biases: Any  # (num_classes,)
    xt: Any  # (num_blocks, dim rounded up, STRIDE): see `transpose_inputs`
    batch_size: Any
    rows: Any  # (num_chunks, CLASSES, stride): a group of classes
    logits: Any  # (num_chunks, CLASSES, BLOCK)


class Heaps(NamedTuple):
    """The best classes of each example that each chunk has found, in the order of a heap."""

    scores: Any  # (num_chunks, batch_size, k); -inf where there are less
    ids: Any  # int64, likewise; -1
    counts: Any  # int64 (num_chunks, batch_size): how many there are
    threshold: Any  # (num_chunks, rounded up to blocks): what a score must exceed


@parallel_kernel
def transpose_inputs(x, dim, num_chunks, out):
    """Write out[block] (dim rounded up, STRIDE), the blocks of `x` transposed."""
    for chunk in prange(num_chunks):
        stride = x.shape[1]
        for block in range(
            chunk * out.shape[0] // num_chunks, (chunk + 1) * out.shape[0] // num_chunks
        ):
            transpose(x, block * BLOCK * stride, stride, BLOCK, dim, out[block], 0, STRIDE)


@kernel
def _group_logits(weights, xt, num_vectors, rows, logits):
    """Write the logits, less biases, of the classes copied to `rows` and one block."""
    dim = weights.shape[1]
    multiply(
        rows, 0, rows.shape[1], 1, xt, 0, STRIDE, LANES, logits, 0, BLOCK, CLASSES,
        num_vectors, dim, 0,
    )


@kernel
def _softmax_update(logits, biases, size, peak, total, highest, added):
    """Add a group of classes to each example's maximum and sum of exp beside it.

    `total` is float64: float32 would lose the tail of a million classes. The maxima are finite
    from the start, so that a class of -inf adds nothing, not even to a sum of such alone.
    """
    for i in range(size):
        highest[i] = peak[i]
        added[i] = float32(0)
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            z, top = row[i] + bias, highest[i]
            highest[i] = top if z <= top else z
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            added[i] += exp((row[i] + bias) - highest[i])
    for i in range(size):
        total[i] = total[i] * exp(peak[i] - highest[i]) + added[i]
        peak[i] = highest[i]


@kernel
def _logistic_update(logits, biases, size, total, added):
    """Add the logistic losses of a group of classes, as if none was a label."""
    for i in range(size):
        added[i] = float32(0)
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            z = row[i] + bias
            added[i] += max(z, float32(0)) + log1p(exp(-abs(z)))
    for i in range(size):
        total[i] += added[i]


@kernel
def _normalize_range(chunk, part, walk, logistic, highest, added, peak, total):
    weights, biases, xt, batch_size = walk.weights, walk.biases, walk.xt, walk.batch_size
    rows, logits = walk.rows[chunk], walk.logits[chunk]
    peak, total, dim, num_parts = peak[part], total[part], weights.shape[1], total.shape[0]
    class_start = part * weights.shape[0] // num_parts
    class_stop = (part + 1) * weights.shape[0] // num_parts
    total[:] = 0.0
    for start in range(class_start, class_stop, CLASSES):
        stop = min(start + CLASSES, class_stop)
        for c in range(start, stop):
            gather_row(
                pointer(weights, c * dim), dim, pointer(rows, (c - start) * rows.shape[1])
            )
        for block in range(xt.shape[0]):
            first = block * BLOCK
            size = min(BLOCK, batch_size - first)
            num_vectors = (size + LANES - 1) // LANES
            _group_logits(weights, xt[block], num_vectors, rows, logits)
            if logistic:
                _logistic_update(logits, biases[start:stop], size, total[first:], added)
            else:
                _softmax_update(
                    logits, biases[start:stop], size, peak[first:], total[first:], highest, added
                )


@parallel_kernel
def normalize(walk, logistic, num_chunks, highest, added, peak, total):
    """Sum over all classes, in as many parts as `peak` and `total` have rows.

    `peak` (parts, batch_size) are the maxima of each part, lowest numbers at first, and
    `total` the sums of exp beside them; with `logistic`, `total` are sums of
    log(1 + exp(logit)). `highest` and `added` are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        parts = total.shape[0]
        for part in range(chunk * parts // num_chunks, (chunk + 1) * parts // num_chunks):
            _normalize_range(
                int64(chunk), part, walk, logistic, highest[chunk], added[chunk], peak, total
            )


@kernel
def _sink(scores, ids, size, score, row):
    """Put a class into a heap of `size` in the place of its first."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and (
            scores[child + 1] < scores[child]
            or (scores[child + 1] == scores[child] and ids[child + 1] > ids[child])
        ):
            child += 1
        if score < scores[child] or (score == scores[child] and row > ids[child]):
            break
        scores[at], ids[at] = scores[child], ids[child]
        at = child
    scores[at] = score
    ids[at] = row


@kernel
def _heap_push(scores, ids, count, score, row):
    """Put a class into a heap of the best, the worst first; return the new count.

    A full heap drops its worst: the lowest score, and of equal ones the highest id.
    """
    size = scores.shape[0]
    if count < size:
        at = count
        count += 1
        while at > 0:
            parent = (at - 1) // 2
            if scores[parent] < score or (scores[parent] == score and ids[parent] > row):
                break
            scores[at], ids[at] = scores[parent], ids[parent]
            at = parent
        scores[at] = score
        ids[at] = row
    else:
        _sink(scores, ids, size, score, row)
    return count


@kernel
def _select_update(chunk, logits, biases, start, first, size, exclude, exclude_indptr, heaps):
    """Put the classes of a group that are good enough into the examples' heaps."""
    scores, ids, counts = heaps.scores[chunk], heaps.ids[chunk], heaps.counts[chunk]
    threshold = heaps.threshold[chunk, first:]
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        good = 0
        for i in range(size):
            good += row[i] + bias > threshold[i]
        if good == 0:
            continue
        for i in range(size):
            score = row[i] + bias
            if score > threshold[i]:
                example = first + i
                seen = exclude[exclude_indptr[example] : exclude_indptr[example + 1]]
                if not contains(seen, start + s):
                    counts[example] = _heap_push(
                        scores[example], ids[example], counts[example], score, start + s
                    )
                    if counts[example] == scores.shape[1]:
                        threshold[i] = scores[example, 0]


@kernel
def _select_range(chunk, num_chunks, walk, exclude, exclude_indptr, heaps):
    weights, biases, xt, batch_size = walk.weights, walk.biases, walk.xt, walk.batch_size
    rows, logits, dim = walk.rows[chunk], walk.logits[chunk], weights.shape[1]
    class_start = chunk * weights.shape[0] // num_chunks
    class_stop = (chunk + 1) * weights.shape[0] // num_chunks
    probe = weights[0, 0] * float32(0)
    heaps.counts[chunk] = 0
    heaps.threshold[chunk] = -np.inf
    heaps.scores[chunk] = -np.inf
    heaps.ids[chunk] = -1
    for start in range(class_start, class_stop, CLASSES):
        stop = min(start + CLASSES, class_stop)
        for c in range(start, stop):
            probe += gather_row(
                pointer(weights, c * dim), dim, pointer(rows, (c - start) * rows.shape[1])
            )
        for block in range(xt.shape[0]):
            first = block * BLOCK
            size = min(BLOCK, batch_size - first)
            num_vectors = (size + LANES - 1) // LANES
            _group_logits(weights, xt[block], num_vectors, rows, logits)
            _select_update(
                chunk, logits, biases[start:stop], start, first, size, exclude, exclude_indptr,
                heaps,
            )
    return probe


@parallel_kernel
def select(walk, exclude, exclude_indptr, num_chunks, heaps, probe):
    """Write each chunk's best classes for each example to the `heaps`.

    A class of -inf is none. The classes exclude[exclude_indptr[i] : exclude_indptr[i + 1]],
    ascending, are left out for example i. `probe` turns NaN where a chunk's weights are not
    finite.
    """
    for chunk in prange(num_chunks):
        probe[chunk] += _select_range(
            int64(chunk), num_chunks, walk, exclude, exclude_indptr, heaps
        )


@kernel
def _merge_example(example, scores, ids, counts, out_scores, out_ids):
    size, count = out_scores.shape[0], 0
    for part in range(scores.shape[0]):
        for j in range(counts[part, example]):
            score, row = scores[part, example, j], ids[part, example, j]
            if (
                count < size
                or score > out_scores[0]
                or (score == out_scores[0] and row < out_ids[0])
            ):
                count = _heap_push(out_scores, out_ids, count, score, row)
    for last in range(count - 1, 0, -1):  # the worst of those that are left goes to their end
        score, row = out_scores[last], out_ids[last]
        out_scores[last], out_ids[last] = out_scores[0], out_ids[0]
        _sink(out_scores, out_ids, last, score, row)
    out_scores[count:] = -np.inf
    out_ids[count:] = -1


@parallel_kernel
def merge_best(scores, ids, counts, num_chunks, out_scores, out_ids):
    """Write the best classes of each example, best first, of those that `select` found."""
    for chunk in prange(num_chunks):
        batch_size = out_scores.shape[0]
        for i in range(chunk * batch_size // num_chunks, (chunk + 1) * batch_size // num_chunks):
            _merge_example(i, scores, ids, counts, out_scores[i], out_ids[i])
