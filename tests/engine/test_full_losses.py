"""full_losses.py: losses over all classes and their gradients."""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, reference
from numba_ss.engine import full_pass
from tests.conftest import Problem, needs_jit

NAMES = ["softmax", "sigmoid"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("batch_size", [0, 1, 130])
def test_against_the_reference(name, dtype, num_true, batch_size, rng, monkeypatch):
    problem = Problem(rng, 300, 9, batch_size, num_true, dtype=dtype, ragged=num_true > 1)
    # Several ranges of classes and parts of the batch.
    monkeypatch.setattr(full_pass, "EXPS", 2**14)
    monkeypatch.setattr(full_pass, "EXAMPLES", 64)
    arguments = problem.weights, problem.biases, problem.labels, problem.inputs
    got = getattr(numba_ss, f"{name}_loss_and_grad")(*arguments, grad_output=problem.grad_output)
    loss = getattr(numba_ss, f"{name}_loss")(*arguments)
    np.testing.assert_array_equal(loss, got.loss)
    assert loss.dtype == got.grad_weights.dtype == dtype
    ref = reference.full_loss_and_grad(*arguments, problem.grad_output, name == "sigmoid")
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
    grads = numba_ss.softmax_loss_and_grad(*arguments, problem.inputs.astype(float))
    assert got.dtype == grads.loss.dtype == grads.grad_inputs.dtype == np.float64
    assert grads.grad_weights.dtype == grads.grad_biases.dtype == np.float32
    np.testing.assert_array_equal(grads.loss, got)
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
        (
            r"inputs: .*nan at inputs\[1, 0\]",
            {"labels": [[-1], [2]], "inputs": np.array([[1, 1], [np.nan, 1]])},
        ),
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [slice(0, 250), slice(40, 290), slice(1, 300, 2)])
def test_classes_of_bias_minus_infinity_are_left_out(name, place, rng):
    problem = Problem(rng, 300)
    on = np.setdiff1d(np.arange(300), np.arange(300)[place])
    problem.biases[place] = -np.inf
    problem.labels = rng.choice(on, problem.labels.shape)
    rest = problem.labels, problem.inputs
    got = getattr(numba_ss, f"{name}_loss_and_grad")(problem.weights, problem.biases, *rest)
    rest = np.searchsorted(on, problem.labels), problem.inputs
    want = getattr(numba_ss, f"{name}_loss_and_grad")(problem.weights[on], problem.biases[on], *rest)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
    np.testing.assert_allclose(got.grad_inputs, want.grad_inputs, atol=1e-5)
    np.testing.assert_allclose(got.grad_weights[on], want.grad_weights, atol=1e-5)
    assert not got.grad_weights[place].any()
    assert not got.grad_biases[place].any()
    problem.labels[1, 0] = np.arange(300)[place][0]
    with pytest.raises(ArgumentError, match=r"labels: .*bias is not -inf, got \d+ at labels\[1, 0\]"):
        getattr(numba_ss, f"{name}_loss")(problem.weights, problem.biases, problem.labels, problem.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_without_a_label_has_no_loss_and_no_gradient(name, rng):
    problem = Problem(rng, batch_size=9, num_true=2)
    problem.labels[[0, 4, 8]] = -1
    problem.inputs[4] = np.nan  # does not matter
    some = problem.labels[:, 0] >= 0
    one, model = getattr(numba_ss, f"{name}_loss_and_grad"), (problem.weights, problem.biases)
    got = one(*model, problem.labels, problem.inputs, grad_output=problem.grad_output)
    want = one(*model, problem.labels[some], problem.inputs[some], grad_output=problem.grad_output[some])
    for part in ("loss", "grad_inputs"):
        assert not getattr(got, part)[~some].any()
        np.testing.assert_array_equal(getattr(got, part)[some], getattr(want, part))
    np.testing.assert_array_equal(got.grad_weights, want.grad_weights)
    assert not any(map(np.any, one(*model, problem.labels[:, :0], problem.inputs)[:2]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8", "longdouble"])
def test_floats_of_every_kind(name, kind, rng):
    problem, loss = Problem(rng), getattr(numba_ss, f"{name}_loss")
    for part in range(4):
        given = [problem.weights, problem.biases, problem.labels, problem.inputs]
        if part != 2:
            other = given[part].astype(kind)
            like = np.float32 if other.dtype.itemsize <= 4 else np.float64
            got = loss(*given[:part], other, *given[part + 1 :])
            want = loss(*given[:part], other.astype(like), *given[part + 1 :])
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype


@pytest.mark.parametrize("name", NAMES)
def test_no_biases_are_zeros(name, rng):
    problem, loss = Problem(rng), getattr(numba_ss, f"{name}_loss")
    given = problem.labels, problem.inputs
    np.testing.assert_array_equal(
        loss(problem.weights, None, *given), loss(problem.weights, np.zeros(60), *given)
    )


def test_what_a_float32_cannot_hold_is_refused():
    """It is finite in float64, and infinite in the type of the result."""
    weights, inputs = np.ones((5, 2)), np.ones((2, 2), np.float32)
    weights[2] = 1e300
    with pytest.raises(ArgumentError, match=r"loss: expected numbers that float32 can hold"):
        numba_ss.softmax_loss(weights, None, [[1], [2]], inputs)
    with pytest.raises(ArgumentError, match=r"inputs: expected numbers that float32 can hold, got 1e\+300 at inputs\[1, 0\]"):
        numba_ss.softmax_loss(np.ones((5, 2), np.float32), None, [[1], [2]], [[1.0, 1], [1e300, 1]])
