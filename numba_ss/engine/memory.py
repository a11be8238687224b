"""Arrays that start at a cache line, and tables with rows of whole cache lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from numba_ss._types import Float32s
from numba_ss.kernels.core.llvm import CACHE_LINE, LINE

_ROWS = 2**12  # rows that are moved at a time


def aligned_empty(*shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return an array that starts at a cache line; otherwise every vector could lie in two."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    raw = np.empty(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned_zeros(*shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return zeros that start at a cache line."""
    array = aligned_empty(*shape, dtype=dtype)
    # Not np.zeros: if pages are first touched in order, the system makes them large. A table that
    # is read at random is faster then.
    array[...] = 0
    return array


def round_up(count: int, multiple: int = LINE) -> int:
    """Return the smallest multiple that is not less than `count`; by default, whole cache lines."""
    return -(-count // multiple) * multiple


def widen(table: Float32s, num_rows: int) -> Float32s:
    """Return `table` with rows of whole cache lines, followed by rows of zeros."""
    wide = aligned_zeros(num_rows, round_up(table.shape[1]))
    wide[: len(table), : table.shape[1]] = table
    return wide


def narrow(wide: Float32s, num_rows: int, dim: int) -> Float32s:
    """Undo `widen` in the same memory: the array `wide` is overwritten.

    A copy would need as much memory again.
    """
    flat = wide.reshape(-1)
    for start in range(0, num_rows, _ROWS):
        stop = min(start + _ROWS, num_rows)
        flat[start * dim : stop * dim].reshape(-1, dim)[:] = wide[start:stop, :dim]
    return flat[: num_rows * dim].reshape(num_rows, dim)
