"""Tensors as the arrays that kernels work on: checked, and the same memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.kernels.core.ids import first_outside

R = TypeVar("R")

HALF = (torch.bfloat16, torch.float16)


def uncompiled(function: Callable[..., R]) -> Callable[..., R]:
    """Let `torch.compile` call a function instead of looking inside."""

    @functools.wraps(function)
    def call(*args: Any) -> R:
        if torch.compiler.is_compiling():
            # Not a decorator: that would import the compiler, which takes seconds.
            compiled_around: Callable[..., R] = torch.compiler.disable(function)
            return compiled_around(*args)
        return function(*args)

    return call


def on_cpu(name: str, value: Any) -> Tensor:
    """Return a tensor that has memory, on the CPU."""
    if not isinstance(value, Tensor):
        _checks.fail(name, "a torch.Tensor", type(value).__name__)
    if not value.is_cpu:
        _checks.fail(name, "a tensor on the CPU, where the kernels run", f"one on {value.device}")
    return value


def memory_of(name: str, value: Any) -> Floats:
    """Return the memory of a table, as an array; to write to it is to change the tensor."""
    tensor = on_cpu(name, value)
    if tensor.dtype not in (torch.float32, torch.float64):
        _checks.fail(name, "float32 or float64 numbers", tensor.dtype)
    if not tensor.is_contiguous():
        _checks.fail(name, "a contiguous tensor, as tensor.contiguous() makes one", "another")
    array: Floats = tensor.detach().numpy()
    return array


def hidden_states(inputs: Any, dim: int, dtype: torch.dtype) -> Tensor:
    """Return inputs, (..., dim), as contiguous rows of a type; gradients flow back."""
    tensor = on_cpu("inputs", inputs)
    if tensor.ndim < 1 or tensor.shape[-1] != dim:
        _checks.fail("inputs", f"shape (..., dim) = (..., {dim})", f"shape {tuple(tensor.shape)}")
    if tensor.dtype != dtype:
        if tensor.dtype not in HALF:
            _checks.fail("inputs", f"{dtype} as the weights, or 16-bit floats", tensor.dtype)
        tensor = tensor.to(dtype)
    if tensor.ndim == 2 and tensor.is_contiguous():  # as mostly, and a view is a node of the graph
        return tensor
    return tensor.reshape(-1, dim).contiguous()


def label_ids(
    labels: Any, shape: torch.Size, num_true: int, ignore_index: int, num_classes: int
) -> tuple[Integers, NDArray[np.bool_] | None]:
    """Return labels, (batch_size, num_true), and which examples have one, None if all do.

    They come as (*shape, num_true), or as `shape` where there is one. `ignore_index` marks an
    absent label, which becomes -1.
    """
    tensor = on_cpu("labels", labels)
    if tuple(tensor.shape) != (*shape, num_true) and not (num_true == 1 and tensor.shape == shape):
        expected = (*shape, num_true) if num_true > 1 else tuple(shape)
        _checks.fail("labels", f"shape {expected}, as the inputs", f"shape {tuple(tensor.shape)}")
    ids = _checks.ids("labels", tensor.detach().numpy()).reshape(-1, num_true)
    if not 0 <= ignore_index < num_classes and first_outside(ids.reshape(-1), num_classes) < 0:
        return ids, None
    absent = ids == ignore_index
    if not absent.any():
        _checks.in_range("labels", ids, num_classes, "num_classes")
        return ids, None
    _checks.in_range("labels", np.where(absent, 0, ids), num_classes, "num_classes")
    some = ~absent.all(axis=1)
    return np.where(absent, -1, ids), None if some.all() else some
