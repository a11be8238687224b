"""results.py: upstream gradients, and examples without a label."""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError
from tests.conftest import Problem, densify
from tests.engine.loss_calls import SAMPLED, both, call, own_candidates


@pytest.mark.parametrize("bad", [[1.0], [1, 2, 3], [np.nan, 1], [1e300, 1], ["a", "b"]])
def test_bad_grad_output(bad):
    weights, biases, inputs = (np.ones(shape, np.float32) for shape in ((9, 3), 9, (2, 3)))
    with pytest.raises(ArgumentError, match="grad_output"):
        numba_ss.nce_loss_and_grad(weights, biases, [[1], [2]], inputs, 4, 9, grad_output=bad)


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
        len(problem.weights), 2, (sampled, problem.true_count[some], count), grad_output=problem.grad_output[some],
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
