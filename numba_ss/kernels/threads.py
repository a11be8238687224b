"""How many threads the parallel kernels use."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
from numba import config

__all__ = ["get_num_threads", "max_num_threads", "threads_for", "use_threads"]

# Multiplications and additions below which a second thread costs more than it gives.
_SMALL = 2**19

get_num_threads = numba.get_num_threads


def max_num_threads() -> int:
    """Return the most threads that this process can use."""
    return int(config.NUMBA_NUM_THREADS)


def threads_for(operations: int) -> int:
    """Return how many threads are worth using for so many multiplications."""
    return 1 if operations < _SMALL else numba.get_num_threads()


@contextmanager
def use_threads(num_threads: int | None) -> Iterator[None]:
    """Use so many threads inside the block; put the caller's setting back after it."""
    if num_threads is None:
        yield
        return
    saved = numba.get_num_threads()
    numba.set_num_threads(num_threads)
    try:
        yield
    finally:
        numba.set_num_threads(saved)
