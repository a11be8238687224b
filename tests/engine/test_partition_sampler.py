"""partition_sampler.py: subsets that stay for many batches, and sums that are right over all of them."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numba_ss import (
    ArgumentError,
    FixedUnigramSampler,
    InBatchSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    PartitionSampler,
    SampledSoftmax,
    UniformSampler,
    reference,
    sampled_softmax_loss,
)
from tests.conftest import JIT, needs_jit

WEIGHTS = np.arange(1.0, 13)
PROPOSALS = {
    "uniform": lambda **options: UniformSampler(12, **options),
    "log_uniform": lambda **options: LogUniformSampler(12, **options),
    "fixed_unigram": lambda **options: FixedUnigramSampler(12, unigrams=WEIGHTS, **options),
}
NO_LABELS = np.empty((0, 1), np.int64)
ALL = np.arange(12)[:, None]


def probabilities(name):
    return reference.probabilities(name, 12, WEIGHTS if name == "fixed_unigram" else None)


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_subset_is_what_the_proposal_draws(name):
    """Anew for each three batches, and it consists of the distinct classes."""
    sampler, other = PartitionSampler(PROPOSALS[name](seed=1), 9, 3), PROPOSALS[name](seed=1)
    for _ in range(4):
        want = np.unique(other.sample(NO_LABELS, 9, False).sampled_candidates)
        for _ in range(3):
            got = sampler.sample(NO_LABELS)
            assert sorted(got.sampled_candidates) == want.tolist() == sampler.subset.tolist()
    assert PartitionSampler(other, 9).subset.size == 0


@pytest.mark.parametrize("name", PROPOSALS)
def test_expected_counts_by_hand(name):
    """The chance to be among n draws, times the part of the subset that is taken."""
    sampler, p = PartitionSampler(PROPOSALS[name](seed=1), 9, 3), probabilities(name)
    for number in (2, 4, None, 12, 1, 2):
        got = sampler.sample(ALL, number)
        size = len(sampler.subset)
        count = size if number is None else min(number, size)
        want = count / size * (1 - (1 - p.astype(float)) ** 9)
        assert len(got.sampled_candidates) == count
        np.testing.assert_allclose(got.true_expected_count[:, 0], want, rtol=1e-5)
        np.testing.assert_allclose(
            got.sampled_expected_count, want[got.sampled_candidates], rtol=1e-5
        )


def test_the_classes_of_a_subset_come_in_turn():
    sampler = PartitionSampler(UniformSampler(1000, seed=1), 40)
    drawn = [sampler.sample([[0]], 7).sampled_candidates for _ in range(200)]
    assert all(len(set(candidates)) == 7 for candidates in drawn)
    size = len(sampler.subset)
    drawn = np.concatenate(drawn)
    np.testing.assert_array_equal(np.sort(drawn[:size]), sampler.subset)
    np.testing.assert_array_equal(drawn[size:], drawn[:-size])


def test_the_targets_of_batches_as_subset():
    proposal = FixedUnigramSampler(12, unigrams=WEIGHTS, seed=1, exclude_ids=[4])
    sampler = PartitionSampler(proposal)
    p = WEIGHTS / (WEIGHTS.sum() - 5)
    p[4] = 0
    for labels in (
        np.array([[7, 2], [4, 7], [3, -1]]),
        np.ma.masked_values([[7, 2, 11], [4, 7, 3]], 11),
        [7, 2, 4, 7, 3],
    ):
        sampler.begin_partition(labels)
        assert sampler.subset.tolist() == [2, 3, 7]
        for number in (2, 1, None):
            got = sampler.sample([[7], [2], [4], [9]], number)
            # Five labels, the class that is never drawn among them, of which the rest are three.
            want = (number or 3) / 3 * (1 - (1 - p) ** 5)
            np.testing.assert_allclose(got.true_expected_count[:, 0], want[[7, 2, 4, 9]], rtol=1e-5)
            np.testing.assert_allclose(
                got.sampled_expected_count, want[got.sampled_candidates], rtol=1e-5
            )
    sampler = PartitionSampler(UniformSampler(12, seed=1), 5, 2)
    sampler.begin_partition([[0], [1]])
    assert [sorted(sampler.sample([[0]]).sampled_candidates) for _ in range(2)] == [[0, 1]] * 2
    sampler.sample([[0]])
    assert sampler.subset.tolist() != [0, 1]
    before = sampler.subset
    sampler.begin_partition()
    assert sampler.subset.tolist() != before.tolist()


def batches(name, partitions, number, rng):
    """Yield the candidates of the second of two batches of each partition."""
    if name != "targets":
        sampler = PartitionSampler(PROPOSALS[name](seed=1), 9, 2)
    else:
        sampler = PartitionSampler(PROPOSALS["fixed_unigram"](seed=1))
    for _ in range(partitions):
        if name == "targets":
            sampler.begin_partition(rng.choice(12, 9, p=WEIGHTS / WEIGHTS.sum()))
        sampler.sample(NO_LABELS, number)
        yield sampler.sample(NO_LABELS, number)


def errors(values, want):
    """Return by how many standard errors the means differ from what they should be."""
    return abs(values.mean(axis=0) - want) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("number", [2, None])
@pytest.mark.parametrize("name", [*PROPOSALS, "targets"])
def test_the_sum_over_all_classes_and_its_gradient_are_unbiased(name, number, rng):
    """Over partitions: sum exp(E), and sum exp(E) w, of which the gradient consists.

    Each of four numbers within 4.5 standard errors: by chance one run in 36,000 fails.
    """
    w, h = rng.standard_normal((12, 3)), rng.standard_normal(3)
    terms = np.exp(w @ h)[:, None] * np.column_stack([np.ones(12), w])
    sampled = list(batches(name, 3000 if JIT else 400, number, rng))
    values = np.array([
        (terms[s[0]] / s[2].astype(float)[:, None]).sum(axis=0) for s in sampled
    ])
    assert (errors(values, terms.sum(axis=0)) < 4.5).all()
    # With the count of one subset, which its classes share, they are not, unless p is even.
    values = np.array([terms[s[0]].mean(axis=0) * 12 for s in sampled])
    assert (errors(values, terms.sum(axis=0)) < 4.5).all() == (name == "uniform")


@pytest.mark.parametrize("name", [*PROPOSALS, "targets"])
def test_each_class_occurs_as_often_as_expected(name, rng):
    """The mean of its occurrences, each divided by Q, is 1 over partitions.

    Each of twelve within 4.5 standard errors: by chance one run in 12,000 fails.
    """
    values = np.zeros((3000 if JIT else 400, 12))
    for value, sampled in zip(values, batches(name, len(values), 2, rng), strict=True):
        value[sampled[0]] = 1 / sampled[2]
    assert (errors(values, 1) < 4.5).all()


def test_evenly_weighted_targets_are_the_softmax_over_the_subset(rng):
    """Jean et al., equation 10 with Q the same for all classes of the subset."""
    weights, biases = rng.standard_normal((12, 3)), rng.standard_normal(12)
    inputs, labels = rng.standard_normal((4, 3)), np.array([[1], [5], [6], [5]])
    sampler = PartitionSampler(UniformSampler(12, seed=1))
    sampler.begin_partition([*labels, [8], [9]])
    values = sampler.sample(labels)
    got = sampled_softmax_loss(
        weights, biases, labels, inputs, 5, 12, sampled_values=values
    )
    logits = inputs @ weights.T + biases
    subset = [1, 5, 6, 8, 9]
    want = np.log(np.exp(logits[:, subset]).sum(axis=1)) - logits[np.arange(4), labels[:, 0]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


class Planted:
    """Three inputs, and how often each of 40 classes is the label of each."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.q = np.exp(rng.standard_normal((3, 40))) / np.arange(1, 41)
        self.q /= self.q.sum(axis=1, keepdims=True)

    def train(self, sampler, num_sampled, batch_size=64, steps=2500, **options):
        """Return the divergence of what was learned, in nats, after partitions of two batches."""
        rng = np.random.default_rng(1)
        layer = SampledSoftmax(
            40, 3, num_sampled, sampler=sampler, learning_rate=lambda t: 2 * (1 - t / steps),
            weights=np.zeros((40, 3), np.float32), num_threads=1, **options,
        )
        for _ in range(steps // 2):
            ids = rng.integers(3, size=(2, batch_size))
            labels = (rng.random((2, batch_size, 1)) > self.q.cumsum(axis=1)[ids]).sum(axis=2)
            labels = np.minimum(labels, 39)[:, :, None]
            if sampler.steps is None:
                sampler.begin_partition(labels)
            for x, y in zip(ids, labels, strict=True):
                layer.step(np.eye(3, dtype=np.float32)[x], y)
        logits = (layer.weights.T + layer.biases).astype(float)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return (self.q * (np.log(self.q) - log_p)).sum(axis=1).mean()


@needs_jit
@pytest.mark.parametrize("num_sampled", [6, None])
def test_what_is_learned_is_what_a_full_softmax_learns(num_sampled):
    """That is the frequencies themselves; without the counts it is far from them."""
    planted = Planted()
    drawn, without = (
        planted.train(
            PartitionSampler(LogUniformSampler(40, seed=1), 20, 2), num_sampled, subtract_log_q=q
        )
        for q in (True, False)
    )
    assert drawn < 0.01
    assert without > 0.1
    counts = planted.q.mean(axis=0)
    targets, without = (
        planted.train(
            PartitionSampler(FixedUnigramSampler(40, unigrams=counts, seed=1)), num_sampled,
            batch_size=16, subtract_log_q=q,
        )
        for q in (True, False)
    )
    assert targets < 0.02
    assert without > 3 * targets


@pytest.mark.parametrize("by_rows", [False, True])
def test_a_partition_touches_the_rows_of_its_subset_and_of_the_labels_alone(by_rows, rng):
    sampler = PartitionSampler(LogUniformSampler(500, seed=1), 30, 4)
    layer = SampledSoftmax(500, 4, 8, sampler=sampler)
    table = rng.standard_normal((9, 4)).astype(np.float32)
    for _ in range(3):
        before, seen = layer.state_dict(), []
        for _ in range(4):
            ids, labels = rng.integers(9, size=6), rng.integers(500, size=(6, 1))
            seen.append(labels)
            if by_rows:
                layer.step_rows(table, ids, labels)
            else:
                layer.step(table[ids], labels)
        changed = np.flatnonzero((before["weights"] != layer.weights).any(axis=1))
        may = np.union1d(sampler.subset, seen)
        assert set(changed.tolist()) <= set(may.tolist())
        assert len(changed) > 0.9 * len(may)


@needs_jit
def test_bits_do_not_depend_on_threads(rng):
    layers = [
        SampledSoftmax(
            3000, 16, 400, num_threads=threads,
            sampler=PartitionSampler(LogUniformSampler(3000, seed=1), 900, 2),
        )
        for threads in (1, 2)
    ]
    for _ in range(5):
        inputs = rng.standard_normal((300, 16)).astype(np.float32)
        labels = rng.integers(3000, size=(300, 1))
        for layer in layers:
            layer.step(inputs, labels)
    assert_same(*([layer.weights, layer.biases] for layer in layers))


SEEDS = [{}, {"seed": 4}, {"seed": 4, "global_seed": -9}, {"global_seed": -9}]


def written_and_read(state):
    """Return a state from a file, in which no object can be pickled."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name][()] for name in arrays.files}


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("name", PROPOSALS)
def test_a_state_resumes_exactly(name, seeds):
    """Before the first partition, in the middle of one, and after targets were given."""
    def make(**options):
        return PartitionSampler(PROPOSALS[name](**options), 8, 3)

    sampler = make(**seeds)
    for i in range(7):
        if i == 5:
            sampler.begin_partition([1, 2, 3, 5])
        other = make(seed=77)
        other.load_state_dict(written_and_read(sampler.state_dict()))
        copied = pickle.loads(pickle.dumps(sampler))
        for _ in range(5):
            ahead = other.sample([[i]], 2)
            assert_same(ahead, copied.sample([[i]], 2))
        assert sampler.state_dict()["sampler"] == "PartitionSampler"
        again = make(seed=78)
        again.load_state_dict(sampler.state_dict())
        assert_same(sampler.sample([[i]], 2), again.sample([[i]], 2))
    other = make(seed=77)
    other.sample([[1]], 2)
    other.load_state_dict(make(seed=5).state_dict())
    assert other.subset.size == 0


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_seed_is_for_all(name):
    a, b, c = (PartitionSampler(PROPOSALS[name](seed=seed), 9, 2) for seed in (1, 1, 2))
    drawn = [[sampler.sample([[1]], 3)[0].tolist() for _ in range(9)] for sampler in (a, b, c)]
    assert drawn[0] == drawn[1] != drawn[2]
    # Also for the order of a subset that was given, which another time is another.
    orders = []
    for sampler in (a, b, c, a):
        sampler.begin_partition(ALL)
        orders.append(sampler.sample([[1]])[0].tolist())
    assert orders[0] == orders[1]
    assert orders[2] != orders[0] != orders[3]


def test_a_proposal_of_candidates_changes_nothing_until_accepted():
    sampler, other = (PartitionSampler(LogUniformSampler(50, seed=4), 9, 2) for _ in range(2))
    for _ in range(5):
        proposed, accept = sampler.propose(np.array([[5], [1]]), 4, True)
        for bad in (([[50]], 5), ([[1]], 0), ([1], 5), ([[1]], 2, False)):
            with pytest.raises(ArgumentError):
                sampler.sample(*bad)
        for bad in ([50], [[-2]], [0.5], []):
            with pytest.raises(ArgumentError):
                sampler.begin_partition(bad)
        accept()
        assert_same(proposed, other.sample([[5], [1]], 4))


def test_classes_that_are_never_drawn_are_no_candidates():
    sampler = PartitionSampler(UniformSampler(6, seed=1, exclude_ids=[0, 3]), 50)
    got = sampler.sample(np.arange(6)[:, None])
    assert sorted(got.sampled_candidates) == [1, 2, 4, 5]
    want = np.where([0, 1, 1, 0, 1, 1], 1 - 0.75**50, 0)
    np.testing.assert_allclose(got.true_expected_count[:, 0], want, rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"labels: .*that the proposal can draw, got none"):
        sampler.begin_partition([0, 3, 3])


@needs_jit
def test_two_threads_draw_what_one_would():
    """Also while another one draws from the proposal, which has the same guard."""
    def make():
        return PartitionSampler(LogUniformSampler(2000, seed=1), 500, 7)

    def draw(sampler):
        return [sampler.sample([[3], [1000]], 50) for _ in range(210)]

    sampler, other = make(), make()
    with ThreadPoolExecutor(2) as pool:
        found = [one for part in pool.map(draw, [sampler, sampler]) for one in part]
    assert sorted(map(repr, found)) == sorted(map(repr, [*draw(other), *draw(other)]))
    sampler = make()
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(draw, [sampler, sampler.proposal, sampler]))
    assert all(len(set(one[0].tolist())) == 50 for part in parts for one in part)


DAMAGED = [
    ("sampler", "UniformSampler"), ("proposal", "UniformSampler"), ("proposal", None),
    ("range_max", 11), ("key", 0.5), ("block", -1),
    ("subset", np.array([1, 1])), ("subset", np.array([12])), ("subset", np.array([[1, 2]])),
    ("subset", np.array([1.0])), ("subset", np.array([1, 3])), ("draws", 0), ("draws", None),
    ("place", 9), ("place", -1), ("batches", -1), ("batches", 1.5),
]


@pytest.mark.parametrize(("name", "value"), DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(name, value):
    sampler = PartitionSampler(LogUniformSampler(12, seed=1, exclude_ids=[3]), 9, 2)
    sampler.sample([[1]], 3)
    before, other = sampler.state_dict(), pickle.loads(pickle.dumps(sampler))
    other.sample([[1]], 3)
    with pytest.raises(ArgumentError, match=rf"state_dict\['{name}'\]"):
        sampler.load_state_dict(other.state_dict() | {name: value})
    assert repr(sampler.state_dict()) == repr(before)


def proposal():
    return UniformSampler(9, seed=1)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("proposal: .*got LearnedUnigramSampler", lambda: PartitionSampler(LearnedUnigramSampler(9), 3)),
        ("proposal: .*got InBatchSampler", lambda: PartitionSampler(InBatchSampler(9), 3)),
        ("proposal: .*got str", lambda: PartitionSampler("uniform", 3)),
        ("num_draws", lambda: PartitionSampler(proposal(), 0)),
        ("num_draws", lambda: PartitionSampler(proposal(), 2.5)),
        ("steps", lambda: PartitionSampler(proposal(), 3, 0)),
        ("num_draws: .*begin_partition", lambda: PartitionSampler(proposal()).sample([[1]])),
        ("num_draws: .*begin_partition", lambda: PartitionSampler(proposal()).begin_partition()),
        ("unique: expected True", lambda: PartitionSampler(proposal(), 3).sample([[1]], 2, False)),
        ("num_sampled", lambda: PartitionSampler(proposal(), 3).sample([[1]], 2.5)),
        ("sampler: expected range_max", lambda: SampledSoftmax(8, 2, 3, sampler=PartitionSampler(proposal(), 3))),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_empty_batches():
    assert len(PartitionSampler(proposal(), 3).sample(NO_LABELS, 1)[0]) == 1
