"""The forward and backward pass of a batch.

The distinct inputs of a batch (see `inputs`) are worked on in blocks of at most `BLOCK`,
against strips of `STRIP` candidates; `softmax` says what shared and own columns are.
`exps`, the one large array, holds a block of inputs after the other, each with the
candidates as rows: exp(logit - peak) of an input, or the sigmoid of its logit.

What distinguishes examples of the same input is their own columns. A label that is among
the candidates is no column more: leaving the accidental hit out and counting the label
beside is the same as counting the candidate. Only its gradient moves from the candidate's
row to the label's.

Everything is computed in an order that depends on the batch alone.
"""

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.rows import gather_row, pointer
from numba_ss.kernels.core.scalar import seen
from numba_ss.kernels.core.tile import LANES, ROWS, multiply, prefetch_row, transpose
from numba_ss.kernels.softmax.buffers import integers, numbers
from numba_ss.kernels.softmax.candidates import AHEAD, BLOCK, STRIP, block_start
from numba_ss.kernels.softmax.softmax import (
    LOWEST,
    logistic_classes,
    logistic_strip,
    softmax_classes,
    softmax_strip,
)

# Of a block of inputs, transposed: with a power of two its rows would compete for a few
# sets of the first-level cache.
STRIDE = BLOCK + 16


@kernel
def _load_inputs(table, ids, start, stop, offsets, members, dim, x, xt):
    """Gather the inputs of a block, and their transposition."""
    stride = x.shape[1]
    for u in range(start, min(start + AHEAD, stop)):
        prefetch_row(table, ids[members[offsets[u]]])
    for u in range(start, stop):
        if u + AHEAD < stop:
            prefetch_row(table, ids[members[offsets[u + AHEAD]]])
        row = ids[members[offsets[u]]]
        gather_row(pointer(table, row * dim), dim, pointer(x, u * stride))
    for u in range(stop, (stop + LANES - 1) // LANES * LANES):
        x[u, :] = float32(0)
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)


@kernel
def _take_hits(
    s_start, s_stop, start, stop, first, entries, entry_offsets, row_offsets, exps, logits
):
    """Note the logits of labels that are candidates of a strip; leave out what is apart."""
    for u in range(start, stop):
        for e in range(entry_offsets[u], entry_offsets[u + 1]):
            hit = entries[2, e]
            if s_start <= hit < s_stop:
                logit = seen(exps[first + hit, u - start] + row_offsets[hit])
                logits[entries[1, e], entries[0, e]] = logit
            elif s_start <= -2 - hit < s_stop:
                exps[first - 2 - hit, u - start] = -np.inf


@kernel
def _keep_hits(s_start, s_stop, start, stop, first, entries, entry_offsets, exps, kept):
    """Move the exps of joined labels to `kept`, to that of the first example of an input.

    As candidates they have a gradient of the other examples alone.
    """
    for u in range(start, stop):
        for e in range(entry_offsets[u], entry_offsets[u + 1]):
            hit = entries[2, e]
            if s_start <= hit < s_stop:
                kept[e] = exps[first + hit, u - start]
                exps[first + hit, u - start] = float32(0)


@kernel
def _input_block(
    start, stop, first, strip_first, table, ids, offsets, members, entries, entry_offsets,
    rows, row_offsets, use_logistic, x, xt, scratch, exps, peaks, peak, total, y, logits, kept,
):
    dim, stride, num_rows, size = table.shape[1], rows.shape[1], rows.shape[0], stop - start
    _load_inputs(table, ids, start, stop, offsets, members, dim, x, xt)
    highest, added, rise = scratch[0], scratch[1], scratch[2]
    for i in range(size):
        highest[i] = LOWEST
        added[i] = float32(0)
    for s in range(0, max(num_rows, 1), STRIP):
        s_stop = min(s + STRIP, num_rows)
        multiply(
            rows, s * stride, stride, 1, xt, 0, STRIDE, LANES, exps, (first + s) * BLOCK, BLOCK,
            s_stop - s, (size + LANES - 1) // LANES, dim, 0,
        )
        _take_hits(
            s, s_stop, start, stop, first, entries, entry_offsets, row_offsets, exps, logits
        )
        if use_logistic is not None:
            logistic_strip(size, row_offsets[s:s_stop], exps, first + s, added)
        else:
            softmax_strip(size, row_offsets[s:s_stop], exps, first + s, highest, added, rise)
            if s < num_rows:
                for i in range(size):
                    peaks[strip_first + s // STRIP, i] = highest[i]
            if s > 0:
                for i in range(size):
                    if rise[i] != float32(1):
                        for d in range(dim):
                            y[start + i, d] *= rise[i]
        multiply(
            exps, (first + s) * BLOCK, 1, BLOCK, rows, s * stride, stride, LANES, y,
            start * stride, stride, (size + ROWS - 1) // ROWS * ROWS, (dim + LANES - 1) // LANES,
            s_stop - s, int64(s > 0),
        )
        _keep_hits(s, s_stop, start, stop, first, entries, entry_offsets, exps, kept)
    for i in range(size):
        peak[start + i], total[start + i] = highest[i], added[i]


@kernel
def forward_inputs_chunk(
    chunk, block_first, block_stop, num_blocks, num_inputs, table, ids, use_logistic,
    num_chunks, buffers,
):
    """Do a chunk's part of what `forward_inputs` does."""
    rows, row_offsets = numbers(buffers, "rows", table), numbers(buffers, "offsets", table)
    x, xt = numbers(buffers, "x", table), numbers(buffers, "xt", table)
    exps, peaks = numbers(buffers, "exps", table), numbers(buffers, "peaks", table)
    peak, total = numbers(buffers, "peak", table), numbers(buffers, "total", table)
    y, factors = numbers(buffers, "y", table), numbers(buffers, "factors", table)
    kept, scratch = numbers(buffers, "kept", table), numbers(buffers, "scratch", table)
    offsets, members = integers(buffers, "member_offsets"), integers(buffers, "members")
    entries, entry_offsets = integers(buffers, "entries"), integers(buffers, "entry_offsets")
    count = block_stop - block_first
    num_strips = (rows.shape[0] + STRIP - 1) // STRIP
    for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
        start = block_start(block_first + part, num_blocks, num_inputs)
        stop = block_start(block_first + part + 1, num_blocks, num_inputs)
        _input_block(
            start, stop, part * rows.shape[0], part * num_strips, table, ids, offsets,
            members, entries, entry_offsets, rows, row_offsets, use_logistic, x, xt[chunk],
            scratch[chunk], exps, peaks, peak, total, y, factors, kept,
        )


@parallel_kernel
def forward_inputs(
    block_first, block_stop, num_blocks, num_inputs, table, ids, use_logistic, num_chunks, buffers
):
    """Compare a range of blocks of distinct inputs with the candidates.

    The inputs are the rows `ids` of `table`, `num_inputs` of them distinct, as `group_inputs`
    found; `rows` and `offsets` are what `pack_candidates` wrote; `use_logistic` is True or
    None, a type of its own each, so that only the loss in use is compiled. Written to the
    buffers: `x`, the distinct inputs with padded rows; `exps`, and `peaks` that those of each
    strip of a block are relative to; `peak` and `total` of each input; `y`, the sums of
    exp x row beside `peak`; `factors`, the logits of the joined labels, in the order of members;
    and, instead of in `exps`, the `kept` exps of each entry, for an input once and else 0.
    `xt` and `scratch` are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        forward_inputs_chunk(
            int64(chunk), block_first, block_stop, num_blocks, num_inputs, table, ids,
            use_logistic, num_chunks, buffers,
        )


@kernel
def _classes_block(
    start, stop, first, x, rows, offsets, normalizer, grad_loss, use_logistic, accumulate, dim, xt,
    exps, grad_inputs,
):
    stride = x.shape[1]
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)
    num_vectors = (stop - start + LANES - 1) // LANES
    multiply(
        rows, 0, rows.shape[1], 1, xt, 0, STRIDE, LANES, exps, first * BLOCK, BLOCK,
        rows.shape[0], num_vectors, dim, 0,
    )
    if use_logistic is not None:
        logistic_classes(start, stop, grad_loss, offsets, exps, first)
    else:
        softmax_classes(start, stop, normalizer, grad_loss, offsets, exps, first)
    out_stride, num_tiles = grad_inputs.shape[1], (stop - start + ROWS - 1) // ROWS
    multiply(
        exps, first * BLOCK, 1, BLOCK, rows, 0, rows.shape[1], LANES, grad_inputs,
        start * out_stride, out_stride, num_tiles * ROWS, (dim + LANES - 1) // LANES,
        rows.shape[0], int64(accumulate),
    )


@kernel
def _classes_chunk(
    chunk, batch_size, num_blocks, normalizer, grad_loss, use_logistic, accumulate, dim,
    num_chunks, grad_inputs, buffers,
):
    rows, offsets = numbers(buffers, "rows", grad_loss), numbers(buffers, "offsets", grad_loss)
    x, xt = numbers(buffers, "x", grad_loss), numbers(buffers, "xt", grad_loss)
    exps = numbers(buffers, "exps", grad_loss)
    for block in range(
        chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
    ):
        start = block_start(block, num_blocks, batch_size)
        stop = block_start(block + 1, num_blocks, batch_size)
        _classes_block(
            start, stop, block * rows.shape[0], x, rows, offsets,
            normalizer, grad_loss, use_logistic, accumulate, dim, xt[chunk], exps,
            grad_inputs,
        )


@parallel_kernel
def forward_classes(
    batch_size, num_blocks, normalizer, grad_loss, use_logistic, accumulate, dim, num_chunks,
    grad_inputs, buffers,
):
    """Compute the gradients of the logits of a block of all the classes, and of the inputs.

    The inputs lie in `x`, a row an example, and the classes in `rows` and `offsets`;
    `grad_loss` is the upstream gradient. The labels' own part, -1/T, is not in the gradients,
    which stand in `exps`. `xt` is scratch.
    """
    for chunk in prange(num_chunks):
        _classes_chunk(
            int64(chunk), batch_size, num_blocks, normalizer, grad_loss, use_logistic,
            accumulate, dim, num_chunks, grad_inputs, buffers,
        )
