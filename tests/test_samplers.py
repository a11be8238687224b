"""samplers.py: TensorFlow's numbers, its own test cases, and what goes beyond them."""

import numpy as np
import pytest
from conftest import JIT, needs_jit

import numba_ss
from numba_ss import ArgumentError, reference

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


def test_every_golden_call(golden):
    """All candidates, and all expected counts in their bits, of TensorFlow 2.21."""
    calls = 0
    for case in golden["samplers"]:
        sampler = CLASSES[case["sampler"]](
            case["range_max"], seed=case["op_seed"], global_seed=case["global_seed"],
            **case["kwargs"],
        )
        for call in case["calls"]:
            got = sampler.sample(case["true_classes"], case["num_sampled"], case["unique"])
            calls += 1
            assert got.sampled_candidates.tolist() == call["sampled"], case
            for counts, name in zip(got[1:], ("true", "sampled"), strict=True):
                bits = np.array(call[f"{name}_expected_bits"], np.uint32)
                if JIT:
                    assert counts.view(np.uint32).ravel().tolist() == bits.tolist(), case
                else:  # Python's log1p and expm1 know float64 alone
                    np.testing.assert_allclose(counts.ravel(), bits.view(np.float32), rtol=1e-6)
    assert calls == 466


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


@pytest.mark.parametrize("label", [10, -10])
def test_label_out_of_range(label):
    """TensorFlow's case 5."""
    with pytest.raises(ArgumentError, match=rf"true_classes: .*\[0, 2\), got {label} at"):
        numba_ss.log_uniform_candidate_sampler([[label]], 1, 1000, False, 2)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_a_single_class(name, unique):
    """TensorFlow's case 6."""
    got = make(name, 1, seed=1).sample([[0]], 1, unique)
    assert [x.ravel().tolist() for x in got] == [[0], [1.0], [1.0]]


@pytest.mark.parametrize("name", ["uniform", "log_uniform"])
def test_a_large_range(name):
    """TensorFlow's case 6."""
    got = make(name, 2**32 + 1, seed=1).sample([[0, 2**32]], 2)
    assert (got.sampled_candidates < 2**32 + 1).all()
    for counts in got[1:]:
        assert np.isfinite(counts).all()
        assert (counts > 0).all()


def test_fixed_unigram_of_the_cpp_test(tmp_path):
    """Weights 2**0 .. 2**8, distortion 0.8, from a list, a file, and with reserved ids."""
    weights = [2.0**i for i in range(9)]
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"word{i}, {w}\r\n\n" for i, w in enumerate(weights)))
    p = np.array(weights) ** 0.8 / 197.05
    for reserved in (0, 1, 2):
        for source in ({"unigrams": weights}, {"vocab_file": str(path)}):
            sampler = numba_ss.FixedUnigramSampler(
                9 + reserved, distortion=0.8, num_reserved_ids=reserved, seed=0, **source
            )
            got = sampler.sample(np.arange(9 + reserved)[:, None], 1, False)
            np.testing.assert_allclose(got[1].ravel()[reserved:], p, atol=1e-4)
            assert not got[1][:reserved].any()


def test_learned_unigram_of_the_cpp_test():
    sampler = numba_ss.LearnedUnigramSampler(10, seed=0)
    for _ in range(10):
        sampler.sample([[3]], 1, False)
    got = sampler.sample(np.arange(10)[:, None], 1, False).true_expected_count.ravel()
    np.testing.assert_allclose(got, np.where(np.arange(10) == 3, 0.55, 0.05), atol=1e-4)


def test_learned_unigram_stops_at_saturation(monkeypatch):
    monkeypatch.setattr(numba_ss.samplers, "MODULUS", 12)
    sampler = numba_ss.LearnedUnigramSampler(10, seed=0)
    sampler.sample([[1, 2, 3]], 1)
    assert sampler.state_dict()["weights"].tolist() == [1, 2, 2, 1, 1, 1, 1, 1, 1, 1]


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
    """TensorFlow's counter wraps at 2**20 candidates; ours goes on."""
    sampler = numba_ss.UniformSampler(2**40, seed=1)
    a = sampler.sample([[0]], 2**20, False)[0]
    b = sampler.sample([[0]], 2**20, False)[0]
    assert sampler.state_dict()["block"] == 2 * 512 * 2**20
    assert len(np.intersect1d(a, b)) < 10


def test_in_batch_with_counts():
    counts = np.array([8, 4, 2, 1, 1])
    sampler = numba_ss.InBatchSampler(5, counts=counts)
    labels = np.array([[1], [0], [1], [4]])
    got = sampler.sample(labels)
    chance = 1 - (1 - counts / 16) ** 4
    assert got.sampled_candidates.tolist() == [0, 1, 4]
    np.testing.assert_allclose(got.sampled_expected_count, chance[[0, 1, 4]], rtol=1e-6)
    np.testing.assert_allclose(got.true_expected_count, chance[labels], rtol=1e-6)
    assert numba_ss.InBatchSampler(5, exclude_ids=[1]).sample(labels)[0].tolist() == [0, 4]


def test_in_batch_estimates_the_frequency(rng):
    """Yi et al.: one over the mean gap approaches the share of batches with the class."""
    sampler = numba_ss.InBatchSampler(3, decay=0.01)
    chance = np.array([0.5, 0.1])
    for _ in range(4000):
        present = np.flatnonzero(rng.random(2) < chance)
        got = sampler.sample(np.append(present, 2)[:, None])
    assert got.sampled_expected_count[-1] == 1
    estimate = 1 / sampler.state_dict()["gap"][:2]
    # The running mean's own spread: sqrt(decay / 2) of a geometric gap's.
    np.testing.assert_allclose(estimate, chance, rtol=5 * np.sqrt(0.005))


def test_in_batch_state():
    sampler, other = (numba_ss.InBatchSampler(9) for _ in range(2))
    for i in range(5):
        sampler.sample([[i], [3]])
    other.load_state_dict(sampler.state_dict())
    assert_same(sampler.sample([[2], [8]]), other.sample([[2], [8]]))


BAD = [
    ("range_max", lambda: numba_ss.UniformSampler(0)),
    ("range_max", lambda: numba_ss.UniformSampler(2**63)),
    ("range_max", lambda: numba_ss.UniformSampler(2.5)),
    ("range_max", lambda: numba_ss.LogUniformSampler(2**52 + 1)),
    ("range_max", lambda: numba_ss.LearnedUnigramSampler(2**31)),
    ("seed", lambda: numba_ss.UniformSampler(5, seed=1.5)),
    ("exclude_ids", lambda: numba_ss.UniformSampler(5, exclude_ids=[5])),
    ("unique", lambda: make("uniform").sample([[1]], 1, 1)),
    ("num_sampled", lambda: make("uniform").sample([[1]], 2.7)),
    ("true_classes", lambda: make("uniform").sample([[1.7]], 2)),
    ("true_classes", lambda: make("uniform").sample([1], 2)),
    ("num_sampled: .*softmax_loss", lambda: make("uniform").sample([[1]], 51)),
    ("true_classes", lambda: FUNCTIONS["uniform"]([[1]], 2, 2, True, 9)),
    ("num_true", lambda: FUNCTIONS["uniform"]([[1]], 0, 2, True, 9)),
    ("unigrams", lambda: make("fixed_unigram", unigrams=np.zeros(50))),
    ("unigrams: .*nan at unigrams.1.", lambda: make("fixed_unigram", 2, unigrams=[1, np.nan])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=[1, -1])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=[1, 2, 3])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=["a", "b"])),
    ("unigrams, vocab_file", lambda: numba_ss.FixedUnigramSampler(2)),
    ("shard", lambda: make("fixed_unigram", 2, unigrams=[1, 2], num_shards=2, shard=2)),
    ("distortion", lambda: make("fixed_unigram", 2, unigrams=[1, 2], distortion=np.inf)),
    ("num_sampled", lambda: make("fixed_unigram", 3, unigrams=[1, 0, 2]).sample([[0]], 3)),
    ("counts", lambda: numba_ss.InBatchSampler(3, counts=[1, 2])),
    ("decay", lambda: numba_ss.InBatchSampler(3, decay=0)),
    ("num_sampled", lambda: numba_ss.InBatchSampler(3).sample([[1]], 2)),
    ("unique", lambda: numba_ss.InBatchSampler(3).sample([[1]], None, False)),
    ("state_dict", lambda: make("uniform").load_state_dict(make("log_uniform").state_dict())),
    ("state_dict", lambda: make("uniform").load_state_dict(make("uniform", 9).state_dict())),
    ("sampled_candidates", lambda: numba_ss.compute_accidental_hits([[1]], [[1]], 1)),
]


@pytest.mark.parametrize(("message", "call"), BAD)
def test_bad_input(message, call):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize(("line", "count"), [("a\tb", 1), ("1,2\n\nx,", 3)])
def test_bad_vocab_file(line, count, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text(line)
    with pytest.raises(ArgumentError, match=f"vocab_file: .*line {count}"):
        numba_ss.FixedUnigramSampler(2, vocab_file=path)


def test_missing_vocab_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        numba_ss.FixedUnigramSampler(2, vocab_file=tmp_path / "none")
