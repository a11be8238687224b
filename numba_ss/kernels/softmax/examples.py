"""What each example of a batch has for itself: its own columns, its loss and its gradients.

See `batch` for what the examples of one input have in common, and `softmax` for own columns.
Examples are taken in the order of members, so those of one input stand next to each other (see
`inputs`). They are worked on in pieces of at most `BLOCK`. The order of all sums depends on the
batch alone, not on the number of threads.
"""

import numpy as np
from numpy import float64, int64

from numba_ss.kernels._jit import exact_kernel, kernel
from numba_ss.kernels.core.rows import dot, pointer, prefetch
from numba_ss.kernels.core.scalar import nan_if_infinite
from numba_ss.kernels.softmax.buffers import INPUT, LOSS, TOP, USED, integers, numbers
from numba_ss.kernels.softmax.encodings import NO_HIT, NO_ROW, packed_row
from numba_ss.kernels.softmax.members import Members, subtract_members, write_members
from numba_ss.kernels.softmax.sampled_classes import AHEAD, BLOCK, block_start, subtract_logs
from numba_ss.kernels.softmax.softmax import logistic_own, softmax_own


@kernel
def _gather_examples(start, like, buffers, inputs, top, sums):
    """Copy, for a piece of the members from `start` on, the results of their inputs."""
    running_max = numbers(buffers, "running_max", like)
    running_sum = numbers(buffers, "running_sum", like)
    members, inverse = integers(buffers, "members"), integers(buffers, "inverse")
    for k in range(top.shape[0]):
        u = inverse[members[start + k]]
        inputs[k], top[k], sums[k] = u, running_max[u], running_sum[u]


@kernel
def _gather_columns(start, size, own, counts, buffers, own_counts):
    """Write the own columns of a piece: their rows, as `choices`, and their expected counts."""
    members, choices = integers(buffers, "members"), integers(buffers, "choices")
    member_hits = integers(buffers, "member_hits")
    for c in range(own.shape[1]):
        for k in range(size):
            i = members[start + k]
            hit = member_hits[c, start + k] if c < member_hits.shape[0] else NO_HIT
            row = own[i, c] if own[i, c] >= 0 else NO_ROW
            choices[c, start + k] = packed_row(int64(hit)) if hit >= 0 else row
            own_counts[c, k] = counts[i, c]


@kernel
def _mark_column(choices, factors, column_weights, logits, counts, present):
    """Prepare the logits of a column, and count it for the examples that have it.

    The logit of a hit is copied from `factors`; that of an absent column is -inf. The log of
    `counts` will be subtracted. Counts of hits become 1, because log Q is in their logit already.
    """
    zero, one = column_weights.dtype.type(0), column_weights.dtype.type(1)
    for k in range(choices.shape[0]):
        is_present = choices[k] != NO_ROW
        is_hit = is_present and choices[k] < 0
        column_weights[k] = zero if is_hit else one
        logits[k] = factors[k] if is_hit else -np.inf
        counts[k] = counts[k] if choices[k] >= 0 else one
        present[k] += one if is_present else zero


@kernel
def _compare_column(choices, inverse, inputs, weights, biases, used, logits):
    """Write the logits of a column for the examples that have it and for which it is no hit.

    These examples are listed first, in `used`, because a branch would be mispredicted.
    """
    dim, stride, count = weights.shape[1], inputs.shape[1], 0
    for k in range(choices.shape[0]):
        used[count] = k
        count += choices[k] >= 0
    for j in range(count):
        if j + AHEAD < count:
            prefetch(pointer(weights, choices[used[j + AHEAD]] * dim), dim)
        k = used[j]
        row = choices[k]
        own, source = pointer(weights, row * dim), pointer(inputs, inverse[k] * stride)
        logits[k] = nan_if_infinite(dot(source, own, dim) + biases[row])


@kernel
def _share_targets(is_label, choices, shares, targets):
    """Write the targets of a column: 1 / T where it is a label that is present, else 0."""
    zero = shares.dtype.type(0)
    for k in range(choices.shape[0]):
        targets[k] = shares[k] if is_label and choices[k] != NO_ROW else zero


@kernel
def _pieces(chunk, num_chunks, first, last):
    """Return which pieces of the examples from `first` to `last` belong to a chunk.

    The pieces themselves do not depend on the number of chunks. If they did, some numbers would
    be computed by vector code in one case and singly in another, and rounded differently.
    """
    pieces = (last - first + BLOCK - 1) // BLOCK
    return range(chunk * pieces // num_chunks, (chunk + 1) * pieces // num_chunks)


@kernel
def _members_of(blocks, buffers):
    """Return the first member of some blocks, and the one after the last."""
    indptr = integers(buffers, "member_indptr")
    first = indptr[block_start(blocks.first, blocks.count, blocks.num_inputs)]
    return first, indptr[block_start(blocks.stop, blocks.count, blocks.num_inputs)]


@kernel
def forward_examples_chunk(chunk, num_chunks, blocks, batch, use_logistic, buffers):
    """Do a chunk's part of what `forward_examples` does."""
    like, num_own = batch.weights, batch.own.shape[1]
    inputs = numbers(buffers, "unique_inputs", like)
    own_factors = numbers(buffers, "own_factors", like)
    losses, members = numbers(buffers, "losses", like), integers(buffers, "members")
    example_sums = numbers(buffers, "example_sums", like)
    target_shares = numbers(buffers, "target_shares", like)
    row_scales, choices = numbers(buffers, "row_scales", like), integers(buffers, "choices")
    places = integers(buffers, "place_scratch")[chunk]
    scratch = numbers(buffers, "example_scratch", like)[chunk]
    logits = numbers(buffers, "own_logits", like)[chunk]
    column_weights = numbers(buffers, "column_weights", like)[chunk]
    targets = numbers(buffers, "targets", like)[chunk]
    own_counts = numbers(buffers, "own_counts", like)[chunk]
    first, last = _members_of(blocks, buffers)
    for piece in _pieces(chunk, num_chunks, first, last):
        start = first + piece * BLOCK
        stop = min(start + BLOCK, last)
        size = stop - start
        top, loss = scratch[TOP, :size], scratch[LOSS, :size]
        sums, share = example_sums[start:stop], target_shares[start:stop]
        _gather_examples(start, like, buffers, places[INPUT], top, sums)
        _gather_columns(start, size, batch.own, batch.own_counts, buffers, own_counts)
        share[:] = share.dtype.type(0)
        for c in range(num_own):
            # Labels are counted for their share. The count of other columns is not needed: the
            # losses overwrite it.
            _mark_column(
                choices[c, start:stop], own_factors[c, start:stop], column_weights[c], logits[c],
                own_counts[c], share if c < batch.num_true else loss,
            )
            _compare_column(
                choices[c, start:stop], places[INPUT], inputs, batch.weights, batch.biases,
                places[USED], logits[c],
            )
            if batch.subtract_log_q:
                subtract_logs(own_counts[c, :size], logits[c, :size])
        for k in range(size):
            share[k] = share.dtype.type(1) / share[k]
        for c in range(num_own):
            _share_targets(c < batch.num_true, choices[c, start:stop], share, targets[c])
        if use_logistic is not None:
            logistic_own(targets, column_weights, logits, sums, loss)
        else:
            softmax_own(targets, column_weights, logits, top, sums, row_scales[start:stop], loss)
        # Number by number: to copy slices, Numba would compile code for an error message.
        for c in range(num_own):
            for k in range(size):
                own_factors[c, start + k] = logits[c, k]
        for k in range(size):
            losses[members[start + k]] = loss[k]


@kernel
def _scale_softmax(grad_output, sums, row_scales, factors, start):
    """Multiply unnormalised probabilities by the upstream gradient, and normalise them."""
    for k in range(grad_output.shape[0]):
        scale = grad_output[k] / sums[k]
        sums[k] = scale
        row_scales[k] *= scale
    for c in range(factors.shape[0]):
        row = factors[c, start : start + grad_output.shape[0]]
        for k in range(grad_output.shape[0]):
            row[k] *= sums[k]


@kernel
def _scale_logistic(grad_output, row_scales, factors, start):
    """Multiply sigmoids by the upstream gradient."""
    for k in range(grad_output.shape[0]):
        row_scales[k] = grad_output[k]
    for c in range(factors.shape[0]):
        row = factors[c, start : start + grad_output.shape[0]]
        for k in range(grad_output.shape[0]):
            row[k] *= grad_output[k]


@kernel
def _finish_column(choices, grad_output, targets, grads, factors):
    """Write the gradients of the logits of a column, and the factors of its rows.

    The gradient is the probability, in `factors`, minus the target, both times the upstream
    gradient. The factor is the same. But for a hit it is the target's part alone, because the
    probability is counted in the sum of rows that the examples of the input have in common.
    """
    for k in range(choices.shape[0]):
        target = targets[k] * grad_output[k]
        grads[k] = factors[k] - target
        factors[k] = -target if choices[k] < 0 else grads[k]


@kernel
def scale_examples_chunk(chunk, num_chunks, blocks, num_true, grad_output, use_logistic, buffers):
    """Do a chunk's part of what `scale_examples` does."""
    like, members = grad_output, integers(buffers, "members")
    factors, choices = numbers(buffers, "own_factors", like), integers(buffers, "choices")
    sums, shares = numbers(buffers, "example_sums", like), numbers(buffers, "target_shares", like)
    row_scales = numbers(buffers, "row_scales", like)
    grad_own_logits = numbers(buffers, "grad_own_logits", like)
    scratch = numbers(buffers, "example_scratch", like)[chunk]
    targets = numbers(buffers, "targets", like)[chunk]
    grads = numbers(buffers, "own_logits", like)[chunk]
    first, last = _members_of(blocks, buffers)
    for piece in _pieces(chunk, num_chunks, first, last):
        start = first + piece * BLOCK
        stop = min(start + BLOCK, last)
        upstream = scratch[TOP, : stop - start]
        for k in range(stop - start):
            upstream[k] = grad_output[members[start + k]]
        if use_logistic is not None:
            _scale_logistic(upstream, row_scales[start:stop], factors, start)
        else:
            _scale_softmax(upstream, sums[start:stop], row_scales[start:stop], factors, start)
        for c in range(factors.shape[0]):
            _share_targets(c < num_true, choices[c, start:stop], shares[start:stop], targets[c])
            _finish_column(
                choices[c, start:stop], upstream, targets[c], grads[c], factors[c, start:stop]
            )
        for k in range(stop - start):
            i = members[start + k]
            for c in range(factors.shape[0]):
                grad_own_logits[i, c] = grads[c, k]


@exact_kernel
def sum_losses(losses):
    """Return the sum in float64, as four sums that the CPU can compute side by side."""
    size = losses.shape[0]
    a, b, c, d = float64(0), float64(0), float64(0), float64(0)
    for i in range(0, size - 3, 4):
        a += float64(losses[i])
        b += float64(losses[i + 1])
        c += float64(losses[i + 2])
        d += float64(losses[i + 3])
    for i in range(size // 4 * 4, size):
        a += float64(losses[i])
    return (a + b) + (c + d)


@kernel
def _first_member(m, members, inverse):
    """Return the first member from `m` on that is the first of its input."""
    while 0 < m < members.shape[0] and inverse[members[m]] == inverse[members[m - 1]]:
        m += 1
    return m


@kernel
def grad_examples(chunk, num_chunks, is_kept, batch, learning_rate, table, buffers):
    """Compute the gradients of the inputs of a chunk of the examples.

    The gradient of an example is its scale times the `weighted_rows` of its input, plus the sum
    over its own columns of factor times row; see `scale_examples`. The rows are those that
    `choices` name. If `is_kept`, the gradients are written to `grad_inputs`. If not, they are
    subtracted from the rows of the table that are the inputs.
    """
    weights = batch.weights
    weighted_rows = numbers(buffers, "weighted_rows", weights)
    row_scales = numbers(buffers, "row_scales", weights)
    factors, rows = (
        numbers(buffers, "own_factors", weights), numbers(buffers, "sampled_rows", weights)
    )
    members, inverse = integers(buffers, "members"), integers(buffers, "inverse")
    indptr, choices = integers(buffers, "member_indptr"), integers(buffers, "choices")
    grad_inputs = numbers(buffers, "grad_inputs", weights)
    dim, stride, (num_own, size) = weights.shape[1], weighted_rows.shape[1], choices.shape
    m = _first_member(chunk * size // num_chunks, members, inverse)
    stop = _first_member((chunk + 1) * size // num_chunks, members, inverse)
    while m < stop:
        u = inverse[members[m]]
        count = indptr[u + 1] - m
        group = Members(
            count, pointer(weighted_rows, u * stride), pointer(row_scales, m),
            pointer(factors, m), pointer(choices, m), size, num_own, pointer(weights, 0), dim,
            pointer(rows, 0), stride,
        )
        if is_kept:
            write_members(group, pointer(members, m), pointer(grad_inputs, 0))
        else:
            row = pointer(table, batch.ids[members[m]] * dim)
            subtract_members(group, learning_rate, row)
        m += count
