"""window_chunks.py: what a chunk draws, and its losses, against the specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.words import window_chunks
from tests.kernels.words.test_train_windows import drawn_chunk, make_model, make_stream


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("num_lanes", [1, 6, 70])
def test_scores_become_gradients(logistic, num_lanes, rng):
    """softmax_scores, logistic_scores; weigh_inputs, which sums their sizes."""
    row, num_outputs = num_lanes + 3, 5
    scores = np.full((num_outputs, row), 7, np.float32)
    scores[:, :num_lanes] = 6 * rng.standard_normal((num_outputs, num_lanes))
    scores[2, : num_lanes // 2] = window_chunks.LOWEST
    name = "logistic_scores" if logistic else "softmax_scores"
    with np.errstate(divide="ignore"):
        expected, loss = getattr(reference, name)(scores[:, :num_lanes], 0.25)
    flat, scratch = scores.reshape(-1), np.zeros((2, row), np.float32)
    got = getattr(window_chunks, name)(
        flat, num_lanes, num_outputs, row, np.float32(0.25), scratch
    )
    assert got == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(scores[:, :num_lanes], expected, atol=1e-6)
    assert np.all(scores[:, num_lanes:] == 7)
    window_chunks.weigh_inputs(flat, num_lanes, num_outputs, row, scratch[0])
    np.testing.assert_allclose(
        scratch[0, :num_lanes], reference.weigh_inputs(expected), atol=1e-6
    )


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_draw_chunk(architecture, rng):
    """As the twin `draw` has it: contexts, the pool of noise words, and who chooses which."""
    model = make_model(rng, 90, architecture=architecture, batch_size=100)
    stream = make_stream(rng, 90)
    work, m = model._work, model._model
    size = work.sizes.shape[1]
    work.grad_inputs[:] = work.in_weights[:] = 5
    work.grad_outputs[:] = work.out_weights[:] = 5
    for begin, end in ((0, size), (20, 20 + size), (len(stream) - 3, len(stream)), (9, 9)):
        group = window_chunks.GROUP if model.cbow else 1
        window_chunks.draw_chunk(m, work, 1, stream, begin, end, 480, group)
        pool, contexts, places = drawn_chunk(model, stream, begin, end, 480)
        count = end - begin
        low = max(begin - m.window, 0)
        got = [(low + work.in_places[1, w, : work.sizes[1, w]]).tolist() for w in range(count)]
        assert got == contexts
        words = [stream[context].tolist() for context in contexts]
        rows = [(work.in_rows[1, w, : work.sizes[1, w]] // m.inputs.shape[1]).tolist() for w in range(count)]
        assert rows == words
        own = [int(t) if c else 90 for t, c in zip(stream[begin:end], contexts, strict=True)]
        outputs = work.out_words[1].tolist()
        assert outputs == [*(pool if count else [90] * len(pool)), *own, *[90] * (size - count)]
        assert work.places[1, : len(places)].tolist() == places
        noise = [[pool[p] for p in row] for row in places]
        assert work.noise[1, : len(places)].tolist() == noise
        high = min(end + m.window, len(stream)) if count else low
        known = work.in_words[1]
        assert known[: high - low].tolist() == stream[low:high].tolist()
        assert np.all(known[high - low :] == 90)
        assert not work.grad_inputs[1].any()
        assert not work.grad_outputs[1, : len(pool) * m.inputs.shape[1]].any()
        assert not work.in_weights[1].any()
        assert not work.out_weights[1].any()
