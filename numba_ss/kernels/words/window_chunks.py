"""What skip-gram and CBOW have in common: the arrays of a batch of windows, draws, losses.

A batch is cut into chunks of windows. A chunk draws a pool of noise words for all its windows,
and each group of windows chooses some of them: noise is from the whole vocabulary, yet a row is
fetched, and changed, for several windows at once. All gradients are those of the rows as they
were before the batch; `row_updates` adds them up when all chunks are done.

Row offsets count numbers from the start of a table.
"""

import math
from typing import Any, NamedTuple

from numpy import float32, float64

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.scalar import exp
from numba_ss.kernels.words.windows import choose_places, draw_noise, find_windows

GROUP = 8  # windows whose scores are computed together
AHEAD = 4  # windows whose rows are asked for before they are used
LOWEST = float32(-math.inf)
CERTAIN = float32(88)  # a score that leaves no loss and no gradient beside LOWEST
_PRODUCT = 32  # factors of a float64 before its logarithm is taken: it must not overflow


class Model(NamedTuple):
    """What is learned, and how.

    `inputs` and `outputs` (num_words + 1, stride) have rows of whole cache lines, of which the
    first `num_vectors` vectors of LANES numbers are used; row num_words is that of the
    separator and stays zero.
    """

    inputs: Any
    outputs: Any
    num_vectors: Any
    corrections: Any  # log expected counts, or empty
    noise: Any  # alias table
    keys: Any  # uint64 (3,): of noise words, of windows, of places in a pool
    window: Any
    batch_size: Any
    logistic: Any
    keep_hits: Any


class CbowModel(Model):
    """A model that learns from the means of contexts."""


class Work(NamedTuple):
    """Scratch of a batch; the first axis is the chunk, but for what is the same in all.

    The outputs of a chunk are its pool of noise words, then the targets of its windows.
    Its inputs are the words of the text from `window` before its first window to `window` after
    its last.
    """

    sizes: Any  # (windows,): words of the context
    in_rows: Any  # (windows, 2 window + 1): offsets of the context's input rows
    in_places: Any  # likewise: which of the chunk's inputs they are
    in_grads: Any  # likewise: offsets of their gradients in grad_inputs
    in_words: Any  # (inputs,); num_words where there is none
    in_weights: Any  # (inputs,): sums of |gradients of scores|, see `row_updates`
    out_words: Any  # (pool + windows,); num_words where there is none
    out_weights: Any  # (pool + windows,)
    noise: Any  # (groups, num_sampled): the words that a group chose; num_words for none
    places: Any  # likewise: their places in the pool
    dropped: Any  # (groups,): how many of them do not count, skip-gram only
    out_rows: Any  # (groups, 1 + num_sampled): offsets of output rows: target, noise words
    out_grads: Any  # likewise: offsets of their gradients in grad_outputs
    scores: Any  # (1 + num_sampled, GROUP * (2 window + 1)), flat
    scratch: Any  # (2, GROUP * (2 window + 1)): what a lane has of its own
    grad_inputs: Any  # (inputs, stride), flat
    grad_outputs: Any  # (pool + windows, stride), flat
    hidden: Any  # (GROUP, stride): the means of contexts, CBOW only
    hidden_rows: Any  # (GROUP,): offsets of these rows, the same in all chunks
    grad_hidden: Any  # (GROUP, stride), flat
    shares: Any  # (2 window + 1,): 1 / m, the same in all chunks
    in_samples: Any  # (SAMPLES, stride), of the batch: see `row_updates`
    out_samples: Any  # likewise
    losses: Any  # sum of all losses
    pairs: Any  # number of losses


@kernel
def softmax_scores(scores, num_lanes, num_outputs, row, rate, scratch):
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
def logistic_scores(scores, num_lanes, num_outputs, row, rate, scratch):
    """As `softmax_scores`, for a logistic loss of each output."""
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
def weigh_inputs(scores, num_lanes, num_outputs, row, out):
    """Set `out` to the sum of the sizes of each lane's gradients."""
    for i in range(num_lanes):
        out[i] = abs(scores[i])
    for j in range(1, num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            out[i] += abs(line[i])


@kernel
def draw_chunk(model, work, c, stream, begin, end, position, windows_a_group):
    """Draw the windows and the noise of a chunk, and write down which rows they meet."""
    stride, absent = model.inputs.shape[1], model.inputs.shape[0] - 1
    num_windows, size = end - begin, work.sizes.shape[1]
    low, high = max(begin - model.window, 0), min(end + model.window, stream.shape[0])
    in_words, in_weights = work.in_words[c], work.in_weights[c]
    for i in range(in_words.shape[0]):
        in_words[i] = stream[low + i] if num_windows > 0 and low + i < high else absent
        in_weights[i] = float32(0)
    sizes, in_places = work.sizes[c], work.in_places[c]
    in_rows, in_grads = work.in_rows[c], work.in_grads[c]
    find_windows(
        stream, begin, end, low, high, model.window, absent, model.keys[1], position, in_places,
        sizes,
    )
    for w in range(num_windows):
        for m in range(sizes[w]):
            in_rows[w, m] = in_words[in_places[w, m]] * stride
            in_grads[w, m] = in_places[w, m] * stride
        in_rows[w, sizes[w]] = absent * stride  # rows are multiplied in pairs

    out_words, out_weights = work.out_words[c], work.out_weights[c]
    pool = out_words.shape[0] - size
    draws = (pool + size - 1) // size  # a window
    draw_noise(model.noise, model.keys[0], (position + begin) * draws, out_words[:pool])
    for i in range(pool if num_windows > 0 else 0, pool + size):
        w = i - pool
        out_words[i] = stream[begin + w] if 0 <= w < num_windows and sizes[w] > 0 else absent
    for i in range(pool + size):
        out_weights[i] = float32(0)
    noise, places = work.noise[c], work.places[c]
    choose_places(model.keys[2], position + begin, pool, places)
    num_groups = (num_windows + windows_a_group - 1) // windows_a_group
    for g in range(num_groups):
        for j in range(places.shape[1]):
            noise[g, j] = out_words[places[g, j]]
    work.grad_inputs[c] = float32(0)
    work.grad_outputs[c] = float32(0)
