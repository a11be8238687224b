"""The candidates' rows on their way into the pass of a batch, and their gradients out of it.

See `batch` for what lies between. The distinct inputs are cut into blocks, the candidates
into strips.
"""

import numpy as np
from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.buffers import integers, numbers
from numba_ss.kernels.rows import axpy, dot, gather_row, pointer, scale_row
from numba_ss.kernels.scalar import exp, log, seen
from numba_ss.kernels.tile import LANES, ROWS, multiply, prefetch_row

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
def _see(offsets):
    for j in range(offsets.shape[0]):
        offsets[j] = seen(offsets[j])


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
    -inf: no column. A row that is not finite gets the offset NaN, and so does a candidate, one
    with a count, whose bias or log Q is not.
    """
    rows, offsets = numbers(buffers, "rows", weights), numbers(buffers, "offsets", weights)
    _pack_rows(start, stop, weights, biases, candidates, rows, offsets)
    stop = min(stop, counts.shape[0])
    if subtract_log_q:
        subtract_logs(counts[start:stop], offsets[start:stop])
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
def _leave_out(hit, joined, count, others):
    """Put 0 where a member is joined with the candidate `hit`."""
    for m in range(count):
        others[m] = float32(0) if joined[m] == hit else others[m]


@kernel
def _grad_strip(
    start, stop, block_first, block_stop, num_blocks, num_inputs, x, dim, num_rows, exps,
    is_relative, peaks, peak, offsets, parts, accumulate, factor, grad_rows, grad_offsets,
):
    """Compute the gradients of the rows `start` to `stop`, which lie in one strip."""
    stride, out_stride = x.shape[1], grad_rows.shape[1]
    num_strips = (num_rows + STRIP - 1) // STRIP
    for part in range(block_stop - block_first):
        first = block_start(block_first + part, num_blocks, num_inputs)
        size = block_start(block_first + part + 1, num_blocks, num_inputs) - first
        for i in range(size):
            begin, end = offsets[first + i], offsets[first + i + 1]
            factor[i] = _sum_parts(pointer(parts, begin), end - begin)
        if is_relative:
            below = peaks[part * num_strips + start // STRIP]
            for i in range(size):
                factor[i] *= exp(below[i] - peak[first + i])
        # Whole vectors, as the numbers beyond are no more to compute.
        width = (size + LANES - 1) // LANES * LANES
        for i in range(size, width):
            factor[i] = float32(0)
        for s in range(start, stop):
            row = pointer(exps, (part * num_rows + s) * BLOCK)
            total = dot(row, pointer(factor, 0), width)
            grad_offsets[s] = total + (grad_offsets[s] if accumulate or part > 0 else float32(0))
            scale_row(pointer(factor, 0), width, row)
        multiply(
            exps, (part * num_rows + start) * BLOCK, BLOCK, 1, x, first * stride, stride, LANES,
            grad_rows, start * out_stride, out_stride, stop - start, (dim + LANES - 1) // LANES,
            size, int64(accumulate or part > 0),
        )


@kernel
def _add_contested(
    row_start, row_stop, block_first, block_stop, num_blocks, num_inputs, x, dim, is_relative,
    peaks, peak, offsets, entries, entry_offsets, joined, kept, parts, num_rows, others,
    grad_rows, grad_offsets,
):
    """Add the gradients of candidates that some examples of an input are joined with.

    They are those of the other examples.
    """
    (num_columns, size), num_strips = joined.shape, (num_rows + STRIP - 1) // STRIP
    for part in range(block_stop - block_first):
        first = block_start(block_first + part, num_blocks, num_inputs)
        for u in range(first, block_start(block_first + part + 1, num_blocks, num_inputs)):
            begin, count = offsets[u], offsets[u + 1] - offsets[u]
            if count == 1:  # there are no others
                continue
            for e in range(entry_offsets[u], entry_offsets[u + 1]):
                hit = entries[2, e]
                if hit < row_start or hit >= row_stop or kept[e] == float32(0):
                    continue
                for m in range(count):
                    others[m] = float32(1)
                for t in range(num_columns):
                    _leave_out(hit, pointer(joined, t * size + begin), count, pointer(others, 0))
                share = kept[e] * dot(pointer(parts, begin), pointer(others, 0), count)
                if share == float32(0):  # all are joined with it
                    continue
                if is_relative:
                    drop = peaks[part * num_strips + hit // STRIP, u - first] - peak[u]
                    share *= exp(drop) if drop != float32(0) else float32(1)
                out = pointer(grad_rows, hit * grad_rows.shape[1])
                axpy(share, pointer(x, u * x.shape[1]), dim, out)
                grad_offsets[hit] += share


@kernel
def grad_candidates(
    chunk, num_chunks, block_first, block_stop, num_blocks, num_inputs, dim, is_relative,
    accumulate, like, buffers,
):
    """Compute, or add to, the gradients of a chunk of the candidates.

    They are `grad_rows` and `grad_offsets`. exps[s, i] times exp(peaks - peak) and the sum of
    `parts` over the members of input i is the gradient of the logit of candidate s, for all
    members together; the exps are relative to nothing unless `is_relative`. Those of joined
    labels are not in `exps`, but in `kept`. See `forward_inputs` and `forward_examples`. `exps`
    are changed; `scratch` and `others` are scratch, one a chunk. `like` is an array of the
    buffers' type of numbers.
    """
    x, exps = numbers(buffers, "x", like), numbers(buffers, "exps", like)
    peaks, peak = numbers(buffers, "peaks", like), numbers(buffers, "peak", like)
    parts, kept = numbers(buffers, "parts", like), numbers(buffers, "kept", like)
    others, scratch = numbers(buffers, "others", like), numbers(buffers, "scratch", like)
    grad_rows = numbers(buffers, "grad_rows", like)
    grad_offsets = numbers(buffers, "grad_offsets", like)
    offsets, joined = integers(buffers, "member_offsets"), integers(buffers, "joined")
    entries, entry_offsets = integers(buffers, "entries"), integers(buffers, "entry_offsets")
    num_rows, num_tiles = grad_rows.shape[0], grad_rows.shape[0] // ROWS
    row_start = chunk * num_tiles // num_chunks * ROWS
    row_stop = (chunk + 1) * num_tiles // num_chunks * ROWS
    start = row_start
    while start < row_stop:
        stop = min((start // STRIP + 1) * STRIP, row_stop)
        _grad_strip(
            start, stop, block_first, block_stop, num_blocks, num_inputs, x, dim, num_rows,
            exps, is_relative, peaks, peak, offsets, parts, accumulate, scratch[chunk, 0],
            grad_rows, grad_offsets,
        )
        start = stop
    if joined.shape[0] > 0:
        _add_contested(
            row_start, row_stop, block_first, block_stop, num_blocks, num_inputs, x, dim,
            is_relative, peaks, peak, offsets, entries, entry_offsets, joined, kept, parts,
            num_rows, others[chunk], grad_rows, grad_offsets,
        )
