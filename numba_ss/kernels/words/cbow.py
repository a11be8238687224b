"""CBOW: the gradients of a batch of windows, each context as the mean of its words.

A window has one vector, the mean of its context. It is the lane of the window in its group.
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
    change_scores,
    draw_chunk,
    lanes_of,
    weigh_row,
    weigh_scores,
)


@kernel
def _sides(start, size, own):
    """Return where the words before and after the target begin, and how many they are."""
    before = own - start
    return (start, before), (own + 1, size - before)


@kernel
def _mask(lanes, num_windows, targets, noise, corrections, absent, keep_hits):
    """Subtract log Q from the scores of a group of windows, and mask those that do not count."""
    corrected, row = corrections.shape[0] > 0, lanes.count
    own = pointer(lanes.scores, lanes.num_sampled * row)
    for i in range(lanes.count):
        target = targets[i] if i < num_windows else absent
        if target == absent:
            own[i] = CERTAIN
        elif corrected:
            own[i] -= corrections[target]
        for j in range(lanes.num_sampled):
            at, word = j * row + i, noise[j]
            if target == absent or word == absent or (word == target and not keep_hits):
                lanes.scores[at] = LOWEST
            elif corrected:
                lanes.scores[at] -= corrections[word]


@kernel
def cbow_chunk(model, work, c, stream, begin, end, position, rate):
    """Compute the gradients of the windows around stream[begin:end]."""
    absent, stride = model.inputs.shape[0] - 1, model.inputs.shape[1]
    num_windows, num_sampled, vectors = end - begin, model.num_sampled, model.num_vectors
    draw_chunk(model, work, c, stream, begin, end, position, False)
    starts, sizes, out_words = work.starts[c], work.sizes[c], work.out_words[c]
    in_rows, out_rows, lines = work.in_rows[c], work.out_rows[c], pointer(work.lines, 0)
    in_weights, out_weights, shares = work.in_weights[c], work.out_weights[c], work.shares
    grad_inputs, grad_outputs = pointer(work.grad_inputs[c], 0), pointer(work.grad_outputs[c], 0)
    scores, scratch = pointer(work.scores[c], 0), pointer(work.scratch[c], 0)
    means, grads = pointer(work.hidden[c], 0), pointer(work.grad_hidden[c], 0)
    table, outputs = pointer(model.inputs, 0), pointer(model.outputs, 0)
    num_noise, own = out_words.shape[0] - sizes.shape[0], min(begin, model.window)
    hits = pointer(work.hits[c], 0)
    hits[0] = -1  # a noise word that is the target of a window is masked there
    lanes = lanes_of(GROUP, num_sampled, 1, scores, hits, scratch)
    row, of_targets = lanes.count, pointer(scores, num_sampled * lanes.count)
    total, pairs, used = 0.0, 0, vectors * LANES
    for first in range(0, num_windows, GROUP):
        count, at = min(GROUP, num_windows - first), num_noise + first
        noise = first // GROUP * num_sampled
        num_lanes = (count + 1) // 2 * 2  # rows are multiplied in pairs
        noise_rows = Rows(outputs, pointer(out_rows, noise), num_sampled)
        for i in range(count):
            w, mean = first + i, pointer(means, i * stride)
            if w + AHEAD < num_windows:
                prefetch(pointer(outputs, out_rows[at + i + AHEAD]), used)
            # The noise words come when all means are there.
            for j in range(i * num_sampled // count, (i + 1) * num_sampled // count):
                prefetch(pointer(outputs, out_rows[noise + j]), used)
            ahead = own + w + AHEAD + model.window
            if ahead < in_rows.shape[0]:
                prefetch(pointer(table, in_rows[ahead]), used)
            for d in range(used):
                mean[d] = float32(0)
            for start, size in _sides(starts[w], sizes[w], own + w):
                add_products(
                    Rows(mean, lines, 1), Matrix(pointer(shares, sizes[w]), 0, 0),
                    Rows(table, pointer(in_rows, start), size), vectors,
                )
            of_targets[i] = dot(mean, pointer(outputs, out_rows[at + i]), used)
        multiply_rows(Rows(means, lines, num_lanes), noise_rows, Matrix(scores, row, 1), vectors)
        _mask(
            lanes, count, pointer(out_words, at), pointer(out_words, noise), model.corrections,
            absent, model.keep_hits,
        )
        total += change_scores(lanes, rate, model.use_logistic)

        weigh_scores(lanes, scratch)
        for j in range(num_sampled):
            out_weights[noise + j] = weigh_row(lanes, j)
        for i in range(count):
            grad, change = pointer(grads, i * stride), of_targets[i]
            for d in range(used):
                grad[d] = float32(0)
            axpy(change, pointer(outputs, out_rows[at + i]), used, grad)
            axpy(change, pointer(means, i * stride), used, pointer(grad_outputs, (at + i) * stride))
            out_weights[at + i] = abs(change)
        add_products(Rows(grads, lines, count), Matrix(scores, 1, row), noise_rows, vectors)
        add_products(
            Rows(grad_outputs, pointer(lines, noise), num_sampled), Matrix(scores, row, 1),
            Rows(means, lines, count), vectors,
        )
        for i in range(count):
            w = first + i
            weight = scratch[i] * shares[sizes[w]]
            for start, size in _sides(starts[w], sizes[w], own + w):
                add_products(
                    Rows(grad_inputs, pointer(lines, start), size),
                    Matrix(pointer(shares, sizes[w]), 0, 0), Rows(grads, pointer(lines, i), 1),
                    vectors,
                )
                for m in range(start, start + size):
                    in_weights[m] += weight
            pairs += sizes[w] > 0
    work.losses[c] += total
    work.pairs[c] += pairs
