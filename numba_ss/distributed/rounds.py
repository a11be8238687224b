"""The driver: it trains a `Work` on a cluster round by round, and sees neither rows nor changes.

A round goes through four stages, and each begins when its inputs exist, without the driver:
workers prepare bundles of blocks; the shards give the rows that these need; workers train them;
the shards merge what was learned. A round is prepared while the one before is trained. Its rows are
pulled, and it is trained, as soon as the round before is merged. But it is merged only when the
caller of `Rounds.epoch` asks for it. So between two rounds the shards are in the state of the last
one that the caller knows of, and can be saved, while the workers train.

Shards that are lost are made anew from the last checkpoint, or from the first rows if there is
none, and the rounds since are trained again. Blocks are pure functions, so the bits are the same.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from numba_ss._types import Float32s, PathLike
from numba_ss.distributed.bundles import prepare_bundle, train_bundle
from numba_ss.distributed.checkpoints import RoundFolder
from numba_ss.distributed.cluster import Cluster, ClusterError, Lost, Reference
from numba_ss.distributed.shards import Saved
from numba_ss.distributed.work import Work
from numba_ss.io.files import whole_file

log = logging.getLogger("numba_ss")

_PIECE = 2**24  # numbers of a table that are fetched at a time

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Round:
    """A round that was merged.

    Attributes
    ----------
    index : int
        Its number in the epoch.
    figures : list of dict
        The figures of each block, in the order of the blocks.
    lengths : dict
        For each table the largest length of a row that was changed; NaN if one is not finite.
    """

    index: int
    figures: list[dict[str, float]]
    lengths: dict[str, float]


@dataclass
class Traffic:
    """What was moved and computed in some rounds.

    `rows` counts the rows of each block, `bytes_pulled` and `bytes_pushed` what workers got from
    shards and sent to them. `seconds_preparing` and `seconds_training` are those of all workers
    together, `seconds` those of the driver's clock.
    """

    rounds: int = 0
    blocks: int = 0
    rows: float = 0
    bytes_pulled: float = 0
    bytes_pushed: float = 0
    seconds_preparing: float = 0.0
    seconds_training: float = 0.0
    seconds: float = 0.0

    def add(self, moved: dict[str, float]) -> None:
        """Add what a worker reports of a bundle."""
        for name, value in moved.items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Place:
    """A round of an epoch, and the number of rounds of all epochs before it."""

    epoch: int
    index: int
    rounds: int


@dataclass
class _Ahead:
    """A round of which some stages were submitted."""

    bundles: list[list[Reference]] = field(default_factory=list)
    trained: list[list[Reference]] = field(default_factory=list)


class Rounds:
    """Trains a work on a cluster from a place on: the beginning, or that of `saved` files.

    Attributes
    ----------
    place : Place
        The next round.
    traffic : Traffic
        What was moved since this object was made, also in rounds that were trained again.
    """

    def __init__(self, cluster: Cluster, work: Work, saved: Saved | None = None) -> None:
        self.cluster, self.work, self.traffic = cluster, work, Traffic()
        self._saved, self.place = saved, _place(saved)
        self._losses = 0  # since the furthest round
        self._generation = 0  # of the shards
        self._despite_losses(self._start)

    def epoch(self, epoch: int) -> Generator[Round, None, None]:
        """Train the rest of an epoch; yield each round when it is merged."""
        if epoch != self.place.epoch:
            self.place = Place(epoch, 0, self.place.rounds)
        size = len(self.work.rounds(epoch))
        while self.place.index < size:
            try:
                generation = self._generation
                for done in self._train(size):
                    self._losses = 0
                    yield done
                    if generation != self._generation:  # a loss was noticed by the caller's save
                        break
            except Lost as error:
                self._recover(error)

    def save(self, folder: RoundFolder, state: dict[str, Any]) -> Saved:
        """Write a checkpoint of all rounds so far, with a JSON state."""
        place = self.place

        def save() -> Saved:
            num_shards = self.cluster.num_shards
            saved = folder.begin(num_shards, place.rounds, place.epoch, place.index)
            self._ask_all("save", saved)
            return saved

        saved = self._despite_losses(save)
        folder.finish(saved, state)
        self._saved = saved
        return saved

    def restore(self, saved: Saved) -> None:
        """Go back, or on, to a checkpoint of this work."""
        self._saved, self.place = saved, _place(saved)
        self._despite_losses(self._start)

    def rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return the rows of a table from `start` to `stop`."""
        parts = self._despite_losses(lambda: self._ask_all("rows", table, start, stop))
        rows = np.empty((stop - start, self.work.tables[table].dim), np.float32)
        num_shards = self.cluster.num_shards
        for shard, part in enumerate(parts):
            rows[(shard - start) % num_shards :: num_shards] = part
        return rows

    def write(self, table: str, path: PathLike) -> Float32s:
        """Write a table as ``.npy``, a piece at a time; return it mapped from the disk."""
        num_rows, dim = self.work.tables[table]
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, dim)}
        size = max(1, _PIECE // dim)
        with whole_file(path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, num_rows, size):
                file.write(self.rows(table, start, min(start + size, num_rows)).data)
        mapped: Float32s = np.load(path, mmap_mode="r")
        return mapped

    def look_up(self, table: str, ids: ArrayLike) -> Float32s:
        """Return the rows of a table with some ids."""
        wanted = np.asarray(ids, np.int64)
        num_shards = self.cluster.num_shards
        places = [np.flatnonzero(wanted % num_shards == shard) for shard in range(num_shards)]
        requests = [wanted[place] // num_shards for place in places]

        def ask() -> list[Any]:
            cluster = self.cluster
            return cluster.wait([
                reference for shard, rows in enumerate(requests)
                for reference in cluster.ask(shard, "look_up", table, rows)
            ])

        found = np.empty((len(wanted), self.work.tables[table].dim), np.float32)
        for place, rows in zip(places, self._despite_losses(ask), strict=True):
            found[place] = rows
        return found

    def _train(self, size: int) -> Iterator[Round]:
        """Train the rounds of this epoch from `place` on."""
        rounds = self.work.rounds(self.place.epoch)
        last = size - 1
        current = self._prepare(rounds[self.place.index])
        self._submit(current, self.place, rounds)
        while True:
            began = time.perf_counter()
            following = None
            if self.place.index < last:
                following = self._prepare(rounds[self.place.index + 1])
            merged = self._merge(current)
            after = Place(self.place.epoch, self.place.index + 1, self.place.rounds + 1)
            if following is not None:
                self._submit(following, after, rounds)
            done = self._finish(current, merged, began)
            self.place = after
            yield done
            if following is None:
                return
            current = following

    def _prepare(self, blocks: Sequence[int]) -> _Ahead:
        cluster = self.cluster
        return _Ahead([
            cluster.run(
                prepare_bundle, self.place.epoch, bundle, cluster.num_shards,
                results=1 + cluster.num_shards,
            )
            for bundle in _bundles(blocks, cluster.num_workers)
        ])

    def _submit(
        self, ahead: _Ahead, place: Place, rounds: Sequence[Sequence[int]]
    ) -> None:
        """Let the shards give the rows of a round, and the workers train it."""
        cluster = self.cluster
        pulled = [
            cluster.ask(
                shard, "pull", place.rounds, *(bundle[1 + shard] for bundle in ahead.bundles),
                results=len(ahead.bundles),
            )
            for shard in range(cluster.num_shards)
        ]
        ahead.trained = [
            cluster.run(
                train_bundle, bundle[0], len(rounds[place.index]), *rows,
                results=1 + cluster.num_shards,
            )
            for bundle, *rows in zip(ahead.bundles, *pulled, strict=True)
        ]
        ahead.bundles = []

    def _merge(self, ahead: _Ahead) -> list[Reference]:
        return [
            reference
            for shard in range(self.cluster.num_shards)
            for reference in self.cluster.ask(
                shard, "merge", self.place.rounds, *(bundle[1 + shard] for bundle in ahead.trained)
            )
        ]

    def _finish(self, ahead: _Ahead, merged: list[Reference], began: float) -> Round:
        reports = self.cluster.wait([bundle[0] for bundle in ahead.trained])
        ahead.trained = []
        lengths = self.cluster.wait(merged)
        for _, moved in reports:
            self.traffic.add(moved)
        figures = [one for figures, _ in reports for one in figures]
        seconds = time.perf_counter() - began
        self.traffic.add({"rounds": 1, "blocks": len(figures), "seconds": seconds})
        # NumPy's maximum of NaN and a number is NaN.
        largest = {
            table: float(np.max([shard[table] for shard in lengths])) for table in self.work.tables
        }
        return Round(self.place.index, figures, largest)

    def _ask_all(self, method: str, *arguments: Any) -> list[Any]:
        """Ask all shards the same."""
        cluster = self.cluster
        return cluster.wait([
            reference for shard in range(cluster.num_shards)
            for reference in cluster.ask(shard, method, *arguments)
        ])

    def _start(self) -> None:
        self._generation += 1
        self.cluster.wait(self.cluster.start_shards(self.work, self._saved))

    def _despite_losses(self, operation: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return operation()
            except Lost as error:
                self._recover(error)

    def _recover(self, error: Lost) -> None:
        """Make the shards anew, and train the rounds since the last checkpoint once more."""
        goal = self.place
        while True:
            self._losses += 1
            if self._losses > self.cluster.max_losses:
                raise ClusterError(
                    f"round {goal.index} of epoch {goal.epoch + 1}: lost "
                    f"{self._losses} times in a row: {error}"
                ) from error
            self.place = _place(self._saved)
            log.warning(
                "%s; training %d rounds again, from %s", error, goal.rounds - self.place.rounds,
                "the beginning" if self._saved is None else self._saved.folder,
            )
            try:
                self._start()
                while self.place.rounds < goal.rounds:
                    self._again(goal)
                self.place = goal
                return
            except Lost as again:
                error = again

    def _again(self, goal: Place) -> None:
        """Train the rest of an epoch, as far as the goal."""
        epoch = self.place.epoch
        size = goal.index if epoch == goal.epoch else len(self.work.rounds(epoch))
        if self.place.index < size:
            for _ in self._train(size):
                pass
        if epoch < goal.epoch:
            self.place = Place(epoch + 1, 0, self.place.rounds)


def _place(saved: Saved | None) -> Place:
    """Return the first round after a checkpoint, or of all."""
    return Place(0, 0, 0) if saved is None else Place(saved.epoch, saved.index, saved.rounds)


def _bundles(blocks: Sequence[int], num_workers: int) -> list[list[int]]:
    """Split the blocks of a round into bundles of nearly equal length, one for each worker."""
    count = min(num_workers, len(blocks))
    ends = [len(blocks) * k // count for k in range(count + 1)]
    return [list(blocks[a:b]) for a, b in itertools.pairwise(ends)]
