"""samplers.py: TensorFlow's numbers, its own test cases, and what goes beyond them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, reference
from tests.conftest import JIT, needs_jit

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
    monkeypatch.setattr(numba_ss.engine.samplers, "MODULUS", 12)
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


def labels_of(weights, rng, size=6):
    """Return a batch of labels that are drawn in proportion to the weights."""
    return rng.choice(len(weights), (size, 1), p=weights / weights.sum())


WEIGHTS = np.arange(1.0, 13)
SAMPLERS = {
    "uniform": lambda: numba_ss.UniformSampler(12, seed=1),
    "log_uniform": lambda: numba_ss.LogUniformSampler(12, seed=1),
    "fixed_unigram": lambda: numba_ss.FixedUnigramSampler(12, unigrams=WEIGHTS, distortion=0.5, seed=1),
    "learned_unigram": lambda: numba_ss.LearnedUnigramSampler(12, seed=1),
    "in_batch": lambda: numba_ss.InBatchSampler(12, counts=WEIGHTS),
    "mixed": lambda: numba_ss.MixedSampler(12, counts=WEIGHTS, seed=1),
}
LABEL_SAMPLERS = ("in_batch", "mixed")


def sums(sampler, f, draws, call):
    """Return what each draw estimates the sum of f over all classes to be."""
    drawn = [call(sampler) for _ in range(draws)]
    return np.array([(f[s[0]] / s[2].astype(float)).sum() for s in drawn])


def assert_mean(values, want):
    """Four standard errors: by chance one run in 16,000 fails."""
    assert abs(values.mean() - want) < 4 * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("name", SAMPLERS)
def test_expected_counts_make_sums_unbiased(name, rng):
    """E[sum over the candidates of f / Q] is the sum of f over all classes.

    Exactly so for draws with replacement, and for labels as candidates; a sampler that
    learns has learned some labels before, and goes on.
    """
    f = rng.uniform(0.1, 1, 12)
    sampler = SAMPLERS[name]()
    if name not in LABEL_SAMPLERS:
        sampler.sample(labels_of(WEIGHTS, rng, 100), 3)
    number = {"in_batch": None}.get(name, 4)
    values = sums(
        sampler, f, 4000 if JIT else 400,
        lambda s: s.sample(labels_of(WEIGHTS, rng), number, name in LABEL_SAMPLERS),
    )
    assert_mean(values, f.sum())


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


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in LABEL_SAMPLERS])
def test_bias_of_draws_until_distinct(name, rng):
    """TensorFlow's Q takes the number of tries for given, though it is random.

    So its sums are not unbiased. They have the mean that follows from the formula: with 4
    classes of 8 it is off by up to 6 % (with 500 of 1,000, drawn uniformly, by 0.07 %).
    """
    f, weights = rng.uniform(0.1, 1, 8), np.arange(1, 9.0)
    make = {
        "uniform": lambda: numba_ss.UniformSampler(8, seed=2),
        "log_uniform": lambda: numba_ss.LogUniformSampler(8, seed=2),
        "fixed_unigram": lambda: numba_ss.FixedUnigramSampler(8, unigrams=weights, distortion=0.5, seed=2),
        "learned_unigram": lambda: numba_ss.LearnedUnigramSampler(8, seed=2),
    }
    sampler, learned = make[name](), np.repeat(np.arange(8), np.arange(8))
    sampler.sample(learned[:, None], 3)
    p = {"fixed_unigram": np.sqrt(weights), "learned_unigram": weights}.get(name)
    if p is None:
        p = reference.probabilities(name, 8)
    p = p / p.sum()
    want = expected_sum(p, f, 4)
    assert 0.005 < abs(want / f.sum() - 1) < 0.06
    no_labels = np.empty((0, 1), np.int64)
    values = sums(sampler, f, 4000 if JIT else 400, lambda s: s.sample(no_labels, 4))
    assert_mean(values, want)


    # The exact way, which takes over where drawing would not end, does the same.
    gen = np.random.default_rng(5)

    def draw(_):
        candidates = np.full(4, -1)
        return candidates, None, sampler._draw_rest(candidates, 0, True, gen)[candidates]

    if name == "learned_unigram":
        sampler._set_weights(weights.astype(np.int32))
    assert_mean(sums(sampler, f, 4000 if JIT else 400, draw), want)


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


DAMAGED = [
    ("learned_unigram", "weights", np.full(50, -1, np.int32)),
    ("learned_unigram", "weights", np.arange(50, dtype=np.int32)),
    ("learned_unigram", "weights", np.full(50, 2**30, np.int32)),
    ("learned_unigram", "weights", np.ones(50)),
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


@pytest.mark.parametrize("value", [-1, 1.5, 2**40])
def test_a_damaged_number_of_seeds_is_refused(value):
    sampler = make("uniform", global_seed=3)
    with pytest.raises(ArgumentError, match="implicit_seeds"):
        sampler.load_state_dict(sampler.state_dict() | {"implicit_seeds": value})


BAD = [
    ("range_max", lambda: numba_ss.UniformSampler(0)),
    ("range_max", lambda: numba_ss.UniformSampler(2**63)),
    ("range_max", lambda: numba_ss.UniformSampler(2.5)),
    ("range_max", lambda: numba_ss.LogUniformSampler(2**52 + 1)),
    ("range_max: .*at most 268435456", lambda: numba_ss.LearnedUnigramSampler(2**31 - 1)),
    ("range_max", lambda: numba_ss.FixedUnigramSampler(2**31, unigrams=[1])),
    ("num_sampled: .*at most 2,", lambda: make("fixed_unigram", 3, unigrams=[1e36, 1e-12, 1]).sample([[0]], 3)),
    ("num_sampled: .*at most 0,", lambda: make("uniform", 3, exclude_ids=[0, 1, 2]).sample([[0]], 1, False)),
    ("seed", lambda: numba_ss.UniformSampler(5, seed=1.5)),
    ("exclude_ids", lambda: numba_ss.UniformSampler(5, exclude_ids=[5])),
    ("unique", lambda: make("uniform").sample([[1]], 1, 1)),
    ("num_sampled", lambda: make("uniform").sample([[1]], 2.7)),
    ("true_classes", lambda: make("uniform").sample([[1.7]], 2)),
    ("true_classes", lambda: make("uniform").sample([1], 2)),
    ("num_sampled: .*softmax_loss", lambda: make("uniform").sample([[1]], 51)),
    ("unigrams", lambda: make("fixed_unigram", unigrams=np.zeros(50))),
    ("unigrams: .*nan at unigrams.1.", lambda: make("fixed_unigram", 2, unigrams=[1, np.nan])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=[1, -1])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=[1, 2, 3])),
    ("unigrams", lambda: make("fixed_unigram", 2, unigrams=["a", "b"])),
    ("unigrams, vocab_file", lambda: numba_ss.FixedUnigramSampler(2)),
    ("shard", lambda: make("fixed_unigram", 2, unigrams=[1, 2], num_shards=2, shard=2)),
    ("distortion", lambda: make("fixed_unigram", 2, unigrams=[1, 2], distortion=np.inf)),
    ("num_sampled", lambda: make("fixed_unigram", 3, unigrams=[1, 0, 2]).sample([[0]], 3)),
    ("state_dict", lambda: make("uniform").load_state_dict(make("log_uniform").state_dict())),
    ("state_dict", lambda: make("uniform").load_state_dict(make("uniform", 9).state_dict())),
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


def test_arguments_are_checked_whatever_came_before():
    """What was checked is remembered, and nothing else that is equal to it."""
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
    """Each draw is of distinct classes, and together they are the first of the stream."""
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
