"""Gradients of rows that may repeat: subtract them, add them up, find the distinct rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_ss._types import Floats, Integers
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax.phases import scatter_rows


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


def ascending(ids: Integers, inverse: Integers, num_first: int) -> tuple[Integers, Integers]:
    """Sort the first `num_first` of distinct ids; return them and the new positions of all uses."""
    order = np.arange(len(ids))
    order[:num_first] = np.argsort(ids[:num_first])
    positions = np.empty_like(order)
    positions[order] = np.arange(len(ids))
    return ids[order], positions[inverse]
