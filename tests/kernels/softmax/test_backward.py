"""backward.py: both halves, alone and together."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import passes
from numba_ss.kernels.softmax.backward import backward_inputs
from numba_ss.kernels.softmax.candidates import block_start
from tests.conftest import Problem


@pytest.mark.parametrize("num_chunks", [1, 2, 3])
@pytest.mark.parametrize("with_examples", [False, True])
def test_backward_inputs(num_chunks, with_examples, rng):
    problem = Problem(rng, batch_size=90, num_true=2)
    problem.inputs = problem.inputs[np.minimum(rng.integers(0, 90, 90), 79)]
    batch = passes.SampledPass(
        passes.Workspace(), problem.inputs, np.arange(90), problem.weights, problem.biases,
        problem.columns(remove_hits=False), problem.grad_loss, False, num_chunks,
    )
    log_q = np.log(problem.true_count), np.log(problem.sampled_count)
    ref = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0], 2,
        problem.sampled, log_q[1], np.empty((90, 0), int), problem.grad_loss, False,
    )
    got = batch.result
    grad_logits, grad_inputs = reference.backward_inputs(
        ref.probabilities, got.slots, problem.weights[problem.sampled], ref.coefficients,
        problem.weights[problem.labels],
    )
    got.grad_inputs[:] = 7
    num_inputs, num_sampled = len(grad_logits), len(problem.sampled)
    backward_inputs(
        0, 2, 2, num_inputs, True, True, np.arange(90) if with_examples else None,
        problem.weights, np.float32(0), num_chunks, problem.weights, got.all,
    )
    for block in range(2):
        start, stop = (block_start(b, 2, num_inputs) for b in (block, block + 1))
        exps = got.arrays["exps"][block * len(got.grad_rows) :][:num_sampled, : stop - start]
        np.testing.assert_allclose(exps.T, grad_logits[start:stop], atol=1e-5)
    if with_examples:
        np.testing.assert_allclose(got.grad_inputs[:, :9], grad_inputs, atol=1e-4)
    else:
        assert (got.grad_inputs == 7).all()
