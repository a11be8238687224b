"""losses.py: golden numbers, TensorFlow's own cases, gradients, and bad input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numba_ss
from numba_ss import ArgumentError, reference
from tests.conftest import JIT, Problem, densify, needs_jit

SAMPLED = ["sampled_softmax", "nce", "sampled_logistic", "negative_sampling"]


def both(name):
    return getattr(numba_ss, f"{name}_loss"), getattr(numba_ss, f"{name}_loss_and_grad")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_golden_losses_and_gradients(golden, dtype):
    """Twelve cases of TensorFlow 2.21, loss and all gradients within 1e-5."""
    classes, dim, batch_size = 20, 6, 4
    weights = np.sin(0.37 * np.arange(classes * dim)).reshape(classes, dim).astype(dtype)
    biases = np.cos(0.71 * np.arange(classes)).astype(dtype)
    inputs = np.sin(0.53 * np.arange(batch_size * dim) + 1).reshape(batch_size, dim).astype(dtype)
    assert len(golden["losses"]) == 12
    for case in golden["losses"]:
        num_true, num_sampled = case["num_true"], len(case["sampled"])
        true_count = (0.05 + 0.1 * np.arange(batch_size * num_true)).reshape(batch_size, num_true)
        sampled_count = 0.07 + 0.13 * np.arange(num_sampled)
        for name in ("sampled_softmax", "nce"):
            got = both(name)[1](
                weights, biases, case["labels"], inputs, num_sampled, classes, num_true,
                (case["sampled"], true_count, sampled_count), case["remove_accidental_hits"],
            )
            want = case[name]
            grad_inputs = want.get("grad_x", want.get("grad_inputs"))
            for have, value in (
                (got.loss, want["loss"]),
                (got.grad_inputs, grad_inputs),
                (densify(got.rows, got.grad_weights, classes), want["grad_w"]),
                (densify(got.rows, got.grad_biases, classes), want["grad_b"]),
            ):
                np.testing.assert_allclose(have, value, atol=1e-5)
            order = np.concatenate([np.ravel(case["labels"]), case["sampled"]])
            np.testing.assert_array_equal(got.rows, order)


def spec(problem, name, remove=None):
    """Return the reference's losses and gradients for a problem."""
    remove = name in ("sampled_softmax", "sampled_logistic") if remove is None else remove
    subtract = name != "negative_sampling"
    hits = reference.find_hits(problem.labels, problem.sampled)
    log_q = [np.log(c.astype(float)) * subtract for c in (problem.true_count, problem.sampled_count)]
    got = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0],
        problem.labels.shape[1], problem.sampled, log_q[1], hits if remove else hits[:, :0],
        problem.grad_loss, name != "sampled_softmax",
    )
    present = problem.labels >= 0
    rows = np.concatenate([problem.labels[present], problem.sampled])
    shared_weights, shared_biases = reference.grad_sampled(problem.inputs, got.probabilities)
    example = np.nonzero(present)[0]
    own = got.grad_own_logits[present]
    grad_weights = np.concatenate([own[:, None] * problem.inputs[example], shared_weights])
    return got.loss, got.grad_inputs, rows, grad_weights, np.concatenate([own, shared_biases])


@pytest.mark.parametrize("name", SAMPLED)
@given(
    st.integers(0, 2**32), st.integers(0, 80), st.integers(1, 20), st.integers(1, 40),
    st.integers(1, 5), st.booleans(), st.sampled_from([np.float32, np.float64]),
)
def test_against_the_reference(name, seed, batch_size, dim, num_sampled, num_true, ragged, dtype):
    rng = np.random.default_rng(seed)
    problem = Problem(rng, 60, dim, batch_size, num_true, num_sampled, dtype, ragged=ragged)
    loss, loss_and_grad = both(name)
    got = loss_and_grad(*problem.arguments, grad_loss=problem.grad_loss)
    np.testing.assert_array_equal(loss(*problem.arguments), got.loss)
    assert got.loss.dtype == got.grad_weights.dtype == dtype
    assert got.loss.shape == (batch_size,)
    tolerance = 2e-5 if dtype == np.float32 else 1e-11
    for have, want in zip(got, spec(problem, name), strict=True):
        np.testing.assert_allclose(have, want, atol=tolerance * max(1, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("num_true", [1, 3])
def test_gradients_by_central_differences(name, num_true, rng):
    problem = Problem(rng, 20, 5, 6, num_true, 8, np.float64)
    loss, loss_and_grad = both(name)
    got = loss_and_grad(*problem.arguments, grad_loss=problem.grad_loss)
    dense = (
        ("weights", densify(got.rows, got.grad_weights, 20)),
        ("biases", densify(got.rows, got.grad_biases, 20)),
        ("inputs", got.grad_inputs),
    )
    for attribute, grad in dense:
        array = getattr(problem, attribute)
        direction = rng.standard_normal(array.shape)
        values = []
        for step in (1e-5, -1e-5):
            setattr(problem, attribute, array + step * direction)
            values.append(problem.grad_loss @ loss(*problem.arguments))
        setattr(problem, attribute, array)
        slope = (values[0] - values[1]) / 2e-5
        assert np.sum(grad * direction) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("num_shards", [1, 3, 4])
@pytest.mark.parametrize("shard_biases", [True, False])
def test_shards(strategy, num_shards, shard_biases, rng):
    problem = Problem(rng, 22, num_true=2)

    def split(array):
        if strategy == "mod":
            return [array[i::num_shards].copy() for i in range(num_shards)]
        return np.array_split(array, num_shards)

    whole = numba_ss.sampled_softmax_loss_and_grad(*problem.arguments)
    weights, biases, *rest = problem.arguments
    got = numba_ss.sampled_softmax_loss_and_grad(
        split(weights), split(biases) if shard_biases else biases, *rest,
        partition_strategy=strategy,
    )
    np.testing.assert_allclose(got.loss, whole.loss, rtol=1e-6)
    assert len(got.rows) == num_shards
    ids = split(np.arange(22))
    for i in range(num_shards):
        mine = np.isin(whole.rows, ids[i])
        np.testing.assert_array_equal(ids[i][got.rows[i]], whole.rows[mine])
        np.testing.assert_allclose(got.grad_weights[i], whole.grad_weights[mine], atol=1e-6)
        np.testing.assert_allclose(got.grad_biases[i], whole.grad_biases[mine], atol=1e-6)


class TestTensorFlowsOwnCases:
    """ComputeSampledLogitsTest of TensorFlow's ops/nn_test.py, by its formulas."""

    @pytest.fixture(params=[1, 2, 3, 4])
    def case(self, request):
        rng = np.random.default_rng(0)
        num_true = request.param
        weights = rng.standard_normal((5, 10)).astype(np.float32)
        biases = rng.standard_normal(5).astype(np.float32)
        inputs = rng.standard_normal((3, 10)).astype(np.float32)
        labels = rng.integers(0, 5, (3, num_true))
        sampled = np.array([1, 0, 2, 3])
        values = sampled, np.full((3, 1), 0.5, np.float32), np.full(4, 0.5, np.float32)
        logits = np.concatenate(
            [
                np.einsum("bd,btd->bt", inputs, weights[labels]) + biases[labels],
                inputs @ weights[sampled].T + biases[sampled],
            ],
            axis=1,
        ) - np.log(0.5)
        targets = np.repeat([[1 / num_true] * num_true + [0] * 4], 3, axis=0)
        return (weights, biases, labels, inputs, 4, 5, num_true, values), logits, targets

    def test_sampled_softmax(self, case):
        arguments, logits, targets = case
        ref = -(targets * (logits - np.logaddexp.reduce(logits, axis=1)[:, None])).sum(1)
        got = numba_ss.sampled_softmax_loss(*arguments, remove_accidental_hits=False)
        np.testing.assert_allclose(got, ref, atol=1e-4)

    def test_nce(self, case):
        arguments, logits, targets = case
        p = np.clip(1 / (1 + np.exp(-logits)), 1e-4, 1 - 1e-4)
        ref = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=1)
        np.testing.assert_allclose(numba_ss.nce_loss(*arguments), ref, atol=2e-3)

    def test_three_shards(self, case):
        (weights, biases, *rest), _, _ = case
        shards = np.array_split(weights, 3), np.array_split(biases, 3)
        for loss in (numba_ss.nce_loss, numba_ss.sampled_softmax_loss):
            got, ref = loss(*shards, *rest), loss(weights, biases, *rest)
            np.testing.assert_allclose(got, ref, atol=1e-4)

    def test_hits_get_no_probability(self, case):
        arguments, _, _ = case
        labels, sampled = arguments[2], arguments[7][0]
        got = numba_ss.sampled_softmax_loss_and_grad(*arguments, grad_loss=[1, 0, 0])
        hit = np.isin(sampled, labels[0])
        np.testing.assert_array_equal(got.grad_biases[-4:] == 0, hit)


def test_only_the_last_of_a_repeated_candidate_is_masked(rng):
    """As TensorFlow does it."""
    problem = Problem(rng, num_sampled=3, batch_size=1)
    problem.sampled = np.array([4, 4, 9])
    problem.labels[:] = 4
    grad = numba_ss.sampled_softmax_loss_and_grad(*problem.arguments).grad_biases
    assert grad[1] != 0
    assert grad[2] == 0


@pytest.mark.parametrize("name", ["sampled_softmax", "nce"])
@pytest.mark.parametrize("remove", [True, False])
def test_candidates_of_an_example_s_own(name, remove, rng):
    """Per-example candidates equal a batch of one, example by example."""
    problem = Problem(rng, num_true=2, batch_size=5, num_sampled=6)
    sampled = rng.integers(0, 60, (5, 6))
    sampled[0, 2] = problem.labels[0, 1]
    count = rng.uniform(0.1, 1, (5, 6)).astype(np.float32)
    weights, biases, labels, inputs, *sizes, _ = problem.arguments
    loss_and_grad = both(name)[1]
    got = loss_and_grad(
        weights, biases, labels, inputs, *sizes, (sampled, problem.true_count, count), remove
    )
    dense = np.zeros_like(weights, float)
    for i in range(5):
        one = slice(i, i + 1)
        keep = np.ones(6, bool)
        if remove:
            keep = ~np.isin(sampled[i], labels[i])
        values = sampled[i][keep], problem.true_count[one], count[i][keep]
        ref = loss_and_grad(
            weights, biases, labels[one], inputs[one], keep.sum(), *sizes[1:], values, False
        )
        np.testing.assert_allclose(got.loss[i], ref.loss[0], rtol=1e-5)
        np.testing.assert_allclose(got.grad_inputs[i], ref.grad_inputs[0], atol=1e-5)
        dense += densify(ref.rows, ref.grad_weights, 60)
    np.testing.assert_allclose(densify(got.rows, got.grad_weights, 60), dense, atol=1e-5)
    np.testing.assert_array_equal(got.rows[:10], labels.ravel())


def test_masked_labels_are_absent_ones(rng):
    problem = Problem(rng, num_true=3, ragged=True)
    weights, biases, labels, *rest = problem.arguments
    masked = np.ma.array(np.where(labels < 0, 5, labels), mask=labels < 0)
    got = numba_ss.sampled_softmax_loss(weights, biases, masked, *rest)
    np.testing.assert_array_equal(got, numba_ss.sampled_softmax_loss(*problem.arguments))


def test_mixed_types(rng):
    """The inputs' type rules: float64 inputs over float32 weights give float64."""
    problem = Problem(rng)
    weights, biases, labels, inputs, *rest = problem.arguments
    ref = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, *rest)
    for w, h in ((weights, inputs.astype(float)), (weights.astype(float), inputs), (weights.T.copy().T, inputs)):
        got = numba_ss.sampled_softmax_loss(w, biases, labels, h, *rest)
        assert got.dtype == h.dtype
        np.testing.assert_allclose(got, ref, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_empty_batch(name):
    model = np.zeros((9, 3), np.float32), np.zeros(9, np.float32)
    empty = np.empty((0, 1), np.int64), np.empty((0, 3), np.float32)
    got = both(name)[1](*model, *empty, 4, 9, seed=1)
    assert got.loss.shape == (0,)
    assert got.grad_inputs.shape == (0, 3)
    assert got.rows.shape == (4,)
    assert not got.grad_weights.any()


def test_all_classes_sampled_equal_the_full_softmax(rng):
    """With every class once and no correction; hits removed, as a label counts once."""
    problem = Problem(rng, 30, num_sampled=30)
    problem.true_count[:] = problem.sampled_count[:] = 1
    got = numba_ss.sampled_softmax_loss_and_grad(*problem.arguments)
    weights, biases, labels, inputs = problem.arguments[:4]
    ref = numba_ss.softmax_loss_and_grad(weights, biases, labels, inputs)
    np.testing.assert_allclose(got.loss, ref.loss, atol=1e-5)
    np.testing.assert_allclose(got.grad_inputs, ref.grad_inputs, atol=1e-5)
    np.testing.assert_allclose(densify(got.rows, got.grad_weights, 30), ref.grad_weights, atol=1e-5)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "fixed_unigram", "in_batch"])
def test_log_q_makes_the_partition_sum_unbiased(sampler, rng):
    """E[sum over S of exp(o) / Q] is the sum over all classes: the sign is right.

    Without hits removed, exp(loss) times the label's exp(o) is the label's term plus
    that sum; with the correction added instead, the estimate is off by far.
    """
    num_classes, rounds = 12, 3000 if JIT else 300
    weights = rng.standard_normal((num_classes, 4))
    biases, inputs = rng.standard_normal(num_classes), rng.standard_normal((1, 4))
    logits = (weights @ inputs[0]) + biases
    true = np.exp(logits).sum()
    unigrams = np.arange(1, num_classes + 1)
    make = {
        "uniform": lambda: numba_ss.UniformSampler(num_classes, seed=1),
        "log_uniform": lambda: numba_ss.LogUniformSampler(num_classes, seed=1),
        "fixed_unigram": lambda: numba_ss.FixedUnigramSampler(num_classes, unigrams=unigrams, seed=1),
        "in_batch": lambda: numba_ss.InBatchSampler(num_classes, counts=unigrams),
    }
    drawer = make[sampler]()
    estimates = []
    for _ in range(rounds):
        if sampler == "in_batch":
            batch = rng.choice(num_classes, (5, 1), p=unigrams / unigrams.sum())
            sampled = drawer.sample(batch)
        else:
            sampled = drawer.sample([[0]], 5, False)
        values = sampled[0], np.ones((1, 1), np.float32), sampled[2]
        loss = numba_ss.sampled_softmax_loss(
            weights, biases, [[0]], inputs, len(sampled[0]), num_classes, 1, values, False
        )
        estimates.append(np.exp(loss[0] + logits[0]) - np.exp(logits[0]))
    # Four standard errors: by chance one run in 16,000 fails.
    margin = 4 * np.std(estimates) / np.sqrt(rounds)
    assert abs(np.mean(estimates) - true) < margin


def test_default_sampler_is_the_seeded_log_uniform(rng):
    problem = Problem(rng)
    weights, biases, labels, inputs = problem.arguments[:4]
    values = numba_ss.log_uniform_candidate_sampler(labels, 1, 9, True, 60, seed=5)
    got = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, 9, 60, seed=5)
    ref = numba_ss.sampled_softmax_loss(
        weights, biases, labels, inputs, 9, 60, sampled_values=values
    )
    np.testing.assert_array_equal(got, ref)


def _bad(message, **changes):
    return pytest.param(message, changes, id=message + "-" + "-".join(changes))


SOUND = {
    "weights": np.ones((9, 3), np.float32), "biases": np.ones(9, np.float32),
    "labels": [[1], [2]], "inputs": np.ones((2, 3), np.float32), "num_sampled": 4,
    "num_classes": 9,
}
NAN_ROW = np.ones((9, 3), np.float32)
NAN_ROW[2, 1] = np.nan
INF_ROW = np.where(np.arange(9)[:, None] == 2, np.float32(-np.inf), NAN_ROW * 0 + 1).astype(np.float32)
INF_ROW[2, 0] = -np.inf
FOUR = np.array([0, 3, 4, 5])


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        _bad(r"labels: .*\[0, num_classes\) = \[0, 9\), got 9 at labels\[1, 0\]", labels=[[1], [9]]),
        _bad(r"labels: .*got -2 at labels\[0, 0\]", labels=[[-2], [1]]),
        _bad(r"labels: expected shape \(batch_size, num_true\) = \(2, 1\), got shape \(2,\)", labels=[1, 2]),
        _bad(r"labels: .*got shape \(2, 2\)", labels=[[1, 2], [2, 3]]),
        _bad("labels: expected integers", labels=[[1.0], [2.0]]),
        _bad("labels", labels=[[1]]),
        _bad("inputs", inputs=np.ones((2, 3), int)),
        _bad("inputs", inputs=np.ones((2, 3), complex)),
        _bad("inputs", inputs=np.ones(3, np.float32)),
        _bad("weights: expected shape", inputs=np.ones((2, 4), np.float32)),
        _bad("weights: expected floating", weights=np.ones((9, 3), int)),
        _bad("biases", biases=np.ones((9, 1), np.float32)),
        _bad("biases", biases=np.ones(8, np.float32)),
        _bad("num_sampled: .*softmax_loss", num_sampled=10),
        _bad("num_sampled", num_sampled=0),
        _bad("num_sampled", num_sampled=2.0),
        _bad("num_classes", num_classes=0),
        _bad("num_classes: expected at most the 9 rows", num_classes=10),
        _bad("num_true", num_true=0),
        _bad("remove_accidental_hits", remove_accidental_hits=1),
        _bad("partition_strategy", partition_strategy="diff"),
        _bad("seed", seed="a"),
        _bad(r"weights: .*shards of \[5, 4\] rows", weights=[np.ones((4, 3)), np.ones((5, 3))]),
        _bad(r"inputs: expected finite numbers, got nan at inputs\[1, 2\]", inputs=np.array([[1, 1, 1], [1, 1, np.nan]])),
        _bad("inputs: expected finite", inputs=np.array([[1, 1, 1], [1, np.inf, 1]])),
        _bad(r"weights: expected finite numbers, got nan at weights\[2, 1\]", weights=NAN_ROW),
        _bad(r"weights: expected finite numbers, got -inf at weights\[2, 0\]", weights=INF_ROW),
        # Rows that are copied together keep their names.
        _bad(r"weights: expected finite numbers, got nan at weights\[2, 1\]", weights=NAN_ROW.astype(float)),
        _bad(r"weights\[0\]: .*got nan at weights\[0\]\[2, 1\]", weights=[NAN_ROW[:5], NAN_ROW[5:]]),
        _bad(r"weights\[0\]: .*got nan at weights\[0\]\[1, 1\]", weights=[NAN_ROW[::2], NAN_ROW[1::2]], partition_strategy="mod"),
        _bad("biases: expected finite", biases=np.full(9, np.inf, np.float32)),
        _bad("inputs, weights: .*can hold", inputs=np.full((2, 3), 3e38, np.float32)),
        _bad("sampled_values", sampled_values=3),
        _bad("sampled_candidates", sampled_values=(FOUR[:3], np.ones((2, 1)), np.ones(3))),
        _bad(r"sampled_candidates: .*got 9 at", sampled_values=(FOUR + 4, np.ones((2, 1)), np.ones(4))),
        _bad("true_expected_count", sampled_values=(FOUR, np.ones((2, 2)), np.ones(4))),
        _bad(r"true_expected_count: .*got 0.0 at true_expected_count\[0, 0\], class 1", sampled_values=(FOUR, np.zeros((2, 1)), np.ones(4))),
        _bad("sampled_expected_count", sampled_values=(FOUR, np.ones((2, 1)), np.full(4, np.nan))),
    ],
)
@pytest.mark.parametrize("name", ["sampled_softmax", "nce"])
def test_bad_input(message, changes, name):
    with np.errstate(over="ignore"), pytest.raises(ArgumentError, match=message):
        both(name)[0](**(SOUND | {"seed": 1} | changes))


def test_bad_candidate_row_is_found_behind_a_label(rng):
    """A sampled row that is not finite spoils no loss where its logit is -inf."""
    weights = np.ones((9, 3), np.float32)
    weights[5] = -np.inf
    values = FOUR, np.ones((2, 1), np.float32), np.ones(4, np.float32)
    with pytest.raises(ArgumentError, match=r"weights\[5, 0\]"):
        numba_ss.sampled_softmax_loss(**(SOUND | {"weights": weights, "sampled_values": values}))


@pytest.mark.parametrize("bad", [[1.0], [1, 2, 3], [np.nan, 1], ["a", "b"]])
def test_bad_grad_loss(bad):
    with pytest.raises(ArgumentError, match="grad_loss"):
        numba_ss.nce_loss_and_grad(**SOUND, grad_loss=bad)


def call(problem, name, **changes):
    """Return the loss and gradients of a problem as dense arrays, computed in float64."""
    names = ("weights", "biases", "labels", "inputs", "num_sampled", "num_classes", "num_true", "sampled_values")
    given = dict(zip(names, problem.arguments, strict=True)) | changes
    got = both(name)[1](**given, grad_loss=problem.grad_loss)
    np.testing.assert_array_equal(both(name)[0](**given), got.loss)
    size = len(problem.weights)
    return got.loss, got.grad_inputs, densify(got.rows, got.grad_weights, size), densify(got.rows, got.grad_biases, size)


def own_candidates(problem, rng):
    """Give each example candidates of its own."""
    shape = len(problem.inputs), len(problem.sampled)
    problem.sampled = rng.integers(0, len(problem.weights), shape)
    problem.sampled_count = rng.uniform(0.05, 2, shape).astype(np.float32)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_candidates_of_bias_minus_infinity_are_left_out(name, own, dtype, rng):
    problem = Problem(rng, num_sampled=150 if not own else 6, num_classes=400, batch_size=70, dtype=dtype)
    if own:
        own_candidates(problem, rng)
    masked = np.setdiff1d(np.arange(0, 400, 2), problem.labels)
    masked = np.union1d(masked, np.setdiff1d(problem.sampled.reshape(-1)[:140], problem.labels))
    problem.biases[masked] = -np.inf
    got = call(problem, name)
    if own:  # the candidates of one example after the other's, each alone in a batch
        for i in range(len(problem.inputs)):
            there = ~np.isin(problem.sampled[i], masked)
            if not there.any():
                continue
            alone = call_one(problem, name, i, there)
            np.testing.assert_allclose(got[0][i], alone.loss[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(got[1][i], alone.grad_inputs[0], rtol=1e-4, atol=1e-5)
        return
    there = ~np.isin(problem.sampled, masked)
    assert 0 < there.sum() < 150
    values = problem.sampled[there], problem.true_count, problem.sampled_count[there]
    want = call(problem, name, sampled_values=values, num_sampled=int(there.sum()))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def call_one(problem, name, i, there):
    values = problem.sampled[i : i + 1, there], problem.true_count[i : i + 1], problem.sampled_count[i : i + 1, there]
    return both(name)[1](
        problem.weights, problem.biases, problem.labels[i : i + 1], problem.inputs[i : i + 1],
        int(there.sum()), len(problem.weights), problem.labels.shape[1], values,
        grad_loss=problem.grad_loss[i : i + 1],
    )


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("own", [False, True])
def test_a_label_of_bias_minus_infinity_is_refused(name, own, rng):
    for among in (False, True):  # the candidates
        problem = Problem(rng, num_true=2)
        if own:
            own_candidates(problem, rng)
        if among:
            problem.sampled.reshape(-1)[0] = problem.labels[3, 1]
        problem.biases[problem.labels[3, 1]] = -np.inf
        with pytest.raises(ArgumentError, match=r"labels: expected classes whose bias is not -inf"):
            both(name)[0](*problem.arguments)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("own", [False, True])
def test_an_example_without_a_label_has_no_loss_and_no_gradient(name, own, rng):
    problem = Problem(rng, batch_size=9, num_true=2)
    if own:
        own_candidates(problem, rng)
    problem.labels[[0, 4, 8]] = -1
    problem.labels[3, 1] = -1
    got = call(problem, name)
    some = problem.labels[:, 0] >= 0
    assert not got[0][~some].any()
    assert not got[1][~some].any()
    sampled = problem.sampled[some] if own else problem.sampled
    count = problem.sampled_count[some] if own else problem.sampled_count
    want = both(name)[1](
        problem.weights, problem.biases, problem.labels[some], problem.inputs[some], sampled.shape[-1],
        len(problem.weights), 2, (sampled, problem.true_count[some], count), grad_loss=problem.grad_loss[some],
    )
    np.testing.assert_array_equal(got[0][some], want.loss)
    np.testing.assert_array_equal(got[1][some], want.grad_inputs)
    np.testing.assert_array_equal(got[2], densify(want.rows, want.grad_weights, 60))
    # What stands there does not matter, and what is wrong elsewhere is named by its place.
    problem.inputs[4] = np.nan
    np.testing.assert_array_equal(call(problem, name)[0], got[0])
    problem.inputs[5, 1] = np.nan
    with pytest.raises(ArgumentError, match=r"nan at inputs\[5, 1\]"):
        call(problem, name)
    problem.labels[:] = -1
    assert not any(array.any() for array in call(problem, name)[:2])


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8", "longdouble", "bfloat16"])
def test_floats_of_every_kind(name, kind, rng):
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes").bfloat16
    problem = Problem(rng)
    for part in ("weights", "biases", "inputs"):
        other = getattr(problem, part).astype(kind)
        like = np.float32 if other.dtype.itemsize <= 4 else np.float64
        got = call(problem, name, **{part: other})
        want = call(problem, name, **{part: other.astype(like)})
        for one, two in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, two)
            assert one.dtype == two.dtype


@pytest.mark.parametrize("name", SAMPLED)
def test_no_biases_are_zeros(name, rng):
    problem = Problem(rng)
    for one, other in zip(call(problem, name, biases=None), call(problem, name, biases=np.zeros(60)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_float32_cannot_hold_is_refused(rng):
    problem = Problem(rng)
    weights = problem.weights.astype(float)
    weights[problem.labels[0, 0]] = 1e300
    with pytest.raises(ArgumentError, match="can hold"):
        call(problem, "sampled_softmax", weights=weights)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("labels: expected rows of one length, where -1 or a mask", {"labels": [[3], [4, 5]]}),
        ("inputs: expected rows of one length", {"inputs": [[1.0, 2.0], [1.0]]}),
        (r"inputs: .*reshape\(-1, .*got shape \(2, 3, 4\)", {"inputs": np.ones((2, 3, 4))}),
    ],
)
def test_what_to_do_is_said(message, changes):
    sound = {
        "weights": np.ones((50, 4)), "biases": np.zeros(50), "labels": [[3], [4]],
        "inputs": np.ones((2, 4)), "num_sampled": 5, "num_classes": 50,
    }
    with pytest.raises(ArgumentError, match=message):
        numba_ss.sampled_softmax_loss(**sound | changes)


@needs_jit
def test_functions_from_several_threads_do_not_mix(rng):
    """They share nothing: losses, samplers and the best classes."""
    size = 3000
    problems = [Problem(rng, size, 64, 600, 1, 300) for _ in range(4)]

    def compute(problem):
        model = problem.weights, problem.biases
        return [
            *call(problem, "sampled_softmax"),
            numba_ss.softmax_loss(*model, problem.labels, problem.inputs),
            *numba_ss.top_k(*model, problem.inputs, 5),
            *numba_ss.log_uniform_candidate_sampler(problem.labels, 1, 7, True, size, seed=1),
        ]

    want = [compute(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(compute, problems * 5), want * 5, strict=True):
            for one, other in zip(got, expected, strict=True):
                np.testing.assert_array_equal(one, other)
