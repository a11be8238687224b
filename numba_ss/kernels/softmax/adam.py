"""Adam for rows: the step of each number follows the mean and the mean square of its gradients.

Only rows that have a gradient change, and only their means do. A row occurs once in an update, and
belongs to one chunk. Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
algorithm 1.
"""

from typing import Any, NamedTuple

from numba import prange
from numpy import sqrt

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.rows import pointer, prefetch

_AHEAD = 8  # rows that are prefetched


class Rates(NamedTuple):
    """The numbers of a step."""

    rate: Any  # the learning rate, with the correction for means that began as zeros
    share: Any  # 1 - beta1: the weight of a new gradient in its mean
    share_squares: Any  # 1 - beta2: the weight of its square in the mean square
    epsilon: Any


@exact_kernel
def _update_rows(start, stop, rows, grads, rates, table, means, squares):
    rate, share, share_squares, epsilon = rates
    for u in range(start, stop):
        if u + _AHEAD < stop:
            at, stride = rows[u + _AHEAD], table.shape[1]
            prefetch(pointer(table, at * stride), stride)
            prefetch(pointer(means, at * stride), stride)
            prefetch(pointer(squares, at * stride), stride)
        row = rows[u]
        weights, mean, square, grad = table[row], means[row], squares[row], grads[u]
        for d in range(table.shape[1]):
            mean[d] += share * (grad[d] - mean[d])
            square[d] += share_squares * (grad[d] * grad[d] - square[d])
            weights[d] -= rate * mean[d] / (sqrt(square[d]) + epsilon)


@parallel_kernel
def adam_rows(rows, grads, rates, num_chunks, table, means, squares):
    """Update the distinct `rows` of a table, of its `means` and mean `squares`, by gradients."""
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        _update_rows(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks, rows, grads, rates,
            table, means, squares,
        )
