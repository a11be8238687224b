"""One training run of a retrieval model: epochs over events, checkpoints, exact resume.

The order of the events is a function of seed and epoch, and candidates come from the
sampler's stream: a run goes on from `FitState`, the model's arrays and the sampler's state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.io.checkpoint import CheckpointFolder, checked_fields, checked_history
from numba_ss.io.progress import Progress
from numba_ss.kernels.retrieval import tower
from numba_ss.retrieval.model import Events, Integers, RetrievalModel
from numba_ss.training.session import TrainingDivergedError, announce, deferred_interrupt

log = logging.getLogger("numba_ss")

Arrays = dict[str, NDArray[Any]]

_REPORT = 32  # batches between two looks at bar and callbacks
MONITORED = "NDCG@50"  # of the held-out events, for early stopping


@dataclass
class FitState:
    """How far a run is: `position` events of this epoch are done, with the sum `loss`."""

    epoch: int = 0
    position: int = 0
    examples: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def checked_state(given: Any, *, epochs: int, num_events: int) -> FitState:
    """Return the state of a run from a file; what it says is not trusted."""
    integer, number = _checks.integer, _checks.number
    fields = checked_fields("run", given, {
        "epoch": lambda name, value: integer(name, value, 0, epochs),
        "position": lambda name, value: integer(name, value, 0, num_events),
        "examples": lambda name, value: integer(name, value, 0, 2**62),
        "loss": number,
        "seconds": lambda name, value: number(name, value, positive=True),
        "best": number,
        "best_epoch": lambda name, value: integer(name, value, 0, epochs),
        "history": checked_history,
    })
    state = FitState(**fields)
    done = state.epoch * num_events + state.position
    if len(state.history) != state.epoch or state.examples != done:
        got = f"{len(state.history)} epochs in the history and {state.examples} events"
        expected = f"{state.epoch} epochs and {done} events, as epoch and position say"
        _checks.fail("run", expected, got)
    if state.best_epoch > state.epoch:
        _checks.fail("run, best_epoch", f"at most {state.epoch}", state.best_epoch)
    return state


class FitRun:
    """Trains `model` on the events `positions` until `epochs` are done.

    `judge` gives the figures of the held-out events after an epoch; training ends when they
    have not become better for `patience` epochs, and the best arrays are put back. `save`
    gives what a checkpoint holds besides the arrays of the model and the state.
    """

    def __init__(
        self, model: RetrievalModel, events: Events, positions: Integers, *, epochs: int,
        batch_size: int, rate: float, first_epoch: int, state: FitState, best: Arrays,
        judge: Callable[[], dict[str, float]] | None, patience: int | None, show: bool | str,
        tell: Callable[..., None], folder: CheckpointFolder | None,
        header: Callable[[], tuple[Arrays, dict[str, Any]]], minutes: float,
    ) -> None:
        self.model, self.events, self.positions = model, events, positions
        # Who each event belongs to: looking that up takes a tenth of a small step.
        sizes = np.diff(events.offsets, append=len(events.items))
        self._owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self.epochs, self.batch_size, self.rate = epochs, batch_size, rate
        self.first_epoch, self.state, self.best = first_epoch, state, best
        self.judge, self.patience = judge, patience
        self.show, self.tell = show, tell
        self.folder, self.header, self.minutes = folder, header, minutes
        self.in_step = False  # then the arrays are on their way
        # What stands when an epoch is finished, to go back to if a later one fails.
        self._finished_epoch: tuple[Arrays, dict[str, Any]] | None = None
        self._epochs_before = state.epoch
        self._saved_at = time.monotonic()
        self._loss = math.nan

    @property
    def _finished(self) -> bool:
        state = self.state
        waited = state.epoch - state.best_epoch
        return state.epoch >= self.epochs or (
            self.patience is not None and state.best_epoch > 0 and waited >= self.patience
        )

    def run(self) -> None:
        """Train to the end, or raise KeyboardInterrupt after a step, with all saved."""
        finished = self._finished
        if not finished:
            announce(tower.forward_tower)
            self._tell("begin")
            with deferred_interrupt() as self._asked:
                while not self._finished:
                    self._epoch()
                self._save()
                self._take_best()
                self._tell("end")
                if self._asked():  # after the last step
                    raise KeyboardInterrupt
        else:
            self._take_best()

    def _take_best(self) -> None:
        if self.best:
            self.model.load(self.best)
            log.info("the model is that of epoch %d, the best", self.state.best_epoch)

    def _epoch(self) -> None:
        state, size = self.state, self.batch_size
        number = self.first_epoch + state.epoch
        seed = [self.model.options.seed, 1, number]
        order = np.random.default_rng(seed).permutation(len(self.positions))
        key = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
        self._began = time.monotonic() - state.seconds
        description = f"epoch {state.epoch + 1}/{self.epochs}"
        batches = 0
        with Progress(
            len(order), "events", description, self.show, initial=state.position
        ) as bar:
            while state.position < len(order):
                positions = self.positions[order[state.position : state.position + size]]
                users = self._owners[positions].astype(np.int64)
                self.in_step = True
                loss = self.model.learn(self.events, users, positions, self.rate, key)
                self.in_step = False
                if not math.isfinite(loss):
                    self._diverged("the loss is NaN or infinite")
                state.loss += loss
                state.position += len(positions)
                state.examples += len(positions)
                batches += 1
                if batches % _REPORT == 0 or self._asked():
                    self._report(bar)
            self._report(bar)
        self._finish_epoch()

    def _report(self, bar: Progress) -> None:
        self._loss = self.state.loss / max(self.state.position, 1)
        bar.update(self.state.position - bar.done, loss=self._loss)
        self._tell("step")
        if self._asked():
            self._save()
            raise KeyboardInterrupt
        if time.monotonic() - self._saved_at > 60 * self.minutes:
            self._save()

    def _finish_epoch(self) -> None:
        state = self.state
        self._check_arrays()
        seconds = time.monotonic() - self._began
        entry: dict[str, Any] = {
            "epoch": len(state.history) + 1,
            "loss": self._loss,
            "learning_rate": self.rate,
            "events": len(self.positions),
            "seconds": round(seconds, 3),
            "events_per_second": round(len(self.positions) / max(seconds, 1e-9)),
        }
        state.epoch, state.position, state.loss, state.seconds = state.epoch + 1, 0, 0.0, 0.0
        if self.judge is not None:
            entry |= {f"validation_{name}": value for name, value in self.judge().items()}
            reached = entry[f"validation_{MONITORED}"]
            log.info("epoch %d: %s of held-out events %.4f", state.epoch, MONITORED, reached)
            if self.patience is not None and reached > state.best:
                state.best, state.best_epoch = reached, state.epoch
                self.best = {name: array.copy() for name, array in self.model.arrays().items()}
        state.history.append(entry)
        self._began = time.monotonic()
        if not self._finished:
            arrays = {name: array.copy() for name, array in self.model.arrays().items()}
            self._finished_epoch = arrays, self.model.sampler.state_dict()
        self._tell("epoch")

    def go_back(self) -> dict[str, Any] | None:
        """Go back to the last finished epoch of this run; return the sampler's state of then.

        None says that there is no such epoch.
        """
        if self.state.epoch == self._epochs_before:
            return None
        if self.state.position == 0 and not self.in_step:
            return self.model.sampler.state_dict()
        if self._finished_epoch is None:
            return None
        arrays, stream = self._finished_epoch
        self.model.load(arrays)
        return stream

    def _check_arrays(self) -> None:
        if not all(np.isfinite(array).all() for array in self.model.arrays().values()):
            self._diverged("a number of the model is NaN or infinite")

    def _diverged(self, how: str) -> NoReturn:
        self.in_step = True  # nothing of it is to be used
        kept = "no checkpoint was asked for"
        if self.folder is not None:
            kept = f"the last good checkpoint, if there is one, is in {self.folder.path}"
        if self.state.epoch > self._epochs_before:
            kept = f"the model is that of epoch {self.state.epoch}, and {kept}"
        raise TrainingDivergedError(
            f"training diverged in epoch {self.state.epoch + 1}: {how}; lower learning_rate; {kept}"
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        self._check_arrays()
        self.state.seconds = time.monotonic() - self._began
        arrays, options = self.header()
        best = {f"best_{name}": array for name, array in self.best.items()}
        path = self.folder.save(
            {**self.model.arrays(), **best, **arrays}, {**options, "run": asdict(self.state)}
        )
        log.info("checkpoint: %s", path)
        self._saved_at = time.monotonic()
        self._tell("checkpoint")

    def _tell(self, kind: str) -> None:
        self.tell(kind, self.state.epoch, self.state.examples, self._loss, self.rate)
