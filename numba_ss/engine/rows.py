"""Gradients into the rows of a table: subtracted one by one, added up, and the distinct rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_ss._types import Floats, Integers
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax.phases import scatter_rows


def subtract_rows(ids: Integers, grads: Floats, learning_rate: Any, table: Floats) -> None:
    """Subtract learning_rate times the gradients from a table's rows `ids`, one by one, in order.

    The gradients' rows may be padded.
    """
    scatter_rows(ids, grads, learning_rate, threads_for_update(grads.size), table)


def add_rows(ids: Integers, grads: Floats, sums: Floats) -> None:
    """Add the gradients to the rows `ids` of `sums`, one by one, in order."""
    subtract_rows(ids, grads, sums.dtype.type(-1), sums)


def distinct(ids: Integers, num_first: int = 0) -> tuple[Integers, Integers, int]:
    """Return the distinct ids as they come, the place of each id among them, and a number.

    The number is that of distinct ones among the first `num_first` ids.
    """
    rows, inverse = np.empty_like(ids), np.empty_like(ids)
    hashes = np.empty(1 << (2 * len(ids)).bit_length(), np.int32)
    first, count = factorize(ids, num_first, hashes, inverse, rows)
    return rows[:count], inverse, first


def ascending(ids: Integers, inverse: Integers, num_first: int) -> tuple[Integers, Integers]:
    """Return distinct ids, the first ones sorted among themselves, and the new places of all."""
    order = np.arange(len(ids))
    order[:num_first] = np.argsort(ids[:num_first])
    places = np.empty_like(order)
    places[order] = np.arange(len(ids))
    return ids[order], places[inverse]
