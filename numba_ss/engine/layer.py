"""A trainable output layer: weights, biases, sampler, loss and optimizer in one object."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._guards import alone, reading
from numba_ss._types import Float32s, Integers
from numba_ss.engine.adaptive import RULES, AdaptiveOptimizer
from numba_ss.engine.autotune import ThreadTuner
from numba_ss.engine.by_name import (
    LOSSES,
    FullLoss,
    LayerSampler,
    SampledLoss,
    check_num_sampled,
    make_sampler,
    options_of,
)
from numba_ss.engine.candidate_sampler import CandidateSampler
from numba_ss.engine.columns import Columns, check_counts, make_columns
from numba_ss.engine.full_losses import dense_pass, full_losses, mean_loss
from numba_ss.engine.results import spread
from numba_ss.engine.rows import subtract_rows
from numba_ss.engine.sampled_pass import NO_BITS, SampledPass, batch_of, buffers_of
from numba_ss.engine.top_k import TopK, top_k
from numba_ss.engine.workspace import BatchBuffers, Workspace
from numba_ss.kernels.core.threads import threads_for_update, use_threads
from numba_ss.kernels.softmax.arguments import KEPT, SUBTRACTED, TIED, WHOLE, Step
from numba_ss.kernels.softmax.examples import sum_losses
from numba_ss.kernels.softmax.step import sampled_step, sampled_step_chunk

LearningRate = float | Callable[[int], float]

_FLOAT32 = np.dtype(np.float32)


def _check_weight(value: Any, batch_size: int) -> Float32s:
    """Return checked weights of examples. Larger ones than 1e6 could make a step infinite."""
    weight = np.asarray(value)
    if weight.dtype.kind not in "biuf":
        _checks.fail("sample_weight", "real numbers", weight.dtype)
    _checks.shaped("sample_weight", weight, (batch_size,), "batch_size,")
    bad = np.flatnonzero(~((weight >= 0) & (weight <= 1e6)))
    if bad.size:
        got = f"{weight[bad[0]]} at sample_weight[{bad[0]}]"
        _checks.fail("sample_weight", "numbers in [0, 1e6]", got)
    return weight.astype(np.float32)


class SampledSoftmax:
    r"""An output layer for your own model, trained by sampled softmax.

    A step draws candidates, computes losses and gradients, and updates the rows that the
    batch touched, in place. It costs the same for any number of classes.

    Parameters
    ----------
    num_classes, dim : int
        Shape of the class embeddings.
    num_sampled : int or None
        Number of candidates of a batch. None for the sampler "in_batch", for the losses
        "softmax" and "logistic", and for all classes of a `PartitionSampler`'s subset.
    loss : str, default="sampled_softmax"
        One of the six of `numba_ss.engine.losses`: "sampled_softmax", "nce",
        "sampled_logistic", "negative_sampling", "softmax", "logistic".
    sampler : str or CandidateSampler, default="log_uniform"
        "log_uniform" (ids in the order of falling frequency), "uniform",
        "learned_unigram", "in_batch", "mixed", "all", or your own sampler over
        `num_classes` classes.
    num_true : int, default=1
        Labels of an example.
    remove_accidental_hits : bool, default=True
        Whether an example ignores candidates that are its own labels. "nce" and
        "negative_sampling" always count them, "sampled_logistic" never does.
    subtract_log_q : bool, default=True
        Whether to subtract the log of the expected counts from the logits. This makes the
        sampled loss approach the full one. "negative_sampling" never does.
    learning_rate : float or callable, default=0.1
        The rate, or a function that returns it for the number of steps so far.
    optimizer : {"sgd", "adagrad", "adam"}, default="sgd"
        "sgd" subtracts the learning rate times the gradient. "adagrad" divides the rate of
        each row by the root of a sum over all steps: of the mean squared gradient of the row,
        or of the squared gradient of a bias; see `update_rows`. "adam" is Adam for touched
        rows; see the notes. If a batch uses a row several times, "adagrad" and "adam" first add
        its gradients up. They refuse gradients whose squares sum to more than 1e30.
    reduction : {"mean", "sum", "none"}, default="mean"
        The loss that a step returns, and whose gradient it takes. "none" returns the loss of
        each example, and takes the gradient of their sum.
    seed : int or None, default=0
        Seed of the sampler and of the initial weights.
    num_threads : int, optional
        Threads of each call, at most; by default Numba's setting. A step uses one thread if
        that is faster. Numba's setting is the same after the call.
    weights : ndarray of float32, shape (num_classes, dim), optional
        Class embeddings, updated in place; by default normal with variance 1 / dim.
    biases : ndarray of float32, shape (num_classes,), optional
        Class biases, updated in place; by default zeros. A class with bias -inf is left out.

    Attributes
    ----------
    weights, biases : ndarray
        The arrays that are trained.
    sampler : CandidateSampler
        The sampler in use.
    num_steps : int
        Steps taken so far.

    Raises
    ------
    ArgumentError
        If an argument is not as described. A failed call draws nothing and changes
        nothing.

    Notes
    -----
    "adam" [1]_ keeps of each number a mean m of its gradients g, and a mean v of their squares.
    In step t, with the learning rate :math:`\alpha`,

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        w &\leftarrow w - \alpha \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
            \frac{m}{\sqrt{v} + \epsilon}

    where :math:`\beta_1 = 0.9`, :math:`\beta_2 = 0.999` and :math:`\epsilon = 10^{-8}`. This is
    done for the rows that the batch touches alone, as by `torch.optim.SparseAdam`. In the Adam of
    the paper all other rows have a gradient of 0: their means fade in each step, and they move on
    by what is left of m. Here they wait. t counts the steps, not those of a row. The means take
    twice the memory of the tables.

    Several Python threads can use one layer. Steps wait for each other and for queries; queries
    (`evaluate` and `top_k`) run at the same time. The arrays themselves are not guarded. So do not
    train two layers on one array at once, train a table in several threads, or read `weights`
    while another thread steps. `state_dict` copies them between two steps.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Examples
    --------
    >>> layer = SampledSoftmax(1000, 8, 20, learning_rate=1.0)
    >>> inputs = np.ones((4, 8), np.float32)
    >>> labels = np.array([[7], [7], [7], [7]])
    >>> losses = [layer.step(inputs, labels)[0] for _ in range(10)]
    >>> bool(losses[-1] < losses[0])
    True
    """

    # A step draws, and another layer may share the sampler. So both share the sampler's guard.
    _guarded_as = property(operator.attrgetter("sampler"))

    def __init__(
        self,
        num_classes: int,
        dim: int,
        num_sampled: int | None,
        *,
        loss: SampledLoss | FullLoss = "sampled_softmax",
        sampler: LayerSampler | CandidateSampler = "log_uniform",
        num_true: int = 1,
        remove_accidental_hits: bool = True,
        subtract_log_q: bool = True,
        learning_rate: LearningRate = 0.1,
        optimizer: Literal["sgd", "adagrad", "adam"] = "sgd",
        reduction: Literal["mean", "sum", "none"] = "mean",
        seed: int | None = 0,
        num_threads: int | None = None,
        weights: Float32s | None = None,
        biases: Float32s | None = None,
    ) -> None:
        self.num_classes = _checks.integer("num_classes", num_classes, 1)
        self.dim = _checks.integer("dim", dim, 1)
        self.loss = _checks.choice("loss", loss, tuple(LOSSES))
        self.num_true = _checks.integer("num_true", num_true, 1)
        self._logistic, self._sampled = LOSSES[loss].logistic, LOSSES[loss].sampled
        self._remove_hits, self._subtract_log_q = options_of(
            loss, remove_accidental_hits, subtract_log_q
        )
        self.learning_rate = learning_rate
        if not callable(learning_rate):
            _checks.rate("learning_rate", learning_rate)
        self.optimizer = _checks.choice("optimizer", optimizer, ("sgd", *RULES))
        self.reduction = _checks.choice("reduction", reduction, ("mean", "sum", "none"))
        seed = _checks.optional_integer("seed", seed)
        self._num_threads = _checks.threads(num_threads)
        self.sampler = make_sampler(sampler, self.num_classes, seed)
        self.num_sampled = check_num_sampled(num_sampled, self.sampler) if self._sampled else None
        shape = (self.num_classes, self.dim)
        if weights is None:
            generator = np.random.default_rng(None if seed is None else abs(seed))
            weights = generator.standard_normal(shape, np.float32)
            weights *= np.float32(self.dim**-0.5)
        self._weights = _checks.trainable("weights", weights, shape, "num_classes, dim")
        if biases is None:
            # np.zeros would leave the pages to be made by the first steps, which costs them more
            # than a row does.
            biases = np.full(self.num_classes, 0, np.float32)
        self._biases = _checks.trainable("biases", biases, shape[:1], "num_classes,")
        if np.may_share_memory(self._weights, self._biases):
            _checks.fail("biases", "memory of its own", "a part of the weights")
        self._adaptive = (
            AdaptiveOptimizer(optimizer, self._weights, self._biases)
            if optimizer in RULES else None
        )
        self.num_steps = 0
        self._workspace = Workspace()
        self._tuner = ThreadTuner()
        self._grad_output = np.empty(0, np.float32)
        self._scaled = 0, self.reduction  # batch size and reduction of `_grad_output`
        self._table: Float32s | None = None  # the last one that was checked
        self._tied = False  # whether that is the weights themselves

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caller's table."""
        return vars(self) | {"_table": None}

    @property
    def weights(self) -> Float32s:
        """Class embeddings, (num_classes, dim); to replace them, write into the array."""
        return self._weights

    @property
    def biases(self) -> Float32s:
        """Class biases, (num_classes,); to replace them, write into the array."""
        return self._biases

    @alone
    def step(
        self, inputs: ArrayLike, labels: ArrayLike, learning_rate: float | None = None, *,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[Any, Float32s]:
        """Train on a batch: sample, forward, backward, scatter.

        Parameters
        ----------
        inputs : array, shape (batch_size, dim)
            Activations, converted to float32.
        labels : array of integers, shape (batch_size, num_true)
            Target classes; -1, or a mask, marks an absent label. An example without labels, such
            as padding, has the loss 0 and no gradient, and does not count in a mean. A batch of
            nothing else changes nothing, draws nothing, and is no step.
        learning_rate : float, optional
            The rate of this step, instead of the layer's own.
        sample_weight : array, shape (batch_size,), optional
            Factors of the losses of the examples, in [0, 1e6]. A mean still divides by the
            number of examples.

        Returns
        -------
        loss : float, or ndarray of shape (batch_size,) without reduction
            Loss before the update, in nats.
        grad_inputs : ndarray of float32, shape (batch_size, dim)
            Gradient with respect to the inputs.

        Raises
        ------
        ArgumentError
            If an argument does not fit, or a number is NaN or infinite.
        """
        h = _checks.cast("inputs", _checks.inputs(inputs), np.float32)
        _checks.shaped("inputs", h, (None, self.dim), "batch_size, dim")
        return self._train(h, np.arange(len(h)), labels, learning_rate, sample_weight, False)

    @alone
    def step_rows(
        self,
        table: Float32s,
        ids: ArrayLike,
        labels: ArrayLike,
        learning_rate: float | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Any:
        """Train on a batch whose inputs are rows of a table, and update those rows too.

        Parameters
        ----------
        table : ndarray of float32, shape (num_rows, dim)
            Input embeddings, updated in place. It may be `weights` itself. "adagrad" and "adam"
            keep numbers for the rows of the last table only: they are lost if you train another
            table. Those of a loaded state belong to the next table with as many rows.
        ids : array of integers, shape (batch_size,)
            Rows of `table`; they may repeat.
        labels, learning_rate, sample_weight
            See `step`.

        Returns
        -------
        float, or ndarray of shape (batch_size,) without reduction
            Loss before the update, in nats.

        Raises
        ------
        ArgumentError
            If an argument does not fit, or a number is NaN or infinite.
        """
        checked = table is self._table and table.shape[1:] == (self.dim,)
        if not checked or not table.flags.writeable:
            self._table = self._check_table(table)
        rows = _checks.ids("ids", ids)
        _checks.shaped("ids", rows, (rows.size,), "batch_size,")
        _checks.in_range("ids", rows, len(table), "num_rows")
        return self._train(table, rows, labels, learning_rate, sample_weight, True)[0]

    def _check_table(self, value: Any) -> Float32s:
        table: Float32s = _checks.trainable("table", value, (None, self.dim), "num_rows, dim")
        tied = table.ctypes.data == self.weights.ctypes.data
        if np.may_share_memory(table, self.weights) and not tied:
            _checks.fail("table", "the layer's weights or memory of its own", "a part of them")
        if self._adaptive is not None and len(table) > self.num_classes and tied:
            _checks.fail("table", "the layer's weights or memory of its own", "more than them")
        self._tied = tied
        return table

    def _train(
        self, table: Float32s, ids: Integers, labels: Any, learning_rate: Any, sample_weight: Any,
        update_table: bool,
    ) -> tuple[Any, Any]:
        batch_size = len(ids)
        labels, some = _checks.labels(labels, batch_size, self.num_true, self.num_classes)
        weight = None
        if sample_weight is not None:
            weight = _check_weight(sample_weight, batch_size)
        if some is not None:
            ids, labels = ids[some], labels[some]
            weight = None if weight is None else weight[some]
        rate = self.learning_rate if learning_rate is None else learning_rate
        rate = rate(self.num_steps) if callable(rate) else rate
        rate = np.float32(_checks.rate("learning_rate", rate))
        if not len(ids):  # Adam would move the candidates, although their gradients are 0
            loss = np.zeros(batch_size, np.float32) if self.reduction == "none" else 0.0
            return loss, np.zeros((batch_size, self.dim), np.float32)
        scale = 1 / len(ids) if self.reduction == "mean" else 1.0
        if self._scaled != (len(ids), self.reduction):
            self._grad_output = np.full(len(ids), scale, np.float32)
            self._scaled = len(ids), self.reduction
        train = self._train_sampled if self._sampled else self._train_full
        grad_output = self._grad_output if weight is None else self._grad_output * weight
        with use_threads(self._num_threads):
            loss, total, grad_inputs = train(table, ids, labels, grad_output, rate, update_table)
        self.num_steps += 1
        if weight is not None:
            loss = loss * weight
            total = float(np.add.reduce(loss, dtype=np.float64))
        if some is not None:
            loss = spread(loss, some)
            grad_inputs = None if grad_inputs is None else spread(grad_inputs, some)
        return (loss.copy() if self.reduction == "none" else total * scale), grad_inputs

    def _train_sampled(
        self, table: Float32s, ids: Integers, labels: Integers, grad_output: Float32s,
        learning_rate: np.float32, update_table: bool,
    ) -> tuple[Float32s, float, Float32s | None]:
        sampled, accept = self.sampler.propose(labels, self.num_sampled, True)
        columns = make_columns(labels, sampled, _FLOAT32, self._remove_hits, self._subtract_log_q)
        operations = columns.operations(self.dim)
        threads = self._tuner.threads_for(operations)
        out = buffers_of(self._workspace, columns, self.dim, threads, _FLOAT32)

        def check(total: float) -> float:
            if not math.isfinite(total):
                check_counts(labels, sampled, self._subtract_log_q)
                reached = np.concatenate([labels.ravel(), sampled.sampled_candidates.ravel()])
                self._explain(out.arrays.losses, table, ids, labels, reached, update_table)
            return total

        at_once = out.is_whole and self._adaptive is None
        take = self._step_at_once if at_once else self._step_in_parts
        given = table, ids, columns, grad_output, learning_rate, update_table, threads, out, check
        start = perf_counter()
        if threads > 1 and self._tuner.alone:
            with use_threads(1):
                total = take(*given)
        else:
            total = take(*given)
        if threads > 1:
            self._tuner.record((perf_counter() - start) / operations)
        accept()
        grad_inputs = None if update_table else out.arrays.grad_inputs[:, : self.dim].copy()
        return out.arrays.losses, total, grad_inputs

    def _step_at_once(
        self, table: Float32s, ids: Integers, columns: Columns, grad_output: Float32s,
        learning_rate: np.float32, update_table: bool, threads: int, out: BatchBuffers,
        check: Callable[[float], float],
    ) -> float:
        """Take a step in one kernel; return the sum of the losses.

        If `check` raises an error for that sum, nothing has changed.
        """
        out.arrays.board.fill(0)
        inputs = KEPT if not update_table else TIED if self._tied else SUBTRACTED
        size = out.arrays.unique_inputs.size + out.arrays.grad_sampled_rows.size
        num_updates = min(threads, threads_for_update(size))
        given = (
            NO_BITS if update_table else table.view(np.uint32),
            batch_of(table, ids, self._weights, self._biases, columns), grad_output,
            self._logistic or None, Step(WHOLE, learning_rate, inputs, num_updates),
            threads, out.all,
        )
        if threads == 1:
            sampled_step_chunk(0, *given)
        else:
            sampled_step(*given)
        return check(sum_losses(out.arrays.losses))

    def _step_in_parts(
        self, table: Float32s, ids: Integers, columns: Columns, grad_output: Float32s,
        learning_rate: np.float32, update_table: bool, threads: int, out: BatchBuffers,
        check: Callable[[float], float],
    ) -> float:
        """Do what `_step_at_once` does, for a batch of any size and any optimizer."""
        batch = SampledPass(
            self._workspace, table, ids, self.weights, self.biases, columns, self._logistic,
            threads, train_table=update_table,
        )
        losses, _ = batch.forward_and_backward(grad_output)
        total = check(sum_losses(losses))
        if self._adaptive is None:
            batch.update(learning_rate)
        else:
            self._adaptive.step_touched(batch, table if update_table else None, ids, learning_rate)
        return total

    def _explain(
        self, loss: Float32s, table: Float32s, ids: Integers, labels: Integers,
        rows: Integers | None, is_table: bool,
    ) -> NoReturn:
        _checks.require_unmasked(labels, self.biases[np.maximum(labels, 0)])
        parts = [
            ("table" if is_table else "inputs", table, ids),
            ("weights", self.weights, rows),
            ("biases", self.biases, rows),
        ]
        _checks.explain_loss(loss, parts)

    def _train_full(
        self, table: Float32s, ids: Integers, labels: Integers, grad_output: Float32s,
        learning_rate: np.float32, update_table: bool,
    ) -> tuple[Float32s, float, Float32s | None]:
        inputs = table[ids]
        loss, normalizer, targets = full_losses(
            self.weights, self.biases, labels, inputs, self._logistic
        )
        total = float(np.add.reduce(loss, dtype=np.float64))
        if not math.isfinite(total):
            self._explain(loss, table, ids, labels, None, update_table)
        grad_inputs = np.empty_like(inputs)
        blocks = dense_pass(
            self._workspace, self.weights, self.biases, inputs, labels, normalizer, targets,
            grad_output, self._logistic, grad_inputs,
        )
        if self._adaptive is not None:
            self._adaptive.step_all(
                blocks, table if update_table else None, ids, grad_inputs, learning_rate
            )
            return loss, total, grad_inputs
        for block in blocks:
            count = block.classes.stop - block.classes.start
            self.weights[block.classes] -= learning_rate * block.grad_rows[:count, : self.dim]
            self.biases[block.classes] -= learning_rate * block.grad_biases[:count]
        if not update_table:
            return loss, total, grad_inputs
        subtract_rows(ids, grad_inputs, learning_rate, table)
        return loss, total, None

    @reading
    def evaluate(self, inputs: ArrayLike, labels: ArrayLike) -> float:
        """Return the mean loss over all classes: softmax, or logistic if the layer's loss is.

        Parameters
        ----------
        inputs : array, shape (batch_size, dim)
            Activations.
        labels : array of integers, shape (batch_size, any)
            Target classes; -1, or a mask, marks an absent one.

        Returns
        -------
        float
            Mean loss in nats of the examples that have a label. It can be compared between
            samplers and numbers of candidates.
        """
        with use_threads(self._num_threads):
            return mean_loss(self.weights, self.biases, labels, inputs, self._logistic)

    @reading
    def top_k(self, inputs: ArrayLike, k: int, exclude: Any = None) -> TopK:
        """Return the k classes of highest logit for each example; see `numba_ss.top_k`."""
        with use_threads(self._num_threads):
            return top_k(self.weights, self.biases, inputs, k, exclude)

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        state = {
            "weights": self.weights.copy(),
            "biases": self.biases.copy(),
            "optimizer": self.optimizer,
            "num_steps": self.num_steps,
            "sampler": self.sampler.state_dict(),
        }
        if self._adaptive is not None:
            state |= self._adaptive.state_dict()
        return state

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another layer; the numbers are copied into these arrays."""
        state = _checks.state(state)
        for name in ("weights", "biases"):
            array, want = np.asarray(state.get(name)), getattr(self, name)
            if array.shape != want.shape or array.dtype != want.dtype:
                _checks.fail(
                    f"state_dict[{name!r}]",
                    f"float32 numbers of shape {want.shape}",
                    f"{array.dtype} of shape {array.shape}",
                )
        optimizer = state.get("optimizer", "sgd")
        if optimizer != self.optimizer:
            _checks.fail("state_dict['optimizer']", repr(self.optimizer), repr(optimizer))
        if self._adaptive is not None:
            self._adaptive.check_state(state)
        steps = _checks.integer("state_dict['num_steps']", state.get("num_steps"), 0)
        self.sampler.load_state_dict(state.get("sampler", {}))
        self.weights[:] = state["weights"]
        self.biases[:] = state["biases"]
        self.num_steps = steps
        if self._adaptive is not None:
            self._adaptive.load_state_dict(state)
