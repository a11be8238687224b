"""How many threads the parallel kernels use."""

import os

import numba
from numba import config

__all__ = [
    "get_num_threads",
    "max_num_threads",
    "threads_for",
    "threads_for_update",
    "use_threads",
]

# Threads that wait for each other spin for a fraction of a millisecond, then sleep. By default
# OpenMP's spin much longer: where another process wants the core, each call then takes
# milliseconds. OpenMP reads this when the first parallel kernel starts.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

# Multiplications and additions below which a second thread costs more than it gives.
_SMALL = 2**20
_MOVED = 8  # multiplications that take as long as updating a number

get_num_threads = numba.get_num_threads


def max_num_threads() -> int:
    """Return the most threads that this process can use."""
    return int(config.NUMBA_NUM_THREADS)


def threads_for(operations: int) -> int:
    """Return how many threads are worth using for so many multiplications."""
    return 1 if operations < _SMALL else numba.get_num_threads()


def threads_for_update(numbers: int) -> int:
    """Return how many threads share the rows of an update of so many numbers."""
    return threads_for(_MOVED * numbers)


class use_threads:
    """Use so many threads inside the block; put the caller's setting back after it."""

    __slots__ = ("_num_threads", "_saved")

    def __init__(self, num_threads: int | None) -> None:
        self._num_threads = num_threads

    def __enter__(self) -> None:
        if self._num_threads is not None:
            self._saved = numba.get_num_threads()
            numba.set_num_threads(self._num_threads)

    def __exit__(self, *error: object) -> None:
        if self._num_threads is not None:
            numba.set_num_threads(self._saved)
