"""sampling.py: draws and their helpers, against the specification."""

import numpy as np
import pytest
from scipy import stats

from numba_ss import reference
from numba_ss.kernels.softmax import sampling

KINDS = ["uniform", "log_uniform", "learned_unigram", "fixed_unigram"]
EMPTY = np.empty(0, np.int64)


class Distribution:
    """The tables of one distribution over `range_max` classes, for kernels."""

    def __init__(self, kind, range_max, rng, zeros=False):
        self.kind, self.range_max = kind, range_max
        self.weights = rng.integers(1, 9, range_max).astype(np.int32)
        self.tree = self.alias = EMPTY
        self.cut = np.empty(0, np.float32)
        if kind == "learned_unigram":
            self.tree = np.empty(range_max + 1, np.int64)
            sampling.fill_tree(self.weights, self.tree)
        elif kind == "fixed_unigram":
            self.weights = self.weights.astype(np.float32)
            if zeros:
                self.weights[::3] = 0
            self.cut = np.empty(range_max, np.float32)
            self.alias = np.empty(range_max, np.int64)
            low, high = np.empty((2, range_max), np.int64)
            sampling.fill_alias(
                self.weights, self.cut, self.alias, np.empty(range_max), low, high
            )
        self.total = float(self.weights.sum())
        self.log_range = float(np.log1p(range_max))

    def probabilities(self):
        weighted = self.kind.endswith("unigram")
        return reference.probabilities(
            self.kind, self.range_max, self.weights if weighted else None
        )

    def arguments(self, unique, block, exclude):
        draw = (
            np.uint64(7), np.uint64(11), np.uint64(block), unique,
            np.zeros(sampling.SCRATCH_SIZE, np.uint64), np.empty(4096, np.int64),
        )
        return self.tables(exclude), *draw

    def tables(self, exclude=EMPTY, kept=1.0):
        return sampling.Distribution(
            KINDS.index(self.kind), self.range_max, self.log_range, self.total, self.weights,
            self.tree, self.cut, self.alias, exclude, kept,
        )

    def draw(self, num_sampled, unique, block=0, exclude=EMPTY):
        out = np.empty(num_sampled, np.int64)
        return out, sampling.draw_candidates(*self.arguments(unique, block, exclude), out)

    def reference_draw(self, num_sampled, unique, block=0, exclude=()):
        return reference.draw_candidates(
            self.kind, reference.start_stream(7, 11, block), self.range_max, num_sampled, unique,
            self.weights, exclude, self.cut, self.alias,
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("exclude", [EMPTY, np.array([0, 3])])
def test_draws_are_the_reference_s(kind, unique, exclude, rng):
    distribution = Distribution(kind, 37, rng)
    for block in (0, 1000, 2**33):
        got, num_tries = distribution.draw(30, unique, block, exclude)
        ref, ref_tries = distribution.reference_draw(30, unique, block, exclude)
        assert got.tolist() == ref
        assert num_tries == ref_tries
        assert not np.isin(got, exclude).any()


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_distribution(kind, rng):
    """Chi-square; with four fixed seeds the test errs once in a thousand by chance."""
    distribution = Distribution(kind, 20, rng, zeros=True)
    drawn, _ = distribution.draw(2000, False)
    p = distribution.probabilities()
    count = np.bincount(drawn, minlength=20)
    assert not count[p == 0].any()
    assert stats.chisquare(count[p > 0], 2000 * p[p > 0]).pvalue > 2.5e-4


@pytest.mark.parametrize("kind", KINDS)
def test_expected_counts_are_what_occurs(kind, rng):
    """Mean occurrences over many batches; with replacement the count is exact."""
    distribution = Distribution(kind, 12, rng)
    p = distribution.probabilities()
    rounds = 400
    for unique in (False, True):
        seen, expected = np.zeros(12), np.zeros(12)
        for i in range(rounds):
            drawn, num_tries = distribution.draw(6, unique, block=10_000 * i)
            seen += np.bincount(drawn, minlength=12)
            expected += reference.expected_counts(p, num_tries, 6)
        # Five standard errors; for distinct draws the formula itself is approximate.
        margin = 5 * np.sqrt(6 / rounds) * np.sqrt(p.max()) + (0.1 if unique else 0)
        assert np.abs(seen - expected).max() / rounds < margin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tries", [5, 9])
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_expected_counts(kind, num_tries, num_chunks, rng):
    distribution = Distribution(kind, 12, rng)
    labels, candidates = rng.integers(0, 12, 7), rng.integers(0, 12, 5)
    exclude = np.array([2, 5])
    p = distribution.probabilities()
    p[exclude] = 0
    p /= p.sum()
    out = np.empty(7, np.float32), np.empty(5, np.float32)
    sampling.expected_counts(
        distribution.tables(exclude, 1 - distribution.probabilities()[exclude].sum()), labels,
        candidates, num_tries, num_chunks, np.full(6, np.nan, np.float32), *out,
    )
    for rows, got in zip((labels, candidates), out, strict=True):
        ref = reference.expected_counts(p[rows], num_tries, 5)
        np.testing.assert_allclose(got, ref, rtol=2e-6)
        assert not got[np.isin(rows, exclude)].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unique", [False, True])
def test_draw_and_count(kind, unique, rng):
    distribution = Distribution(kind, 37, rng)
    labels = rng.integers(0, 37, (9, 2))
    counts = np.empty((9, 2), np.float32), np.empty(30, np.float32)
    out = np.empty(30, np.int64)
    num_tries = sampling.draw_and_count(
        *distribution.arguments(unique, 0, EMPTY), np.full(20, np.nan, np.float32), labels, out,
        *counts,
    )
    candidates, *ref = reference.draw_and_count(
        distribution.probabilities(), labels, kind=kind, stream=reference.start_stream(7, 11, 0),
        range_max=37, num_sampled=30, unique=unique, weights=distribution.weights,
        cut=distribution.cut, alias=distribution.alias,
    )
    assert out.tolist() == candidates
    assert num_tries >= 30
    for got, want in zip(counts, ref, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-6)


def test_tree_learns_and_finds(rng):
    weights = rng.integers(1, 5, 21).astype(np.int32)
    tree = np.empty(22, np.int64)
    sampling.fill_tree(weights, tree)
    np.testing.assert_array_equal(tree, reference.fill_tree(weights))
    labels = rng.integers(0, 21, 50)
    ref = reference.learn_labels(labels, weights, 40)
    sampling.learn_labels(labels, weights, tree, 40)
    np.testing.assert_array_equal(weights, ref)
    np.testing.assert_array_equal(tree, reference.fill_tree(ref))
    cumulative = np.cumsum(ref)
    for value in range(int(cumulative[-1])):
        assert sampling._tree_find(tree, value) == np.searchsorted(cumulative, value, "right")


@pytest.mark.parametrize(
    "weights", [[1], [0.5, 0.5], [1, 1, 1], [0.8, 0.15, 0.05], [1, 0, 200, 5, 42]]
)
def test_alias_table_stands_for_the_weights(weights):
    weights = np.array(weights, np.float32)
    n = len(weights)
    cut, alias = np.empty(n, np.float32), np.empty(n, np.int64)
    sampling.fill_alias(weights, cut, alias, np.empty(n), *np.empty((2, n), np.int64))
    np.testing.assert_allclose(
        reference.fill_alias(cut, alias), weights / weights.sum(dtype=float), atol=1e-6
    )


@pytest.mark.parametrize("distortion", [1, 0.75, 0, -0.5, 2])
def test_distort(distortion, rng):
    unigrams = rng.uniform(0.5, 100, 30).astype(np.float32)
    out = np.empty_like(unigrams)
    total = sampling.distort(unigrams, np.float32(distortion), out)
    ref = reference.distort(unigrams, distortion)
    np.testing.assert_allclose(out, ref, rtol=1e-6)
    assert total == pytest.approx(ref.sum(), rel=1e-5)


def test_find_hits_reports_the_last_position(rng):
    candidates = np.array([5, 9, 5, 2**40, 0])
    labels = np.array([5, 1, 0, 2**40, 9])
    out = np.empty(5, np.int32)
    sampling.find_hits(labels, candidates, np.empty(16, np.int32), out)
    assert out.tolist() == reference.find_hits(labels, candidates).tolist() == [2, -1, 4, 3, 1]


def test_find_hits_of_many(rng):
    candidates, labels = rng.integers(0, 300, 200), rng.integers(0, 300, 500)
    out = np.empty(500, np.int32)
    sampling.find_hits(labels, candidates, np.empty(512, np.int32), out)
    np.testing.assert_array_equal(out, reference.find_hits(labels, candidates))
