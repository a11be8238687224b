"""The arrays of a pass: allocated once, and kept from call to call."""

from __future__ import annotations

import math
import weakref
from types import SimpleNamespace
from typing import Any, NamedTuple

from numpy.typing import DTypeLike, NDArray

from numba_ss.engine.memory import aligned_empty, aligned_zeros, round_up
from numba_ss.kernels.core.llvm import LANES, LINE, ROWS
from numba_ss.kernels.core.team import board_shape
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.buffers import FIELDS, describe, shape_of, type_of
from numba_ss.kernels.softmax.sampled_classes import BLOCK, STRIP, blocks_of
from numba_ss.kernels.softmax.step import NUM_PHASES, parts_of

# The most numbers in an array of a pass; a larger batch is computed in parts. In float32 these are
# 16 MB, which fit into the last-level cache of a server.
EXPS = 2**22

_LENT = 2  # arrays of a name that are remembered: of this step, and of the one before it


def padded(dim: int) -> int:
    """Return the length of a padded row: whole vectors, and an odd number of cache lines.

    With an even number of lines, rows would use only half of the cache's sets.
    """
    lines = -(-round_up(dim, LANES) // LINE)
    return LINE * (lines | 1)


class BatchBuffers(NamedTuple):
    """The arrays of a sampled pass: each by its name, and `all` of them as kernels take them.

    `part` blocks of unique inputs are compared at a time. `is_whole` says that these are all.
    Rows may be padded.
    """

    part: int
    is_whole: bool
    all: Any
    arrays: SimpleNamespace  # what `all` describes; the docstring of `kernels.softmax` lists it

    def with_arrays(self, **arrays: NDArray[Any]) -> BatchBuffers:
        """Return the buffers with other arrays in the place of some."""
        return self._replace(
            all=describe(self.all, **arrays),
            arrays=SimpleNamespace(**vars(self.arrays) | arrays),
        )


class Workspace:
    """Arrays by name that are kept from one call to the next, and grow if necessary."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}
        self._lent: dict[str, list[tuple[NDArray[Any], weakref.ref[NDArray[Any]]]]] = {}
        self._key: object = None
        self._batch: BatchBuffers | None = None

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Leave out the buffers when it is copied or sent to another process."""
        return Workspace, ()

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of this shape; its content is undefined."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            # Kernels read whole vectors, also at the end of the array.
            buffer = self._buffers[name] = aligned_zeros(size + LANES, dtype=dtype)
        return buffer[:size].reshape(shape)

    def lend(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array for somebody else, whose content is undefined.

        The memory is used again when nobody holds this very array: to fill fresh memory takes
        several times as long, with a page fault for each 4 kB.
        """
        size, lent = math.prod(shape), self._lent.setdefault(name, [])
        for place, (memory, holder) in enumerate(lent):
            if holder() is None and memory.size >= size and memory.dtype == dtype:
                del lent[place]
                break
        else:
            memory = aligned_empty(size, dtype=dtype)
        array = memory[:size].reshape(shape)
        lent.append((memory, weakref.ref(array)))
        del lent[:-_LENT]
        return array

    def batch(
        self, batch_size: int, num_own: int, num_sampled: int, num_hits: int, dim: int,
        threads: int, dtype: DTypeLike,
    ) -> BatchBuffers:
        """Return the buffers of a sampled pass; the same ones if no argument has changed."""
        key = batch_size, num_own, num_sampled, num_hits, dim, threads, dtype
        if key == self._key and self._batch is not None:
            return self._batch
        num_rows, num_blocks = round_up(num_sampled, ROWS), blocks_of(batch_size)
        part = max(1, min(num_blocks, EXPS // (BLOCK * max(num_rows, 1))))
        num_phases, width = board_shape(NUM_PHASES, threads)
        symbols = {
            "B": batch_size, "B+1": batch_size + 1, "L": round_up(batch_size, LANES),
            "Q": round_up(batch_size, BLOCK), "C": num_own, "H": num_hits,
            "E": batch_size * num_hits + 1, "S": num_rows, "D": padded(dim),
            "V": round_up(dim, LANES), "K": BLOCK, "X": STRIDE, "P": part * num_rows,
            "M": part * -(-num_rows // STRIP), "T": threads, "N": parts_of(threads),
            "J": 1 << (2 * max(batch_size, num_sampled)).bit_length(), "F": num_phases, "W": width,
        }
        arrays = {
            name: self.array(name, shape_of(name, symbols), type_of(name, dtype)) for name in FIELDS
        }
        out = BatchBuffers(
            part, part >= num_blocks, describe(**arrays), SimpleNamespace(**arrays)
        )
        self._key, self._batch = key, out
        return out
