"""The sampled classes: how their rows come into a pass, and the gradients that come out of it.

See `batch` for the forward pass between. The unique inputs are cut into blocks, the sampled
classes into strips.
"""

import numpy as np
from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.rows import dot, gather_row, pointer, prefetch, scale_row
from numba_ss.kernels.core.scalar import exp, log
from numba_ss.kernels.core.tile import Matrix, multiply
from numba_ss.kernels.softmax.buffers import FACTOR, HIT, SCALE, integers, numbers
from numba_ss.kernels.softmax.members import sum_others

BLOCK = 64  # inputs; a multiple of LANES and ROWS
STRIP = 128  # sampled classes; a multiple of ROWS
# Each block begins at a multiple of UNIT. So a block that is rounded up to whole vectors, or to
# rows of a tile, does not reach into the next one.
UNIT = max(LANES, ROWS)
AHEAD = 8  # rows that are prefetched


@kernel
def blocks_of(num_inputs):
    """Return the number of blocks of the unique inputs: an even number, except for few inputs."""
    count = (num_inputs + BLOCK - 1) // BLOCK
    return count + count % 2 if num_inputs > BLOCK // 2 else count


@kernel
def block_start(block, num_blocks, num_inputs):
    """Return the first input of a block; all blocks have about the same number of units."""
    num_units = (num_inputs + UNIT - 1) // UNIT
    return min(block * num_units // num_blocks * UNIT, num_inputs)


@kernel
def subtract_logs(counts, logits):
    """Subtract log Q, the log of the expected counts, from logits or biases."""
    for j in range(logits.shape[0]):
        logits[j] -= log(counts[j])


@kernel
def _mark_infinite_counts(counts, adjusted_biases):
    """Write NaN where a count is infinite: only a bias of -inf may mean that a class is absent."""
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
                prefetch(pointer(weights, sampled[j + AHEAD] * dim), dim)
            row = sampled[j]
            probe = gather_row(pointer(weights, row * dim), dim, pointer(out_rows, j * stride))
            out_biases[j] = biases[row] + probe
        else:
            out_rows[j, :] = float32(0)
            out_biases[j] = -np.inf


@kernel
def pack_sampled(start, stop, weights, biases, sampled, counts, subtract_log_q, buffers):
    """Gather some of the `sampled_rows`, and their `adjusted_biases`: bias - log Q.

    An adjusted bias of -inf means that there is no such class. The rows after the sampled
    classes, up to a multiple of ROWS, get it, and so does a class whose bias is -inf. A class
    gets NaN if its row, its bias or its log Q is not finite otherwise.
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


# Exact: the compiler may reorder other sums, and would do so in one way in fresh code, in another
# in code from the cache.
@exact_kernel
def _sum_scales(row_scales, count):
    """Return the sum of `count` numbers, in order."""
    total = row_scales[0]
    for k in range(1, count):
        total += row_scales[k]
    return total


@kernel
def _scale_block(chunk, part, first, size, is_relative, like, buffers):
    """Multiply each input's probabilities by the sum of the scales of its members.

    The block has `size` inputs from `first` on; `part` is its place in memory.
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
    # Whole vectors: the numbers after the last input cost nothing.
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
    """Write the gradients of sampled classes that are hits of some members of an input.

    As sampled classes, they have a gradient from the other members only.
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
        if count == 1:  # there are no other members; always so if a sampled class is left out
            continue
        for e in range(hit_indptr[u], hit_indptr[u + 1]):
            if hit_probabilities[e] == float32(0):  # an earlier entry has it
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

    The gradient of the logit of sampled class s and input i, for all members of the input
    together, is the product of three factors: probabilities[s, i], the sum of the members'
    `row_scales`, and, if `is_relative`, exp(strip_max - running_max). Sigmoids are not relative
    to a maximum. Hits have their probabilities in `hit_probabilities`. `like` is any array of the
    buffers' type of numbers.
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
def grad_sampled_chunk(chunk, num_chunks, blocks, dim, like, buffers):
    """Do a chunk's part of what `grad_sampled` does."""
    unique_inputs, probabilities = (
        numbers(buffers, "unique_inputs", like), numbers(buffers, "probabilities", like)
    )
    grad_rows = numbers(buffers, "grad_sampled_rows", like)
    grad_biases = numbers(buffers, "grad_sampled_biases", like)
    ones = numbers(buffers, "block_scratch", like)[chunk, FACTOR]
    ones[:] = float32(1)
    num_rows, num_tiles = grad_rows.shape[0], grad_rows.shape[0] // ROWS
    stride, out_stride = unique_inputs.shape[1], grad_rows.shape[1]
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
            grads = Matrix(pointer(probabilities, (part * num_rows + start) * BLOCK), BLOCK, 1)
            inputs = Matrix(pointer(unique_inputs, first * stride), stride, 1)
            out = Matrix(pointer(grad_rows, start * out_stride), out_stride, 1)
            multiply(
                grads, inputs, out, stop - start, (dim + LANES - 1) // LANES, size,
                int64(block > 0),
            )
        start = stop
