"""The phases of a pass over a batch, each in a call of its own, for any number of threads.

Their order is `prepare`, `forward_inputs`, `forward_examples`; when the upstream gradient is known
`scale_examples`, `backward_inputs`, `grad_sampled`; and for a step of SGD `scatter_classes` and
`scatter_rows`. `step` runs the same phases in one call. The files that are imported here contain
the work of one chunk in a phase. The docstring of this room explains the arrays.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.softmax.batch import forward_inputs_chunk
from numba_ss.kernels.softmax.examples import (
    forward_examples_chunk,
    grad_examples,
    scale_examples_chunk,
)
from numba_ss.kernels.softmax.inputs import group_inputs
from numba_ss.kernels.softmax.sampled_classes import (
    grad_logits,
    grad_sampled_chunk,
    pack_sampled,
)
from numba_ss.kernels.softmax.scatter import (
    scatter_own,
    scatter_rows_chunk,
    scatter_sampled,
)

_EXAMPLES = 5  # as many are grouped in the time in which one row is gathered


@kernel
def first_row(chunk, num_chunks, num_rows, num_examples):
    """Return the first row that a chunk gathers; the first chunk groups the examples as well."""
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
    pack_sampled(
        start, stop, batch.weights, batch.biases, batch.sampled, batch.sampled_counts,
        batch.subtract_log_q, buffers,
    )


@parallel_kernel
def prepare(bits, batch, num_rows, num_chunks, buffers):
    """Group the inputs (see `group_inputs`), and gather the sampled rows (see `pack_sampled`).

    One chunk groups while the others gather. `num_rows` is the number of sampled classes, rounded
    up to rows of a tile.
    """
    for chunk in prange(num_chunks):
        prepare_chunk(int64(chunk), num_chunks, bits, batch, num_rows, buffers)


@parallel_kernel
def forward_inputs(blocks, table, ids, use_logistic, num_chunks, buffers):
    """Compare some blocks of unique inputs with the sampled classes.

    The inputs are the rows `ids` of `table`, grouped by `prepare`. `use_logistic` is True or None;
    these have different types, so that only the loss in use is compiled. Written:
    `unique_inputs`, their `probabilities` and `strip_max`, `running_max`, `running_sum` and
    `weighted_rows`. The logits of accidental hits go to `own_factors`, their probabilities to
    `hit_probabilities`.
    """
    for chunk in prange(num_chunks):
        forward_inputs_chunk(int64(chunk), num_chunks, blocks, table, ids, use_logistic, buffers)


@parallel_kernel
def forward_examples(blocks, batch, use_logistic, num_chunks, buffers):
    """Finish the losses of the examples of some blocks.

    Written: the `losses`; and in the order of members `choices`, `target_shares`, `own_factors`,
    which are unnormalised probabilities of the own columns, and for the softmax `example_sums`
    and `row_scales`.
    """
    for chunk in prange(num_chunks):
        forward_examples_chunk(int64(chunk), num_chunks, blocks, batch, use_logistic, buffers)


@parallel_kernel
def scale_examples(blocks, num_true, grad_output, use_logistic, num_chunks, buffers):
    """Multiply the results of `forward_examples` for some blocks by the upstream gradient.

    Only this phase reads `grad_output` (batch_size,). All later results are gradients of the sum
    of grad_output * loss. Written: `grad_own_logits`; and in place `row_scales`, the factor that
    turns the probabilities of an example's sampled classes into gradients, and `own_factors`, the
    factors of its own rows. `example_sums` is overwritten.
    """
    for chunk in prange(num_chunks):
        scale_examples_chunk(
            int64(chunk), num_chunks, blocks, num_true, grad_output, use_logistic, buffers
        )


@parallel_kernel
def backward_inputs(blocks, is_relative, with_inputs, batch, num_chunks, buffers):
    """Compute the gradients of the sampled logits of some blocks (see `grad_logits`).

    With `with_inputs`, write the gradients of the inputs of all examples to `grad_inputs`, too
    (see `grad_examples`).
    """
    for chunk in prange(num_chunks):
        grad_logits(int64(chunk), num_chunks, blocks, is_relative, batch.weights, buffers)
        if with_inputs:
            none = batch.weights.dtype.type(0)  # no learning rate: the gradients are kept
            grad_examples(int64(chunk), num_chunks, True, batch, none, batch.weights, buffers)


@parallel_kernel
def grad_sampled(blocks, dim, num_chunks, like, buffers):
    """Compute the gradients of the sampled classes, `grad_sampled_rows` and `grad_sampled_biases`.

    The gradients of the logits are in `probabilities`, see `grad_logits`. The first block writes
    the result, further blocks add to it. `like` is any array of the buffers' type of numbers.
    """
    for chunk in prange(num_chunks):
        grad_sampled_chunk(int64(chunk), num_chunks, blocks, dim, like, buffers)


@parallel_kernel
def scatter_classes(own, sampled, learning_rate, num_chunks, weights, biases, buffers):
    """Apply a step to the examples' own classes, in the order of the examples, then to the sampled.

    An absent own class is skipped.
    """
    for chunk in prange(num_chunks):
        scatter_own(int64(chunk), num_chunks, own, learning_rate, weights, biases, buffers)
        scatter_sampled(
            int64(chunk), num_chunks, sampled, learning_rate, weights, biases, buffers
        )


@parallel_kernel
def scatter_rows(rows, grads, learning_rate, num_chunks, table):
    """Subtract learning_rate * grads[u] from row rows[u] of the table, for each u in order."""
    for chunk in prange(num_chunks):
        scatter_rows_chunk(int64(chunk), num_chunks, rows, grads, learning_rate, table)
