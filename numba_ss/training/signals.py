"""Signals that ask a process to end: Ctrl-C, and what Kubernetes, Slurm and shells send."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

log = logging.getLogger("numba_ss")

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
]


class Interrupted(KeyboardInterrupt, SystemExit):
    """Another signal than that of Ctrl-C asked the process to end.

    It is a KeyboardInterrupt, so that whoever is ready for that is ready for this; if nobody
    catches it, the process ends without a traceback, and with the status that shells give to
    a process that such a signal ended: 128 and its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number
        self.code = 128 + number


def raise_for(number: int) -> NoReturn:
    """Raise what stands for a signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(number)


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the status that a process ends with which a signal ended."""
    return 128 + getattr(error, "number", signal.SIGINT)


class RaisesOnce:
    """A handler for the signals of a command: the first one raises, and others are too late.

    As a context it is in force for all signals that are not ignored, as nohup ignores one, or
    handled by somebody else. Behind it, what was in force before comes back with `restore`;
    without, where the process is to end, nothing can interrupt that.
    """

    def __init__(self, restore: bool) -> None:
        self.raised = False
        self._restore = restore
        self._before: dict[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise for the first signal; do nothing for those after it."""
        if not self.raised:
            self.raised = True
            raise_for(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if self._restore else signal.SIG_IGN)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C or the like instead of raising; yield a function that reports it.

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
