"""A batch between its forward and its backward pass: sampled classes, or all of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import MutableSequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.autotune import ThreadTuner
from numba_ss.engine.candidate_sampler import SampledCandidates
from numba_ss.engine.columns import Columns, check_counts
from numba_ss.engine.full_losses import (
    sigmoid_loss,
    sigmoid_loss_and_grad,
    softmax_loss,
    softmax_loss_and_grad,
)
from numba_ss.engine.results import spread
from numba_ss.engine.sampled_pass import ClassGradients, SampledPass
from numba_ss.engine.sampled_problem import SampledProblem
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for, use_threads
from numba_ss.kernels.softmax.examples import sum_losses
from numba_ss.torch.autograd import Rows
from numba_ss.torch.unit_rows import unit_rows

Some = NDArray[np.bool_] | None  # which examples have a label, None if all do


class Place(NamedTuple):
    """Where batches are worked on one after the other."""

    workspace: Workspace
    tuner: ThreadTuner  # by the seconds of a whole step, divided by the number of examples


class _SampledWork(ABC):
    """A batch of which each example is compared with its labels and the sampled classes.

    From its making to the end of its backward pass it has a place for itself, for in between
    there may be other batches. `spare` are those that nobody uses.
    """

    def __init__(self, spare: MutableSequence[Place], some: Some) -> None:
        self._spare, self._some = spare, some
        self._pass: SampledPass | None = None
        losses = self._forward()[1]
        self.losses, self.total = spread(losses, some), sum_losses(losses)
        if not math.isfinite(self.total):
            self._explain()

    def backward(self, grad_output: Floats) -> tuple[Floats, list[Rows]]:
        """Return the gradients of the inputs and of the tables.

        They stand in arrays that the workspace lends. It is another's from here on: who asks
        again has the forward pass done again.
        """
        batch, some = self._pass or self._forward()[0], self._some
        workspace, tuner = self._place
        grad_output = grad_output if some is None else grad_output[some]
        start = perf_counter()
        with use_threads(1 if tuner.alone else None):
            grads = batch.backward(grad_output, workspace)
        self._seconds += perf_counter() - start
        tuner.record(self._seconds / max(len(grad_output), 1))
        rows = self._share_out(batch.class_gradients())
        grad_inputs = workspace.lend("grad_inputs", grads.inputs.shape, grads.inputs.dtype)
        grad_inputs[:] = grads.inputs
        self._release()
        return spread(grad_inputs, some), rows

    def _forward(self) -> tuple[SampledPass, Floats]:
        """Return a pass with a place of its own, and its losses."""
        try:
            self._place = self._spare.pop()
        except IndexError:
            self._place = Place(Workspace(), ThreadTuner())
        self._pass = self._make_pass(self._place.workspace)
        start = perf_counter()
        with use_threads(1 if self._place.tuner.alone else None):
            losses = self._pass.forward()
        self._seconds = perf_counter() - start
        return self._pass, losses

    def _release(self) -> None:
        if self._pass is not None:
            self._pass = None
            self._spare.append(self._place)

    __del__ = _release  # a graph that is dropped has no backward pass

    @abstractmethod
    def _make_pass(self, workspace: Workspace) -> SampledPass:
        """Return the pass over the examples that have a label."""

    @abstractmethod
    def _explain(self) -> None:
        """Raise an error that says why the losses are not finite."""

    @abstractmethod
    def _share_out(self, classes: ClassGradients) -> list[Rows]:
        """Return the gradient of each table."""


class LayerWork(_SampledWork):
    """A batch of the layer; `columns` are of the examples that have a label.

    With `normalize` the classes' rows are divided by their lengths.
    """

    def __init__(
        self, spare: MutableSequence[Place], weights: Floats, biases: Floats, inputs: Floats,
        some: Some, columns: Columns, logistic: bool, normalize: bool = False,
    ) -> None:
        self._columns, self._logistic, self._normalize = columns, logistic, normalize
        self._weights, self._biases, self._inputs = weights, biases, inputs
        self._ids = np.arange(len(inputs)) if some is None else np.flatnonzero(some)
        super().__init__(spare, some)

    def _make_pass(self, workspace: Workspace) -> SampledPass:
        weights, biases, columns = self._weights, self._biases, self._columns
        if self._normalize:
            self._classes, columns = columns.compact()
            self._unit = unit_rows(weights[self._classes])
            weights, biases = self._unit.rows, biases[self._classes]
        return SampledPass(
            workspace, self._inputs, self._ids, weights, biases, columns, self._logistic,
            threads_for(columns.operations(weights.shape[1])),
        )

    def _share_out(self, classes: ClassGradients) -> list[Rows]:
        ids, rows = classes.ids, classes.rows
        if self._normalize:
            ids, rows = self._classes[ids], self._unit.gradients(ids, rows)
        return [Rows(ids, rows), Rows(ids, classes.biases)]

    def _explain(self) -> None:
        columns = self._columns
        labels = columns.own[:, : columns.num_true]
        counts = SampledCandidates(columns.sampled, columns.own_counts, columns.sampled_counts)
        check_counts(columns.own, counts, columns.subtract_log_q)
        _checks.require_unmasked(labels, self._biases[np.maximum(labels, 0)])
        reached = np.concatenate([columns.own.ravel(), columns.sampled])
        parts = [
            ("inputs", self._inputs, self._ids),
            ("weight", self._weights, reached),
            ("biases", self._biases, reached),
        ]
        _checks.explain_loss(self.losses, parts)


class FunctionWork(_SampledWork):
    """A batch of a function with TensorFlow's arguments, whose tables may be in shards."""

    def __init__(
        self, spare: MutableSequence[Place], problem: SampledProblem, logistic: bool,
        has_biases: bool,
    ) -> None:
        self._problem, self._logistic, self._has_biases = problem, logistic, has_biases
        self._classes: Integers | None = None  # the rows of the pass, where they are copies
        super().__init__(spare, problem.some)

    def _make_pass(self, workspace: Workspace) -> SampledPass:
        batch, self._classes = self._problem.make_pass(self._logistic, workspace)
        return batch

    def _share_out(self, classes: ClassGradients) -> list[Rows]:
        ids = classes.ids if self._classes is None else self._classes[classes.ids]
        parts = self._problem.weights.in_shards(ids, classes.rows)
        if self._has_biases:
            parts += self._problem.biases.in_shards(ids, classes.biases)
        return [Rows(*part) for part in parts]

    def _explain(self) -> None:
        self._problem.explain(self.losses)


class FullWork:
    """A batch of which each example is compared with all classes, a block at a time.

    Of the labels -1 marks an absent one. The gradients of the tables are dense. With `normalize`
    the classes' rows are divided by their lengths, in a copy.
    """

    def __init__(
        self, weights: Floats, biases: Floats, inputs: Floats, labels: Integers, logistic: bool,
        normalize: bool = False,
    ) -> None:
        self._unit = unit_rows(weights) if normalize else None
        rows = weights if self._unit is None else self._unit.rows
        self._given = rows, biases, labels, inputs
        self._logistic = logistic
        self.losses = (sigmoid_loss if logistic else softmax_loss)(*self._given)
        self.total = sum_losses(self.losses)

    def backward(self, grad_output: Floats) -> tuple[Floats, list[Rows]]:
        """Return the gradients of the inputs and of the tables."""
        function = sigmoid_loss_and_grad if self._logistic else softmax_loss_and_grad
        grads = function(*self._given, grad_output=grad_output)
        rows = grads.grad_weights
        if self._unit is not None:
            rows = self._unit.gradients(slice(None), rows)
        return grads.grad_inputs, [Rows(None, rows), Rows(None, grads.grad_biases)]
