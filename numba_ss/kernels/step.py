"""A whole step of SGD on one thread, in one call.

It is what `_passes.SampledPass` does in five, the same bits: in a step of fifty microseconds
the other four calls, and what Python does between them, are nine.
"""

import math

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.backward import backward
from numba_ss.kernels.batch import forward_inputs
from numba_ss.kernels.buffers import integers, numbers
from numba_ss.kernels.candidates import blocks_of
from numba_ss.kernels.examples import forward_examples, sum_losses
from numba_ss.kernels.prepare import prepare
from numba_ss.kernels.scatter import scatter_classes, scatter_rows

# What happens to the gradients of the inputs.
KEPT, SUBTRACTED, TIED = range(3)

_prepare, _forward_inputs, _forward_examples, _backward, _scatter_classes, _scatter_rows = (
    kernel.serial
    for kernel in (
        prepare, forward_inputs, forward_examples, backward, scatter_classes, scatter_rows
    )
)


@exact_kernel
def sampled_step(
    bits, table, ids, columns, num_true, candidates, counts, sampled_counts, subtract_log_q,
    weights, biases, grad_loss, use_logistic, learning_rate, inputs, buffers,
):
    """Compute the losses of a batch, update what it reached, and return their sum.

    If the sum is not finite nothing is updated. `inputs` says of the gradients of the inputs,
    rows `ids` of a table, whether they are KEPT in `grad_inputs`, SUBTRACTED from the table, or
    from the weights, with which it is TIED. There are examples, and their blocks are one part.
    All else is as in `prepare`, `forward_inputs`, `forward_examples` and `backward`.
    """
    num_rows = numbers(buffers, "grad_rows", weights).shape[0]
    is_relative = use_logistic is None
    _prepare(
        bits, ids, columns, candidates, counts, sampled_counts, subtract_log_q, weights, biases,
        num_rows, 1, buffers,
    )
    sizes = integers(buffers, "sizes")
    num_inputs, num_blocks = sizes[0], blocks_of(sizes[0])
    _forward_inputs(0, num_blocks, num_blocks, num_inputs, table, ids, use_logistic, 1, buffers)
    _forward_examples(
        0, num_blocks, num_blocks, num_inputs, weights, biases, columns, counts,
        subtract_log_q, num_true, grad_loss, use_logistic, 1, buffers,
    )
    total = sum_losses(numbers(buffers, "loss", weights))
    if not math.isfinite(total):
        return total
    # Where a row's examples are not next to each other, their order would be lost.
    at_once = inputs == SUBTRACTED and sizes[1] == 0
    if at_once:
        _backward(
            0, num_blocks, num_blocks, num_inputs, is_relative, False, ids, columns, weights,
            learning_rate, 1, table, buffers,
        )
    else:
        _backward(
            0, num_blocks, num_blocks, num_inputs, is_relative, False, ids, columns, weights,
            None, 1, None, buffers,
        )
    _scatter_classes(columns, candidates, learning_rate, 1, weights, biases, buffers)
    if inputs != KEPT and not at_once:
        grads = numbers(buffers, "grad_inputs", weights)
        _scatter_rows(ids, grads, learning_rate, 1, table)
    return total
