"""phases.py: what comes after what, and the phases that have two halves."""

import ast
import inspect
from itertools import pairwise

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import rows
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.engine.sampled_pass import SampledPass, batch_of
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.softmax import phases, step
from numba_ss.kernels.softmax.arguments import Blocks
from numba_ss.kernels.softmax.phases import (
    _EXAMPLES,
    backward_inputs,
    first_row,
    prepare,
    scale_examples,
)
from numba_ss.kernels.softmax.sampled_classes import block_start
from tests.conftest import Problem

KERNELS = {
    node.name: node
    for node in ast.parse(inspect.getsource(phases)).body
    if isinstance(node, ast.FunctionDef) and node.decorator_list[0].id == "parallel_kernel"
}


def work_of(function):
    """Return the parts of chunks that a function calls, in the order in which they stand."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: call.lineno)
    names = [getattr(call.func, "id", "") for call in calls]
    starts = "grad_", "scatter_"
    return [name for name in names if name.endswith("_chunk") or name.startswith(starts)]


def test_the_fused_step_has_the_same_phases_in_the_same_order():
    tree = ast.parse(inspect.getsource(step)).body
    fused = next(node for node in tree if getattr(node, "name", "") == "sampled_step_chunk")
    apart = [name for kernel in KERNELS.values() for name in work_of(kernel)]
    assert work_of(fused) == apart
    assert len(apart) == len(set(apart)) == 10


def test_a_pass_goes_through_the_phases_in_their_order(rng, monkeypatch):
    seen = []

    def noted(name, function):
        def note_and_call(*given):
            seen.append(name)
            return function(*given)

        return note_and_call

    for name in KERNELS:
        for module in (phases, rows):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    problem = Problem(rng)
    batch = SampledPass(
        Workspace(), problem.inputs.copy(), np.arange(len(problem.inputs)), problem.weights,
        problem.biases, problem.columns(), False, 1, train_table=True,
    )
    batch._at_once = False
    batch.forward()
    assert seen == list(KERNELS)[:3]
    batch.backward()
    assert seen == list(KERNELS)[:6]
    batch.update(np.float32(0.1))
    assert seen == list(KERNELS)


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
@pytest.mark.parametrize("num_rows", [0, 8, 104])
@pytest.mark.parametrize("num_examples", [0, 7, 256, 4096])
def test_first_row(num_chunks, num_rows, num_examples):
    """The first chunk has fewer rows, or none; all others as many as each other."""
    sizes = num_chunks, num_rows, num_examples
    starts = [first_row(chunk, *sizes) for chunk in range(num_chunks + 1)]
    assert starts == [
        reference.first_row(chunk, *sizes, _EXAMPLES) for chunk in range(num_chunks + 1)
    ]
    assert (starts[0], starts[-1]) == (0, num_rows)
    counts = [stop - start for start, stop in pairwise(starts)]
    assert counts[0] <= max(counts[1:], default=num_rows)


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_prepare(num_chunks, rng):
    problem = Problem(rng, batch_size=70)
    counts = rng.uniform(0.05, 2, len(problem.weights)).astype(np.float32)
    problem.true_count, problem.sampled_count = counts[problem.labels], counts[problem.sampled]
    ids, num_sampled = rng.integers(0, 9, 70), len(problem.sampled)
    out = Workspace().batch(70, 1, num_sampled, 1, 9, 2, np.float32)
    table = problem.inputs
    batch = batch_of(table, ids, problem.weights, problem.biases, problem.columns())
    num_rows = len(out.arrays.grad_sampled_rows)
    prepare(np.empty((0, 0), np.uint32), batch, num_rows, num_chunks, out.all)
    hits = find_hits(problem.labels, problem.sampled)
    inverse, members, rows, biases = reference.prepare(
        ids.tolist(), hits.tolist(), problem.weights, problem.biases, problem.sampled,
        np.log(problem.sampled_count),
    )
    assert out.arrays.inverse.tolist() == inverse
    assert out.arrays.sizes.tolist() == [len(members), 0]
    np.testing.assert_array_equal(out.arrays.sampled_rows[:num_sampled, :9], rows)
    np.testing.assert_allclose(out.arrays.adjusted_biases[:num_sampled], biases, atol=1e-6)
    assert np.isneginf(out.arrays.adjusted_biases[num_sampled:]).all()


@pytest.mark.parametrize("num_chunks", [1, 2, 3])
@pytest.mark.parametrize("with_examples", [False, True])
def test_backward_inputs(num_chunks, with_examples, rng):
    problem = Problem(rng, batch_size=90, num_true=2)
    problem.inputs = problem.inputs[np.minimum(rng.integers(0, 90, 90), 79)]
    batch = SampledPass(
        Workspace(), problem.inputs, np.arange(90), problem.weights, problem.biases,
        problem.columns(remove_hits=False), False, num_chunks,
    )
    batch.forward()
    log_q = np.log(problem.true_count), np.log(problem.sampled_count)
    ref = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0], 2,
        problem.sampled, log_q[1], np.empty((90, 0), int), problem.grad_output, False,
    )
    got = batch.buffers.arrays
    grad_logits, grad_inputs = reference.backward_inputs(
        ref.probabilities, got.inverse, problem.weights[problem.sampled], ref.grad_own_logits,
        problem.weights[problem.labels],
    )
    got.grad_inputs[:] = 7
    num_inputs, num_sampled = len(grad_logits), len(problem.sampled)
    blocks, buffers = Blocks(0, 2, 2, num_inputs), batch.buffers.all
    scale_examples(blocks, 2, problem.grad_output, None, num_chunks, buffers)
    given = batch_of(
        problem.inputs, np.arange(90), problem.weights, problem.biases, problem.columns()
    )
    backward_inputs(blocks, True, with_examples, given, num_chunks, buffers)
    for block in range(2):
        start, stop = (block_start(b, 2, num_inputs) for b in (block, block + 1))
        probabilities = got.probabilities[block * len(got.grad_sampled_rows) :][:num_sampled, : stop - start]
        np.testing.assert_allclose(probabilities.T, grad_logits[start:stop], atol=1e-5)
    if with_examples:
        np.testing.assert_allclose(got.grad_inputs[:, :9], grad_inputs, atol=1e-4)
    else:
        assert (got.grad_inputs == 7).all()
