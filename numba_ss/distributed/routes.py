"""Which rows of a block lie in which shard.

Row i of a table is row i // num_shards of the shard with the number i % num_shards. So
frequent ids, which usually are the small ones, are spread over all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.distributed.work import Table
from numba_ss.kernels.core.ids import factorize
from numba_ss.kernels.core.transfer import copy_rows


def rows_of_shard(table: Table, shard: int, num_shards: int) -> int:
    """Return how many rows of a table lie in a shard."""
    return len(range(shard, table.num_rows, num_shards))


class Part(NamedTuple):
    """The rows of one block that lie in one shard.

    `places` are their positions among the ids of the block, `rows` their numbers in the shard, and
    `pulled` their positions among the rows that were pulled from the shard for several blocks.
    """

    places: Integers
    rows: Integers
    pulled: Integers


class Route(NamedTuple):
    """The rows of some blocks in one table.

    `requests[shard]` are the distinct rows of the shard that the blocks need, and
    `parts[block][shard]` those of each block.
    """

    requests: list[Integers]
    parts: list[list[Part]]


def route(ids: Sequence[Integers], num_shards: int) -> Route:
    """Find the rows of each block, whose ids are distinct; different blocks may share ids."""
    unique, inverse = distinct(np.concatenate(ids))
    grouped, starts = _by_shard(unique, num_shards)
    requests = [unique[grouped[a:b]] // num_shards for a, b in pairwise(starts)]
    pulled = np.empty_like(unique)  # of each distinct id, among the rows from its shard
    pulled[grouped] = np.arange(len(unique)) - np.repeat(starts[:-1], np.diff(starts))
    parts, begin = [], 0
    for own in ids:
        grouped, starts = _by_shard(own, num_shards)
        from_shards = pulled[inverse[begin : begin + len(own)][grouped]]
        rows = own[grouped] // num_shards
        parts.append([
            Part(grouped[a:b], rows[a:b], from_shards[a:b]) for a, b in pairwise(starts)
        ])
        begin += len(own)
    return Route(requests, parts)


class Scattered(NamedTuple):
    """The `Rows` of a block in the arrays that were pulled from each shard."""

    parts: Sequence[Part]
    pulled: Sequence[Float32s]

    def collect(self) -> Float32s:
        """Return them in a new array, in the order of the ids of the block."""
        count = sum(len(part.places) for part in self.parts)
        rows = np.empty((count, self.pulled[0].shape[1]), np.float32)
        self.copy_to(rows)
        return rows

    def copy_to(self, target: Float32s) -> None:
        """Copy them, in this order, to the rows of an array, which may be longer and more."""
        for part, source in zip(self.parts, self.pulled, strict=True):
            copy_rows(part.pulled, source, part.places, target)


def take(rows: Integers, source: Float32s) -> Float32s:
    """Return rows of a table, in a new array."""
    taken = np.empty((len(rows), source.shape[1]), np.float32)
    copy_rows(rows, source, np.arange(len(rows)), taken)
    return taken


def _by_shard(ids: Integers, num_shards: int) -> tuple[Integers, Integers]:
    """Return the positions of the ids grouped by their shard, and where each group begins."""
    shards = ids % num_shards
    # NumPy sorts 16 bits by radix.
    keys = shards.astype(np.uint16) if num_shards <= 2**16 else shards
    starts = np.zeros(num_shards + 1, np.int64)
    np.cumsum(np.bincount(shards, minlength=num_shards), out=starts[1:])
    return np.argsort(keys, kind="stable"), starts


def distinct(ids: Integers) -> tuple[Integers, Integers]:
    """Return the distinct ids, and the position of each id among them."""
    unique, inverse = np.empty_like(ids), np.empty_like(ids)
    slots = np.empty(1 << (2 * len(ids)).bit_length(), np.int32)
    _, count = factorize(ids, 0, slots, inverse, unique)
    return unique[:count], inverse
