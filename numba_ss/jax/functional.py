"""The sampled softmax loss as a function of JAX, which the engine computes in callbacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numba_ss import _checks
from numba_ss.engine import losses
from numba_ss.engine.sampled_problem import checked_options, require_sampled_values
from numba_ss.engine.samplers import LogUniformSampler
from numba_ss.engine.seeds import MODULUS


def sampled_softmax_loss(
    weights: Any, biases: Any, labels: Any, inputs: Any, num_sampled: int, num_classes: int,
    num_true: int = 1, sampled_values: Any = None, remove_accidental_hits: bool = True,
    seed: Any = None, name: str = "sampled_softmax_loss",
) -> jax.Array:
    r"""Compute the sampled softmax loss, as `tf.nn.sampled_softmax_loss`.

    The loss of `numba_ss.sampled_softmax_loss`, which says more, differentiable in `weights`,
    `biases` and `inputs`. It can be called under `jax.jit` and `jax.grad`, not under `jax.vmap`.

    Parameters
    ----------
    weights : array of floats, shape (num_classes, dim)
        Class embeddings.
    biases : array, shape (num_classes,), or None
        Class biases, zeros by None; a candidate of -inf is left out.
    labels : array of integers, shape (batch_size, num_true)
        Target classes, in [0, num_classes); -1 marks an absent one. An example without any has
        the loss 0.
    inputs : array of floats, shape (batch_size, dim)
        Hidden states; 16-bit floats are converted to float32.
    num_sampled : int
        Candidates drawn for the batch, shared by all examples.
    num_classes : int
        Number of classes.
    num_true : int, default=1
        Labels of an example.
    sampled_values : tuple of three arrays, optional
        (sampled_candidates, true_expected_count, sampled_expected_count), as a sampler
        returns them, for all examples together; by default `numba_ss.LogUniformSampler` draws.
    remove_accidental_hits : bool, default=True
        Whether an example does not count the candidates that are labels of its own.
    seed : int or array of one integer
        Op seed of the default sampler: another one each step, such as the number of the step,
        for functions of JAX keep no state. Not needed with `sampled_values`.
    name : str, optional
        Accepted for TensorFlow's sake, not used.

    Returns
    -------
    jax.Array, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        If arguments do not fit. What is found in a callback, JAX raises as its own error, which
        has the same message.

    Notes
    -----
    The gradient of `weights` has their size, as all gradients in JAX, so a step with it takes time
    in proportion to the number of classes. Where that is too long, call
    `numba_ss.sampled_softmax_loss_and_grad` or `numba_ss.SampledSoftmax.step` outside of `jax.jit`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> weights, inputs, labels = jnp.zeros((1000, 4)), jnp.ones((2, 4)), jnp.array([[3], [5]])
    >>> losses = sampled_softmax_loss(weights, None, labels, inputs, 8, 1000, seed=1)
    >>> [round(loss, 3) for loss in losses.tolist()]
    [5.239, 4.869]
    """
    weights, labels, inputs = jnp.asarray(weights), jnp.asarray(labels), jnp.asarray(inputs)
    _checks.shaped("inputs", inputs, (None, None), "batch_size, dim")
    _checks.shaped("weights", weights, (None, inputs.shape[1]), "num_classes, dim")
    num_rows = len(weights)
    if biases is not None:
        biases = jnp.asarray(biases)
        _checks.shaped("biases", biases, (num_rows,), "num_classes,")
    num_classes, num_true, num_sampled, remove_hits = checked_options(
        num_classes, num_true, num_sampled, remove_accidental_hits, num_rows
    )
    _check_ids("labels", labels, (len(inputs), num_true), "batch_size, num_true")
    if sampled_values is None:
        if seed is None:
            _checks.fail("seed", "an integer, another one each step, or sampled_values", seed)
        shapes = (
            jax.ShapeDtypeStruct((num_sampled,), jnp.int32),
            jax.ShapeDtypeStruct(labels.shape, jnp.float32),
            jax.ShapeDtypeStruct((num_sampled,), jnp.float32),
        )
        draw = partial(_draw, num_sampled, num_classes)
        sampled_values = jax.pure_callback(draw, shapes, labels, _checked_seed(seed))
    require_sampled_values(sampled_values)
    sampled_values = tuple(map(jnp.asarray, sampled_values))
    candidates, _, sampled_count = sampled_values
    _check_ids("sampled_candidates", candidates, (num_sampled,), "num_sampled,")
    _checks.shaped("sampled_expected_count", sampled_count, (num_sampled,), "num_sampled,")
    # Callbacks copy their arguments: they get the rows of labels and candidates, not the table.
    classes = jnp.maximum(jnp.concatenate([labels.ravel(), candidates]), 0)
    row_biases = jnp.zeros(len(classes)) if biases is None else biases[classes]
    dtype = jnp.promote_types(inputs.dtype, jnp.float32)
    floats = (part.astype(dtype) for part in (weights[classes], row_biases, inputs))
    return _loss((num_classes, num_rows, remove_hits), *floats, labels, sampled_values)


def _check_ids(name: str, array: Any, shape: tuple[int, ...], symbols: str) -> None:
    if not jnp.issubdtype(array.dtype, jnp.integer):
        _checks.fail(name, "integers", array.dtype)
    _checks.shaped(name, array, shape, symbols)


def _checked_seed(seed: Any) -> Any:
    """Return a seed of at most 32 bits, which JAX can pass on."""
    if not isinstance(seed, (jax.Array, np.ndarray)):
        return _checks.integer("seed", seed, -(2**63), 2**63 - 1) % MODULUS  # as the sampler takes
    if not jnp.issubdtype(seed.dtype, jnp.integer) or seed.size != 1:
        got = f"{seed.dtype} of shape {seed.shape}"
        _checks.fail("seed", "an integer, another one each step, or an array of one", got)
    return seed.reshape(())


def _draw(num_sampled: int, num_classes: int, labels: Any, seed: Any) -> Any:
    """Return candidates, and the expected counts of labels and of candidates."""
    y, _ = _checks.labels(np.asarray(labels), len(labels), labels.shape[1], num_classes)
    sampled, _ = LogUniformSampler(num_classes, seed=int(seed)).propose(y, num_sampled, True)
    return sampled.sampled_candidates.astype(np.int32), *sampled[1:]


def _on_rows(function: Any, options: Any, arguments: Any, **others: Any) -> Any:
    """Call a function of the engine on a table of the rows of labels and candidates."""
    (num_classes, num_rows, remove_hits), arguments = options, jax.tree.map(np.asarray, arguments)
    rows, biases, inputs, labels, (candidates, *counts) = arguments
    y, _ = _checks.labels(labels, len(labels), labels.shape[1], num_classes)
    _checks.in_range("sampled_candidates", candidates, num_rows, "rows of weights")
    classes = np.concatenate([y.ravel(), candidates])
    # Of a class that comes more than once the first row counts: so hits are found.
    _, first, inverse = np.unique(classes, return_index=True, return_inverse=True)
    places = first[inverse]
    y = np.where(y < 0, -1, places[: y.size].reshape(y.shape))
    sampled_values = places[y.size :], *counts
    return function(
        rows, biases, y, inputs, len(candidates), len(rows), y.shape[1], sampled_values,
        remove_hits, **others,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(options: Any, *arguments: Any) -> Any:
    """Return the losses; `arguments` are rows, their biases, inputs, labels and candidates."""
    inputs = arguments[2]
    shape = jax.ShapeDtypeStruct(inputs.shape[:1], inputs.dtype)
    call = partial(_on_rows, losses.sampled_softmax_loss, options)
    return jax.pure_callback(call, shape, arguments)


def _forward(options: Any, *arguments: Any) -> Any:
    """Return the losses, and what the backward pass needs."""
    return _loss(options, *arguments), arguments


def _backward(options: Any, arguments: Any, grad_output: Any) -> Any:
    """Return the gradients of rows, biases and inputs; labels and candidates have none."""
    shapes = tuple(jax.ShapeDtypeStruct(part.shape, part.dtype) for part in arguments[:3])
    grads = jax.pure_callback(partial(_gradients, options), shapes, arguments, grad_output)
    return *grads, None, None


def _gradients(options: Any, arguments: Any, grad_output: Any) -> Any:
    function, upstream = losses.sampled_softmax_loss_and_grad, np.asarray(grad_output)
    got = _on_rows(function, options, arguments, grad_output=upstream)
    rows, biases, _, labels, _ = arguments
    # The engine has gradients of the labels, without absent ones, and of the candidates.
    there = np.ones(len(rows), np.bool_)
    there[: labels.size] = np.asarray(labels).ravel() >= 0
    grad_rows, grad_biases = np.zeros(rows.shape, rows.dtype), np.zeros(biases.shape, biases.dtype)
    grad_rows[there], grad_biases[there] = got.grad_weights, got.grad_biases
    return grad_rows, grad_biases, got.grad_inputs


_loss.defvjp(_forward, _backward)
