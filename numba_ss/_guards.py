"""One object in the hands of several threads: who changes it does so alone.

Kernels run without the interpreter's lock, and an object keeps its buffers from call to call.
So methods that change an object are `alone`, those that read what they change are `reading`:
the second thread waits, and every result is that of some order of the calls. Where a change
takes long and is made all at once at its end, those that read are `of_a_moment` and need not
wait. What has no buffers and changes nothing needs no guard.

Guards are kept beside their objects, not in them: a copy, or what a pickle holds, begins with
a guard of its own, and so does a forked child, in which the thread that holds one is no more.
"""

from __future__ import annotations

import copy
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from numba_ss import _checks

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """Lets in one thread that changes an object, or any number of threads that read it.

    Who changes it holds the `door`, and may enter again, for both. Who reads may not.
    """

    def __init__(self, item: object) -> None:
        key = id(item)
        self._name, self.is_torn = type(item).__name__, False
        self._owner = weakref.ref(item, lambda _: _guards.pop(key, None))
        self._start()

    def _start(self) -> None:
        self.door, self._left = threading.RLock(), threading.Condition()
        self.readers = 0

    def settle(self) -> None:
        """Wait, while the door is held, until nobody reads; require an object that is whole."""
        self._require_whole()
        with self._left:
            self._left.wait_for(lambda: not self.readers)

    def _require_whole(self) -> None:
        if self.is_torn:
            _checks.fail(
                self._name,
                "one that no thread was changing when this process was forked (make it anew, "
                "or load it from a file)",
                "one in the middle of a change",
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the object inside the block."""
        with self.door, self._left:
            self._require_whole()
            self.readers += 1
        try:
            yield
        finally:
            with self._left:
                self.readers -= 1
                self._left.notify_all()

    def begin_anew(self) -> None:
        """Forget, in a forked child, the threads of its parent."""
        if self.door.acquire(blocking=False):  # free, or of the thread that lives on
            self.door.release()
        else:
            self.is_torn = True
        self._start()


_guards: dict[int, Guard] = {}  # by the object's id, for as long as it lives


def guard_of(item: object) -> Guard:
    """Return the guard of an object, the same one each time.

    If the object names another as `_guarded_as`, one without which it does nothing, it is the
    guard of that one.
    """
    item = getattr(item, "_guarded_as", item)
    guard = _guards.get(id(item))
    # Of two threads that are the first to ask, both get the guard that was there first.
    return guard or _guards.setdefault(id(item), Guard(item))


def alone(method: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time into a method, and none into those that read."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        guard = guard_of(args[0])
        with guard.door:
            # Nobody begins to read while the door is held, so the number can only fall.
            if guard.readers or guard.is_torn:
                guard.settle()
            return method(*args, **kwargs)

    return guarded


def reading(method: Callable[P, R]) -> Callable[P, R]:
    """Let any number of threads into a method, but none while the object changes."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with guard_of(args[0]).reading():
            return method(*args, **kwargs)

    return guarded


def of_a_moment(method: Callable[P, R]) -> Callable[P, R]:
    """Ask an object as it stands when the method is called, whatever becomes of it meanwhile."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        whole: Any = method
        result: R = whole(copy.copy(args[0]), *args[1:], **kwargs)
        return result

    return guarded


def _begin_anew() -> None:
    for guard in list(_guards.values()):
        guard.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
