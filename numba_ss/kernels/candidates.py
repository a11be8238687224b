"""The candidates' rows on their way into the pass of a batch, and their gradients out of it.

See `batch` for what lies between. The distinct inputs are cut into blocks, the candidates
into strips.
"""

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import exact_kernel, kernel, parallel_kernel
from numba_ss.kernels.rows import axpy, dot, gather_row, pointer
from numba_ss.kernels.scalar import exp
from numba_ss.kernels.tile import LANES, ROWS, multiply, prefetch_row

BLOCK = 64  # inputs; a multiple of LANES and ROWS
STRIP = 128  # candidates; a multiple of ROWS
# Blocks begin at a multiple of it, so that what is rounded up to vectors and to rows of a
# tile does not reach into the next.
UNIT = max(LANES, ROWS)
AHEAD = 8  # rows that are asked for before they are read


@kernel
def block_start(block, num_blocks, num_inputs):
    """Return the first input of a block: the inputs evenly shared out, in whole units."""
    num_units = (num_inputs + UNIT - 1) // UNIT
    return min(block * num_units // num_blocks * UNIT, num_inputs)


@parallel_kernel
def pack_candidates(
    weights, biases, candidates, counts, subtract_log_q, num_chunks, out_rows, out_offsets
):
    """Gather the candidates' rows and what their logits start from, bias - log Q.

    Rows beyond the candidates, up to a multiple of ROWS, get the offset -inf: no
    column. A row that is not finite gets the offset NaN.
    """
    for chunk in prange(num_chunks):
        size = out_rows.shape[0]
        _pack_rows(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks,
            weights, biases, candidates, counts, subtract_log_q, out_rows, out_offsets,
        )


@kernel
def _pack_rows(
    start, stop, weights, biases, candidates, counts, subtract_log_q, out_rows, out_offsets
):
    dim, stride = weights.shape[1], out_rows.shape[1]
    for j in range(start, stop):
        if j < candidates.shape[0]:
            if j + AHEAD < candidates.shape[0]:
                prefetch_row(weights, candidates[j + AHEAD])
            row = candidates[j]
            probe = gather_row(pointer(weights, row * dim), dim, pointer(out_rows, j * stride))
            out_offsets[j] = biases[row] + probe
            if subtract_log_q:
                out_offsets[j] -= np.log(counts[j])
        else:
            out_rows[j, :] = float32(0)
            out_offsets[j] = -np.inf


# Exact: a sum that may be reordered is, in one way when it is freshly compiled and in another
# when a caller comes from the cache.
@exact_kernel
def _sum_parts(parts, count):
    """Return the sum of `count` numbers, in order."""
    total = parts[0]
    for k in range(1, count):
        total += parts[k]
    return total


@exact_kernel
def _sum_others(hit, members, parts, count, joined, width):
    """Return the sum over those members that are not joined with the candidate `hit`."""
    total = parts[0] * float32(0)
    for k in range(count):
        hits = False
        for t in range(width):
            hits |= joined[members[k] * width + t] == hit
        total += parts[k] * float32(not hits)
    return total


@kernel
def _grad_strip(
    start, stop, block_first, block_stop, num_blocks, num_inputs, x, dim, num_rows, exps, peaks,
    peak, offsets, parts, accumulate, factor, scaled, grad_rows, grad_offsets,
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
        if peak.shape[0] > 0:
            below = peaks[part * num_strips + start // STRIP]
            for i in range(size):
                factor[i] *= exp(below[i] - peak[first + i])
        # Whole vectors: the lanes beyond hold products with rows of zeros.
        width = (size + LANES - 1) // LANES * LANES
        for i in range(size, width):
            factor[i] = float32(0)
        for i in range(size):
            for d in range(dim):
                scaled[i, d] = x[first + i, d] * factor[i]
        multiply(
            exps, (part * num_rows + start) * BLOCK, BLOCK, 1, scaled, 0, stride, LANES,
            grad_rows, start * out_stride, out_stride, stop - start, (dim + LANES - 1) // LANES,
            size, int64(accumulate or part > 0),
        )
        for s in range(start, stop):
            row = pointer(exps, (part * num_rows + s) * BLOCK)
            total = dot(row, pointer(factor, 0), width)
            grad_offsets[s] = total + (grad_offsets[s] if accumulate or part > 0 else float32(0))


@kernel
def _add_contested(
    row_start, row_stop, block_first, block_stop, num_blocks, num_inputs, x, dim, peaks, peak,
    offsets, members, joined, kept, parts, num_rows, grad_rows, grad_offsets,
):
    """Add the gradients of candidates that some examples of an input are joined with.

    They are those of the other examples.
    """
    width, num_strips = joined.shape[1], (num_rows + STRIP - 1) // STRIP
    for part in range(block_stop - block_first):
        first = block_start(block_first + part, num_blocks, num_inputs)
        for u in range(first, block_start(block_first + part + 1, num_blocks, num_inputs)):
            begin, end = offsets[u], offsets[u + 1]
            for m in range(begin, end):
                for t in range(width):
                    hit = joined[members[m], t]
                    if kept[m, t] == float32(0) or hit < row_start or hit >= row_stop:
                        continue
                    share = kept[m, t] * _sum_others(
                        hit, pointer(members, begin), pointer(parts, begin), end - begin,
                        pointer(joined, 0), width,
                    )
                    if share == float32(0):  # all are joined with it
                        continue
                    if peak.shape[0] > 0:
                        share *= exp(peaks[part * num_strips + hit // STRIP, u - first] - peak[u])
                    out = pointer(grad_rows, hit * grad_rows.shape[1])
                    axpy(share, pointer(x, u * x.shape[1]), dim, out)
                    grad_offsets[hit] += share


@parallel_kernel
def grad_candidates(
    block_first, block_stop, num_blocks, num_inputs, x, dim, exps, peaks, peak, offsets, members,
    joined, kept, example, accumulate, num_chunks, scratch, scaled, grad_rows, grad_offsets,
):
    """Compute, or add to, the gradients of the candidates' rows and offsets.

    exps[s, i] times exp(peaks - peak) and the sum of example[0] over the members of input i
    is the gradient of the logit of candidate s, for all members together; without `peak` the
    exps are relative to nothing. Those of joined labels are not in `exps`, but in `kept`.
    See `forward_inputs` and `forward_examples`. `scratch` and `scaled`, a block of inputs,
    are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        num_rows, num_tiles = grad_rows.shape[0], grad_rows.shape[0] // ROWS
        row_start = chunk * num_tiles // num_chunks * ROWS
        row_stop = (chunk + 1) * num_tiles // num_chunks * ROWS
        start = row_start
        while start < row_stop:
            stop = min((start // STRIP + 1) * STRIP, row_stop)
            _grad_strip(
                start, stop, block_first, block_stop, num_blocks, num_inputs, x, dim, num_rows,
                exps, peaks, peak, offsets, example[0], accumulate, scratch[chunk, 0],
                scaled[chunk], grad_rows, grad_offsets,
            )
            start = stop
        if joined.shape[1] > 0:
            _add_contested(
                row_start, row_stop, block_first, block_stop, num_blocks, num_inputs, x, dim,
                peaks, peak, offsets, members, joined, kept, example[0], num_rows, grad_rows,
                grad_offsets,
            )
