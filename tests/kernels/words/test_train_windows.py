"""train_windows.py: batches of windows against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.core.team import board_shape
from numba_ss.kernels.words import row_updates, train_windows
from numba_ss.kernels.words.window_chunks import GROUP
from numba_ss.word2vec import model as model_module
from numba_ss.word2vec import start
from tests.conftest import needs_jit

OPTIONS = dict(
    window=3, architecture="skipgram", loss="sampled_softmax", num_sampled=4, sampler="unigram",
    distortion=0.75, subtract_log_q=None, subsample=0.0, batch_size=48, seed=3,
)


def make_model(rng, num_words=300, dim=21, **options):
    tables = rng.standard_normal((2, num_words, dim)).astype(np.float32) / 3
    counts = np.sort(rng.integers(1, 100, num_words))[::-1].copy()
    settled = {**OPTIONS, **options, "vector_size": dim}
    model = start.make_model(tables, start.make_noise(counts, settled), settled)
    model.start_epoch(0)
    return model


def make_stream(rng, num_words, length=120):
    """Return words, some of them often repeated, and ends of sentences."""
    stream = rng.integers(0, num_words, length)
    stream[rng.random(length) < 0.3] = 2
    stream[rng.random(length) < 0.1] = num_words
    return stream


def rates(*values):
    return np.array(values, np.float32)


def drawn_chunk(model, stream, begin, end, position):
    """Return a chunk's contexts and the noise words of its groups, drawn by the twin."""
    m, work = model._model, model._work
    return reference.draw(
        stream, begin, end, window=m.window, by_distance=not model.cbow, separator=model.num_words,
        keys=[int(key) for key in m.keys], position=position, cut=m.noise >> 32,
        alias=m.noise & 0x7FFFFFFF, size=work.sizes.shape[1], num_sampled=m.num_sampled,
        group=GROUP,
    )


def expected_chunk(model, inputs, outputs, stream, begin, end, position, rate):
    """Return what a chunk gives, by the twins."""
    m = model._model
    contexts, noise = drawn_chunk(model, stream, begin, end, position)
    twin = reference.cbow if model.cbow else reference.skipgram
    return twin(
        inputs, outputs, stream[begin:end].tolist(),
        [[(p, int(stream[p])) for p in context] for context in contexts], noise, rate,
        logistic=m.use_logistic is not None, keep_hits=m.keep_hits, corrections=m.corrections,
    )


def expected_batch(model, inputs, outputs, stream, first, last, position, rate):
    """Return the tables after a batch, the sum of losses and their number, by the twins."""
    size = model._work.sizes.shape[1]
    chunks = [
        expected_chunk(model, inputs, outputs, stream, begin, min(begin + size, last), position, rate)
        for begin in range(first, last, size)
    ]
    samples = [
        reference.sample_rows(
            table, np.where(words == model.num_words, -1, words).reshape(-1), row_updates.SAMPLES
        )
        for table, words in ((inputs, model._work.in_words), (outputs, model._work.out_words))
    ]
    return reference.train_windows(inputs, outputs, chunks, samples)


def of_words(words, grads, weights, num_words):
    """Return the sums of gradients and weights of each word."""
    sums, weight = np.zeros((num_words + 1, grads.shape[1])), np.zeros(num_words + 1)
    np.add.at(sums, words, grads)
    np.add.at(weight, words, weights)
    return sums[:num_words], weight[:num_words]


def check_chunk(architecture, kernel, loss, num_words, count, rng):
    """Compare the gradients, weights and losses of a chunk with those of the twin."""
    model = make_model(rng, num_words, architecture=architecture, loss=loss, batch_size=40 * 64)
    stream = make_stream(rng, num_words)
    work, m = model._work, model._model
    assert work.sizes.shape[1] == 40
    kernel(m, work, 2, stream, 30, 30 + count, 480, np.float32(0.1))
    inputs, outputs, total, pairs = expected_chunk(
        model, model.tables.inputs, model.tables.outputs, stream, 30, 30 + count, 480, 0.1
    )
    stride = m.inputs.shape[1]
    for name, twin in (("in", inputs), ("out", outputs)):
        words, weights = getattr(work, f"{name}_words")[2], getattr(work, f"{name}_weights")[2]
        grads = getattr(work, f"grad_{name}puts")[2].reshape(-1, stride)[:, : model.tables.dim]
        got = of_words(words, grads.astype(float), weights, num_words)
        if not count:  # the twin draws noise all the same
            assert not np.any(got[0])
            assert not np.any(got[1])
            continue
        expected = of_words(twin.words, np.array(twin.grads), twin.weights, num_words)
        np.testing.assert_allclose(got[0], expected[0], 1e-6, 2e-6)
        np.testing.assert_allclose(got[1], expected[1], 1e-6, 1e-6)
    assert work.losses[2] == pytest.approx(total, rel=1e-5)
    assert work.pairs[2] == pairs


def check_gradient(twin, rng):
    """Compare the gradients of the inputs of one window with central differences of the twin."""
    inputs, outputs = rng.standard_normal((2, 6, 4))
    for logistic in (False, True):
        options = dict(logistic=logistic, keep_hits=False, corrections=[])
        chunk = [1], [[(0, 0), (2, 2)]], [[3, 4]]

        def loss(x, options=options, chunk=chunk):
            return twin(x, outputs, *chunk, 0.0, **options)[2]

        found = twin(inputs, outputs, *chunk, 0.1, **options)[0]  # no noise word is too heavy
        changes = np.zeros_like(inputs)
        np.add.at(changes, found.words, found.grads)
        for i, d in np.ndindex(inputs.shape):
            step = np.zeros_like(inputs)
            step[i, d] = 1e-5
            slope = (loss(inputs + step) - loss(inputs - step)) / 2e-5
            assert abs(changes[i, d] + 0.1 * slope) < 1e-7


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize(
    ("loss", "subtract_log_q"),
    [("sampled_softmax", False), ("sampled_softmax", True), ("negative_sampling", None), ("nce", None)],
)
# Batches of 20 windows are chunks, and CBOW groups, of an odd number of them.
@pytest.mark.parametrize(("num_words", "batch_size"), [(5, 48), (300, 48), (300, 20), (900, 16)])
def test_train_windows(architecture, loss, subtract_log_q, num_words, batch_size, rng):
    """At a rate at which rows that repeat are held back."""
    model = make_model(
        rng, num_words, architecture=architecture, loss=loss, subtract_log_q=subtract_log_q,
        batch_size=batch_size,
    )
    m = model._model
    stream = make_stream(rng, num_words, 117)
    inputs, outputs = model.tables.inputs.astype(float), model.tables.outputs.astype(float)
    loss_sum, pairs, most = 0.0, 0, 0.0
    for first in range(0, len(stream), batch_size):
        last = min(first + batch_size, len(stream))
        model.learn(stream, first, last, 480, rates(0.1))
        inputs, outputs, more, count = expected_batch(
            model, inputs, outputs, stream, first, last, 480, 0.1
        )
        loss_sum, pairs = loss_sum + more, pairs + count
        most = max(most, (inputs**2).sum(axis=1).max(), (outputs**2).sum(axis=1).max())
        np.testing.assert_allclose(model.tables.inputs, inputs, rtol=1e-4, atol=5e-5)
        np.testing.assert_allclose(model.tables.outputs, outputs, rtol=1e-4, atol=5e-5)
    assert model.pairs.sum() == pairs > 0
    np.testing.assert_allclose(model.losses.sum(), loss_sum, rtol=1e-5)
    assert model.tables.longest == pytest.approx(np.sqrt(most), rel=1e-4)
    separator = m.inputs[num_words], m.outputs[num_words]
    assert not np.any(separator)


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_batches_of_one_call_are_those_of_many(architecture, rng):
    stream = make_stream(rng, 300)
    each = rates(0.1, 0.07, 0.02)
    one, many = (make_model(np.random.default_rng(5), architecture=architecture) for _ in range(2))
    one.learn(stream, 0, 120, 0, each)
    for i, first in enumerate((0, 48, 96)):
        many.learn(stream, first, min(first + 48, 120), 0, each[i : i + 1])
    for name in ("losses", "pairs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    for name in ("inputs", "outputs", "longest"):
        np.testing.assert_array_equal(getattr(one.tables, name), getattr(many.tables, name))


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "nce"])
def test_bits_do_not_depend_on_chunks(architecture, loss, rng):
    """Nor on how many tasks they are cut in."""
    stream = make_stream(rng, 300, 300)
    results = []
    for num_chunks, tasks in ((1, 1), (1, 4), (2, 8), (3, 12), (16, 64)):
        model = make_model(np.random.default_rng(5), architecture=architecture, loss=loss, batch_size=160)
        m, work = model._model, model._work
        lists = model_module._lists(m, work, num_chunks)
        longest = np.zeros((2, 2, tasks), np.float32)
        board = np.zeros(board_shape(4, num_chunks), np.int64)
        arguments = (
            m, work, lists, train_windows.Progress(board, longest),
            train_windows.Text(stream, 0, 300, 0, rates(0.1, 0.1)),
        )
        gradients = train_windows.gradients_address(model.cbow, m, work, arguments[-1])
        chunk = train_windows.chunk_address(num_chunks, gradients, *arguments)
        train_windows.train_windows(num_chunks, chunk, gradients, *arguments)
        results.append([model.tables.inputs, model.tables.outputs, model.losses, model.pairs])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@needs_jit
@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "negative_sampling", "sampled_logistic", "nce"])
@pytest.mark.parametrize("rate", [0.1, 10.0, 1e4])
def test_repetition_does_not_make_vectors_grow(architecture, loss, rate, rng):
    """A batch of two sentences again and again, at any rate: no score moves by more than 1."""
    model = make_model(rng, 40, architecture=architecture, loss=loss, batch_size=1024, window=8)
    stream = np.tile(np.r_[rng.integers(0, 6, 15), 40, rng.integers(0, 6, 15), 40], 64)
    for _ in range(30):
        model.learn(stream, 0, 1024, 0, rates(rate))
        model.learn(stream, 1024, 2048, 0, rates(rate))
    assert np.isfinite(model.tables.inputs).all()
    assert model.tables.longest < 100


@needs_jit
def test_a_run_of_a_few_words_does_not_lift_their_scores(rng):
    """Sometimes a noise word is one of them, and lifts all others; unlimited, by .4 a batch."""
    model = make_model(rng, 400, batch_size=64, window=20, num_sampled=24)
    stream = rng.integers(200, 212, 64)
    for i in range(400):
        model.learn(rng.permutation(stream), 0, 64, 64 * i, rates(0.1))
    scores = model.tables.outputs @ model.tables.inputs[200:212].mean(axis=0)
    assert np.ptp(scores) < 100
