"""Skip-gram: the gradients of a batch of windows, each word of a context on its own.

The contexts of a group of windows overlap: together they are a stretch of the text, of which each
word is a lane. Its score with a noise word is the same in all windows, and is computed once. Scores
with targets are computed for the whole stretch, and masked where a lane is not in the context.
"""

from numpy import float32

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.row_tile import Rows, add_products, multiply_rows
from numba_ss.kernels.core.rows import pointer, prefetch
from numba_ss.kernels.core.tile import Matrix
from numba_ss.kernels.words.window_chunks import (
    CERTAIN,
    GROUP,
    LOWEST,
    change_scores,
    draw_chunk,
    lanes_of,
    weigh_row,
    weigh_scores,
)

_BLOCK = 8  # targets that are multiplied with all words of their contexts together


@kernel
def _extent(starts, sizes, first, count):
    """Return where the contexts of some windows begin and end, and how many words they have."""
    low, high, words = starts[first], starts[first], 0
    for w in range(first, first + count):
        if sizes[w] > 0:
            low = starts[w] if words == 0 else min(low, starts[w])
            high = max(high, starts[w] + sizes[w] + 1)
            words += sizes[w]
    return low, high, words


@kernel
def _mask_noise(lanes, noise, corrections, absent):
    """Subtract log Q from the scores of the noise words, and mask the repeated ones."""
    for j in range(lanes.num_sampled):
        line, is_absent = pointer(lanes.scores, j * lanes.count), noise[j] == absent
        if is_absent or corrections.shape[0] > 0:
            correction = float32(0) if is_absent else corrections[noise[j]]
            for i in range(lanes.count):
                line[i] = LOWEST if is_absent else line[i] - correction


@kernel
def _mask_targets(lanes, starts, sizes, low, own, targets, corrections):
    """Do the same for the targets, and mask the lanes that are not in their context.

    `low` is the place of the first lane, `own` that of the first target.
    """
    for k in range(lanes.num_targets):
        line = pointer(lanes.scores, (lanes.num_sampled + k) * lanes.count)
        has_context, start, itself = sizes[k] > 0, starts[k] - low, own + k - low
        end = start + sizes[k] + 1 if has_context else start
        is_corrected = has_context and corrections.shape[0] > 0
        correction = corrections[targets[k]] if is_corrected else float32(0)
        for i in range(lanes.count):
            is_met = start <= i < end and i != itself
            line[i] = line[i] - correction if is_met else CERTAIN


@kernel
def _find_hits(lanes, noise, targets, absent, keep_hits):
    """Write to `hits` which noise word is the target of a window.

    If the group has no other noise word, the window has nothing to learn, and is masked.
    """
    num_noise = 0
    for j in range(lanes.num_sampled):
        num_noise += noise[j] != absent
    for k in range(lanes.num_targets):
        hit = -1
        for j in range(lanes.num_sampled):
            hit = j if noise[j] == targets[k] else hit
        lanes.hits[k] = -1 if keep_hits or targets[k] == absent else hit
        if lanes.hits[k] >= 0 and num_noise == 1:
            line = pointer(lanes.scores, (lanes.num_sampled + k) * lanes.count)
            for i in range(lanes.count):
                line[i] = CERTAIN


@kernel
def skipgram_chunk(model, work, c, stream, begin, end, position, rate):
    """Compute the gradients of the windows around stream[begin:end].

    This is one long function so that arrays are looked up once a chunk, not once a group. To pass
    `model` and `work` on would mean to copy two hundred numbers.
    """
    corrections, absent = model.corrections, model.inputs.shape[0] - 1
    num_windows, num_sampled, vectors = end - begin, model.num_sampled, model.num_vectors
    draw_chunk(model, work, c, stream, begin, end, position, True)
    starts, sizes = pointer(work.starts[c], 0), pointer(work.sizes[c], 0)
    in_rows, out_rows, lines = work.in_rows[c], work.out_rows[c], pointer(work.lines, 0)
    in_weights, out_weights = pointer(work.in_weights[c], 0), pointer(work.out_weights[c], 0)
    grad_inputs, grad_outputs = pointer(work.grad_inputs[c], 0), pointer(work.grad_outputs[c], 0)
    out_words, hits = pointer(work.out_words[c], 0), pointer(work.hits[c], 0)
    scores, scratch = pointer(work.scores[c], 0), pointer(work.scratch[c], 0)
    table, outputs = pointer(model.inputs, 0), pointer(model.outputs, 0)
    num_noise, own = out_rows.shape[0] - work.sizes.shape[1], min(begin, model.window)
    total, pairs, used = 0.0, 0, vectors * LANES
    for first in range(0, num_windows, GROUP):
        count = min(GROUP, num_windows - first)
        noise, at = first // GROUP * num_sampled, num_noise + first
        low, high, words = _extent(starts, sizes, first, count)
        if words == 0:
            continue
        pairs += words
        length = high - low
        for k in range(count):  # they come after the noise words
            prefetch(pointer(outputs, out_rows[at + k]), used)
        lanes = lanes_of(length, num_sampled, count, scores, hits, scratch)
        row, met = lanes.count, pointer(in_rows, low)
        noise_rows = Rows(outputs, pointer(out_rows, noise), num_sampled)
        multiply_rows(
            Rows(table, met, (length + 1) // 2 * 2), noise_rows, Matrix(scores, row, 1), vectors
        )
        for k in range(0, count, _BLOCK):
            size = min(_BLOCK, count - k)
            start, stop, words = _extent(starts, sizes, first + k, size)
            if words > 0:
                start -= (start - low) % 2  # so that the last pair of lanes ends within the row
                multiply_rows(
                    Rows(table, pointer(in_rows, start), (stop - start + 1) // 2 * 2),
                    Rows(outputs, pointer(out_rows, at + k), size),
                    Matrix(pointer(scores, (num_sampled + k) * row + start - low), row, 1), vectors,
                )
        _mask_noise(lanes, pointer(out_words, noise), corrections, absent)
        _mask_targets(
            lanes, pointer(starts, first), pointer(sizes, first), low, own + first,
            pointer(out_words, at), corrections,
        )
        _find_hits(
            lanes, pointer(out_words, noise), pointer(out_words, at), absent, model.keep_hits
        )
        total += change_scores(lanes, rate, model.use_logistic)

        weigh_scores(lanes, scratch)
        for i in range(length):
            in_weights[low + i] += scratch[i]
        for j in range(num_sampled):
            out_weights[noise + j] = weigh_row(lanes, j)
        for k in range(count):
            out_weights[at + k] = weigh_row(lanes, num_sampled + k)
        add_products(
            Rows(grad_inputs, pointer(lines, low), length), Matrix(scores, 1, row), noise_rows,
            vectors,
        )
        add_products(
            Rows(grad_outputs, pointer(lines, noise), num_sampled), Matrix(scores, row, 1),
            Rows(table, met, length), vectors,
        )
        for k in range(0, count, _BLOCK):
            size = min(_BLOCK, count - k)
            start, stop, words = _extent(starts, sizes, first + k, size)
            if words > 0:
                changes = pointer(scores, (num_sampled + k) * row + start - low)
                add_products(
                    Rows(grad_inputs, pointer(lines, start), stop - start), Matrix(changes, 1, row),
                    Rows(outputs, pointer(out_rows, at + k), size), vectors,
                )
                add_products(
                    Rows(grad_outputs, pointer(lines, at + k), size), Matrix(changes, row, 1),
                    Rows(table, pointer(in_rows, start), stop - start), vectors,
                )
    work.losses[c] += total
    work.pairs[c] += pairs
