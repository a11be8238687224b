"""All classes, blockwise: normalisers of the full losses, and the best classes.

A range of classes is walked over `CLASSES` at a time, and for each such group the
batch in blocks: the logits of one group and one block are all that exists.
"""

import numpy as np
from numba import prange
from numpy import float32

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.ids import contains
from numba_ss.kernels.core.rows import gather_row, pointer
from numba_ss.kernels.core.scalar import exp, log1p
from numba_ss.kernels.core.tile import LANES, multiply, transpose
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.candidates import BLOCK

CLASSES = 128  # a multiple of ROWS


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
def _normalize_range(
    class_start, class_stop, weights, biases, xt, batch_size, logistic, rows, logits, highest,
    added, peak, total,
):
    dim = weights.shape[1]
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
def normalize(
    weights, biases, xt, batch_size, logistic, num_chunks, rows, logits, highest, added, peak,
    total,
):
    """Sum over all classes, in as many parts as `peak` and `total` have rows.

    `peak` (parts, batch_size) are the maxima of each part, lowest numbers at first, and
    `total` the sums of exp beside them; with `logistic`, `total` are sums of
    log(1 + exp(logit)). The other arrays are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        parts = total.shape[0]
        for part in range(chunk * parts // num_chunks, (chunk + 1) * parts // num_chunks):
            _normalize_range(
                part * weights.shape[0] // parts, (part + 1) * weights.shape[0] // parts,
                weights, biases, xt, batch_size, logistic, rows[chunk], logits[chunk],
                highest[chunk], added[chunk], peak[part], total[part],
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
def _select_update(
    logits, biases, start, first, size, exclude, exclude_offsets, threshold, scores, ids, counts
):
    """Put the classes of a group that are good enough into the examples' heaps."""
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
                seen = exclude[exclude_offsets[example] : exclude_offsets[example + 1]]
                if not contains(seen, start + s):
                    counts[example] = _heap_push(
                        scores[example], ids[example], counts[example], score, start + s
                    )
                    if counts[example] == scores.shape[1]:
                        threshold[i] = scores[example, 0]


@kernel
def _select_range(
    class_start, class_stop, weights, biases, xt, batch_size, exclude, exclude_offsets, rows,
    logits, threshold, scores, ids, counts,
):
    dim = weights.shape[1]
    probe = weights[0, 0] * float32(0)
    counts[:] = 0
    threshold[:] = -np.inf
    scores[:] = -np.inf
    ids[:] = -1
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
                logits, biases[start:stop], start, first, size, exclude, exclude_offsets,
                threshold[first:], scores, ids, counts,
            )
    return probe


@parallel_kernel
def select(
    weights, biases, xt, batch_size, exclude, exclude_offsets, num_chunks, rows, logits,
    threshold, scores, ids, counts, probe,
):
    """Write each chunk's best classes for each example, in the order of a heap.

    `scores` and `ids` are (num_chunks, batch_size, k), of which `counts` are there; missing
    ones are -inf and -1. A class of -inf is none.
    The classes exclude[exclude_offsets[i] : exclude_offsets[i + 1]], ascending, are
    left out for example i. `probe` turns NaN where a chunk's weights are not finite.
    """
    for chunk in prange(num_chunks):
        probe[chunk] += _select_range(
            chunk * weights.shape[0] // num_chunks,
            (chunk + 1) * weights.shape[0] // num_chunks, weights, biases, xt, batch_size,
            exclude, exclude_offsets, rows[chunk], logits[chunk], threshold[chunk],
            scores[chunk], ids[chunk], counts[chunk],
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
