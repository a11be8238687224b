"""Several batches of windows in one call for all threads, one batch after the other.

The threads take tasks from a board, see `team`. Each batch has two phases: a task of the first
computes the gradients of some chunks, a task of the second updates the rows of some owners.
"""

from typing import Any, NamedTuple

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.calls import address_of, call, uncounted
from numba_ss.kernels.core.team import next_task, take_task, wait_for
from numba_ss.kernels.words.cbow import cbow_chunk
from numba_ss.kernels.words.row_updates import (
    OWNERS,
    Met,
    Occurrences,
    measure_samples,
    sample_rows,
    sort_owners,
    update_rows,
)
from numba_ss.kernels.words.skipgram import skipgram_chunk

# The version of the random draws and of the order in which rows change. Another version gives
# other bits, so a run that one version began cannot be resumed by another.
SCHEME = 8
# A waiting thread looks at the board once for that many multiplications of a batch; then it leaves.
_A_LOOK = 64


class Text(NamedTuple):
    """A part of a text to learn from: the windows around stream[first:last]."""

    stream: Any  # int64: words and separators
    first: Any
    last: Any
    position: Any  # of the first number of the stream, in the epoch
    rates: Any  # a learning rate for each batch


class Progress(NamedTuple):
    """The tasks that are done, and what they report.

    longest[b, 0, task] gets the largest squared length of the input rows that a task of batch b
    has updated, longest[b, 1, task] that of the output rows.
    """

    board: Any  # see `team`
    longest: Any  # (batches, 2, tasks)


@exact_kernel
def train_windows_chunk(thread, num_chunks, gradients, model, work, lists, progress, text):
    """Take part in all batches; each phase is complete before the next begins.

    See `train_windows` for the arguments.
    """
    model, work, lists, progress, text = uncounted((model, work, lists, progress, text))
    board, longest = progress.board, progress.longest
    stream, position, rates = text.stream, text.position, text.rates
    num_tasks, chunks, size = longest.shape[2], work.sizes.shape[0], work.sizes.shape[1]
    absent = model.inputs.shape[0] - 1
    group_work = work.scores.shape[1] * model.inputs.shape[1]  # of one forward pass
    patience = 8192 + model.batch_size // work.hits.shape[1] * group_work // _A_LOOK
    for b in range(rates.shape[0]):
        start = text.first + b * model.batch_size
        stop = min(start + model.batch_size, text.last)
        task = take_task(board, 2 * b, num_tasks, thread, num_chunks)
        while task >= 0:
            for c in range(task * chunks // num_tasks, (task + 1) * chunks // num_tasks):
                begin = min(start + c * size, stop)
                end = min(begin + size, stop)
                call(gradients, (model, work, c, stream, begin, end, position, rates[b]))
                sort_owners(
                    work.in_words[c], work.in_weights[c], absent, work.in_starts[c],
                    work.in_order[c],
                )
                sort_owners(
                    work.out_words[c], work.out_weights[c], absent, work.out_starts[c],
                    work.out_order[c],
                )
                sample_rows(c, model.inputs, work.in_words, work.in_samples)
                sample_rows(c, model.outputs, work.out_words, work.out_samples)
            task = next_task(board, 2 * b, num_tasks, thread, num_chunks)
        if not wait_for(board, 2 * b, num_tasks, patience):
            return

        task = take_task(board, 2 * b + 1, num_tasks, thread, num_chunks)
        in_mean, out_mean = lists.means[thread, 0], lists.means[thread, 1]
        rows, products = lists.rows, lists.products[thread]
        moments = measure_samples(work.in_samples, rows, products, in_mean)
        inputs = Met(work.in_samples, in_mean, *moments)
        moments = measure_samples(work.out_samples, rows, products, out_mean)
        outputs = Met(work.out_samples, out_mean, *moments)
        of_outputs = Occurrences(
            work.out_words, work.out_weights, work.out_starts, work.out_order, work.grad_outputs,
            model.out_totals,
        )
        of_inputs = Occurrences(
            work.in_words, work.in_weights, work.in_starts, work.in_order, work.grad_inputs,
            model.in_totals,
        )
        while task >= 0:
            own, after = task * OWNERS // num_tasks, (task + 1) * OWNERS // num_tasks
            longest[b, 1, task] = update_rows(
                thread, own, after, of_outputs, inputs, model.outputs, model.num_vectors, lists
            )
            longest[b, 0, task] = update_rows(
                thread, own, after, of_inputs, outputs, model.inputs, model.num_vectors, lists
            )
            task = next_task(board, 2 * b + 1, num_tasks, thread, num_chunks)
        if not wait_for(board, 2 * b + 1, num_tasks, patience):
            return


@parallel_kernel
def train_windows(num_chunks, train_chunk, gradients, model, work, lists, progress, text):
    """Learn from the windows of a `Text`, a batch for each of its learning rates.

    `train_chunk` is the address of `train_windows_chunk`, `gradients` that of `skipgram_chunk` or
    `cbow_chunk`: see `calls`.
    """
    for thread in prange(num_chunks):
        arguments = int64(thread), num_chunks, gradients, model, work, lists, progress, text
        call(train_chunk, arguments)


def gradients_address(cbow: bool, model: Any, work: Any, text: Text) -> int:
    """Return `gradients` for the other arguments of `train_windows`."""
    return address_of(
        cbow_chunk if cbow else skipgram_chunk, model, work, 0, text.stream, text.first,
        text.last, text.position, text.rates[0],
    )


def chunk_address(*arguments: Any) -> int:
    """Return `train_chunk` for the other arguments of `train_windows`."""
    return address_of(train_windows_chunk, 0, *arguments)
