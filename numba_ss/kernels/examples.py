"""What distinguishes the examples of a batch: their own columns, losses and gradients.

See `batch` for what examples of the same input have in common, and `softmax` for what own
columns are. Examples are taken in the order of members, those of an input one after the
other (see `inputs`). Everything is computed in an order that depends on the batch alone.
"""

import numpy as np
from numba import prange
from numpy import float64, int64

from numba_ss.kernels._jit import exact_kernel, kernel, parallel_kernel
from numba_ss.kernels.buffers import integers, numbers
from numba_ss.kernels.candidates import AHEAD, BLOCK, block_start, subtract_logs
from numba_ss.kernels.members import ABSENT, subtract_members, write_members
from numba_ss.kernels.rows import dot, pointer
from numba_ss.kernels.scalar import seen
from numba_ss.kernels.softmax import logistic_own, softmax_own
from numba_ss.kernels.tile import prefetch_row


@kernel
def _count_labels(start, stop, members, columns, num_true, grad_loss, upstream, shares):
    """Write the upstream gradient and 1/T of each example."""
    for m in range(start, stop):
        i = members[m]
        upstream[m] = grad_loss[i]
        num_labels = 0
        for c in range(num_true):
            num_labels += columns[i, c] >= 0
        shares[m] = shares.dtype.type(1) / shares.dtype.type(num_labels)


@kernel
def _own_columns(
    start, stop, members, slots, x, weights, biases, columns, counts, num_true, joined, shares,
    uses, logits, targets, extra, expected, choices,
):
    """Write the logits of the own columns that are not joined, and 1/T; absent ones are -inf.

    From the logits the log of `expected` is to be taken, which is 0 where it has been. Which
    columns have a logit is listed first, in `uses`: a branch would be a guess.
    """
    dim, stride, zero = weights.shape[1], x.shape[1], targets.dtype.type(0)
    one = targets.dtype.type(1)
    for c in range(columns.shape[1]):
        count = 0
        for m in range(start, stop):
            i = members[m]
            present = columns[i, c] >= 0
            is_joined = c < joined.shape[0] and joined[c, m] >= 0
            targets[c, m] = shares[m] if present and c < num_true else zero
            extra[c, m] = zero if is_joined else one
            logits[c, m] = logits[c, m] if is_joined else -np.inf
            is_own = present and not is_joined
            expected[c, m] = counts[i, c] if is_own else one
            hit = joined[c, m] if is_joined else 0
            choices[c, m] = -1 - hit if is_joined else (columns[i, c] if present else ABSENT)
            uses[count] = m
            count += is_own
        for k in range(count):
            if k + AHEAD < count:
                prefetch_row(weights, columns[members[uses[k + AHEAD]], c])
            m = uses[k]
            row = columns[members[m], c]
            own, source = pointer(weights, row * dim), pointer(x, slots[members[m]] * stride)
            logits[c, m] = seen(dot(source, own, dim) + biases[row])


@kernel
def _finish(
    start, stop, members, columns, joined, upstream, losses, targets, grads, coefficients, loss
):
    """Write losses and coefficients in the order of examples; make factors of the gradients."""
    for m in range(start, stop):
        i = members[m]
        loss[i] = losses[m]
        for c in range(columns.shape[1]):
            target = targets[c, m] * upstream[m]
            coefficient = grads[c, m] - target
            coefficients[i, c] = coefficient
            # The rest of a joined label's gradient is in what its examples have in common.
            is_joined = c < joined.shape[0] and joined[c, m] >= 0
            grads[c, m] = -target if is_joined else coefficient


@kernel
def forward_examples_chunk(
    chunk, block_first, block_stop, num_blocks, num_inputs, weights, biases, columns, counts,
    subtract_log_q, num_true, grad_loss, use_logistic, num_chunks, buffers,
):
    """Do a chunk's part of what `forward_examples` does."""
    x, peak = numbers(buffers, "x", weights), numbers(buffers, "peak", weights)
    total, parts = numbers(buffers, "total", weights), numbers(buffers, "parts", weights)
    own, example = numbers(buffers, "own", weights), numbers(buffers, "example", weights)
    coefficients = numbers(buffers, "coefficients", weights)
    loss, joined = numbers(buffers, "loss", weights), integers(buffers, "joined")
    offsets, members = integers(buffers, "member_offsets"), integers(buffers, "members")
    slots, uses = integers(buffers, "slots"), integers(buffers, "uses")[chunk]
    choices = integers(buffers, "choices")
    logits, targets, extra, expected = own[0], own[1], own[2], own[3]
    top, totals, upstream, losses = example[0], example[1], example[2], example[3]
    first = offsets[block_start(block_first, num_blocks, num_inputs)]
    last = offsets[block_start(block_stop, num_blocks, num_inputs)]
    # In pieces that do not depend on the chunks: what vector code rounds otherwise than
    # single numbers would else depend on them, too.
    pieces = (last - first + BLOCK - 1) // BLOCK
    for piece in range(chunk * pieces // num_chunks, (chunk + 1) * pieces // num_chunks):
        start = first + piece * BLOCK
        stop = min(start + BLOCK, last)
        _count_labels(start, stop, members, columns, num_true, grad_loss, upstream, top)
        _own_columns(
            start, stop, members, slots, x, weights, biases, columns, counts, num_true,
            joined, top, uses, logits, targets, extra, expected, choices,
        )
        for m in range(start, stop):
            u = slots[members[m]]
            top[m], totals[m] = peak[u], total[u]
        if subtract_log_q:
            for c in range(columns.shape[1]):
                subtract_logs(expected[c, start:stop], logits[c, start:stop])
        if use_logistic is not None:
            parts[start:stop] = upstream[start:stop]
            logistic_own(start, stop, upstream, targets, extra, logits, totals, losses)
        else:
            softmax_own(
                start, stop, upstream, targets, extra, logits, top, totals, parts, losses
            )
        _finish(
            start, stop, members, columns, joined, upstream, losses, targets, logits,
            coefficients, loss,
        )


@parallel_kernel
def forward_examples(
    block_first, block_stop, num_blocks, num_inputs, weights, biases, columns, counts,
    subtract_log_q, num_true, grad_loss, use_logistic, num_chunks, buffers,
):
    """Finish the losses of the examples of a range of blocks, and the gradients of own logits.

    `columns` (batch_size, any) are row ids in `weights`, the first `num_true` of them
    labels; see `forward_inputs` for the rest. Written to the buffers, in the order of examples:
    `coefficients`, the gradients of the own logits, and `loss`; in the order of members:
    `parts`, by which exp(logit - peak) of an example's shared columns is multiplied to be
    a gradient; own[0], where the logits of joined labels stand, the factors that `grad_examples`
    multiplies rows by; and `choices`, which rows these are, see `members`. The rest of `own` and
    `example`, and `uses`, a row a chunk, are scratch.
    """
    for chunk in prange(num_chunks):
        forward_examples_chunk(
            int64(chunk), block_first, block_stop, num_blocks, num_inputs, weights, biases, columns,
            counts, subtract_log_q, num_true, grad_loss, use_logistic, num_chunks, buffers,
        )


@exact_kernel
def sum_losses(loss):
    """Return the sum in float64, in an order of its own: four sums do not wait for each other."""
    size = loss.shape[0]
    a, b, c, d = float64(0), float64(0), float64(0), float64(0)
    for i in range(0, size - 3, 4):
        a += float64(loss[i])
        b += float64(loss[i + 1])
        c += float64(loss[i + 2])
        d += float64(loss[i + 3])
    for i in range(size // 4 * 4, size):
        a += float64(loss[i])
    return (a + b) + (c + d)


@kernel
def _first_member(m, members, slots):
    """Return the first member from `m` on that has another input than the one before it."""
    while 0 < m < members.shape[0] and slots[members[m]] == slots[members[m - 1]]:
        m += 1
    return m


@kernel
def grad_examples(chunk, num_chunks, ids, weights, learning_rate, table, buffers):
    """Compute the gradients of the inputs of a chunk of the examples.

    That of an example is its part of `y`, of what it has in common with the others of its
    input, and the sum of its factors times the rows of its own columns, which `choices` say;
    see `forward_examples`. With a `table`, the gradients are subtracted from its rows `ids`,
    else written to `grad_inputs`.
    """
    y, parts = numbers(buffers, "y", weights), numbers(buffers, "parts", weights)
    factors, rows = numbers(buffers, "own", weights)[0], numbers(buffers, "rows", weights)
    members, slots = integers(buffers, "members"), integers(buffers, "slots")
    offsets, choices = integers(buffers, "member_offsets"), integers(buffers, "choices")
    grad_inputs = numbers(buffers, "grad_inputs", weights)
    dim, stride, (num_columns, size) = weights.shape[1], y.shape[1], choices.shape
    m = _first_member(chunk * size // num_chunks, members, slots)
    stop = _first_member((chunk + 1) * size // num_chunks, members, slots)
    while m < stop:
        u = slots[members[m]]
        count = offsets[u + 1] - m
        common, own = pointer(y, u * stride), pointer(factors, m)
        if table is None:
            write_members(
                common, pointer(parts, m), own, pointer(choices, m), size, num_columns,
                pointer(weights, 0), dim, pointer(rows, 0), stride, count, pointer(members, m),
                pointer(grad_inputs, 0),
            )
        else:
            subtract_members(
                learning_rate, common, pointer(parts, m), own, pointer(choices, m), size,
                num_columns, pointer(weights, 0), dim, pointer(rows, 0), stride, count,
                pointer(table, ids[members[m]] * dim),
            )
        m += count
