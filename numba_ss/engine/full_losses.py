"""The losses over all classes, full softmax and full logistic, and their gradients.

They take time in proportion to the number of classes. Training by sampling avoids that, but a
model is judged by them. No array of the size batch x classes is ever built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine import full_pass
from numba_ss.engine.results import LossAndGradients, check_grad_output, spread
from numba_ss.engine.workspace import Workspace


def check_model(
    weights: ArrayLike, biases: ArrayLike | None, inputs: ArrayLike
) -> tuple[Floats, ...]:
    """Return checked weights, biases and inputs, all of the weights' type."""
    h = _checks.inputs(inputs)
    w = _checks.real("weights", weights)
    _checks.shaped("weights", w, (None, h.shape[1]), "num_classes, dim")
    if not len(w):
        _checks.fail("weights", "at least one class", "none")
    b = np.zeros(len(w), w.dtype) if biases is None else _checks.real("biases", biases)
    _checks.shaped("biases", b, (len(w),), "num_classes,")
    # The inputs are converted, not the weights, because the weights may be large.
    return w, _checks.cast("biases", b, w.dtype), _checks.cast("inputs", h, w.dtype)


def full_losses(
    weights: Floats, biases: Floats, labels: Integers, inputs: Floats, logistic: bool
) -> tuple[Floats, Floats, Floats]:
    """Return losses, which may not be finite, and normalisers and targets for the gradient."""
    with np.errstate(over="ignore", invalid="ignore"):  # the loss shows it
        normalizer = full_pass.normalizers(weights, biases, inputs, logistic)
        logits, targets = full_pass.label_logits(weights, biases, inputs, labels)
        loss = normalizer - (logits * targets).sum(axis=1, dtype=np.float64)
        return loss.astype(inputs.dtype), normalizer.astype(inputs.dtype), targets


def _checked_losses(
    weights: Floats, biases: Floats, labels: Integers, inputs: Floats, logistic: bool,
    some: NDArray[np.bool_] | None,
) -> tuple[Floats, Floats, Floats]:
    """Return `full_losses`, checked, of the examples in `some`, or all if it is None."""
    result = full_losses(weights, biases, labels, inputs, logistic)
    if not np.isfinite(result[0]).all():
        _checks.require_unmasked(labels, biases[np.maximum(labels, 0)])
        every = spread(inputs, some)
        parts = [("inputs", every, None), ("weights", weights, None), ("biases", biases, None)]
        _checks.explain_loss(spread(result[0], some), parts)
    return result


def _evaluate(
    weights: ArrayLike, biases: ArrayLike | None, labels: Any, inputs: ArrayLike, logistic: bool
) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Return the losses of the examples that have a label, and a mask of these, or None if all."""
    inputs = _checks.inputs(inputs)
    w, b, h = check_model(weights, biases, inputs)
    y, some = _checks.labels(labels, len(h), None, len(w))
    if some is not None:
        y, h = y[some], h[some]
    loss = _checked_losses(w, b, y, h, logistic, some)[0]
    return _checks.cast("loss", loss, inputs.dtype), some


def mean_loss(
    weights: ArrayLike, biases: ArrayLike, labels: Any, inputs: ArrayLike, logistic: bool
) -> float:
    """Return the mean loss of the examples that have a label, 0 if there are none."""
    loss = _evaluate(weights, biases, labels, inputs, logistic)[0]
    return float(loss.mean()) if len(loss) else 0.0


def softmax_loss(
    weights: ArrayLike, biases: ArrayLike | None, labels: ArrayLike, inputs: ArrayLike
) -> Floats:
    r"""Compute the softmax cross entropy over all classes.

    Sampled softmax approximates this loss. It is the one to judge a model by:

    .. math:: L_i = \log \sum_c \exp(h_i \cdot w_c + b_c)
        - \frac{1}{T_i} \sum_j (h_i \cdot w_{y_{ij}} + b_{y_{ij}})

    Parameters
    ----------
    weights : ndarray of float32 or float64, shape (num_classes, dim)
        Class embeddings w. Shorter floats are converted.
    biases : ndarray, shape (num_classes,), or None
        Class biases b; None means zeros. A class with bias -inf is left out.
    labels : array of integers, shape (batch_size, num_true)
        Target classes y; -1, or a mask, marks an absent label. An example without labels has the
        loss 0 and no gradient.
    inputs : ndarray of float32 or float64, shape (batch_size, dim)
        Activations h. The result has their type; it is computed in the type of `weights`.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        If shapes, types or labels do not fit, or a number is NaN or infinite.

    Notes
    -----
    The extra memory has a bound that depends neither on the number of classes nor on the batch.

    Examples
    --------
    >>> softmax_loss(np.zeros((8, 2)), np.zeros(8), [[3]], np.ones((1, 2)))
    array([2.07944154])
    """
    return spread(*_evaluate(weights, biases, labels, inputs, logistic=False))


def sigmoid_loss(
    weights: ArrayLike, biases: ArrayLike | None, labels: ArrayLike, inputs: ArrayLike
) -> Floats:
    r"""Compute the logistic loss summed over all classes, with targets :math:`1 / T_i`.

    Parameters
    ----------
    weights, biases, labels, inputs
        See `softmax_loss`.

    Returns
    -------
    ndarray, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        If shapes, types or labels do not fit, or a number is NaN or infinite.

    Examples
    --------
    >>> sigmoid_loss(np.zeros((8, 2)), np.zeros(8), [[3]], np.ones((1, 2)))
    array([5.54517744])
    """
    return spread(*_evaluate(weights, biases, labels, inputs, logistic=True))


def dense_pass(
    workspace: Workspace, weights: Floats, biases: Floats, inputs: Floats,
    labels: Integers, normalizer: Floats, targets: Floats, grad_output: Floats, logistic: bool,
    grad_inputs: Floats,
) -> Iterator[full_pass.FullBlock]:
    """Yield the gradients of all classes, a range at a time; write those of the inputs.

    The caller may change the weights of a range before it asks for the next one.
    """
    batch_size, dim = inputs.shape
    padded_inputs = full_pass.padded_inputs(inputs)
    padded_grad = np.empty_like(padded_inputs)
    coefficients = targets * grad_output[:, None]
    part = np.zeros_like(inputs)
    for j in range(labels.shape[1]):
        part += coefficients[:, j, None] * weights[np.maximum(labels[:, j], 0)]
    example, column = np.nonzero(labels >= 0)
    true, share = labels[example, column], coefficients[example, column]
    for block in full_pass.full_pass(
        workspace, weights, biases, padded_inputs, normalizer, grad_output, logistic, padded_grad
    ):
        first, stop = block.classes.start, block.classes.stop
        inside = (true >= first) & (true < stop)
        rows, amount = true[inside] - first, share[inside]
        np.subtract.at(block.grad_rows[:, :dim], rows, amount[:, None] * inputs[example[inside]])
        np.subtract.at(block.grad_biases, rows, amount)
        yield block
    np.subtract(padded_grad[:batch_size, :dim], part, out=grad_inputs)


def _loss_and_grad(
    weights: ArrayLike, biases: ArrayLike | None, labels: Any, inputs: ArrayLike, grad_output: Any,
    logistic: bool,
) -> LossAndGradients:
    inputs = _checks.inputs(inputs)
    w, b, h = check_model(weights, biases, inputs)
    y, some = _checks.labels(labels, len(h), None, len(w))
    grad_output = check_grad_output(grad_output, h)
    if some is not None:
        y, h, grad_output = y[some], h[some], grad_output[some]
    loss, normalizer, targets = _checked_losses(w, b, y, h, logistic, some)
    grad_inputs, grad_weights, grad_biases = (np.zeros_like(array) for array in (h, w, b))
    for block in dense_pass(
        Workspace(), w, b, h, y, normalizer, targets, grad_output, logistic, grad_inputs
    ):
        count = block.classes.stop - block.classes.start
        grad_weights[block.classes] = block.grad_rows[:count, : w.shape[1]]
        grad_biases[block.classes] = block.grad_biases[:count]
    loss = _checks.cast("loss", loss, inputs.dtype)
    grad_inputs = _checks.cast("grad_inputs", grad_inputs, inputs.dtype)
    return LossAndGradients(
        spread(loss, some), spread(grad_inputs, some), np.arange(len(w)), grad_weights, grad_biases
    )


def softmax_loss_and_grad(
    weights: ArrayLike, biases: ArrayLike | None, labels: ArrayLike, inputs: ArrayLike, *,
    grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `softmax_loss` and its gradients for all classes; `rows` is 0, 1, 2, ...

    Parameters
    ----------
    weights, biases, labels, inputs
        See `softmax_loss`.
    grad_output : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients
        The losses and `grad_inputs` have the type of the inputs, the others that of `weights`.

    Examples
    --------
    >>> loss, grad, *_ = softmax_loss_and_grad(np.eye(3), np.zeros(3), [[0]], np.ones((1, 3)))
    >>> loss.round(6), grad.round(6)
    (array([1.098612]), array([[-0.666667,  0.333333,  0.333333]]))
    """
    return _loss_and_grad(weights, biases, labels, inputs, grad_output, logistic=False)


def sigmoid_loss_and_grad(
    weights: ArrayLike, biases: ArrayLike | None, labels: ArrayLike, inputs: ArrayLike, *,
    grad_output: ArrayLike | None = None,
) -> LossAndGradients:
    """Compute `sigmoid_loss` and its gradients for all classes; `rows` is 0, 1, 2, ...

    Parameters
    ----------
    weights, biases, labels, inputs
        See `softmax_loss`.
    grad_output : array, shape (batch_size,), optional
        Upstream gradient of the losses; ones by default.

    Returns
    -------
    LossAndGradients
        As those of `softmax_loss_and_grad`.

    Examples
    --------
    >>> loss, grad, *_ = sigmoid_loss_and_grad(np.eye(3), np.zeros(3), [[0]], np.ones((1, 3)))
    >>> loss.round(6), grad.round(6)
    (array([2.939785]), array([[-0.268941,  0.731059,  0.731059]]))
    """
    return _loss_and_grad(weights, biases, labels, inputs, grad_output, logistic=True)
