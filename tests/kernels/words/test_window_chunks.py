"""window_chunks.py: what a chunk draws, and its losses, against the specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.words import window_chunks
from numba_ss.kernels.words.window_chunks import (
    change_scores,
    lanes_of,
    weigh_row,
    weigh_scores,
)
from tests.kernels.words.test_train_windows import drawn_chunk, make_model, make_stream


@kernel
def learn(use_logistic, count, num_sampled, scores, hits, rate, sums, of_rows):
    scratch = pointer(sums, 0)
    lanes = lanes_of(
        count, num_sampled, hits.shape[0], pointer(scores, 0), pointer(hits, 0), scratch
    )
    loss = change_scores(lanes, rate, use_logistic)
    for j in range(of_rows.shape[0]):
        of_rows[j] = weigh_row(lanes, j)
    weigh_scores(lanes, scratch)
    return loss


@kernel
def count_lanes(count, scratch):
    nothing = pointer(scratch, 0)
    return lanes_of(count, 1, 1, nothing, nothing, nothing).count


def test_lanes_of():
    for count in (1, LANES - 1, LANES, LANES + 1, 1000):
        got = count_lanes(count, np.zeros(1, np.float32))
        assert got == reference.lanes_of(count, LANES)


@pytest.mark.parametrize("use_logistic", [None, True])
@pytest.mark.parametrize("hits", [[-1], [-1] * 32, [2, -1, 0, 2, 2]])
@pytest.mark.parametrize(("num_lanes", "rate"), [(1, 0.25), (16, 1e-4), (16, 0.25), (70, 0.25)])
def test_scores_become_gradients(use_logistic, hits, num_lanes, rate, rng):
    """change_scores: softmax_scores or logistic_scores; weigh_scores, weigh_row sum their sizes."""
    count, num_sampled = reference.lanes_of(num_lanes, LANES), 4  # further lanes are masked
    scores = 6 * rng.standard_normal((num_sampled + len(hits), count)).astype(np.float32)
    scores[3, : num_lanes // 2] = window_chunks.LOWEST
    scores[0, : num_lanes // 3] = 60  # without it, the others count
    for k, hit in enumerate(hits):
        if hit >= 0:
            scores[num_sampled + k] = scores[hit]
    scores[num_sampled:, ::3] = window_chunks.CERTAIN
    scores[num_sampled:, num_lanes:] = window_chunks.CERTAIN
    expected, loss = reference.change_scores(scores, num_sampled, hits, rate, use_logistic)
    sums, of_rows = np.zeros((len(hits) + 3) * count, np.float32), np.zeros(len(scores), np.float32)
    got = learn(
        use_logistic, num_lanes, num_sampled, scores.reshape(-1), np.array(hits), np.float32(rate),
        sums, of_rows,
    )
    assert got == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert not scores[:, num_lanes:].any()
    np.testing.assert_allclose(sums[:count], reference.weigh_scores(expected), 1e-6, 2e-6)
    want = [reference.weigh_row(expected, j) for j in range(len(scores))]
    np.testing.assert_allclose(of_rows, want, rtol=1e-5, atol=1e-5)
    if use_logistic is None:  # what a noise word loses, the targets win
        np.testing.assert_allclose(scores.sum(axis=0), 0, atol=1e-5)
        assert of_rows[:num_sampled].max() < 0.50001


def test_many_noise_words_and_targets_do_not_overflow():
    """As at the start of training, when all vectors of outputs are zero."""
    scores, hits = np.zeros((4096 + 32, LANES), np.float32), np.full(32, -1)
    sums, of_rows = np.zeros(35 * LANES, np.float32), np.zeros(1, np.float32)
    loss = learn(None, LANES, 4096, scores.reshape(-1), hits, np.float32(1), sums, of_rows)
    assert loss == pytest.approx(32 * LANES * np.log(4097), rel=1e-5)


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_draw_chunk(architecture, rng):
    """As the twin `draw` has it: contexts, and the noise words of the groups, without repeats."""
    model = make_model(rng, 90, architecture=architecture, batch_size=100)
    stream = make_stream(rng, 90)
    work, m = model._work, model._model
    size, stride = work.sizes.shape[1], m.inputs.shape[1]
    work.grad_inputs[:] = work.in_weights[:] = 5
    work.grad_outputs[:] = work.out_weights[:] = 5
    for begin, end in ((0, size), (20, 20 + size), (len(stream) - 3, len(stream)), (9, 9)):
        window_chunks.draw_chunk(m, work, 1, stream, begin, end, 480, architecture == "skipgram")
        contexts, noise = drawn_chunk(model, stream, begin, end, 480)
        count, low = end - begin, max(begin - m.window, 0)
        for w, context in enumerate(contexts):
            start = low + work.starts[1, w]
            near = range(start, start + work.sizes[1, w] + 1)
            assert [p for p in near if p != begin + w] == context
        own = [int(t) if c else 90 for t, c in zip(stream[begin:end], contexts, strict=True)]
        words = [word for row in noise for word in reference.drop_repeats(row, 90)]
        words = words if count else [90] * len(words)
        assert work.out_words[1].tolist() == [*words, *own, *[90] * (size - count)]
        high = min(end + m.window, len(stream)) if count else low
        known = work.in_words[1]
        assert known[: high - low].tolist() == stream[low:high].tolist()
        assert np.all(known[high - low :] == 90)
        assert work.in_rows[1].tolist() == [*(known * stride), 90 * stride]
        assert work.out_rows[1].tolist() == (work.out_words[1] * stride).tolist()
        assert not work.grad_inputs[1].any()
        assert not work.grad_outputs[1].any()
        assert not work.in_weights[1].any()
        assert not work.out_weights[1].any()
