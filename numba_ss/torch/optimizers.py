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
from numba_ss.engine.rows import as_rows, check_squares, subtract_rows, sum_rows
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
        As in every `torch.optim.Optimizer`. The first dimension of a tensor counts its rows. A
        group may have a `rule`, `lr`, `betas` and `eps` of its own.
    rule : {"sgd", "adagrad", "adam"}
        "sgd" subtracts lr times the gradient. "adagrad" divides lr by the root of what the row
        has seen, the sum of the mean squared gradients of the row: one number a row; see
        `numba_ss.update_rows`. "adam" is `torch.optim.SparseAdam`: the means of a row, and the
        row, change when it has a gradient.
    lr : float
        Learning rate; a scheduler may change it.
    betas : pair of float, default=(0.9, 0.999)
        How much of the mean gradient, and of the mean square, Adam keeps in a step.
    eps : float, default=1e-8
        What Adam adds to the root of the mean square; not 0, for a mean can be.

    Notes
    -----
    A row may have several gradients, one for each of its uses. "sgd" subtracts them one after the
    other, so a step has the bits of one of `numba_ss.SampledSoftmax`; the others add them up
    first. A gradient that is not finite is an error, and nothing is changed; nor may the sum of the
    squares of those that "adagrad" and "adam" add up be more than 1e30.

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
        rule: str,
        lr: float,
        *,
        betas: tuple[float, float] = adam.BETAS,
        eps: float = adam.EPSILON,
    ) -> None:
        super().__init__(params, {"rule": rule, "lr": lr, "betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with the options of their own, as in every `torch.optim.Optimizer`."""
        _check_options(self.defaults | param_group)
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another optimizer, of the same rules."""
        groups = _checks.state(state_dict).get("param_groups", [])
        for i, (own, group) in enumerate(zip(self.param_groups, groups, strict=False)):
            if group.get("rule") != own["rule"]:
                name = f"state_dict['param_groups'][{i}]['rule']"
                _checks.fail(name, repr(own["rule"]), repr(group.get("rule")))
            _check_options(group)
        super().load_state_dict(state_dict)

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
        work = []
        with pytorch_threads():
            for group in self.param_groups:
                _check_options(group)  # a scheduler may have changed them
                adds_up = group["rule"] != "sgd"
                work += [
                    (group, one, self._memory(one), *_gradients(one.grad, adds_up))
                    for one in group["params"]
                    if one.grad is not None
                ]
            for group, parameter, array, ids, grads in work:
                self._update(group, parameter, array, ids, grads)
                torch.autograd.graph.increment_version(parameter)
        return loss

    def _memory(self, parameter: Tensor) -> Floats:
        """Return the memory of a parameter; what is kept of it must fit.

        It may not, after the state of a smaller model was loaded, or after the parameter grew.
        """
        array = memory_of("a parameter", parameter)
        shapes = {
            "squares": as_rows(array).shape[:1], "means": array.shape, "mean_squares": array.shape
        }
        kept = self.state.get(parameter, {})
        for name, shape in shapes.items():
            if name in kept:
                _checks.shaped(f"state[{name!r}]", kept[name], shape, "as the parameter")
        return array

    def _update(
        self, group: dict[str, Any], parameter: Tensor, array: Floats, ids: Integers,
        grads: Floats,
    ) -> None:
        table, lr = as_rows(array), float(group["lr"])
        rate = array.dtype.type(lr)
        if group["rule"] == "sgd":
            subtract_rows(ids, grads, rate, table)
            return
        state = self.state[parameter]
        if group["rule"] == "adagrad":
            adagrad.step_distinct(table, ids, grads, rate, _state(state, "squares", table[:, 0]))
            return
        means, squares = (_state(state, name, array) for name in ("means", "mean_squares"))
        state["step"] = state.get("step", 0) + 1
        adam.step_distinct(
            table, ids, grads, lr, means, squares, state["step"], group["betas"], group["eps"]
        )


def _check_options(group: dict[str, Any]) -> None:
    """Require that a step can be taken with the options of a group."""
    _checks.choice("rule", group["rule"], ("sgd", "adagrad", "adam"))
    _checks.rate("lr", group["lr"])
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        _checks.fail("betas", "two numbers in [0, 1)", repr(betas))
    for i, beta in enumerate(betas):
        if not 0 <= _checks.number(f"betas[{i}]", beta) < 1:
            _checks.fail(f"betas[{i}]", "a number in [0, 1)", beta)
    if not np.float32(_checks.number("eps", group["eps"])) > 0:
        _checks.fail("eps", "a number > 0 in float32", group["eps"])


def _state(state: dict[str, Any], name: str, like: Floats) -> Floats:
    """Return an array of an optimizer's state, zeros at first, in the memory of its tensor."""
    if name not in state:
        state[name] = torch.from_numpy(np.zeros(like.shape, like.dtype))
    return memory_of(name, state[name])


def _gradients(grad: Tensor, adds_up: bool) -> tuple[Integers, Floats]:
    """Return the rows that have a gradient, and the gradients, checked.

    The rows may repeat. With `adds_up` they do not: the gradients of a row are added up.
    """
    if grad.is_sparse and grad.sparse_dim() == 1:
        ids, values = grad._indices().numpy()[0], as_rows(grad._values().contiguous().numpy())
    else:
        values = as_rows(grad.to_dense().contiguous().numpy())
        ids = np.arange(len(values))
    if not all_finite(values.reshape(-1)):
        _checks.fail("a gradient", "finite numbers", "NaN or infinity")
    if adds_up:
        if grad.is_sparse:
            ids, values = sum_rows(ids, values, values.shape[1], Workspace())
        check_squares("a gradient", values)
    return ids, values
