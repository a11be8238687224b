"""What distinguishes the examples of a batch: their own columns, losses and gradients.

See `batch` for what examples of the same input have in common, and `softmax` for what own
columns are. Examples are taken in the order of members, those of an input one after the
other (see `inputs`). Everything is computed in an order that depends on the batch alone.
"""

import numpy as np
from numba import prange
from numpy import float64, int64

from numba_ss.kernels._jit import exact_kernel, kernel, parallel_kernel
from numba_ss.kernels.core.rows import dot, pointer
from numba_ss.kernels.core.scalar import seen
from numba_ss.kernels.core.tile import prefetch_row
from numba_ss.kernels.softmax.buffers import integers, numbers
from numba_ss.kernels.softmax.candidates import AHEAD, BLOCK, block_start, subtract_logs
from numba_ss.kernels.softmax.members import ABSENT, subtract_members, write_members
from numba_ss.kernels.softmax.softmax import logistic_own, softmax_own


@kernel
def _gather_examples(
    start, size, members, slots, peak, total, grad_loss, inputs, top, totals, upstream
):
    """Bring together what a piece of the examples has of its inputs, and upstream gradients."""
    for k in range(size):
        i = members[start + k]
        u = slots[i]
        inputs[k], top[k], totals[k], upstream[k] = u, peak[u], total[u], grad_loss[i]


@kernel
def _gather_columns(start, size, members, columns, counts, joined, choices, expected):
    """Write which rows the own columns are, see `members`, and their expected counts."""
    for c in range(columns.shape[1]):
        for k in range(size):
            i = members[start + k]
            hit = joined[c, start + k] if c < joined.shape[0] else -1
            own = columns[i, c] if columns[i, c] >= 0 else ABSENT
            choices[c, start + k] = int64(-1 - hit) if hit >= 0 else own
            expected[c, k] = counts[i, c]


@kernel
def _mark_column(choices, factors, extra, logits, expected, present):
    """Prepare the logits of a column, and count it where it is present.

    Joined ones stand in `factors`, absent ones are -inf. From the logits the log of `expected`
    is to be taken, which is 0 where it has been.
    """
    zero, one = extra.dtype.type(0), extra.dtype.type(1)
    for k in range(choices.shape[0]):
        is_present = choices[k] != ABSENT
        is_joined = is_present and choices[k] < 0
        extra[k] = zero if is_joined else one
        logits[k] = factors[k] if is_joined else -np.inf
        expected[k] = expected[k] if choices[k] >= 0 else one
        present[k] += one if is_present else zero


@kernel
def _compare_column(choices, inputs, x, weights, biases, uses, logits):
    """Write the logits of the own columns that are not joined.

    They are listed first, in `uses`: a branch would be a guess.
    """
    dim, stride, count = weights.shape[1], x.shape[1], 0
    for k in range(choices.shape[0]):
        uses[count] = k
        count += choices[k] >= 0
    for j in range(count):
        if j + AHEAD < count:
            prefetch_row(weights, choices[uses[j + AHEAD]])
        k = uses[j]
        row = choices[k]
        own, source = pointer(weights, row * dim), pointer(x, inputs[k] * stride)
        logits[k] = seen(dot(source, own, dim) + biases[row])


@kernel
def _share_targets(choices, shares, targets):
    for k in range(choices.shape[0]):
        targets[k] = shares[k] if choices[k] != ABSENT else shares.dtype.type(0)


@kernel
def _finish_column(choices, upstream, targets, grads, factors):
    """Subtract the targets' gradients; make factors of the gradients.

    The rest of a joined label's gradient is in what its examples have in common.
    """
    for k in range(choices.shape[0]):
        target = targets[k] * upstream[k]
        grads[k] -= target
        factors[k] = -target if choices[k] < 0 else grads[k]


@kernel
def forward_examples_chunk(
    chunk, block_first, block_stop, num_blocks, num_inputs, weights, biases, columns, counts,
    subtract_log_q, num_true, grad_loss, use_logistic, num_chunks, buffers,
):
    """Do a chunk's part of what `forward_examples` does."""
    x, peak = numbers(buffers, "x", weights), numbers(buffers, "peak", weights)
    total, parts = numbers(buffers, "total", weights), numbers(buffers, "parts", weights)
    coefficients = numbers(buffers, "coefficients", weights)
    factors, loss = numbers(buffers, "factors", weights), numbers(buffers, "loss", weights)
    choices, joined = integers(buffers, "choices"), integers(buffers, "joined")
    offsets, members = integers(buffers, "member_offsets"), integers(buffers, "members")
    slots, places = integers(buffers, "slots"), integers(buffers, "places")[chunk]
    example = numbers(buffers, "example", weights)[chunk]
    logits = numbers(buffers, "logits", weights)[chunk]
    extra = numbers(buffers, "extra", weights)[chunk]
    targets = numbers(buffers, "targets", weights)[chunk]
    expected = numbers(buffers, "expected", weights)[chunk]
    num_columns = columns.shape[1]
    first = offsets[block_start(block_first, num_blocks, num_inputs)]
    last = offsets[block_start(block_stop, num_blocks, num_inputs)]
    # In pieces that do not depend on the chunks: what vector code rounds otherwise than
    # single numbers would else depend on them, too.
    pieces = (last - first + BLOCK - 1) // BLOCK
    for piece in range(chunk * pieces // num_chunks, (chunk + 1) * pieces // num_chunks):
        start = first + piece * BLOCK
        stop = min(start + BLOCK, last)
        size = stop - start
        inputs, uses = places[0], places[1]
        top, totals, upstream = example[0, :size], example[1, :size], example[2, :size]
        losses, shares = example[3, :size], example[4, :size]
        _gather_examples(
            start, size, members, slots, peak, total, grad_loss, inputs, top, totals, upstream
        )
        _gather_columns(start, size, members, columns, counts, joined, choices, expected)
        shares[:] = shares.dtype.type(0)
        for c in range(num_columns):
            # Columns that are no labels are counted where the losses will stand.
            _mark_column(
                choices[c, start:stop], factors[c, start:stop], extra[c], logits[c], expected[c],
                shares if c < num_true else losses,
            )
            _compare_column(choices[c, start:stop], inputs, x, weights, biases, uses, logits[c])
            if subtract_log_q:
                subtract_logs(expected[c, :size], logits[c, :size])
        for k in range(size):
            shares[k] = shares.dtype.type(1) / shares[k]
        for c in range(num_columns):
            if c < num_true:
                _share_targets(choices[c, start:stop], shares, targets[c])
            else:
                targets[c, :size] = shares.dtype.type(0)
        if use_logistic is not None:
            parts[start:stop] = upstream
            logistic_own(upstream, targets, extra, logits, totals, losses)
        else:
            softmax_own(upstream, targets, extra, logits, top, totals, parts[start:stop], losses)
        for c in range(num_columns):
            _finish_column(
                choices[c, start:stop], upstream, targets[c], logits[c], factors[c, start:stop]
            )
        for k in range(size):
            i = members[start + k]
            loss[i] = losses[k]
            for c in range(num_columns):
                coefficients[i, c] = logits[c, k]


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
    a gradient; `factors`, where the logits of joined labels stand, those that `grad_examples`
    multiplies rows by; and `choices`, which rows these are, see `members`. `example`, `places`,
    `logits`, `targets`, `extra` and `expected` are scratch, one a chunk, for a piece.
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
def grad_examples(chunk, num_chunks, is_kept, ids, weights, learning_rate, table, buffers):
    """Compute the gradients of the inputs of a chunk of the examples.

    That of an example is its part of `y`, of what it has in common with the others of its
    input, and the sum of its factors times the rows of its own columns, which `choices` say;
    see `forward_examples`. The gradients are written to `grad_inputs` if they are to be kept,
    else subtracted from the rows `ids` of the table.
    """
    y, parts = numbers(buffers, "y", weights), numbers(buffers, "parts", weights)
    factors, rows = numbers(buffers, "factors", weights), numbers(buffers, "rows", weights)
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
        if is_kept:
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
