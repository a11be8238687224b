"""How many threads the parallel kernels use, and in which processes they may use threads."""

import contextlib
import functools
import logging
import math
import os
import threading
from pathlib import Path

import numba
from numba import config

__all__ = [
    "SMALL",
    "get_num_threads",
    "max_num_threads",
    "run",
    "threads_for",
    "threads_for_update",
    "use_threads",
]

# Let threads that wait for each other spin for a fraction of a millisecond, then sleep. By default
# OpenMP's threads spin much longer, and each call takes milliseconds if another process wants
# the core. OpenMP reads this variable when it is loaded: with the first parallel kernel, or by
# PyTorch.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

# With fewer multiplications and additions than this, a second thread costs more than it gives.
SMALL = 2**20
_MOVED = 8  # updating a number takes as long as that many multiplications

log = logging.getLogger("numba_ss")


def max_num_threads() -> int:
    """Return the most threads that this process can use."""
    return int(config.NUMBA_NUM_THREADS)


def _quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float:
    """Return how many processors the container may use on average, infinity if unlimited."""
    parts = [Path(root, "cpu")]  # cgroups of version 1, then those of version 2 of this process
    with contextlib.suppress(OSError):
        for line in Path(own).read_text().splitlines():
            path = Path(root, line.rpartition(":")[2].lstrip("/"))
            parts += [path, *path.parents] if line.startswith("0::") else []
    quota = math.inf
    for part in parts:
        for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
            # The file may be missing; "max" or -1 means that there is no limit.
            with contextlib.suppress(OSError, ValueError):
                time, period = map(int, " ".join((part / n).read_text() for n in names).split())
                quota = min(quota, time / period) if time > 0 else quota
    return quota


def _limit() -> int | None:
    """Return the default number of threads if it is lower than Numba's, otherwise None."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return None
    limit = _quota()
    with contextlib.suppress(ValueError):  # for a list such as "4,2" the first number counts
        limit = min(limit, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    return max(1, math.ceil(limit)) if limit < max_num_threads() else None


_LIMIT = _limit()


class _Asked(threading.local):
    """Whether this thread is inside a `use_threads` block that sets the number."""

    here = False


_asked = _Asked()


def get_num_threads() -> int:
    """Return how many threads may be used: the number that was set, or the default."""
    if _is_forked:
        _warn_once()
        return 1
    setting = int(numba.get_num_threads())
    if _LIMIT is None or _asked.here or setting < max_num_threads():
        return setting
    return _LIMIT


# Threads do not survive a fork, and OpenMP does not start new ones in the child.
_is_forked = False
# Numba's own threading layer, "workqueue", ends the process if two threads call it at once.
_turns = threading.Lock()


def _after_fork() -> None:
    global _is_forked, _turns
    _turns = threading.Lock()
    with contextlib.suppress(ValueError):  # raised if no thread was started before the fork
        numba.threading_layer()
        _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _warn_once() -> None:
    log.warning(
        "this process was forked from one that used threads, so it computes on one thread; "
        "processes that multiprocessing spawns use all"
    )


def run(serial, parallel, num_chunks, arguments):
    """Call the parallel form of a function if there is more than one chunk, else the serial."""
    if num_chunks == 1:
        return serial(*arguments)
    if _is_forked:
        _warn_once()
        return serial(*arguments)
    if _LIMIT is None and not _takes_turns():
        return parallel(*arguments)
    # Numba would wake all of its threads, also those above the limit.
    with use_threads(min(num_chunks, numba.get_num_threads())):
        with _turns if _takes_turns() else contextlib.nullcontext():
            return parallel(*arguments)


@functools.cache
def _takes_turns() -> bool:
    numba.get_num_threads()  # starts the threads
    return bool(numba.threading_layer() == "workqueue")


def threads_for(operations: int) -> int:
    """Return how many threads are worth using for a number of multiplications."""
    return 1 if operations < SMALL else get_num_threads()


def threads_for_update(numbers: int) -> int:
    """Return how many threads are worth using to update a number of numbers."""
    return threads_for(_MOVED * numbers)


class use_threads:
    """Use at most `num_threads` threads inside the block, then as many as before."""

    __slots__ = ("_num_threads", "_saved")

    def __init__(self, num_threads: int | None) -> None:
        self._num_threads = num_threads

    def __enter__(self) -> None:
        if self._num_threads is not None and not _is_forked:
            self._saved = numba.get_num_threads(), _asked.here
            numba.set_num_threads(min(self._num_threads, max_num_threads()))
            _asked.here = True

    def __exit__(self, *error: object) -> None:
        if self._num_threads is not None and not _is_forked:
            setting, _asked.here = self._saved
            numba.set_num_threads(setting)
