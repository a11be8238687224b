"""Class embeddings and biases as the caller holds them: one array, or a list of shards."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from numba_ss import _checks
from numba_ss._types import Floats, Integers

Strategy = Literal["div", "mod"]  # how classes are assigned to shards


class Table:
    """The rows of one array, or of a list of shards, by class id.

    With n shards, ``"mod"`` puts class c into row c // n of shard c % n. ``"div"`` gives each shard
    a contiguous range of classes; the first ones are one row longer if n does not divide the
    number of classes.
    """

    def __init__(self, name: str, value: Any, dim: int | None, strategy: str) -> None:
        self._name = name
        self.sharded = isinstance(value, list) and any(np.ndim(shard) > 0 for shard in value)
        if self.sharded and name == "biases" and all(np.ndim(s) == 0 for s in value):
            self.sharded = False
        shape: tuple[int | None, ...] = (None,) if dim is None else (None, dim)
        symbols = "num_classes," if dim is None else "num_classes, dim"
        self.shards = []
        for i, shard in enumerate(value if self.sharded else [value]):
            label = f"{name}[{i}]" if self.sharded else name
            array = np.asarray(shard)
            if _checks.real_type(array.dtype) is None:
                _checks.fail(label, "floating-point numbers", array.dtype)
            _checks.shaped(label, array, shape, symbols)
            self.shards.append(array)
        self.num_rows = sum(map(len, self.shards))
        self._strategy = strategy
        count = len(self.shards)
        want = [len(range(i, self.num_rows, count)) for i in range(count)]
        have = [len(shard) for shard in self.shards]
        if have != want:
            _checks.fail(
                name, f"shards of {want} rows (partition_strategy={strategy!r})", f"{have}"
            )

    def locate(self, ids: Integers) -> tuple[Integers, Integers]:
        """Return the shard and the row in it of each class."""
        count = len(self.shards)
        if self._strategy == "mod":
            return ids % count, ids // count
        size, extra = divmod(self.num_rows, count)
        if size == 0:
            return ids, np.zeros_like(ids)
        shard = np.maximum(ids // (size + 1), (ids - extra) // size)
        row = np.where(shard < extra, ids % (size + 1), (ids - extra) % size)
        return shard, row

    def in_shards(self, ids: Integers, values: Floats) -> list[tuple[Integers, Floats]]:
        """Return, for each shard, those of its rows that are among `ids`, and their values."""
        if not self.sharded:
            return [(ids, values)]
        shard, row = self.locate(ids)
        parts = [shard == i for i in range(len(self.shards))]
        return [(row[part], values[part]) for part in parts]

    def rows(self, ids: Integers, dtype: DTypeLike) -> Floats:
        """Return a copy of the rows of `ids`, as `dtype`."""
        with np.errstate(over="ignore"):  # the loss shows it
            if not self.sharded:
                return self.shards[0][ids].astype(dtype, copy=False)
            shard, row = self.locate(ids)
            out = np.empty((len(ids), *self.shards[0].shape[1:]), dtype)
            for i, array in enumerate(self.shards):
                out[shard == i] = array[row[shard == i]]
            return out

    def named(self, ids: Integers) -> list[tuple[str, Floats, Integers]]:
        """Return the name of each of the caller's arrays, the array, and its rows among `ids`."""
        if not self.sharded:
            return [(self._name, self.shards[0], ids)]
        shard, row = self.locate(ids)
        return [
            (f"{self._name}[{i}]", array, row[shard == i]) for i, array in enumerate(self.shards)
        ]

    def direct(self, dtype: DTypeLike) -> Floats | None:
        """Return the array itself if kernels can read it as it is, else None.

        They could read a read-only array, but Numba would compile them again for its type.
        """
        array = self.shards[0]
        usable = array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
        return array if usable and not self.sharded else None
