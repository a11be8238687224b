"""A cluster within this process, for rehearsals and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numba_ss.distributed.cluster import Reference, Stored
from numba_ss.distributed.shards import Saved, Shard
from numba_ss.distributed.work import Work


class LocalCluster:
    """Does at once what it is asked; its references are the values themselves."""

    max_losses = 0

    def __init__(self, num_workers: int = 1, num_shards: int = 1) -> None:
        self.num_workers, self.num_shards = num_workers, num_shards
        self.shards: list[Shard] = []

    def start_shards(self, work: Work, saved: Saved | None) -> list[Reference]:
        """Make all shards."""
        self._work = work
        self.shards = [
            Shard(work, number, self.num_shards, saved) for number in range(self.num_shards)
        ]
        return [shard.ready() for shard in self.shards]

    def run(
        self, function: Callable[..., Sequence[Any]], *arguments: Any, results: int
    ) -> list[Reference]:
        """Call a function of the work and the arguments."""
        return list(function(self._work, *arguments))

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return function(item) for each item."""
        return [function(item) for item in items]

    def store(
        self, function: Callable[[Any], tuple[Any, Any]], items: Sequence[Any]
    ) -> list[tuple[Stored, Any]]:
        """Return function(item) for each item, its first part wrapped."""
        return [(self.put(value), rest) for value, rest in map(function, items)]

    def put(self, value: Any) -> Stored:
        """Wrap an array or a table."""
        return Stored(value)

    def tables_of(self, dataset: Any) -> list[Stored]:
        """Return the blocks of a ``ray.data.Dataset`` as tables of Arrow, in their order."""
        tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        return [Stored(table) for table in tables]

    def ask(
        self, shard: int, method: str, *arguments: Any, results: int | None = None
    ) -> list[Reference]:
        """Call a method of a shard."""
        result = getattr(self.shards[shard], method)(*arguments)
        return [result] if results is None else list(result)

    def wait(self, references: Sequence[Reference]) -> list[Any]:
        """Return the references."""
        return list(references)

    def close(self) -> None:
        """Forget the shards."""
        self.shards = []
