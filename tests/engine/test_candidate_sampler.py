"""candidate_sampler.py: streams that resume exactly, failed calls, excluded classes, threads."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, reference
from tests.conftest import needs_jit
from tests.engine.sampler_cases import CLASSES, assert_same, make


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seeds", [{"seed": 4}, {"seed": 4, "global_seed": 9}, {"global_seed": 9}])
def test_state_dict_resumes_exactly(name, seeds):
    sampler = make(name, **seeds)
    for _ in range(3):
        sampler.sample([[1], [7]], 5)
    state = sampler.state_dict()
    other = make(name, seed=77)
    other.load_state_dict(state)
    for _ in range(3):
        assert_same(sampler.sample([[1], [7]], 5), other.sample([[1], [7]], 5))


@pytest.mark.parametrize("name", CLASSES)
def test_a_failed_call_draws_nothing(name):
    a, b = make(name, seed=4), make(name, seed=4)
    for bad in (([[50]], 5), ([[1]], 51), ([[1]], 0), ([1], 5)):
        with pytest.raises(ArgumentError):
            a.sample(*bad)
    assert_same(a.sample([[1]], 5), b.sample([[1]], 5))


@needs_jit
@pytest.mark.parametrize("name", ["uniform", "log_uniform", "learned_unigram"])
def test_nearly_all_classes_are_excluded(name):
    """What is left of their probability has no rounding errors."""
    size = 10**6
    sampler = make(name, size, seed=1, exclude_ids=np.arange(size - 2))
    each = np.ones(2)
    if name == "log_uniform":
        each = np.log1p(1 / np.array([size - 1, size])) / np.log1p(size)
    elif name == "learned_unigram":
        sampler.sample(np.zeros((10**6, 1), np.int64), 1)
        sampler.sample(np.full((9, 1), size - 1), 1)
        each[1] = 10
    got = sampler.sample([[size - 2], [size - 1]], 1, unique=False).true_expected_count.ravel()
    np.testing.assert_allclose(got, each / each.sum(), rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in CLASSES if n != "all"])
def test_exclude_ids(name):
    sampler = make(name, 6, seed=1, exclude_ids=[0, 3])
    got = sampler.sample(np.arange(6)[:, None], 2, False)
    kind_weights = np.arange(1, 7) if name == "fixed_unigram" else None
    p = reference.probabilities(name, 6, kind_weights)
    p[[0, 3]] = 0
    np.testing.assert_allclose(got[1].ravel(), 2 * p / p.sum(), rtol=1e-5)
    drawn = np.concatenate([sampler.sample([[1]], 4)[0] for _ in range(50)])
    assert set(drawn.tolist()) == {1, 2, 4, 5}
    with pytest.raises(ArgumentError, match="num_sampled: expected at most 4"):
        sampler.sample([[1]], 5)


@needs_jit
def test_more_candidates_than_tensorflow_can_count():
    """TensorFlow's counter wraps around at 2**20 candidates; ours does not."""
    sampler = numba_ss.UniformSampler(2**40, seed=1)
    a = sampler.sample([[0]], 2**20, False)[0]
    b = sampler.sample([[0]], 2**20, False)[0]
    assert sampler.state_dict()["block"] == 2 * 512 * 2**20
    assert len(np.intersect1d(a, b)) < 10


DAMAGED = [
    ("learned_unigram", "weights", np.full(50, -1, np.int32)),
    ("learned_unigram", "weights", np.arange(50, dtype=np.int32)),
    ("learned_unigram", "weights", np.full(50, 2**30, np.int32)),
    ("learned_unigram", "weights", np.ones(50)),
    ("learned_unigram", "weights", np.ones(3, np.int32)),
    ("uniform", "block", -1),
    ("uniform", "block", 2**64),
    ("uniform", "key", 0.5),
    ("uniform", "high", None),
]


@pytest.mark.parametrize(("name", "field", "value"), DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(name, field, value):
    sampler = make(name, seed=3)
    before = sampler.state_dict()
    with pytest.raises(ArgumentError, match=rf"state_dict\['{field}'\]"):
        sampler.load_state_dict(before | {field: value})
    for key, want in before.items():
        np.testing.assert_array_equal(sampler.state_dict()[key], want)


@pytest.mark.parametrize("name", ["uniform", "learned_unigram"])
@pytest.mark.parametrize("state", [None, [1, 2], "state"])
def test_what_is_no_state_is_refused(name, state):
    with pytest.raises(ArgumentError, match=r"^state_dict: expected what state_dict\(\) returned"):
        make(name).load_state_dict(state)


@pytest.mark.parametrize("value", [-1, 1.5, 2**40])
def test_a_damaged_number_of_seeds_is_refused(value):
    sampler = make("uniform", global_seed=3)
    with pytest.raises(ArgumentError, match="implicit_seeds"):
        sampler.load_state_dict(sampler.state_dict() | {"implicit_seeds": value})


def test_arguments_are_checked_whatever_came_before():
    """Checked arguments are remembered; equal ones of another type are not accepted."""
    labels = [[3], [5]]
    for number, unique in ((0, False), (0, True), (None, False)):
        with pytest.raises(ArgumentError, match="num_sampled"):
            make("uniform").sample(labels, number, unique)
    sampler = make("uniform")
    sampler.sample(labels, 1, True)
    for number in (True, 1.0, np.array([1]), np.array([1, 1]), None):
        with pytest.raises(ArgumentError, match="num_sampled"):
            sampler.sample(labels, number, True)
    with pytest.raises(ArgumentError, match="unique"):
        sampler.sample(labels, 1, 1)
    assert len(sampler.sample(labels, np.int64(1), True).sampled_candidates) == 1


@needs_jit
@pytest.mark.parametrize("name", ["uniform", "log_uniform", "learned_unigram", "fixed_unigram"])
def test_two_threads_draw_what_one_would(name):
    """Each draw has distinct classes; all draws together are the first ones of the stream."""
    rounds, count = 300, 200
    sampler, other = (make(name, 2000, seed=1) for _ in range(2))
    labels = np.arange(64)[:, None]

    def draw(_=None):
        return [sampler.sample(labels, count) for _ in range(rounds)]

    with ThreadPoolExecutor(2) as pool:
        found = [sampled for part in pool.map(draw, range(2)) for sampled in part]
    want = [other.sample(labels, count) for _ in range(2 * rounds)]
    for sampled in found:
        assert len(np.unique(sampled.sampled_candidates)) == count
    assert sorted(map(repr, found)) == sorted(map(repr, want))


@pytest.mark.parametrize("kind", [numba_ss.UniformSampler, numba_ss.LogUniformSampler, numba_ss.LearnedUnigramSampler, numba_ss.FixedUnigramSampler])
def test_a_sampler_out_of_read_only_memory_draws_the_same(kind):
    """As processes get it that share memory: its arrays cannot be written."""
    weights = {"unigrams": np.arange(1.0, 31)} if kind is numba_ss.FixedUnigramSampler else {}
    sampler, labels = kind(30, seed=3, **weights), np.array([[4], [7]])
    sampler.sample(labels, 5)
    buffers = []
    packed = pickle.dumps(sampler, protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(packed, buffers=[bytes(buffer.raw()) for buffer in buffers])
    if kind is numba_ss.LearnedUnigramSampler:
        assert not copy._weights.flags.writeable  # it cannot learn, but it can propose
        got, want = copy.propose(labels, 5, True)[0], sampler.propose(labels, 5, True)[0]
    else:
        got, want = copy.sample(labels, 5), sampler.sample(labels, 5)
    for one, two in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", [numba_ss.UniformSampler, numba_ss.LogUniformSampler])
def test_seek_goes_to_where_calls_lead(kind):
    labels, drawn = np.array([[4], [7]]), []
    there, here = kind(30, seed=3), kind(30, seed=3)
    for _ in range(4):
        drawn.append(there.sample(labels, 5))
    for call in (3, 0, 2):
        here.seek(call, 5)
        for one, two in zip(here.sample(labels, 5), drawn[call], strict=True):
            np.testing.assert_array_equal(one, two)
