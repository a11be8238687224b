"""A run of a trainer on a cluster: the same loop as on one machine, with rounds for steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from numba_ss import _checks
from numba_ss._types import Arrays
from numba_ss.distributed.checkpoints import RoundFolder
from numba_ss.distributed.rounds import Round, Rounds, Traffic
from numba_ss.distributed.shards import Saved
from numba_ss.io.checkpoint import CheckpointFolder
from numba_ss.training.run import RunState, TrainingRun
from numba_ss.training.session import FitSession


class ClusterRun(TrainingRun):
    """Trains the tables of `rounds`; `state.position` is the next round of the epoch.

    The last finished epoch is kept only in a checkpoint, if a folder of them was given: nobody has
    the memory for a second copy of the tables.
    """

    def __init__(
        self, session: FitSession, rounds: Rounds, state: RunState, *, epochs: int,
        patience: int | None, first_epoch: int, epoch_size: int, rate: float,
    ) -> None:
        super().__init__(
            session, rounds, state, {}, epochs=epochs, patience=patience,
            first_epoch=first_epoch, epoch_size=epoch_size, rate=rate,
        )
        self.rounds = rounds
        self.lengths: dict[str, float] = {}  # the largest length of a row in the last round
        self._told = Traffic()  # what `moved` has told of
        if state.best_epoch:
            assert isinstance(session.folder, RoundFolder)  # from which the state was read
            self.best: Any = _best(session.folder, state)

    @abstractmethod
    def take(self, done: Round) -> None:
        """Add the figures of a round to the state."""

    def learn_epoch(self) -> Generator[None, None, None]:
        """Train the rest of an epoch, round by round."""
        with closing(self.rounds.epoch(self.state.epoch)) as rounds:
            for done in rounds:
                self.lengths = done.lengths
                self.take(done)
                self.state.position = done.index + 1
                self.check_arrays()
                yield

    def moved(self) -> dict[str, float]:
        """Return what was moved since the last call: bytes, and the workers' share of waiting."""
        now, before = self.rounds.traffic, self._told
        self._told = replace(now)
        spent = self.rounds.cluster.num_workers * (now.seconds - before.seconds)
        busy = now.seconds_preparing + now.seconds_training
        busy -= before.seconds_preparing + before.seconds_training
        return {
            "bytes_pulled": now.bytes_pulled - before.bytes_pulled,
            "bytes_pushed": now.bytes_pushed - before.bytes_pushed,
            "waiting": round(max(0.0, 1 - busy / max(spent, 1e-9)), 3),
        }

    def prepare(self) -> None:
        """Check nothing: the shards know whether there is room for their files."""

    def copy(self) -> Any:
        """Write a checkpoint, if there is a folder for it."""
        folder = self.session.folder
        return self._write(folder) if isinstance(folder, RoundFolder) else None

    def keep(self, reached: float | None) -> None:
        """Write a checkpoint after an epoch, and hold that of the best one."""
        super().keep(reached)
        folder = self.session.folder
        if isinstance(folder, RoundFolder) and self.best and self.best is self._kept:
            folder.hold(self.best)

    def restore(self, copy: Any) -> None:
        """Make the shards anew from a checkpoint."""
        self.rounds.restore(copy)

    def write(self) -> str:
        """Write a checkpoint; return its path."""
        folder = self.session.folder
        assert isinstance(folder, RoundFolder)
        return self._write(folder).folder

    def _write(self, folder: RoundFolder) -> Saved:
        return self.rounds.save(folder, {**self.contents()[1], "run": asdict(self.state)})

    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what a checkpoint needs besides the tables and the state."""
        return {}, {}

    def check_arrays(self) -> None:
        """Call `diverged` if a row is not finite."""
        if not all(map(math.isfinite, self.lengths.values())):
            self.diverged("a vector is NaN or infinite")


def require_folder(session: FitSession) -> None:
    """Require a folder of checkpoints for early stopping, before any data is read."""
    if session.options.get("early_stopping") is not None and session.folder is None:
        expected = "None on a cluster, or a folder as checkpoint= of fit, for the best epoch"
        _checks.fail("early_stopping", expected, session.options["early_stopping"])


def checkpoints_of(cluster: Any) -> type[CheckpointFolder | RoundFolder]:
    """Return the class of the folder of checkpoints for the argument `cluster` of ``fit``."""
    if cluster is None:
        return CheckpointFolder
    if isinstance(cluster, type) or not hasattr(cluster, "sizes"):
        _checks.fail("cluster", "a RayCluster or None", repr(cluster))
    return RoundFolder


def _best(folder: RoundFolder, state: RunState) -> Saved:
    """Return the checkpoint of the best epoch of a run that is resumed."""
    newest, held = folder.load(), folder.held()
    if newest is not None and state.best_epoch == state.epoch > newest.saved.epoch:
        return newest.saved  # the run was killed before this one was held
    if held is None:
        _checks.fail(str(folder.path), f"the checkpoint of epoch {state.best_epoch}", "none")
    return held.saved
