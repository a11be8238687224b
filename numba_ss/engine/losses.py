r"""TensorFlow's losses over sampled classes, and their gradients; nothing is updated here.

Let :math:`o_{ic} = h_i \cdot w_c + b_c` be the logit of example i and class c, Q(c) the expected
count of c among the candidates S of the batch, and :math:`T_i` the labels of the example. The
losses differ in three things [1]_:

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

A hit, in full an accidental hit, is a candidate that is a label of the example. Every label has
the target :math:`1 / |T_i|`, in the logistic losses too, as in TensorFlow. In `kernels.softmax`,
`subtract_logs` subtracts log Q: from the biases of the sampled classes, and from the logits of the
labels.

.. [1] "Candidate Sampling Algorithms Reference",
   https://www.tensorflow.org/extras/candidate_sampling.pdf
"""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401, the examples use it
from numpy.typing import ArrayLike

from numba_ss._types import Floats
from numba_ss.engine.results import LossAndGradients
from numba_ss.engine.sampled_problem import SampledProblem
from numba_ss.engine.shards import Strategy


def sampled_softmax_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = True,
    seed: int | None = None, name: str = "sampled_softmax_loss", *,
    partition_strategy: Strategy = "div",
) -> Floats:
    r"""Compute the sampled softmax loss, as `tf.nn.sampled_softmax_loss`.

    Let S be the candidates of the batch and :math:`T_i` the labels of example i. The loss is the
    cross entropy between the targets, :math:`1 / |T_i|` for each label, and the softmax of

    .. math:: h_i \cdot w_c + b_c - \log Q(c), \qquad c \in T_i \cup (S \setminus T_i),

    where Q(c) is the expected count that the sampler gives [1]_. It is a loss to train with; to
    judge a model, use `softmax_loss`.

    Parameters
    ----------
    weights : ndarray, shape (num_classes, dim), or list of shards
        Class embeddings w, of any floating-point type. Only the rows of labels and candidates
        are read.
    biases : ndarray, shape (num_classes,), list of shards, or None
        Class biases b; None means zeros. A candidate with bias -inf is left out.
    labels : array of integers, shape (batch_size, num_true)
        Target classes, in [0, num_classes). -1, or a mask, marks an absent label. An example
        without labels has the loss 0 and no gradient.
    inputs : ndarray of float32 or float64, shape (batch_size, dim)
        Activations h. The result has their type, and is computed in it.
    num_sampled : int
        Candidates drawn for the batch, shared by all examples.
    num_classes : int
        Number of classes.
    num_true : int, default=1
        Labels of an example.
    sampled_values : tuple of three arrays, optional
        (sampled_candidates, true_expected_count, sampled_expected_count), as a sampler
        returns them; by default `log_uniform_candidate_sampler` draws them. If each example has
        candidates of its own, these and their counts have the shape (batch_size, num_sampled).
    remove_accidental_hits : bool, default=True
        Whether an example ignores candidates that are its own labels.
    seed : int, optional
        Op seed of the default sampler.
    name : str, optional
        Accepted because TensorFlow has it; not used.
    partition_strategy : {"div", "mod"}, default="div"
        How classes are assigned to n shards: "mod" puts class c into shard c % n, "div" gives
        each shard a contiguous range.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        If shapes, types or ids do not fit, an expected count is 0, or a number that the batch
        uses is NaN or infinite.

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
    partition_strategy: Strategy = "div", grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `sampled_softmax_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits, seed, name, partition_strategy
        See `sampled_softmax_loss`.
    grad_output : array, shape (batch_size,), optional
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
    ).loss_and_grad(grad_output, logistic=False)


def nce_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = False,
    name: str = "nce_loss", *, seed: int | None = None, partition_strategy: Strategy = "div",
) -> Floats:
    r"""Compute the noise-contrastive estimation loss, as `tf.nn.nce_loss`.

    It is the logistic loss of labels against candidates, with the logits
    :math:`h_i \cdot w_c + b_c - \log Q(c)` [1]_. With `remove_accidental_hits` it is
    `sampled_logistic_loss`.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits : bool, default=False
        Whether an example ignores candidates that are its own labels.
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
    grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `nce_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits, name, seed, partition_strategy
        See `nce_loss`.
    grad_output : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients

    Examples
    --------
    >>> weights, biases, inputs = np.zeros((1000, 4)), np.zeros(1000), np.ones((1, 4))
    >>> got = nce_loss_and_grad(weights, biases, [[3]], inputs, 8, 1000, seed=1)
    >>> bool(got.grad_biases[0] < 0 < got.grad_biases[1])  # a step raises the label's score
    True
    """
    return SampledProblem(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, subtract_log_q=True,
    ).loss_and_grad(grad_output, logistic=True)


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
    partition_strategy: Strategy = "div", grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `sampled_logistic_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    seed, partition_strategy
        See `sampled_softmax_loss`.
    grad_output : array, shape (batch_size,), optional
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
        True, seed=seed, partition_strategy=partition_strategy, grad_output=grad_output,
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
    partition_strategy: Strategy = "div", grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `negative_sampling_loss` and its gradients.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    seed, partition_strategy
        See `sampled_softmax_loss`.
    grad_output : array, shape (batch_size,), optional
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
    ).loss_and_grad(grad_output, logistic=True)
