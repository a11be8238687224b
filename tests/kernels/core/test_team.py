"""team.py: every task once, each phase after the other, whoever comes when."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.team import board_shape, next_task, take_task, wait_for
from tests.conftest import needs_jit

PATIENCE = 2**24


def board_of(num_phases, num_chunks):
    return np.zeros(board_shape(num_phases, num_chunks), np.int64)


@pytest.mark.parametrize("num_chunks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_take_task(num_chunks, count, rng):
    """Whatever was taken before, and by whom."""
    board, taken = board_of(2, num_chunks), [False] * count
    for chunk in rng.integers(0, num_chunks, count + 2).tolist():
        task = take_task(board, 1, count, chunk, num_chunks)
        assert task == reference.take_task(taken, chunk, num_chunks)
        if task >= 0:
            taken[task] = True
    assert all(taken)
    assert not board[0].any()


def test_each_chunk_begins_with_its_own():
    board = board_of(1, 3)
    assert [take_task(board, 0, 6, chunk, 3) for chunk in (2, 0, 1)] == [4, 0, 2]


def test_next_task_and_wait_for():
    board, taken, done = board_of(1, 1), [True, False, False], 0
    assert take_task(board, 0, 3, 0, 1) == 0
    while True:
        assert wait_for(board, 0, 3, 10) == reference.wait_for(done, 3)
        task = next_task(board, 0, 3, 0, 1)
        done, want = reference.next_task(done, taken, 0, 1)
        assert task == want
        if task < 0:
            break
        taken[task] = True
    assert done == 3
    assert wait_for(board, 0, 3, 10)


@exact_kernel
def work(chunk, num_chunks, num_phases, count, patience, board, values):
    """Write in each phase what only those who saw the phase before can; return the phases seen."""
    for phase in range(num_phases):
        task = take_task(board, phase, count, chunk, num_chunks)
        while task >= 0:
            before = 0
            for other in range(count):
                before += values[phase, other]
            values[phase + 1, task] += before + 1
            task = next_task(board, phase, count, chunk, num_chunks)
        if not wait_for(board, phase, count, patience):
            return phase
    return num_phases


def expected(num_phases, count):
    values = np.zeros((num_phases + 1, count), np.int64)
    for phase in range(num_phases):
        values[phase + 1] = values[phase].sum() + 1
    return values


@pytest.mark.parametrize("num_chunks", [1, 2, 3])
def test_one_thread_that_has_all_chunks(num_chunks):
    board, values = board_of(4, num_chunks), np.zeros((5, 5), np.int64)
    seen = [work(c, num_chunks, 4, 5, 10, board, values) for c in range(num_chunks)]
    assert seen == [4] * num_chunks
    np.testing.assert_array_equal(values, expected(4, 5))


@needs_jit
@pytest.mark.parametrize("num_threads", [2, 4])
@pytest.mark.parametrize("patience", [1, PATIENCE])
def test_threads(num_threads, patience):
    """At the same time: a phase never begins before all tasks of the one before are done.

    Who is out of patience leaves, but not all do.
    """
    num_phases, count = 12, 5
    work(0, 1, 1, 1, 1, board_of(1, 1), np.zeros((2, 1), np.int64))  # compiled
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(300):
            board = board_of(num_phases, num_threads)
            values = np.zeros((num_phases + 1, count), np.int64)
            start = threading.Barrier(num_threads)

            def run(chunk, board=board, values=values, start=start):
                start.wait()
                return work(chunk, num_threads, num_phases, count, patience, board, values)

            seen = list(pool.map(run, range(num_threads)))
            np.testing.assert_array_equal(values, expected(num_phases, count))
            assert num_phases in seen
            if patience == PATIENCE:
                assert seen == [num_phases] * num_threads


def test_who_waits_in_vain_leaves():
    """The task in hand is done later, and then all is done."""
    board, values = board_of(2, 2), np.zeros((3, 2), np.int64)
    assert take_task(board, 0, 2, 0, 2) == 0
    assert work(1, 2, 2, 2, 100, board, values) == 0
    values[1, 0] += 1
    assert next_task(board, 0, 2, 0, 2) == -1
    assert work(0, 2, 2, 2, 100, board, values) == 2
    np.testing.assert_array_equal(values, expected(2, 2))
