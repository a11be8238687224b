"""The sampled losses as functions, with TensorFlow's arguments and PyTorch's gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from numba_ss import _checks
from numba_ss.engine.sampled_problem import SampledProblem
from numba_ss.engine.shards import Strategy
from numba_ss.torch import autograd
from numba_ss.torch.tensors import HALF, memory_of, on_cpu, uncompiled
from numba_ss.torch.threads import pytorch_threads
from numba_ss.torch.work import FunctionWork, Place

Tables: TypeAlias = "Tensor | Sequence[Tensor]"

_spare: deque[Place] = deque(maxlen=2)  # of all calls, which may have had more at once


def sampled_softmax_loss(
    weights: Tables, biases: Tables | None, labels: Tensor, inputs: Tensor, num_sampled: int,
    num_classes: int, num_true: int = 1, sampled_values: Any = None,
    remove_accidental_hits: bool = True, seed: int | None = None,
    name: str = "sampled_softmax_loss", *, partition_strategy: Strategy = "div",
    sparse: bool = True,
) -> Tensor:
    r"""Compute the sampled softmax loss, as `tf.nn.sampled_softmax_loss`.

    The loss is that of `numba_ss.sampled_softmax_loss`, which explains it. It is differentiable in
    `weights`, `biases` and `inputs`.

    Parameters
    ----------
    weights : Tensor of float32 or float64, shape (num_classes, dim), or sequence of shards
        Class embeddings.
    biases : Tensor, shape (num_classes,), sequence of shards, or None
        Class biases; None stands for zeros. A candidate whose bias is -inf is left out.
    labels : Tensor of integers, shape (batch_size, num_true)
        Target classes, in [0, num_classes); -1 marks an absent one. An example without any has
        the loss 0.
    inputs : Tensor of floats, shape (batch_size, dim)
        Hidden states; 16-bit floats are converted to float32. The result has their type.
    num_sampled : int
        Candidates drawn for the batch, shared by all examples.
    num_classes : int
        Number of classes.
    num_true : int, default=1
        Labels of an example.
    sampled_values : tuple of three Tensors or arrays, optional
        (sampled_candidates, true_expected_count, sampled_expected_count), as a sampler
        returns them; by default `numba_ss.log_uniform_candidate_sampler` draws.
    remove_accidental_hits : bool, default=True
        Whether an example does not count the candidates that are labels of its own.
    seed : int, optional
        Op seed of the default sampler.
    name : str, optional
        Accepted for TensorFlow's sake, not used.
    partition_strategy : {"div", "mod"}, default="div"
        How classes are laid out over shards.
    sparse : bool, default=True
        Whether the gradients of weights and biases are sparse tensors of the touched rows.
        Not every operation of PyTorch can pass sparse gradients on. So if the weights are computed
        from other tensors, they may need dense gradients.

    Returns
    -------
    Tensor, shape (batch_size,)
        Losses in nats.

    Raises
    ------
    ArgumentError
        As `numba_ss.sampled_softmax_loss`.

    Examples
    --------
    >>> import torch
    >>> weights = torch.zeros(1000, 4, requires_grad=True)
    >>> labels, inputs = torch.tensor([[3], [5]]), torch.ones(2, 4)
    >>> losses = sampled_softmax_loss(weights, None, labels, inputs, 8, 1000, seed=1)
    >>> losses
    tensor([5.2393, 4.8694], grad_fn=<LossBackward>)
    >>> losses.sum().backward()
    >>> weights.grad.coalesce().indices()
    tensor([[  1,   3,   5,  15,  24, 111, 129, 545]])
    """
    return _sampled_loss(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, sparse, False,
    )


def nce_loss(
    weights: Tables, biases: Tables | None, labels: Tensor, inputs: Tensor, num_sampled: int,
    num_classes: int, num_true: int = 1, sampled_values: Any = None,
    remove_accidental_hits: bool = False, name: str = "nce_loss", *, seed: int | None = None,
    partition_strategy: Strategy = "div", sparse: bool = True,
) -> Tensor:
    r"""Compute the noise-contrastive estimation loss, as `tf.nn.nce_loss`.

    The loss is that of `numba_ss.nce_loss`. It is differentiable in `weights`, `biases` and
    `inputs`.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values
        See `sampled_softmax_loss`.
    remove_accidental_hits : bool, default=False
        Whether an example does not count the candidates that are labels of its own.
    name, seed, partition_strategy, sparse
        See `sampled_softmax_loss`; TensorFlow has no `seed` here.

    Returns
    -------
    Tensor, shape (batch_size,)
        Losses in nats, summed over the num_true + num_sampled logits.
    """
    return _sampled_loss(
        weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values,
        remove_accidental_hits, seed, partition_strategy, sparse, True,
    )


@uncompiled
def _sampled_loss(
    weights: Tables, biases: Tables | None, labels: Tensor, inputs: Tensor, num_sampled: int,
    num_classes: int, num_true: int, sampled_values: Any, remove_accidental_hits: bool,
    seed: int | None, partition_strategy: Strategy, sparse: bool, logistic: bool,
) -> Tensor:
    given = on_cpu("inputs", inputs)
    h = given.float() if given.dtype in HALF else given
    if isinstance(sampled_values, (list, tuple)):
        sampled_values = [
            part if isinstance(part, np.ndarray)
            else on_cpu(f"sampled_values[{i}]", part).detach().numpy()
            for i, part in enumerate(sampled_values)
        ]
    sparse = _checks.flag("sparse", sparse)
    with pytorch_threads():
        problem = SampledProblem(
            _memory("weights", weights), None if biases is None else _memory("biases", biases),
            on_cpu("labels", labels).detach().numpy(), h.detach().contiguous().numpy(),
            num_sampled, num_classes, num_true, sampled_values, remove_accidental_hits, seed,
            partition_strategy, subtract_log_q=True,
        )
        work = FunctionWork(_spare, problem, logistic, biases is not None)
    tables = [*_shards(weights), *_shards(biases)]
    losses = autograd.apply(work, None, sparse, h, *tables)
    return losses.to(given.dtype)


def _shards(tables: Tables | None) -> list[Tensor]:
    if tables is None:
        return []
    return [tables] if isinstance(tables, Tensor) else list(tables)


def _memory(name: str, tables: Tables) -> Any:
    if isinstance(tables, (list, tuple)):
        return [memory_of(f"{name}[{i}]", shard) for i, shard in enumerate(tables)]
    return memory_of(name, tables)
