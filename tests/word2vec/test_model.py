"""model.py: noise, thinning, batches and the loss that they give."""

import weakref

import numpy as np
import pytest

from numba_ss.word2vec import model as model_module
from numba_ss.word2vec.model import keep_probabilities, noise_weights
from tests.kernels.words.test_train_windows import make_model, make_stream, rates


def test_keep_probabilities():
    counts = np.array([900, 90, 9, 1])
    keep = keep_probabilities(counts, 1e-2)
    for count, kept in zip(counts, keep, strict=True):
        share = count / 1000
        assert kept == pytest.approx(min(1, (1e-2 / share) ** 0.5 + 1e-2 / share))
    assert keep_probabilities(counts, 0.0).tolist() == [1, 1, 1, 1]


def test_noise_weights():
    counts = np.array([81, 16, 1, 0])
    assert noise_weights(counts, "unigram", 0.75).tolist() == pytest.approx([27, 8, 1, 1])
    assert noise_weights(counts, "uniform", 0.75).tolist() == [1, 1, 1, 1]
    ranks = noise_weights(counts, "log_uniform", 1.0)
    np.testing.assert_allclose(ranks / ranks.sum(), np.diff(np.log([1, 2, 3, 4, 5])) / np.log(5))


def test_log_q_is_how_often_a_word_is_drawn(rng):
    """Counted over many windows, with a five sigma bound; draws of a pool count several times."""
    model = make_model(rng, num_words=200, num_sampled=5, batch_size=48)
    stream = np.full(48 * 1000, 7)
    drawn, windows = np.zeros(201), 0
    for first in range(0, len(stream), 48):
        model.learn(stream, first, first + 48, 0, rates(0.0))
        words, counts = np.unique(model._work.noise, return_counts=True)
        drawn[words] += counts
        windows += 48
    expected = np.exp(model.log_q.astype(float)) * windows
    expected[7] = 0  # the target itself never counts as noise
    assert drawn[7] == 0
    shared = 48 * 5 / model._work.out_words[:, : -model._work.sizes.shape[1]].size + 1
    assert np.all(np.abs(drawn[:200] - expected) < 5 * np.sqrt(shared * expected) + 1e-9)


def test_the_batch_shrinks_with_the_vocabulary(rng):
    sizes = [
        make_model(rng, n, batch_size=None).batch_size for n in (2, 50, 3000)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 16
    assert sizes[2] == model_module._LARGEST_BATCH


def test_release_hands_over_the_tables_and_their_memory(rng):
    model = make_model(rng)
    want = model.inputs.copy(), model.outputs.copy()
    bases = [weakref.ref(model._model.inputs.base), weakref.ref(model._model.outputs.base)]
    got = model.release()
    for have, ref in zip(got, want, strict=True):
        np.testing.assert_array_equal(have, ref)
        assert have.flags.c_contiguous
        assert have.base is None
    assert [base() for base in bases] == [None, None]


def test_cutting_the_stream_changes_nothing(rng):
    stream = make_stream(rng, 300)
    results = []
    for starts in ([0], [0, 48], [0, 48, 96]):
        model = make_model(np.random.default_rng(1))
        for start in starts:
            low = max(start - model.window, 0)
            part = stream[low:]
            stop = len(stream) if start == starts[-1] else start + 48
            for first in range(start, stop, 48):
                last = min(first + 48, len(stream))
                model.learn(part, first - low, last - low, low, rates(0.1))
        results.append(model.inputs.copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_the_longest_vector_is_known_from_the_start(rng):
    model = make_model(rng)
    lengths = np.linalg.norm(np.concatenate([model.inputs, model.outputs]), axis=1)
    assert model.longest == pytest.approx(lengths.max(), rel=1e-6)


def test_the_loss_of_zeros_is_what_zero_vectors_give(rng):
    for loss in ("sampled_softmax", "negative_sampling"):
        model = make_model(rng, loss=loss)
        model._model.inputs[:] = 0
        model.learn(make_stream(rng, 300), 0, 48, 0, rates(0.0))
        drops = model._work.dropped.sum()
        mean = model.losses.sum() / model.pairs.sum()
        assert mean == pytest.approx(model.loss_of_zeros, rel=0.05 if drops else 1e-5)
