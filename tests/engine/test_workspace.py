"""workspace.py: buffers and their sizes."""

import numpy as np
import pytest

from numba_ss.engine import workspace as workspaces
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.softmax.sampled_classes import BLOCK


@pytest.mark.parametrize("dim", [1, 7, 16, 100, 128, 300])
def test_padded_rows_are_an_odd_number_of_lines(dim):
    stride = workspaces.padded(dim)
    assert stride >= dim
    assert stride % LANES == 0
    assert stride // 16 % 2 == 1


def test_buffers_are_kept_and_grow():
    workspace = workspaces.Workspace()
    first = workspace.batch(10, 1, 5, 1, 8, 2, np.float32)
    assert workspace.batch(10, 1, 5, 1, 8, 2, np.float32) is first
    smaller = workspace.batch(3, 1, 5, 1, 8, 2, np.float32)
    assert np.shares_memory(smaller.arrays.losses, first.arrays.losses)
    larger = workspace.batch(1000, 1, 5, 1, 8, 2, np.float32)
    assert larger.arrays.losses.shape == (1000,)
    assert workspace.batch(10, 1, 5, 1, 8, 2, np.float64).arrays.losses.dtype == np.float64


def test_buffers_follow_the_hits():
    workspace = workspaces.Workspace()
    assert workspace.batch(10, 3, 5, 0, 8, 2, np.float32).arrays.member_hits.shape == (0, 10)
    assert workspace.batch(10, 3, 5, 3, 8, 2, np.float32).arrays.member_hits.shape == (3, 10)


def test_arrays_start_at_a_cache_line():
    """A vector that lies in two lines takes twice as long to load."""
    workspace = workspaces.Workspace()
    arrays = [vars(workspace.batch(10, 1, 5, 1, 8, 2, dtype).arrays) for dtype in (np.float32, float)]
    lent = [workspace.lend("rows", (3, 4), dtype) for dtype in (np.float32, np.float64)]
    for array in [*arrays[0].values(), *arrays[1].values(), *lent]:
        assert array.ctypes.data % 64 == 0


def test_memory_of_exps_is_bounded():
    """A batch of 100,000 with 1,000 candidates is computed in parts."""
    workspace = workspaces.Workspace()
    out = workspace.batch(100_000, 1, 1_000, 1, 4, 2, np.float32)
    assert workspace.array("probabilities", (1,), np.float32).base.nbytes <= 4 * workspaces.EXPS
    assert 0 < out.part * BLOCK < 100_000


def test_what_is_lent_is_used_again_when_nobody_holds_it():
    workspace = Workspace()
    first = workspace.lend("rows", (3, 4), np.float32)
    first[:] = 1
    second = workspace.lend("rows", (3, 4), np.float32)
    assert not np.shares_memory(first, second)
    place = first.ctypes.data
    del first
    third = workspace.lend("rows", (2, 5), np.float32)  # a smaller one will do
    assert third.ctypes.data == place
    assert third.shape == (2, 5)
    assert third.flags.c_contiguous
    assert workspace.lend("others", (2,), np.float32).ctypes.data != place
    place = second.ctypes.data
    del second
    assert workspace.lend("rows", (3, 4), np.float32).ctypes.data == place


@pytest.mark.parametrize(("shape", "dtype"), [((4, 4), np.float32), ((1, 2), np.float64)])
def test_what_is_too_small_or_of_another_type_is_not_lent(shape, dtype):
    workspace = Workspace()
    workspace.lend("rows", (3, 4), np.float32)
    array = workspace.lend("rows", shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype


def test_arrays_that_are_held_are_forgotten():
    """So that a list of all gradients of a run is not kept twice."""
    workspace = Workspace()
    held = [workspace.lend("rows", (8,), np.float32) for _ in range(9)]
    assert len({array.ctypes.data for array in held}) == 9
    assert len(workspace._lent["rows"]) == 2
