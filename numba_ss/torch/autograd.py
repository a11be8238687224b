"""Losses whose gradients the kernels compute, for PyTorch's backward pass."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from numba_ss._types import Floats, Integers
from numba_ss.engine.rows import add_rows, as_rows
from numba_ss.torch.threads import pytorch_threads


class Rows(NamedTuple):
    """The gradient of a table: of the rows `ids`, which may repeat, or with None of all."""

    ids: Integers | None
    values: Floats


class Work(Protocol):
    """A batch whose losses were computed, and whose gradients will be."""

    losses: Floats
    total: float  # their sum

    def backward(self, grad_output: Floats) -> tuple[Floats, list[Rows]]:
        """Return the gradients of the inputs and of the tables, in arrays of their own."""


class Loss(torch.autograd.Function):
    """The losses of a batch, or with a `scale` their sum times it.

    Inputs and tables are those that the work was made of.
    """

    @staticmethod
    def forward(
        ctx: Any, work: Work, scale: float | None, sparse: bool, inputs: Tensor,
        *tables: Tensor | None,
    ) -> Tensor:
        """Remember the work, and of what it was made."""
        ctx.work, ctx.scale, ctx.sparse = work, scale, sparse
        # The backward pass reads their memory: PyTorch raises an error if it has changed.
        ctx.save_for_backward(inputs, *tables)
        return as_tensor(work, scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        """Return the gradients that are asked for."""
        _, *tables = ctx.saved_tensors
        if ctx.scale is None:
            upstream = grad_output.detach().contiguous().numpy()
        else:
            upstream = np.empty_like(ctx.work.losses)
            upstream.fill(grad_output.item() * ctx.scale)
        with pytorch_threads():
            grad_inputs, grads = ctx.work.backward(upstream)
        needed = ctx.needs_input_grad[4:]
        grad_tables = (
            table_gradient(table, rows, ctx.sparse) if wanted else None
            for table, rows, wanted in zip(tables, grads, needed, strict=True)
        )
        wanted = ctx.needs_input_grad[3]
        return None, None, None, torch.from_numpy(grad_inputs) if wanted else None, *grad_tables


def apply(
    work: Work, scale: float | None, sparse: bool, inputs: Tensor, *tables: Tensor | None
) -> Tensor:
    """Return the losses of a batch, or their sum times `scale`, for a backward pass."""
    result: Tensor = Loss.apply(work, scale, sparse, inputs, *tables)
    return result


def as_tensor(work: Work, scale: float | None) -> Tensor:
    """Return a copy of a work's losses, or their sum times `scale`, as a tensor."""
    if scale is None:
        return torch.from_numpy(work.losses.copy())
    return torch.from_numpy(np.asarray(work.total * scale, work.losses.dtype))


def table_gradient(table: Tensor, rows: Rows, sparse: bool) -> Tensor:
    """Return the gradient of a table as a sparse tensor, or as a dense one."""
    if rows.ids is None:
        return torch.from_numpy(rows.values)
    if sparse:
        # Not coalesced: what accumulates gradients forgets it, so optimizers would do it again.
        return torch.sparse_coo_tensor(
            torch.from_numpy(rows.ids).unsqueeze(0), torch.from_numpy(rows.values), table.shape,
            check_invariants=False,
        )
    dense = torch.zeros_like(table)
    add_rows(rows.ids, as_rows(rows.values), as_rows(dense.numpy()))
    return dense


def _norm(
    sparse: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Return the norm of a sparse tensor."""
    values = sparse.coalesce().values()
    if dim is not None or keepdim:
        raise NotImplementedError("the norm of a sparse tensor is that of all its numbers")
    if not len(values):  # a batch of nothing but padding touches no row
        values = values.new_zeros(1)
    return torch.linalg.vector_norm(values, order, dtype=dtype)


# PyTorch has no norm of sparse tensors, without which `clip_grad_norm_` refuses a model that has
# a sparse gradient. This fills the gap for everybody's, in this process.
if not torch._C._dispatch_has_kernel_for_dispatch_key("aten::linalg_vector_norm", "SparseCPU"):
    _library = torch.library.Library("aten", "IMPL")
    _library.impl("linalg_vector_norm", _norm, "SparseCPU")
