"""losses.py: golden numbers, TensorFlow's own cases, gradients."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numba_ss
from numba_ss import reference
from tests.conftest import JIT, Problem, densify, needs_jit
from tests.engine.loss_calls import SAMPLED, both, call


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
        problem.grad_output, name != "sampled_softmax",
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
    got = loss_and_grad(*problem.arguments, grad_output=problem.grad_output)
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
    got = loss_and_grad(*problem.arguments, grad_output=problem.grad_output)
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
            values.append(problem.grad_output @ loss(*problem.arguments))
        setattr(problem, attribute, array)
        slope = (values[0] - values[1]) / 2e-5
        assert np.sum(grad * direction) == pytest.approx(slope, rel=1e-6)


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
        got = numba_ss.sampled_softmax_loss_and_grad(*arguments, grad_output=[1, 0, 0])
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
    """Every class is sampled once, without correction; hits are removed, so a label counts once."""
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
