"""torch/work.py: who has a workspace, and for how long."""

import gc

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra torch is not installed")

import numba_ss
from numba_ss import ArgumentError
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import get_num_threads, use_threads
from numba_ss.torch import work as works
from numba_ss.torch.work import FullWork, LayerWork
from tests.conftest import Problem, densify


def make(problem, spare, some=None):
    columns = problem.columns()
    if some is not None:
        columns = columns._replace(
            own=columns.own[some], own_counts=columns.own_counts[some]
        )
    return LayerWork(
        spare, problem.weights, problem.biases, problem.inputs, some, columns, logistic=False
    )


def test_a_workspace_is_had_from_forward_to_backward(rng):
    problem, spare = Problem(rng), []
    first, second = make(problem, spare), make(problem, spare)
    assert not spare
    first.backward(problem.grad_output)
    assert len(spare) == 1
    third = make(problem, spare)
    assert not spare
    third.backward(problem.grad_output)
    second.backward(problem.grad_output)
    assert len(spare) == 2
    make(problem, spare)  # dropped
    gc.collect()
    assert len(spare) == 2


@pytest.mark.parametrize("alone", [False, True])
def test_a_step_has_as_many_threads_as_its_place_says(alone, rng, monkeypatch):
    """The place is told what an example took, forward and backward together."""

    class Tuner:
        def __init__(self):
            self.alone, self.told = alone, []

        def record(self, seconds):
            self.told.append(seconds)

    seen, clock = [], [0.0]

    def watch(name):
        take = getattr(SampledPass, name)

        def watched(*given):
            seen.append(get_num_threads())
            clock[0] += 7.0
            return take(*given)

        monkeypatch.setattr(SampledPass, name, watched)

    watch("forward")
    watch("backward")
    monkeypatch.setattr(works, "perf_counter", lambda: clock[0])
    tuner, problem = Tuner(), Problem(rng)
    with use_threads(2):
        batch = make(problem, [works.Place(Workspace(), tuner)])
        clock[0] += 100.0  # what is between does not count
        batch.backward(problem.grad_output)
    assert seen == [1 if alone else 2] * 2
    assert tuner.told == [2 * 7.0 / 7]


def test_gradients_may_be_asked_for_again(rng):
    """From another workspace, while others use the first; the same bits."""
    problem, spare = Problem(rng), []
    work = make(problem, spare)
    inputs, rows = work.backward(problem.grad_output)
    other = make(Problem(rng), spare)
    again, same_rows = work.backward(problem.grad_output)
    np.testing.assert_array_equal(again, inputs)
    for one, two in zip(rows, same_rows, strict=True):
        np.testing.assert_array_equal(one.values, two.values)
    doubled, _ = work.backward(2 * problem.grad_output)
    np.testing.assert_allclose(doubled, 2 * inputs, rtol=1e-6)
    assert other.backward(problem.grad_output)[0].shape == inputs.shape


def test_examples_without_a_label_get_zeros(rng):
    problem, some = Problem(rng), np.array([True, False, True, True, False, True, False])
    work = make(problem, [], some)
    whole = make(problem, [])
    np.testing.assert_array_equal(work.losses[some], whole.losses[some])
    assert not work.losses[~some].any()
    inputs, (weights, _) = work.backward(problem.grad_output)
    want, (all_weights, _) = whole.backward(problem.grad_output * some)
    np.testing.assert_allclose(inputs, want, atol=1e-6)
    np.testing.assert_allclose(
        densify(*weights, 60), densify(*all_weights, 60), atol=1e-6
    )


def test_rows_are_the_uses_of_classes(rng):
    """The labels example by example, then the candidates, as often as they come."""
    problem = Problem(rng, num_true=3, ragged=True)
    labels = problem.labels.ravel()
    _, rows = make(problem, []).backward(np.ones(7, np.float32))
    for part in rows:
        np.testing.assert_array_equal(part.ids, [*labels[labels >= 0], *problem.sampled])


@pytest.mark.parametrize("array", ["weights", "biases", "inputs"])
def test_what_is_not_finite_is_named(array, rng):
    problem, spare = Problem(rng), []
    getattr(problem, array)[:] = np.inf
    with pytest.raises(ArgumentError, match=f"{array.removesuffix('s')}.*: expected finite numbers"):
        make(problem, spare)
    assert len(spare) == 1  # the workspace is free again


@pytest.mark.parametrize("logistic", [True, False])
def test_a_full_work_is_the_engine_s(logistic, rng):
    problem = Problem(rng, num_true=2, ragged=True)
    arguments = problem.weights, problem.biases, problem.inputs, problem.labels
    work = FullWork(*arguments, logistic)
    name = "sigmoid" if logistic else "softmax"
    want = getattr(numba_ss, f"{name}_loss_and_grad")(
        problem.weights, problem.biases, problem.labels, problem.inputs,
        grad_output=problem.grad_output,
    )
    np.testing.assert_array_equal(work.losses, want.loss)
    inputs, (weights, biases) = work.backward(problem.grad_output)
    assert weights.ids is None
    np.testing.assert_array_equal(inputs, want.grad_inputs)
    np.testing.assert_array_equal(weights.values, want.grad_weights)
    np.testing.assert_array_equal(biases.values, want.grad_biases)
