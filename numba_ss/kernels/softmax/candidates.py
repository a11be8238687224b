"""The sampled classes' rows on their way into the pass of a batch, and their gradients out of it.

See `batch` for what lies between. The unique inputs are cut into blocks, the sampled classes
into strips.
"""

import numpy as np
from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.rows import dot, gather_row, pointer, scale_row
from numba_ss.kernels.core.scalar import exp, log
from numba_ss.kernels.core.tile import LANES, ROWS, multiply, prefetch_row
from numba_ss.kernels.softmax.buffers import FACTOR, HIT, SCALE, integers, numbers
from numba_ss.kernels.softmax.members import sum_others

BLOCK = 64  # inputs; a multiple of LANES and ROWS
STRIP = 128  # sampled classes; a multiple of ROWS
# Blocks begin at a multiple of it, so that what is rounded up to vectors and to rows of a
# tile does not reach into the next.
UNIT = max(LANES, ROWS)
AHEAD = 8  # rows that are asked for before they are read


@kernel
def blocks_of(num_inputs):
    """Return how many blocks unique inputs are cut into: an even number, but for few inputs."""
    count = (num_inputs + BLOCK - 1) // BLOCK
    return count + count % 2 if num_inputs > BLOCK // 2 else count


@kernel
def block_start(block, num_blocks, num_inputs):
    """Return the first input of a block: the inputs evenly shared out, in whole units."""
    num_units = (num_inputs + UNIT - 1) // UNIT
    return min(block * num_units // num_blocks * UNIT, num_inputs)


@kernel
def subtract_logs(counts, logits):
    """Subtract log Q from logits, or from what they start from."""
    for j in range(logits.shape[0]):
        logits[j] -= log(counts[j])


@kernel
def _mark_infinite_counts(counts, adjusted_biases):
    """Turn what an infinite count made -inf into NaN; a bias of -inf alone says no column."""
    for j in range(adjusted_biases.shape[0]):
        adjusted_biases[j] += float32(0) * counts[j]


@kernel
def _mark_infinite(adjusted_biases):
    for j in range(adjusted_biases.shape[0]):
        bias = adjusted_biases[j]
        adjusted_biases[j] = bias if bias < np.inf else float32(np.nan)


@kernel
def _pack_rows(start, stop, weights, biases, sampled, out_rows, out_biases):
    dim, stride = weights.shape[1], out_rows.shape[1]
    for j in range(start, stop):
        if j < sampled.shape[0]:
            if j + AHEAD < sampled.shape[0]:
                prefetch_row(weights, sampled[j + AHEAD])
            row = sampled[j]
            probe = gather_row(pointer(weights, row * dim), dim, pointer(out_rows, j * stride))
            out_biases[j] = biases[row] + probe
        else:
            out_rows[j, :] = float32(0)
            out_biases[j] = -np.inf


@kernel
def pack_candidates(start, stop, weights, biases, sampled, counts, subtract_log_q, buffers):
    """Gather some of the `sampled_rows`, and their `adjusted_biases`, bias - log Q.

    Rows beyond the sampled classes, up to a multiple of ROWS, get the bias -inf: no column. So
    does a class with such a bias. A row that is not finite gets the bias NaN, and so does a
    class, one with a count, whose bias or log Q is not.
    """
    rows = numbers(buffers, "sampled_rows", weights)
    adjusted_biases = numbers(buffers, "adjusted_biases", weights)
    _pack_rows(start, stop, weights, biases, sampled, rows, adjusted_biases)
    stop = min(stop, counts.shape[0])
    if subtract_log_q:
        subtract_logs(counts[start:stop], adjusted_biases[start:stop])
        _mark_infinite_counts(counts[start:stop], adjusted_biases[start:stop])
    if start < stop:
        _mark_infinite(adjusted_biases[start:stop])


# Exact: a sum that may be reordered is, in one way when it is freshly compiled and in another
# when a caller comes from the cache.
@exact_kernel
def _sum_scales(row_scales, count):
    """Return the sum of `count` numbers, in order."""
    total = row_scales[0]
    for k in range(1, count):
        total += row_scales[k]
    return total


@kernel
def _scale_block(chunk, part, first, size, is_relative, like, buffers):
    """Multiply the probabilities of a block by the sum of the scales of their input's members.

    `part` is which block in memory, `first` its first input of `size`.
    """
    probabilities = numbers(buffers, "probabilities", like)
    strip_max = numbers(buffers, "strip_max", like)
    running_max = numbers(buffers, "running_max", like)
    row_scales = numbers(buffers, "row_scales", like)
    indptr = integers(buffers, "member_indptr")
    num_rows = numbers(buffers, "grad_sampled_rows", like).shape[0]
    scratch = numbers(buffers, "block_scratch", like)[chunk]
    total, factor = scratch[SCALE], scratch[FACTOR]
    num_strips = (num_rows + STRIP - 1) // STRIP
    # Whole vectors, as the numbers beyond are no more to compute.
    width = (size + LANES - 1) // LANES * LANES
    for i in range(size):
        begin, end = indptr[first + i], indptr[first + i + 1]
        total[i] = _sum_scales(pointer(row_scales, begin), end - begin)
    for i in range(size, width):
        total[i] = float32(0)
        factor[i] = float32(0)
    for strip in range(num_strips):
        for i in range(size):
            factor[i] = total[i]
        if is_relative:
            below = strip_max[part * num_strips + strip]
            for i in range(size):
                factor[i] *= exp(below[i] - running_max[first + i])
        for s in range(strip * STRIP, min((strip + 1) * STRIP, num_rows)):
            row = pointer(probabilities, (part * num_rows + s) * BLOCK)
            scale_row(pointer(factor, 0), width, row)


# Exact, see `_sum_scales`.
@exact_kernel
def _share_hits(part, first, size, is_relative, like, buffers):
    """Write the gradients of sampled classes that are labels of some examples of an input.

    They are those of the other examples.
    """
    probabilities = numbers(buffers, "probabilities", like)
    strip_max = numbers(buffers, "strip_max", like)
    running_max = numbers(buffers, "running_max", like)
    row_scales = numbers(buffers, "row_scales", like)
    hit_probabilities = numbers(buffers, "hit_probabilities", like)
    indptr, hit_indptr = integers(buffers, "member_indptr"), integers(buffers, "hit_indptr")
    hit_list, member_hits = integers(buffers, "hit_list"), integers(buffers, "member_hits")
    num_rows = numbers(buffers, "grad_sampled_rows", like).shape[0]
    (num_columns, stride), num_strips = member_hits.shape, (num_rows + STRIP - 1) // STRIP
    for i in range(size):
        u = first + i
        begin, count = indptr[u], indptr[u + 1] - indptr[u]
        if count == 1:  # there are no others; or a sampled class is left out
            continue
        for e in range(hit_indptr[u], hit_indptr[u + 1]):
            if hit_probabilities[e] == float32(0):  # it is in an earlier entry
                continue
            hit = hit_list[HIT, e]
            others = sum_others(
                hit, pointer(row_scales, begin), pointer(member_hits, begin), num_columns, stride,
                count,
            )
            share = hit_probabilities[e] * others
            if is_relative:
                drop = strip_max[part * num_strips + hit // STRIP, i] - running_max[u]
                share *= exp(drop) if drop != float32(0) else float32(1)
            probabilities[part * num_rows + hit, i] = share


@kernel
def grad_logits(chunk, num_chunks, blocks, is_relative, like, buffers):
    """Turn the `probabilities` of a chunk of the blocks into gradients of the sampled logits.

    probabilities[s, i] times exp(strip_max - running_max) and the sum of `row_scales` over the
    members of input i is the gradient of the logit of sampled class s, for all members together;
    they are relative to no maximum unless `is_relative`. Those of hits are in
    `hit_probabilities`. `like` is an array of the buffers' type of numbers.
    """
    member_hits, count = integers(buffers, "member_hits"), blocks.stop - blocks.first
    for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
        block = blocks.first + part
        first = block_start(block, blocks.count, blocks.num_inputs)
        size = block_start(block + 1, blocks.count, blocks.num_inputs) - first
        _scale_block(chunk, part, first, size, is_relative, like, buffers)
        if member_hits.shape[0] > 0:
            _share_hits(part, first, size, is_relative, like, buffers)


@kernel
def grad_candidates_chunk(chunk, num_chunks, blocks, dim, like, buffers):
    """Do a chunk's part of what `grad_candidates` does."""
    x, probabilities = (
        numbers(buffers, "unique_inputs", like), numbers(buffers, "probabilities", like)
    )
    grad_rows = numbers(buffers, "grad_sampled_rows", like)
    grad_biases = numbers(buffers, "grad_sampled_biases", like)
    ones = numbers(buffers, "block_scratch", like)[chunk, FACTOR]
    ones[:] = float32(1)
    num_rows, num_tiles = grad_rows.shape[0], grad_rows.shape[0] // ROWS
    stride, out_stride = x.shape[1], grad_rows.shape[1]
    start = chunk * num_tiles // num_chunks * ROWS
    last = (chunk + 1) * num_tiles // num_chunks * ROWS
    while start < last:
        stop = min((start // STRIP + 1) * STRIP, last)
        for part in range(blocks.stop - blocks.first):
            block = blocks.first + part
            first = block_start(block, blocks.count, blocks.num_inputs)
            size = block_start(block + 1, blocks.count, blocks.num_inputs) - first
            for s in range(start, stop):
                row = pointer(probabilities, (part * num_rows + s) * BLOCK)
                total = dot(row, pointer(ones, 0), size)
                grad_biases[s] = total + (grad_biases[s] if block > 0 else float32(0))
            multiply(
                probabilities, (part * num_rows + start) * BLOCK, BLOCK, 1, x, first * stride,
                stride, LANES, grad_rows, start * out_stride, out_stride, stop - start,
                (dim + LANES - 1) // LANES, size, int64(block > 0),
            )
        start = stop
