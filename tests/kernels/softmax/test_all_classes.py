"""all_classes.py: the gradients of all classes against the specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import full_pass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.llvm import ROWS
from numba_ss.kernels.softmax.all_classes import pack_classes
from numba_ss.kernels.softmax.buffers import describe
from numba_ss.kernels.softmax.sampled_classes import BLOCK
from tests.conftest import Problem


@pytest.mark.parametrize("logistic", [False, True])
def test_forward_classes(logistic, rng):
    problem = Problem(rng, num_classes=300, batch_size=BLOCK + 5)
    inputs = problem.inputs
    normalizer = full_pass.normalizers(problem.weights, problem.biases, inputs, logistic)
    grad_inputs = np.zeros_like(full_pass.padded_inputs(inputs))
    got = np.zeros((300, 9))
    for block in full_pass.full_pass(
        Workspace(), problem.weights, problem.biases, full_pass.padded_inputs(inputs),
        normalizer.astype(np.float32), problem.grad_output, logistic, grad_inputs,
    ):
        count = block.classes.stop - block.classes.start
        got[block.classes] = block.grad_rows[:count, :9]
    probs, ref = reference.forward_classes(
        inputs.astype(float), problem.weights.astype(float), problem.biases, problem.grad_output,
        logistic,
    )
    np.testing.assert_allclose(grad_inputs[: len(inputs), :9], ref, atol=1e-4)
    np.testing.assert_allclose(got, reference.grad_sampled(inputs, probs)[0], atol=1e-4)


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_pack_classes(num_chunks, rng):
    """Nothing is subtracted from their biases; rows that are no class have the bias -inf."""
    problem = Problem(rng)
    classes, size = np.arange(3, 3 + ROWS + 1), 2 * ROWS
    rows, biases = np.empty((size, 16), np.float32), np.empty(size, np.float32)
    pack_classes(
        classes, problem.weights, problem.biases, np.empty(0, np.float32), size, num_chunks,
        describe(sampled_rows=rows, adjusted_biases=biases),
    )
    ref_rows, ref_biases = reference.pack_classes(problem.weights, problem.biases, classes)
    np.testing.assert_array_equal(rows[: ROWS + 1, :9], ref_rows)
    np.testing.assert_array_equal(biases[: ROWS + 1], ref_biases)
    assert np.isneginf(biases[ROWS + 1 :]).all()
