"""The user side of a retrieval model: a ReLU network over a mean of items and features.

All layers share flat arrays, see `Network`. Widths are multiples of `WIDTH`; the padding is zero
and stays so. Examples are worked on in blocks of `EXAMPLES`.
"""

from typing import Any, NamedTuple

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products
from numba_ss.kernels.core.rows import axpy, dot, pointer
from numba_ss.kernels.core.scalar import inverse_root
from numba_ss.kernels.core.tile import Matrix, multiply

WIDTH = 16  # a multiple of LANES and of ROWS
EXAMPLES = 64  # of a block; a multiple of ROWS


class Network(NamedTuple):
    """The layers of a network, and their weights and biases.

    layers[l] is (width, start, weights, biases): the width of the input of layer l, where the
    inputs of a batch start in the activations, and where the layer's weights (width, next width)
    and its biases start in `dense`. The last entry describes the output and has a width and a
    start only.
    """

    layers: Any  # int64 (layers + 1, 4)
    dense: Any  # flat: the weights and biases of all layers
    transposed: Any  # the same, with the weights of a layer as (next width, width)


class Features(NamedTuple):
    """The rows of the features of a batch of users."""

    table: Any  # (num_feature_rows, dim)
    places: Any  # int64 (batch_size, num_features): where the rows of an example start
    step: Any  # numbers from the place of one feature in the input to the next; 0 sums them all


class UserVectors(NamedTuple):
    """The outputs of a network, times `scale`, as vectors of users."""

    scale: Any
    normalize: Any  # whether they have unit length before the scaling
    vectors: Any  # (batch_size, dim)
    inverse: Any  # (batch_size,): with `normalize` one over the output's length, else 1


class Update(NamedTuple):
    """What a step does with the gradients of weights and biases."""

    rate: Any
    grads: Any  # as long as `dense`: the gradients are written here
    squares: Any  # as long: Adagrad's sums of squared gradients; if empty, it is a step of SGD


@exact_kernel
def _embed(start, stop, vectors, histories, features, width, inputs):
    """Write the inputs of a block of examples: the mean of each history, and the features."""
    dim, table, feature_places = vectors.shape[1], features.table, features.places
    offsets, places, shares = histories.offsets, histories.places, histories.shares
    for p in range(start * width, stop * width):
        inputs[p] = float32(0)
    # offsets[0] is 0: the only row that `add_products` adds to starts at its pointer.
    origin = pointer(offsets, 0)
    for i in range(start, stop):
        at, size = i * width, offsets[i + 1] - offsets[i]
        add_products(
            Rows(pointer(inputs, at), origin, 1), Matrix(pointer(shares, size), 0, 0),
            Rows(pointer(vectors, 0), pointer(places, offsets[i]), size), dim // LANES,
        )
        for f in range(feature_places.shape[1]):
            own = pointer(table, feature_places[i, f])
            axpy(float32(1), own, dim, pointer(inputs, at + (1 + f) * features.step))


@exact_kernel
def _apply_layer(network, layer, first, activations):
    """Write the outputs of one layer for the block of examples from `first` on."""
    layers, dense = network.layers, network.dense
    width, start = layers[layer, 0], layers[layer, 1]
    weights, biases = layers[layer, 2], layers[layer, 3]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    out = start_out + first * width_out
    multiply(
        Matrix(pointer(activations, start + first * width), width, 1),
        Matrix(pointer(dense, weights), width_out, 1),
        Matrix(pointer(activations, out), width_out, 1), EXAMPLES, width_out // LANES, width, 0,
    )
    hidden = layer + 2 < layers.shape[0]
    for i in range(EXAMPLES):
        for k in range(width_out):
            z = activations[out + i * width_out + k] + dense[biases + k]
            activations[out + i * width_out + k] = max(z, float32(0)) if hidden else z


@exact_kernel
def _forward_block(start, stop, vectors, histories, features, network, users, activations):
    layers = network.layers
    _embed(start, stop, vectors, histories, features, layers[0, 0], activations)
    last = layers.shape[0] - 1
    for layer in range(last):
        _apply_layer(network, layer, start, activations)
    out, inverse, scale, normalize = users.vectors, users.inverse, users.scale, users.normalize
    width, dim = layers[last, 0], out.shape[1]
    for i in range(start, stop):
        at = layers[last, 1] + i * width
        factor = float32(1)
        if normalize:
            own = pointer(activations, at)
            factor = inverse_root(dot(own, own, dim))
        inverse[i] = factor
        for d in range(dim):
            out[i, d] = scale * factor * activations[at + d]


@parallel_kernel
def forward_tower(vectors, histories, features, network, users, num_chunks, activations):
    """Write the vectors of users, from their histories, rows of `vectors`, and their features.

    The inputs of all layers are written to `activations`.
    """
    for chunk in prange(num_chunks):
        batch_size = users.vectors.shape[0]
        num_blocks = (batch_size + EXAMPLES - 1) // EXAMPLES
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = block * EXAMPLES
            stop = min(start + EXAMPLES, batch_size)
            _forward_block(
                start, stop, vectors, histories, features, network, users, activations
            )


@exact_kernel
def _backward_layer(network, layer, first, activations, grads):
    """Write the gradients of one layer's inputs for a block of examples."""
    layers = network.layers
    width, start, weights = layers[layer, 0], layers[layer, 1], layers[layer, 2]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    at = start + first * width
    multiply(
        Matrix(pointer(grads, start_out + first * width_out), width_out, 1),
        Matrix(pointer(network.transposed, weights), width, 1),
        Matrix(pointer(grads, at), width, 1), EXAMPLES, width // LANES, width_out, 0,
    )
    if layer > 0:
        for i in range(at, at + EXAMPLES * width):
            grads[i] = grads[i] if activations[i] > 0 else float32(0)


@exact_kernel
def _backward_block(start, stop, users, grad_users, network, activations, grads):
    layers, vectors, inverse = network.layers, users.vectors, users.inverse
    scale, normalize = users.scale, users.normalize
    last = layers.shape[0] - 1
    width, dim, stride = layers[last, 0], vectors.shape[1], grad_users.shape[1]
    for i in range(start, stop):
        along = float32(0)
        if normalize:
            product = dot(pointer(grad_users, i * stride), pointer(vectors, i * dim), dim)
            along = product / (scale * scale)
        at = layers[last, 1] + i * width
        for d in range(dim):
            grads[at + d] = scale * inverse[i] * (grad_users[i, d] - along * vectors[i, d])
    for layer in range(last - 1, -1, -1):
        _backward_layer(network, layer, start, activations, grads)


@parallel_kernel
def backward_tower(users, grad_users, network, activations, num_chunks, grads):
    """Write the gradients of all layers' inputs, from those of the vectors of users."""
    for chunk in prange(num_chunks):
        batch_size = users.vectors.shape[0]
        num_blocks = (batch_size + EXAMPLES - 1) // EXAMPLES
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = block * EXAMPLES
            stop = min(start + EXAMPLES, batch_size)
            _backward_block(start, stop, users, grad_users, network, activations, grads)


@exact_kernel
def _descend(start, stop, update, values):
    rate, grads, squares = update.rate, update.grads, update.squares
    for i in range(start, stop):
        grad = grads[i]
        step = rate
        if squares.shape[0] > 0:
            squares[i] += grad * grad
            step = rate * inverse_root(squares[i])
        values[i] -= step * grad


@exact_kernel
def _update_layer(chunk, num_chunks, network, layer, batch_size, activations, grads, update):
    layers, dense, transposed = network.layers, network.dense, network.transposed
    dense_grads = update.grads
    width, start = layers[layer, 0], layers[layer, 1]
    weights, biases = layers[layer, 2], layers[layer, 3]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    first = chunk * (width // WIDTH) // num_chunks * WIDTH
    last = (chunk + 1) * (width // WIDTH) // num_chunks * WIDTH
    at, end = weights + first * width_out, weights + last * width_out
    multiply(
        Matrix(pointer(activations, start + first), 1, width),
        Matrix(pointer(grads, start_out), width_out, 1),
        Matrix(pointer(dense_grads, at), width_out, 1), last - first, width_out // LANES,
        batch_size, 0,
    )
    _descend(at, end, update, dense)
    for k in range(first, last):
        for j in range(width_out):
            transposed[weights + j * width + k] = dense[weights + k * width_out + j]
    if chunk == 0:
        for j in range(biases, biases + width_out):
            dense_grads[j] = float32(0)
        for i in range(batch_size):
            for j in range(width_out):
                dense_grads[biases + j] += grads[start_out + i * width_out + j]
        _descend(biases, biases + width_out, update, dense)


@parallel_kernel
def update_tower(network, batch_size, activations, grads, update, num_chunks):
    """Update the weights and biases of all layers, see `Update`; `grads` is `backward_tower`'s."""
    for chunk in prange(num_chunks):
        for layer in range(network.layers.shape[0] - 1):
            _update_layer(
                chunk, num_chunks, network, layer, batch_size, activations, grads, update
            )
