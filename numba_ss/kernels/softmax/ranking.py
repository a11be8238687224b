"""Walks over all classes: the normalisers of the full losses, and the best classes.

Classes are taken in groups of `CLASSES`, and for each group the batch in blocks of inputs. Only
the logits of one group and one block exist at a time.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.ids import contains
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.rows import gather_row, pointer
from numba_ss.kernels.core.scalar import exp, log1p
from numba_ss.kernels.core.tile import Matrix, multiply, transpose
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.sampled_classes import BLOCK

CLASSES = 128  # a multiple of ROWS


class Walk(NamedTuple):
    """All classes, the inputs they are compared with, and scratch for each chunk."""

    weights: Any  # (num_classes, dim)
    biases: Any  # (num_classes,)
    transposed_inputs: Any  # (num_blocks, dim rounded up, STRIDE): see `transpose_inputs`
    batch_size: Any
    rows: Any  # (num_chunks, CLASSES, stride): a group of classes
    logits: Any  # (num_chunks, CLASSES, BLOCK)


class Sums(NamedTuple):
    """The sums over all classes, in parts that are independent of the number of chunks."""

    running_max: Any  # (parts, batch_size): the largest logit; the lowest number at first
    running_sum: Any  # float64, same shape: of exp(logit - running_max), or of losses
    group_max: Any  # (num_chunks, BLOCK): scratch
    group_sum: Any  # (num_chunks, BLOCK): scratch


class Excluded(NamedTuple):
    """Classes that are left out: classes[indptr[i]:indptr[i + 1]], ascending, for example i."""

    classes: Any  # int64
    indptr: Any  # int64 (batch_size + 1,)


class Heaps(NamedTuple):
    """The best classes of each example that each chunk has found, in the order of a heap."""

    scores: Any  # (num_chunks, batch_size, k); -inf after the last class
    ids: Any  # int64 (num_chunks, batch_size, k); -1 after the last class
    counts: Any  # int64 (num_chunks, batch_size): how many classes there are
    threshold: Any  # (num_chunks, batch_size rounded up to blocks): a new score must exceed it


@parallel_kernel
def transpose_inputs(inputs, dim, num_chunks, out):
    """Write out[block] (dim rounded up, STRIDE), the blocks of `inputs` transposed."""
    for chunk in prange(num_chunks):
        stride = inputs.shape[1]
        for block in range(
            chunk * out.shape[0] // num_chunks, (chunk + 1) * out.shape[0] // num_chunks
        ):
            source = Matrix(pointer(inputs, block * BLOCK * stride), stride, 1)
            transpose(source, BLOCK, dim, Matrix(pointer(out[block], 0), STRIDE, 1))


@kernel
def _group_logits(walk, chunk, block):
    """Write a chunk's logits, without biases, of a group of classes and a block of inputs."""
    rows, first = walk.rows[chunk], block * BLOCK
    size = min(BLOCK, walk.batch_size - first)
    columns = Matrix(pointer(walk.transposed_inputs[block], 0), STRIDE, 1)
    multiply(
        Matrix(pointer(rows, 0), rows.shape[1], 1), columns,
        Matrix(pointer(walk.logits[chunk], 0), BLOCK, 1), CLASSES, (size + LANES - 1) // LANES,
        walk.weights.shape[1], 0,
    )
    return size


@kernel
def _softmax_update(logits, biases, size, running_max, running_sum, group_max, group_sum):
    """Add a group of classes to the running maximum and the running sum of each example.

    The sum is float64: float32 would lose the tail of a million classes. The maxima are finite
    from the start. So a class with the logit -inf adds nothing, even if all classes are such.
    """
    for i in range(size):
        group_max[i] = running_max[i]
        group_sum[i] = float32(0)
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            z, largest = row[i] + bias, group_max[i]
            group_max[i] = largest if z <= largest else z
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            group_sum[i] += exp((row[i] + bias) - group_max[i])
    for i in range(size):
        running_sum[i] = running_sum[i] * exp(running_max[i] - group_max[i]) + group_sum[i]
        running_max[i] = group_max[i]


@kernel
def _logistic_update(logits, biases, size, running_sum, group_sum):
    """Add the logistic losses of a group of classes, as if no class was a label."""
    for i in range(size):
        group_sum[i] = float32(0)
    for s in range(biases.shape[0]):
        row, bias = logits[s], biases[s]
        for i in range(size):
            z = row[i] + bias
            group_sum[i] += max(z, float32(0)) + log1p(exp(-abs(z)))
    for i in range(size):
        running_sum[i] += group_sum[i]


@kernel
def _normalize_part(chunk, part, walk, logistic, sums):
    weights, biases, logits = walk.weights, walk.biases, walk.logits[chunk]
    rows, dim, num_parts = walk.rows[chunk], weights.shape[1], sums.running_sum.shape[0]
    running_max, running_sum = sums.running_max[part], sums.running_sum[part]
    group_max, group_sum = sums.group_max[chunk], sums.group_sum[chunk]
    class_start = part * weights.shape[0] // num_parts
    class_stop = (part + 1) * weights.shape[0] // num_parts
    running_sum[:] = 0.0
    for start in range(class_start, class_stop, CLASSES):
        stop = min(start + CLASSES, class_stop)
        for c in range(start, stop):
            gather_row(
                pointer(weights, c * dim), dim, pointer(rows, (c - start) * rows.shape[1])
            )
        for block in range(walk.transposed_inputs.shape[0]):
            size, first = _group_logits(walk, chunk, block), block * BLOCK
            if logistic:
                _logistic_update(logits, biases[start:stop], size, running_sum[first:], group_sum)
            else:
                _softmax_update(
                    logits, biases[start:stop], size, running_max[first:], running_sum[first:],
                    group_max, group_sum,
                )


@parallel_kernel
def normalize(walk, logistic, num_chunks, sums):
    """Sum exp(logit) over all classes, in several parts; with `logistic`, log(1 + exp(logit))."""
    for chunk in prange(num_chunks):
        parts = sums.running_sum.shape[0]
        for part in range(chunk * parts // num_chunks, (chunk + 1) * parts // num_chunks):
            _normalize_part(int64(chunk), part, walk, logistic, sums)


@kernel
def _sink(scores, ids, size, score, row):
    """Replace the first class of a heap by another, and restore the order of the heap."""
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
    """Put a class into a heap of the best classes; return how many it has now.

    The worst class stands first: that of the lowest score, and of equal scores that of the highest
    id. A full heap drops it.
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
def _select_update(chunk, logits, biases, start, first, size, excluded, heaps):
    """Put the classes of a group whose scores exceed the threshold into the examples' heaps."""
    scores, ids, counts = heaps.scores[chunk], heaps.ids[chunk], heaps.counts[chunk]
    threshold = heaps.threshold[chunk, first:]
    left_out, indptr = excluded.classes, excluded.indptr
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
                own = left_out[indptr[example] : indptr[example + 1]]
                if not contains(own, start + s):
                    counts[example] = _heap_push(
                        scores[example], ids[example], counts[example], score, start + s
                    )
                    if counts[example] == scores.shape[1]:
                        threshold[i] = scores[example, 0]


@kernel
def _select_range(chunk, num_chunks, walk, excluded, heaps):
    weights, biases = walk.weights, walk.biases
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
        for block in range(walk.transposed_inputs.shape[0]):
            size, first = _group_logits(walk, chunk, block), block * BLOCK
            _select_update(
                chunk, logits, biases[start:stop], start, first, size, excluded, heaps
            )
    return probe


@parallel_kernel
def select(walk, excluded, num_chunks, heaps, probe):
    """Write each chunk's best classes for each example to the `heaps`.

    A class with the score -inf is none of them. `probe` turns NaN where a chunk's weights are not
    finite.
    """
    for chunk in prange(num_chunks):
        probe[chunk] += _select_range(int64(chunk), num_chunks, walk, excluded, heaps)


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
    for last in range(count - 1, 0, -1):  # sorts the heap: the worst of the rest goes to its end
        score, row = out_scores[last], out_ids[last]
        out_scores[last], out_ids[last] = out_scores[0], out_ids[0]
        _sink(out_scores, out_ids, last, score, row)
    out_scores[count:] = -np.inf
    out_ids[count:] = -1


@parallel_kernel
def merge_best(scores, ids, counts, num_chunks, out_scores, out_ids):
    """Write the best classes of each example, best first, from those that `select` found."""
    for chunk in prange(num_chunks):
        batch_size = out_scores.shape[0]
        for i in range(chunk * batch_size // num_chunks, (chunk + 1) * batch_size // num_chunks):
            _merge_example(i, scores, ids, counts, out_scores[i], out_ids[i])
