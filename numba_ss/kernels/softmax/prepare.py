"""What a batch needs before it is worked on: inputs in groups, rows of candidates.

One chunk lists the groups while the others gather rows.
"""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.softmax.candidates import pack_candidates
from numba_ss.kernels.softmax.inputs import group_inputs

_EXAMPLES = 5  # that are put in groups in the time in which a row is gathered


@kernel
def first_row(chunk, num_chunks, num_rows, num_examples):
    """Return the first row of a chunk, of which the first has the examples to group, too."""
    grouping = num_examples // _EXAMPLES
    work = chunk * (num_rows + grouping) // num_chunks
    return min(max(work - grouping, 0), num_rows)


@kernel
def prepare_chunk(
    chunk, bits, ids, labels, candidates, true_counts, sampled_counts, subtract_log_q, weights,
    biases, num_rows, num_chunks, buffers,
):
    """Do a chunk's part of what `prepare` does."""
    num_examples = 0
    if ids is not None:
        num_examples = ids.shape[0]
        if chunk == 0:
            group_inputs(
                bits, ids, labels, candidates, true_counts, sampled_counts, subtract_log_q, buffers
            )
    start = first_row(chunk, num_chunks, num_rows, num_examples)
    stop = first_row(chunk + 1, num_chunks, num_rows, num_examples)
    pack_candidates(
        start, stop, weights, biases, candidates, sampled_counts, subtract_log_q, buffers
    )


@parallel_kernel
def prepare(
    bits, ids, labels, candidates, true_counts, sampled_counts, subtract_log_q, weights, biases,
    num_rows, num_chunks, buffers,
):
    """Group the inputs, see `group_inputs`, and gather candidates, see `pack_candidates`.

    With None for `ids` there are no inputs to group. `num_rows` are the candidates, and the
    rows beside them that are no column.
    """
    for chunk in prange(num_chunks):
        prepare_chunk(
            int64(chunk), bits, ids, labels, candidates, true_counts, sampled_counts,
            subtract_log_q, weights, biases, num_rows, num_chunks, buffers,
        )
