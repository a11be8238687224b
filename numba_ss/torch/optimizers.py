"""Optimizers that update the rows of a table which have a gradient, in the engine's kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import profiler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine import adagrad, adam
from numba_ss.engine.rows import as_rows, subtract_rows, sum_rows
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.finite import all_finite
from numba_ss.torch.tensors import memory_of
from numba_ss.torch.threads import pytorch_threads


class RowOptimizer(torch.optim.Optimizer):
    r"""SGD, Adagrad or Adam, for parameters of which few rows have a gradient.

    It takes sparse gradients, such as those of `SampledSoftmax` and of
    ``nn.Embedding(sparse=True)``, and dense ones. What it costs, and what it changes, is
    in proportion to the rows that have a gradient, whatever the size of the table.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        As in every `torch.optim.Optimizer`; of one or two dimensions.
    name : {"sgd", "adagrad", "adam"}
        "sgd" subtracts lr times the gradient. "adagrad" divides lr by the root of what the row
        has seen, the sum of the mean squared gradients of the row: one number a row; see
        `numba_ss.update_rows`. "adam" is `torch.optim.SparseAdam`: the means of a row, and the
        row, change when it has a gradient.
    lr : float
        Learning rate; a scheduler may change it.
    betas : pair of float, default=(0.9, 0.999)
        How much of the mean gradient, and of the mean square, Adam keeps in a step.
    eps : float, default=1e-8
        What Adam adds to the root of the mean square.

    Notes
    -----
    A row may have several gradients, one for each of its uses. "sgd" subtracts them one after the
    other, so a step has the bits of one of `numba_ss.SampledSoftmax`; the others add them up
    first. A gradient that is not finite is an error, and nothing is changed.

    Examples
    --------
    >>> table = torch.nn.Embedding(1000, 8, sparse=True)
    >>> optimizer = RowOptimizer(table.parameters(), "adam", lr=0.01)
    >>> table(torch.tensor([3, 5])).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        name: str,
        lr: float,
        *,
        betas: tuple[float, float] = adam.BETAS,
        eps: float = adam.EPSILON,
    ) -> None:
        _checks.choice("name", name, ("sgd", "adagrad", "adam"))
        _checks.rate("lr", lr)
        for i, beta in enumerate(betas):
            if not 0 <= _checks.number(f"betas[{i}]", beta) < 1:
                _checks.fail(f"betas[{i}]", "a number in [0, 1)", beta)
        _checks.number("eps", eps, positive=True)
        super().__init__(params, {"name": name, "lr": lr, "betas": tuple(betas), "eps": eps})

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step` as PyTorch wraps it: with its hooks, and a mark for the profiler.

        To make the mark takes as long as to update hundreds of rows, so it is made for those who
        look.
        """
        wrapped = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self: RowOptimizer, *args: Any, **kwargs: Any) -> Any:
            watched = profiler._is_profiler_enabled or any(
                (
                    self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks,
                    _global_optimizer_pre_hooks, _global_optimizer_post_hooks,
                )
            )
            return (wrapped if watched else func)(self, *args, **kwargs)

        return step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero, as in every `torch.optim.Optimizer`."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the rows that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss again, and its gradients, as in every `torch.optim.Optimizer`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = [
            (group, parameter, memory_of("a parameter", parameter), *_uses_of(parameter.grad))
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        with pytorch_threads():
            for group, parameter, table, ids, grads in work:
                self._update(group, parameter, as_rows(table), ids, as_rows(grads))
                torch.autograd.graph.increment_version(parameter)
        return loss

    def _update(
        self, group: dict[str, Any], parameter: Tensor, table: Floats, ids: Integers,
        grads: Floats,
    ) -> None:
        number = table.dtype.type
        rate = _checks.rate("lr", float(group["lr"]))
        if group["name"] == "sgd":
            subtract_rows(ids, grads, number(rate), table)
            return
        ids, grads = sum_rows(ids, grads, grads.shape[1], Workspace())
        state, like = self.state[parameter], table if parameter.ndim == 2 else table[:, 0]
        if group["name"] == "adagrad":
            squares = _state(state, "squares", table[:, 0])
            adagrad.step_distinct(table, ids, grads, number(rate), squares)
            return
        means, squares = (_state(state, name, like) for name in ("means", "mean_squares"))
        state["step"] = state.get("step", 0) + 1
        adam.step_distinct(
            table, ids, grads, rate, means, squares, state["step"], group["betas"], group["eps"]
        )


def _state(state: dict[str, Any], name: str, like: Floats) -> Floats:
    """Return an array of an optimizer's state, zeros at first, in the memory of its tensor."""
    if name not in state:
        state[name] = torch.from_numpy(np.zeros(like.shape, like.dtype))
    return memory_of(name, state[name])


def _uses_of(grad: Tensor) -> tuple[Integers, Floats]:
    """Return the rows that have a gradient, which may repeat, and the gradients."""
    if not grad.is_sparse:
        ids, values = np.arange(len(grad)), grad.contiguous().numpy()
    else:
        ids, values = grad._indices().numpy()[0], grad._values().contiguous().numpy()
    if not all_finite(values.reshape(-1)):
        _checks.fail("a gradient", "finite numbers", "NaN or infinity")
    return ids, values
