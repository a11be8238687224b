"""The loop of both trainers: epochs, progress, events, checkpoints, interrupts, divergence.

A trainer says in a subclass of `TrainingRun` what an epoch of its examples is. A run goes on
from its state and its arrays alone: what is drawn is a function of the place in the data, so a
resumed run ends with the bits of one that nobody interrupted.
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

from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.io.checkpoint import checked_fields, checked_history
from numba_ss.io.progress import Progress
from numba_ss.kernels._cache import compiled_before
from numba_ss.training.events import StopTraining, TrainingDivergedError, TrainingEvent
from numba_ss.training.session import FitSession
from numba_ss.training.signals import deferred_interrupt

log = logging.getLogger("numba_ss")

Arrays = dict[str, NDArray[Any]]

_STATE_BYTES = 2**20  # of a checkpoint, besides its arrays


class Model(Protocol):
    """What a run trains: arrays that can be copied, kept and put back."""

    def arrays(self) -> Arrays:
        """Return all that is learned; not copies."""

    def load(self, arrays: Arrays) -> None:
        """Take over what `arrays` returned."""


@dataclass
class RunState:
    """How far a run is: in the present epoch to `position`, after `seconds` of work.

    `examples` counts those learned from in all epochs; `best` is the monitored figure of the
    epoch `best_epoch`, which is 0 as long as nothing is awaited.
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
    best: Arrays,
) -> State:
    """Return the state that a file holds, which may be damaged or doctored.

    `own` are the checks of what a subclass of `RunState` adds, `best` the arrays of the best
    epoch that the file holds.
    """

    def count(field: str, value: Any) -> int:
        return _checks.integer(field, value, 0, 2**62)

    state = kind(**checked_fields(name, given, {
        "epoch": count, "position": count, "examples": count,
        "seconds": lambda field, value: _checks.number(field, value, positive=True),
        "best": _checks.number, "best_epoch": count, "history": checked_history, **own,
    }))
    if state.best_epoch > state.epoch:
        _checks.fail(f"{name}, best_epoch", f"at most {state.epoch}", state.best_epoch)
    if bool(best) != (state.best_epoch > 0):
        _checks.fail(f"{name}, best_epoch", "that of the arrays, if there are any", given)
    return state


def best_arrays(arrays: Arrays) -> Arrays:
    """Return the arrays of the best epoch that a checkpoint holds."""
    return {
        name.removeprefix("best_"): array
        for name, array in arrays.items() if name.startswith("best_")
    }


def announce(kernel: Any) -> None:
    """Tell who waits for the first step why it takes so long."""
    if not compiled_before(kernel):
        log.info("compiling for this machine, once: about a minute")


class TrainingRun(ABC):
    """Trains `model` until `epochs` are done, or no epoch got better for `patience` ones.

    Whatever ends a run, the estimator has what it learned: all of it after the last epoch,
    Ctrl-C or `StopTraining`; that of the last finished epoch after an error; and where none is
    finished, what it had before. Until then it has that of the last event "epoch" or "end" that
    callbacks were told of.

    `epoch_size` is how many of `unit` an epoch has, `monitored` the figure of a finished epoch
    that early stopping watches; it is to grow where `grows`.
    """

    unit: str
    monitored: str
    grows: bool
    remedy = "lower learning_rate"

    def __init__(
        self, session: FitSession, model: Model, state: RunState, best: Arrays, *, epochs: int,
        patience: int | None, first_epoch: int, epoch_size: int, rate: float,
    ) -> None:
        self.session, self.model, self.state, self.best = session, model, state, best
        self.epochs, self.patience, self.first_epoch = epochs, patience, first_epoch
        self.epoch_size, self.rate = epoch_size, rate
        self.in_step = False  # if so, the arrays are on their way
        self._epochs_before = state.epoch
        # What the last finished epoch had learned, to go back to if a later one fails.
        self._kept: Arrays = {}
        self._is_asked: Callable[[], bool] = lambda: False
        self._is_stopped = False
        self._saved_at, self._saved_examples = time.monotonic(), state.examples
        self._began = self._saved_at
        self._loss = math.nan

    @abstractmethod
    def learn_epoch(self) -> Generator[None, None, None]:
        """Learn from the rest of an epoch; pause every few batches, and soon if `is_asked`."""

    @abstractmethod
    def done(self) -> int:
        """Return how many units of this epoch have been learned from."""

    @abstractmethod
    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""

    @abstractmethod
    def check_arrays(self) -> None:
        """Call `diverged` if what is learned is not finite or absurd."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Return the figures of what is held out, if anything is."""

    @abstractmethod
    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return the arrays and the state of a checkpoint besides those of model and run."""

    @abstractmethod
    def publish(self, *, last: bool) -> None:
        """Give the estimator what the model has learned; the `last` time no copies are needed."""

    def prepare(self) -> None:
        """Make sure before the first event that nothing will be missing later."""
        folder = self.session.folder
        if folder is not None:
            tables, others = self.model.arrays(), self.contents()[0]
            size = sum(array.nbytes for array in tables.values())
            size += size * (self.patience is not None)
            size += sum(array.nbytes for array in others.values()) + _STATE_BYTES
            folder.require((folder.keep + 1) * size)

    def is_asked(self) -> bool:
        """Tell whether Ctrl-C or the like asks the run to end."""
        return self._is_asked()

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the best one is too long ago."""
        state = self.state
        return state.epoch >= self.epochs or (
            self.patience is not None
            and state.best_epoch > 0
            and state.epoch - state.best_epoch >= self.patience
        )

    def run(self) -> None:
        """Train to the end, or raise KeyboardInterrupt after a step, with all saved."""
        try:
            self._run()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt) or self.in_step:
                if self.state.epoch > self._epochs_before:
                    if self.state.position or self.in_step:
                        self.go_back()
                    self.publish(last=True)
                    error.add_note(f"The model is that of epoch {len(self.state.history)}.")
                raise
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
            self._save()
            self._take_best()
            self._tell("end")
            if self.is_asked():  # after the last step
                raise KeyboardInterrupt

    def _stage(self) -> str:
        return f"epoch {self.state.epoch + 1}/{self.epochs}"

    def _done_in_all(self) -> int:
        return self.state.epoch * self.epoch_size + min(max(self.done(), 0), self.epoch_size)

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
        """Mark the arrays as on their way inside the block."""
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
        self.start_epoch_anew()
        if figures:
            listed = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            log.info("epoch %d: %s", state.epoch, listed.replace("_", " "))
        self.keep(figures.get(self.monitored))
        self._began = time.monotonic()
        self._tell("epoch")

    def start_epoch_anew(self) -> None:
        """Count one more epoch as finished, and nothing of the next as done."""
        self.state.epoch += 1
        self.state.position, self.state.seconds = 0, 0.0

    def keep(self, reached: float | None) -> None:
        """Copy what an epoch has learned where it may be wanted again."""
        state, is_best = self.state, False
        if self.patience is not None and reached is not None:
            is_better = reached > state.best if self.grows else reached < state.best
            is_best = state.best_epoch == 0 or is_better
        if is_best:
            state.best, state.best_epoch = reached or 0.0, state.epoch
        self._kept = {}  # there are not to be two at a time
        if is_best or not self.is_finished:
            self._kept = {name: array.copy() for name, array in self.model.arrays().items()}
        if is_best:
            self.best = self._kept

    def go_back(self) -> None:
        """Go back to what the last finished epoch had learned."""
        self.model.load(self._kept)

    def _take_best(self) -> None:
        if self.best:
            self.model.load(self.best)
            log.info("the model is that of epoch %d, the best", self.state.best_epoch)

    def diverged(self, how: str) -> NoReturn:
        """Raise TrainingDivergedError."""
        self.in_step = True  # nothing of it is to be used
        folder = self.session.folder
        kept = "no checkpoint was asked for"
        if folder is not None:
            kept = f"the last good checkpoint, if there is one, is in {folder.path}"
        if self.state.epoch > self._epochs_before:
            kept = f"the model is that of epoch {len(self.state.history)}, and {kept}"
        raise TrainingDivergedError(
            f"training diverged in epoch {self.state.epoch + 1}: {how}; {self.remedy}; {kept}"
        )

    def _save(self) -> None:
        if self.session.folder is None:
            return
        self.check_arrays()
        self.state.seconds = time.monotonic() - self._began
        arrays, state = self.contents()
        best = {f"best_{name}": array for name, array in self.best.items()}
        path = self.session.folder.save(
            {**self.model.arrays(), **best, **arrays}, {**state, "run": asdict(self.state)}
        )
        log.info("checkpoint: %s", path)
        self._saved_at, self._saved_examples = time.monotonic(), self.state.examples
        self._tell("checkpoint")

    def _tell(self, kind: str) -> None:
        """Tell the callbacks; what they can use is published before."""
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
