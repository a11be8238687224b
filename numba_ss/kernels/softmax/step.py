"""A step of SGD in one call, or in two, for one thread or for several.

It runs the phases of `phases` in the same order, and gives the same bits. In a step of a tenth of
a millisecond, separate calls and the Python code between them would take a sixth of the time.
"""

import math

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.team import next_task, take_task, wait_for
from numba_ss.kernels.softmax.arguments import BACKWARD, FORWARD, KEPT, SUBTRACTED, Blocks
from numba_ss.kernels.softmax.batch import forward_inputs_chunk
from numba_ss.kernels.softmax.buffers import NUM_LEFT_OUT, NUM_UNIQUE, integers, numbers
from numba_ss.kernels.softmax.examples import (
    forward_examples_chunk,
    grad_examples,
    scale_examples_chunk,
    sum_losses,
)
from numba_ss.kernels.softmax.phases import prepare_chunk
from numba_ss.kernels.softmax.sampled_classes import blocks_of, grad_logits, grad_sampled_chunk
from numba_ss.kernels.softmax.scatter import scatter_own, scatter_rows_chunk, scatter_sampled

NUM_PHASES = 6
# As int64: Numba would compile `take_task` and `next_task` anew for each literal int.
_PREPARE, _INPUTS, _EXAMPLES, _BACKWARD, _CANDIDATES, _UPDATE = map(int64, range(NUM_PHASES))


@exact_kernel
def parts_of(num_chunks):
    """Return the number of parts of a phase whose tasks differ in size or in kind.

    There are two for each chunk. `sampled_step_chunk` relies on this when it numbers tasks.
    """
    return 2 * num_chunks


@exact_kernel
def sampled_step_chunk(chunk, bits, batch, grad_output, use_logistic, step, num_chunks, buffers):
    """Take part in all phases; each is complete before the next begins.

    If there is one chunk only, Python calls this function directly. One level of calls less takes
    two seconds less to compile.
    """
    board, weights, biases = integers(buffers, "board"), batch.weights, batch.biases
    table, ids, learning_rate = batch.table, batch.ids, step.learning_rate
    # About as long as the products of the inputs would take on one thread.
    patience = 8192 + ids.shape[0] * weights.shape[1] * (batch.sampled.shape[0] + 1) // 512
    num_rows = numbers(buffers, "grad_sampled_rows", weights).shape[0]
    if step.part != BACKWARD:
        task = take_task(board, _PREPARE, num_chunks, chunk, num_chunks)
        while task >= 0:
            prepare_chunk(task, num_chunks, bits, batch, num_rows, buffers)
            task = next_task(board, _PREPARE, num_chunks, chunk, num_chunks)
        if not wait_for(board, _PREPARE, num_chunks, patience):
            return

    sizes = integers(buffers, "sizes")
    num_blocks = blocks_of(sizes[NUM_UNIQUE])
    blocks = Blocks(0, num_blocks, num_blocks, sizes[NUM_UNIQUE])
    if step.part != BACKWARD:
        task = take_task(board, _INPUTS, num_chunks, chunk, num_chunks)
        while task >= 0:
            forward_inputs_chunk(task, num_chunks, blocks, table, ids, use_logistic, buffers)
            task = next_task(board, _INPUTS, num_chunks, chunk, num_chunks)
        if not wait_for(board, _INPUTS, num_chunks, patience):
            return

    task = take_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    while task >= 0:
        if step.part != BACKWARD:
            forward_examples_chunk(task, num_chunks, blocks, batch, use_logistic, buffers)
        if step.part != FORWARD:
            # If the upstream gradient is known, right away, while the arrays are in the cache.
            scale_examples_chunk(
                task, num_chunks, blocks, batch.num_true, grad_output, use_logistic, buffers
            )
        task = next_task(board, _EXAMPLES, num_chunks, chunk, num_chunks)
    if not wait_for(board, _EXAMPLES, num_chunks, patience):
        return
    if step.part == FORWARD:
        return
    # Where nothing is updated the caller has the losses, and judges them.
    if step.num_updates > 0 and not math.isfinite(sum_losses(numbers(buffers, "losses", weights))):
        return

    # The gradients of a row are subtracted in the order of the examples. Unless classes are left
    # out, all examples of a row are members of one input, which one task works on: it can subtract
    # their gradients as soon as they are computed.
    at_once = step.inputs == SUBTRACTED and sizes[NUM_LEFT_OUT] == 0
    num_parts = parts_of(num_chunks)
    task = take_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    while task >= 0:
        # Of four tasks, two are parts of the blocks that the chunk has compared, two are examples.
        part = task // 4 * 2 + task % 2
        if task % 4 < 2:
            grad_logits(part, num_parts, blocks, use_logistic is None, weights, buffers)
        else:
            grad_examples(part, num_parts, not at_once, batch, learning_rate, table, buffers)
        task = next_task(board, _BACKWARD, 2 * num_parts, chunk, num_chunks)
    if not wait_for(board, _BACKWARD, 2 * num_parts, patience):
        return

    # The gradients of the sampled rows do not depend on the weights, so own rows are updated in
    # the same phase.
    num_updates = step.num_updates
    num_tasks = num_updates + num_parts
    task = take_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    while task >= 0:
        if task >= num_updates:
            part = task - num_updates
            grad_sampled_chunk(part, num_parts, blocks, weights.shape[1], weights, buffers)
        else:
            scatter_own(task, num_updates, batch.own, learning_rate, weights, biases, buffers)
        task = next_task(board, _CANDIDATES, num_tasks, chunk, num_chunks)
    if not wait_for(board, _CANDIDATES, num_tasks, patience):
        return

    task = take_task(board, _UPDATE, num_updates, chunk, num_chunks)
    while task >= 0:
        scatter_sampled(
            task, num_updates, batch.sampled, learning_rate, weights, biases, buffers
        )
        if step.inputs != KEPT and not at_once:
            grads = numbers(buffers, "grad_inputs", weights)
            scatter_rows_chunk(task, num_updates, ids, grads, learning_rate, table)
        task = next_task(board, _UPDATE, num_updates, chunk, num_chunks)


@parallel_kernel
def sampled_step(bits, batch, grad_output, use_logistic, step, num_chunks, buffers):
    """Compute the losses of a batch; if their sum is finite, update the classes and the inputs.

    `step` says which part of this is done, and what happens to the gradients. The batch is not
    empty, all its blocks are in memory at once, and `board` is zeros. Everything else is as in
    `phases`.
    """
    for chunk in prange(num_chunks):
        sampled_step_chunk(
            int64(chunk), bits, batch, grad_output, use_logistic, step, num_chunks, buffers
        )
