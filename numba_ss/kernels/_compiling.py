"""Compilations of kernels: those who wait are told, and the time can be left out of a speed.

Signals wait, too: while LLVM compiles or loads a kernel it calls Python functions, and an exception
in one of these, such as a KeyboardInterrupt, is lost, and may even end the process.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from numba.core import event

from numba_ss.kernels._cache import KernelCache

log = logging.getLogger("numba_ss")

_KIND = "numba:compile"
_PAUSE = 5.0  # seconds without a compilation, after which the log tells of the next one


class Compilations(event.Listener):
    """The compilations of this library's kernels between `start` and `stop`.

    `begins` is called when one begins; `seconds` is how long those that have ended took. A kernel
    that is compiled inside another one is part of it.
    """

    def __init__(self, begins: Callable[[], object]) -> None:
        self.seconds = 0.0
        self.ended = -_PAUSE  # when the last one ended
        self._begins, self._depth = begins, 0

    def start(self) -> None:
        """Listen from now on."""
        event.register(_KIND, self)

    def stop(self) -> None:
        """Listen no longer."""
        event.unregister(_KIND, self)

    # Numba sends these while it holds its lock, so one thread at a time is here.

    def on_start(self, event):
        """Count from here, unless this is a kernel inside another one."""
        if not _is_ours(event):
            return
        if self._depth == 0:
            self._began = monotonic()
            self._begins()
        self._depth += 1

    def on_end(self, event):
        """Add the seconds up when the outermost kernel is finished."""
        if not _is_ours(event) or self._depth == 0:  # it began before `start`
            return
        self._depth -= 1
        if self._depth == 0:
            self.ended = monotonic()
            self.seconds += self.ended - self._began


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back all signals that Python functions handle, until the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # where they do not arrive
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _is_ours(event):
    return isinstance(getattr(event.data["dispatcher"], "_cache", None), KernelCache)


def _tell():
    if monotonic() - in_log.ended >= _PAUSE:
        log.info("compiling for this machine, once: this takes up to a minute")


in_log = Compilations(_tell)
