"""llvm.py: what each instruction of the emitter computes, against the plain function beside it."""

import numpy as np
import pytest
from numba import types

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core import llvm
from numba_ss.kernels.core.llvm import LANES, intrinsic
from numba_ss.kernels.core.rows import pointer


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        ({"avx512f": True, "avx2": True}, (16, 8, 3)),
        ({"avx2": True}, (8, 4, 3)),
        ({"neon": True}, (4, 8, 3)),
        ({}, (4, 4, 3)),
    ],
)
def test_register_tile_follows_the_host(features, shape, monkeypatch):
    monkeypatch.setattr(llvm.binding, "get_host_cpu_features", lambda: features)
    assert llvm._register_tile() == shape


def test_register_tile_of_an_unknown_host(monkeypatch):
    def unknown():
        raise RuntimeError

    monkeypatch.setattr(llvm.binding, "get_host_cpu_features", unknown)
    assert llvm._register_tile() == (4, 4, 3)


def _python_vectors(x, factor, out):
    x = x[:LANES]
    out[:LANES] = np.where(np.arange(LANES) >= 2, x * factor - x, x + x)
    out[LANES : 2 * LANES] = x[::-1]
    out[2 * LANES] = x.sum()


@intrinsic(_python_vectors)
def _vectors(emit, x, factor, out):
    vector, lanes = emit.load(x), emit.constants(range(LANES))
    scaled = emit.multiply_add(vector, emit.splat(factor), emit.zeros(x) - vector)
    is_high = lanes >= emit.constants([2] * LANES)
    emit.store(emit.select(is_high, scaled, vector + vector), out)
    emit.store(emit.shuffle(vector, vector, range(LANES)[::-1]), out + LANES)
    out[2 * LANES] = emit.sum_lanes(vector)


@exact_kernel
def vectors(x, factor, out):
    _vectors(pointer(x, 1), factor, pointer(out, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors(dtype, rng):
    """From any address, in both types; what is beside them stays."""
    x = rng.integers(-9, 9, LANES + 3).astype(dtype)
    got, want = np.full((2, 2 * LANES + 5), 7, dtype)
    vectors(x, dtype(3), got)
    _python_vectors(x[1:], dtype(3), want[2:])
    np.testing.assert_array_equal(got, want)


def _python_sums(table, count, width, is_new, out):
    for i in range(width if 1 <= width <= 3 else 0):
        start = 100 if is_new else int(out[i])
        out[i] = start + sum((k - 1) * (-1 - int(table[k])) for k in range(count))


@intrinsic(_python_sums)
def _sums(emit, table, count, width, is_new, out):
    def write(width):
        def add(k, sums):
            return [total + (k - 1) * (-1 - table[k]) for total in sums]

        olds = [out[i] for i in range(width)]
        start = emit.either(is_new, lambda: [old * 0 + 100 for old in olds], lambda: olds)
        sums = emit.either(
            count > 0, lambda: emit.loop(count, start, add, is_rolled=True), lambda: start
        )
        for i, total in enumerate(sums):
            out[i] = total

    emit.switch(width, 3, write)


@exact_kernel
def sums(table, count, width, is_new, out):
    _sums(pointer(table, 0), count, width, is_new, pointer(out, 0))


@pytest.mark.parametrize("is_new", [False, True])
def test_loops_and_branches(is_new):
    """A loop that may not run at all, a branch, and cases of which none may be meant."""
    table = np.array([3, -5, 8, 1, 4])
    for count in (0, 1, 5):
        for width in range(5):
            got, want = np.arange(4), np.arange(4)
            sums(table, count, width, is_new, got)
            _python_sums(table, count, width, is_new, want)
            np.testing.assert_array_equal(got, want)


def _python_compare(x, y):
    return (x < y) + 10 * (x > y) + 100 * (x == y) + 1000 * (x >= y) + 10_000 * int(x / y)


@intrinsic(_python_compare, result=lambda x, y: types.int64)
def _compare(emit, x, y):
    one, none = x * 0 + 1, x * 0
    flags = [emit.select(flag, one, none) for flag in (x < y, x > y, x == y, x >= y)]
    total = x // y
    for flag in reversed(flags):
        total = total * 10 + flag
    return total


@exact_kernel
def compare(x, y):
    return _compare(x, y)


def test_integers():
    """The quotient is rounded to 0."""
    for x, y in ((7, 2), (2, 7), (-7, 2), (3, 3)):
        assert compare(x, y) == _python_compare(x, y)
