"""The loop of both trainers: epochs, progress, events, checkpoints, interrupts, divergence.

Each trainer subclasses `TrainingRun` and defines what an epoch of its examples is. A run can be
resumed from its state and its arrays alone, because random draws depend only on the position in
the data. So a resumed run ends with the same bits as one that was not interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, Protocol, TypeVar

from numba_ss import _checks
from numba_ss._types import Arrays
from numba_ss.io.checkpoint import checked_fields, checked_history
from numba_ss.io.progress import Progress
from numba_ss.io.set_aside import set_aside
from numba_ss.training.events import StopTraining, TrainingDivergedError, TrainingEvent
from numba_ss.training.session import FitSession
from numba_ss.training.signals import deferred_interrupt

log = logging.getLogger("numba_ss")


_STATE_BYTES = 2**20  # room for the state in a checkpoint, besides its arrays


class Model(Protocol):
    """What a run trains: named arrays that can be copied and restored."""

    def arrays(self) -> Arrays:
        """Return all learned arrays, without copying them."""

    def load(self, arrays: Arrays) -> None:
        """Copy arrays as `arrays` returned them into the model."""


@dataclass
class RunState:
    """How far a run is.

    `epoch` counts finished epochs. `position` is the position in the current epoch, and `seconds`
    the time spent in it. `examples` counts the examples of all epochs. `best` is the monitored
    figure of epoch `best_epoch`, which is 0 until there is one.
    """

    epoch: int = 0
    position: int = 0
    examples: int = 0
    seconds: float = 0.0
    best: float = 0.0
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


State = TypeVar("State", bound=RunState)


def checked_state(
    kind: type[State], name: str, given: Any, own: Mapping[str, Callable[[str, Any], Any]],
    best: Arrays | None,
) -> State:
    """Check the state in a file, which may be damaged or manipulated, and return it.

    `own` has the checks of the fields that a subclass of `RunState` adds, `best` the arrays of the
    best epoch in the same file, None if they are elsewhere.
    """

    def count(field: str, value: Any) -> int:
        return _checks.integer(field, value, 0, 2**62)

    state = kind(**checked_fields(name, given, {
        "epoch": count, "position": count, "examples": count,
        "seconds": lambda field, value: _checks.number(field, value, not_negative=True),
        "best": _checks.number, "best_epoch": count, "history": checked_history, **own,
    }))
    if state.best_epoch > state.epoch:
        _checks.fail(f"{name}, best_epoch", f"at most {state.epoch}", state.best_epoch)
    if best is not None and bool(best) != (state.best_epoch > 0):
        _checks.fail(f"{name}, best_epoch", "that of the arrays, if there are any", given)
    return state


def best_arrays(arrays: Arrays) -> Arrays:
    """Return the arrays of the best epoch in a checkpoint."""
    return {
        name.removeprefix("best_"): array
        for name, array in arrays.items() if name.startswith("best_")
    }


class TrainingRun(ABC):
    """Trains a `Model` for `epochs` epochs, or until `patience` epochs in a row were no better.

    After the last epoch, Ctrl-C or `StopTraining`, the estimator gets everything that was learned.
    After an error it gets the result of the last epoch that this run has finished and kept. If
    there is none, or nothing was learned, it keeps what it had before. During a run it gets copies
    before the events "epoch" and "end", if there are callbacks.

    `epoch_size` is the number of examples in an epoch, and `unit` their name. `monitored` is the
    figure that early stopping watches; larger values are better if `grows`, else smaller ones.
    """

    unit: str
    monitored: str
    grows: bool
    remedy = "lower learning_rate"

    def __init__(
        self, session: FitSession, model: Any, state: RunState, best: Arrays, *, epochs: int,
        patience: int | None, first_epoch: int, epoch_size: int, rate: float,
    ) -> None:
        self.session, self.model, self.state, self.best = session, model, state, best
        self.epochs, self.patience, self.first_epoch = epochs, patience, first_epoch
        self.epoch_size, self.rate = epoch_size, rate
        self.in_step = False  # if True, the arrays are being changed
        self._epochs_before = state.epoch
        # The arrays after the last finished epoch, for the case that the next one fails.
        self._kept: Any = None
        self._is_asked: Callable[[], bool] = lambda: False
        self._is_stopped = False
        self._saved_at, self._saved_examples = time.monotonic(), state.examples
        self._began = self._saved_at
        self._loss = math.nan

    @abstractmethod
    def learn_epoch(self) -> Generator[None, None, None]:
        """Learn from the rest of an epoch; yield every few batches, at once if `is_asked`."""

    @abstractmethod
    def done(self) -> int:
        """Return the number of examples of this epoch that are done."""

    @abstractmethod
    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""

    @abstractmethod
    def check_arrays(self) -> None:
        """Call `diverged` if the arrays are not finite, or absurdly large."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Return figures of held-out data, or an empty dict if nothing is held out."""

    @abstractmethod
    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what a checkpoint needs besides the arrays of the model and the state."""

    @abstractmethod
    def publish(self, *, last: bool) -> None:
        """Give the estimator the result; if it is the `last` time, it need not be a copy."""

    def prepare(self) -> None:
        """Check what the run needs, before the first event; here the space for checkpoints."""
        folder = self.session.folder
        if folder is not None:
            tables, others = self.model.arrays(), self.contents()[0]
            size = sum(array.nbytes for array in tables.values())
            size += size * (self.patience is not None)
            size += sum(array.nbytes for array in others.values()) + _STATE_BYTES
            folder.require((folder.keep + 1) * size)

    def copy(self) -> Any:
        """Return a copy of all that was learned, for `restore`."""
        return set_aside(self.model.arrays())

    def restore(self, copy: Any) -> None:
        """Go back to a copy."""
        self.model.load(copy)

    def write(self) -> str:
        """Write a checkpoint; return its path."""
        arrays, state = self.contents()
        best = {f"best_{name}": array for name, array in self.best.items()}
        folder = self.session.folder
        assert folder is not None
        return str(folder.save(
            {**self.model.arrays(), **best, **arrays}, {**state, "run": asdict(self.state)}
        ))

    def is_asked(self) -> bool:
        """Return whether a signal such as Ctrl-C asks the run to end."""
        return self._is_asked()

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the best one was `patience` epochs ago."""
        state = self.state
        return state.epoch >= self.epochs or (
            self.patience is not None
            and state.best_epoch > 0
            and state.epoch - state.best_epoch >= self.patience
        )

    def run(self) -> None:
        """Train to the end; on Ctrl-C finish the step, save, and raise KeyboardInterrupt."""
        try:
            self._run()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt) or self.in_step:
                if self._has_epoch():
                    if self._is_within_epoch():
                        self.go_back()
                    self.publish(last=True)
                    error.add_note(f"The model is that of epoch {len(self.state.history)}.")
            elif self.state.epoch or self.state.position:
                self.publish(last=True)
            raise
        self.publish(last=True)

    def _run(self) -> None:
        if self.is_finished:
            self._take_best()
            return
        self.prepare()
        self._tell("begin")
        with deferred_interrupt() as self._is_asked:
            with Progress(
                self.epochs * self.epoch_size, self.unit, self._stage(), self.session.show,
                initial=self._done_in_all(),
            ) as bar:
                while not self.is_finished and not self._is_stopped:
                    bar.describe(self._stage())
                    self._epoch(bar)
            if self.is_finished and self.state.epoch < self.epochs:
                name = self.monitored.replace("_", " ")
                log.info("%s was no better for %d epochs: the training ends", name, self.patience)
            self._save()
            self._take_best()
            self._tell("end")
            if self.is_asked():  # after the last step
                raise KeyboardInterrupt

    def _stage(self) -> str:
        return f"epoch {self.state.epoch + 1}/{self.epochs}"

    def _done_in_all(self) -> int:
        of_epoch = min(max(self.done(), 0), self.epoch_size)
        # What is done may be an estimate, and not 0 when the last epoch has ended.
        return min(self.state.epoch * self.epoch_size + of_epoch, self.epochs * self.epoch_size)

    def _epoch(self, bar: Progress) -> None:
        self._began = time.monotonic() - self.state.seconds
        with closing(self.learn_epoch()) as steps:
            for _ in steps:
                self._report(bar)
                if self._is_stopped:
                    return
        self._finish_epoch()
        bar.update(max(0, self._done_in_all() - bar.done), loss=self._loss)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Mark the arrays as being changed inside the block."""
        self.in_step = True
        yield
        self.in_step = False

    def _report(self, bar: Progress) -> None:
        self._loss = self.mean_loss()
        more = max(0, self._done_in_all() - bar.done)
        bar.update(more, loss=self._loss, learning_rate=self.rate)
        self._tell("step")
        if self.is_asked():
            self._save()
            raise KeyboardInterrupt
        is_due = time.monotonic() - self._saved_at > 60 * self.session.minutes
        if self.session.examples is not None:
            is_due |= self.state.examples - self._saved_examples >= self.session.examples
        if is_due:
            self._save()

    def _finish_epoch(self) -> None:
        state, size = self.state, self.epoch_size
        self.check_arrays()
        seconds = time.monotonic() - self._began
        self._loss = self.mean_loss()
        entry: dict[str, Any] = {
            "epoch": len(state.history) + 1,
            "loss": self._loss,
            "learning_rate": self.rate,
            self.unit: size,
            "seconds": round(seconds, 3),
            f"{self.unit}_per_second": round(size / max(seconds, 1e-9)),
        }
        figures = self.validate()
        state.history.append(entry | figures)
        self.next_epoch()
        if figures:
            listed = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            log.info("epoch %d: %s", entry["epoch"], listed.replace("_", " "))
        self.keep(figures.get(self.monitored))
        self._began = time.monotonic()
        self._tell("epoch")

    def next_epoch(self) -> None:
        """Move the state to the start of the next epoch."""
        self.state.epoch += 1
        self.state.position, self.state.seconds = 0, 0.0

    def keep(self, reached: float | None) -> None:
        """Copy the arrays after an epoch, if they may be needed again."""
        state, is_best = self.state, False
        if self.patience is not None and reached is not None:
            is_better = reached > state.best if self.grows else reached < state.best
            is_best = state.best_epoch == 0 or is_better
        if is_best:
            state.best, state.best_epoch = reached or 0.0, state.epoch
        self._kept = None  # free the old copy before the new one is made
        if is_best or not self.is_finished:
            self._kept = self.copy()
        if is_best:
            self.best = self._kept

    def _is_within_epoch(self) -> bool:
        return self.state.position > 0 or self.in_step

    def _has_epoch(self) -> bool:
        """Return whether there is an epoch of this run whose arrays can be had."""
        is_kept = self._kept is not None or not self._is_within_epoch()
        return self.state.epoch > self._epochs_before and is_kept

    def go_back(self) -> None:
        """Restore the arrays after the last finished epoch."""
        self.restore(self._kept)

    def _take_best(self) -> None:
        if self.best:
            self.restore(self.best)
            best = self.first_epoch + self.state.best_epoch
            log.info("the model is that of epoch %d, the best", best)

    def diverged(self, how: str) -> NoReturn:
        """Raise TrainingDivergedError."""
        self.in_step = True  # the arrays must not be used
        folder = self.session.folder
        kept = "no checkpoint was asked for"
        if folder is not None:
            kept = f"the last good checkpoint, if there is one, is in {folder.path}"
        done = len(self.state.history)
        if self._has_epoch():
            kept = f"the model is that of epoch {done}, and {kept}"
        raise TrainingDivergedError(
            f"training diverged in epoch {done + 1}: {how}; {self.remedy}; {kept}"
        )

    def _save(self) -> None:
        if self.session.folder is None:
            return
        self.check_arrays()
        self.state.seconds = time.monotonic() - self._began
        path = self.write()
        log.info("checkpoint: %s", path)
        self._saved_at, self._saved_examples = time.monotonic(), self.state.examples
        self._tell("checkpoint")

    def _tell(self, kind: str) -> None:
        """Call the callbacks; before the events at which they may use the model, publish it."""
        if not self.session.callbacks:
            return
        if kind in ("epoch", "end"):
            self.publish(last=False)
        state = self.state
        event = TrainingEvent(
            kind, state.epoch, state.examples, self._loss, self.rate, self.session.estimator
        )
        try:
            self.session.notify(event)
        except StopTraining:
            self._is_stopped = True
