"""buffers.py: arrays by their names, the very memory that was described."""

import numpy as np
import pytest
from numba import prange

from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.softmax.buffers import FIELDS, describe, integers, numbers
from tests.conftest import needs_jit


@kernel
def change(buffers, like):
    x, own, slots = numbers(buffers, "x", like), numbers(buffers, "extra", like), integers(buffers, "slots")
    x[1, 2] = own[1, 2, 3] + slots[4]
    own[0, 0, 1] = own.shape[0] * 100 + own.shape[1] * 10 + own.shape[2]
    slots[0] = integers(buffers, "hits").shape[1]
    return x.shape[1] * 10 + slots.shape[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_those_that_were_described(dtype):
    x, own = np.zeros((2, 3), dtype), np.arange(24).astype(dtype).reshape(2, 3, 4)
    slots, hits = np.arange(5), np.zeros((0, 7), np.int32)
    assert change(describe(x=x, extra=own, slots=slots, hits=hits), x) == 35
    assert x[1, 2] == 23 + 4
    assert x.sum() == 27
    assert own[0, 0, 1] == 234
    assert slots[0] == 7


@kernel
def double_row(row, like, buffers):
    numbers(buffers, "parts", like)[row] *= 2


@parallel_kernel
def double(num_chunks, like, buffers):
    """Double the numbers of each chunk."""
    for chunk in prange(num_chunks):
        double_row(chunk, like, buffers)


def test_in_parallel_kernels(rng):
    parts = rng.standard_normal(3).astype(np.float32)
    want = 2 * parts
    double(3, parts, describe(parts=parts))
    np.testing.assert_array_equal(parts, want)


@needs_jit
@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros(3)}, {"x": np.zeros((3, 4))[:, ::2]}, {"slots": np.zeros(3, np.int32)},
        {"hits": np.zeros((3, 1), int)},
    ],
    ids=["dimensions", "layout", "int32", "int64"],
)
def test_other_arrays_are_refused(arrays):
    with pytest.raises(TypeError, match=next(iter(arrays))):
        describe(**arrays)


@needs_jit
def test_unknown_names_are_refused():
    with pytest.raises(KeyError):
        describe(unknown=np.zeros(1))
    assert "unknown" not in FIELDS


@kernel
def lengths(buffers, like):
    return numbers(buffers, "exps", like).shape[0], integers(buffers, "joined").shape[0]


def test_what_was_not_described_is_empty():
    assert lengths(describe(x=np.ones((2, 2))), np.ones(1)) == (0, 0)
