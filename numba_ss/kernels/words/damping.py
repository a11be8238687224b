"""Damping of a block's change, so that the sum over all blocks of a round does not overshoot.

W blocks start from the same rows. Let a row have the weight A in a block: the sum of |c| over its
occurrences, with c = rate * (y - p), see `row_updates`. Along an eigenvector e of the second moment
of the rows that it meets, with eigenvalue lambda, the curvature of its losses is about A * lambda.
So one block moves the row by a share 1 - exp(-x) of the way to the optimum along e, with
x = a * A * lambda. W blocks one after the other would move it by 1 - exp(-W x). The sum of W equal
changes is W (1 - exp(-x)). Along e the change is therefore scaled by

    phi(x) = (1 - exp(-W x)) / (W (1 - exp(-x))).

This is 1 for small x, where changes add up, and 1 / W for large x, where each block alone has
learned all that there was to learn. The sum of the scaled changes is a share of at most 1 of the
way, however large x is, so it cannot overshoot.

This is done for the leading eigenvectors; all other directions have the mean of the other
eigenvalues.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products, multiply_rows
from numba_ss.kernels.core.rows import axpy, dot, pointer
from numba_ss.kernels.core.scalar import exp, inverse_root
from numba_ss.kernels.core.tile import Matrix

GROUP = 32  # rows that are scaled together
_TINY = float32(1e-12)
_NEGLIGIBLE = float32(0.1)  # of W x: then phi is 0.95 at least, and the row stays as it is


@exact_kernel
def add_moment(rows, center, moment):
    """Add the sum of (r - center)(r - center)^T over all rows r to `moment`, (dim, dim).

    The lower triangle is computed; the upper one is its mirror. Changes `rows` to r - center.
    """
    num_rows, dim = rows.shape
    for i in range(num_rows):
        row = pointer(rows, i * dim)
        axpy(float32(-1), pointer(center, 0), dim, row)
        for d in range(dim):
            axpy(rows[i, d], row, d + 1, pointer(moment, d * dim))
    for d in range(dim):
        for e in range(d):
            moment[e, d] = moment[d, e]


@exact_kernel
def iterate(moment, vectors, values, scratch):
    """Improve the estimates of the leading eigenvectors of a symmetric matrix, and their values.

    One step of orthogonal iteration: each vector is multiplied by the matrix and made orthogonal to
    those before it (Gram and Schmidt). values[j] becomes the length of product j, which is the
    eigenvalue when the vectors have converged.
    """
    count, dim = vectors.shape
    for j in range(count):
        vector, product = pointer(vectors, j * dim), pointer(scratch, 0)
        for d in range(dim):
            scratch[d] = dot(pointer(moment, d * dim), vector, dim)
        for i in range(j):
            other = pointer(vectors, i * dim)
            axpy(-dot(other, product, dim), other, dim, product)
        square = dot(product, product, dim)
        values[j] = square * inverse_root(square)
        scale = inverse_root(square)
        for d in range(dim):
            vectors[j, d] = scratch[d] * scale


@kernel
def _learned_share(x):
    """Return 1 - e**-x for x >= 0 to five digits; a loop over it becomes vector code."""
    series = x * (float32(1) - x * (float32(0.5) - x * float32(1 / 6)))
    return series if x < float32(0.03) else float32(1) - exp(-x)


@kernel
def phi(x, num_blocks):
    """Return the factor of a direction with curvature x, see above."""
    x = _TINY if x < _TINY else x
    return _learned_share(x * num_blocks) / (num_blocks * _learned_share(x))


class Scratch(NamedTuple):
    """A group of rows that are scaled together."""

    changes: Any  # (GROUP, stride)
    numbers: Any  # int64 (GROUP,): which rows they are
    weights: Any  # (GROUP,)
    others: Any  # (GROUP,): their factors of all directions but the eigenvectors
    products: Any  # (count, GROUP): inner products with the eigenvectors
    starts: Any  # int64 (GROUP,): where each of the changes begins
    vector_starts: Any  # int64 (count,): the same of the eigenvectors


def scratch_of(count: int, stride: int) -> Scratch:
    """Return scratch for a number of eigenvectors whose rows have `stride` numbers."""
    return Scratch(
        np.zeros((GROUP, stride), np.float32), np.zeros(GROUP, np.int64),
        np.zeros(GROUP, np.float32), np.zeros(GROUP, np.float32),
        np.zeros((count, GROUP), np.float32), np.arange(GROUP) * stride,
        np.arange(count) * stride,
    )


class Directions(NamedTuple):
    """The leading eigenvectors, and how steep the losses are along them."""

    vectors: Any  # (count, stride)
    values: Any  # (count,): eigenvalues times a
    rest: Any  # the eigenvalue of all other directions, times a
    scratch: Any  # see `scratch_of`


@kernel
def _damp_group(count, directions, num_blocks):
    """Scale the first `count` changes of the scratch in place."""
    s, length, stride = directions.scratch, directions.vectors.shape[0], directions.vectors.shape[1]
    vectors, padded = stride // LANES, (count + 1) // 2 * 2  # rows are multiplied in pairs
    change, products = pointer(s.changes, 0), pointer(s.products, 0)
    starts, weights, others = pointer(s.starts, 0), pointer(s.weights, 0), pointer(s.others, 0)
    eigenvectors = Rows(pointer(directions.vectors, 0), pointer(s.vector_starts, 0), length)
    multiply_rows(Rows(change, starts, padded), eigenvectors, Matrix(products, GROUP, 1), vectors)
    for m in range(GROUP):
        others[m] = phi(weights[m] * directions.rest, num_blocks)
    for j in range(length):
        value, line = directions.values[j], pointer(s.products, j * GROUP)
        for m in range(GROUP):
            line[m] *= phi(weights[m] * value, num_blocks) / others[m] - float32(1)
    add_products(Rows(change, starts, count), Matrix(products, 1, GROUP), eigenvectors, vectors)
    for m in range(count):
        row, factor = pointer(s.changes, m * stride), others[m]
        for i in range(stride):
            row[i] *= factor


@kernel
def _put_back(count, scratch, before, after):
    """Set the rows of a group to what they were before, plus their changes."""
    stride = after.shape[1]
    for m in range(count):
        start = scratch.numbers[m] * stride
        old, new, change = (
            pointer(before, start), pointer(after, start), pointer(scratch.changes, m * stride)
        )
        for i in range(stride):
            new[i] = old[i] + change[i]


@exact_kernel
def damp_rows(weights, directions, num_blocks, before, after):
    """Scale the change of each row, with the given weight, along each eigenvector.

    `before` and `after` have padding: rows that fill whole cache lines, and maybe more rows. A row
    whose change would be scaled by nearly 1 stays as it is.
    """
    scratch, stride = directions.scratch, after.shape[1]
    count, blocks = 0, float32(num_blocks)
    least = _NEGLIGIBLE / (blocks * max(directions.values[0], _TINY))
    for i in range(weights.shape[0]):
        if weights[i] < least:
            continue
        scratch.numbers[count], scratch.weights[count] = i, weights[i]
        old, new = pointer(before, i * stride), pointer(after, i * stride)
        change = pointer(scratch.changes, count * stride)
        for d in range(stride):
            change[d] = new[d] - old[d]
        count += 1
        if count == GROUP:
            _damp_group(count, directions, blocks)
            _put_back(count, scratch, before, after)
            count = 0
    if count > 0:
        _damp_group(count, directions, blocks)
        _put_back(count, scratch, before, after)
