"""Windows over a text: forward, backward and update of word vectors, skip-gram and CBOW.

A batch of windows is cut into as many chunks as there are strata of noise words, each
with a stratum of its own, another one in every batch. The gradient is that of the rows
as they were before the batch, but for the noise words: nobody else in the batch writes
those of a chunk, so it changes them at once, a group of windows at a time. The rows of
targets and inputs are changed when all chunks are done, in order, each thread taking
some columns of one of the tables. So no result depends on the number of threads.

Noise and targets share a table, so a window learns from a copy of its target's row, which
`apply_windows` puts behind the table's own rows. When the window has used it, the copy
gives way to the gradient of the target.

Skip-gram has noise words for each window, CBOW for a group of windows together: its one
vector a window makes too little of a noise word's row to be worth fetching it.

Row offsets count numbers from the start of a table.
"""

import math
from typing import Any, NamedTuple

from numba import prange
from numpy import float32, float64

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.row_tile import add_products, multiply_rows, prefetch
from numba_ss.kernels.rows import axpy, dot, gather_row, pointer
from numba_ss.kernels.scalar import exp
from numba_ss.kernels.tile import LANES
from numba_ss.kernels.windows import draw_noise, drop_hits, find_windows

# What is drawn, and the order in which rows change: other numbers give other bits, and a
# run of one cannot be gone on with by another.
SCHEME = 2
COLUMNS = 16  # a cache line; threads that shared one would take it from each other
GROUP = 8  # windows whose scores are computed before their noise words change
_AHEAD = 4  # windows whose rows are asked for before they are used
_FAR_AHEAD = 8  # likewise where a window uses one row
_LOWEST = float32(-math.inf)
_CERTAIN = float32(88)  # a score that leaves no loss and no gradient beside _LOWEST
_PRODUCT = 32  # factors of a float64 before its logarithm is taken: it must not overflow


class Model(NamedTuple):
    """What is learned, and how.

    `inputs` (num_words + 1, stride) and `outputs` (num_words + 1 + batch_size, stride)
    have rows of whole cache lines, of which the first `num_vectors` vectors of LANES numbers
    are used; row num_words is that of the separator and stays zero.
    `corrections` are log expected counts, or empty.
    """

    inputs: Any
    outputs: Any
    num_vectors: Any
    corrections: Any
    noise: Any  # alias tables of all strata, one after the other
    strata: Any  # where each begins; (num_strata + 1,)
    key: Any  # uint64
    window: Any
    num_sampled: Any
    batch_size: Any
    cbow: Any
    logistic: Any
    keep_hits: Any


class Work(NamedTuple):
    """Scratch of a batch; the first axis is the chunk."""

    in_rows: Any  # (windows, 2 window + 1): offsets of the context's input rows
    grad_rows: Any  # likewise in grad_inputs
    out_rows: Any  # (windows, 1 + num_sampled): target's copy; noise words (of a group: CBOW)
    sizes: Any  # (windows,): words of the context
    noise_words: Any  # (windows, num_sampled); CBOW has a row for each group
    dropped: Any  # (windows,): noise words that do not count, skip-gram only
    scores: Any  # (1 + num_sampled, GROUP * (2 window + 1)), flat
    scratch: Any  # (2, GROUP * (2 window + 1))
    grad_inputs: Any  # (windows + 2 window, stride), flat
    hidden: Any  # (GROUP, stride): the mean of the context, CBOW only
    hidden_rows: Any  # (GROUP,): offsets of these rows
    grad_hidden: Any  # (GROUP, stride), flat
    shares: Any  # (2 window + 1,): 1 / m
    losses: Any  # sum of all losses
    pairs: Any  # number of losses


@kernel
def _softmax(scores, num_lanes, num_outputs, row, rate, scratch):
    """Turn scores into rate * (y - p); return the sum of the lanes' losses.

    Lanes stand side by side, their outputs `row` numbers apart, the target first.
    """
    target, top = pointer(scores, 0), pointer(scratch, 0)
    total = pointer(scratch, scratch.shape[1])
    for i in range(num_lanes):
        top[i] = target[i]
    for j in range(1, num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            top[i] = line[i] if line[i] > top[i] else top[i]  # max() minds NaN, and is slow
    gap = float32(0)
    for i in range(num_lanes):
        gap += top[i] - target[i]
    loss = float64(gap)
    for i in range(num_lanes):
        power = exp(target[i] - top[i])
        target[i] = power
        total[i] = power
    for j in range(1, num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            power = exp(line[i] - top[i])
            line[i] = power
            total[i] += power
    for start in range(0, num_lanes, _PRODUCT):
        product = 1.0
        for i in range(start, min(start + _PRODUCT, num_lanes)):
            product *= total[i]
        loss += math.log(product)
    for i in range(num_lanes):
        total[i] = -rate / total[i]
    for j in range(num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            line[i] *= total[i]
    for i in range(num_lanes):
        target[i] += rate
    return loss


@kernel
def _logistic(scores, num_lanes, num_outputs, row, rate, scratch):
    """As `_softmax`, for a logistic loss of each output."""
    powers = scratch[0]
    loss = 0.0
    for j in range(num_outputs):
        line = scores[j * row : j * row + num_lanes]
        sign = float32(-1) if j == 0 else float32(1)
        for i in range(num_lanes):
            x = sign * line[i]  # the loss is log(1 + e**x)
            power = exp(-abs(x))
            share = float32(1) / (float32(1) + power)
            powers[i] = power
            line[i] = -rate * sign * (share if x > 0 else power * share)
            loss += max(x, float32(0))
        for start in range(0, num_lanes, _PRODUCT):
            product = 1.0
            for i in range(start, min(start + _PRODUCT, num_lanes)):
                product *= 1.0 + powers[i]
            loss += math.log(product)
    return loss


@kernel
def _draw(model, work, c, stream, begin, end, low, high, stratum, copies, position):
    """Draw windows and noise words of chunk `c`, and write down the rows of each."""
    stride = model.inputs.shape[1]
    separator = model.inputs.shape[0] - 1
    num_sampled, num_windows = model.num_sampled, end - begin
    shared = GROUP if model.cbow else 1
    num_rows = (num_windows + shared - 1) // shared
    noise, places, sizes = work.noise_words[c], work.grad_rows[c], work.sizes[c]
    in_rows, out_rows = work.in_rows[c], work.out_rows[c]
    draw_noise(
        model.noise, model.strata[stratum], model.strata[stratum + 1], stratum,
        model.strata.shape[0] - 1, model.key, (position + begin) * num_sampled,
        noise.reshape(-1)[: num_rows * num_sampled],
    )
    # Windows have a stream of their own: the complement of the noise words' key.
    find_windows(
        stream, begin, end, low, high, model.window, separator, ~model.key, position, places, sizes
    )
    # What is a group's noise may be a target of its own: `_mask_group` looks for that.
    keep_hits = model.keep_hits or model.cbow
    drop_hits(noise, stream[begin : begin + num_rows], separator, keep_hits, work.dropped[c])
    for w in range(num_windows):
        size = sizes[w]
        for m in range(size):
            in_rows[w, m] = stream[low + places[w, m]] * stride
            places[w, m] *= stride
        in_rows[w, size] = separator * stride  # rows are multiplied in pairs
        out_rows[w, 0] = (copies + w) * stride
    for w in range(num_rows):
        for j in range(num_sampled):
            out_rows[w, 1 + j] = noise[w, j] * stride


# Functions that are called for each window take what they need and no more: to hand over
# `model` and `work` costs two hundred numbers, and a reference count for each array. That
# made a fifth of the time.


@kernel
def _clear(row, num_vectors):
    for d in range(num_vectors * LANES):
        row[d] = float32(0)


@kernel
def _mask(scores, row, num_lanes, padded, noise_words, w, corrections, target, absent):
    """Correct the scores of window `w`, and take out what does not count."""
    num_sampled = noise_words.shape[1]
    if corrections.shape[0] > 0:
        for i in range(num_lanes):
            scores[i] -= corrections[target]
    for j in range(num_sampled):
        word = noise_words[w, j]
        line = (1 + j) * row
        if word == absent:
            for i in range(num_lanes):
                scores[line + i] = _LOWEST
        elif corrections.shape[0] > 0:
            for i in range(num_lanes):
                scores[line + i] -= corrections[word]
        if padded > num_lanes:
            scores[line + num_lanes] = _LOWEST
    if padded > num_lanes:
        scores[num_lanes] = _CERTAIN


@kernel
def _learn_skipgram(model, work, c, stream, begin, end, rate):
    """Learn from the windows around stream[begin:end], all but targets and inputs.

    One long function, so that arrays are looked up once a chunk, not once a window.
    """
    inputs, outputs, corrections = model.inputs, model.outputs, model.corrections
    logistic, num_outputs = model.logistic, model.num_sampled + 1
    sizes, dropped, noise_words = work.sizes[c], work.dropped[c], work.noise_words[c]
    in_rows, grad_rows, out_rows = work.in_rows[c], work.grad_rows[c], work.out_rows[c]
    scores, scratch, grad_inputs = work.scores[c], work.scratch[c], work.grad_inputs[c]
    width, stride = in_rows.shape[1], inputs.shape[1]
    vectors, row = model.num_vectors, scores.shape[0] // num_outputs
    absent, num_windows = inputs.shape[0] - 1, end - begin
    table, targets = pointer(inputs, 0), pointer(outputs, 0)
    total, pairs = 0.0, 0
    for first in range(0, num_windows, GROUP):
        last = min(first + GROUP, num_windows)
        lane = 0
        for w in range(first, last):
            ahead = w + _AHEAD
            if ahead < num_windows:
                for j in range(1, num_outputs):
                    prefetch(targets, out_rows[ahead, j], vectors)
                place = begin + ahead + model.window
                if place < stream.shape[0]:
                    prefetch(table, stream[place] * stride, vectors)
            size = sizes[w]
            padded = (size + 1) // 2 * 2
            multiply_rows(
                table, pointer(in_rows, w * width), padded, targets,
                pointer(out_rows, w * num_outputs), num_outputs, pointer(scores, lane), row,
                vectors,
            )
            if dropped[w] > 0 or padded > size or corrections.shape[0] > 0:
                _mask(
                    scores[lane:], row, size, padded, noise_words, w, corrections,
                    stream[begin + w], absent,
                )
            pairs += size
            lane += padded
        if logistic:
            total += _logistic(scores, lane, num_outputs, row, rate, scratch)
        else:
            total += _softmax(scores, lane, num_outputs, row, rate, scratch)

        lane = 0
        for w in range(first, last):
            add_products(
                pointer(grad_inputs, 0), pointer(grad_rows, w * width), sizes[w],
                pointer(scores, lane), 1, row, targets, pointer(out_rows, w * num_outputs),
                num_outputs, 0, vectors,
            )
            lane += (sizes[w] + 1) // 2 * 2

        lane = 0
        for w in range(first, last):
            _clear(pointer(outputs, out_rows[w, 0]), vectors)  # the copy has been used
            add_products(
                targets, pointer(out_rows, w * num_outputs), num_outputs, pointer(scores, lane),
                row, 1, table, pointer(in_rows, w * width), sizes[w], 0, vectors,
            )
            lane += (sizes[w] + 1) // 2 * 2
    work.losses[c] += total
    work.pairs[c] += pairs


@kernel
def _mask_group(scores, row, num_lanes, sizes, noise, targets, corrections, absent, keep_hits):
    """Correct the scores of a group of CBOW windows, and take out what does not count."""
    corrected = corrections.shape[0] > 0
    for i in range(num_lanes):
        counts = i < sizes.shape[0] and sizes[i] > 0
        if not counts:
            scores[i] = _CERTAIN
        elif corrected:
            scores[i] -= corrections[targets[i]]
        for j in range(noise.shape[0]):
            at, word = (1 + j) * row + i, noise[j]
            if not counts or word == absent or (word == targets[i] and not keep_hits):
                scores[at] = _LOWEST
            elif corrected:
                scores[at] -= corrections[word]


@kernel
def _learn_cbow(model, work, c, stream, begin, end, rate):
    """As `_learn_skipgram`; the mean of a window's context is all that meets its outputs."""
    inputs, outputs = model.inputs, model.outputs
    num_sampled, num_outputs = model.num_sampled, model.num_sampled + 1
    sizes, noise_words, out_rows = work.sizes[c], work.noise_words[c], work.out_rows[c]
    in_rows, grad_rows, shares = work.in_rows[c], work.grad_rows[c], work.shares
    scores, scratch, grad_inputs = work.scores[c], work.scratch[c], work.grad_inputs[c]
    hidden, grad_hidden = work.hidden[c], work.grad_hidden[c]
    width, stride, num_windows = in_rows.shape[1], inputs.shape[1], end - begin
    vectors, row = model.num_vectors, scores.shape[0] // num_outputs
    table, targets, own = pointer(inputs, 0), pointer(outputs, 0), pointer(work.hidden_rows, 0)
    used = vectors * LANES
    means, grads, noise_scores = pointer(hidden, 0), pointer(grad_hidden, 0), pointer(scores, row)
    total, pairs = 0.0, 0
    for first in range(0, num_windows, GROUP):
        count, group = min(GROUP, num_windows - first), first // GROUP
        num_lanes = (count + 1) // 2 * 2  # rows are multiplied in pairs
        noise = pointer(out_rows, group * num_outputs + 1)
        for i in range(count):
            w = first + i
            if first + GROUP < num_windows:
                for j in range(i * num_sampled // GROUP, (i + 1) * num_sampled // GROUP):
                    prefetch(targets, out_rows[group + 1, 1 + j], vectors)
            place = begin + w + _AHEAD + model.window
            if place < stream.shape[0]:
                prefetch(table, stream[place] * stride, vectors)
            mean, share = pointer(hidden, i * stride), pointer(shares, sizes[w])
            _clear(mean, vectors)
            add_products(
                mean, own, 1, share, 0, 0, table, pointer(in_rows, w * width), sizes[w], 0, vectors
            )
            scores[i] = dot(mean, pointer(outputs, out_rows[w, 0]), used)
        multiply_rows(
            means, own, num_lanes, targets, noise, num_sampled, noise_scores, row, vectors
        )
        _mask_group(
            scores, row, num_lanes, sizes[first : first + count], noise_words[group],
            stream[begin + first : begin + first + count], model.corrections,
            inputs.shape[0] - 1, model.keep_hits,
        )
        if model.logistic:
            total += _logistic(scores, num_lanes, num_outputs, row, rate, scratch)
        else:
            total += _softmax(scores, num_lanes, num_outputs, row, rate, scratch)

        for i in range(count):
            copy, grad = pointer(outputs, out_rows[first + i, 0]), pointer(grad_hidden, i * stride)
            _clear(grad, vectors)
            axpy(scores[i], copy, used, grad)
            _clear(copy, vectors)
            axpy(scores[i], pointer(hidden, i * stride), used, copy)
        add_products(
            grads, own, count, noise_scores, 1, row, targets, noise, num_sampled, 0, vectors
        )
        add_products(
            targets, noise, num_sampled, noise_scores, row, 1, means, own, count, 0, vectors
        )
        for i in range(count):
            size, context = sizes[first + i], pointer(grad_rows, (first + i) * width)
            if size > 0:
                add_products(
                    pointer(grad_inputs, 0), context, size, pointer(shares, size), 0, 0,
                    pointer(grad_hidden, i * stride), own, 1, 0, vectors,
                )
                pairs += 1
    work.losses[c] += total
    work.pairs[c] += pairs


@kernel
def _span(model, work, c, stream, first, last):
    """Return where chunk `c` begins and ends in the stream, and what it looks at."""
    size = work.sizes.shape[1]
    begin = min(first + c * size, last)
    end = min(begin + size, last)
    return begin, end, max(begin - model.window, 0), min(end + model.window, stream.shape[0])


@kernel
def _learn_chunk(model, work, c, stream, first, last, position, rate):
    begin, end, low, high = _span(model, work, c, stream, first, last)
    num_strata = model.strata.shape[0] - 1
    stratum = (c + (position + first) // model.batch_size) % num_strata
    copies = model.inputs.shape[0] + begin - first
    _draw(model, work, c, stream, begin, end, low, high, stratum, copies, position)
    work.grad_inputs[c, : (high - low) * model.inputs.shape[1]] = float32(0)
    if model.cbow:
        _learn_cbow(model, work, c, stream, begin, end, rate)
    else:
        _learn_skipgram(model, work, c, stream, begin, end, rate)


@parallel_kernel
def learn_windows(num_chunks, model, work, stream, first, last, position, rate):
    """Learn from the windows around stream[first:last], all but targets and inputs.

    `stream` holds words and separators; its first number is the position-th of the
    epoch. The copies of the targets stand in `model.outputs`.
    """
    for t in prange(num_chunks):
        num_strata = model.strata.shape[0] - 1
        for c in range(t * num_strata // num_chunks, (t + 1) * num_strata // num_chunks):
            _learn_chunk(model, work, c, stream, first, last, position, rate)


@kernel
def _add_rows(grads, start, stream, first, last, table, column, vectors):
    """Add gradients to some columns of the rows of the words stream[first:last].

    They stand one after the other from grads.flat[start] on.
    """
    stride = table.shape[1]
    for p in range(first, last):
        if p + _FAR_AHEAD < last:
            prefetch(pointer(table, column), stream[p + _FAR_AHEAD] * stride, vectors)
        grad = pointer(grads, start + (p - first) * stride + column)
        axpy(float32(1), grad, vectors * LANES, pointer(table, stream[p] * stride + column))


@kernel
def _apply_inputs(model, work, stream, first, last, column, vectors):
    """Add the gradients of inputs to some columns of their rows."""
    grads = work.grad_inputs
    for c in range(grads.shape[0]):
        begin, end, low, high = _span(model, work, c, stream, first, last)
        if begin == end:
            break
        start = c * grads.shape[1]
        _add_rows(grads, start, stream, low, high, model.inputs, column, vectors)


@kernel
def _copy_columns(model, stream, first, last, column, vectors):
    """Copy some columns of the rows of the targets stream[first:last]."""
    outputs, stride, num_rows = model.outputs, model.outputs.shape[1], model.inputs.shape[0]
    for p in range(first, last):
        if p + _FAR_AHEAD < last:
            prefetch(pointer(outputs, column), stream[p + _FAR_AHEAD] * stride, vectors)
        copy = pointer(outputs, (num_rows + p - first) * stride + column)
        gather_row(pointer(outputs, stream[p] * stride + column), vectors * LANES, copy)


@kernel
def _part(model, part, num_parts):
    """Return the first column, and the number of vectors, of a part of every row."""
    lines = model.inputs.shape[1] // COLUMNS
    column = part * lines // num_parts * COLUMNS
    end = min((part + 1) * lines // num_parts * COLUMNS, model.num_vectors * LANES)
    return column, (end - column) // LANES


@parallel_kernel
def apply_windows(num_chunks, model, work, stream, first, last, following):
    """Change targets and inputs of the batch stream[first:last], as its windows ask.

    Then copy the rows of the targets of the batch stream[last:following].
    """
    for t in prange(num_chunks):
        # Each table has half of the threads: rows that two write pass between their caches.
        of_outputs = (num_chunks + 1) // 2
        if t < of_outputs:
            column, vectors = _part(model, t, of_outputs)
            outputs, copies = model.outputs, model.inputs.shape[0] * model.outputs.shape[1]
            _add_rows(outputs, copies, stream, first, last, outputs, column, vectors)
            _copy_columns(model, stream, last, following, column, vectors)
        if t >= of_outputs or num_chunks == 1:
            column, vectors = _part(model, t % of_outputs, max(num_chunks // 2, 1))
            _apply_inputs(model, work, stream, first, last, column, vectors)
