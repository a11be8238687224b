"""Adam for rows: each number has a step size by the mean and the mean square of its gradients.

Only rows that have a gradient change, as is their state: the means of all others wait. Each row
belongs to one chunk, and comes once. Kingma and Ba, "Adam: A Method for Stochastic
Optimization", ICLR 2015, algorithm 1.
"""

from numba import prange
from numpy import sqrt

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.tile import prefetch_row

_AHEAD = 8  # rows that are asked for before they are changed


@exact_kernel
def _update_rows(
    start, stop, rows, grads, rate, share, share_squares, epsilon, dim, table, means, squares
):
    for u in range(start, stop):
        if u + _AHEAD < stop:
            row = rows[u + _AHEAD]
            prefetch_row(table, row)
            prefetch_row(means, row)
            prefetch_row(squares, row)
        row = rows[u]
        weights, mean, square, grad = table[row], means[row], squares[row], grads[u]
        for d in range(dim):
            mean[d] += share * (grad[d] - mean[d])
            square[d] += share_squares * (grad[d] * grad[d] - square[d])
            weights[d] -= rate * mean[d] / (sqrt(square[d]) + epsilon)


@parallel_kernel
def adam_rows(
    rows, grads, rate, share, share_squares, epsilon, dim, num_chunks, table, means, squares
):
    """Update the distinct `rows` of a table, and of `means` and `squares`, by grads[u, :dim].

    A new gradient has the `share`, 1 - beta1, of the mean, and `share_squares`, 1 - beta2, of
    the mean square. `rate` contains the correction of the means for the zeros they began with.
    """
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        _update_rows(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks, rows, grads, rate,
            share, share_squares, epsilon, dim, table, means, squares,
        )
