"""noise.py: words that stay, how often each is drawn, and batches that fit the counts."""

import numpy as np
import pytest

from numba_ss.word2vec import noise as noise_module
from numba_ss.word2vec.noise import Noise, keep_probabilities, noise_weights
from tests.conftest import needs_jit
from tests.kernels.words.test_train_windows import make_model, rates


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
    ranks = noise_weights(counts, "log_uniform", 0.75)
    np.testing.assert_allclose(ranks / ranks.sum(), np.diff(np.log([1, 2, 3, 4, 5])) / np.log(5))


@needs_jit
def test_log_q_is_how_often_a_word_is_drawn(rng):
    """Counted over many groups of windows, with a five sigma bound."""
    model = make_model(rng, num_words=200, num_sampled=5, batch_size=48)
    stream = np.full(48 * 1000, 7)
    work, drawn, groups = model._work, np.zeros(201), 0
    num_noise = work.out_words.shape[1] - work.sizes.shape[1]
    for first in range(0, len(stream), 48):
        model.learn(stream, first, first + 48, 0, rates(0.0))
        words, counts = np.unique(work.out_words[:, :num_noise], return_counts=True)
        drawn[words] += counts
        groups += work.out_words[:, :num_noise].size // 5
    expected = np.exp(model.noise.log_q.astype(float)) * groups
    assert np.all(np.abs(drawn[:200] - expected) < 5 * np.sqrt(expected) + 1e-9)


@pytest.mark.parametrize("distortion", [-10, -1, 0, 1, 8, 10])
def test_any_power_of_the_counts_is_drawn(distortion):
    counts = np.array([1_000_000, 900_000, 500_000, 10])
    noise = Noise(counts, sampler="unigram", distortion=distortion, num_sampled=1, subsample=0.0, seed=1)
    weights = counts ** np.float64(distortion)
    cut, alias = (noise.table >> 32) / 2.0**31, noise.table & 0x7FFFFFFF
    drawn = (cut + np.bincount(alias, 1 - cut, 4)) / 4
    np.testing.assert_allclose(drawn, weights / weights.sum(), 1e-5, 1e-6)
    np.testing.assert_allclose(noise.log_q, np.log(weights / weights.sum()), 1e-5, 1e-5)


def test_distinct_words_are_those_of_random_texts(rng):
    """Means of 200 texts; their standard error is below half a percent."""
    counts = np.array([500, 200, 100, 50, 20, 10, 5, 2, 1, 1])
    noise = Noise(
        counts, sampler="unigram", distortion=0.5, num_sampled=5, subsample=1e-2, seed=1
    )
    kept = counts * keep_probabilities(counts, 1e-2)
    drawn = noise_weights(counts, "unigram", 0.5)
    met, either = [], []
    for _ in range(200):
        words = set(rng.choice(10, 60, p=kept / kept.sum()))
        met.append(len(words))
        either.append(len(words | set(rng.choice(10, 30, p=drawn / drawn.sum()))))
    expected = noise.distinct_words(60, 30)
    np.testing.assert_allclose(expected, [np.mean(met), np.mean(either)], rtol=0.03)


def test_the_batch_shrinks_with_the_vocabulary(rng):
    sizes = [
        make_model(rng, n, batch_size=None).batch_size for n in (2, 50, 3000)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 16
    assert sizes[2] == noise_module._LARGEST_BATCH


def test_who_has_counts_and_seed_draws_the_same(rng):
    """No row is needed, and parts of a text are subsampled as the whole text is."""
    options = {"sampler": "unigram", "distortion": 0.75, "num_sampled": 5, "subsample": 1e-2, "seed": 3}
    one, two = (Noise(np.array([900, 90, 9]), **options) for _ in "ab")
    ids = rng.integers(-1, 3, 500).astype(np.int32)
    whole = one.thin(ids, 2, 0)
    assert np.concatenate([two.thin(ids[:123], 2, 0), two.thin(ids[123:], 2, 123)]).tolist() == whole.tolist()
    assert len(whole) < 500
    assert (one.keys(2) == two.keys(2)).all()
    assert not (one.keys(2) == one.keys(3)).any()
    np.testing.assert_array_equal(one.table, two.table)


def test_a_further_text_has_its_own_words_and_all_counts():
    options = {"sampler": "unigram", "distortion": 0.75, "num_sampled": 5, "subsample": 0.0, "seed": 3}
    noise = Noise(np.array([900, 90, 9]), present=np.array([3, 0, 4]), **options)
    assert (noise.num_present, noise.expected_words) == (7, 7.0)
    np.testing.assert_array_equal(noise.log_q, Noise(np.array([900, 90, 9]), **options).log_q)
