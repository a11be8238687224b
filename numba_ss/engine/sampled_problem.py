"""One call of a sampled loss: its arguments are checked here, and passed to `SampledPass`."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.candidate_sampler import SampledCandidates
from numba_ss.engine.columns import check_counts, make_columns
from numba_ss.engine.results import LossAndGradients, check_grad_output, spread
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.samplers import LogUniformSampler
from numba_ss.engine.shards import Table
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for


def checked_options(
    num_classes: Any, num_true: Any, num_sampled: Any, remove_accidental_hits: Any, num_rows: int
) -> tuple[int, int, int, bool]:
    """Return the first four arguments, checked; `num_rows` is the number of rows of weights."""
    num_classes = _checks.integer("num_classes", num_classes, 1)
    if num_classes > num_rows:
        _checks.fail("num_classes", f"at most the {num_rows} rows of weights", num_classes)
    return (
        num_classes, _checks.integer("num_true", num_true, 1),
        _checks.integer("num_sampled", num_sampled, 1),
        _checks.flag("remove_accidental_hits", remove_accidental_hits),
    )


def require_sampled_values(value: Any) -> None:
    """Require three parts: candidates, and the expected counts of labels and of candidates."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        _checks.fail(
            "sampled_values",
            "(sampled_candidates, true_expected_count, sampled_expected_count)",
            type(value).__name__,
        )


def _check_sampled(
    value: Any, labels: Integers, num_sampled: int, num_rows: int
) -> SampledCandidates:
    """Return the caller's candidates and expected counts, checked."""
    require_sampled_values(value)
    batch_size, num_true = labels.shape
    candidates = _checks.ids("sampled_candidates", value[0])
    if candidates.ndim == 2:
        shape: tuple[int, ...] = (batch_size, num_sampled)
        _checks.shaped("sampled_candidates", candidates, shape, "batch_size, num_sampled")
    else:
        shape = (num_sampled,)
        _checks.shaped("sampled_candidates", candidates, shape, "num_sampled,")
    _checks.in_range("sampled_candidates", candidates, num_rows, "rows of weights")
    true_count = _checks.real("true_expected_count", value[1])
    if num_true > 1 and true_count.shape == (batch_size, 1):
        true_count = np.repeat(true_count, num_true, axis=1)
    _checks.shaped("true_expected_count", true_count, labels.shape, "batch_size, num_true")
    sampled_count = _checks.real("sampled_expected_count", value[2])
    _checks.shaped("sampled_expected_count", sampled_count, shape, "as sampled_candidates")
    return SampledCandidates(candidates, true_count, sampled_count)


class SampledProblem:
    """One call of a sampled loss: its checked arguments, and the pass over them."""

    def __init__(
        self, weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: Any,
        num_classes: Any, num_true: Any, sampled_values: Any, remove_accidental_hits: Any,
        seed: Any, partition_strategy: Any, subtract_log_q: bool,
    ) -> None:
        self.inputs = self.given = _checks.inputs(inputs)
        batch_size, dim = self.inputs.shape
        strategy = _checks.choice("partition_strategy", partition_strategy, ("div", "mod"))
        self.weights = Table("weights", weights, dim, strategy)
        num_rows = self.weights.num_rows
        if biases is None:
            biases = np.broadcast_to(np.float32(0), num_rows)
        self.biases = Table("biases", biases, None, strategy)
        if self.biases.num_rows != num_rows:
            expected = f"shape (num_classes,) = ({num_rows},)"
            _checks.fail("biases", expected, f"({self.biases.num_rows},)")
        num_classes, num_true, num_sampled, remove_hits = checked_options(
            num_classes, num_true, num_sampled, remove_accidental_hits, num_rows
        )
        seed = _checks.optional_integer("seed", seed)
        labels, self.some = _checks.labels(labels, batch_size, num_true, num_classes)
        if sampled_values is None:
            sampled = LogUniformSampler(num_classes, seed=seed)._sample(labels, num_sampled, True)
        else:
            sampled = _check_sampled(sampled_values, labels, num_sampled, num_rows)
        check_counts(labels, sampled, subtract_log_q)
        candidates, true_count, sampled_count = sampled
        if candidates.ndim == 2:  # each example has its own: those of bias -inf become absent
            bias = self.biases.rows(candidates.reshape(-1), np.float64).reshape(candidates.shape)
            candidates = np.where(np.isneginf(bias), -1, candidates)
        if self.some is not None:
            labels, self.inputs = labels[self.some], self.inputs[self.some]
            true_count = true_count[self.some]
            if candidates.ndim == 2:
                candidates, sampled_count = candidates[self.some], sampled_count[self.some]
        sampled = SampledCandidates(candidates, true_count, sampled_count)
        self.columns = make_columns(
            labels, sampled, self.inputs.dtype, remove_hits, subtract_log_q
        )

    def loss(self, logistic: bool) -> Floats:
        """Return the losses."""
        batch, _ = self.make_pass(logistic, Workspace())
        return self._checked(batch.forward())

    def loss_and_grad(self, grad_output: Any, logistic: bool) -> LossAndGradients:
        """Return the losses and gradients, as new arrays."""
        grad_output = check_grad_output(grad_output, self.given)
        if self.some is not None:
            grad_output = grad_output[self.some]
        batch, classes = self.make_pass(logistic, Workspace())
        losses, grads = batch.forward_and_backward(grad_output)
        loss, grad_inputs = self._checked(losses), spread(grads.inputs.copy(), self.some)
        rows, grad_weights, grad_biases = batch.class_gradients()
        rows = rows if classes is None else classes[rows]
        if not self.weights.sharded:
            return LossAndGradients(loss, grad_inputs, rows, grad_weights, grad_biases)
        parts = self.weights.in_shards(rows, grad_weights)
        biases = self.weights.in_shards(rows, grad_biases)
        return LossAndGradients(
            loss, grad_inputs, [ids for ids, _ in parts], [values for _, values in parts],
            [values for _, values in biases],
        )

    def make_pass(
        self, logistic: bool, workspace: Workspace
    ) -> tuple[SampledPass, Integers | None]:
        """Return the pass, and the classes that its rows stand for, or None.

        If kernels cannot read the weights as they are, the rows that the batch needs are copied.
        Row i of the pass is then class i of the returned ones.
        """
        columns, dtype, classes = self.columns, self.inputs.dtype, None
        weights, biases = self.weights.direct(dtype), self.biases.direct(dtype)
        if weights is None or biases is None:
            classes, columns = columns.compact()
            weights, biases = self.weights.rows(classes, dtype), self.biases.rows(classes, dtype)
        return SampledPass(
            workspace, self.inputs, np.arange(len(self.inputs)), weights, biases, columns,
            logistic, threads_for(columns.operations(self.inputs.shape[1])),
        ), classes

    def _checked(self, loss: Floats) -> Floats:
        """Return the losses of all examples; raise an error if one is not finite."""
        loss = spread(loss, self.some)
        if not np.isfinite(loss).all():
            self.explain(loss)
        return loss

    def explain(self, loss: Floats) -> NoReturn:
        """Raise the error that says what made a loss NaN or infinite."""
        own, sampled = self.columns.own, self.columns.sampled
        labels = own[:, : self.columns.num_true]
        bias = self.biases.rows(np.maximum(labels, 0).reshape(-1), self.inputs.dtype)
        _checks.require_unmasked(labels, bias.reshape(labels.shape))
        reached = np.concatenate([own[own >= 0], sampled])
        parts = [*self.weights.named(reached), *self.biases.named(reached)]
        examples = None if self.some is None else np.flatnonzero(self.some)
        _checks.explain_loss(loss, [("inputs", self.given, examples), *parts])
