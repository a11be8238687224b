"""CBOW: the gradients of a batch of windows, each context as the mean of its words.

A window has one vector, the mean of its context. Fetching a noise word's row costs more than one
product with it, so GROUP consecutive windows share their noise words.
"""

from numpy import float32

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products, multiply_rows
from numba_ss.kernels.core.rows import axpy, dot, pointer, prefetch
from numba_ss.kernels.core.tile import Matrix
from numba_ss.kernels.words.window_chunks import (
    AHEAD,
    CERTAIN,
    GROUP,
    LOWEST,
    draw_chunk,
    logistic_scores,
    softmax_scores,
    weigh_inputs,
)
from numba_ss.kernels.words.windows import drop_hits


@kernel
def _name_rows(noise, places, num_sampled, stride, rows, grads):
    """Write the offsets of a group's noise rows, and of their gradients."""
    for j in range(num_sampled):
        rows[j], grads[j] = noise[j] * stride, places[j] * stride


@kernel
def _mask(scores, row, num_lanes, count, targets, noise, corrections, absent, keep_hits):
    """Subtract log Q from the scores of a group of windows, and mask those that do not count."""
    corrected = corrections.shape[0] > 0
    for i in range(num_lanes):
        target = targets[i] if i < count else absent
        if target == absent:
            scores[i] = CERTAIN
        elif corrected:
            scores[i] -= corrections[target]
        for j in range(noise.shape[0]):
            at, word = (1 + j) * row + i, noise[j]
            if target == absent or word == absent or (word == target and not keep_hits):
                scores[at] = LOWEST
            elif corrected:
                scores[at] -= corrections[word]


@kernel
def cbow_chunk(model, work, c, stream, begin, end, position, rate):
    """Compute the gradients of the windows around stream[begin:end]."""
    inputs, outputs = model.inputs, model.outputs
    absent, num_windows, stride = inputs.shape[0] - 1, end - begin, inputs.shape[1]
    draw_chunk(model, work, c, stream, begin, end, position, GROUP)
    sizes, noise, out_words = work.sizes[c], work.noise[c], work.out_words[c]
    in_rows, in_places, in_grads = work.in_rows[c], work.in_places[c], work.in_grads[c]
    places, shares = work.places[c], work.shares
    out_rows, out_grads = work.out_rows[c], work.out_grads[c]
    in_weights, out_weights = work.in_weights[c], work.out_weights[c]
    changes = work.grad_outputs[c]
    grad_inputs, grad_outputs = pointer(work.grad_inputs[c], 0), pointer(changes, 0)
    scores, scratch = work.scores[c], work.scratch[c]
    hidden, grad_hidden = work.hidden[c], work.grad_hidden[c]
    width, num_outputs, vectors = in_rows.shape[1], out_rows.shape[1], model.num_vectors
    row, num_sampled, used = scores.shape[0] // num_outputs, num_outputs - 1, vectors * LANES
    pool = out_words.shape[0] - sizes.shape[0]
    table, targets = pointer(inputs, 0), pointer(outputs, 0)
    each = pointer(work.hidden_rows, 0)
    groups = (num_windows + GROUP - 1) // GROUP
    # A noise word of the group may be the target of one of its windows: `_mask` checks that.
    drop_hits(noise[:groups], noise[:groups, 0], absent, True, work.dropped[c])
    for g in range(groups):
        _name_rows(
            pointer(noise, g * num_sampled), pointer(places, g * num_sampled), num_sampled, stride,
            pointer(out_rows, g * num_outputs + 1), pointer(out_grads, g * num_outputs + 1),
        )
    means, grads, noise_scores = pointer(hidden, 0), pointer(grad_hidden, 0), pointer(scores, row)
    total, pairs = 0.0, 0
    for first in range(0, num_windows, GROUP):
        count, g = min(GROUP, num_windows - first), first // GROUP
        num_lanes = (count + 1) // 2 * 2  # rows are multiplied in pairs
        noise_rows = Rows(targets, pointer(out_rows, g * num_outputs + 1), num_sampled)
        for i in range(count):
            w = first + i
            if w + GROUP < num_windows:
                prefetch(pointer(targets, out_words[pool + w + GROUP] * stride), used)
            if first + GROUP < num_windows:
                for j in range(i * num_sampled // GROUP, (i + 1) * num_sampled // GROUP):
                    prefetch(pointer(targets, out_rows[g + 1, 1 + j]), used)
            place = begin + w + AHEAD + model.window
            if place < stream.shape[0]:
                prefetch(pointer(table, stream[place] * stride), used)
            mean = pointer(hidden, i * stride)
            for d in range(used):
                mean[d] = float32(0)
            add_products(
                Rows(mean, each, 1), Matrix(pointer(shares, sizes[w]), 0, 0),
                Rows(table, pointer(in_rows, w * width), sizes[w]), vectors,
            )
            scores[i] = dot(mean, pointer(outputs, out_words[pool + w] * stride), used)
        multiply_rows(
            Rows(means, each, num_lanes), noise_rows, Matrix(noise_scores, row, 1), vectors
        )
        _mask(
            scores, row, num_lanes, count, out_words[pool + first : pool + first + count], noise[g],
            model.corrections, absent, model.keep_hits,
        )
        if model.logistic:
            total += logistic_scores(scores, num_lanes, num_outputs, row, rate, scratch)
        else:
            total += softmax_scores(scores, num_lanes, num_outputs, row, rate, scratch)
        weigh_inputs(scores, num_lanes, num_outputs, row, scratch[0])

        for i in range(count):
            at, grad = pool + first + i, pointer(grad_hidden, i * stride)
            for d in range(used):
                grad[d] = float32(0)
            axpy(scores[i], pointer(outputs, out_words[at] * stride), used, grad)
            mean, own = pointer(hidden, i * stride), pointer(changes, at * stride)
            for d in range(used):
                own[d] = scores[i] * mean[d]
            out_weights[at] = abs(scores[i])
        add_products(
            Rows(grads, each, count), Matrix(noise_scores, 1, row), noise_rows, vectors
        )
        add_products(
            Rows(grad_outputs, pointer(out_grads, g * num_outputs + 1), num_sampled),
            Matrix(noise_scores, row, 1), Rows(means, each, count), vectors,
        )
        for j in range(num_sampled):
            weight = float32(0)
            for i in range(count):
                weight += abs(scores[(1 + j) * row + i])
            out_weights[places[g, j]] += weight
        for i in range(count):
            w = first + i
            size = sizes[w]
            if size > 0:
                add_products(
                    Rows(grad_inputs, pointer(in_grads, w * width), size),
                    Matrix(pointer(shares, size), 0, 0),
                    Rows(pointer(grad_hidden, i * stride), each, 1), vectors,
                )
                for m in range(size):
                    in_weights[in_places[w, m]] += scratch[0, i] * shares[size]
                pairs += 1
    work.losses[c] += total
    work.pairs[c] += pairs
