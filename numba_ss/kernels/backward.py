"""The backward pass of a batch: of the candidates, then of the examples' inputs.

They have nothing to do with each other, but for the threads that share the work of both.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import parallel_kernel
from numba_ss.kernels.candidates import grad_candidates
from numba_ss.kernels.examples import grad_examples


@parallel_kernel
def backward(
    block_first, block_stop, num_blocks, num_inputs, is_relative, accumulate, ids, columns,
    weights, learning_rate, num_chunks, table, buffers,
):
    """Compute the gradients of candidates, `grad_rows` and `grad_offsets`, and of inputs.

    Those of the candidates are of a range of blocks, to which they are added with
    `accumulate`. Those of the inputs are of all examples: with a `table`, they are subtracted
    from its rows `ids`; with None, they are written to `grad_inputs`. With None for `columns`,
    there are those of the candidates alone. See `grad_candidates` and `grad_examples`.
    """
    for chunk in prange(num_chunks):
        grad_candidates(
            int64(chunk), num_chunks, block_first, block_stop, num_blocks, num_inputs,
            weights.shape[1], is_relative, accumulate, weights, buffers,
        )
        if columns is not None:
            grad_examples(
                int64(chunk), num_chunks, ids, columns, weights, learning_rate, table, buffers
            )
