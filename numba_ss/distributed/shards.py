"""A shard: the part of all tables whose ids leave the same remainder, and its file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.distributed.bundles import Learned, Pulled, Request
from numba_ss.distributed.routes import distinct, rows_of_shard, take
from numba_ss.distributed.work import Work
from numba_ss.io.checkpoint import read_state, reading, write_state
from numba_ss.io.files import whole_file
from numba_ss.kernels.core.transfer import merge_rows

_PIECE = 2**24  # numbers of a table that are made at once


@dataclass(frozen=True)
class Saved:
    """The files of all shards after a number of rounds; `epoch` and `index` say which is next."""

    folder: str
    num_shards: int
    rounds: int
    epoch: int
    index: int

    def file(self, shard: int) -> Path:
        """Return the file of a shard."""
        return Path(self.folder, f"shard-{shard}-of-{self.num_shards}.npz")


class Shard:
    """Holds row id // num_shards of each table for all ids with id % num_shards == number.

    It starts with the first rows of the work, or with those of `saved` files, which may have been
    written by another number of shards. `rounds` counts the rounds whose changes it has.
    """

    def __init__(self, work: Work, number: int, num_shards: int, saved: Saved | None) -> None:
        self.number, self.num_shards, self.rounds = number, num_shards, 0
        self._lengths: dict[str, float] = {}  # of the last round
        self._num_rows = {name: table.num_rows for name, table in work.tables.items()}
        self._tables = {
            name: np.empty((rows_of_shard(table, number, num_shards), table.dim), np.float32)
            for name, table in work.tables.items()
        }
        if saved is None:
            self._make(work)
        else:
            self._load(saved)

    def ready(self) -> int:
        """Return the number of bytes of the tables, after they are complete."""
        return sum(table.nbytes for table in self._tables.values())

    def pull(self, round: int, *requests: Request) -> list[Pulled]:
        """Return the rows at the start of a round, for each bundle of blocks."""
        self._require(round)
        return [
            {table: take(rows, self._tables[table]) for table, rows in request.items()}
            for request in requests
        ]

    def merge(self, round: int, *bundles: Learned) -> dict[str, float]:
        """Merge what the blocks of a round have learned; `bundles` are in their order.

        A row becomes row + sum_b (row_b - row), summed over the blocks b that return it; if one
        alone returns it, it becomes row_b without rounding. A round that was merged before is
        ignored. Returns for each table the largest length of a changed row, NaN if one is not
        finite.
        """
        if round != self.rounds - 1:
            self._require(round)
            self._lengths = {
                name: _merge([learned[name] for learned in bundles if name in learned], table)
                for name, table in self._tables.items()
            }
            self.rounds += 1
        return self._lengths

    def save(self, saved: Saved) -> int:
        """Write the file of this shard; return its number of bytes."""
        state = {"number": self.number, "rounds": self.rounds, "num_rows": self._num_rows}
        path = saved.file(self.number)
        with whole_file(path) as file:
            write_state(file, self._tables, state)
        return path.stat().st_size

    def rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return the rows of this shard whose ids are in [start, stop), by id."""
        first, last = (-((self.number - id) // self.num_shards) for id in (start, stop))
        return self._tables[table][max(first, 0) : max(last, 0)]

    def look_up(self, table: str, rows: Integers) -> Float32s:
        """Return rows by their numbers in this shard."""
        return take(rows, self._tables[table])

    def _require(self, round: int) -> None:
        if round != self.rounds:
            raise RuntimeError(
                f"shard {self.number}: expected round {self.rounds}, got {round}"
            )

    def _make(self, work: Work) -> None:
        for name, table in work.tables.items():
            # A piece has whole cycles of the shards, so it begins with a row of the first one.
            size = max(1, _PIECE // (table.dim * self.num_shards)) * self.num_shards
            for start in range(0, table.num_rows, size):
                piece = work.first_rows(name, start, min(start + size, table.num_rows))
                own = piece[self.number :: self.num_shards]
                begin = start // self.num_shards
                self._tables[name][begin : begin + len(own)] = own

    def _load(self, saved: Saved) -> None:
        """Fill the tables from files, one file in memory at a time."""
        for other in _sharing(self.number, self.num_shards, saved.num_shards):
            path = saved.file(other)
            expected = "the file of a shard of the same tables"
            with reading(str(path), expected), path.open("rb") as file:
                arrays, state = read_state(file)
                if state["num_rows"] != self._num_rows or state["rounds"] != saved.rounds:
                    raise ValueError(f"num_rows {state['num_rows']}, rounds {state['rounds']}")
                for name, table in self._tables.items():
                    own, theirs = _common(
                        self._num_rows[name], self.number, self.num_shards, other, saved.num_shards
                    )
                    table[own] = arrays[name][theirs]
        self.rounds = saved.rounds


def _merge(learned: list[tuple[Integers, Float32s]], table: Float32s) -> float:
    """Merge rows of several blocks into a table; return the largest length of a changed row."""
    if not learned:
        return 0.0
    unique, inverse = distinct(np.concatenate([rows for rows, _ in learned]))
    is_shared = np.bincount(inverse) > 1
    slots = np.where(is_shared, np.cumsum(is_shared) - 1, -1)[inverse]
    old = take(unique[is_shared], table)
    squares, begin = [], 0
    for rows, new in learned:
        end = begin + len(rows)
        squares.append(merge_rows(rows, new, slots[begin:end], old, table))
        begin = end
    return math.sqrt(np.max(squares))  # NumPy's maximum of NaN and a number is NaN


def _sharing(number: int, num_shards: int, others: int) -> Iterator[int]:
    """Yield the shards out of `others` that may share ids with a shard out of `num_shards`."""
    common = math.gcd(num_shards, others)
    yield from range(number % common, others, common)


def _common(
    num_rows: int, number: int, num_shards: int, other: int, others: int
) -> tuple[slice, slice]:
    """Return which rows of shard `number` are which rows of shard `other` out of `others`."""
    cycle = math.lcm(num_shards, others)
    first = next(id for id in range(number, cycle, num_shards) if id % others == other)
    count = len(range(first, num_rows, cycle))

    def rows(shards: int) -> slice:
        begin, step = first // shards, cycle // shards
        return slice(begin, begin + count * step, step)

    return rows(num_shards), rows(others)
