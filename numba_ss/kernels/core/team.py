"""A task queue with phases: the chunks of one parallel loop go through several phases together.

A parallel loop for each phase would cost some two microseconds, and the Python code in between
as much again. So one array, the `board`, holds the tasks of all phases, and each chunk takes
tasks from it: first its own, whose rows are still in its core's cache from the phase before,
then those that other chunks have not begun. A chunk that finds no task waits until the phase
is complete.

The result must not depend on how many threads the loop gets, or how late they start. If one
thread runs all chunks, it does all tasks in the first chunk. If another process occupies the
core of a working thread, the waiting chunks give up after a limit and leave the loop. Only
chunks without a task leave, so at least one stays and does the rest.
"""

import os
import platform

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.core.tile import CACHE_LINE

# Two chunks should not write to one cache line. Of every 16 numbers only the first 8 are used,
# so chunks share no line, wherever the board begins.
_LINE = 2 * CACHE_LINE // 8  # int64 numbers
_LOOKS = 4096  # before a thread offers its core to others: a tenth of a millisecond
_PAUSE = "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None

# Functions that emit code run inside Numba's compiler, where coverage is not measured.


def _emit_atomic(operation):  # pragma: no cover
    def emit(context, place, value):
        def codegen(context, builder, signature, arguments):
            return builder.atomic_rmw(operation, *arguments, "acq_rel")

        return types.int64(types.CPointer(types.int64), types.int64), codegen

    return intrinsic(emit)


@intrinsic
def _compiled_read(context, place):  # pragma: no cover
    def codegen(context, builder, signature, arguments):
        if _PAUSE is not None:  # lets the other hardware thread of the core run faster
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _PAUSE), [])
        return builder.load_atomic(arguments[0], "acquire", 8)

    return types.int64(types.CPointer(types.int64)), codegen


@intrinsic
def _compiled_yield(context):  # pragma: no cover
    def codegen(context, builder, signature, arguments):
        if os.name == "posix":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


def _python_exchange(place, value):
    before, place[0] = int(place[0]), value
    return before


def _python_add(place, value):
    place[0] += value
    return int(place[0]) - value


def _python_read(place):
    return int(place[0])


def _python_yield():
    pass


# _exchange(place, value) and _add(place, value) are atomic and return the value from before.
# _read(place) returns what other threads have written. _yield() lets another thread have the core.
if config.DISABLE_JIT:
    _exchange, _add, _read = _python_exchange, _python_add, _python_read
    _yield = _python_yield
else:
    _exchange, _add, _read = _emit_atomic("xchg"), _emit_atomic("add"), _compiled_read
    _yield = _compiled_yield


def board_shape(num_phases: int, num_chunks: int) -> tuple[int, int]:
    """Return the shape of a board; before a call all its numbers are 0.

    Each phase has a cache line for the number of finished tasks, and one for the tasks of each
    chunk, at most 8.
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
    """Mark the task in hand as done, and take another, see `take_task`."""
    if _add(pointer(board, phase * board.shape[1]), 1) + 1 == count:
        return -1  # this was the last task of the phase
    return take_task(board, phase, count, chunk, num_chunks)


@exact_kernel
def wait_for(board, phase, count, patience):
    """Wait until all tasks of a phase are done; return whether they are.

    `patience` is how often to look before giving up. With more threads than cores, whom a thread
    waits for may be waiting for its core.
    """
    place = pointer(board, phase * board.shape[1])
    for look in range(patience):
        if _read(place) == count:
            return True
        if look >= _LOOKS:
            _yield()
    return False
