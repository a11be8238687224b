"""What runs tasks and holds shards, by reference: whoever asks does not see what it passes on.

There are two: `local`, in this process, and `ray_runtime`. Both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # so that the command line finds the errors before NumPy is imported
    from numba_ss.distributed.shards import Saved
    from numba_ss.distributed.work import Work

Reference = Any  # stands for a value that may not exist yet, on a machine that nobody knows


class Stored:
    """An array or a table in the memory of a cluster; it can be sent to any worker."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def read(self) -> Any:
        """Return it, read-only."""
        return self._value


class ClusterError(RuntimeError):
    """Machines or processes of a cluster failed more often than was to be put up with."""


class Lost(Exception):
    """Shards, or rows on their way, are gone; shards made anew from a checkpoint can go on."""


class Cluster(Protocol):
    """Workers and shards. All its methods but `wait` return before anything has happened."""

    num_workers: int
    num_shards: int
    max_losses: int

    def start_shards(self, work: Work, saved: Saved | None) -> list[Reference]:
        """Make all shards, in place of those before; return what becomes known when they stand."""

    def run(
        self, function: Callable[..., Sequence[Any]], *arguments: Any, results: int
    ) -> list[Reference]:
        """Call a pure function of the work and the arguments on a worker.

        References among the arguments are replaced by their values. The function returns a
        sequence of so many results.
        """

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return function(item) for each item; it is pure and runs on the workers."""

    def store(
        self, function: Callable[[Any], tuple[Any, Any]], items: Sequence[Any]
    ) -> list[tuple[Stored, Any]]:
        """Do as `map` for a function that returns a pair, and leave its first part where it is."""

    def put(self, value: Any) -> Stored:
        """Store an array or a table of this process."""

    def tables_of(self, dataset: Any) -> list[Stored]:
        """Return the blocks of a ``ray.data.Dataset`` as tables of Arrow, in their order."""

    def ask(
        self, shard: int, method: str, *arguments: Any, results: int | None = None
    ) -> list[Reference]:
        """Call a method of a shard; it does what it is asked in the order in which it is asked.

        Returns a reference, or so many if the method returns a sequence of `results`.
        """

    def wait(self, references: Sequence[Reference]) -> list[Any]:
        """Return the values.

        Raises
        ------
        Lost
            If a shard, or a value that cannot be computed again, was lost.
        ClusterError
            If workers failed too often.
        Exception
            What was raised by the function or the method, or by one on which it depends.
        """

    def close(self) -> None:
        """End the shards, and what else was started."""
