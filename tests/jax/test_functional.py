"""jax/functional.py: the loss under jit and grad, against the engine and finite differences."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the extra jax is not installed")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import numba_ss  # noqa: E402
from numba_ss import ArgumentError  # noqa: E402
from numba_ss.jax import sampled_softmax_loss  # noqa: E402

NUM_CLASSES, DIM, NUM_SAMPLED, BATCH_SIZE = 60, 7, 15, 6
SAMPLED = np.arange(4), np.ones((BATCH_SIZE, 1)), np.ones(4)
OPTIONS = {"num_sampled": NUM_SAMPLED, "num_classes": NUM_CLASSES, "seed": 3}


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    with jax.enable_x64(request.param == np.float64):
        yield request.param


def problem(dtype=np.float32, num_true=1):
    """Return weights, biases, labels and inputs; among the candidates are accidental hits."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 12, (BATCH_SIZE, num_true))
    labels[0, 1:] = -1
    labels[1] = -1
    return (
        rng.standard_normal((NUM_CLASSES, DIM)).astype(dtype),
        rng.standard_normal(NUM_CLASSES).astype(dtype),
        labels,
        rng.standard_normal((BATCH_SIZE, DIM)).astype(dtype),
    )


@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("remove_hits", [True, False])
def test_losses_and_gradients_are_the_engine_s(dtype, num_true, remove_hits):
    weights, biases, labels, inputs = problem(dtype, num_true)
    options = OPTIONS | {"num_true": num_true, "remove_accidental_hits": remove_hits}
    upstream = np.linspace(-1, 2, BATCH_SIZE).astype(dtype)
    want = numba_ss.sampled_softmax_loss_and_grad(
        weights, biases, labels, inputs, grad_output=upstream, **options
    )

    @jax.jit
    def total(weights, biases, inputs):
        losses = sampled_softmax_loss(weights, biases, labels, inputs, **options)
        return losses @ upstream, losses

    (_, losses), grads = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(weights, biases, inputs)
    assert losses.dtype == dtype
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12}
    np.testing.assert_allclose(losses, want.loss, **tolerance)
    dense = np.zeros_like(weights), np.zeros_like(biases)
    np.add.at(dense[0], want.rows, want.grad_weights)
    np.add.at(dense[1], want.rows, want.grad_biases)
    for have, expected in zip(grads, (*dense, want.grad_inputs), strict=True):
        np.testing.assert_allclose(have, expected, **tolerance)


def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        weights, biases, labels, inputs = problem(np.float64, 3)

        def losses(weights, biases, inputs):
            return sampled_softmax_loss(weights, biases, labels, inputs, num_true=3, **OPTIONS)

        check_grads(losses, (weights, biases, inputs), order=1, modes="rev", rtol=1e-6)


def test_candidates_of_the_caller_s_own():
    weights, _, labels, inputs = problem()
    sampled = numba_ss.uniform_candidate_sampler(labels[2:], 1, 9, True, NUM_CLASSES, seed=5)
    arguments = weights, None, labels[2:], inputs[2:], 9, NUM_CLASSES, 1, tuple(sampled)
    want = numba_ss.sampled_softmax_loss(*arguments)
    np.testing.assert_allclose(jax.jit(sampled_softmax_loss, static_argnums=(4, 5, 6))(*arguments), want, rtol=1e-5)


def test_a_seed_may_be_the_number_of_a_step():
    weights, biases, labels, inputs = problem()
    options = {name: value for name, value in OPTIONS.items() if name != "seed"}
    compiled = jax.jit(lambda seed: sampled_softmax_loss(weights, biases, labels, inputs, seed=seed, **options))
    for seed in (1, 2):
        want = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, seed=seed, **options)
        np.testing.assert_allclose(compiled(seed), want, rtol=1e-5)


@pytest.mark.parametrize("seed", [2**40, -3, np.int64(7), jnp.array([5])])
def test_a_seed_of_any_form(seed):
    weights, biases, labels, inputs = problem()
    options = OPTIONS | {"seed": int(np.ravel(seed)[0])}
    want = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, **options)
    have = sampled_softmax_loss(weights, biases, labels, inputs, **options | {"seed": seed})
    np.testing.assert_allclose(have, want, rtol=1e-5)


def test_half_precision_hidden_states_are_computed_in_float32():
    weights, biases, labels, inputs = problem()
    half = jnp.asarray(inputs, jnp.bfloat16)
    want = numba_ss.sampled_softmax_loss(weights, biases, labels, np.asarray(half, np.float32), **OPTIONS)
    np.testing.assert_allclose(sampled_softmax_loss(weights, biases, labels, half, **OPTIONS), want, rtol=1e-5)
    grad = jax.grad(lambda h: sampled_softmax_loss(weights, biases, labels, h, **OPTIONS).sum())(half)
    assert grad.dtype == jnp.bfloat16


def test_a_planted_answer_is_learned():
    """The class after x is x + 1: found among all classes after training on sampled ones."""
    rng = np.random.default_rng(0)
    x = np.arange(NUM_CLASSES)
    y = (x + 1) % NUM_CLASSES
    parameters = [jnp.asarray(rng.standard_normal((NUM_CLASSES, 16), np.float32)) / 4 for _ in "wx"]

    @jax.jit
    def step(parameters, seed):
        def loss(parameters):
            weights, table = parameters
            return sampled_softmax_loss(weights, None, y[:, None], table[x], 20, NUM_CLASSES, seed=seed).sum()

        return [p - 0.1 * g for p, g in zip(parameters, jax.grad(loss)(parameters), strict=True)]

    for seed in range(80):
        parameters = step(parameters, seed)
    weights, table = parameters
    np.testing.assert_array_equal((table @ weights.T).argmax(axis=1), y)


@pytest.mark.parametrize(("changes", "message"), [
    ({"seed": None}, "seed: expected an integer, another one each step, or sampled_values"),
    ({"seed": 1.5}, "seed: expected an integer"),
    ({"seed": np.zeros(2, np.uint32)}, r"seed: expected an integer, .*, got uint32 of shape \(2,\)"),  # a key
    ({"num_classes": 61}, "num_classes: expected at most the 60 rows of weights"),
    ({"num_sampled": 0}, "num_sampled: expected at least 1"),
    ({"remove_accidental_hits": 1}, "remove_accidental_hits: expected True or False"),
    ({"biases": np.zeros(59)}, r"biases: expected shape \(num_classes,\) = \(60\)"),
    ({"inputs": np.ones((6, 3))}, r"weights: expected shape \(num_classes, dim\) = \(any, 3\)"),
    ({"inputs": np.ones(6)}, r"inputs: expected shape \(batch_size, dim\)"),
    ({"labels": np.ones((6, 1))}, "labels: expected integers, got float32"),
    ({"sampled_values": (1, 2)}, "sampled_values: expected"),
    ({"sampled_values": SAMPLED, "num_sampled": 5}, r"sampled_candidates: .* = \(5\), got shape \(4,\)"),
    ({"sampled_values": (np.ones((6, 4), int), *SAMPLED[1:]), "num_sampled": 4}, "sampled_candidates: expected shape"),
    ({"sampled_values": (*SAMPLED[:2], np.ones(3)), "num_sampled": 4}, "sampled_expected_count: expected shape"),
    ({"num_true": 2}, r"labels: expected shape \(batch_size, num_true\) = \(6, 2\)"),
])
def test_bad_arguments(changes, message):
    sound = dict(zip(("weights", "biases", "labels", "inputs"), problem(), strict=True))
    with pytest.raises(ArgumentError, match=message):
        sampled_softmax_loss(**sound | OPTIONS | changes)


def test_what_a_callback_finds_is_in_the_error_of_jax():
    weights, biases, labels, inputs = problem()
    candidates = (np.array([NUM_CLASSES]), np.ones((BATCH_SIZE, 1), np.float32), np.ones(1, np.float32))
    arguments = weights, biases, labels, inputs, 1, NUM_CLASSES, 1, candidates
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"sampled_candidates: expected ids in \[0, rows of weights\)"):
        sampled_softmax_loss(*arguments).block_until_ready()
    labels[3] = NUM_CLASSES
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"labels: expected ids in \[0, num_classes\)"):
        sampled_softmax_loss(weights, biases, labels, inputs, **OPTIONS).block_until_ready()


def test_vmap_is_refused():
    weights, biases, labels, inputs = problem()
    with pytest.raises(NotImplementedError, match="vmap"):
        jax.vmap(lambda h: sampled_softmax_loss(weights, biases, labels, h, **OPTIONS))(inputs[None])
