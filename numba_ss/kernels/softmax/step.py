"""A whole step of SGD in one call, for one thread or for several.

It is what `engine.passes.SampledPass` does in several calls, the same bits. In a step of a tenth
of a millisecond the other calls, and what Python does between them, are a sixth.
"""

import math

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.team import next_task, take_task, wait_for
from numba_ss.kernels.softmax.batch import forward_inputs_chunk
from numba_ss.kernels.softmax.buffers import integers, numbers
from numba_ss.kernels.softmax.candidates import blocks_of, grad_candidates_chunk, grad_logits
from numba_ss.kernels.softmax.examples import forward_examples_chunk, grad_examples, sum_losses
from numba_ss.kernels.softmax.prepare import prepare_chunk
from numba_ss.kernels.softmax.scatter import scatter_candidates, scatter_own, scatter_rows_chunk

# What happens to the gradients of the inputs.
KEPT, SUBTRACTED, TIED = range(3)

_PREPARE, _INPUTS, _EXAMPLES, _BACKWARD, _CANDIDATES, _UPDATE, NUM_PHASES = range(7)


@exact_kernel
def parts_of(num_chunks):
    """Return how many parts a work is done in that is not evenly cut, or not the only one.

    Two for each chunk, which what `sampled_step_chunk` makes of a task's number relies on.
    """
    return 2 * num_chunks


@exact_kernel
def sampled_step_chunk(
    chunk, bits, table, ids, columns, num_true, candidates, counts, sampled_counts,
    subtract_log_q, weights, biases, grad_loss, use_logistic, learning_rate, inputs,
    num_updates, num_chunks, buffers,
):
    """Take part in all phases; each is complete before the next begins.

    Where there is one chunk Python calls this itself: a level less takes two seconds less to
    compile.
    """
    board = integers(buffers, "board")
    # About as long as the products of the inputs would take on one thread.
    patience = 8192 + ids.shape[0] * weights.shape[1] * (candidates.shape[0] + 1) // 512
    num_rows = numbers(buffers, "grad_rows", weights).shape[0]
    task = take_task(board, _PREPARE, num_chunks, chunk, num_chunks)
    while task >= 0:
        prepare_chunk(
            task, bits, ids, columns, candidates, counts, sampled_counts, subtract_log_q,
            weights, biases, num_rows, num_chunks, buffers,
        )
        task = next_task(board, _PREPARE, num_chunks, chunk, num_chunks)
    if not wait_for(board, _PREPARE, num_chunks, patience):
        return

    sizes = integers(buffers, "sizes")
    num_inputs, num_blocks = sizes[0], blocks_of(sizes[0])
    task = take_task(board, _INPUTS, num_chunks, chunk, num_chunks)
    while task >= 0:
        forward_inputs_chunk(
            task, 0, num_blocks, num_blocks, num_inputs, table, ids, use_logistic, num_chunks,
            buffers,
        )
        task = next_task(board, _INPUTS, num_chunks, chunk, num_chunks)
    if not wait_for(board, _INPUTS, num_chunks, patience):
        return

    task = take_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    while task >= 0:
        forward_examples_chunk(
            task, 0, num_blocks, num_blocks, num_inputs, weights, biases, columns, counts,
            subtract_log_q, num_true, grad_loss, use_logistic, num_chunks, buffers,
        )
        task = next_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    if not wait_for(board, _EXAMPLES, num_chunks, patience):
        return
    if not math.isfinite(sum_losses(numbers(buffers, "loss", weights))):
        return

    # Where a row's examples are not next to each other, their order would be lost.
    at_once = inputs == SUBTRACTED and sizes[1] == 0
    num_parts = parts_of(num_chunks)
    task = take_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    while task >= 0:
        # First the parts of the blocks that the chunk has compared, then examples.
        part = task // 4 * 2 + task % 2
        if task % 4 < 2:
            grad_logits(
                part, num_parts, 0, num_blocks, num_blocks, num_inputs, use_logistic is None,
                weights, buffers,
            )
        else:
            grad_examples(
                part, num_parts, not at_once, ids, weights, learning_rate, table, buffers
            )
        task = next_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    if not wait_for(board, _BACKWARD, 2 * num_parts, patience):
        return

    # The candidates' gradients do not read the weights: own columns are updated beside them.
    num_tasks = num_updates + num_parts
    task = take_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    while task >= 0:
        if task < num_updates:
            scatter_own(task, num_updates, columns, learning_rate, weights, biases, buffers)
        else:
            grad_candidates_chunk(
                task - num_updates, num_parts, 0, num_blocks, num_blocks, num_inputs,
                weights.shape[1], weights, buffers,
            )
        task = next_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    if not wait_for(board, _CANDIDATES, num_tasks, patience):
        return

    task = take_task(board, _UPDATE, num_updates, chunk, num_chunks)
    while task >= 0:
        scatter_candidates(
            task, num_updates, candidates, learning_rate, weights, biases, buffers
        )
        if inputs != KEPT and not at_once:
            grads = numbers(buffers, "grad_inputs", weights)
            scatter_rows_chunk(task, num_updates, ids, grads, learning_rate, table)
        task = next_task(board, _UPDATE, num_updates, chunk, num_chunks)


@parallel_kernel
def sampled_step(
    bits, table, ids, columns, num_true, candidates, counts, sampled_counts, subtract_log_q,
    weights, biases, grad_loss, use_logistic, learning_rate, inputs, num_updates, num_chunks,
    buffers,
):
    """Compute the losses of a batch, and update what it reached if their sum is finite.

    `inputs` says of the gradients of the inputs, rows `ids` of a table, whether they are KEPT
    in `grad_inputs`, SUBTRACTED from the table, or from the weights, with which it is TIED.
    There are examples, and their blocks are one part; `board` is zeros. A scatter is done in
    `num_updates` parts. All else is as in `prepare`, `forward_inputs`, `forward_examples`,
    `backward_inputs` and `grad_candidates`.
    """
    for chunk in prange(num_chunks):
        sampled_step_chunk(
            int64(chunk), bits, table, ids, columns, num_true, candidates, counts,
            sampled_counts, subtract_log_q, weights, biases, grad_loss, use_logistic,
            learning_rate, inputs, num_updates, num_chunks, buffers,
        )
