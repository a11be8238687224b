"""The gradients of all classes, a range of them at a time, for the full losses.

The classes lie packed like sampled ones, and what they get of a block of examples is written
where a sampled pass has its probabilities; see `candidates` for what comes after.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.tile import LANES, ROWS, multiply, transpose
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.buffers import numbers
from numba_ss.kernels.softmax.candidates import BLOCK, block_start, pack_candidates
from numba_ss.kernels.softmax.softmax import logistic_classes, softmax_classes


@parallel_kernel
def pack_classes(classes, weights, biases, no_counts, num_rows, num_chunks, buffers):
    """Gather the rows and biases of the classes; see `pack_candidates`. `no_counts` is empty."""
    for chunk in prange(num_chunks):
        pack_candidates(
            chunk * num_rows // num_chunks, (chunk + 1) * num_rows // num_chunks, weights, biases,
            classes, no_counts, False, buffers,
        )


@kernel
def _classes_block(
    chunk, block, num_blocks, normalizer, grad_output, use_logistic, accumulate, dim, grad_inputs,
    buffers,
):
    rows, biases = (
        numbers(buffers, "sampled_rows", grad_output),
        numbers(buffers, "adjusted_biases", grad_output),
    )
    x, xt = (
        numbers(buffers, "unique_inputs", grad_output),
        numbers(buffers, "transposed_inputs", grad_output)[chunk],
    )
    probabilities = numbers(buffers, "probabilities", grad_output)
    start = block_start(block, num_blocks, grad_output.shape[0])
    stop = block_start(block + 1, num_blocks, grad_output.shape[0])
    stride, first = x.shape[1], block * rows.shape[0]
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)
    num_vectors = (stop - start + LANES - 1) // LANES
    multiply(
        rows, 0, rows.shape[1], 1, xt, 0, STRIDE, LANES, probabilities, first * BLOCK, BLOCK,
        rows.shape[0], num_vectors, dim, 0,
    )
    if use_logistic is not None:
        logistic_classes(start, stop, grad_output, biases, probabilities, first)
    else:
        softmax_classes(start, stop, normalizer, grad_output, biases, probabilities, first)
    out_stride, num_tiles = grad_inputs.shape[1], (stop - start + ROWS - 1) // ROWS
    multiply(
        probabilities, first * BLOCK, 1, BLOCK, rows, 0, rows.shape[1], LANES, grad_inputs,
        start * out_stride, out_stride, num_tiles * ROWS, (dim + LANES - 1) // LANES,
        rows.shape[0], int64(accumulate),
    )


@kernel
def _classes_chunk(
    chunk, num_chunks, num_blocks, normalizer, grad_output, use_logistic, accumulate, dim,
    grad_inputs, buffers,
):
    for block in range(
        chunk * num_blocks // num_chunks, (chunk + 1) * num_blocks // num_chunks
    ):
        _classes_block(
            chunk, block, num_blocks, normalizer, grad_output, use_logistic, accumulate, dim,
            grad_inputs, buffers,
        )


@parallel_kernel
def forward_classes(
    num_blocks, normalizer, grad_output, use_logistic, accumulate, dim, num_chunks, grad_inputs,
    buffers,
):
    """Compute the gradients of the logits of a range of the classes, and of the inputs.

    The inputs lie in `unique_inputs`, a row an example, and the classes in `sampled_rows` and
    `adjusted_biases`; `grad_output` is the upstream gradient. The labels' own part, -1/T, is not
    in the gradients, which stand in `probabilities`. `transposed_inputs` is scratch.
    """
    for chunk in prange(num_chunks):
        _classes_chunk(
            int64(chunk), num_chunks, num_blocks, normalizer, grad_output, use_logistic,
            accumulate, dim, grad_inputs, buffers,
        )
