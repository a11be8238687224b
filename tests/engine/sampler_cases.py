"""The samplers that several test files try, by name."""

import numpy as np

import numba_ss

CLASSES = {
    "uniform": numba_ss.UniformSampler,
    "log_uniform": numba_ss.LogUniformSampler,
    "learned_unigram": numba_ss.LearnedUnigramSampler,
    "fixed_unigram": numba_ss.FixedUnigramSampler,
    "all": numba_ss.AllSampler,
}
LABELS = [[1, 2], [0, 4], [3, 3]]


def make(name, range_max=50, **options):
    if name == "fixed_unigram":
        options.setdefault("unigrams", np.arange(1, range_max + 1))
    return CLASSES[name](range_max, **options)


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def sums(sampler, f, draws, call):
    """Return what each draw estimates the sum of f over all classes to be."""
    drawn = [call(sampler) for _ in range(draws)]
    return np.array([(f[s[0]] / s[2].astype(float)).sum() for s in drawn])


def assert_mean(values, want):
    """Four standard errors: by chance one run in 16,000 fails."""
    assert abs(values.mean() - want) < 4 * values.std(ddof=1) / np.sqrt(len(values))


def expected_sum(p, f, num_sampled, tries=400):
    """Return the mean of the sum of f / Q over sets of distinct candidates.

    The chance of each set after each number of tries is followed; a draw stops at
    num_sampled classes. Q is TensorFlow's 1 - (1 - p) ** tries, or num_sampled * p where
    no class came twice.
    """
    sets = np.arange(1 << len(p))
    holds = (sets[:, None] >> np.arange(len(p))) & 1
    full = holds.sum(axis=1) == num_sampled
    chance, mean = (sets == 0).astype(float), 0.0
    for num_tries in range(1, tries + 1):
        following = chance * (holds @ p)  # what was drawn is drawn again
        for c in range(len(p)):
            without = sets[holds[:, c] == 0]
            following[without | (1 << c)] += chance[without] * p[c]
        q = num_tries * p if num_tries == num_sampled else 1 - (1 - p) ** num_tries
        mean += (following[full, None] * holds[full] * f / q).sum()
        chance = np.where(full, 0, following)
    assert chance.sum() < 1e-9
    return mean
