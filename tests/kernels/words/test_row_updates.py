"""row_updates.py: sums of gradients, and a bound on how far they move a row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.engine.memory import widen
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.words import row_updates
from numba_ss.kernels.words.row_updates import OWNERS, SAMPLES


def make_lists(num_words, count, stride, tasks=1):
    region = -(-(num_words + 1) // OWNERS)
    return row_updates.Lists(
        heads=np.zeros(OWNERS * region, np.int32),
        **{name: np.zeros((tasks, count), np.int32) for name in ("following", "words")},
        sums=np.zeros((tasks, stride), np.float32), means=None,
        rows=np.r_[np.arange(SAMPLES) * stride, 0, 0],
        products=np.zeros((tasks, SAMPLES * SAMPLES), np.float32),
    )


def sorted_by_owner(words, weights, absent):
    """Return `words` (chunks, occurrences), where those of each owner begin, and their order."""
    words, weights = np.atleast_2d(words), np.atleast_2d(weights)
    starts, order = np.full((len(words), OWNERS + 1), 7, np.int32), np.zeros(words.shape, np.int32)
    for c, part in enumerate(words):
        row_updates.sort_owners(part, weights[c], absent, starts[c], order[c])
    return words, starts, order


def update(table, words, grads, weights, samples, cuts=(0, OWNERS)):
    """Return the table after an update whose owners are cut in tasks."""
    num_words, dim = table.shape
    wide, steps = widen(table, num_words + 1), widen(grads, len(grads))
    lists = make_lists(num_words, len(words), wide.shape[1], len(cuts) - 1)
    rows = widen(samples.astype(np.float32), SAMPLES)
    mean = np.zeros(rows.shape[1], np.float32)
    none = np.empty(0, np.float32)
    moments = map(np.float32, row_updates.measure_samples(rows, lists.rows, lists.products[0], mean))
    met = row_updates.Met(rows, mean, *moments)
    words, starts, order = sorted_by_owner(words, weights, num_words)
    found = row_updates.Occurrences(
        words, weights[None], starts, order, steps.reshape(1, -1), none
    )
    squares = [
        row_updates.update_rows(
            task, cuts[task], cuts[task + 1], found, met, wide, -(-dim // LANES), lists
        )
        for task in range(len(cuts) - 1)
    ]
    assert not wide[num_words].any()
    assert not lists.heads.any()
    return wide[:num_words, :dim], max(squares)


def make_case(rng, count, num_words, dim, scale):
    """Return occurrences as a batch makes them: sums of coefficients times rows that were met."""
    words = rng.integers(0, num_words + 1, count)
    met = rng.standard_normal((count, 3, dim)) + rng.standard_normal(dim)
    coefficients = scale * rng.standard_normal((count, 3)) * rng.random((count, 1))
    grads = np.einsum("ij,ijd->id", coefficients, met).astype(np.float32)
    weights = np.abs(coefficients).sum(axis=1).astype(np.float32)
    weights[words == num_words] = grads[words == num_words] = 0
    table = rng.standard_normal((num_words, dim)).astype(np.float32)
    return table, words, grads, weights, met[np.arange(SAMPLES) % count, 0]


@pytest.mark.parametrize("shape", [(1, 5), (3, 40), (64, 7)])
def test_samples(shape, rng):
    """sample_rows, chunk by chunk in any order, and measure_samples."""
    table = widen(rng.standard_normal((30, 20)).astype(np.float32), 31)
    for words in (rng.integers(0, 31, shape), rng.integers(0, 30, shape), np.full(shape, 30)):
        samples = np.full((SAMPLES, table.shape[1]), 7, np.float32)
        for c in rng.permutation(shape[0]):
            row_updates.sample_rows(c, table, words, samples)
        rows = reference.sample_rows(
            table[:30, :20], np.where(words == 30, -1, words).reshape(-1), SAMPLES
        )
        np.testing.assert_array_equal(samples[:, :20], rows.astype(np.float32))
        assert not samples[:, 20:].any()
        out = np.full(table.shape[1], 7, np.float32)
        lists = make_lists(30, 1, table.shape[1])
        share, square, steepest = row_updates.measure_samples(
            samples, lists.rows, lists.products[0], out
        )
        mean, *expected = reference.measure_samples(rows)
        np.testing.assert_allclose(out[:20], mean, atol=1e-6)
        assert square == pytest.approx(mean @ mean, rel=1e-5)
        assert [share, steepest] == pytest.approx(expected, rel=1e-5)
        spread = np.linalg.eigvalsh(rows.T @ rows)[-1] * share
        assert spread <= 1.00001 * steepest


def test_sort_owners(rng):
    words, weights = rng.integers(0, 201, 300), (rng.random(300) < 0.7).astype(np.float32)
    _, starts, order = sorted_by_owner(words, weights, 200)
    expected = reference.sort_owners(words, weights, 200, OWNERS)
    for owner in range(OWNERS):
        assert order[0, starts[0, owner] : starts[0, owner + 1]].tolist() == expected[owner]
    assert starts[0, 0] == 0
    assert sorted(order[0].tolist()) == list(range(300))


def test_list_occurrences(rng):
    words = rng.integers(0, 201, (9, 100))
    weights = (rng.random((9, 100)) < 0.7).astype(np.float32)
    words, starts, order = sorted_by_owner(words, weights, 200)
    lists = make_lists(200, 900, 8)
    region = len(lists.heads) // OWNERS
    found = {}
    for first, last in ((0, 5), (5, 6), (6, OWNERS)):
        occurrences = row_updates.Occurrences(words, weights, starts, order, weights, weights[0, :0])
        num_words = row_updates.list_occurrences(0, first, last, occurrences, lists)
        for which in range(num_words):
            word = int(lists.words[0, which])
            head = word % OWNERS * region + word // OWNERS
            places, i = [], lists.heads[head] - 1
            lists.heads[head] = 0
            while i >= 0:
                places.append(int(i))
                i = lists.following[0, i]
            assert first <= word % OWNERS < last
            assert word not in found
            found[word] = places
    known = np.flatnonzero((weights != 0) & (words != 200))
    expected = reference.list_occurrences(words.flat[known])
    assert found == {word: known[places].tolist() for word, places in expected.items()}
    assert not lists.heads.any()


@pytest.mark.parametrize("scale", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize(("num_words", "dim"), [(1, 1), (3, 20), (300, 100)])
def test_update_rows(num_words, dim, scale, rng):
    table, words, grads, weights, known = make_case(rng, 400, num_words, dim, scale)
    own = words < num_words
    expected = reference.update_rows(table, words[own], grads[own], weights[own], known)
    got, most = update(table, words, grads, weights, known)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * max(scale, 1))
    changed = got[np.unique(words[own])]
    assert most == pytest.approx((changed.astype(float) ** 2).sum(axis=1).max(), rel=1e-4)


def test_bits_do_not_depend_on_the_tasks(rng):
    table, words, grads, weights, known = make_case(rng, 400, 50, 24, 0.2)
    whole, _ = update(table, words, grads, weights, known)
    for cuts in ((0, 32, OWNERS), (0, 1, 7, 8, 50, OWNERS)):
        np.testing.assert_array_equal(update(table, words, grads, weights, known, cuts)[0], whole)


def test_what_does_not_repeat_is_added(rng):
    """The plain sum, where the rate is that of training: no row moves its scores by 1."""
    for scale in (1e-4, 1e-3):
        table, _, grads, weights, known = make_case(rng, 60, 300, 100, scale)
        words = rng.permutation(300)[:60]
        got, _ = update(table, words, grads, weights, known)
        expected = table.copy()
        expected[words] += grads
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 4), st.sampled_from([1, 2, 8, 40]),
    st.floats(1e-3, 1e4), st.integers(1, 300),
)
def test_no_row_moves_its_scores_by_more_than_one(seed, count, num_words, dim, scale, repeat):
    """Whatever repeats and at any rate, in the mean over what it met, as the module says."""
    rng = np.random.default_rng(seed)
    table, words, grads, weights, known = make_case(rng, count, num_words, dim, scale)
    words, grads, weights = (np.repeat(x, repeat, axis=0) for x in (words, grads, weights))
    got, _ = update(table, words, grads, weights, known)
    change, mean = got.astype(float) - table, reference.measure_samples(known)[0]
    for word in range(num_words):
        own = (words == word) & (weights > 0)
        if not own.any():
            continue
        met = grads[own].astype(float) / weights[own, None]
        rest = change[word] - (change[word] @ mean) / (mean @ mean) * mean
        # float32 rounds the row that the change is read off.
        slack = 1e-5 * (np.abs(got[word]).max() + np.abs(table[word]).max())
        reach = np.linalg.norm(met, axis=1).max()
        square = np.average((met @ rest) ** 2, weights=weights[own])
        assert np.sqrt(square) <= 1.001 + slack * reach * np.sqrt(dim)
        assert np.linalg.norm(rest) <= 4.001 * reach + slack * np.sqrt(dim)
        most = np.abs(met @ mean).max() / (mean @ mean + 0.25)
        assert abs(change[word] @ mean) <= 1.001 * most + slack * np.abs(mean).sum()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.floats(0.001, 0.1), st.sampled_from([1, 5, 30]))
def test_a_repeated_pair_goes_no_further_than_single_steps(seed, repeat, rate, dim):
    """The score of one pair, learned `repeat` times over: in float64, one step after the other."""
    rng = np.random.default_rng(seed)
    row, met = rng.standard_normal((2, dim)) * rng.uniform(0.1, 2, (2, 1)) / np.sqrt(dim)
    p = 1 / (1 + np.exp(-row @ met))
    grad = np.tile(rate * (1 - p) * met, (repeat, 1)).astype(np.float32)
    weights = np.full(repeat, rate * (1 - p), np.float32)
    got, _ = update(
        row[None].astype(np.float32), np.zeros(repeat, int), grad, weights, np.tile(met, (SAMPLES, 1))
    )
    single = row.copy()
    for _ in range(repeat):
        single += rate * met / (1 + np.exp(single @ met))
    batch, steps = got[0] @ met - row @ met, (single - row) @ met
    assert -1e-4 <= batch <= max(1.0, steps) + 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_told(value, rng):
    table, words, grads, weights, known = make_case(rng, 50, 5, 8, 0.1)
    words[:], weights[:] = np.arange(50) % 5, 1
    grads[words == 1] = value
    _, most = update(table, words, grads, weights, known)
    assert most == np.inf
