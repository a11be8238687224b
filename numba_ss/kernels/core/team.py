"""A task queue with phases: the chunks of one parallel loop go through several phases together.

A parallel loop for each phase would cost some two microseconds, and the Python code in between
as much again. So one array, the `board`, holds the tasks of all phases, and each chunk takes
tasks from it. It begins with its own tasks, whose rows are still in its core's cache from the
phase before, and goes on with those that other chunks have not begun. A chunk that finds no task
waits until the phase is complete.

The result must not depend on how many threads the loop gets, or how late they start. If one
thread runs all chunks, it does all tasks in the first chunk. If another process occupies the
core of a working thread, the waiting chunks give up after a limit and leave the loop. Only
chunks without a task leave, so at least one stays and does the rest.
"""

import os
import platform

from numba import types

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.llvm import CACHE_LINE, intrinsic
from numba_ss.kernels.core.rows import pointer

# Two chunks should not write to one cache line. Only the first 8 of every 16 numbers are used, so
# chunks share no line, wherever the board begins in memory.
_LINE = 2 * CACHE_LINE // 8  # int64 numbers
_LOOKS = 4096  # a waiting thread then offers its core to others: a tenth of a millisecond
_PAUSE = "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None



def _python_exchange(place, value):
    before, place[0] = int(place[0]), value
    return before


@intrinsic(_python_exchange, result=lambda place, value: types.int64)
def _exchange(emit, place, value):
    """Write a number, atomically; return the number that it replaces."""
    return emit.change_atomically("xchg", place, value)


def _python_add(place, value):
    place[0] += value
    return int(place[0]) - value


@intrinsic(_python_add, result=lambda place, value: types.int64)
def _add(emit, place, value):
    """Add to a number, atomically; return what the number was before."""
    return emit.change_atomically("add", place, value)


def _python_read(place):
    return int(place[0])


@intrinsic(_python_read, result=lambda place: types.int64)
def _read(emit, place):
    """Return a number that other threads may write at the same time."""
    if _PAUSE is not None:  # lets the other hardware thread of the core run faster
        emit.call(_PAUSE)
    return emit.read_atomically(place)


def _python_yield():
    pass


@intrinsic(_python_yield)
def _yield(emit):
    """Let another thread have the core."""
    if os.name == "posix":
        emit.call("sched_yield")


def board_shape(num_phases: int, num_chunks: int) -> tuple[int, int]:
    """Return the shape of a board, whose numbers are all 0 before a call.

    Each phase has a cache line for the number of finished tasks, and a cache line for the tasks of
    each chunk, which are at most 8.
    """
    return num_phases, _LINE * (num_chunks + 1)


@exact_kernel
def take_task(board, phase, count, chunk, num_chunks):
    """Take one of the `count` tasks of a phase; return -1 if all are taken.

    Each chunk owns an equal share of the tasks and begins with its own.
    """
    for k in range(num_chunks):
        owner = (chunk + k) % num_chunks
        first, stop = owner * count // num_chunks, (owner + 1) * count // num_chunks
        line = phase * board.shape[1] + _LINE * (owner + 1)
        for task in range(first, stop):
            if _exchange(pointer(board, line + task - first), 1) == 0:
                return task
    return -1


@exact_kernel
def next_task(board, phase, count, chunk, num_chunks):
    """Mark the current task as done, and take another (see `take_task`)."""
    if _add(pointer(board, phase * board.shape[1]), 1) + 1 == count:
        return -1  # this was the last task of the phase
    return take_task(board, phase, count, chunk, num_chunks)


@exact_kernel
def wait_for(board, phase, count, patience):
    """Wait until all tasks of a phase are done; return whether they are.

    `patience` is the number of looks before giving up. If there are more threads than cores, the
    thread that works may be waiting for the core of the thread that waits.
    """
    place = pointer(board, phase * board.shape[1])
    for look in range(patience):
        if _read(place) == count:
            return True
        if look >= _LOOKS:
            _yield()
    return False
