"""Subtract gradients from rows, as if one by one.

Each row belongs to one chunk, which takes its gradients in order. So the result is, bit
for bit, that of the plain loop, whatever the number of chunks: `exact_kernel` keeps the
product and the difference apart.
"""

from numba import prange
from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.buffers import integers, numbers
from numba_ss.kernels.rows import pointer, subtract_product, subtract_scaled
from numba_ss.kernels.tile import prefetch_row

_AHEAD = 8  # rows that are asked for before they are changed


@exact_kernel
def _list_uses(chunk, num_chunks, rows, uses):
    """List the positions of the rows that belong to a chunk; return how many there are.

    Hashed, so that ids with a common factor do not fall to one chunk alone. Whose a row is
    no processor can guess: there is no branch.
    """
    count = 0
    for u in range(rows.shape[0]):
        uses[count] = u
        mixed = (uint64(rows[u]) * uint64(0x9E3779B97F4A7C15)) >> uint64(32)
        owner = (mixed * uint64(num_chunks)) >> uint64(32)
        count += (rows[u] >= 0) & (owner == uint64(chunk))
    return count


@exact_kernel
def _subtract_rows(chunk, num_chunks, rows, grads, learning_rate, uses, table):
    """Subtract the gradients `grads[u, :dim]` from the chunk's own rows."""
    dim, stride = table.shape[1], grads.shape[1]
    count = _list_uses(chunk, num_chunks, rows, uses)
    for k in range(count):
        if k + _AHEAD < count:
            prefetch_row(table, rows[uses[k + _AHEAD]])
        u = uses[k]
        subtract_scaled(
            learning_rate, pointer(grads, u * stride), dim, pointer(table, rows[u] * dim)
        )


@exact_kernel
def _subtract_columns(
    chunk, num_chunks, columns, coefficients, x, slots, learning_rate, uses, weights, biases
):
    """Subtract the gradients of the own columns, coefficients[i, c] * x[slots[i]]."""
    dim, stride, width = weights.shape[1], x.shape[1], columns.shape[1]
    rows, factors = columns.reshape(-1), coefficients.reshape(-1)
    count = _list_uses(chunk, num_chunks, rows, uses)
    for k in range(count):
        if k + _AHEAD < count:
            prefetch_row(weights, rows[uses[k + _AHEAD]])
        use = uses[k]
        row, factor = rows[use], factors[use]
        source = pointer(x, slots[use // width] * stride)
        subtract_product(learning_rate, factor, source, dim, pointer(weights, row * dim))
        biases[row] -= learning_rate * factor


@exact_kernel
def _scatter_chunk(chunk, columns, candidates, learning_rate, num_chunks, weights, biases, buffers):
    coefficients, x = numbers(buffers, "coefficients", weights), numbers(buffers, "x", weights)
    grad_rows = numbers(buffers, "grad_rows", weights)
    grad_offsets = numbers(buffers, "grad_offsets", weights)
    slots, uses = integers(buffers, "slots"), integers(buffers, "uses")
    _subtract_columns(
        chunk, num_chunks, columns, coefficients, x, slots, learning_rate, uses[chunk],
        weights, biases,
    )
    _subtract_rows(
        chunk, num_chunks, candidates, grad_rows, learning_rate, uses[chunk], weights
    )
    count = _list_uses(chunk, num_chunks, candidates, uses[chunk])
    for k in range(count):
        u = uses[chunk, k]
        biases[candidates[u]] -= learning_rate * grad_offsets[u]


@parallel_kernel
def scatter_classes(columns, candidates, learning_rate, num_chunks, weights, biases, buffers):
    """Apply a step to the classes: labels in row order, then candidates.

    The gradients are `coefficients` times the inputs, x[slots[i]] that of example i, and
    `grad_rows` and `grad_offsets`. `uses`, a row a chunk, is scratch, with a number for each
    column or candidate, and one more.
    """
    for chunk in prange(num_chunks):
        _scatter_chunk(
            int64(chunk), columns, candidates, learning_rate, num_chunks, weights, biases, buffers,
        )


@parallel_kernel
def scatter_rows(rows, grads, learning_rate, num_chunks, uses, table):
    """Subtract the gradients one by one, in order; `uses` as in `scatter_classes`."""
    for chunk in prange(num_chunks):
        _subtract_rows(
            int64(chunk), num_chunks, rows, grads, learning_rate, uses[chunk], table
        )
