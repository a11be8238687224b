"""kernels/skipgram.py: the gradients of a chunk of windows against the float64 specification."""

import numpy as np
import pytest
from test_train_windows import expected_chunk, make_model, make_stream

from numba_ss import reference
from numba_ss.kernels.skipgram import skipgram_chunk


def of_words(words, grads, weights, num_words):
    """Return the sums of gradients and weights of each word."""
    sums, weight = np.zeros((num_words + 1, grads.shape[1])), np.zeros(num_words + 1)
    np.add.at(sums, words, grads)
    np.add.at(weight, words, weights)
    return sums[:num_words], weight[:num_words]


@pytest.mark.parametrize("loss", ["sampled_softmax", "negative_sampling", "nce"])
@pytest.mark.parametrize(("num_words", "count"), [(5, 24), (300, 24), (300, 5), (40, 0)])
def test_skipgram_chunk(loss, num_words, count, rng):
    model = make_model(rng, num_words, architecture="skipgram", loss=loss, batch_size=24 * 64)
    stream = make_stream(rng, num_words)
    work, m = model._work, model._model
    assert work.sizes.shape[1] == 24
    skipgram_chunk(m, work, 2, stream, 30, 30 + count, 480, np.float32(0.1))
    inputs, outputs, total, pairs = expected_chunk(
        model, model.inputs, model.outputs, stream, 30, 30 + count, 480, 0.1
    )
    stride = m.inputs.shape[1]
    for name, twin in (("in", inputs), ("out", outputs)):
        words, weights = getattr(work, f"{name}_words")[2], getattr(work, f"{name}_weights")[2]
        grads = getattr(work, f"grad_{name}puts")[2].reshape(-1, stride)[:, : model.dim]
        got = of_words(words, grads.astype(float), weights, num_words)
        if not count:  # the twin draws noise all the same
            assert not np.any(got[0])
            assert not np.any(got[1])
            continue
        expected = of_words(twin.words, np.array(twin.grads), twin.weights, num_words)
        np.testing.assert_allclose(got[0], expected[0], atol=2e-6)
        np.testing.assert_allclose(got[1], expected[1], atol=1e-6)
    assert work.losses[2] == pytest.approx(total, rel=1e-5)
    assert work.pairs[2] == pairs


def test_gradient_is_that_of_the_loss(rng):
    """One window: the gradients of the inputs, by central differences of the twin."""
    inputs, outputs = rng.standard_normal((2, 6, 4))
    for logistic in (False, True):
        options = dict(logistic=logistic, keep_hits=False, corrections=[])
        chunk = [1], [[(0, 0), (2, 2)]], [3, 4], [[0, 1]]

        def loss(x, options=options, chunk=chunk):
            return reference.skipgram(x, outputs, *chunk, 0.0, **options)[2]

        found = reference.skipgram(inputs, outputs, *chunk, 1.0, **options)[0]
        changes = np.zeros_like(inputs)
        np.add.at(changes, found.words, found.grads)
        for i, d in np.ndindex(inputs.shape):
            step = np.zeros_like(inputs)
            step[i, d] = 1e-5
            slope = (loss(inputs + step) - loss(inputs - step)) / 2e-5
            assert abs(changes[i, d] + slope) < 1e-6
