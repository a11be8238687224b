"""The gradients of the classes that a batch uses: one for each use, written one after the other."""

from numba import prange
from numpy import int64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.softmax.buffers import integers, numbers


@exact_kernel
def _write_product(factor, source, size, out):
    for d in range(size):
        out[d] = factor * source[d]


@exact_kernel
def list_uses_chunk(
    chunk, num_chunks, own, num_true, sampled, in_place, ids, rows, biases, buffers
):
    """Do a chunk's part of what `list_uses` does."""
    own_logits, inverse = numbers(buffers, "grad_own_logits", rows), integers(buffers, "inverse")
    x = numbers(buffers, "unique_inputs", rows)
    sampled_rows = numbers(buffers, "grad_sampled_rows", rows)
    sampled_biases = numbers(buffers, "grad_sampled_biases", rows)
    dim, stride = rows.shape[1], x.shape[1]
    start, stop = chunk * len(ids) // num_chunks, (chunk + 1) * len(ids) // num_chunks
    use = 0
    for low, high in ((0, num_true), (num_true, own.shape[1])):
        for i in range(own.shape[0]):
            for c in range(low, high):
                if own[i, c] < 0:
                    continue
                if start <= use < stop:
                    ids[use], biases[use] = own[i, c], own_logits[i, c]
                    source = pointer(x, inverse[i] * stride)
                    _write_product(own_logits[i, c], source, dim, pointer(rows, use * dim))
                use += 1
    for s in range(max(start - use, 0), stop - use):
        ids[use + s] = sampled[s]
        if not in_place:
            biases[use + s] = sampled_biases[s]
            rows[use + s, :] = sampled_rows[s, :dim]


@parallel_kernel
def list_uses(own, num_true, sampled, in_place, num_chunks, ids, rows, biases, buffers):
    """Write the class of each use, and the gradients of its row and bias.

    First come the labels, example by example, then what else examples have of their own, then
    the `sampled` classes. Absent columns of `own` are no uses. If `in_place`, the gradients of the
    sampled classes have been written already: `grad_sampled_rows` is a part of `rows`.
    """
    for chunk in prange(num_chunks):
        list_uses_chunk(
            int64(chunk), num_chunks, own, num_true, sampled, in_place, ids, rows, biases, buffers
        )
