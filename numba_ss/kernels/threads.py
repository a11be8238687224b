"""How many threads the parallel kernels use."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
from numba import config

__all__ = ["get_num_threads", "max_num_threads", "use_threads"]

get_num_threads = numba.get_num_threads


def max_num_threads() -> int:
    """Return the most threads that this process can use."""
    return int(config.NUMBA_NUM_THREADS)


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
