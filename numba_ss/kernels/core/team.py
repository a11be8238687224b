"""Chunks of one parallel loop that go through the phases of a work together.

A loop for each phase would cost some two microseconds, and what Python does in between as
much again. So the tasks of all phases are on a `board`, and each chunk takes some of them:
first its own, whose rows its core has seen in the phase before, then what is left. Who finds
none left waits for the phase to be complete.

It must not matter how many threads the loop really gets and how late they come: one thread
that has all the chunks does all the tasks in the first. And who waits for very long, as
another process has the core of who works, leaves: only chunks with no task in hand do, so one
stays that does what remains.
"""

import platform

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rows import pointer

# Two chunks should not write to one cache line: wherever the board begins, the first 8 of 16
# numbers share none with the next that are used.
_LINE = 16
_PAUSE = "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None

# The functions that emit code run while Numba compiles, where coverage is not measured.


def _emit_atomic(operation):  # pragma: no cover
    def emit(context, place, value):
        def codegen(context, builder, signature, arguments):
            return builder.atomic_rmw(operation, *arguments, "acq_rel")

        return types.int64(types.CPointer(types.int64), types.int64), codegen

    return intrinsic(emit)


@intrinsic
def _compiled_read(context, place):  # pragma: no cover
    def codegen(context, builder, signature, arguments):
        if _PAUSE is not None:  # leaves the core's other thread more of it
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _PAUSE), [])
        return builder.load_atomic(arguments[0], "acquire", 8)

    return types.int64(types.CPointer(types.int64)), codegen


def _python_exchange(place, value):
    before, place[0] = int(place[0]), value
    return before


def _python_add(place, value):
    place[0] += value
    return int(place[0]) - value


def _python_read(place):
    return int(place[0])


# _exchange(place, value), _add(place, value): write, as no other thread can in between, and
# return what was there; _read(place): what other threads have written.
if config.DISABLE_JIT:
    _exchange, _add, _read = _python_exchange, _python_add, _python_read
else:
    _exchange, _add, _read = _emit_atomic("xchg"), _emit_atomic("add"), _compiled_read


def board_shape(num_phases: int, num_chunks: int) -> tuple[int, int]:
    """Return the shape of a board; it begins as zeros.

    A phase has a line for what is done, and one for each chunk's own tasks, at most 8.
    """
    return num_phases, _LINE * (num_chunks + 1)


@exact_kernel
def take_task(board, phase, count, chunk, num_chunks):
    """Return a task of a phase, one of `count`, that nobody has taken; -1 if there is none.

    The tasks are evenly shared out, and each chunk begins with its own.
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
    """Say that the task in hand is done, and take another, see `take_task`."""
    if _add(pointer(board, phase * board.shape[1]), 1) + 1 == count:
        return -1  # it was the last
    return take_task(board, phase, count, chunk, num_chunks)


@exact_kernel
def wait_for(board, phase, count, patience):
    """Wait until all tasks of a phase are done; return whether they are.

    They are not if somebody works on one for very long: `patience` is how often to look.
    """
    place = pointer(board, phase * board.shape[1])
    for _ in range(patience):
        if _read(place) == count:
            return True
    return False
