"""What the loss functions return, and the upstream gradient that they are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Floats


class LossAndGradients(NamedTuple):
    """The losses of a batch, and the gradients of their sum weighted by `grad_output`.

    Attributes
    ----------
    loss : ndarray, shape (batch_size,)
        Losses in nats.
    grad_inputs : ndarray, shape (batch_size, dim)
        Gradient with respect to the inputs.
    rows : ndarray of int64, shape (num_rows,)
        Classes that have a gradient: the labels, example by example, then the candidates, as in
        TensorFlow's IndexedSlices. Classes may repeat; absent labels are left out. If the
        weights are in shards, it is a list with an array for each shard: rows of that shard.
    grad_weights : ndarray, shape (num_rows, dim)
        Gradients of these rows of `weights`; a list for shards.
    grad_biases : ndarray, shape (num_rows,)
        Gradients of these entries of `biases`; a list for shards.

    Examples
    --------
    >>> from numba_ss import sampled_softmax_loss_and_grad
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


def check_grad_output(grad_output: Any, inputs: Floats) -> Floats:
    """Return the checked upstream gradient; ones if it is None."""
    if grad_output is None:
        return np.ones(len(inputs), inputs.dtype)
    array = np.asarray(grad_output)
    if array.dtype.kind not in "iuf":
        _checks.fail("grad_output", "real numbers", array.dtype)
    _checks.shaped("grad_output", array, (len(inputs),), "batch_size,")
    if not np.isfinite(array).all():
        _checks.fail("grad_output", "finite numbers", array[~np.isfinite(array)][0])
    array = _checks.cast("grad_output", array, inputs.dtype)
    # Writable, because a read-only array is a type of its own, which compiles kernels anew.
    return np.require(array, requirements=["C", "W"])


def spread(values: Floats, some: NDArray[np.bool_] | None) -> Floats:
    """Return the values of all examples: those given for the ones in `some`, zeros for others."""
    if some is None:
        return values
    out = np.zeros((len(some), *values.shape[1:]), values.dtype)
    out[some] = values
    return out
