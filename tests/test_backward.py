"""kernels/backward.py: both halves of the backward pass, alone and together."""

import numpy as np
import pytest
from conftest import Problem

from numba_ss import _passes, reference
from numba_ss.kernels.backward import backward


@pytest.mark.parametrize("num_chunks", [1, 2, 3])
def test_backward(num_chunks, rng):
    problem = Problem(rng, batch_size=90, num_true=2)
    batch = _passes.SampledPass(
        _passes.Workspace(), problem.inputs, np.arange(90), problem.weights, problem.biases,
        problem.columns(remove_hits=False), problem.grad_loss, False, num_chunks,
    )
    log_q = np.log(problem.true_count), np.log(problem.sampled_count)
    ref = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0], 2,
        problem.sampled, log_q[1], np.empty((90, 0), int), problem.grad_loss, False,
    )
    grad_rows, grad_offsets, grad_inputs = reference.backward(
        problem.inputs, ref.probabilities, problem.weights[problem.sampled], ref.coefficients,
        problem.weights[problem.labels],
    )
    got = batch.result
    num_sampled = len(problem.sampled)
    for columns in (None, problem.labels):
        got.grad_inputs[:] = 7
        backward(
            0, 2, 2, 90, True, False, np.arange(90), columns, problem.weights, None, num_chunks,
            None, got.all,
        )
        if columns is None:
            np.testing.assert_allclose(got.grad_rows[:num_sampled, :9], grad_rows, atol=1e-4)
            np.testing.assert_allclose(got.grad_offsets[:num_sampled], grad_offsets, atol=1e-4)
            assert (got.grad_inputs == 7).all()
        else:
            np.testing.assert_allclose(got.grad_inputs[:, :9], grad_inputs, atol=1e-4)
