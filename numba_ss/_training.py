"""What all training runs share: events for callbacks, interrupts, divergence."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from numba_ss import _checks
from numba_ss.kernels._jit import compiled_before

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


def announce(kernel: Any) -> None:
    """Tell who waits for the first step why it takes so long."""
    if not compiled_before(kernel):
        log.info("compiling for this machine, once: about a minute")


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of raising; yield a function that tells of it.

    A second one raises at once. Only the main thread can catch signals, and a process that
    ignores Ctrl-C, such as one in the background of a script, goes on to do so.
    """
    asked = False
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        log.warning("interrupted: finishing the step; once more to stop at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def check_callbacks(callbacks: Any) -> Sequence[Callable[[TrainingEvent], object]]:
    """Return callbacks as a list of callables."""
    if not callable(callbacks) and not isinstance(callbacks, Iterable):
        _checks.fail("callbacks", "a function of one event, or a list of them", repr(callbacks))
    listed = [callbacks] if callable(callbacks) else list(callbacks)
    for i, callback in enumerate(listed):
        if not callable(callback):
            _checks.fail(f"callbacks[{i}]", "a function of one event", repr(callback))
    return listed
