"""Copies of arrays that are needed only if something goes wrong: on disk, not in memory."""

from __future__ import annotations

import logging
import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Arrays

log = logging.getLogger("numba_ss")

_PIECE = 2**18  # numbers that are written at a time


def set_aside(arrays: Arrays) -> Arrays:
    """Return copies of arrays, which cannot be written to.

    They lie in a file without a name in the folder for temporary files, and come into memory when
    they are read. If such a file cannot be written, they are copies in memory.
    """
    try:
        with tempfile.TemporaryFile(prefix="numba_ss-") as file:
            return {name: _written(file, array) for name, array in arrays.items()}
    except OSError as error:
        log.info("the copy of an epoch stays in memory, as no file holds it: %s", error)
        return {name: array.copy() for name, array in arrays.items()}


def _written(file: IO[bytes], array: NDArray[Any]) -> NDArray[Any]:
    """Append an array to a file; return it as a part of the file."""
    if array.size == 0:  # what is empty cannot be mapped
        return array.copy()
    rows, start = np.atleast_1d(array), file.tell()
    step = max(1, _PIECE // rows[0].size)
    for first in range(0, len(rows), step):
        file.write(np.ascontiguousarray(rows[first : first + step]).data)
    file.flush()
    return np.memmap(file, array.dtype, "r", start, array.shape)
