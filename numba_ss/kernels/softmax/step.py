"""A whole step of SGD in one call, for one thread or for several.

It is the `phases`, in their order and with the same bits. In a step of a tenth of a millisecond
their calls, and what Python does between them, are a sixth.
"""

import math

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.team import next_task, take_task, wait_for
from numba_ss.kernels.softmax.arguments import KEPT, SUBTRACTED, Blocks
from numba_ss.kernels.softmax.batch import forward_inputs_chunk
from numba_ss.kernels.softmax.buffers import NUM_LEFT_OUT, NUM_UNIQUE, integers, numbers
from numba_ss.kernels.softmax.candidates import blocks_of, grad_candidates_chunk, grad_logits
from numba_ss.kernels.softmax.examples import (
    forward_examples_chunk,
    grad_examples,
    scale_examples_chunk,
    sum_losses,
)
from numba_ss.kernels.softmax.phases import prepare_chunk
from numba_ss.kernels.softmax.scatter import scatter_candidates, scatter_own, scatter_rows_chunk

NUM_PHASES = 6
# int64: for each int that is a literal `take_task` and `next_task` would be compiled anew.
_PREPARE, _INPUTS, _EXAMPLES, _BACKWARD, _CANDIDATES, _UPDATE = map(int64, range(NUM_PHASES))


@exact_kernel
def parts_of(num_chunks):
    """Return how many parts a work is done in that is not evenly cut, or not the only one.

    Two for each chunk, which what `sampled_step_chunk` makes of a task's number relies on.
    """
    return 2 * num_chunks


@exact_kernel
def sampled_step_chunk(chunk, bits, batch, grad_output, use_logistic, step, num_chunks, buffers):
    """Take part in all phases; each is complete before the next begins.

    Where there is one chunk Python calls this itself: a level less takes two seconds less to
    compile.
    """
    board, weights, biases = integers(buffers, "board"), batch.weights, batch.biases
    table, ids, learning_rate = batch.table, batch.ids, step.learning_rate
    # About as long as the products of the inputs would take on one thread.
    patience = 8192 + ids.shape[0] * weights.shape[1] * (batch.sampled.shape[0] + 1) // 512
    num_rows = numbers(buffers, "grad_sampled_rows", weights).shape[0]
    task = take_task(board, _PREPARE, num_chunks, chunk, num_chunks)
    while task >= 0:
        prepare_chunk(task, num_chunks, bits, batch, num_rows, buffers)
        task = next_task(board, _PREPARE, num_chunks, chunk, num_chunks)
    if not wait_for(board, _PREPARE, num_chunks, patience):
        return

    sizes = integers(buffers, "sizes")
    num_blocks = blocks_of(sizes[NUM_UNIQUE])
    blocks = Blocks(0, num_blocks, num_blocks, sizes[NUM_UNIQUE])
    task = take_task(board, _INPUTS, num_chunks, chunk, num_chunks)
    while task >= 0:
        forward_inputs_chunk(task, num_chunks, blocks, table, ids, use_logistic, buffers)
        task = next_task(board, _INPUTS, num_chunks, chunk, num_chunks)
    if not wait_for(board, _INPUTS, num_chunks, patience):
        return

    task = take_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    while task >= 0:
        forward_examples_chunk(task, num_chunks, blocks, batch, use_logistic, buffers)
        # At once, while what it reads is in the cache: here the upstream gradient is known.
        scale_examples_chunk(
            task, num_chunks, blocks, batch.num_true, grad_output, use_logistic, buffers
        )
        task = next_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    if not wait_for(board, _EXAMPLES, num_chunks, patience):
        return
    if not math.isfinite(sum_losses(numbers(buffers, "losses", weights))):
        return

    # Where a row's examples are not next to each other, their order would be lost.
    at_once = step.inputs == SUBTRACTED and sizes[NUM_LEFT_OUT] == 0
    num_parts = parts_of(num_chunks)
    task = take_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    while task >= 0:
        # First the parts of the blocks that the chunk has compared, then examples.
        part = task // 4 * 2 + task % 2
        if task % 4 < 2:
            grad_logits(part, num_parts, blocks, use_logistic is None, weights, buffers)
        else:
            grad_examples(part, num_parts, not at_once, batch, learning_rate, table, buffers)
        task = next_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    if not wait_for(board, _BACKWARD, 2 * num_parts, patience):
        return

    # The sampled rows' gradients do not read the weights: own rows are updated beside them.
    num_updates = step.num_updates
    num_tasks = num_updates + num_parts
    task = take_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    while task >= 0:
        if task >= num_updates:
            part = task - num_updates
            grad_candidates_chunk(part, num_parts, blocks, weights.shape[1], weights, buffers)
        else:
            scatter_own(task, num_updates, batch.own, learning_rate, weights, biases, buffers)
        task = next_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    if not wait_for(board, _CANDIDATES, num_tasks, patience):
        return

    task = take_task(board, _UPDATE, num_updates, chunk, num_chunks)
    while task >= 0:
        scatter_candidates(
            task, num_updates, batch.sampled, learning_rate, weights, biases, buffers
        )
        if step.inputs != KEPT and not at_once:
            grads = numbers(buffers, "grad_inputs", weights)
            scatter_rows_chunk(task, num_updates, ids, grads, learning_rate, table)
        task = next_task(board, _UPDATE, num_updates, chunk, num_chunks)


@parallel_kernel
def sampled_step(bits, batch, grad_output, use_logistic, step, num_chunks, buffers):
    """Compute the losses of a batch, and update what it reached if their sum is finite.

    `step` says what happens to the gradients. There are examples, and their blocks are one
    part; `board` is zeros. All else is as in the `phases`.
    """
    for chunk in prange(num_chunks):
        sampled_step_chunk(
            int64(chunk), bits, batch, grad_output, use_logistic, step, num_chunks, buffers
        )
