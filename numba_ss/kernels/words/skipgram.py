"""Skip-gram: the gradients of a batch of windows, each word of a context on its own."""

from numpy import float32

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products, multiply_rows
from numba_ss.kernels.core.rows import pointer, prefetch
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

# Functions that are called for each window take only the arrays that they need. To pass `model`
# and `work` would mean to copy two hundred numbers and to count references to each array; that
# took a fifth of the time.


@kernel
def _mask(scores, row, num_lanes, padded, noise, target, corrections, absent):
    """Subtract log Q from the scores of a window, and mask those that do not count."""
    if corrections.shape[0] > 0:
        for i in range(num_lanes):
            scores[i] -= corrections[target]
    for j in range(noise.shape[0]):
        word, line = noise[j], (1 + j) * row
        if word == absent:
            for i in range(num_lanes):
                scores[line + i] = LOWEST
        elif corrections.shape[0] > 0:
            for i in range(num_lanes):
                scores[line + i] -= corrections[word]
        if padded > num_lanes:
            scores[line + num_lanes] = LOWEST
    if padded > num_lanes:
        scores[num_lanes] = CERTAIN


@kernel
def _weigh(
    scores, row, num_lanes, num_sampled, sizes, in_places, in_weights, target, places, out_weights
):
    """Add the absolute gradients of a window's scores to the weights of its rows.

    `sizes` holds their sum for each context word. Output `target` is that of the window's target.
    """
    for i in range(num_lanes):
        in_weights[in_places[i]] += sizes[i]
    for j in range(num_sampled + 1):
        total = float32(0)
        for i in range(num_lanes):
            total += abs(scores[j * row + i])
        if j == 0:
            out_weights[target] = total
        else:
            out_weights[places[j - 1]] += total


@kernel
def _name_rows(work, c, begin, end, stream, stride, absent, keep_hits):
    """Write the offsets of a chunk's output rows and of their gradients, the target first."""
    noise, places, out_words = work.noise[c], work.places[c], work.out_words[c]
    rows, grads, num_windows = work.out_rows[c], work.out_grads[c], end - begin
    drop_hits(noise[:num_windows], stream[begin:end], absent, keep_hits, work.dropped[c])
    pool = out_words.shape[0] - work.sizes.shape[1]
    for w in range(num_windows):
        rows[w, 0] = out_words[pool + w] * stride
        grads[w, 0] = (pool + w) * stride
        for j in range(noise.shape[1]):
            rows[w, 1 + j] = noise[w, j] * stride
            grads[w, 1 + j] = places[w, j] * stride


@kernel
def skipgram_chunk(model, work, c, stream, begin, end, position, rate):
    """Compute the gradients of the windows around stream[begin:end].

    This is one long function so that arrays are looked up once a chunk, not once a window.
    """
    inputs, outputs, corrections = model.inputs, model.outputs, model.corrections
    absent, num_windows, stride = inputs.shape[0] - 1, end - begin, inputs.shape[1]
    draw_chunk(model, work, c, stream, begin, end, position, 1)
    _name_rows(work, c, begin, end, stream, stride, absent, model.keep_hits)
    logistic, sizes, dropped, noise = model.logistic, work.sizes[c], work.dropped[c], work.noise[c]
    in_rows, in_places, in_grads = work.in_rows[c], work.in_places[c], work.in_grads[c]
    places, pool = work.places[c], work.out_words.shape[1] - sizes.shape[0]
    out_rows, out_grads = work.out_rows[c], work.out_grads[c]
    in_weights, out_weights = pointer(work.in_weights[c], 0), pointer(work.out_weights[c], 0)
    grad_inputs, grad_outputs = pointer(work.grad_inputs[c], 0), pointer(work.grad_outputs[c], 0)
    scores, scratch = work.scores[c], work.scratch[c]
    width, num_outputs, vectors = in_rows.shape[1], out_rows.shape[1], model.num_vectors
    row = scores.shape[0] // num_outputs
    table, targets, used = pointer(inputs, 0), pointer(outputs, 0), vectors * LANES
    total, pairs = 0.0, 0
    for first in range(0, num_windows, GROUP):
        last = min(first + GROUP, num_windows)
        lane = 0
        for w in range(first, last):
            ahead = w + AHEAD
            if ahead < num_windows:
                for j in range(num_outputs):
                    prefetch(pointer(targets, out_rows[ahead, j]), used)
                place = begin + ahead + model.window
                if place < stream.shape[0]:
                    prefetch(pointer(table, stream[place] * stride), used)
            size = sizes[w]
            padded = (size + 1) // 2 * 2
            multiply_rows(
                Rows(table, pointer(in_rows, w * width), padded),
                Rows(targets, pointer(out_rows, w * num_outputs), num_outputs),
                Matrix(pointer(scores, lane), row, 1), vectors,
            )
            if dropped[w] > 0 or padded > size or corrections.shape[0] > 0:
                _mask(
                    scores[lane:], row, size, padded, noise[w], stream[begin + w], corrections,
                    absent,
                )
            pairs += size
            lane += padded
        if logistic:
            total += logistic_scores(scores, lane, num_outputs, row, rate, scratch)
        else:
            total += softmax_scores(scores, lane, num_outputs, row, rate, scratch)
        weigh_inputs(scores, lane, num_outputs, row, scratch[0])

        lane = 0
        for w in range(first, last):
            size, grads = sizes[w], pointer(scores, lane)
            if size > 0:
                add_products(
                    Rows(grad_inputs, pointer(in_grads, w * width), size), Matrix(grads, 1, row),
                    Rows(targets, pointer(out_rows, w * num_outputs), num_outputs), vectors,
                )
                add_products(
                    Rows(grad_outputs, pointer(out_grads, w * num_outputs), num_outputs),
                    Matrix(grads, row, 1), Rows(table, pointer(in_rows, w * width), size), vectors,
                )
                _weigh(
                    grads, row, size, num_outputs - 1, pointer(scratch, lane),
                    pointer(in_places, w * width), in_weights, pool + w,
                    pointer(places, w * (num_outputs - 1)), out_weights,
                )
            lane += (size + 1) // 2 * 2
    work.losses[c] += total
    work.pairs[c] += pairs
