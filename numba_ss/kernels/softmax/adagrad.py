"""Adagrad: each row, or each number, has a step size that falls as it learns.

A row of an embedding table keeps one number, the sum of its mean squared gradients.
Each row belongs to one chunk, and comes once.
"""

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.rows import dot, pointer
from numba_ss.kernels.core.scalar import inverse_root
from numba_ss.kernels.core.tile import prefetch_row

_AHEAD = 16  # rows that are asked for before they are changed


@exact_kernel
def _update_rows(start, stop, rows, grads, rate, decay, dim, table, squares):
    stride = grads.shape[1]
    for u in range(start, stop):
        if u + _AHEAD < stop:
            prefetch_row(table, rows[u + _AHEAD])
            if squares.shape[0] > 0:
                prefetch_row(squares, rows[u + _AHEAD])
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
    """Update the distinct `rows` of a table by grads[u, :dim] + decay * row.

    The decay is added to `grads` in place.

    `squares` are their sums of mean squared gradients; where it is empty, all take the
    step `rate`.
    """
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        _update_rows(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks, rows, grads, rate,
            decay, dim, table, squares,
        )
