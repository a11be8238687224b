"""The gradients of all classes, a range of them at a time, for the full losses.

A range of classes takes the place of the sampled classes: its rows are packed in the same buffer,
and the gradients of its logits are written to `probabilities`. The last phase, `grad_sampled`, is
the same.
"""

from typing import Any, NamedTuple

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.tile import Matrix, multiply, transpose
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.buffers import numbers
from numba_ss.kernels.softmax.sampled_classes import BLOCK, block_start, pack_sampled
from numba_ss.kernels.softmax.softmax import logistic_classes, softmax_classes


@parallel_kernel
def pack_classes(classes, weights, biases, no_counts, num_rows, num_chunks, buffers):
    """Gather the rows and biases of some classes; see `pack_sampled`. `no_counts` is empty."""
    for chunk in prange(num_chunks):
        pack_sampled(
            chunk * num_rows // num_chunks, (chunk + 1) * num_rows // num_chunks, weights, biases,
            classes, no_counts, False, buffers,
        )


class Range(NamedTuple):
    """What the gradients of a range of the classes are computed from, and added to."""

    normalizer: Any  # (batch_size,): log of the sum of exp over all classes
    grad_output: Any  # (batch_size,): the upstream gradient
    grad_inputs: Any  # (batch_size rounded up, stride)
    is_first: Any  # whether `grad_inputs` is to be written, not added to
    dim: Any


@kernel
def _classes_block(chunk, block, num_blocks, classes, use_logistic, buffers):
    grad_output, grad_inputs, dim = classes.grad_output, classes.grad_inputs, classes.dim
    rows = numbers(buffers, "sampled_rows", grad_output)
    biases = numbers(buffers, "adjusted_biases", grad_output)
    inputs = numbers(buffers, "unique_inputs", grad_output)
    transposed = numbers(buffers, "transposed_inputs", grad_output)[chunk]
    probabilities = numbers(buffers, "probabilities", grad_output)
    start = block_start(block, num_blocks, grad_output.shape[0])
    stop = block_start(block + 1, num_blocks, grad_output.shape[0])
    stride, first = inputs.shape[1], block * rows.shape[0]
    columns = Matrix(pointer(transposed, 0), STRIDE, 1)
    transpose(Matrix(pointer(inputs, start * stride), stride, 1), stop - start, dim, columns)
    num_vectors = (stop - start + LANES - 1) // LANES
    weights = Matrix(pointer(rows, 0), rows.shape[1], 1)
    place = pointer(probabilities, first * BLOCK)
    multiply(weights, columns, Matrix(place, BLOCK, 1), rows.shape[0], num_vectors, dim, 0)
    if use_logistic is not None:
        logistic_classes(start, stop, grad_output, biases, probabilities, first)
    else:
        softmax_classes(
            start, stop, classes.normalizer, grad_output, biases, probabilities, first
        )
    out_stride, num_tiles = grad_inputs.shape[1], (stop - start + ROWS - 1) // ROWS
    out = Matrix(pointer(grad_inputs, start * out_stride), out_stride, 1)
    multiply(
        Matrix(place, 1, BLOCK), weights, out, num_tiles * ROWS, (dim + LANES - 1) // LANES,
        rows.shape[0], int64(not classes.is_first),
    )


@kernel
def _classes_chunk(chunk, num_chunks, num_blocks, classes, use_logistic, buffers):
    for block in range(
        chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
    ):
        _classes_block(chunk, block, num_blocks, classes, use_logistic, buffers)


@parallel_kernel
def forward_classes(num_blocks, classes, use_logistic, num_chunks, buffers):
    """Compute the gradients of the logits of a `Range` of the classes, and of the inputs.

    The input of each example is a row of `unique_inputs`; the classes are in `sampled_rows` and
    `adjusted_biases`. The gradients of the logits are written to `probabilities`. No gradient
    contains the part of the labels, -1/T. `transposed_inputs` is scratch.
    """
    for chunk in prange(num_chunks):
        _classes_chunk(int64(chunk), num_chunks, num_blocks, classes, use_logistic, buffers)
