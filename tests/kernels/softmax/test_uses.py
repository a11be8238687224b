"""uses.py: the gradients of classes one by one, against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.columns import make_columns
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.samplers import SampledCandidates
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.softmax.uses import list_uses
from tests.conftest import Problem


@pytest.mark.parametrize("num_chunks", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("own", ["labels", "padding", "samples too"])
def test_list_uses(own, dtype, num_chunks, rng):
    problem = Problem(rng, 60, 21, 70, 1 if own == "labels" else 3, 11, dtype, ragged=own != "labels")
    columns = problem.columns()
    if own == "samples too":
        drawn, counts = rng.integers(0, 60, (70, 4)), rng.uniform(0.1, 1, (70, 4)).astype(dtype)
        sampled = SampledCandidates(drawn, problem.true_count, counts)
        columns = make_columns(problem.labels, sampled, dtype, True, True)
    # Some inputs are equal, and worked on together.
    problem.inputs[::3] = problem.inputs[0]
    batch = SampledPass(
        Workspace(), problem.inputs, np.arange(70), problem.weights, problem.biases, columns,
        True, 1,
    )
    batch.forward()
    grads = batch.backward(problem.grad_output)
    want = reference.list_uses(
        columns.own, columns.num_true, columns.sampled, problem.inputs, grads.own_logits,
        grads.sampled_rows, grads.sampled_biases,
    )
    size = len(want[0])
    ids, rows, biases = np.full(size, -7), np.full((size, 21), np.nan, dtype), np.full(size, np.nan, dtype)
    list_uses(
        columns.own, columns.num_true, columns.sampled, False, num_chunks, ids, rows, biases,
        batch.buffers.all,
    )
    np.testing.assert_array_equal(ids, want[0])
    np.testing.assert_allclose(rows, want[1], rtol=1e-6)
    np.testing.assert_array_equal(biases, want[2])
    # Those of the sampled classes may be there already.
    first = size - len(columns.sampled)
    rows[:], biases[:] = -7, -7
    list_uses(
        columns.own, columns.num_true, columns.sampled, True, num_chunks, ids, rows, biases,
        batch.buffers.all,
    )
    np.testing.assert_array_equal(ids, want[0])
    np.testing.assert_allclose(rows[:first], want[1][:first], rtol=1e-6)
    np.testing.assert_array_equal(rows[first:], -7)
    np.testing.assert_array_equal(biases[first:], -7)
