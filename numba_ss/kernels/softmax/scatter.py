"""Subtract gradients from rows, one after the other.

Each chunk owns some columns of the table, and goes through the gradients of all rows in order. So
the result is the same, bit for bit, as that of the plain loop, for any number of chunks:
`exact_kernel` rounds the product and the difference separately. If a chunk owned rows instead, it
would have to find them first, and a chunk with frequent rows would have more work.
"""

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.llvm import LINE
from numba_ss.kernels.core.rows import pointer, prefetch, subtract_product, subtract_scaled
from numba_ss.kernels.softmax.buffers import integers, numbers

_AHEAD = 8  # rows that are prefetched


@exact_kernel
def first_column(chunk, num_chunks, dim):
    """Return the first column of a chunk; if there are few columns, some chunks have none."""
    # Whole cache lines: two chunks should not write to one.
    num_lines = (dim + LINE - 1) // LINE
    return min(chunk * num_lines // num_chunks * LINE, dim)


@exact_kernel
def _subtract_rows(start, stop, rows, grads, learning_rate, table):
    """Subtract the columns from `start` to `stop` of the gradients."""
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
def _subtract_products(start, stop, rows, learning_rate, weights, buffers):
    """Subtract columns of the gradients of own rows: gradient of the logit times the input."""
    grads = numbers(buffers, "grad_own_logits", weights)
    inputs, inverse = numbers(buffers, "unique_inputs", weights), integers(buffers, "inverse")
    dim, stride, size = weights.shape[1], inputs.shape[1], stop - start
    for i in range(rows.shape[0]):
        source = pointer(inputs, inverse[i] * stride + start)
        for c in range(rows.shape[1]):
            if i + _AHEAD < rows.shape[0] and rows[i + _AHEAD, c] >= 0:
                prefetch(pointer(weights, rows[i + _AHEAD, c] * dim + start), size)
            if rows[i, c] >= 0:
                target = pointer(weights, rows[i, c] * dim + start)
                subtract_product(learning_rate, grads[i, c], source, size, target)


@exact_kernel
def scatter_own(chunk, num_chunks, own, learning_rate, weights, biases, buffers):
    """Apply a step to the examples' own classes, in a chunk of the columns."""
    grads = numbers(buffers, "grad_own_logits", weights)
    start = first_column(chunk, num_chunks, weights.shape[1])
    stop = first_column(chunk + 1, num_chunks, weights.shape[1])
    if start < stop:
        _subtract_products(start, stop, own, learning_rate, weights, buffers)
    if chunk == 0:
        for i in range(own.shape[0]):
            for c in range(own.shape[1]):
                if own[i, c] >= 0:
                    biases[own[i, c]] -= learning_rate * grads[i, c]


@exact_kernel
def scatter_sampled(chunk, num_chunks, sampled, learning_rate, weights, biases, buffers):
    """Apply a step to the sampled classes, in a chunk of the columns."""
    grad_rows = numbers(buffers, "grad_sampled_rows", weights)
    scatter_rows_chunk(chunk, num_chunks, sampled, grad_rows, learning_rate, weights)
    if chunk == 0:
        grad_biases = numbers(buffers, "grad_sampled_biases", weights)
        for s in range(sampled.shape[0]):
            biases[sampled[s]] -= learning_rate * grad_biases[s]
