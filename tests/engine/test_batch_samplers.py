"""batch_samplers.py: the labels of a batch as candidates, and their expected counts.

That the counts make sums unbiased is tested with those of all samplers.
"""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, InBatchSampler, MixedSampler
from tests.conftest import JIT

NO_LABELS = np.empty((0, 1), np.int64)


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def estimates(sampler):
    """Return 1 over the mean gap, 0 for what was never seen."""
    state = sampler.state_dict()
    return np.where(state["seen"] == 0, 0, 1 / state["gap"])


def test_in_batch_with_counts():
    counts = np.array([8, 4, 2, 1, 1])
    sampler = InBatchSampler(5, counts=counts)
    labels = np.array([[1], [0], [1], [4]])
    got = sampler.sample(labels)
    chance = 1 - (1 - counts / 16) ** 4
    assert got.sampled_candidates.tolist() == [0, 1, 4]
    np.testing.assert_allclose(got.sampled_expected_count, chance[[0, 1, 4]], rtol=1e-6)
    np.testing.assert_allclose(got.true_expected_count, chance[labels], rtol=1e-6)
    assert InBatchSampler(5, exclude_ids=[1]).sample(labels)[0].tolist() == [0, 4]


@pytest.mark.parametrize("kind", [InBatchSampler, MixedSampler])
def test_absent_labels_do_not_count(kind):
    """The layer passes -1 for an absent label."""
    num_sampled = None if kind is InBatchSampler else 2
    samplers = [kind(5, counts=[8, 4, 2, 1, 1]) for _ in range(2)]
    for sampler in samplers[1:]:
        sampler.load_state_dict(samplers[0].state_dict())
    ragged, _ = samplers[0].propose(np.array([[1, -1], [4, 0]]), num_sampled, True)
    flat, _ = samplers[1].propose(np.array([[1], [4], [0]]), num_sampled, True)
    assert_same(ragged[::2], flat[::2])
    assert ragged.true_expected_count.shape == (2, 2)
    assert ragged.true_expected_count[1].tolist() == flat.true_expected_count[1:, 0].tolist()


def test_in_batch_estimates_the_frequency(rng):
    """Yi et al.: one over the mean gap approaches the share of batches with the class."""
    sampler = InBatchSampler(3, decay=0.01)
    chance = np.array([0.5, 0.1])
    for _ in range(4000):
        present = np.flatnonzero(rng.random(2) < chance)
        got = sampler.sample(np.append(present, 2)[:, None])
    assert got.sampled_expected_count[-1] == 1
    # The running mean's own spread: sqrt(decay / 2) of a geometric gap's.
    np.testing.assert_allclose(estimates(sampler)[:2], chance, rtol=5 * np.sqrt(0.005))


def test_gaps_of_batches_by_hand():
    """Class 1 comes in batches 0, 3 and 5: gaps 1, 3, 2 at decay 0.5."""
    sampler = InBatchSampler(3, decay=0.5)
    counts = [sampler.sample([[label]]).sampled_expected_count[0] for label in (1, 0, 0, 1, 2, 1)]
    np.testing.assert_allclose(counts, [1, 1 / 2, 1 / 1.5, 1 / 2, 1 / 5, 1 / 2], rtol=1e-6)
    assert {count.dtype for count in sampler.sample([[1]])[1:]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", [InBatchSampler, MixedSampler])
def test_streaming_starts_where_the_counts_stand(kind):
    counts = np.array([600, 300, 99, 1, 0])
    sampler = kind.streaming(5, counts, 8, decay=0.5)
    chance = 1 - (1 - counts / 1000) ** 8
    np.testing.assert_allclose(estimates(sampler), chance, rtol=1e-5)
    state, longest = sampler.state_dict(), round(1 / chance[3])
    assert (state["step"] - state["last_step"][:4]).tolist() == [1, 1, 2, longest]
    number = (None,) if kind is InBatchSampler else (1,)
    sampler.sample([[2], [3], [4]], *number)
    # A gap as long as expected changes what is expected by its rounding alone; a class
    # without a count is counted from here on.
    want = [(1 / chance[2] + 2) / 2, (1 / chance[3] + longest) / 2, 1]
    np.testing.assert_allclose(1 / estimates(sampler)[2:], want, rtol=1e-5)
    np.testing.assert_allclose(estimates(sampler)[:2], chance[:2], rtol=1e-5)


def test_streaming_follows_a_change(rng):
    """A class that is more frequent than its count says gets its true frequency after some time."""
    sampler = InBatchSampler.streaming(2, [999, 1], 4, decay=0.02)
    assert estimates(sampler)[1] < 0.004
    for _ in range(2000):
        sampler.sample([[0], [int(rng.random() < 0.3)]])
    np.testing.assert_allclose(estimates(sampler)[1], 0.3, rtol=5 * np.sqrt(0.01))


def test_streaming_of_a_new_class_that_comes_often():
    """A new class has its true frequency at once, although its share was 1/1000 before."""
    sampler = InBatchSampler.streaming(3, [999, 1, 0], 4, decay=0.01).grown(4)
    for i in range(12):
        got = sampler.sample([[0], [2], [3]] if i % 2 else [[0], [3]])
    np.testing.assert_allclose(estimates(sampler)[2:], [0.5, 1])
    assert got.sampled_expected_count.tolist() == [1, 0.5, 1]


def test_mixed_knows_of_classes_that_no_longer_come():
    sampler = MixedSampler(3, decay=0.01, seed=1)
    for _ in range(10):
        sampler.sample([[0], [1]], 2)
    for steps in range(1, 50):
        got = sampler.propose(np.array([[0]]), 2, True)[0]
        if 1 in got.sampled_candidates:
            count = got.sampled_expected_count[got.sampled_candidates == 1]
            np.testing.assert_allclose(count, 1 - (1 - 1 / steps) * (1 - 2 / 3), rtol=1e-5)
        sampler.sample([[0]], 2)


def test_streaming_of_a_share_that_is_too_small_for_a_number():
    sampler = InBatchSampler.streaming(2, [1, 1e-320], 1)
    assert sampler.sample([[1]]).sampled_expected_count[0] == np.float32(2.0**-40)


MIXED_WEIGHTS = np.array([20, 10, 5, 2, 1, 1, 1, 0, 0, 0])


def test_mixed_candidates_are_the_union(rng):
    sampler, drawer = (kind(10, **options, seed=3, exclude_ids=[8]) for kind, options in (
        (MixedSampler, {"counts": MIXED_WEIGHTS}), (numba_ss.UniformSampler, {}),
    ))
    for _ in range(50):
        labels = rng.integers(0, 10, (4, 2))
        got, drawn = sampler.sample(labels, 3), drawer.sample(labels, 3)[0]
        want = sorted({*drawn.tolist(), *labels.ravel().tolist()} - {8})
        assert got.sampled_candidates.tolist() == want
        p = MIXED_WEIGHTS / 40
        count = 1 - (1 - p) ** 8 * (1 - 3 / 9)
        np.testing.assert_allclose(got.sampled_expected_count, count[want], rtol=1e-6)
        np.testing.assert_allclose(got.true_expected_count, count[labels], rtol=1e-6)


def test_mixed_occurrences_are_as_expected(rng):
    """Each class within 4.5 standard errors: by chance one run in 15,000 fails."""
    draws, counts = 6000 if JIT else 600, np.zeros(10)
    sampler = MixedSampler(10, counts=MIXED_WEIGHTS, seed=5)
    want = np.zeros(10)
    for _ in range(draws):
        got = sampler.sample(rng.choice(10, (5, 1), p=MIXED_WEIGHTS / 40), 3)
        counts[got.sampled_candidates] += 1
        want[got.sampled_candidates] = got.sampled_expected_count
    assert (abs(counts / draws - want) < 4.5 * np.sqrt(want * (1 - want) / draws)).all()


def test_mixed_stream_has_the_counts_of_both_parts(rng):
    """Without counts, a class in every batch has Q = 1; one in no batch is only drawn uniformly."""
    sampler = MixedSampler(8, seed=5)
    for _ in range(30):
        got = sampler.sample([[2], [2]], 4)
    count = dict(zip(got.sampled_candidates.tolist(), got.sampled_expected_count, strict=True))
    assert count.pop(2) == 1
    assert set(count.values()) == {0.5}
    # Seen in the first batch alone: not in this one, but its mean gap is still 40.
    sampler.load_state_dict(sampler.state_dict() | {
        "gap": np.full(8, 40, np.float32), "last_step": np.zeros(8, np.int64),
        "seen": np.ones(8, np.int32),
    })
    got = sampler.propose(np.array([[2]]), 7, True)[0]
    others = got.sampled_expected_count[got.sampled_candidates != 2]
    np.testing.assert_allclose(others, 1 - 39 / 40 * (1 - 7 / 8), rtol=1e-6)


KINDS = {
    "in_batch": lambda **options: InBatchSampler(9, **options),
    "mixed": lambda **options: MixedSampler(9, **options),
    "mixed_seeded": lambda **options: MixedSampler(9, seed=4, **options),
    "mixed_implicit": lambda **options: MixedSampler(9, global_seed=4, **options),
}


def draw(sampler, labels):
    return sampler.sample(labels, *([4] if isinstance(sampler, MixedSampler) else []))


@pytest.mark.parametrize("options", [{}, {"counts": np.arange(1, 10)}])
@pytest.mark.parametrize("kind", KINDS)
def test_state_resumes_exactly(kind, options):
    sampler, other = (KINDS[kind](**options) for _ in range(2))
    for i in range(5):
        draw(sampler, [[i], [3]])
    other.load_state_dict(sampler.state_dict())
    for i in range(3):
        assert_same(draw(sampler, [[i], [8]]), draw(other, [[i], [8]]))


@pytest.mark.parametrize("options", [{}, {"counts": np.arange(1, 10)}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_proposal_changes_nothing_until_accepted(kind, options):
    sampler, other = (KINDS[kind](**options) for _ in range(2))
    other.load_state_dict(sampler.state_dict())
    number = None if kind == "in_batch" else 4
    sampler.propose(np.array([[5], [1]]), number, True)
    with pytest.raises(ArgumentError):
        draw(sampler, [[9]])
    assert_same(draw(sampler, [[2], [8]]), draw(other, [[2], [8]]))
    proposed, accept = sampler.propose(np.array([[7]]), number, True)
    accept()
    assert_same(proposed, draw(other, [[7]]))
    assert_same(draw(sampler, [[1]]), draw(other, [[1]]))


@pytest.mark.parametrize("options", [{}, {"counts": np.arange(1, 10)}])
@pytest.mark.parametrize("kind", KINDS)
def test_grown(kind, options):
    sampler = KINDS[kind](**options, exclude_ids=[1])
    for i in range(5):
        draw(sampler, [[i], [3]])
    before = sampler.state_dict()
    other = sampler.grown(1000)
    labels = np.array([[3], [8], [1]])
    got, old = draw(other, labels), draw(sampler, labels)
    assert 1 not in got.sampled_candidates
    share, old_share = (0, 0) if kind == "in_batch" else (4 / 999, 4 / 8)
    chance = 1 - (1 - old.true_expected_count) / (1 - old_share)
    np.testing.assert_allclose(
        got.true_expected_count, 1 - (1 - chance) * (1 - share), rtol=1e-4, atol=1e-6
    )
    new = draw(other, [[999]]).true_expected_count[0, 0]
    seen = 1 / 2 if not options else 0  # not in the batch after it grew, and in this one
    np.testing.assert_allclose(new, seen + share * (1 - seen), rtol=1e-5)
    for name, value in before.items():
        if name not in ("range_max", "last_step", "gap", "seen"):
            assert sampler.grown(9).state_dict()[name] == sampler.state_dict()[name], value


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("counts", lambda: InBatchSampler(3, counts=[1, 2])),
        ("counts", lambda: MixedSampler(3, counts=[1, 2])),
        ("counts: .*nan", lambda: InBatchSampler.streaming(2, [1, np.nan], 4)),
        ("counts", lambda: InBatchSampler.streaming(2, [0, 0], 4)),
        ("batch_size", lambda: MixedSampler.streaming(2, [1, 1], 0)),
        ("decay", lambda: InBatchSampler(3, decay=0)),
        ("decay", lambda: MixedSampler(3, decay=1.5)),
        ("seed", lambda: MixedSampler(3, seed=0.5)),
        ("num_sampled", lambda: InBatchSampler(3).sample([[1]], 2)),
        ("num_sampled: expected an integer", lambda: MixedSampler(3).sample([[1]], None)),
        ("num_sampled: .*softmax_loss", lambda: MixedSampler(3).sample([[1]], 4)),
        ("num_sampled: expected at most 2", lambda: MixedSampler(3, exclude_ids=[1]).sample([[1]], 3)),
        ("range_max", lambda: InBatchSampler(2**31)),
        ("unique", lambda: InBatchSampler(3).sample([[1]], None, False)),
        ("unique", lambda: MixedSampler(3).sample([[1]], 1, False)),
        ("true_classes", lambda: MixedSampler(3).sample([[3]], 1)),
        ("range_max: expected at least 3", lambda: InBatchSampler(3).grown(2)),
    ],
)
def test_bad_input(message, call):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("kind", [InBatchSampler, MixedSampler])
def test_what_is_no_state_is_refused(kind):
    for sampler in (kind(3), kind.streaming(3, [1, 2, 3], 2)):
        with pytest.raises(ArgumentError, match=r"^state_dict: expected what state_dict\(\) returned"):
            sampler.load_state_dict(None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gap", np.ones(2)), ("last_step", None), ("step", -1), ("range_max", 4),
        ("gap", np.array([1, np.nan, 1])), ("gap", np.zeros(3)), ("gap", np.full(3, np.inf)),
        ("last_step", np.full(3, 2**40)), ("last_step", np.zeros(3)), ("seen", np.full(3, -1)),
    ],
)
@pytest.mark.parametrize("kind", [InBatchSampler, MixedSampler])
def test_bad_state(kind, name, value):
    sampler = kind.streaming(3, [1, 2, 3], 2)
    before = sampler.state_dict()
    with pytest.raises(ArgumentError, match=rf"state_dict\['{name}'\]"):
        sampler.load_state_dict(kind(3).state_dict() | {name: value})
    after = sampler.state_dict()
    for key, want in before.items():
        np.testing.assert_array_equal(after[key], want)


def test_empty_batches():
    assert InBatchSampler(3).sample(NO_LABELS)[0].size == 0
    assert MixedSampler(3).sample(NO_LABELS, 2)[0].size == 2
