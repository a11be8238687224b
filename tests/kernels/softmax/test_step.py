"""step.py: the step of one call is that of several, bit for bit."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.candidate_sampler import SampledCandidates
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.engine.columns import make_columns
from numba_ss.engine.sampled_pass import NO_BITS, SampledPass, batch_of, buffers_of
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.softmax.arguments import (
    BACKWARD,
    FORWARD,
    KEPT,
    SUBTRACTED,
    TIED,
    WHOLE,
    Step,
)
from numba_ss.kernels.softmax.buffers import NUM_LEFT_OUT
from numba_ss.kernels.softmax.examples import sum_losses
from numba_ss.kernels.softmax.sampled_classes import BLOCK
from numba_ss.kernels.softmax.step import parts_of, sampled_step
from tests.conftest import Problem

STEP = np.float32(0.3)


def make(rng, by_class=True, num_true=2, dim=21):
    problem = Problem(rng, 80, dim, BLOCK + 40, num_true, 20, ragged=num_true > 1)
    if by_class:
        counts = rng.uniform(0.05, 2, len(problem.weights)).astype(np.float32)
        problem.true_count, problem.sampled_count = counts[problem.labels], counts[problem.sampled]
    problem.ids = np.minimum(rng.zipf(1.5, len(problem.labels)), 30) - 1
    problem.table = rng.standard_normal((80, dim)).astype(np.float32)
    return problem


def step(problem, inputs, logistic, columns, num_chunks=2, num_updates=1):
    """Return the sum of the losses and the buffers."""
    table = problem.weights if inputs == TIED else problem.table
    out = buffers_of(Workspace(), columns, table.shape[1], num_chunks, np.float32)
    out.arrays.board[:] = 0
    sampled_step(
        NO_BITS, batch_of(table, problem.ids, problem.weights, problem.biases, columns),
        problem.grad_output, logistic or None, Step(WHOLE, STEP, inputs, num_updates), num_chunks, out.all,
    )
    return sum_losses(out.arrays.losses), out.arrays


def in_phases(monkeypatch):
    """Let passes call one phase after the other."""
    made = Workspace.batch
    monkeypatch.setattr(
        Workspace, "batch", lambda *given: made(*given)._replace(is_whole=False)
    )


def copies(problem):
    return problem.weights.copy(), problem.biases.copy(), problem.table.copy()


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("inputs", [KEPT, SUBTRACTED, TIED])
@pytest.mark.parametrize(("num_chunks", "num_updates"), [(1, 1), (2, 1), (2, 2), (8, 3)])
def test_as_in_parts(logistic, by_class, num_true, inputs, num_chunks, num_updates, rng, monkeypatch):
    in_phases(monkeypatch)
    problem = make(rng, by_class, num_true)
    columns, (weights, biases, table) = problem.columns(), copies(problem)
    table = weights if inputs == TIED else table
    batch = SampledPass(
        Workspace(), table, problem.ids, weights, biases, columns, logistic, 2, train_table=True
    )
    losses, grads = batch.forward_and_backward(problem.grad_output)
    assert (batch.buffers.arrays.sizes[NUM_LEFT_OUT] == 0) == by_class
    batch.update(STEP)
    total, out = step(problem, inputs, logistic, columns, num_chunks, num_updates)
    assert total == sum_losses(losses)
    np.testing.assert_array_equal(out.losses, losses)
    np.testing.assert_array_equal(problem.weights, weights)
    np.testing.assert_array_equal(problem.biases, biases)
    if inputs == KEPT:
        np.testing.assert_array_equal(out.grad_inputs[:, : table.shape[1]], grads.inputs)
    else:
        np.testing.assert_array_equal(problem.weights if inputs == TIED else problem.table, table)


@pytest.mark.parametrize("logistic", [False, True])
def test_sampled_step(logistic, rng):
    """Against the specification."""
    problem = make(rng)
    before = copies(problem)
    total, _ = step(problem, SUBTRACTED, logistic, problem.columns())
    hits = find_hits(problem.labels, problem.sampled)
    log_q = np.log(problem.true_count), np.log(problem.sampled_count)
    ref = reference.sampled_step(
        before[2], problem.ids, *before[:2], problem.labels, log_q[0], problem.sampled, log_q[1],
        hits, problem.grad_output, logistic, 0.3,
    )
    assert total == pytest.approx(ref[0], rel=1e-5)
    for got, want in zip((problem.weights, problem.biases, problem.table), ref[1:], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("inputs", [KEPT, SUBTRACTED, TIED])
def test_a_loss_that_is_not_finite_changes_nothing(inputs, rng):
    problem = make(rng)
    problem.weights[problem.labels.max()] = np.inf
    before = copies(problem)
    total, out = step(problem, inputs, False, problem.columns())
    assert not np.isfinite(total)
    assert not np.isfinite(out.losses).all()
    for got, want in zip(copies(problem), before, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("logistic", [False, True])
def test_candidates_of_an_example_s_own(logistic, rng, monkeypatch):
    """They are no labels."""
    in_phases(monkeypatch)
    problem = make(rng, num_true=1)
    size, number = len(problem.labels), 5
    drawn = rng.integers(0, 80, (size, number))
    counts = rng.uniform(0.1, 1, (size, 1 + number)).astype(np.float32)
    sampled = SampledCandidates(drawn, counts[:, :1].copy(), counts[:, 1:].copy())
    columns = make_columns(problem.labels, sampled, np.float32, True, True)
    before = copies(problem)
    batch = SampledPass(
        Workspace(), before[2], problem.ids, *before[:2], columns, logistic, 1, train_table=True
    )
    losses, _ = batch.forward_and_backward(problem.grad_output)
    batch.update(STEP)
    total, _ = step(problem, SUBTRACTED, logistic, columns)
    assert total == sum_losses(losses)
    for got, want in zip(copies(problem), before, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("num_chunks", [1, 2, 8])
def test_a_step_in_two_calls(logistic, num_chunks, rng, monkeypatch):
    """The losses before the upstream gradient is known, and the gradients after; no update."""
    in_phases(monkeypatch)
    problem = make(rng)
    columns, before = problem.columns(), copies(problem)
    batch = SampledPass(
        Workspace(), problem.table, problem.ids, problem.weights, problem.biases, columns,
        logistic, 2, train_table=True,
    )
    losses, grads = batch.forward_and_backward(problem.grad_output)
    out = buffers_of(Workspace(), columns, problem.table.shape[1], num_chunks, np.float32)
    for part, upstream in ((FORWARD, np.full_like(losses, np.nan)), (BACKWARD, problem.grad_output)):
        out.arrays.board[:] = 0
        sampled_step(
            NO_BITS, batch_of(problem.table, problem.ids, *before[:2], columns), upstream,
            logistic or None, Step(part, STEP, KEPT, 0), num_chunks, out.all,
        )
        np.testing.assert_array_equal(out.arrays.losses, losses)
    size, dim = len(columns.sampled), problem.table.shape[1]
    np.testing.assert_array_equal(out.arrays.grad_inputs[:, :dim], grads.inputs)
    np.testing.assert_array_equal(out.arrays.grad_own_logits, grads.own_logits)
    np.testing.assert_array_equal(out.arrays.grad_sampled_rows[:size, :dim], grads.sampled_rows)
    np.testing.assert_array_equal(out.arrays.grad_sampled_biases[:size], grads.sampled_biases)
    for have, want in zip(before, copies(problem), strict=True):
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("num_chunks", [1, 2, 8])
def test_parts_of(num_chunks):
    assert parts_of(num_chunks) == reference.parts_of(num_chunks)
