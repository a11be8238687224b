"""Tables that start at a cache line, with rows of whole cache lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LINE = 64  # bytes of a cache line
COLUMNS = _LINE // 4  # numbers of one


def aligned_zeros(*shape: int) -> Floats:
    """Return zeros that start at a cache line: else every other vector would lie in two."""
    size = 4 * int(np.prod(shape))
    raw = np.empty(size + _LINE, np.uint8)
    # Not np.zeros: pages that are touched in order come as large ones, which a table
    # read at random needs.
    raw[:] = 0
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size].view(np.float32).reshape(shape)


def round_up(count: int) -> int:
    """Return the length of whole cache lines of numbers."""
    return -(-count // COLUMNS) * COLUMNS


def widen(table: Floats, num_rows: int) -> Floats:
    """Return `table` with rows of whole cache lines, followed by rows of zeros."""
    wide = aligned_zeros(num_rows, round_up(table.shape[1]))
    wide[: len(table), : table.shape[1]] = table
    return wide
