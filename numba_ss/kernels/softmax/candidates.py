"""The candidates' rows on their way into the pass of a batch, and their gradients out of it.

See `batch` for what lies between. The distinct inputs are cut into blocks, the candidates
into strips.
"""

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel, parallel_kernel
from numba_ss.kernels.core.rows import dot, gather_row, pointer, scale_row
from numba_ss.kernels.core.scalar import exp, log
from numba_ss.kernels.core.tile import LANES, ROWS, multiply, prefetch_row
from numba_ss.kernels.softmax.buffers import integers, numbers
from numba_ss.kernels.softmax.members import sum_others

BLOCK = 64  # inputs; a multiple of LANES and ROWS
STRIP = 128  # candidates; a multiple of ROWS
# Blocks begin at a multiple of it, so that what is rounded up to vectors and to rows of a
# tile does not reach into the next.
UNIT = max(LANES, ROWS)
AHEAD = 8  # rows that are asked for before they are read


@kernel
def blocks_of(num_inputs):
    """Return how many blocks distinct inputs are cut into: of some, an even number."""
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
def _see_counts(counts, offsets):
    """Turn what an infinite count made -inf into NaN; a bias of -inf alone says no column."""
    for j in range(offsets.shape[0]):
        offsets[j] += float32(0) * counts[j]


@kernel
def _see(offsets):
    for j in range(offsets.shape[0]):
        offsets[j] = offsets[j] if offsets[j] < np.inf else float32(np.nan)


@kernel
def _pack_rows(start, stop, weights, biases, candidates, out_rows, out_offsets):
    dim, stride = weights.shape[1], out_rows.shape[1]
    for j in range(start, stop):
        if j < candidates.shape[0]:
            if j + AHEAD < candidates.shape[0]:
                prefetch_row(weights, candidates[j + AHEAD])
            row = candidates[j]
            probe = gather_row(pointer(weights, row * dim), dim, pointer(out_rows, j * stride))
            out_offsets[j] = biases[row] + probe
        else:
            out_rows[j, :] = float32(0)
            out_offsets[j] = -np.inf


@kernel
def pack_candidates(start, stop, weights, biases, candidates, counts, subtract_log_q, buffers):
    """Gather some of the candidates' `rows`, and what their logits start from, bias - log Q.

    That is `offsets`. Rows beyond the candidates, up to a multiple of ROWS, get the offset
    -inf: no column. So does a candidate with such a bias. A row that is not finite gets the
    offset NaN, and so does a candidate, one with a count, whose bias or log Q is not.
    """
    rows, offsets = numbers(buffers, "rows", weights), numbers(buffers, "offsets", weights)
    _pack_rows(start, stop, weights, biases, candidates, rows, offsets)
    stop = min(stop, counts.shape[0])
    if subtract_log_q:
        subtract_logs(counts[start:stop], offsets[start:stop])
        _see_counts(counts[start:stop], offsets[start:stop])
    if start < stop:
        _see(offsets[start:stop])


# Exact: a sum that may be reordered is, in one way when it is freshly compiled and in another
# when a caller comes from the cache.
@exact_kernel
def _sum_parts(parts, count):
    """Return the sum of `count` numbers, in order."""
    total = parts[0]
    for k in range(1, count):
        total += parts[k]
    return total


@kernel
def _scale_block(
    part, first, size, num_rows, offsets, parts, is_relative, peaks, peak, scratch, exps
):
    """Multiply the exps of a block by the sum of their input's parts."""
    total, factor = scratch[0], scratch[1]
    num_strips = (num_rows + STRIP - 1) // STRIP
    # Whole vectors, as the numbers beyond are no more to compute.
    width = (size + LANES - 1) // LANES * LANES
    for i in range(size):
        begin, end = offsets[first + i], offsets[first + i + 1]
        total[i] = _sum_parts(pointer(parts, begin), end - begin)
    for i in range(size, width):
        total[i] = float32(0)
        factor[i] = float32(0)
    for strip in range(num_strips):
        for i in range(size):
            factor[i] = total[i]
        if is_relative:
            below = peaks[part * num_strips + strip]
            for i in range(size):
                factor[i] *= exp(below[i] - peak[first + i])
        for s in range(strip * STRIP, min((strip + 1) * STRIP, num_rows)):
            scale_row(pointer(factor, 0), width, pointer(exps, (part * num_rows + s) * BLOCK))


# Exact, see `_sum_parts`.
@exact_kernel
def _share_joined(
    part, first, size, num_rows, offsets, parts, is_relative, peaks, peak, entries,
    entry_offsets, joined, kept, exps,
):
    """Write the gradients of candidates that some examples of an input are joined with.

    They are those of the other examples.
    """
    (num_columns, stride), num_strips = joined.shape, (num_rows + STRIP - 1) // STRIP
    for i in range(size):
        u = first + i
        begin, count = offsets[u], offsets[u + 1] - offsets[u]
        if count == 1:  # there are no others; or a candidate is left out
            continue
        for e in range(entry_offsets[u], entry_offsets[u + 1]):
            if kept[e] == float32(0):  # it is in an earlier entry
                continue
            hit = entries[2, e]
            others = sum_others(
                hit, pointer(parts, begin), pointer(joined, begin), num_columns, stride, count
            )
            share = kept[e] * others
            if is_relative:
                drop = peaks[part * num_strips + hit // STRIP, i] - peak[u]
                share *= exp(drop) if drop != float32(0) else float32(1)
            exps[part * num_rows + hit, i] = share


@kernel
def grad_logits(
    chunk, num_chunks, block_first, block_stop, num_blocks, num_inputs, is_relative, like, buffers
):
    """Turn the `exps` of a chunk of the blocks into the gradients of the candidates' logits.

    exps[s, i] times exp(peaks - peak) and the sum of `parts` over the members of input i is
    the gradient of the logit of candidate s, for all members together; the exps are relative
    to nothing unless `is_relative`. Those of joined labels are in `kept`. See `forward_inputs`
    and `forward_examples`. `scratch` is scratch, a row a chunk. `like` is an array of the
    buffers' type of numbers.
    """
    exps, peaks = numbers(buffers, "exps", like), numbers(buffers, "peaks", like)
    peak, parts = numbers(buffers, "peak", like), numbers(buffers, "parts", like)
    kept, scratch = numbers(buffers, "kept", like), numbers(buffers, "scratch", like)
    offsets, joined = integers(buffers, "member_offsets"), integers(buffers, "joined")
    entries, entry_offsets = integers(buffers, "entries"), integers(buffers, "entry_offsets")
    num_rows = numbers(buffers, "grad_rows", like).shape[0]
    count = block_stop - block_first
    for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
        first = block_start(block_first + part, num_blocks, num_inputs)
        size = block_start(block_first + part + 1, num_blocks, num_inputs) - first
        _scale_block(
            part, first, size, num_rows, offsets, parts, is_relative, peaks, peak,
            scratch[chunk], exps,
        )
        if joined.shape[0] > 0:
            _share_joined(
                part, first, size, num_rows, offsets, parts, is_relative, peaks, peak, entries,
                entry_offsets, joined, kept, exps,
            )


@kernel
def grad_candidates_chunk(
    chunk, num_chunks, block_first, block_stop, num_blocks, num_inputs, dim, like, buffers
):
    """Do a chunk's part of what `grad_candidates` does."""
    x, exps = numbers(buffers, "x", like), numbers(buffers, "exps", like)
    grad_rows = numbers(buffers, "grad_rows", like)
    grad_offsets = numbers(buffers, "grad_offsets", like)
    ones = numbers(buffers, "scratch", like)[chunk, 0]
    ones[:] = float32(1)
    num_rows, num_tiles = grad_rows.shape[0], grad_rows.shape[0] // ROWS
    stride, out_stride = x.shape[1], grad_rows.shape[1]
    start = chunk * num_tiles // num_chunks * ROWS
    last = (chunk + 1) * num_tiles // num_chunks * ROWS
    while start < last:
        stop = min((start // STRIP + 1) * STRIP, last)
        for part in range(block_stop - block_first):
            first = block_start(block_first + part, num_blocks, num_inputs)
            size = block_start(block_first + part + 1, num_blocks, num_inputs) - first
            is_more = block_first + part > 0
            for s in range(start, stop):
                row = pointer(exps, (part * num_rows + s) * BLOCK)
                total = dot(row, pointer(ones, 0), size)
                grad_offsets[s] = total + (grad_offsets[s] if is_more else float32(0))
            multiply(
                exps, (part * num_rows + start) * BLOCK, BLOCK, 1, x, first * stride, stride,
                LANES, grad_rows, start * out_stride, out_stride, stop - start,
                (dim + LANES - 1) // LANES, size, int64(is_more),
            )
        start = stop


@parallel_kernel
def grad_candidates(
    block_first, block_stop, num_blocks, num_inputs, dim, num_chunks, like, buffers
):
    """Compute the gradients of the candidates, `grad_rows` and `grad_offsets`.

    A range of blocks that does not begin with the first adds to what is there. The gradients
    of its logits stand in `exps`, and the inputs in `x`; see `grad_logits`. `scratch` is
    scratch, a row a chunk. `like` is an array of the buffers' type of numbers.
    """
    for chunk in prange(num_chunks):
        grad_candidates_chunk(
            int64(chunk), num_chunks, block_first, block_stop, num_blocks, num_inputs, dim, like,
            buffers,
        )
