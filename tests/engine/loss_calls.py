"""Calls of the losses that several test files make."""

import numpy as np

import numba_ss
from tests.conftest import densify

SAMPLED = ["sampled_softmax", "nce", "sampled_logistic", "negative_sampling"]


def both(name):
    return getattr(numba_ss, f"{name}_loss"), getattr(numba_ss, f"{name}_loss_and_grad")


def call(problem, name, **changes):
    """Return the loss and gradients of a problem as dense arrays, computed in float64."""
    names = ("weights", "biases", "labels", "inputs", "num_sampled", "num_classes", "num_true", "sampled_values")
    given = dict(zip(names, problem.arguments, strict=True)) | changes
    got = both(name)[1](**given, grad_output=problem.grad_output)
    np.testing.assert_array_equal(both(name)[0](**given), got.loss)
    size = len(problem.weights)
    return got.loss, got.grad_inputs, densify(got.rows, got.grad_weights, size), densify(got.rows, got.grad_biases, size)


def own_candidates(problem, rng):
    """Give each example candidates of its own."""
    shape = len(problem.inputs), len(problem.sampled)
    problem.sampled = rng.integers(0, len(problem.weights), shape)
    problem.sampled_count = rng.uniform(0.05, 2, shape).astype(np.float32)


def call_one(problem, name, i, there):
    values = problem.sampled[i : i + 1, there], problem.true_count[i : i + 1], problem.sampled_count[i : i + 1, there]
    return both(name)[1](
        problem.weights, problem.biases, problem.labels[i : i + 1], problem.inputs[i : i + 1],
        int(there.sum()), len(problem.weights), problem.labels.shape[1], values,
        grad_output=problem.grad_output[i : i + 1],
    )
