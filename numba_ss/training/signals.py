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
    """A signal other than that of Ctrl-C asked the process to end.

    It is a KeyboardInterrupt, so code that handles Ctrl-C handles it, too. If nobody catches it,
    the process ends without a traceback. Its exit status is 128 plus the number of the signal, as
    shells report a process that was ended by a signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number
        self.code = 128 + number


def raise_for(number: int) -> NoReturn:
    """Raise the exception for a signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(number)


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the exit status of a process that a signal ended."""
    return 128 + getattr(error, "number", signal.SIGINT)


class RaisesOnce:
    """A handler for the signals of a command: the first signal raises, later ones do nothing.

    As a context manager, it handles all signals that are neither ignored (nohup ignores one) nor
    handled by somebody else. With `restore`, the earlier handlers are set again at its end.
    Without, the process is about to end, and no signal can interrupt that.
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
    """Remember the first signal to end instead of raising; yield a function that reports it.

    A second signal raises at once. If a KeyboardInterrupt leaves the context, it is replaced by the
    exception of the remembered signal. Only the main thread can catch signals. Signals that the
    process ignores, such as Ctrl-C in the background of a script, stay ignored. Handlers that the
    process has set for other signals than Ctrl-C stay in force.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            # A command raises only for one signal, so that nothing interrupts its cleaning up.
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
