"""What skip-gram and CBOW have in common: the arrays of a batch of windows, the draws, the losses.

A batch is cut into chunks of windows, and a chunk into groups whose windows share their noise
words. So the row of a noise word is fetched and updated once for many windows. All gradients are
taken at the rows as they were before the batch; `row_updates` adds them when all chunks are done.

The scores of a group form a matrix. Its first rows belong to noise words, the others to targets.
Its columns, called lanes, belong to inputs: words of the text for skip-gram, windows for CBOW.
"""

from typing import Any, NamedTuple

from numpy import float32, float64

from numba_ss.kernels._jit import kernel, ordered_kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.rows import pointer, vector_dot
from numba_ss.kernels.core.scalar import exp, log, log1p
from numba_ss.kernels.words.windows import Span, draw_noise, drop_repeats, find_windows

GROUP = 32  # windows that share noise words
AHEAD = 4  # windows whose rows are prefetched
# Scores of noise words that do not count, and of targets from which nothing is to be learned.
LOWEST, CERTAIN = float32(-1e30), float32(1e30)
_FLOOR = float32(-1e20)  # above LOWEST, below all scores that count
_HEAVIEST = float32(0.5)  # weight of a noise word in a group
_PRODUCT = 8  # factors of a product before its logarithm is taken; they do not overflow


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
    num_sampled: Any  # noise words of a group
    num_draws: Any  # noise words that are drawn for each window
    keys: Any  # uint64 (2,): random keys for noise words and for windows
    window: Any
    batch_size: Any
    use_logistic: Any  # True or None: so only the loss in use is compiled
    keep_hits: Any
    in_totals: Any  # (num_words + 1,): gets the sum of the weights of each input row; or empty
    out_totals: Any  # the same for output rows


class Work(NamedTuple):
    """Scratch of a batch; all arrays have the chunk as a first axis, unless they say otherwise.

    The inputs of a chunk are the words of the text from `window` words before its first target to
    `window` words after its last. Its outputs are the noise words, `num_sampled` for each group,
    then the targets of its windows. Offsets of rows are counted in numbers from the start of a
    table.
    """

    starts: Any  # (windows,): which input is the first of the context
    sizes: Any  # (windows,): number of words of the context
    in_words: Any  # (inputs,): words; num_words where the text has none
    in_rows: Any  # (inputs + 1,): offsets of their rows
    in_weights: Any  # (inputs,): sums of |gradients of scores|, see `row_updates`
    in_starts: Any  # (OWNERS + 1,): where the inputs of each owner begin, see `sort_owners`
    in_order: Any  # (inputs,): the inputs in the order of owners
    out_words: Any  # (outputs,): words; num_words where there is none, or a repeated noise word
    out_rows: Any  # (outputs,): offsets of their rows
    out_weights: Any  # (outputs,): sums of |gradients of scores|
    out_starts: Any  # (OWNERS + 1,): where the outputs of each owner begin
    out_order: Any  # (outputs,): the outputs in the order of owners
    lines: Any  # shared by all chunks: offsets of the rows 0, 1, 2, ...
    hits: Any  # (windows of a group,): which noise word a window's target is, or -1
    scores: Any  # (num_sampled + windows of a group, lanes), flat
    scratch: Any  # (3 + windows of a group, lanes), flat: numbers of each lane
    grad_inputs: Any  # (inputs, stride), flat
    grad_outputs: Any  # (outputs, stride), flat
    hidden: Any  # (windows of a group, stride), flat: the means of contexts, CBOW only
    grad_hidden: Any  # same shape
    shares: Any  # (2 window + 1,), shared by all chunks: shares[m] is 1 / m
    in_samples: Any  # (SAMPLES, stride), shared by all chunks: see `row_updates`
    out_samples: Any  # the same for outputs
    losses: Any  # sum of the chunk's losses
    pairs: Any  # number of the chunk's losses


class Lanes(NamedTuple):
    """The scores of a group of windows, and scratch.

    Row j begins at scores[j * count]: no space is left between the rows, so that some loops go
    over all of them at once. Short loops do not become good vector code.
    """

    count: Any  # of lanes, a multiple of LANES
    num_sampled: Any
    num_targets: Any
    scores: Any  # pointer (num_sampled + num_targets, count)
    hits: Any  # pointer (num_targets,): the noise word that does not count for a target, or -1
    parts: Any  # pointer, scratch (num_targets, count)
    top: Any  # pointer, scratch (count,)
    sums: Any  # pointer, scratch (count,)
    some: Any  # pointer, scratch (count,)


@kernel
def lanes_of(count, num_sampled, num_targets, scores, hits, scratch):
    """Return the `Lanes` of a group with at least `count` lanes, in given memory."""
    count = (count + LANES - 1) // LANES * LANES
    parts = pointer(scratch, 3 * count)
    return Lanes(
        count, num_sampled, num_targets, scores, hits, parts, scratch, pointer(scratch, count),
        pointer(scratch, 2 * count),
    )


@kernel
def softmax_scores(lanes, rate):
    """Replace the scores by -rate times their gradients; return the sum of the losses.

    There is a loss for each target in each lane: that of a softmax over the target's score t and
    the scores of the noise words. With the largest of these scores m, the sum z of e**(s - m) over
    them and d = t - m, the loss is log(1 + z e**-d), and its gradient z e**-d / (1 + z e**-d) for
    the target. Each noise word has e**(s - m) / z of that, which lowers its own score and raises
    that of the target.

    The weight of a noise word, see `row_updates`, is at most _HEAVIEST: both parts of its gradients
    are scaled alike. Otherwise the limit to its row would leave the part that raises targets, and
    in a long run of a few words, where one sometimes is noise, their scores would rise and rise.
    """
    count, num_sampled, num_targets, scores, hits, parts, top, sums, some = lanes
    size, own = num_sampled * count, pointer(scores, num_sampled * count)
    for i in range(count):
        top[i] = _FLOOR
    for j in range(num_sampled):
        line = pointer(scores, j * count)
        for i in range(count):
            top[i] = line[i] if line[i] > top[i] else top[i]  # max() treats NaN, which is slow
    for j in range(num_sampled + num_targets):
        line = pointer(scores, j * count)
        for i in range(count):
            line[i] -= top[i]
    for i in range(size):
        scores[i] = exp(scores[i])
    gap = float32(0)
    for i in range(num_targets * count):
        parts[i] = exp(-abs(own[i]))
        gap += float32(0) if own[i] > 0 else own[i]
    _add_rows(scores, num_sampled, -1, count, sums)
    loss, product = float32(0), top
    for i in range(count):
        product[i] = float32(1)
    for k in range(num_targets):
        line, part = pointer(own, k * count), pointer(parts, k * count)
        total = sums
        if hits[k] >= 0:
            _add_rows(scores, num_sampled, hits[k], count, some)
            total = some
        for i in range(count):
            # Both sums of the fraction are divided by e**-d if that is large.
            of_noise = part[i] if line[i] > 0 else float32(1)
            whole = total[i] * of_noise + (float32(1) if line[i] > 0 else part[i])
            part[i] = of_noise / whole
            line[i] = rate * total[i] * part[i]
            product[i] *= whole  # which is at most num_sampled + 1, and at least 1 but for rounding
        if k % _PRODUCT == _PRODUCT - 1 or k == num_targets - 1:
            for i in range(count):
                loss += log(product[i])
                product[i] = float32(1)
    _add_rows(parts, num_targets, -1, count, sums)
    for j in range(num_sampled):
        _limit_noise(lanes, j, _uses(lanes, j), rate)
    return float64(loss - gap)


# Ordered: LLVM would reorder the factors, and differently where it compiles this by itself.
@ordered_kernel
def _limit_noise(lanes, j, uses, rate):
    """Make a noise word's e**(s - m) its changes, and limit them; `uses` are those of `_uses`."""
    count, line = lanes.count, pointer(lanes.scores, j * lanes.count)
    weight = rate * vector_dot(line, uses, count // LANES)
    kept = rate * (_HEAVIEST / max(weight, _HEAVIEST))
    if weight > _HEAVIEST:
        for k in range(lanes.num_targets):
            if lanes.hits[k] != j:
                own = pointer(lanes.scores, (lanes.num_sampled + k) * count)
                part = pointer(lanes.parts, k * count)
                for i in range(count):
                    own[i] -= (rate - kept) * line[i] * part[i]
    for i in range(count):
        line[i] *= -kept * uses[i]


@kernel
def logistic_scores(lanes, rate):
    """Do what `softmax_scores` does for the sum of logistic losses of target and noise words."""
    count, num_sampled, num_targets = lanes.count, lanes.num_sampled, lanes.num_targets
    scores, parts = lanes.scores, lanes.parts
    own, losses = pointer(scores, num_sampled * count), float32(0)
    for i in range(num_targets * count):
        x = own[i]
        small = exp(-abs(x))
        losses += log1p(small) + (float32(0) if x > 0 else -x)
        own[i] = rate * (small if x > 0 else float32(1)) / (float32(1) + small)
        parts[i] = float32(1) if x < CERTAIN else float32(0)
    _add_rows(parts, num_targets, -1, count, lanes.sums)
    for j in range(num_sampled):
        line, uses = pointer(scores, j * count), _uses(lanes, j)
        for i in range(count):
            x = line[i]
            small = exp(-abs(x))
            losses += uses[i] * (log1p(small) + (x if x > 0 else float32(0)))
            share = (float32(1) if x > 0 else small) / (float32(1) + small)
            line[i] = -rate * uses[i] * share
    return float64(losses)


@kernel
def change_scores(lanes, rate, use_logistic):
    """Do what `softmax_scores` does, or `logistic_scores` unless `use_logistic` is None."""
    if use_logistic is not None:
        return logistic_scores(lanes, rate)
    return softmax_scores(lanes, rate)


@kernel
def _add_rows(rows, num_rows, but, count, out):
    """Set `out` to the sum of all rows but one."""
    for i in range(count):
        out[i] = float32(0)
    for j in range(num_rows):
        if j != but:
            line = pointer(rows, j * count)
            for i in range(count):
                out[i] += line[i]


@kernel
def _uses(lanes, j):
    """Return the sum of the parts of those targets for which noise word `j` counts."""
    is_hit = False
    for k in range(lanes.num_targets):
        is_hit |= lanes.hits[k] == j
    if not is_hit:
        return lanes.sums
    for i in range(lanes.count):
        lanes.some[i] = float32(0)
    for k in range(lanes.num_targets):
        if lanes.hits[k] != j:
            part = pointer(lanes.parts, k * lanes.count)
            for i in range(lanes.count):
                lanes.some[i] += part[i]
    return lanes.some


@kernel
def weigh_scores(lanes, out):
    """Set out[i] to the sum of the absolute values of lane i."""
    for i in range(lanes.count):
        out[i] = float32(0)
    for j in range(lanes.num_sampled + lanes.num_targets):
        line = pointer(lanes.scores, j * lanes.count)
        for i in range(lanes.count):
            out[i] += abs(line[i])


@kernel
def weigh_row(lanes, j):
    """Return the sum of the absolute values of row `j`."""
    total, line = float32(0), pointer(lanes.scores, j * lanes.count)
    for i in range(lanes.count):
        total += abs(line[i])
    return total


@kernel
def draw_chunk(model, work, c, stream, begin, end, position, by_distance):
    """Draw the windows and the noise words of a chunk, and write which rows they use.

    See `find_windows` for `by_distance`.
    """
    stride, absent = model.inputs.shape[1], model.inputs.shape[0] - 1
    num_windows, size = end - begin, work.sizes.shape[1]
    low, high = max(begin - model.window, 0), min(end + model.window, stream.shape[0])
    in_words, in_weights, in_rows = work.in_words[c], work.in_weights[c], work.in_rows[c]
    num_inputs = high - low if num_windows > 0 else 0
    for i in range(in_words.shape[0]):
        in_words[i] = stream[low + i] if i < num_inputs else absent
        in_rows[i] = in_words[i] * stride
        in_weights[i] = float32(0)
    in_rows[in_words.shape[0]] = absent * stride  # `multiply_rows` takes rows in pairs
    sizes, span = work.sizes[c], Span(begin, end, low, high)
    find_windows(
        stream, span, model.window, by_distance, absent, model.keys[1], position, work.starts[c],
        sizes,
    )

    out_words, out_rows = work.out_words[c], work.out_rows[c]
    num_outputs, num_sampled = out_words.shape[0], model.num_sampled
    num_noise = num_outputs - size
    first = (position + begin) * model.num_draws
    if num_windows == 0:
        for i in range(num_noise):
            out_words[i] = absent
    elif model.drawn.shape[0] > 0:
        for i in range(num_noise):
            out_words[i] = model.drawn[first - model.drawn_from + i]
    else:
        draw_noise(model.noise, model.keys[0], first, out_words[:num_noise])
    for start in range(0, num_noise, num_sampled):
        drop_repeats(out_words[start : start + num_sampled], absent)
    for w in range(size):
        has_context = w < num_windows and sizes[w] > 0
        out_words[num_noise + w] = stream[begin + w] if has_context else absent
    for i in range(num_outputs):
        out_rows[i] = out_words[i] * stride
        work.out_weights[c, i] = float32(0)
    work.grad_inputs[c] = float32(0)
    work.grad_outputs[c] = float32(0)
