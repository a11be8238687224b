"""Readers-writer locks for objects that several threads share.

Kernels run without the interpreter's lock, and an object keeps its buffers between calls. So
methods are decorated:

- `alone`, if they change the object. One thread at a time runs such a method.
- `reading`, if they read what such methods change. Any number of threads may read at a time,
  but not while another thread changes the object.
- `of_a_moment`, if the change takes long and is published in one step at its end. Such a method
  reads a snapshot of the object and never waits.

So every result is one that some order of the calls gives. Methods that use no buffers and change
nothing need no guard.

Guards are kept beside their objects, not inside. So a copy and an unpickled object start with a
new guard. So does a forked child, in which the thread that held the guard may not exist.
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
    """A lock that admits one thread that changes an object, or any number that read it.

    A thread that changes the object holds the `door` and may enter again, to change or to read.
    A thread that reads may not enter again.
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
        """Wait until nobody reads, and require an intact object; the caller holds the door."""
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
        """Admit the thread as a reader for the duration of a block."""
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
        """Reset the guard in a forked child, which has none of its parent's other threads."""
        if self.door.acquire(blocking=False):  # it is free, or held by the thread that forked
            self.door.release()
        else:
            self.is_torn = True
        self._start()


_guards: dict[int, Guard] = {}  # by the id of the object, while the object lives


def guard_of(item: object) -> Guard:
    """Return the guard of an object, always the same one.

    An object that only works through another one, such as a layer through its sampler, names it
    in `_guarded_as` and shares its guard. That one may do the same.
    """
    while (behind := getattr(item, "_guarded_as", None)) is not None:
        item = behind
    guard = _guards.get(id(item))
    # If two threads ask for the first time at once, both get the guard that was entered first.
    return guard or _guards.setdefault(id(item), Guard(item))


def alone(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method that changes its object: it runs alone."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        guard = guard_of(args[0])
        with guard.door:
            # Nobody can begin to read while the door is held, so this number can only fall.
            if guard.readers or guard.is_torn:
                guard.settle()
            return method(*args, **kwargs)

    return guarded


def reading(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method that reads its object: it waits while another thread changes it."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with guard_of(args[0]).reading():
            return method(*args, **kwargs)

    return guarded


def of_a_moment(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method that reads a snapshot of its object, taken when it is called."""

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
