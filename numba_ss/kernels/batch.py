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
from numba_ss.kernels.candidates import AHEAD, BLOCK, STRIP, block_start
from numba_ss.kernels.rows import axpy, combine, dot, gather_row, pointer
from numba_ss.kernels.softmax import (
    LOWEST,
    logistic_classes,
    logistic_own,
    logistic_strip,
    softmax_classes,
    softmax_own,
    softmax_strip,
)
from numba_ss.kernels.tile import LANES, ROWS, multiply, prefetch_row, transpose

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
def _seen(logit):
    """Return a logit, but NaN for an infinite one: -inf would be taken for no column."""
    return logit if abs(logit) < np.inf else logit * float32(np.nan)


@kernel
def _take_hits(
    s_start, s_stop, start, stop, first, offsets, members, row_offsets, joined, exps, logits
):
    """Note the logits of labels that are candidates of a strip; leave out what is apart."""
    for u in range(start, stop):
        for m in range(offsets[u], offsets[u + 1]):
            for t in range(joined.shape[1]):
                hit = joined[members[m], t]
                if s_start <= hit < s_stop:
                    logits[m, t] = _seen(exps[first + hit, u - start] + row_offsets[hit])
                elif s_start <= -2 - hit < s_stop:
                    exps[first - 2 - hit, u - start] = -np.inf


@kernel
def _keep_hits(s_start, s_stop, start, stop, first, offsets, members, joined, exps, kept):
    """Move the exps of joined labels to `kept`, to that of the first example of an input.

    As candidates they have a gradient of the other examples alone.
    """
    for u in range(start, stop):
        for m in range(offsets[u], offsets[u + 1]):
            for t in range(joined.shape[1]):
                hit = joined[members[m], t]
                if s_start <= hit < s_stop:
                    kept[m, t] = exps[first + hit, u - start]
                    exps[first + hit, u - start] = float32(0)


@kernel
def _input_block(
    start, stop, first, strip_first, table, ids, dim, offsets, members, rows, row_offsets,
    joined, use_logistic, x, xt, scratch, exps, peaks, peak, total, y, logits, kept,
):
    stride, num_rows, size = rows.shape[1], rows.shape[0], stop - start
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
            s, s_stop, start, stop, first, offsets, members, row_offsets, joined, exps, logits
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
        _keep_hits(s, s_stop, start, stop, first, offsets, members, joined, exps, kept)
    for i in range(size):
        peak[start + i], total[start + i] = highest[i], added[i]


@parallel_kernel
def forward_inputs(
    block_first, block_stop, num_blocks, num_inputs, table, ids, dim, offsets, members, rows,
    row_offsets, joined, use_logistic, num_chunks, x, xt, scratch, exps, peaks, peak, total, y,
    logits, kept,
):
    """Compare a range of blocks of distinct inputs with the candidates.

    The inputs are the rows `ids` of `table`, `num_inputs` of them distinct, with `offsets`,
    `members` and `joined` as `group_inputs` wrote them; `rows` and `row_offsets`
    are what `pack_candidates` wrote; `use_logistic` is True or None, a type of its own each,
    so that only the loss in use is compiled. Written: `x`, the distinct inputs with padded
    rows; `exps`, and `peaks` that those of each strip of a block are relative to; `peak` and
    `total` of each input; `y`, the sums of exp x row beside `peak`; `logits` of the joined
    labels and, instead of in `exps`, the `kept` exps of each, once for an input, both in the
    order of members. `xt` and `scratch` are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        count = block_stop - block_first
        num_strips = (rows.shape[0] + STRIP - 1) // STRIP
        for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
            start = block_start(block_first + part, num_blocks, num_inputs)
            stop = block_start(block_first + part + 1, num_blocks, num_inputs)
            _input_block(
                start, stop, part * rows.shape[0], part * num_strips, table, ids, dim, offsets,
                members, rows, row_offsets, joined, use_logistic, x, xt[chunk],
                scratch[chunk], exps, peaks, peak, total, y, logits, kept,
            )


@kernel
def _own_columns(
    start, stop, members, slots, x, weights, biases, columns, counts, subtract_log_q, num_true,
    joined, grad_loss, upstream, logits, targets, extra,
):
    """Write the logits of the own columns that are not joined, and 1/T; absent ones are -inf."""
    dim, stride, zero = weights.shape[1], x.shape[1], targets.dtype.type(0)
    for m in range(start, stop):
        i = members[m]
        upstream[m] = grad_loss[i]
        num_labels = 0
        for c in range(columns.shape[1]):
            if m + AHEAD < stop and columns[members[m + AHEAD], c] >= 0:
                prefetch_row(weights, columns[members[m + AHEAD], c])
            num_labels += c < num_true and columns[i, c] >= 0
        share = targets.dtype.type(1) / targets.dtype.type(num_labels)
        for c in range(columns.shape[1]):
            row = columns[i, c]
            targets[m, c] = share if c < num_true and row >= 0 else zero
            if c < joined.shape[1] and joined[i, c] >= 0:
                extra[m, c] = zero
                continue
            extra[m, c] = float32(1)
            if row < 0:
                logits[m, c] = -np.inf
                continue
            own = pointer(weights, row * dim)
            logit = dot(pointer(x, slots[i] * stride), own, dim) + biases[row]
            if subtract_log_q:
                logit -= np.log(counts[i, c])
            logits[m, c] = _seen(logit)


@kernel
def _grad_examples(
    start, stop, members, slots, weights, columns, rows, joined, parts, upstream, losses, grads,
    targets, y, coefficients, loss, grad_inputs,
):
    dim, stride, out_stride = weights.shape[1], rows.shape[1], grad_inputs.shape[1]
    for m in range(start, stop):
        i = members[m]
        loss[i] = losses[m]
        common, out = pointer(y, slots[i] * stride), pointer(grad_inputs, i * out_stride)
        for c in range(columns.shape[1]):
            target = targets[m, c] * upstream[m]
            coefficient = grads[m, c] - target
            coefficients[i, c] = coefficient
            if c < joined.shape[1] and joined[i, c] >= 0:
                # The rest of its gradient is in what is common.
                factor, row = -target, pointer(rows, joined[i, c] * stride)
            elif columns[i, c] >= 0:
                factor, row = coefficient, pointer(weights, columns[i, c] * dim)
            else:
                factor, row = coefficient * float32(0), common
            if c == 0:
                combine(parts[m], common, factor, row, dim, out)
            else:
                axpy(factor, row, dim, out)


@parallel_kernel
def forward_examples(
    first, last, members, slots, x, weights, biases, columns, counts, subtract_log_q, num_true,
    rows, joined, grad_loss, use_logistic, peak, total, y, num_chunks, own, example,
    coefficients, loss, grad_inputs,
):
    """Finish the members `first` to `last`: losses, gradients of own logits and of inputs.

    `columns` (batch_size, any) are row ids in `weights`, the first `num_true` of them
    labels; see `forward_inputs` for the rest. Written: own[0], where the logits of joined
    labels stand, the gradients of all own logits, less the targets'; example[0], by which
    exp(logit - peak) of an example's shared columns is multiplied to be a gradient, both in
    the order of members; `coefficients`, with the targets' part, in the order of examples;
    `loss`; `grad_inputs`, padded. The rest of `own` and `example` is scratch.
    """
    for chunk in prange(num_chunks):
        logits, targets, extra = own[0], own[1], own[2]
        parts, top, totals, upstream, losses = (
            example[0], example[1], example[2], example[3], example[4],
        )
        # In pieces that do not depend on the chunks: what vector code rounds otherwise than
        # single numbers would else depend on them, too.
        pieces = (last - first + BLOCK - 1) // BLOCK
        for piece in range(chunk * pieces // num_chunks, (chunk + 1) * pieces // num_chunks):
            start = first + piece * BLOCK
            stop = min(start + BLOCK, last)
            _own_columns(
                start, stop, members, slots, x, weights, biases, columns, counts,
                subtract_log_q, num_true, joined, grad_loss, upstream, logits, targets, extra,
            )
            for m in range(start, stop):
                u = slots[members[m]]
                top[m], totals[m] = peak[u], total[u]
            m = slice(start, stop)
            if use_logistic is not None:
                parts[m] = upstream[m]
                logistic_own(upstream[m], targets[m], extra[m], logits[m], totals[m], losses[m])
            else:
                softmax_own(
                    upstream[m], targets[m], extra[m], logits[m], top[m], totals[m], parts[m],
                    losses[m],
                )
            _grad_examples(
                start, stop, members, slots, weights, columns, rows, joined, parts, upstream,
                losses, logits, targets, y, coefficients, loss, grad_inputs,
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


@parallel_kernel
def forward_classes(
    x, batch_size, num_blocks, rows, offsets, normalizer, grad_loss, use_logistic, accumulate,
    dim, num_chunks, xt, exps, grad_inputs,
):
    """Compute the gradients of the logits of a block of all the classes, and of the inputs.

    The inputs lie in `x`, a row an example; `grad_loss` is the upstream gradient. The
    labels' own part, -1/T, is not in the gradients, which stand in `exps`.
    """
    for chunk in prange(num_chunks):
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
