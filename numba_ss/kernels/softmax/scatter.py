"""Subtract gradients from rows, as if one by one.

Each chunk has some columns of the table, and takes the gradients of all rows in order. So the
result is, bit for bit, that of the plain loop, whatever the number of chunks: `exact_kernel`
keeps the product and the difference apart. Chunks with rows of their own would each have to
find them, and have as much to do as these are frequent.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.rows import pointer, prefetch, subtract_product, subtract_scaled
from numba_ss.kernels.softmax.buffers import integers, numbers

_AHEAD = 8  # rows that are asked for before they are changed
_UNIT = 16  # numbers of a cache line; two chunks should not write to one


@exact_kernel
def first_column(chunk, num_chunks, dim):
    """Return the first column of a chunk; where there are few, some chunks have none."""
    num_units = (dim + _UNIT - 1) // _UNIT
    return min(chunk * num_units // num_chunks * _UNIT, dim)


@exact_kernel
def _subtract_rows(start, stop, rows, grads, learning_rate, table):
    """Subtract columns of the gradients `grads[u]`."""
    dim, stride, size = table.shape[1], grads.shape[1], stop - start
    for u in range(rows.shape[0]):
        if u + _AHEAD < rows.shape[0]:
            prefetch(pointer(table, rows[u + _AHEAD] * dim + start), size)
        grad, target = pointer(grads, u * stride + start), pointer(table, rows[u] * dim + start)
        subtract_scaled(learning_rate, grad, size, target)


@exact_kernel
def scatter_rows_chunk(chunk, num_chunks, rows, grads, learning_rate, table):
    """Do a chunk's part of what `scatter_rows` does."""
    start = first_column(chunk, num_chunks, table.shape[1])
    stop = first_column(chunk + 1, num_chunks, table.shape[1])
    if start < stop:
        _subtract_rows(start, stop, rows, grads, learning_rate, table)


@exact_kernel
def _subtract_products(start, stop, rows, coefficients, x, slots, learning_rate, weights):
    """Subtract columns of the gradients of the own columns, coefficients[i, c] * x[slots[i]]."""
    dim, stride, size = weights.shape[1], x.shape[1], stop - start
    for i in range(rows.shape[0]):
        source = pointer(x, slots[i] * stride + start)
        for c in range(rows.shape[1]):
            if i + _AHEAD < rows.shape[0] and rows[i + _AHEAD, c] >= 0:
                prefetch(pointer(weights, rows[i + _AHEAD, c] * dim + start), size)
            if rows[i, c] >= 0:
                target = pointer(weights, rows[i, c] * dim + start)
                subtract_product(learning_rate, coefficients[i, c], source, size, target)


@exact_kernel
def scatter_own(chunk, num_chunks, columns, learning_rate, weights, biases, buffers):
    """Apply a step to a chunk of the columns of the examples' own rows."""
    coefficients, x = numbers(buffers, "coefficients", weights), numbers(buffers, "x", weights)
    slots = integers(buffers, "slots")
    start = first_column(chunk, num_chunks, weights.shape[1])
    stop = first_column(chunk + 1, num_chunks, weights.shape[1])
    if start < stop:
        _subtract_products(start, stop, columns, coefficients, x, slots, learning_rate, weights)
    if chunk == 0:
        for i in range(columns.shape[0]):
            for c in range(columns.shape[1]):
                if columns[i, c] >= 0:
                    biases[columns[i, c]] -= learning_rate * coefficients[i, c]


@exact_kernel
def scatter_candidates(
    chunk, num_chunks, candidates, learning_rate, weights, biases, buffers
):
    """Apply a step to a chunk of the columns of the candidates' rows."""
    scatter_rows_chunk(
        chunk, num_chunks, candidates, numbers(buffers, "grad_rows", weights), learning_rate,
        weights,
    )
    if chunk == 0:
        grad_offsets = numbers(buffers, "grad_offsets", weights)
        for s in range(candidates.shape[0]):
            biases[candidates[s]] -= learning_rate * grad_offsets[s]


@parallel_kernel
def scatter_classes(columns, candidates, learning_rate, num_chunks, weights, biases, buffers):
    """Apply a step to the classes: labels in row order, then candidates.

    The gradients are `coefficients` times the inputs, x[slots[i]] that of example i, and
    `grad_rows` and `grad_offsets`.
    """
    for chunk in prange(num_chunks):
        scatter_own(
            int64(chunk), num_chunks, columns, learning_rate, weights, biases, buffers
        )
        scatter_candidates(
            int64(chunk), num_chunks, candidates, learning_rate, weights, biases, buffers
        )


@parallel_kernel
def scatter_rows(rows, grads, learning_rate, num_chunks, table):
    """Subtract the gradients one by one, in order."""
    for chunk in prange(num_chunks):
        scatter_rows_chunk(int64(chunk), num_chunks, rows, grads, learning_rate, table)
