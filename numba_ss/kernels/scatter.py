"""Subtract gradients from rows, as if one by one.

Each row belongs to one chunk, which takes its gradients in order. So the result is, bit
for bit, that of the plain loop, whatever the number of chunks: `exact_kernel` keeps the
product and the difference apart.
"""

from numba import prange
from numpy import uint64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.rows import pointer
from numba_ss.kernels.tile import prefetch_row

_AHEAD = 8  # rows that are asked for before they are changed


@exact_kernel
def _owner(row, num_chunks):
    # Hashed, so that ids with a common factor do not fall to one chunk alone.
    mixed = (uint64(row) * uint64(0x9E3779B97F4A7C15)) >> uint64(32)
    return mixed % uint64(num_chunks)


@exact_kernel
def _subtract(learning_rate, grad, size, target):
    for d in range(size):
        target[d] -= learning_rate * grad[d]


@exact_kernel
def _subtract_product(learning_rate, coefficient, x, size, target):
    for d in range(size):
        target[d] -= learning_rate * (coefficient * x[d])


@exact_kernel
def _subtract_rows(chunk, num_chunks, rows, grads, learning_rate, table):
    """Subtract the gradients `grads[u, :dim]` from the chunk's own rows."""
    dim, stride = table.shape[1], grads.shape[1]
    for u in range(rows.shape[0]):
        if u + _AHEAD < rows.shape[0]:
            following = rows[u + _AHEAD]
            if _owner(following, num_chunks) == uint64(chunk):
                prefetch_row(table, following)
        row = rows[u]
        if _owner(row, num_chunks) == uint64(chunk):
            grad = pointer(grads, u * stride)
            _subtract(learning_rate, grad, dim, pointer(table, row * dim))


@exact_kernel
def _subtract_values(chunk, num_chunks, rows, grads, learning_rate, values):
    """As `_subtract_rows`, for one number a row."""
    for u in range(rows.shape[0]):
        if _owner(rows[u], num_chunks) == uint64(chunk):
            values[rows[u]] -= learning_rate * grads[u]


@exact_kernel
def _subtract_columns(
    chunk, num_chunks, columns, coefficients, x, slots, learning_rate, weights, biases
):
    """Subtract the gradients of the own columns, coefficients[i, c] * x[slots[i]]."""
    dim, stride = weights.shape[1], x.shape[1]
    for i in range(columns.shape[0]):
        for c in range(columns.shape[1]):
            if i + _AHEAD < columns.shape[0]:
                following = columns[i + _AHEAD, c]
                if following >= 0 and _owner(following, num_chunks) == uint64(chunk):
                    prefetch_row(weights, following)
            row = columns[i, c]
            if row >= 0 and _owner(row, num_chunks) == uint64(chunk):
                coefficient = coefficients[i, c]
                own = pointer(weights, row * dim)
                source = pointer(x, slots[i] * stride)
                _subtract_product(learning_rate, coefficient, source, dim, own)
                biases[row] -= learning_rate * coefficient


@parallel_kernel
def scatter_step(
    columns, coefficients, x, slots, candidates, grad_rows, grad_offsets, ids, grad_inputs,
    learning_rate, tied, num_chunks, weights, biases, table,
):
    """Apply a step: labels in row order, then candidates, then the input rows.

    `table` is empty where the inputs are not rows of a table. Unless it is `tied`, the
    weights themselves, half of the chunks are for its rows alone.
    """
    for chunk in prange(num_chunks):
        others = 0 if tied or table.shape[0] == 0 else num_chunks // 2
        owners = num_chunks - others
        if chunk < owners:
            _subtract_columns(
                chunk, owners, columns, coefficients, x, slots, learning_rate, weights, biases
            )
            _subtract_rows(chunk, owners, candidates, grad_rows, learning_rate, weights)
            _subtract_values(chunk, owners, candidates, grad_offsets, learning_rate, biases)
        if table.shape[0] > 0 and others == 0:
            _subtract_rows(chunk, owners, ids, grad_inputs, learning_rate, table)
        elif chunk >= owners:
            _subtract_rows(chunk - owners, others, ids, grad_inputs, learning_rate, table)


@parallel_kernel
def scatter_rows(rows, grads, learning_rate, num_chunks, table):
    """Subtract the gradients one by one, in order."""
    for chunk in prange(num_chunks):
        _subtract_rows(chunk, num_chunks, rows, grads, learning_rate, table)
