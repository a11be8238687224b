"""The forward and backward pass of a batch.

A batch is worked on in blocks of `BLOCK` examples; `softmax` says what the shared
and the private columns of an example are. `probabilities`, the one large array,
holds a block of examples after the other, each with the candidates as rows.
Everything is computed in an order that depends on the shapes alone.
"""

import numpy as np
from numba import prange
from numpy import float32, int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.rows import axpy, dot, gather_row, pointer
from numba_ss.kernels.softmax import (
    logistic_block,
    logistic_classes,
    softmax_block,
    softmax_classes,
)
from numba_ss.kernels.tile import LANES, ROWS, multiply, prefetch_row, transpose

BLOCK = 64  # examples; a multiple of LANES and ROWS
# Of a block of inputs, transposed: with a power of two its rows would compete for a few
# sets of the first-level cache.
STRIDE = BLOCK + 16
_AHEAD = 8  # rows that are asked for before they are read


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
            if j + _AHEAD < candidates.shape[0]:
                prefetch_row(weights, candidates[j + _AHEAD])
            row = candidates[j]
            probe = gather_row(pointer(weights, row * dim), dim, pointer(out_rows, j * stride))
            out_offsets[j] = biases[row] + probe
            if subtract_log_q:
                out_offsets[j] -= np.log(counts[j])
        else:
            out_rows[j, :] = float32(0)
            out_offsets[j] = -np.inf


@kernel
def _load_inputs(table, ids, start, stop, weights, columns, x, xt):
    """Gather the inputs of a block, and their transposition; ask for the labels' rows."""
    dim, stride = weights.shape[1], x.shape[1]
    for i in range(start, min(start + _AHEAD, stop)):
        prefetch_row(table, ids[i])
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(table, ids[i + _AHEAD])
        for c in range(columns.shape[1]):
            if columns[i, c] >= 0:
                prefetch_row(weights, columns[i, c])
        gather_row(pointer(table, ids[i] * dim), dim, pointer(x, i * stride))
    for i in range(stop, start + BLOCK):
        x[i, :] = float32(0)
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)


@kernel
def _private_logits(
    start, stop, x, weights, biases, columns, counts, subtract_log_q, coefficients
):
    """Write the logits of the private columns; an absent one is -inf."""
    dim, stride = weights.shape[1], x.shape[1]
    for i in range(start, stop):
        for c in range(columns.shape[1]):
            row = columns[i, c]
            if row < 0:
                coefficients[i, c] = -np.inf
                continue
            logit = dot(pointer(x, i * stride), pointer(weights, row * dim), dim) + biases[row]
            if subtract_log_q:
                logit -= np.log(counts[i, c])
            # An infinite product turns into NaN, and so into a loss that is seen.
            coefficients[i, c] = logit + logit * float32(0)


@kernel
def _forward_block(
    start, stop, first, table, ids, weights, biases, columns, counts, subtract_log_q,
    num_true, rows, offsets, grad_loss, hits, logistic, x, xt, scratch, probabilities,
    coefficients, loss, grad_inputs,
):
    dim = weights.shape[1]
    _load_inputs(table, ids, start, stop, weights, columns, x, xt)
    _private_logits(start, stop, x, weights, biases, columns, counts, subtract_log_q, coefficients)
    num_rows, stride = rows.shape
    num_vectors = (stop - start + LANES - 1) // LANES
    multiply(
        rows, 0, stride, 1, xt, 0, STRIDE, LANES, probabilities, first * BLOCK, BLOCK,
        num_rows, num_vectors, dim, 0,
    )
    for i in range(start, stop):
        for t in range(hits.shape[1]):
            if hits[i, t] >= 0:
                probabilities[first + hits[i, t], i - start] = -np.inf
    if logistic is not None:
        logistic_block(
            start, stop, columns, num_true, grad_loss, offsets, probabilities, first,
            coefficients, loss, scratch,
        )
    else:
        softmax_block(
            start, stop, columns, num_true, grad_loss, offsets, probabilities, first,
            coefficients, loss, scratch,
        )
    _grad_inputs(start, stop, first, rows, dim, probabilities, 0, grad_inputs)
    for i in range(start, stop):
        for c in range(columns.shape[1]):
            if columns[i, c] >= 0:
                own = pointer(weights, columns[i, c] * dim)
                axpy(coefficients[i, c], own, dim, pointer(grad_inputs, i * grad_inputs.shape[1]))


@kernel
def _grad_inputs(start, stop, first, rows, dim, probabilities, accumulate, grad_inputs):
    stride = rows.shape[1]
    out_stride = grad_inputs.shape[1]
    multiply(
        probabilities, first * BLOCK, 1, BLOCK, rows, 0, stride, LANES,
        grad_inputs, start * out_stride, out_stride,
        (stop - start + ROWS - 1) // ROWS * ROWS, (dim + LANES - 1) // LANES, rows.shape[0],
        accumulate,
    )


@parallel_kernel
def forward(
    batch_start, batch_stop, table, ids, weights, biases, columns, counts, subtract_log_q,
    num_true, rows, offsets, grad_loss, hits, logistic, num_chunks, x, xt, scratch,
    probabilities, coefficients, loss, grad_inputs,
):
    """Compute losses, gradients of the logits and of the inputs for a range of examples.

    Parameters that the names do not explain: the inputs are the rows `ids` of
    `table`; `columns` (batch_size, num_private) are row ids in `weights`, the first
    `num_true` of them labels; `rows` and `offsets` are what `pack_candidates` wrote;
    `hits` (batch_size, any) are positions among the candidates that an example does
    not count, or -1; `logistic` is True or None, a type of its own each, so that only the
    loss in use is compiled. Written: `x`, the inputs with padded rows; `probabilities`, the
    gradient of the shared logits; `coefficients`, of the private ones; `loss`;
    `grad_inputs`, padded. `xt` and `scratch` are scratch, one a chunk.
    """
    for chunk in prange(num_chunks):
        num_blocks = (batch_stop - batch_start + BLOCK - 1) // BLOCK
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = batch_start + block * BLOCK
            _forward_block(
                start, min(start + BLOCK, batch_stop), block * rows.shape[0], table, ids,
                weights, biases, columns, counts, subtract_log_q, num_true, rows, offsets,
                grad_loss, hits, logistic, x, xt[chunk], scratch[chunk], probabilities,
                coefficients, loss, grad_inputs,
            )


@kernel
def _classes_block(
    start, stop, first, x, rows, offsets, normalizer, grad_loss, logistic, accumulate, dim, xt,
    probabilities, grad_inputs,
):
    stride = x.shape[1]
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)
    num_vectors = (stop - start + LANES - 1) // LANES
    multiply(
        rows, 0, rows.shape[1], 1, xt, 0, STRIDE, LANES, probabilities, first * BLOCK, BLOCK,
        rows.shape[0], num_vectors, dim, 0,
    )
    if logistic is not None:
        logistic_classes(start, stop, grad_loss, offsets, probabilities, first)
    else:
        softmax_classes(start, stop, normalizer, grad_loss, offsets, probabilities, first)
    _grad_inputs(start, stop, first, rows, dim, probabilities, int64(accumulate), grad_inputs)


@parallel_kernel
def forward_classes(
    x, batch_size, rows, offsets, normalizer, grad_loss, logistic, accumulate, dim, num_chunks,
    xt, probabilities, grad_inputs,
):
    """As `forward`, for a block of all the classes and inputs that lie in `x`.

    The labels' own part, -1/T, is not in it.
    """
    for chunk in prange(num_chunks):
        num_blocks = (batch_size + BLOCK - 1) // BLOCK
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = block * BLOCK
            _classes_block(
                start, min(start + BLOCK, batch_size), block * rows.shape[0], x, rows, offsets,
                normalizer, grad_loss, logistic, accumulate, dim, xt[chunk], probabilities,
                grad_inputs,
            )


@kernel
def _grad_rows(
    row_start, row_stop, batch_start, batch_stop, x, dim, num_rows, probabilities, accumulate,
    grad_rows, grad_offsets,
):
    stride = x.shape[1]
    out_stride = grad_rows.shape[1]
    if not accumulate:
        grad_offsets[row_start:row_stop] = float32(0)
    for start in range(batch_start, batch_stop, BLOCK):
        size = min(BLOCK, batch_stop - start)
        first = (start - batch_start) // BLOCK * num_rows
        multiply(
            probabilities, (first + row_start) * BLOCK, BLOCK, 1, x, start * stride, stride,
            LANES, grad_rows, row_start * out_stride, out_stride, row_stop - row_start,
            (dim + LANES - 1) // LANES, size, int64(accumulate or start > batch_start),
        )
        for s in range(row_start, row_stop):
            total = float32(0)
            for i in range(size):
                total += probabilities[first + s, i]
            grad_offsets[s] += total


@parallel_kernel
def grad_candidates(
    batch_start, batch_stop, x, dim, probabilities, accumulate, num_chunks, grad_rows,
    grad_offsets,
):
    """Compute, or add to, the gradients of the candidates' rows and offsets."""
    for chunk in prange(num_chunks):
        num_rows = grad_rows.shape[0]
        num_tiles = num_rows // ROWS
        _grad_rows(
            chunk * num_tiles // num_chunks * ROWS, (chunk + 1) * num_tiles // num_chunks * ROWS,
            batch_start, batch_stop, x, dim, num_rows, probabilities, accumulate, grad_rows,
            grad_offsets,
        )
