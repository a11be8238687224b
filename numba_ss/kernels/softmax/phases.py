"""The phases of a pass over a batch, each a call of its own, for any number of threads.

In this order: `prepare`, `forward_inputs`, `forward_examples`; when the upstream gradient is
known `scale_examples`, `backward_inputs`, `grad_candidates`; and for a step of SGD
`scatter_classes` and `scatter_rows`. `step` has the same phases in one call. What a chunk does in
a phase is in the files that are imported here; the docstring of this room says what each array
is.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.softmax.batch import forward_inputs_chunk
from numba_ss.kernels.softmax.candidates import (
    grad_candidates_chunk,
    grad_logits,
    pack_candidates,
)
from numba_ss.kernels.softmax.examples import (
    forward_examples_chunk,
    grad_examples,
    scale_examples_chunk,
)
from numba_ss.kernels.softmax.inputs import group_inputs
from numba_ss.kernels.softmax.scatter import (
    scatter_candidates,
    scatter_own,
    scatter_rows_chunk,
)

_EXAMPLES = 5  # that are put in groups in the time in which a row is gathered


@kernel
def first_row(chunk, num_chunks, num_rows, num_examples):
    """Return the first row of a chunk, of which the first has the examples to group, too."""
    grouping = num_examples // _EXAMPLES
    work = chunk * (num_rows + grouping) // num_chunks
    return min(max(work - grouping, 0), num_rows)


@kernel
def prepare_chunk(chunk, num_chunks, bits, batch, num_rows, buffers):
    """Do a chunk's part of what `prepare` does."""
    num_examples = batch.ids.shape[0]
    if chunk == 0:
        group_inputs(bits, batch, buffers)
    start = first_row(chunk, num_chunks, num_rows, num_examples)
    stop = first_row(chunk + 1, num_chunks, num_rows, num_examples)
    pack_candidates(
        start, stop, batch.weights, batch.biases, batch.sampled, batch.sampled_counts,
        batch.subtract_log_q, buffers,
    )


@parallel_kernel
def prepare(bits, batch, num_rows, num_chunks, buffers):
    """Group the inputs, see `group_inputs`, and gather rows, see `pack_candidates`.

    One chunk groups while the others gather. `num_rows` are the sampled classes, and the rows
    beside them that are no column.
    """
    for chunk in prange(num_chunks):
        prepare_chunk(int64(chunk), num_chunks, bits, batch, num_rows, buffers)


@parallel_kernel
def forward_inputs(blocks, table, ids, use_logistic, num_chunks, buffers):
    """Compare some blocks of unique inputs with the sampled classes.

    The inputs are the rows `ids` of `table`, grouped by `prepare`; `use_logistic` is True or
    None, a type of its own each, so that only the loss in use is compiled. Written: the
    `unique_inputs`, their `probabilities` and `strip_max`, `running_max` and `running_sum`, the
    `weighted_rows`, and of accidental hits the logits, in `own_factors`, and, instead of in
    `probabilities`, the `hit_probabilities`, for an input once and else 0.
    """
    for chunk in prange(num_chunks):
        forward_inputs_chunk(int64(chunk), num_chunks, blocks, table, ids, use_logistic, buffers)


@parallel_kernel
def forward_examples(blocks, batch, use_logistic, num_chunks, buffers):
    """Finish the losses of the examples of some blocks.

    Written: the `losses`; and in the order of members `own_factors`, which are probabilities of
    the own columns, not normalised, `choices` and `target_shares`, and for the softmax
    `example_sums` and `row_scales`.
    """
    for chunk in prange(num_chunks):
        forward_examples_chunk(int64(chunk), num_chunks, blocks, batch, use_logistic, buffers)


@parallel_kernel
def scale_examples(blocks, num_true, grad_output, use_logistic, num_chunks, buffers):
    """Multiply by the upstream gradient what `forward_examples` left of some blocks.

    Here, and nowhere else, `grad_output` (batch_size,) comes in: what is computed after it from
    the arrays below is a gradient of the sum of grad_output * loss. Written: `grad_own_logits`;
    and in place `row_scales`, by which the probabilities of an example's sampled classes are
    multiplied to be gradients, and `own_factors`, which its own rows are multiplied by.
    `example_sums` is used up.
    """
    for chunk in prange(num_chunks):
        scale_examples_chunk(
            int64(chunk), num_chunks, blocks, num_true, grad_output, use_logistic, buffers
        )


@parallel_kernel
def backward_inputs(blocks, is_relative, with_inputs, batch, num_chunks, buffers):
    """Compute the gradients of the sampled classes' logits, and those of inputs.

    The former are of some blocks, the latter, with `with_inputs`, of all examples: they are
    written to `grad_inputs`. See `grad_logits` and `grad_examples`.
    """
    for chunk in prange(num_chunks):
        grad_logits(int64(chunk), num_chunks, blocks, is_relative, batch.weights, buffers)
        if with_inputs:
            none = batch.weights.dtype.type(0)  # of a learning rate: they are kept
            grad_examples(int64(chunk), num_chunks, True, batch, none, batch.weights, buffers)


@parallel_kernel
def grad_candidates(blocks, dim, num_chunks, like, buffers):
    """Compute the gradients of the sampled classes, `grad_sampled_rows` and `grad_sampled_biases`.

    Blocks that do not begin with the first add to what is there. The gradients of the logits
    stand in `probabilities`, see `grad_logits`. `like` is an array of the buffers' type of
    numbers.
    """
    for chunk in prange(num_chunks):
        grad_candidates_chunk(int64(chunk), num_chunks, blocks, dim, like, buffers)


@parallel_kernel
def scatter_classes(own, sampled, learning_rate, num_chunks, weights, biases, buffers):
    """Apply a step to the classes: the examples' own in row order, then the sampled ones."""
    for chunk in prange(num_chunks):
        scatter_own(int64(chunk), num_chunks, own, learning_rate, weights, biases, buffers)
        scatter_candidates(
            int64(chunk), num_chunks, sampled, learning_rate, weights, biases, buffers
        )


@parallel_kernel
def scatter_rows(rows, grads, learning_rate, num_chunks, table):
    """Subtract the gradients one by one, in order."""
    for chunk in prange(num_chunks):
        scatter_rows_chunk(int64(chunk), num_chunks, rows, grads, learning_rate, table)
