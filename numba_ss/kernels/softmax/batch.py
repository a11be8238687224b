"""The inputs of a batch against the sampled classes, forward.

The unique inputs of a batch (see `inputs`) are worked on in blocks of at most `BLOCK`,
against strips of `STRIP` sampled classes; `softmax` says what shared and own columns are.
`probabilities`, the one large array, holds a block of inputs after the other, each with the
sampled classes as rows: exp(logit - strip_max) of an input, not normalised, or the sigmoid of
its logit.

What distinguishes examples of the same input is their own columns. A label that is among
the sampled classes is no column more: leaving the accidental hit out and counting the label
beside is the same as counting the sampled class. Only its gradient moves from the packed row
to the label's.

Everything is computed in an order that depends on the batch alone.
"""

import numpy as np
from numpy import float32, int64

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.rows import gather_row, pointer
from numba_ss.kernels.core.scalar import seen
from numba_ss.kernels.core.tile import LANES, ROWS, multiply, prefetch_row, transpose
from numba_ss.kernels.softmax.buffers import (
    COLUMN,
    HIT,
    MAX,
    MEMBER,
    RESCALE,
    SUM,
    integers,
    numbers,
)
from numba_ss.kernels.softmax.candidates import AHEAD, BLOCK, STRIP, block_start
from numba_ss.kernels.softmax.encodings import left_out
from numba_ss.kernels.softmax.softmax import LOWEST, logistic_strip, softmax_strip

# Of a block of inputs, transposed: with a power of two its rows would compete for a few
# sets of the first-level cache.
STRIDE = BLOCK + 16


@kernel
def _load_inputs(start, stop, table, ids, x, xt, buffers):
    """Gather the inputs of a block, and their transposition."""
    indptr, members = integers(buffers, "member_indptr"), integers(buffers, "members")
    dim, stride = table.shape[1], x.shape[1]
    for u in range(start, min(start + AHEAD, stop)):
        prefetch_row(table, ids[members[indptr[u]]])
    for u in range(start, stop):
        if u + AHEAD < stop:
            prefetch_row(table, ids[members[indptr[u + AHEAD]]])
        row = ids[members[indptr[u]]]
        gather_row(pointer(table, row * dim), dim, pointer(x, u * stride))
    for u in range(stop, (stop + LANES - 1) // LANES * LANES):
        x[u, :] = float32(0)
    transpose(x, start * stride, stride, stop - start, dim, xt, 0, STRIDE)


@kernel
def _take_hits(s_start, s_stop, start, stop, first, like, buffers):
    """Note the logits of labels that are classes of a strip; set those that are left out to -inf.

    `first` is the first row of the block's probabilities, which are products still.
    """
    probabilities = numbers(buffers, "probabilities", like)
    adjusted_biases = numbers(buffers, "adjusted_biases", like)
    own_factors = numbers(buffers, "own_factors", like)
    hit_list, hit_indptr = integers(buffers, "hit_list"), integers(buffers, "hit_indptr")
    for u in range(start, stop):
        for e in range(hit_indptr[u], hit_indptr[u + 1]):
            hit = hit_list[HIT, e]
            if s_start <= hit < s_stop:
                logit = seen(probabilities[first + hit, u - start] + adjusted_biases[hit])
                own_factors[hit_list[COLUMN, e], hit_list[MEMBER, e]] = logit
            elif s_start <= left_out(hit) < s_stop:
                probabilities[first + left_out(hit), u - start] = -np.inf


@kernel
def _keep_hits(s_start, s_stop, start, stop, first, like, buffers):
    """Move the probabilities of hits to `hit_probabilities`, to the first example's of an input.

    As sampled classes they have a gradient of the other examples alone.
    """
    probabilities = numbers(buffers, "probabilities", like)
    hit_probabilities = numbers(buffers, "hit_probabilities", like)
    hit_list, hit_indptr = integers(buffers, "hit_list"), integers(buffers, "hit_indptr")
    for u in range(start, stop):
        for e in range(hit_indptr[u], hit_indptr[u + 1]):
            hit = hit_list[HIT, e]
            if s_start <= hit < s_stop:
                hit_probabilities[e] = probabilities[first + hit, u - start]
                probabilities[first + hit, u - start] = float32(0)


@kernel
def _input_block(chunk, part, blocks, table, ids, use_logistic, buffers):
    """Compare a block of unique inputs, the part-th in memory, with all sampled classes."""
    rows = numbers(buffers, "sampled_rows", table)
    biases = numbers(buffers, "adjusted_biases", table)
    x = numbers(buffers, "unique_inputs", table)
    probabilities = numbers(buffers, "probabilities", table)
    xt = numbers(buffers, "transposed_inputs", table)[chunk]
    strip_max = numbers(buffers, "strip_max", table)
    weighted_rows = numbers(buffers, "weighted_rows", table)
    running_max = numbers(buffers, "running_max", table)
    running_sum = numbers(buffers, "running_sum", table)
    scratch = numbers(buffers, "block_scratch", table)[chunk]
    highest, added, rescale = scratch[MAX], scratch[SUM], scratch[RESCALE]
    start = block_start(blocks.first + part, blocks.count, blocks.num_inputs)
    stop = block_start(blocks.first + part + 1, blocks.count, blocks.num_inputs)
    dim, stride, num_rows, size = table.shape[1], rows.shape[1], rows.shape[0], stop - start
    first, strip_first = part * num_rows, part * ((num_rows + STRIP - 1) // STRIP)
    _load_inputs(start, stop, table, ids, x, xt, buffers)
    for i in range(size):
        highest[i] = LOWEST
        added[i] = float32(0)
    for s in range(0, max(num_rows, 1), STRIP):
        s_stop = min(s + STRIP, num_rows)
        multiply(
            rows, s * stride, stride, 1, xt, 0, STRIDE, LANES, probabilities, (first + s) * BLOCK,
            BLOCK, s_stop - s, (size + LANES - 1) // LANES, dim, 0,
        )
        _take_hits(s, s_stop, start, stop, first, table, buffers)
        if use_logistic is not None:
            logistic_strip(size, biases[s:s_stop], probabilities, first + s, added)
        else:
            softmax_strip(size, biases[s:s_stop], probabilities, first + s, highest, added, rescale)
            if s < num_rows:
                for i in range(size):
                    strip_max[strip_first + s // STRIP, i] = highest[i]
            if s > 0:
                for i in range(size):
                    if rescale[i] != float32(1):
                        for d in range(dim):
                            weighted_rows[start + i, d] *= rescale[i]
        multiply(
            probabilities, (first + s) * BLOCK, 1, BLOCK, rows, s * stride, stride, LANES,
            weighted_rows, start * stride, stride, (size + ROWS - 1) // ROWS * ROWS,
            (dim + LANES - 1) // LANES, s_stop - s, int64(s > 0),
        )
        _keep_hits(s, s_stop, start, stop, first, table, buffers)
    for i in range(size):
        running_max[start + i], running_sum[start + i] = highest[i], added[i]


@kernel
def forward_inputs_chunk(chunk, num_chunks, blocks, table, ids, use_logistic, buffers):
    """Do a chunk's part of what `forward_inputs` does."""
    count = blocks.stop - blocks.first
    for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
        _input_block(chunk, part, blocks, table, ids, use_logistic, buffers)
