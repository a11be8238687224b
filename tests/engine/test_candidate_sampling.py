"""candidate_sampling.py: TensorFlow's functions draw what its first call does."""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError
from tests.engine.sampler_cases import CLASSES, LABELS, assert_same, make

FUNCTIONS = {
    name: getattr(numba_ss, f"{name}_candidate_sampler") for name in CLASSES if name != "all"
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_the_first_call_of_an_object(name):
    options = {"unigrams": np.arange(1, 51)} if name == "fixed_unigram" else {}
    got = FUNCTIONS[name](LABELS, 2, 9, True, 50, seed=3, **options)
    assert_same(got, make(name, seed=3).sample(LABELS, 9))


def test_all_candidate_sampler():
    """TensorFlow's candidate_sampler_ops_test, cases 1 and 2."""
    got = numba_ss.all_candidate_sampler(LABELS, 2, 5, True)
    assert got.sampled_candidates.tolist() == [0, 1, 2, 3, 4]
    assert not np.log(got.true_expected_count).any()
    assert got.true_expected_count.shape == (3, 2)
    assert not np.log(got.sampled_expected_count).any()


def test_accidental_hits_with_all_sampled():
    """TensorFlow's case 3."""
    candidates = numba_ss.all_candidate_sampler(LABELS, 2, 5, True).sampled_candidates
    hits = numba_ss.compute_accidental_hits(LABELS, candidates, 2)
    assert hits.indices.dtype == np.int32
    assert len(hits.indices) == len(hits.ids) == len(hits.weights) == 6
    for row, position, weight in zip(*hits, strict=True):
        assert candidates[position] in LABELS[row]
        assert weight < -1e37


@pytest.mark.parametrize("seed", [1, 12, 123, 1234, None])
def test_seeds(seed):
    """TensorFlow's case 4: equal draws with a seed, hardly any without."""
    equal = 0
    for _ in range(10):
        a, b = (
            numba_ss.log_uniform_candidate_sampler(LABELS, 2, 5, True, 100, seed=seed)[0]
            for _ in range(2)
        )
        equal += np.array_equal(a, b)
    assert equal == 10 if seed is not None else equal <= 2


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("range_max", lambda: FUNCTIONS["learned_unigram"]([[1]], 1, 2, True, 2**31 - 1)),
        ("true_classes", lambda: FUNCTIONS["uniform"]([[1]], 2, 2, True, 9)),
        ("num_true", lambda: FUNCTIONS["uniform"]([[1]], 0, 2, True, 9)),
        ("sampled_candidates", lambda: numba_ss.compute_accidental_hits([[1]], [[1]], 1)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ArgumentError, match=message):
        call()
