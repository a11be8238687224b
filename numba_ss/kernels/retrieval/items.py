"""The item side of a retrieval model: rows of items and features, forward and backward.

The vector of an item is the sum of its own row and the rows of its features. The vectors that
a batch needs are first copied into one array, each item once. The first of them are scored
against users, the others occur in histories only.
"""

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.row_tile import add_products
from numba_ss.kernels.core.rows import axpy, dot, pointer
from numba_ss.kernels.core.scalar import inverse_root
from numba_ss.kernels.core.tile import LANES, prefetch_row

_AHEAD = 16  # rows that are prefetched


@exact_kernel
def _gather(start, stop, items, features, codes, rows, num_scored, normalize, out, unit, inverse):
    dim = items.shape[1]
    for r in range(start, stop):
        if r + _AHEAD < stop:
            prefetch_row(items, rows[r + _AHEAD])
        row = rows[r]
        for d in range(dim):
            out[r, d] = items[row, d]
        for f in range(codes.shape[1]):
            code = codes[row, f]
            for d in range(dim):
                out[r, d] += features[code, d]
        if r < num_scored:
            factor = float32(1)
            if normalize:
                own = pointer(out, r * dim)
                factor = inverse_root(dot(own, own, dim))
            inverse[r] = factor
            for d in range(dim):
                unit[r, d] = factor * out[r, d]


@parallel_kernel
def gather_items(
    items, features, codes, rows, num_scored, normalize, num_chunks, out, unit, inverse
):
    """Write the vectors of the items `rows`, and unit vectors of those that are scored.

    codes[row] are the rows of an item in `features`. For each of the first `num_scored` items,
    `unit` is the vector times `inverse`, which is one over its length with `normalize`, else 1.
    """
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        _gather(
            chunk * size // num_chunks, (chunk + 1) * size // num_chunks, items, features, codes,
            rows, num_scored, normalize, out, unit, inverse,
        )


@exact_kernel
def _backward(
    chunk, num_chunks, unit, inverse, num_scored, normalize, slots, places, offsets, shares,
    tower_grads, width, grads,
):
    dim = grads.shape[1]
    for r in range(chunk, num_scored, num_chunks):
        if normalize:
            along = dot(pointer(grads, r * dim), pointer(unit, r * dim), dim)
            for d in range(dim):
                grads[r, d] = inverse[r] * (grads[r, d] - along * unit[r, d])
    # One row after the other, because an item may occur twice in a history.
    for i in range(offsets.shape[0] - 1):
        share = pointer(shares, offsets[i + 1] - offsets[i])
        source = pointer(tower_grads, i * width)
        for j in range(offsets[i], offsets[i + 1]):
            if slots[j] % num_chunks == chunk:
                add_products(
                    pointer(grads, 0), pointer(places, j), 1, share, 0, 0, source,
                    pointer(offsets, 0), 1, 0, dim // LANES,  # offsets[0] is 0
                )


@parallel_kernel
def backward_items(
    unit, inverse, num_scored, normalize, slots, places, offsets, shares, tower_grads, width,
    num_chunks, grads,
):
    """Turn gradients of unit vectors into gradients of vectors, and add those of histories.

    `grads` holds the gradients of the first `num_scored` unit vectors, then zeros. The history
    of example i is slots[offsets[i]:offsets[i + 1]], rows of `grads` that start at `places`. The
    gradient of its mean starts at tower_grads[i * width]; each of its n items gets a share
    shares[n] = 1 / n of it.
    """
    for chunk in prange(num_chunks):
        _backward(
            chunk, num_chunks, unit, inverse, num_scored, normalize, slots, places, offsets,
            shares, tower_grads, width, grads,
        )


@exact_kernel
def _add_features(
    chunk, num_chunks, user_slots, tower_grads, width, step, item_slots, item_grads, grads
):
    dim = grads.shape[1]
    for r in range(chunk, grads.shape[0], num_chunks):
        for d in range(dim):
            grads[r, d] = float32(0)
    for i in range(user_slots.shape[0]):
        for f in range(user_slots.shape[1]):
            slot = user_slots[i, f]
            if slot % num_chunks == chunk:
                at = i * width + (1 + f) * step
                axpy(float32(1), pointer(tower_grads, at), dim, pointer(grads, slot * dim))
    for r in range(item_slots.shape[0]):
        for f in range(item_slots.shape[1]):
            slot = item_slots[r, f]
            if slot % num_chunks == chunk:
                axpy(float32(1), pointer(item_grads, r * dim), dim, pointer(grads, slot * dim))


@parallel_kernel
def feature_grads(
    user_slots, tower_grads, width, step, item_slots, item_grads, num_chunks, grads
):
    """Sum the gradients of the features' rows.

    The gradient of feature f of example i starts at tower_grads[i * width + (1 + f) * step].
    Each feature of item r has the gradient item_grads[r]. `user_slots` and `item_slots` say to
    which row of `grads` each is added.
    """
    for chunk in prange(num_chunks):
        _add_features(
            chunk, num_chunks, user_slots, tower_grads, width, step, item_slots, item_grads,
            grads,
        )
