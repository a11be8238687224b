"""Adagrad for rows: the step size of a row falls as the row learns.

Each row of a table has one accumulator, the sum of its mean squared gradients. A row occurs once
in an update, and belongs to one chunk.
"""

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.rows import dot, pointer, prefetch
from numba_ss.kernels.core.scalar import inverse_root

_AHEAD = 16  # rows that are prefetched


@exact_kernel
def _update_rows(start, stop, rows, grads, rate, decay, dim, table, squares):
    stride, width = grads.shape[1], table.shape[1]
    for u in range(start, stop):
        if u + _AHEAD < stop:
            prefetch(pointer(table, rows[u + _AHEAD] * width), width)
            if squares.shape[0] > 0:
                prefetch(pointer(squares, rows[u + _AHEAD]), 1)
        row = rows[u]
        step = rate
        if decay != float32(0):
            for d in range(dim):
                grads[u, d] += decay * table[row, d]
        if squares.shape[0] > 0:
            own = pointer(grads, u * stride)
            total = dot(own, own, dim)
            squares[row] += total / float32(dim)
            step = rate * inverse_root(squares[row])
        for d in range(dim):
            table[row, d] -= step * grads[u, d]


@parallel_kernel
def adagrad_rows(rows, grads, rate, decay, dim, num_chunks, table, squares):
    """Update the distinct `rows` of a table by their gradients, grads[u, :dim] + decay * row.

    `squares` holds the accumulators of all rows. If it is empty, all rows take the step `rate`.
    `decay` is a weight decay; its part is added to `grads` in place.
    """
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        _update_rows(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks, rows, grads, rate,
            decay, dim, table, squares,
        )
