"""The user side of a retrieval model: a ReLU network over a mean of items and features.

All layers share flat arrays. ``layers[l]`` is (width, start, weights, biases): the width of
the input of layer l, where its inputs start in the activations, and where its weights (width,
next width) and its biases start in `dense`. The last entry describes the output and has a width
and a start only. Widths are multiples of `WIDTH`; the padding is zero and stays so.
"""

from numba import prange
from numpy import float32

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.row_tile import add_products
from numba_ss.kernels.core.rows import axpy, dot, pointer
from numba_ss.kernels.core.scalar import inverse_root
from numba_ss.kernels.core.tile import LANES, multiply

WIDTH = 16  # a multiple of LANES and of ROWS
EXAMPLES = 64  # of a block; a multiple of ROWS


@exact_kernel
def _embed(start, stop, vectors, places, offsets, shares, features, user_places, step, width, x):
    """Write the inputs of a block of examples: the mean of each history, and the features."""
    dim, num_features = vectors.shape[1], user_places.shape[1]
    for p in range(start * width, stop * width):
        x[p] = float32(0)
    # offsets[0] is 0: the only row that `add_products` adds to starts at its pointer.
    origin = pointer(offsets, 0)
    for i in range(start, stop):
        at, size = i * width, offsets[i + 1] - offsets[i]
        add_products(
            pointer(x, at), origin, 1, pointer(shares, size), 0, 0, pointer(vectors, 0),
            pointer(places, offsets[i]), size, 0, dim // LANES,
        )
        for f in range(num_features):
            own = pointer(features, user_places[i, f])
            axpy(float32(1), own, dim, pointer(x, at + (1 + f) * step))


@exact_kernel
def _apply_layer(layers, layer, first, dense, activations):
    """Write the outputs of one layer for the block of examples from `first` on."""
    width, start = layers[layer, 0], layers[layer, 1]
    weights, biases = layers[layer, 2], layers[layer, 3]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    out = start_out + first * width_out
    multiply(
        activations, start + first * width, width, 1, dense, weights, width_out, LANES,
        activations, out, width_out, EXAMPLES, width_out // LANES, width, 0,
    )
    hidden = layer + 2 < layers.shape[0]
    for i in range(EXAMPLES):
        for k in range(width_out):
            z = activations[out + i * width_out + k] + dense[biases + k]
            activations[out + i * width_out + k] = max(z, float32(0)) if hidden else z


@exact_kernel
def _forward_block(
    start, stop, vectors, places, offsets, shares, features, user_places, step, layers, dense,
    scale, normalize, activations, x, inverse,
):
    _embed(
        start, stop, vectors, places, offsets, shares, features, user_places, step, layers[0, 0],
        activations,
    )
    last = layers.shape[0] - 1
    for layer in range(last):
        _apply_layer(layers, layer, start, dense, activations)
    width, dim = layers[last, 0], x.shape[1]
    for i in range(start, stop):
        at = layers[last, 1] + i * width
        factor = float32(1)
        if normalize:
            own = pointer(activations, at)
            factor = inverse_root(dot(own, own, dim))
        inverse[i] = factor
        for d in range(dim):
            x[i, d] = scale * factor * activations[at + d]


@parallel_kernel
def forward_tower(
    vectors, places, offsets, shares, features, user_places, step, layers, dense, scale, normalize,
    num_chunks, activations, x, inverse,
):
    """Write the users' vectors times `scale` to `x`, at unit length with `normalize`.

    The rows of the history of example i start at places[offsets[i]:offsets[i + 1]] in `vectors`;
    shares[n] is 1 / n. The rows of its features start at user_places[i] in `features`; they are
    added to the inputs `step` numbers apart, so with a step of 0 all are summed. `inverse` is
    one over the length of each vector.
    """
    for chunk in prange(num_chunks):
        batch_size = x.shape[0]
        num_blocks = (batch_size + EXAMPLES - 1) // EXAMPLES
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = block * EXAMPLES
            _forward_block(
                start, min(start + EXAMPLES, batch_size), vectors, places, offsets, shares,
                features, user_places, step, layers, dense, scale, normalize, activations, x,
                inverse,
            )


@exact_kernel
def _backward_layer(layers, layer, first, transposed, activations, grads):
    """Write the gradients of one layer's inputs for a block of examples."""
    width, start, weights = layers[layer, 0], layers[layer, 1], layers[layer, 2]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    at = start + first * width
    multiply(
        grads, start_out + first * width_out, width_out, 1, transposed, weights, width, LANES,
        grads, at, width, EXAMPLES, width // LANES, width_out, 0,
    )
    if layer > 0:
        for i in range(at, at + EXAMPLES * width):
            grads[i] = grads[i] if activations[i] > 0 else float32(0)


@exact_kernel
def _backward_block(
    start, stop, x, grad_x, inverse, scale, normalize, layers, transposed, activations, grads
):
    last = layers.shape[0] - 1
    width, dim = layers[last, 0], x.shape[1]
    stride = grad_x.shape[1]
    for i in range(start, stop):
        along = float32(0)
        if normalize:
            along = dot(pointer(grad_x, i * stride), pointer(x, i * dim), dim) / (scale * scale)
        at = layers[last, 1] + i * width
        for d in range(dim):
            grads[at + d] = scale * inverse[i] * (grad_x[i, d] - along * x[i, d])
    for layer in range(last - 1, -1, -1):
        _backward_layer(layers, layer, start, transposed, activations, grads)


@parallel_kernel
def backward_tower(
    x, grad_x, inverse, scale, normalize, layers, transposed, activations, num_chunks, grads
):
    """Write the gradients of all layers' inputs, from those of `x`.

    `transposed` holds the weights of each layer as (next width, width).
    """
    for chunk in prange(num_chunks):
        batch_size = x.shape[0]
        num_blocks = (batch_size + EXAMPLES - 1) // EXAMPLES
        for block in range(
            chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
        ):
            start = block * EXAMPLES
            _backward_block(
                start, min(start + EXAMPLES, batch_size), x, grad_x, inverse, scale, normalize,
                layers, transposed, activations, grads,
            )


@exact_kernel
def _descend(start, stop, rate, grads, values, squares):
    for i in range(start, stop):
        grad = grads[i]
        step = rate
        if squares.shape[0] > 0:
            squares[i] += grad * grad
            step = rate * inverse_root(squares[i])
        values[i] -= step * grad


@exact_kernel
def _update_layer(
    layers, layer, chunk, num_chunks, batch_size, activations, grads, rate, dense_grads, dense,
    transposed, squares,
):
    width, start = layers[layer, 0], layers[layer, 1]
    weights, biases = layers[layer, 2], layers[layer, 3]
    width_out, start_out = layers[layer + 1, 0], layers[layer + 1, 1]
    first = chunk * (width // WIDTH) // num_chunks * WIDTH
    last = (chunk + 1) * (width // WIDTH) // num_chunks * WIDTH
    at, end = weights + first * width_out, weights + last * width_out
    multiply(
        activations, start + first, 1, width, grads, start_out, width_out, LANES, dense_grads, at,
        width_out, last - first, width_out // LANES, batch_size, 0,
    )
    _descend(at, end, rate, dense_grads, dense, squares)
    for k in range(first, last):
        for j in range(width_out):
            transposed[weights + j * width + k] = dense[weights + k * width_out + j]
    if chunk == 0:
        for j in range(biases, biases + width_out):
            dense_grads[j] = float32(0)
        for i in range(batch_size):
            for j in range(width_out):
                dense_grads[biases + j] += grads[start_out + i * width_out + j]
        _descend(biases, biases + width_out, rate, dense_grads, dense, squares)


@parallel_kernel
def update_tower(
    layers, batch_size, activations, grads, rate, num_chunks, dense_grads, dense, transposed,
    squares,
):
    """Update the weights and biases of all layers.

    `squares` holds Adagrad's sums of their squared gradients; if it is empty, the update is plain
    SGD with the learning rate `rate`. The gradients are written to `dense_grads`.
    """
    for chunk in prange(num_chunks):
        for layer in range(layers.shape[0] - 1):
            _update_layer(
                layers, layer, chunk, num_chunks, batch_size, activations, grads, rate,
                dense_grads, dense, transposed, squares,
            )
