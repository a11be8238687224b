"""What a worker does with a bundle: consecutive blocks of one round, prepared and trained together.

Each row is pulled once for a bundle. But what each of its blocks has made of a row stays apart:
the shards merge it in the order of the blocks. So the bits do not depend on which blocks were
bundled.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.distributed.routes import Part, Scattered, route
from numba_ss.distributed.work import Prepared, Work
from numba_ss.kernels.core.transfer import copy_rows

Request = dict[str, Integers]  # the rows of one shard that a bundle needs, of each table
Pulled = dict[str, Float32s]  # these rows
Learned = dict[str, tuple[Integers, Float32s]]  # rows of a shard, and what blocks made of them


class Bundle(NamedTuple):
    """Blocks of which all is known but their rows.

    `parts[block][table]` are the rows of a block in each shard. `seconds` is the time that it
    took to prepare them.
    """

    blocks: list[Prepared]
    parts: list[dict[str, list[Part]]]
    seconds: float


def prepare_bundle(
    work: Work, epoch: int, blocks: Sequence[int], num_shards: int
) -> list[Any]:
    """Prepare some blocks; return the `Bundle`, then for each shard the `Request`."""
    began = time.perf_counter()
    prepared = [work.prepare(epoch, block) for block in blocks]
    parts: list[dict[str, list[Part]]] = [{} for _ in prepared]
    requests: list[Request] = [{} for _ in range(num_shards)]
    for table in work.tables:
        users = [k for k, block in enumerate(prepared) if table in block.ids]
        if not users:
            continue
        found = route([prepared[k].ids[table] for k in users], num_shards)
        for shard, rows in enumerate(found.requests):
            requests[shard][table] = rows
        for k, part in zip(users, found.parts, strict=True):
            parts[k][table] = part
    return [Bundle(prepared, parts, time.perf_counter() - began), *requests]


def train_bundle(work: Work, bundle: Bundle, num_blocks: int, *pulled: Pulled) -> list[Any]:
    """Train some blocks of a round of `num_blocks`; `pulled` has the rows of each shard.

    Returns the figures, then for each shard what was `Learned`, one block after the other. A row
    occurs in it as often as there are blocks that return it.
    """
    began = time.perf_counter()
    figures: list[dict[str, float]] = []
    learned, filled = _room(work, bundle, len(pulled)), Counter[tuple[str, int]]()
    for prepared, parts in zip(bundle.blocks, bundle.parts, strict=True):
        rows = {
            table: Scattered(by_shard, [shard[table] for shard in pulled])
            for table, by_shard in parts.items()
        }
        trained = work.train(prepared, rows, num_blocks)
        figures.append(trained.figures)
        for table, by_shard in parts.items():
            for shard, part in enumerate(by_shard):
                begin = filled[table, shard]
                end = filled[table, shard] = begin + len(part.rows)
                all_rows, values = learned[shard][table]
                all_rows[begin:end] = part.rows
                places = np.arange(begin, end)
                copy_rows(part.places, trained.rows[table], places, values)
    seconds = time.perf_counter() - began
    traffic = {
        "rows": sum(filled.values()),
        "bytes_pulled": sum(rows.nbytes for shard in pulled for rows in shard.values()),
        "bytes_pushed": sum(
            rows.nbytes + values.nbytes
            for shard in learned for rows, values in shard.values()
        ),
        "seconds_preparing": bundle.seconds,
        "seconds_training": seconds,
    }
    return [(figures, traffic), *learned]


def _room(work: Work, bundle: Bundle, num_shards: int) -> list[Learned]:
    """Return arrays for all rows that the blocks will return to each shard."""
    sizes: list[Counter[str]] = [Counter() for _ in range(num_shards)]
    for parts in bundle.parts:
        for table, by_shard in parts.items():
            for size, part in zip(sizes, by_shard, strict=True):
                size[table] += len(part.rows)
    return [
        {
            table: (np.empty(n, np.int64), np.empty((n, work.tables[table].dim), np.float32))
            for table, n in size.items()
        }
        for size in sizes
    ]
