"""kernels/skipgram.py: a batch of windows against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss._word_model import WordModel
from numba_ss.kernels import skipgram

OPTIONS = dict(
    window=3, architecture="skipgram", loss="sampled_softmax", num_sampled=4, sampler="unigram",
    distortion=0.75, subtract_log_q=None, subsample=0.0, batch_size=48, seed=3,
)


def make_model(rng, num_words=300, dim=21, **options):
    inputs, outputs = rng.standard_normal((2, num_words, dim)).astype(np.float32) / 3
    counts = np.sort(rng.integers(1, 100, num_words))[::-1].copy()
    model = WordModel(inputs, outputs, counts, **{**OPTIONS, **options})
    model.start_epoch(0)
    return model


def make_stream(rng, num_words, length=120):
    """Return words, some of them often repeated, and ends of sentences."""
    stream = rng.integers(0, num_words, length)
    stream[rng.random(length) < 0.3] = 2
    stream[rng.random(length) < 0.1] = num_words
    return stream


def drawn_windows(model, stream, first, last, position):
    """Return each chunk's windows, drawn by the twins of the kernels that draw."""
    m = model._model
    num_strata, separator, key = len(m.strata) - 1, model.num_words, int(m.key)
    size = -(-model.batch_size // num_strata)
    chunks = []
    for c in range(num_strata):
        begin = min(first + c * size, last)
        end = min(begin + size, last)
        low, high = max(begin - m.window, 0), min(end + m.window, len(stream))
        s = (c + (position + first) // model.batch_size) % num_strata
        table = m.noise[m.strata[s] : m.strata[s + 1]]
        shared = skipgram.GROUP if m.cbow else 1
        num_rows = -(-(end - begin) // shared)
        noise = reference.draw_noise(
            table >> 32, table & 0x7FFFFFFF, s, num_strata, key,
            (position + begin) * m.num_sampled, num_rows * m.num_sampled,
        )
        own = np.reshape(noise, (num_rows, m.num_sampled)).repeat(shared, axis=0)
        own = own[: end - begin].tolist()
        own = reference.drop_hits(own, stream[begin:end], -1, m.keep_hits)
        contexts = reference.find_windows(
            stream, begin, end, low, high, m.window, separator, key ^ (2**64 - 1), position
        )
        windows = [
            (int(stream[begin + w]), stream[low:][contexts[w]].tolist(), own[w])
            for w in range(end - begin)
        ]
        chunks.append(windows)
    return chunks


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize(
    ("loss", "subtract_log_q"),
    [("sampled_softmax", False), ("sampled_softmax", True), ("negative_sampling", None), ("nce", None)],
)
# Batches of 20 windows are chunks, and CBOW groups, of an odd number of them.
@pytest.mark.parametrize(("num_words", "batch_size"), [(5, 48), (300, 48), (300, 20), (900, 16)])
def test_learn_windows_and_apply_windows(
    architecture, loss, subtract_log_q, num_words, batch_size, rng
):
    model = make_model(
        rng, num_words, architecture=architecture, loss=loss, subtract_log_q=subtract_log_q,
        batch_size=batch_size,
    )
    m = model._model
    stream = make_stream(rng, num_words, 117)
    inputs, outputs = model.inputs.astype(float), model.outputs.astype(float)
    loss_sum, pairs = 0.0, 0
    model.copy_targets(stream, 0)
    # At twice the rate five words grow to tens, where float32 is coarser than the bounds.
    for first in range(0, len(stream), batch_size):
        last = min(first + batch_size, len(stream))
        model.learn(stream, first, last, 480, 0.1)
        outputs, of_inputs, of_targets, more, count = reference.learn_windows(
            inputs, outputs, drawn_windows(model, stream, first, last, 480), 0.1,
            group=skipgram.GROUP, cbow=model.cbow, logistic=m.logistic, corrections=m.corrections,
        )
        inputs = reference.apply_windows(inputs, of_inputs)
        outputs = reference.apply_windows(outputs, of_targets)
        loss_sum, pairs = loss_sum + more, pairs + count
        np.testing.assert_allclose(model.inputs, inputs, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(model.outputs, outputs, rtol=1e-5, atol=2e-5)
    assert model.pairs.sum() == pairs > 0
    np.testing.assert_allclose(model.losses.sum(), loss_sum, rtol=1e-5)
    separator = m.inputs[num_words], m.outputs[num_words]
    assert not np.any(separator)


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_bits_do_not_depend_on_chunks(architecture, rng):
    stream = make_stream(rng, 300)
    results = []
    for num_chunks in (1, 2, 3, 8):
        model = make_model(np.random.default_rng(5), architecture=architecture)
        m, work = model._model, model._work
        skipgram.apply_windows(num_chunks, m, work, stream, 0, 0, 48)
        for first, last in ((0, 48), (48, 96), (96, 120)):
            following = min(last + 48, 120)
            skipgram.learn_windows(num_chunks, m, work, stream, first, last, 0, np.float32(0.1))
            skipgram.apply_windows(num_chunks, m, work, stream, first, last, following)
        results.append([model.inputs, model.outputs, model.losses, model.pairs])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_gradient_is_that_of_the_loss(rng):
    """One window, one group: the change of the inputs, by central differences of the twin."""
    inputs, outputs = rng.standard_normal((2, 6, 4))
    chunks = [[(1, [0, 2], [3, 4])]]
    for cbow in (False, True):
        for logistic in (False, True):
            options = dict(group=1, cbow=cbow, logistic=logistic, corrections=[])

            def loss(x, options=options):
                return reference.learn_windows(x, outputs, chunks, 0.0, **options)[3]

            changes = reference.learn_windows(inputs, outputs, chunks, 1.0, **options)[1]
            for i, d in np.ndindex(inputs.shape):
                step = np.zeros_like(inputs)
                step[i, d] = 1e-5
                slope = (loss(inputs + step) - loss(inputs - step)) / 2e-5
                assert abs(changes[i, d] + slope) < 1e-6
