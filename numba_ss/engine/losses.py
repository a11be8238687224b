r"""The training losses of the candidate-sampling reference, and their gradients.

Nothing is updated here. With :math:`o_{ic} = h_i \cdot w_c + b_c` the logit of example
i and class c, Q(c) the expected count of c among the candidates S of the batch, and
:math:`T_i` the labels of the example, the losses differ in three things [1]_:

===================  ==================  ====================  ===============
loss                 classes compared    training logit        loss of logits
===================  ==================  ====================  ===============
sampled softmax      T and S, less hits  o - log Q             softmax
NCE                  T and S             o - log Q             logistic
sampled logistic     T and S, less hits  o - log Q             logistic
negative sampling    T and S             o                     logistic
full softmax         all                 o                     softmax
full logistic        all                 o                     logistic
===================  ==================  ====================  ===============

An accidental hit is a candidate that is a label of the example. Every label has the
target :math:`1 / T_i`, in the logistic losses too, as in TensorFlow.

.. [1] "Candidate Sampling Algorithms Reference",
   https://www.tensorflow.org/extras/candidate_sampling.pdf
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.sampled_pass import Columns, SampledPass
from numba_ss.engine.samplers import LogUniformSampler, SampledCandidates
from numba_ss.engine.shards import Strategy, Table
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for


class LossAndGradients(NamedTuple):
    """A loss and the gradients of its sum, weighted by `grad_loss`.

    Attributes
    ----------
    loss : ndarray, shape (batch_size,)
        Losses in nats.
    grad_inputs : ndarray, shape (batch_size, dim)
        Gradient with respect to the inputs.
    rows : ndarray of int64, shape (num_rows,)
        Classes that have a gradient: labels row-major, then the candidates, not
        de-duplicated, in the order of TensorFlow's IndexedSlices. Absent labels are
        left out. For weights in shards a list, one entry a shard, of rows in the shard.
    grad_weights : ndarray, shape (num_rows, dim)
        Gradients of those rows of `weights`; a list for shards.
    grad_biases : ndarray, shape (num_rows,)
        Gradients of those entries of `biases`; a list for shards.

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = sampled_softmax_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> got.rows[:3], got.grad_weights.shape  # the label first, then the candidates
    (array([  3, 545,  15]), (9, 4))
    >>> np.add.at(weights, got.rows, -0.1 * got.grad_weights)  # a step of SGD
    """

    loss: Floats
    grad_inputs: Floats
    rows: Any
    grad_weights: Any
    grad_biases: Any


def check_counts(labels: Integers, sampled: SampledCandidates, subtract_log_q: bool) -> None:
    """Require expected counts that have a logarithm, where it is subtracted."""
    if subtract_log_q:
        candidates, true_count, sampled_count = sampled
        _checks.expected_counts("true_expected_count", true_count, labels)
        _checks.expected_counts("sampled_expected_count", sampled_count, candidates)


def make_columns(
    labels: Integers, sampled: SampledCandidates, dtype: DTypeLike, remove_hits: bool,
    subtract_log_q: bool,
) -> Columns:
    """Put checked labels and candidates, shared or (batch_size, num_sampled), in order."""
    candidates, true_count, sampled_count = sampled
    if true_count.dtype != dtype or sampled_count.dtype != dtype:
        true_count, sampled_count = true_count.astype(dtype), sampled_count.astype(dtype)
    num_true = labels.shape[1]
    if candidates.ndim == 1:
        return Columns(
            labels, true_count, num_true, candidates, sampled_count, remove_hits, subtract_log_q
        )
    if remove_hits:
        hit = (candidates[:, :, None] == labels[:, None, :]).any(axis=2)
        candidates = np.where(hit, -1, candidates)
    return Columns(
        np.concatenate([labels, candidates], axis=1),
        np.concatenate([true_count, sampled_count], axis=1),
        num_true,
        np.empty(0, np.int64),
        np.empty(0, sampled_count.dtype),
        False,
        subtract_log_q,
    )


def _check_sampled(
    value: Any, labels: Integers, num_sampled: int, num_rows: int
) -> SampledCandidates:
    """Return the caller's own candidates and counts, checked."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        _checks.fail(
            "sampled_values",
            "(sampled_candidates, true_expected_count, sampled_expected_count)",
            type(value).__name__,
        )
    batch_size, num_true = labels.shape
    candidates = _checks.ids("sampled_candidates", value[0])
    if candidates.ndim == 2:
        shape: tuple[int, ...] = (batch_size, num_sampled)
        _checks.shaped("sampled_candidates", candidates, shape, "batch_size, num_sampled")
    else:
        shape = (num_sampled,)
        _checks.shaped("sampled_candidates", candidates, shape, "num_sampled,")
    _checks.in_range("sampled_candidates", candidates, num_rows, "num_classes")
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
        num_classes = _checks.integer("num_classes", num_classes, 1)
        if num_classes > num_rows:
            _checks.fail("num_classes", f"at most the {num_rows} rows of weights", num_classes)
        num_true = _checks.integer("num_true", num_true, 1)
        num_sampled = _checks.integer("num_sampled", num_sampled, 1)
        remove_hits = _checks.flag("remove_accidental_hits", remove_accidental_hits)
        seed = _checks.optional_integer("seed", seed)
        y, self.some = _checks.labels(labels, batch_size, num_true, num_classes)
        if sampled_values is None:
            sampled = LogUniformSampler(num_classes, seed=seed)._sample(y, num_sampled, True)
        else:
            sampled = _check_sampled(sampled_values, y, num_sampled, num_rows)
        check_counts(y, sampled, subtract_log_q)
        candidates, true_count, sampled_count = sampled
        if candidates.ndim == 2:  # of an example's own: one that is masked is absent
            bias = self.biases.rows(candidates.reshape(-1), np.float64).reshape(candidates.shape)
            candidates = np.where(np.isneginf(bias), -1, candidates)
        if self.some is not None:
            y, self.inputs, true_count = y[self.some], self.inputs[self.some], true_count[self.some]
            if candidates.ndim == 2:
                candidates, sampled_count = candidates[self.some], sampled_count[self.some]
        sampled = SampledCandidates(candidates, true_count, sampled_count)
        self.columns = make_columns(
            y, sampled, self.inputs.dtype, remove_hits, subtract_log_q
        )

    def loss(self, logistic: bool) -> Floats:
        """Return the losses."""
        batch, _ = self.make_pass(logistic, Workspace())
        return self._checked(batch.forward())

    def loss_and_grad(self, grad_loss: Any, logistic: bool) -> LossAndGradients:
        """Return the losses and gradients, as arrays of their own."""
        upstream = check_grad_loss(grad_loss, self.given)
        batch, classes = self.make_pass(logistic, Workspace())
        losses, grads = batch.forward_and_backward(
            upstream if self.some is None else upstream[self.some]
        )
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
        """Return the pass; and, where kernels cannot read the weights, which classes it has.

        These are copied together, and are rows 0, 1, ... of the pass.
        """
        columns, dtype, classes = self.columns, self.inputs.dtype, None
        weights, biases = self.weights.direct(dtype), self.biases.direct(dtype)
        if weights is None or biases is None:
            present = columns.own >= 0
            uses = np.concatenate([columns.own[present], columns.sampled])
            classes, rows = np.unique(uses, return_inverse=True)
            weights, biases = self.weights.rows(classes, dtype), self.biases.rows(classes, dtype)
            num_own = len(uses) - len(columns.sampled)
            own, sampled = np.full_like(columns.own, -1), rows[num_own:]
            own[present] = rows[:num_own]
            columns = columns._replace(own=own, sampled=sampled)
        return SampledPass(
            workspace, self.inputs, np.arange(len(self.inputs)), weights, biases, columns,
            logistic, threads_for(columns.operations(self.inputs.shape[1])),
        ), classes

    def _checked(self, loss: Floats) -> Floats:
        """Return the losses, also of examples without a label; refuse what is not finite."""
        loss = spread(loss, self.some)
        if not np.isfinite(loss).all():
            self.explain(loss)
        return loss

    def explain(self, loss: Floats) -> NoReturn:
        """Say what made a loss NaN or infinite."""
        own, sampled = self.columns.own, self.columns.sampled
        labels = own[:, : self.columns.num_true]
        bias = self.biases.rows(np.maximum(labels, 0).reshape(-1), self.inputs.dtype)
        _checks.require_unmasked(labels, bias.reshape(labels.shape))
        reached = np.concatenate([own[own >= 0], sampled])
        parts = [*self.weights.named(reached), *self.biases.named(reached)]
        examples = None if self.some is None else np.flatnonzero(self.some)
        _checks.explain_loss(loss, [("inputs", self.given, examples), *parts])


def spread(values: Floats, some: NDArray[np.bool_] | None) -> Floats:
    """Return values of the examples that have a label, among zeros of the others."""
    if some is None:
        return values
    out = np.zeros((len(some), *values.shape[1:]), values.dtype)
    out[some] = values
    return out


def check_grad_loss(grad_loss: Any, inputs: Floats) -> Floats:
    """Return the upstream gradient, ones by default."""
    if grad_loss is None:
        return np.ones(len(inputs), inputs.dtype)
    array = np.asarray(grad_loss)
    if array.dtype.kind not in "iuf":
        _checks.fail("grad_loss", "real numbers", array.dtype)
    _checks.shaped("grad_loss", array, (len(inputs),), "batch_size,")
    if not np.isfinite(array).all():
        _checks.fail("grad_loss", "finite numbers", array[~np.isfinite(array)][0])
    return np.ascontiguousarray(array, inputs.dtype)


def sampled_softmax_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = True,
    seed: int | None = None, name: str = "sampled_softmax_loss", *,
    partition_strategy: Strategy = "div",
) -> Floats:
    r"""Compute the sampled softmax loss, as `tf.nn.sampled_softmax_loss`.

    With the candidates S of the batch and the labels :math:`T_i` of example i, the
    loss is the cross entropy between the targets :math:`1 / T_i` on the labels and the
    softmax of

    .. math:: h_i \cdot w_c + b_c - \log Q(c), \qquad c \in T_i \cup (S \setminus T_i),

    Q being the expected counts of the sampler [1]_. It is a training loss: to judge a
    model, use `softmax_loss`.

    Parameters
    ----------
    weights : ndarray, shape (num_classes, dim), or list of shards
        Class embeddings w, of any type of floats. Only the rows of labels and candidates are
        read.
    biases : ndarray, shape (num_classes,), list of shards, or None
        Class biases b, zeros by None; a candidate of -inf is left out.
    labels : array of integers, shape (batch_size, num_true)
        Target classes, in [0, num_classes). -1, or a mask, marks an absent one. An example
        without any has the loss 0 and no gradient.
    inputs : ndarray of float32 or float64, shape (batch_size, dim)
        Activations h. The result, and the arithmetic, have their type.
    num_sampled : int
        Candidates drawn for the batch, shared by all examples.
    num_classes : int
        Number of classes.
    num_true : int, default=1
        Labels of an example.
    sampled_values : tuple of three arrays, optional
        (sampled_candidates, true_expected_count, sampled_expected_count), as a sampler
        returns them; by default `log_uniform_candidate_sampler` draws. Candidates of
        shape (batch_size, num_sampled), with counts alike, are each example's own.
    remove_accidental_hits : bool, default=True
        Whether an example does not count the candidates that are labels of its own.
    seed : int, optional
        Op seed of the default sampler.
    name : str, optional
        Accepted for TensorFlow's sake, not used.
    partition_strategy : {"div", "mod"}, default="div"
        How classes are laid out over shards.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        If shapes, types or ids do not fit, an expected count is 0, or a number that
        the batch reaches is NaN or infinite.

    See Also
    --------
    sampled_softmax_loss_and_grad : The same with gradients.
    SampledSoftmax : A layer that also updates the weights.

    References
    ----------
    .. [1] S. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine
       Translation", ACL 2015, section 3.

    Examples
    --------
    >>> weights, biases = np.zeros((1000, 4)), np.zeros(1000)
    >>> sampled_softmax_loss(weights, biases, [[3], [5]], np.ones((2, 4)), 8, 1000, seed=1)
    array([5.23930799, 4.86942319])
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, subtract_log_q=True,
    ).loss(logistic=False)


def sampled_softmax_loss_and_grad(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = True,
    seed: int | None = None, name: str = "sampled_softmax_loss", *,
    partition_strategy: Strategy = "div", grad_loss: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `sampled_softmax_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits, seed, name, partition_strategy
        See `sampled_softmax_loss`.
    grad_loss : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients

    Raises
    ------
    ArgumentError
        As `sampled_softmax_loss`.

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = sampled_softmax_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> got.loss, bool(abs(got.grad_biases.sum()) < 1e-12)
    (array([5.23930799]), True)
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, subtract_log_q=True,
    ).loss_and_grad(grad_loss, logistic=False)


def nce_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = False,
    name: str = "nce_loss", *, seed: int | None = None, partition_strategy: Strategy = "div",
) -> Floats:
    r"""Compute the noise-contrastive estimation loss, as `tf.nn.nce_loss`.

    The logistic loss of labels against candidates, with the logits
    :math:`h_i \cdot w_c + b_c - \log Q(c)` [1]_. With `remove_accidental_hits` it is
    sampled logistic.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits : bool, default=False
        Whether an example does not count the candidates that are labels of its own.
    name, seed, partition_strategy
        See `sampled_softmax_loss`; TensorFlow has no `seed` here.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats, summed over the num_true + num_sampled logits.

    Raises
    ------
    ArgumentError
        As `sampled_softmax_loss`.

    References
    ----------
    .. [1] M. Gutmann and A. Hyvarinen, "Noise-contrastive estimation: A new estimation
       principle for unnormalized statistical models", AISTATS 2010.

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> nce_loss(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    array([26.18100805])
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, subtract_log_q=True,
    ).loss(logistic=True)


def nce_loss_and_grad(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = False,
    name: str = "nce_loss", *, seed: int | None = None, partition_strategy: Strategy = "div",
    grad_loss: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `nce_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits, name, seed, partition_strategy
        See `nce_loss`.
    grad_loss : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = nce_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> bool(got.grad_biases[0] < 0 < got.grad_biases[1])  # the label's score is to rise
    True
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, subtract_log_q=True,
    ).loss_and_grad(grad_loss, logistic=True)


def sampled_logistic_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, *, seed: int | None = None,
    partition_strategy: Strategy = "div",
) -> Floats:
    """Compute the sampled logistic loss: `nce_loss` without the accidental hits.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    seed, partition_strategy
        See `sampled_softmax_loss`.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> sampled_logistic_loss(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    array([24.59788763])
    """
    return nce_loss(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        True, seed=seed, partition_strategy=partition_strategy,
    )


def sampled_logistic_loss_and_grad(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, *, seed: int | None = None,
    partition_strategy: Strategy = "div", grad_loss: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `sampled_logistic_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    seed, partition_strategy
        See `sampled_softmax_loss`.
    grad_loss : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = sampled_logistic_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> got.rows.shape, got.grad_inputs.shape
    ((9,), (1, 4))
    """
    return nce_loss_and_grad(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        True, seed=seed, partition_strategy=partition_strategy, grad_loss=grad_loss,
    )


def negative_sampling_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, *, seed: int | None = None,
    partition_strategy: Strategy = "div",
) -> Floats:
    """Compute the negative sampling loss: logistic, without the log-Q correction [1]_.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`; the expected counts are not used.
    seed, partition_strategy
        See `sampled_softmax_loss`.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    References
    ----------
    .. [1] T. Mikolov et al., "Distributed Representations of Words and Phrases and
       their Compositionality", NeurIPS 2013, section 2.2.

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> negative_sampling_loss(weights, biases, [[3]], inputs, 8, 1000, seed=1) / np.log(2)
    array([9.])
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        False, seed, partition_strategy, subtract_log_q=False,
    ).loss(logistic=True)


def negative_sampling_loss_and_grad(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, *, seed: int | None = None,
    partition_strategy: Strategy = "div", grad_loss: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `negative_sampling_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    seed, partition_strategy
        See `sampled_softmax_loss`.
    grad_loss : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = negative_sampling_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> got.grad_biases[:3]
    array([-0.5,  0.5,  0.5])
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        False, seed, partition_strategy, subtract_log_q=False,
    ).loss_and_grad(grad_loss, logistic=True)
