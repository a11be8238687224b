"""What a cluster trains: blocks of examples, on tables whose rows lie in shards.

An epoch is a sequence of rounds, a round a set of blocks. All blocks of a round are trained from
the rows as they were at its start. Then each row becomes row + sum_b (row_b - row), summed in the
order of the blocks b that return it; a row that one block alone returns becomes what this block
has made of it, without rounding. So with one block a round the tables are those of one machine,
bit for bit. A block is a pure function of its number and of the rows at the start. So it does not
matter where, when and how often a block is trained, and the result has the same bits for any
number of workers and of shards.

What a trainer has to do so that the sum of a round's changes does not overshoot is its own matter:
`Work.train` is told how many blocks share the round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s


class Table(NamedTuple):
    """The shape of a table of float32."""

    num_rows: int
    dim: int


class Prepared(NamedTuple):
    """A block of which all is known but its rows.

    `ids` has for each table that the block uses the distinct ids of the rows that it needs, int64,
    in any order. `payload` is what else `Work.train` needs: numbers, strings, arrays, and tuples,
    lists or dictionaries of them.
    """

    ids: dict[str, NDArray[np.int64]]
    payload: Any


class Rows(Protocol):
    """The rows of a block in one table as they were at the start of the round."""

    def collect(self) -> Float32s:
        """Return them in a new array, in the order of `Prepared.ids`."""

    def copy_to(self, target: Float32s) -> None:
        """Copy them, in this order, to the rows of an array, which may be longer and more."""


class Trained(NamedTuple):
    """What a block has learned.

    `rows` has for each table of `Prepared.ids` the new rows, in the order of the ids. An array may
    have padding: longer rows, and more rows, at the end. It is read before the next block is
    trained. `figures` has numbers that are reported to the run, such as the sum of the losses.
    """

    rows: dict[str, Float32s]
    figures: dict[str, float]


class Work(Protocol):
    """What is trained. It is pickled and sent to the workers and to the shards once a run.

    All methods are pure functions of the object and their arguments.
    """

    tables: dict[str, Table]

    def first_rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return the rows from `start` to `stop` of a table before the first round."""

    def rounds(self, epoch: int) -> Sequence[Sequence[int]]:
        """Return the numbers of the blocks of each round of an epoch."""

    def prepare(self, epoch: int, block: int) -> Prepared:
        """Read a block, and draw all that it draws."""

    def train(self, prepared: Prepared, rows: Mapping[str, Rows], num_blocks: int) -> Trained:
        """Train a block from the rows of `prepared.ids`, in a round of `num_blocks` blocks."""
