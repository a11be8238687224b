"""calls.py: kernels that are called by their address."""

import sys
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.core.calls import address_of, call, uncounted


class Pair(NamedTuple):
    table: Any
    factor: Any


@kernel
def _scale_row(pair, row, add):
    for d in range(pair.table.shape[1]):
        pair.table[row, d] = pair.factor * pair.table[row, d] + add[row]


@kernel
def _scale_backwards(pair, row, add):
    for d in range(pair.table.shape[1]):
        pair.table[row, d] = pair.factor * pair.table[row, ::-1][d] + add[row]


@parallel_kernel
def _scale(num_chunks, address, pair, add):
    for row in prange(num_chunks):
        call(address, (pair, np.int64(row), add))


def test_call_runs_the_kernel_at_the_address(rng):
    """With named tuples, arrays and numbers, and on one thread and several."""
    add = rng.standard_normal(5)
    for kernel_ in (_scale_row, _scale_backwards):
        for num_chunks in (1, 5):
            pair = Pair(rng.standard_normal((5, 3)).astype(np.float32), 3)
            want = pair.table.copy()
            for row in range(num_chunks):
                kernel_(Pair(want, 3), row, add)
            _scale(num_chunks, address_of(kernel_, pair, 0, add), pair, add)
            np.testing.assert_array_equal(pair.table, want)


def test_address_of_stays_the_same(rng):
    pair = Pair(np.ones((2, 3), np.float32), 2)
    first, second = (address_of(_scale_row, pair, 1, np.ones(2)) for _ in range(2))
    assert first == second


@kernel
def _scale_uncounted(pair, add):
    pair, add = uncounted((pair, add))
    for row in range(add.shape[0]):
        _scale_row(pair, row, add)


def test_uncounted_arrays_are_the_same_arrays(rng):
    """In named tuples and alone; they live on, because their caller counts them."""
    add, table = rng.standard_normal(500), rng.standard_normal((500, 3))
    before, references = table.copy(), [sys.getrefcount(array) for array in (add, table)]
    _scale_uncounted(Pair(table, 3), add)
    np.testing.assert_allclose(table, 3 * before + add[:, None])
    assert [sys.getrefcount(array) for array in (add, table)] == references
