"""Gradients of rows that may repeat: subtract them, add them up, find the distinct rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.finite import sum_of_squares
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax.phases import scatter_rows

# Of the gradients of a step. The two largest numbers of float32 lie 2e31 apart, so no number of
# steps makes the sum of their squares infinite.
_LARGEST_SQUARES = 1e30


def subtract_rows(ids: Integers, grads: Floats, learning_rate: Any, table: Floats) -> None:
    """Subtract learning_rate times each gradient from its row of the table, in order.

    The rows of the gradients may be padded.
    """
    scatter_rows(ids, grads, learning_rate, threads_for_update(grads.size), table)


def add_rows(ids: Integers, grads: Floats, sums: Floats) -> None:
    """Add each gradient to its row of `sums`, in order."""
    subtract_rows(ids, grads, sums.dtype.type(-1), sums)


def distinct(ids: Integers, num_first: int = 0) -> tuple[Integers, Integers, int]:
    """Return the distinct ids in order of first use, the position of each id, and a count.

    The count is the number of distinct ids among the first `num_first` ones.
    """
    rows, inverse = np.empty_like(ids), np.empty_like(ids)
    hashes = np.empty(1 << (2 * len(ids)).bit_length(), np.int32)
    first, count = factorize(ids, num_first, hashes, inverse, rows)
    return rows[:count], inverse, first


def sum_rows(
    ids: Integers, grads: Floats, dim: int, scratch: Workspace
) -> tuple[Integers, Floats]:
    """Return the distinct ids, and of each the sum of its gradients, added up in order.

    The gradients' rows may be padded. The sums stand in `scratch`.
    """
    rows, inverse, _ = distinct(ids)
    sums = scratch.array("row_sums", (len(rows), dim), grads.dtype)
    sums[:] = 0
    add_rows(inverse, grads, sums)
    return rows, sums


def check_squares(name: str, grads: Floats) -> None:
    """Require gradients whose squares Adagrad and Adam can keep."""
    if not sum_of_squares(grads.reshape(-1)) <= _LARGEST_SQUARES:
        expected = f"a sum of squares of at most {_LARGEST_SQUARES:g}"
        _checks.fail(name, expected, f"{np.abs(grads).max():g} among them")


def as_rows(array: Floats) -> Floats:
    """Return a contiguous array as a table: its first dimension counts the rows.

    A row may be one number, and a number is one row.
    """
    if array.ndim == 2:
        return array
    if array.ndim == 1:  # as biases are, in each step
        return array[:, None]
    return array.reshape(len(array) if array.ndim else 1, math.prod(array.shape[1:]))
