"""Optimizers that update the rows of a table which have a gradient, in the engine's kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.rows import add_rows, distinct, subtract_rows
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax.adagrad import adagrad_rows
from numba_ss.kernels.softmax.adam import Rates, adam_rows
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
    Gradients of the same row, as several backward passes leave them, are added up first. A
    gradient that is not finite is an error, and nothing is changed.

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
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        _checks.choice("name", name, ("sgd", "adagrad", "adam"))
        _checks.rate("lr", lr)
        for i, beta in enumerate(betas):
            if not 0 <= _checks.number(f"betas[{i}]", beta) < 1:
                _checks.fail(f"betas[{i}]", "a number in [0, 1)", beta)
        _checks.number("eps", eps, positive=True)
        super().__init__(params, {"name": name, "lr": lr, "betas": tuple(betas), "eps": eps})

    @torch.no_grad()
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
            (group, parameter, memory_of("a parameter", parameter), *_rows_of(parameter.grad))
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        with pytorch_threads():
            for group, parameter, table, ids, grads in work:
                self._update(group, self.state[parameter], table, ids, grads)
                torch.autograd.graph.increment_version(parameter)
        return loss

    def _update(
        self, group: dict[str, Any], state: dict[str, Any], table: Floats, ids: Integers,
        grads: Floats,
    ) -> None:
        number = table.dtype.type
        rate = _checks.rate("lr", float(group["lr"]))
        table, grads = _two_dimensional(table), _two_dimensional(grads)
        dim, threads = table.shape[1], threads_for_update(grads.size)
        if group["name"] == "sgd":
            subtract_rows(ids, grads, number(rate), table)
        elif group["name"] == "adagrad":
            squares = _state(state, "squares", table[:, 0])
            adagrad_rows(ids, grads, number(rate), number(0), dim, threads, table, squares)
        else:
            steps = state["step"] = state.get("step", 0) + 1
            kept, kept_squares = group["betas"]
            rate *= math.sqrt(1 - kept_squares**steps) / (1 - kept**steps)
            means, squares = (_state(state, name, table) for name in ("means", "mean_squares"))
            rates = Rates(
                number(rate), number(1 - kept), number(1 - kept_squares), number(group["eps"])
            )
            adam_rows(ids, grads, rates, threads, table, means, squares)


def _two_dimensional(array: Floats) -> Floats:
    """Return numbers as rows of one."""
    return array if array.ndim == 2 else array.reshape(len(array), -1)


def _state(state: dict[str, Any], name: str, like: Floats) -> Floats:
    """Return an array of an optimizer's state, zeros at first, in the memory of its tensor."""
    if name not in state:
        state[name] = torch.from_numpy(np.zeros(like.shape, like.dtype))
    return memory_of(name, state[name])


def _rows_of(grad: Tensor) -> tuple[Integers, Floats]:
    """Return the distinct rows of a gradient, and their sums."""
    if not grad.is_sparse:
        ids, values = np.arange(len(grad)), grad.contiguous().numpy()
    else:
        # Not coalesce(): of one backward pass the rows are distinct, though PyTorch forgets it.
        ids, values = grad._indices()[0].numpy(), grad._values().contiguous().numpy()
        if not grad.is_coalesced() and (ids[1:] <= ids[:-1]).any():
            rows, inverse, _ = distinct(ids)
            sums = np.zeros((len(rows), *values.shape[1:]), values.dtype)
            add_rows(inverse, _two_dimensional(values), _two_dimensional(sums))
            ids, values = rows, sums
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()  # of finite numbers, too, it may be infinite, though seldom
    if not math.isfinite(total) and not np.isfinite(values).all():
        _checks.fail("a gradient", "finite numbers", "NaN or infinity")
    return ids, values
