"""The backward pass of a batch, up to the gradients of the candidates.

The logits of the candidates and the inputs of the examples have nothing to do with each
other, but for the threads that share the work of both.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import parallel_kernel
from numba_ss.kernels.softmax.candidates import grad_logits
from numba_ss.kernels.softmax.examples import grad_examples


@parallel_kernel
def backward_inputs(
    block_first, block_stop, num_blocks, num_inputs, is_relative, is_kept, ids, weights,
    learning_rate, num_chunks, table, buffers,
):
    """Compute the gradients of the candidates' logits, and of inputs.

    Those of the logits are of a range of blocks, those of the inputs of all examples. With None
    for `ids`, there are those of the logits alone. See `grad_logits` and `grad_examples`.
    """
    for chunk in prange(num_chunks):
        grad_logits(
            int64(chunk), num_chunks, block_first, block_stop, num_blocks, num_inputs,
            is_relative, weights, buffers,
        )
        if ids is not None:
            grad_examples(
                int64(chunk), num_chunks, is_kept, ids, weights, learning_rate, table, buffers
            )
