"""columns.py: candidates that are drawn for each example alone."""

import numpy as np
import pytest

from tests.conftest import Problem, densify
from tests.engine.loss_calls import both


@pytest.mark.parametrize("name", ["sampled_softmax", "nce"])
@pytest.mark.parametrize("remove", [True, False])
def test_candidates_of_an_example_s_own(name, remove, rng):
    """With candidates of its own, each example has the result of a batch of one."""
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
