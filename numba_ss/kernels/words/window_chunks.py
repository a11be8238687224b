"""What skip-gram and CBOW have in common: the arrays of a batch of windows, the draws, the losses.

A batch is cut into chunks of windows. A chunk draws a pool of noise words for all its windows,
and each group of windows chooses some of them. So noise comes from the whole vocabulary, yet the
row of a noise word is fetched and updated once for several windows. All gradients are taken at
the rows as they were before the batch; `row_updates` adds them when all chunks are done.

Offsets of rows are counted in numbers from the start of a table.
"""

import math
from typing import Any, NamedTuple

from numpy import float32, float64

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.scalar import exp
from numba_ss.kernels.words.windows import Span, choose_places, draw_noise, find_windows

GROUP = 8  # windows whose scores are computed together
AHEAD = 4  # windows whose rows are prefetched
LOWEST = float32(-math.inf)
CERTAIN = float32(88)  # a target's score for which loss and gradient are 0 if the rest is LOWEST
_PRODUCT = 32  # sums whose product is taken before the logarithm; float64 does not overflow


class Model(NamedTuple):
    """The tables that are trained, and the settings of the training.

    `inputs` and `outputs` have the shape (num_words + 1, stride). A row fills whole cache lines;
    its first `num_vectors` vectors of LANES numbers are used. Row num_words belongs to the
    separator and stays zero.
    """

    inputs: Any
    outputs: Any
    num_vectors: Any
    corrections: Any  # log expected counts (log Q), or empty
    noise: Any  # alias table of the noise words
    drawn: Any  # int64: the noise words in the order of their draws; empty: `noise` is drawn from
    drawn_from: Any  # which draw of the epoch the first of them is
    keys: Any  # uint64 (3,): random keys for noise words, windows, and positions in a pool
    window: Any
    batch_size: Any
    logistic: Any
    keep_hits: Any
    in_totals: Any  # (num_words + 1,): gets the sum of the weights of each input row; or empty
    out_totals: Any  # the same for output rows


class Work(NamedTuple):
    """Scratch of a batch; all arrays have the chunk as a first axis, unless they say otherwise.

    The outputs of a chunk are its pool of noise words, then the targets of its windows. Its
    inputs are the words of the text from `window` words before its first target to `window`
    words after its last. A lane is a column of scores: a context word, or a CBOW window.
    """

    sizes: Any  # (windows,): number of words of the context
    in_rows: Any  # (windows, 2 window + 1): offsets of the context's input rows
    in_places: Any  # same shape: their positions among the chunk's inputs
    in_grads: Any  # same shape: offsets of their gradients in grad_inputs
    in_words: Any  # (inputs,): words; num_words where the text has none
    in_weights: Any  # (inputs,): sums of |gradients of scores|, see `row_updates`
    in_starts: Any  # (OWNERS + 1,): where the inputs of each owner begin, see `sort_owners`
    in_order: Any  # (inputs,): the inputs in the order of owners
    out_words: Any  # (pool + windows,): words; num_words where there is none
    out_weights: Any  # (pool + windows,): sums of |gradients of scores|
    out_starts: Any  # (OWNERS + 1,): where the outputs of each owner begin
    out_order: Any  # (pool + windows,): the outputs in the order of owners
    noise: Any  # (groups, num_sampled): the words that a group chose; num_words if dropped
    places: Any  # same shape: their positions in the pool
    dropped: Any  # (groups,): how many of them were dropped, skip-gram only
    out_rows: Any  # (groups, 1 + num_sampled): offsets of output rows: target, noise words
    out_grads: Any  # same shape: offsets of their gradients in grad_outputs
    scores: Any  # (1 + num_sampled, GROUP * (2 window + 1)), flat
    scratch: Any  # (2, GROUP * (2 window + 1)): numbers of each lane
    grad_inputs: Any  # (inputs, stride), flat
    grad_outputs: Any  # (pool + windows, stride), flat; of targets, those with a context are set
    hidden: Any  # (GROUP, stride): the means of contexts, CBOW only
    hidden_rows: Any  # (GROUP,), shared by all chunks: offsets of these rows
    grad_hidden: Any  # (GROUP, stride), flat
    shares: Any  # (2 window + 1,), shared by all chunks: shares[m] is 1 / m
    in_samples: Any  # (SAMPLES, stride), shared by all chunks: see `row_updates`
    out_samples: Any  # the same for outputs
    losses: Any  # sum of the chunk's losses
    pairs: Any  # number of the chunk's losses


@kernel
def softmax_scores(scores, num_lanes, num_outputs, row, rate, scratch):
    """Replace scores by rate * (y - p), where p is the softmax of a lane; return the sum of losses.

    Score j of lane i is scores[j * row + i]. The target is j = 0, where y is 1; else y is 0.
    """
    target, top = pointer(scores, 0), pointer(scratch, 0)
    total = pointer(scratch, scratch.shape[1])
    for i in range(num_lanes):
        top[i] = target[i]
    for j in range(1, num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            top[i] = line[i] if line[i] > top[i] else top[i]  # max() treats NaN, which is slow
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
    """Do what `softmax_scores` does for the logistic loss, where p is the sigmoid of a score."""
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
    """Set out[i] to the sum of the absolute values in lane i."""
    for i in range(num_lanes):
        out[i] = abs(scores[i])
    for j in range(1, num_outputs):
        line = pointer(scores, j * row)
        for i in range(num_lanes):
            out[i] += abs(line[i])


@kernel
def draw_chunk(model, work, c, stream, begin, end, position, windows_a_group):
    """Draw the windows and the noise words of a chunk, and write which rows they use."""
    stride, absent = model.inputs.shape[1], model.inputs.shape[0] - 1
    num_windows, size = end - begin, work.sizes.shape[1]
    low, high = max(begin - model.window, 0), min(end + model.window, stream.shape[0])
    in_words, in_weights = work.in_words[c], work.in_weights[c]
    num_inputs = high - low if num_windows > 0 else 0
    for i in range(num_inputs):
        in_words[i] = stream[low + i]
    for i in range(num_inputs, in_words.shape[0]):
        in_words[i] = absent
    for i in range(in_weights.shape[0]):
        in_weights[i] = float32(0)
    sizes, in_places = work.sizes[c], work.in_places[c]
    span = Span(begin, end, low, high)
    find_windows(
        stream, span, model.window, absent, model.keys[1], position, in_places, sizes
    )
    width, inputs = in_places.shape[1], pointer(in_words, 0)
    for w in range(num_windows):
        places = pointer(in_places, w * width)
        rows, grads = pointer(work.in_rows[c], w * width), pointer(work.in_grads[c], w * width)
        for m in range(sizes[w]):
            rows[m] = inputs[places[m]] * stride
            grads[m] = places[m] * stride
        rows[sizes[w]] = absent * stride  # `multiply_rows` takes rows in pairs

    out_words, out_weights = work.out_words[c], work.out_weights[c]
    pool = out_words.shape[0] - size
    draws = (pool + size - 1) // size  # for each window
    first = (position + begin) * draws
    if model.drawn.shape[0] > 0:
        for i in range(pool if num_windows > 0 else 0):
            out_words[i] = model.drawn[first - model.drawn_from + i]
    else:
        draw_noise(model.noise, model.keys[0], first, out_words[:pool])
    for i in range(pool if num_windows > 0 else 0, pool + size):
        w = i - pool
        out_words[i] = stream[begin + w] if 0 <= w < num_windows and sizes[w] > 0 else absent
    for i in range(pool + size):
        out_weights[i] = float32(0)
    places = work.places[c]
    choose_places(model.keys[2], position + begin, pool, places)
    num_groups = (num_windows + windows_a_group - 1) // windows_a_group
    chosen, noise, drawn = pointer(places, 0), pointer(work.noise[c], 0), pointer(out_words, 0)
    for k in range(num_groups * places.shape[1]):
        noise[k] = drawn[chosen[k]]
    work.grad_inputs[c] = float32(0)
    work.grad_outputs[c, : pool * stride] = float32(0)
