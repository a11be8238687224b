"""full_losses.py: losses over all classes and their gradients."""

import numpy as np
import pytest
from conftest import Problem, needs_jit

import numba_ss
from numba_ss import ArgumentError, _passes, reference

NAMES = ["softmax", "sigmoid"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("batch_size", [0, 1, 130])
def test_against_the_reference(name, dtype, num_true, batch_size, rng, monkeypatch):
    problem = Problem(rng, 300, 9, batch_size, num_true, dtype=dtype, ragged=num_true > 1)
    # Several ranges of classes and parts of the batch.
    monkeypatch.setattr(_passes, "_EXPS", 2**14)
    monkeypatch.setattr(_passes, "EXAMPLES", 64)
    arguments = problem.weights, problem.biases, problem.labels, problem.inputs
    got = getattr(numba_ss, f"{name}_loss_and_grad")(*arguments, grad_loss=problem.grad_loss)
    loss = getattr(numba_ss, f"{name}_loss")(*arguments)
    np.testing.assert_array_equal(loss, got.loss)
    assert loss.dtype == got.grad_weights.dtype == dtype
    ref = reference.full_loss_and_grad(*arguments, problem.grad_loss, name == "sigmoid")
    np.testing.assert_array_equal(got.rows, np.arange(300))
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    have = got.loss, got.grad_inputs, got.grad_weights, got.grad_biases
    for a, b in zip(have, ref, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * max(1, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_central_differences(name, rng):
    problem = Problem(rng, 20, 5, 6, 2, dtype=np.float64)
    model = {"weights": problem.weights, "biases": problem.biases, "inputs": problem.inputs}
    loss = getattr(numba_ss, f"{name}_loss")
    got = getattr(numba_ss, f"{name}_loss_and_grad")(**model, labels=problem.labels)
    for key, array in model.items():
        direction = rng.standard_normal(array.shape)
        values = [
            loss(**(model | {key: array + step * direction}), labels=problem.labels).sum()
            for step in (1e-5, -1e-5)
        ]
        slope = (values[0] - values[1]) / 2e-5
        assert np.sum(getattr(got, f"grad_{key}") * direction) == pytest.approx(slope, rel=1e-6)


def test_result_has_the_type_of_the_inputs(rng):
    problem = Problem(rng)
    arguments = problem.weights, problem.biases, problem.labels
    got = numba_ss.softmax_loss(*arguments, problem.inputs.astype(float))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, numba_ss.softmax_loss(*arguments, problem.inputs), rtol=1e-6)


@needs_jit
def test_a_million_classes_do_not_wear_out_the_sum():
    weights, inputs = np.zeros((2_000_003, 1), np.float32), np.ones((1, 1), np.float32)
    got = numba_ss.softmax_loss(weights, np.zeros(len(weights), np.float32), [[0]], inputs)
    assert got[0] == pytest.approx(np.log(len(weights)), abs=2e-6)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("labels", {"labels": [1, 2]}),
        ("labels: .*got 4 at", {"labels": [[4], [1]]}),
        ("labels", {"labels": [[1]]}),
        ("biases", {"biases": np.zeros(3)}),
        ("weights", {"weights": np.zeros((4, 3))}),
        ("weights: expected at least one class", {"weights": np.zeros((0, 2)), "biases": []}),
        (r"weights: .*nan at weights\[0, 0\]", {"weights": np.full((4, 2), np.nan)}),
        ("inputs", {"inputs": np.full((2, 2), np.inf)}),
        ("biases: .*finite", {"biases": np.full(4, np.inf)}),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input(message, changes, name):
    sound = {
        "weights": np.zeros((4, 2)), "biases": np.zeros(4), "labels": [[1], [2]],
        "inputs": np.ones((2, 2)),
    }
    with np.errstate(all="ignore"), pytest.raises(ArgumentError, match=message):
        getattr(numba_ss, f"{name}_loss")(**(sound | changes))
