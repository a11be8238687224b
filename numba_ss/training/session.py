"""What all training runs share: sessions, events for callbacks, interrupts, divergence."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.io.checkpoint import CheckpointFolder
from numba_ss.io.progress import check_show
from numba_ss.kernels._cache import compiled_before
from numba_ss.training.signals import SIGNALS, Interrupted, RaisesOnce, raise_for

log = logging.getLogger("numba_ss")


class TrainingEvent(NamedTuple):
    """What callbacks are told.

    Attributes
    ----------
    kind : {"begin", "step", "epoch", "checkpoint", "end"}
        What happened. Steps come every few batches.
    epoch : int
        Epochs that are finished.
    examples : int
        Words, or events of a log, learned from so far, in all epochs.
    loss : float
        Mean loss of the present epoch so far, of a finished one as a whole; NaN before the
        first step.
    learning_rate : float
        Step size.
    model : Word2Vec or YouTubeDNN
        The estimator. At the events "epoch" and "end" it can be used and saved; in between
        its tables are on their way.
    """

    kind: str
    epoch: int
    examples: int
    loss: float
    learning_rate: float
    model: Any


class TrainingDivergedError(FloatingPointError):
    """The loss became NaN, infinite or absurd; no checkpoint was written of that."""


class FitSession:
    """One call of `fit`: the estimator, its checked parameters, and who is told."""

    def __init__(
        self, estimator: Any, options: dict[str, Any], callbacks: Any, show: bool | str,
        checkpoint: Any, minutes: float,
    ) -> None:
        self.estimator, self.options, self.show = estimator, options, show
        check_show("progress", show)
        self.callbacks = check_callbacks(callbacks)
        self.minutes = _checks.number("checkpoint_minutes", minutes, positive=True)
        if not isinstance(checkpoint, (str, os.PathLike, type(None))):
            _checks.fail("checkpoint", "the path of a folder", repr(checkpoint))
        self.folder = None if checkpoint is None else CheckpointFolder(checkpoint)
        if self.folder is not None:
            self.folder.claim()

    def kept_options(self) -> dict[str, Any]:
        """Return the parameters that change what a run gives, not only how it is done."""
        return {name: value for name, value in self.options.items() if name != "num_threads"}

    def newest(self, resume: bool) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Path] | None:
        """Return the arrays, state and path of the checkpoint to go on from, if there is one."""
        resume = _checks.flag("resume", resume)
        if self.folder is None:
            if resume:
                _checks.fail("resume", "a folder as checkpoint=", "none")
            return None
        found = self.folder.load()
        if found is not None and not resume:
            _checks.fail(
                "checkpoint", "a folder without checkpoints, or resume=True", str(self.folder.path)
            )
        return found

    def require_same_options(self, before: dict[str, Any], path: Path) -> None:
        """Refuse to go on from a checkpoint of other parameters."""
        for name, value in self.kept_options().items():
            if before.get(name) != value:
                _checks.fail(name, f"{before.get(name)!r}, as in {path}", repr(value))


def announce(kernel: Any) -> None:
    """Tell who waits for the first step why it takes so long."""
    if not compiled_before(kernel):
        log.info("compiling for this machine, once: about a minute")


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C or the like instead of raising; yield a function that tells of it.

    A second one raises at once. A KeyboardInterrupt that leaves the context is one of the
    signal that was noted. Only the main thread can catch signals. A process that ignores
    one, such as Ctrl-C in the background of a script, goes on to do so, and one that handles
    others than Ctrl-C itself, too.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            # Of a command's signals only one is raised: cleaning up is not to be interrupted.
            if isinstance(before[number], RaisesOnce):
                before[number](number, frame)
            else:
                raise_for(number)
        asked.append(number)
        log.warning("interrupted: finishing the step; once more to stop at once")

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            ours = handler == signal.SIG_DFL or isinstance(handler, RaisesOnce)
            if ours or (number == signal.SIGINT and handler not in (signal.SIG_IGN, None)):
                before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    except KeyboardInterrupt as error:
        if type(error) is KeyboardInterrupt and asked and asked[0] != signal.SIGINT:
            raise Interrupted(asked[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_callbacks(callbacks: Any) -> Sequence[Callable[[TrainingEvent], object]]:
    """Return callbacks as a list of callables."""
    if not callable(callbacks) and not isinstance(callbacks, Iterable):
        _checks.fail("callbacks", "a function of one event, or a list of them", repr(callbacks))
    listed = [callbacks] if callable(callbacks) else list(callbacks)
    for i, callback in enumerate(listed):
        if not callable(callback):
            _checks.fail(f"callbacks[{i}]", "a function of one event", repr(callback))
    return listed
