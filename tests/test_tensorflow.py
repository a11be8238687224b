"""Live comparison with TensorFlow, where it is installed: random shapes, seeds, options."""

import warnings

import numpy as np
import pytest

import numba_ss
from tests.conftest import densify

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

DRAWS = 25
SAMPLERS = {
    "uniform": numba_ss.UniformSampler,
    "log_uniform": numba_ss.LogUniformSampler,
    "learned_unigram": numba_ss.LearnedUnigramSampler,
    "fixed_unigram": numba_ss.FixedUnigramSampler,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name):
    rng = np.random.default_rng(11)
    for i in range(DRAWS):
        range_max = int(rng.integers(1, 2000))
        num_true = int(rng.integers(1, 4))
        labels = rng.integers(0, range_max, (int(rng.integers(1, 9)), num_true))
        num_sampled = int(rng.integers(1, range_max + 1) if i % 2 else min(range_max, 30))
        unique = bool(rng.integers(2))
        seed = int(rng.integers(2**40))
        options = {"unigrams": rng.uniform(0.1, 9, range_max).tolist()} if "fixed" in name else {}
        function = f"{name}_candidate_sampler"
        theirs = getattr(tf.random, function, None) or getattr(tf.nn, function)
        tf.random.set_seed(i)  # forgets the streams of earlier calls
        want = theirs(labels, num_true, num_sampled, unique, range_max, seed=seed, **options)
        sampler = SAMPLERS[name](range_max, seed=seed, global_seed=i, **options)
        got = sampler.sample(labels, num_sampled, unique)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize("loss", ["sampled_softmax_loss", "nce_loss"])
def test_losses_and_gradients(loss):
    rng = np.random.default_rng(12)
    for _ in range(DRAWS):
        num_classes, dim = int(rng.integers(2, 300)), int(rng.integers(1, 70))
        batch_size, num_true = int(rng.integers(1, 130)), int(rng.integers(1, 4))
        num_sampled = int(rng.integers(1, num_classes + 1))
        weights = rng.standard_normal((num_classes, dim)).astype(np.float32)
        biases = rng.standard_normal(num_classes).astype(np.float32)
        inputs = rng.standard_normal((batch_size, dim)).astype(np.float32)
        labels = rng.integers(0, num_classes, (batch_size, num_true))
        values = numba_ss.log_uniform_candidate_sampler(
            labels, num_true, num_sampled, True, num_classes, seed=3
        )
        remove = bool(rng.integers(2))
        variables = [tf.Variable(array) for array in (weights, biases, inputs)]
        with tf.GradientTape() as tape:
            want = getattr(tf.nn, loss)(
                variables[0], variables[1], labels, variables[2], num_sampled, num_classes,
                num_true, tuple(tf.constant(v) for v in values), remove,
            )
        grads = tape.gradient(want, variables)
        got = getattr(numba_ss, f"{loss}_and_grad")(
            weights, biases, labels, inputs, num_sampled, num_classes, num_true, values, remove
        )
        np.testing.assert_allclose(got.loss, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got.grad_inputs, grads[2], atol=2e-5)
        np.testing.assert_array_equal(got.rows, grads[0].indices)
        for have, slices in ((got.grad_weights, grads[0]), (got.grad_biases, grads[1])):
            ours = densify(got.rows, have, num_classes)
            theirs = densify(slices.indices.numpy(), slices.values.numpy(), num_classes)
            np.testing.assert_allclose(ours, theirs, atol=5e-5 * max(1, np.abs(theirs).max()))
