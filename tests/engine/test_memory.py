"""memory.py: where tables start, and how long their rows are."""

import numpy as np
import pytest

from numba_ss.engine.memory import aligned_zeros, narrow, round_up, widen
from numba_ss.kernels.core.llvm import LANES


def test_aligned_zeros():
    for shape, dtype in [((3,), np.float32), ((5, 16), np.float64), ((2, 3, 7), np.int64)]:
        array = aligned_zeros(*shape, dtype=dtype)
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.ctypes.data % 64 == 0
        assert not array.any()
    assert aligned_zeros(2).dtype == np.float32


def test_round_up():
    assert [round_up(n) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]


def test_widen():
    wide = widen(np.ones((3, LANES + 1), np.float32), 5)
    assert wide.shape == (5, -(-(LANES + 1) // 16) * 16)
    assert wide.ctypes.data % 64 == 0
    assert wide.sum() == 3 * (LANES + 1)


@pytest.mark.parametrize("num_rows", [0, 1, 7, 4096, 10_000])
@pytest.mark.parametrize("dim", [1, 16, 21])
def test_narrow_gives_back_what_widen_got(rng, num_rows, dim):
    table = rng.standard_normal((num_rows, dim)).astype(np.float32)
    wide = widen(table, num_rows + 1)
    got = narrow(wide, num_rows, dim)
    np.testing.assert_array_equal(got, table)
    assert got.flags.c_contiguous
    assert num_rows == 0 or got.ctypes.data == wide.ctypes.data
