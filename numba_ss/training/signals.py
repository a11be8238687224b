"""Signals that ask a process to end: Ctrl-C, and what Kubernetes, Slurm and shells send."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn, Self

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
