"""remaining_draws.py: draws end, and have the distribution of drawing on."""

import numpy as np
import pytest

import numba_ss
from numba_ss.engine.remaining_draws import draw_remaining
from tests.conftest import needs_jit
from tests.engine.sampler_cases import assert_mean, assert_same, expected_sum, sums


@pytest.mark.parametrize("weights", [np.ones(8), np.arange(1, 9.0), np.arange(1, 9.0) ** 0.5])
def test_sums_over_remaining_draws_have_the_mean_of_drawing_on(weights, rng):
    f, p = rng.uniform(0.1, 1, 8), weights / weights.sum()

    def draw(rng):
        candidates = np.full(4, -1)
        counts = draw_remaining(p, candidates, 0, True, rng)
        return candidates, None, counts[candidates]

    values = sums(np.random.default_rng(5), f, 4000, draw)
    assert_mean(values, expected_sum(p, f, 4))


@needs_jit
@pytest.mark.parametrize(
    ("weights", "count"),
    [([1e36, 1e-12, 1], 2), ([1e12] + [1] * 999, 1000), ([1e12] + [1] * 999, 20), ([3e38, 1, 1], 3)],
)
def test_distinct_draws_from_weights_of_very_different_size_end(weights, count):
    sampler = numba_ss.FixedUnigramSampler(len(weights), unigrams=weights, seed=1)
    labels = np.arange(3)[:, None]
    for _ in range(2):
        candidates, true_count, sampled_count = sampler.sample(labels, count)
        assert len(np.unique(candidates)) == count
        assert candidates[0] == 0
        assert ((sampled_count > 0) & (sampled_count <= 1)).all()
        assert sampled_count[0] == true_count[0, 0] == 1
    other = numba_ss.FixedUnigramSampler(len(weights), unigrams=weights, seed=1)
    other.sample(labels, count)
    assert_same(other.sample(labels, count), (candidates, true_count, sampled_count))


@needs_jit
@pytest.mark.parametrize("unique", [False, True])
def test_draws_beside_many_excluded_classes_end(unique):
    left, size = [7, 1000, 2**20 - 1], 2**20
    exclude = np.setdiff1d(np.arange(size), left)
    sampler = numba_ss.UniformSampler(size, seed=1, exclude_ids=exclude)
    count = 3 if unique else 300
    candidates, true_count, sampled_count = sampler.sample([[7], [8]], count, unique)
    assert np.unique(candidates).tolist() == left
    if unique:
        assert ((sampled_count > 0) & (sampled_count <= 1)).all()
    else:
        np.testing.assert_allclose(sampled_count, 100)
        np.testing.assert_allclose(true_count, [[100], [0]])
