"""Skip-gram: the gradients of a batch of windows, each word of a context on its own."""

from numpy import float32, int64

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
def _mask(scores, row, num_lanes, noise, num_sampled, absent):
    """Mask the scores of dropped noise words, and of the lane that makes their number even."""
    is_odd = num_lanes % 2
    for j in range(num_sampled):
        line = pointer(scores, (1 + j) * row)
        if noise[j] == absent:
            for i in range(num_lanes):
                line[i] = LOWEST
        if is_odd:
            line[num_lanes] = LOWEST
    if is_odd:
        scores[num_lanes] = CERTAIN


@kernel
def _correct(scores, row, num_lanes, target, noise, num_sampled, corrections, absent):
    """Subtract log Q from the scores of a window."""
    for j in range(1 + num_sampled):
        word = target if j == 0 else noise[j - 1]
        if word != absent:
            line = pointer(scores, j * row)
            for i in range(num_lanes):
                line[i] -= corrections[word]


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
def _name_rows(target, place, noise, places, num_sampled, stride, rows, grads):
    """Write the offsets of a window's output rows and of their gradients, the target first."""
    rows[0], grads[0] = target * stride, place * stride
    for j in range(num_sampled):
        rows[1 + j], grads[1 + j] = noise[j] * stride, places[j] * stride


@kernel
def skipgram_chunk(model, work, c, stream, begin, end, position, rate):
    """Compute the gradients of the windows around stream[begin:end].

    This is one long function so that arrays are looked up once a chunk, not once a window.
    """
    inputs, outputs, corrections = model.inputs, model.outputs, model.corrections
    absent, num_windows, stride = inputs.shape[0] - 1, end - begin, inputs.shape[1]
    draw_chunk(model, work, c, stream, begin, end, position, 1)
    logistic, sizes, dropped = model.logistic, work.sizes[c], work.dropped[c]
    drop_hits(
        work.noise[c, :num_windows], stream[begin:end], absent, model.keep_hits, dropped
    )
    in_rows, in_places, in_grads = work.in_rows[c], work.in_places[c], work.in_grads[c]
    out_words, pool = work.out_words[c], work.out_words.shape[1] - sizes.shape[0]
    out_rows, out_grads = work.out_rows[c], work.out_grads[c]
    in_weights, out_weights = pointer(work.in_weights[c], 0), pointer(work.out_weights[c], 0)
    grad_inputs, grad_outputs = pointer(work.grad_inputs[c], 0), pointer(work.grad_outputs[c], 0)
    scores, scratch = work.scores[c], work.scratch[c]
    width, num_outputs, vectors = in_rows.shape[1], out_rows.shape[1], model.num_vectors
    row = scores.shape[0] // num_outputs
    table, targets, used = pointer(inputs, 0), pointer(outputs, 0), vectors * LANES
    is_corrected, log_q = corrections.shape[0] > 0, pointer(corrections, 0)
    noise, places = pointer(work.noise[c], 0), pointer(work.places[c], 0)
    num_sampled = num_outputs - 1
    for w in range(num_windows):
        _name_rows(
            out_words[pool + w], pool + w, pointer(noise, w * num_sampled),
            pointer(places, w * num_sampled), num_sampled, stride,
            pointer(out_rows, w * num_outputs), pointer(out_grads, w * num_outputs),
        )
    total, pairs = 0.0, 0
    for first in range(0, num_windows, GROUP):
        last = min(first + GROUP, num_windows)
        lane = int64(0)  # a literal 0 would compile what it is passed to once more
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
            chosen = pointer(noise, w * num_sampled)
            if is_corrected:
                _correct(
                    pointer(scores, lane), row, size, stream[begin + w], chosen, num_sampled,
                    log_q, absent,
                )
            if dropped[w] > 0 or padded > size:
                _mask(pointer(scores, lane), row, size, chosen, num_sampled, absent)
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
                own = pointer(grad_outputs, (pool + w) * stride)
                for d in range(used):
                    own[d] = float32(0)
                add_products(
                    Rows(grad_inputs, pointer(in_grads, w * width), size), Matrix(grads, 1, row),
                    Rows(targets, pointer(out_rows, w * num_outputs), num_outputs), vectors,
                )
                add_products(
                    Rows(grad_outputs, pointer(out_grads, w * num_outputs), num_outputs),
                    Matrix(grads, row, 1), Rows(table, pointer(in_rows, w * width), size), vectors,
                )
                _weigh(
                    grads, row, size, num_sampled, pointer(scratch, lane),
                    pointer(in_places, w * width), in_weights, pool + w,
                    pointer(places, w * num_sampled), out_weights,
                )
            lane += (size + 1) // 2 * 2
    work.losses[c] += total
    work.pairs[c] += pairs
