"""The item side of a retrieval model: rows of items and features, forward and backward.

The vector of an item is the sum of its own row and the rows of its features. The vectors that
a batch needs are first copied into one array, each item once. The first of them are scored
against users; the others occur in histories only.
"""

from typing import Any, NamedTuple

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products
from numba_ss.kernels.core.rows import axpy, dot, pointer, prefetch
from numba_ss.kernels.core.scalar import inverse_root
from numba_ss.kernels.core.tile import Matrix

_AHEAD = 16  # rows that are prefetched


class ItemTables(NamedTuple):
    """The rows that vectors of items are made of."""

    items: Any  # (num_items, stride)
    features: Any  # (num_feature_rows, stride)
    codes: Any  # int64 (num_items, features of an item): its rows of `features`


class Scored(NamedTuple):
    """The items of a batch that are scored against users: the first rows of its vectors."""

    normalize: Any  # whether they are scored by unit vectors
    unit: Any  # (num_scored, stride): the vector times `inverse`
    inverse: Any  # (num_scored,): with `normalize` one over the vector's length, else 1


class InputGrads(NamedTuple):
    """The gradients of the inputs of a user network, an example after the other.

    That of the mean of the history of example i starts at numbers[i * width], that of its
    feature f at numbers[i * width + (1 + f) * step].
    """

    numbers: Any  # flat
    width: Any
    step: Any


@exact_kernel
def _gather(start, stop, tables, rows, scored, out):
    items, features, codes = tables.items, tables.features, tables.codes
    unit, inverse, normalize = scored.unit, scored.inverse, scored.normalize
    dim = items.shape[1]
    for r in range(start, stop):
        if r + _AHEAD < stop:
            prefetch(pointer(items, rows[r + _AHEAD] * dim), dim)
        row = rows[r]
        for d in range(dim):
            out[r, d] = items[row, d]
        for f in range(codes.shape[1]):
            code = codes[row, f]
            for d in range(dim):
                out[r, d] += features[code, d]
        if r < unit.shape[0]:
            factor = float32(1)
            if normalize:
                own = pointer(out, r * dim)
                factor = inverse_root(dot(own, own, dim))
            inverse[r] = factor
            for d in range(dim):
                unit[r, d] = factor * out[r, d]


@parallel_kernel
def gather_items(tables, rows, scored, num_chunks, out):
    """Write the vectors of the items `rows` to `out`, and of the first ones what `scored` holds."""
    for chunk in prange(num_chunks):
        size = rows.shape[0]
        start, stop = chunk * size // num_chunks, (chunk + 1) * size // num_chunks
        _gather(start, stop, tables, rows, scored, out)


@exact_kernel
def _backward(chunk, num_chunks, scored, histories, inputs, grads):
    dim, unit, inverse = grads.shape[1], scored.unit, scored.inverse
    offsets, slots, places = histories.offsets, histories.slots, histories.places
    shares, input_grads = histories.shares, inputs.numbers
    for r in range(chunk, unit.shape[0], num_chunks):
        if scored.normalize:
            along = dot(pointer(grads, r * dim), pointer(unit, r * dim), dim)
            for d in range(dim):
                grads[r, d] = inverse[r] * (grads[r, d] - along * unit[r, d])
    # One row after the other, because an item may occur twice in a history.
    for i in range(offsets.shape[0] - 1):
        share = Matrix(pointer(shares, offsets[i + 1] - offsets[i]), 0, 0)
        source = pointer(input_grads, i * inputs.width)
        for j in range(offsets[i], offsets[i + 1]):
            if slots[j] % num_chunks == chunk:
                add_products(
                    Rows(pointer(grads, 0), pointer(places, j), 1), share,
                    Rows(source, pointer(offsets, 0), 1), dim // LANES,  # offsets[0] is 0
                )


@parallel_kernel
def backward_items(scored, histories, inputs, num_chunks, grads):
    """Turn gradients of unit vectors into gradients of vectors, and add those of histories.

    `grads` holds the gradients of the unit vectors that are scored, then zeros. Each of the n
    items of a history gets 1 / n of the gradient of its mean, which is in `inputs`.
    """
    for chunk in prange(num_chunks):
        _backward(chunk, num_chunks, scored, histories, inputs, grads)


@exact_kernel
def _add_features(chunk, num_chunks, user_slots, inputs, item_slots, item_grads, grads):
    dim, input_grads = grads.shape[1], inputs.numbers
    for r in range(chunk, grads.shape[0], num_chunks):
        for d in range(dim):
            grads[r, d] = float32(0)
    for i in range(user_slots.shape[0]):
        for f in range(user_slots.shape[1]):
            slot = user_slots[i, f]
            if slot % num_chunks == chunk:
                source = pointer(input_grads, i * inputs.width + (1 + f) * inputs.step)
                axpy(float32(1), source, dim, pointer(grads, slot * dim))
    for r in range(item_slots.shape[0]):
        for f in range(item_slots.shape[1]):
            slot = item_slots[r, f]
            if slot % num_chunks == chunk:
                axpy(float32(1), pointer(item_grads, r * dim), dim, pointer(grads, slot * dim))


@parallel_kernel
def feature_grads(user_slots, inputs, item_slots, item_grads, num_chunks, grads):
    """Sum the gradients of the features' rows.

    The gradients of users' features are in `inputs`; each feature of item r has the gradient
    item_grads[r]. `user_slots` and `item_slots` say to which row of `grads` each is added.
    """
    for chunk in prange(num_chunks):
        _add_features(chunk, num_chunks, user_slots, inputs, item_slots, item_grads, grads)
