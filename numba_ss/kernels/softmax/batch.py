"""The forward pass of the unique inputs of a batch against the sampled classes.

The unique inputs (see `inputs`) are taken in blocks of at most `BLOCK`, the sampled classes in
strips of `STRIP`. The one large array is `probabilities`. It holds one block of inputs after the
other. A block has a row for each sampled class and a column for each input: exp(logit - strip_max),
which is not normalised yet, or the sigmoid of the logit.

Examples of one input differ only in their own columns (see `softmax`). A label that is among the
sampled classes adds no column: removing the accidental hit and adding the label comes to the same
as counting the sampled class. Only its gradient goes to the row of the label instead of the packed
row.

The order of all sums depends on the batch alone, not on the number of threads.
"""

import numpy as np
from numpy import float32, int64

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.rows import gather_row, pointer, prefetch
from numba_ss.kernels.core.scalar import nan_if_infinite
from numba_ss.kernels.core.tile import Matrix, multiply, transpose
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
from numba_ss.kernels.softmax.encodings import left_out
from numba_ss.kernels.softmax.sampled_classes import AHEAD, BLOCK, STRIP, block_start
from numba_ss.kernels.softmax.softmax import LOWEST, logistic_strip, softmax_strip

# Numbers from row to row of a transposed block of inputs. If it were a power of two, the rows
# would compete for a few sets of the first-level cache.
STRIDE = BLOCK + 16


@kernel
def _load_inputs(start, stop, table, ids, inputs, transposed, buffers):
    """Gather the inputs of a block, and transpose them."""
    indptr, members = integers(buffers, "member_indptr"), integers(buffers, "members")
    dim, stride = table.shape[1], inputs.shape[1]
    for u in range(start, min(start + AHEAD, stop)):
        prefetch(pointer(table, ids[members[indptr[u]]] * dim), dim)
    for u in range(start, stop):
        if u + AHEAD < stop:
            prefetch(pointer(table, ids[members[indptr[u + AHEAD]]] * dim), dim)
        row = ids[members[indptr[u]]]
        gather_row(pointer(table, row * dim), dim, pointer(inputs, u * stride))
    for u in range(stop, (stop + LANES - 1) // LANES * LANES):
        inputs[u, :] = float32(0)
    block = Matrix(pointer(inputs, start * stride), stride, 1)
    transpose(block, stop - start, dim, Matrix(pointer(transposed, 0), STRIDE, 1))


@kernel
def _take_hits(s_start, s_stop, start, stop, first, like, buffers):
    """Store the logits of hits in a strip, and set the logits that are left out to -inf.

    `first` is the block's first row of `probabilities`, which still holds plain products.
    """
    probabilities = numbers(buffers, "probabilities", like)
    adjusted_biases = numbers(buffers, "adjusted_biases", like)
    own_factors = numbers(buffers, "own_factors", like)
    hit_list, hit_indptr = integers(buffers, "hit_list"), integers(buffers, "hit_indptr")
    for u in range(start, stop):
        for e in range(hit_indptr[u], hit_indptr[u + 1]):
            hit = hit_list[HIT, e]
            if s_start <= hit < s_stop:
                logit = probabilities[first + hit, u - start] + adjusted_biases[hit]
                own_factors[hit_list[COLUMN, e], hit_list[MEMBER, e]] = nan_if_infinite(logit)
            elif s_start <= left_out(hit) < s_stop:
                probabilities[first + left_out(hit), u - start] = -np.inf


@kernel
def _keep_hits(s_start, s_stop, start, stop, first, like, buffers):
    """Move the probabilities of hits in a strip to `hit_probabilities`.

    If several examples of an input have the same hit, the first of them gets it, and the others
    find 0. As a sampled class, a hit has a gradient from the other examples only.
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
    """Compare a block of inputs with all sampled classes; `part` is its place in memory."""
    rows = numbers(buffers, "sampled_rows", table)
    biases = numbers(buffers, "adjusted_biases", table)
    inputs = numbers(buffers, "unique_inputs", table)
    probabilities = numbers(buffers, "probabilities", table)
    transposed = numbers(buffers, "transposed_inputs", table)[chunk]
    strip_max = numbers(buffers, "strip_max", table)
    weighted_rows = numbers(buffers, "weighted_rows", table)
    running_max = numbers(buffers, "running_max", table)
    running_sum = numbers(buffers, "running_sum", table)
    scratch = numbers(buffers, "block_scratch", table)[chunk]
    block_max, block_sum, rescale = scratch[MAX], scratch[SUM], scratch[RESCALE]
    start = block_start(blocks.first + part, blocks.count, blocks.num_inputs)
    stop = block_start(blocks.first + part + 1, blocks.count, blocks.num_inputs)
    dim, stride, num_rows, size = table.shape[1], rows.shape[1], rows.shape[0], stop - start
    first, strip_first = part * num_rows, part * ((num_rows + STRIP - 1) // STRIP)
    _load_inputs(start, stop, table, ids, inputs, transposed, buffers)
    for i in range(size):
        block_max[i] = LOWEST
        block_sum[i] = float32(0)
    columns = Matrix(pointer(transposed, 0), STRIDE, 1)
    sums = Matrix(pointer(weighted_rows, start * stride), stride, 1)
    for s in range(0, max(num_rows, 1), STRIP):
        s_stop = min(s + STRIP, num_rows)
        strip = Matrix(pointer(rows, s * stride), stride, 1)
        place = pointer(probabilities, (first + s) * BLOCK)
        multiply(
            strip, columns, Matrix(place, BLOCK, 1), s_stop - s, (size + LANES - 1) // LANES, dim, 0
        )
        _take_hits(s, s_stop, start, stop, first, table, buffers)
        if use_logistic is not None:
            logistic_strip(size, biases[s:s_stop], probabilities, first + s, block_sum)
        else:
            softmax_strip(
                size, biases[s:s_stop], probabilities, first + s, block_max, block_sum, rescale
            )
            if s < num_rows:
                for i in range(size):
                    strip_max[strip_first + s // STRIP, i] = block_max[i]
            if s > 0:
                for i in range(size):
                    if rescale[i] != float32(1):
                        for d in range(dim):
                            weighted_rows[start + i, d] *= rescale[i]
        multiply(
            Matrix(place, 1, BLOCK), strip, sums, (size + ROWS - 1) // ROWS * ROWS,
            (dim + LANES - 1) // LANES, s_stop - s, int64(s > 0),
        )
        _keep_hits(s, s_stop, start, stop, first, table, buffers)
    for i in range(size):
        running_max[start + i], running_sum[start + i] = block_max[i], block_sum[i]


@kernel
def forward_inputs_chunk(chunk, num_chunks, blocks, table, ids, use_logistic, buffers):
    """Do a chunk's part of what `forward_inputs` does."""
    count = blocks.stop - blocks.first
    for part in range(chunk * count // num_chunks, (chunk + 1) * count // num_chunks):
        _input_block(chunk, part, blocks, table, ids, use_logistic, buffers)
