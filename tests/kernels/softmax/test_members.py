"""members.py: the gradients of an input's members, kept or subtracted."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.rows import pointer
from numba_ss.kernels.softmax.encodings import NO_ROW
from numba_ss.kernels.softmax.members import Members, subtract_members, sum_others, write_members

STRIDE, PLANE = 336, 9  # of padded rows, and from one column to the next


@kernel
def group_of(common, row_scales, factors, choices, weights, rows, count):
    return Members(
        count, pointer(common, 0), pointer(row_scales, 2), pointer(factors, 2), pointer(choices, 2),
        PLANE, factors.shape[0], pointer(weights, 0), weights.shape[1], pointer(rows, 0), STRIDE,
    )


@kernel
def write(common, row_scales, factors, choices, weights, rows, count, places, out):
    group = group_of(common, row_scales, factors, choices, weights, rows, count)
    write_members(group, pointer(places, 0), pointer(out, 0))


@kernel
def subtract(learning_rate, common, row_scales, factors, choices, weights, rows, count, out, row):
    group = group_of(common, row_scales, factors, choices, weights, rows, count)
    subtract_members(group, learning_rate, pointer(out, row * weights.shape[1]))


@kernel
def sum_at(hit, row_scales, member_hits, begin, count):
    return sum_others(
        hit, pointer(row_scales, begin), pointer(member_hits, begin), member_hits.shape[0], member_hits.shape[1], count
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_columns", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
def test_sum_others(dtype, num_columns, count, rng):
    """What stands beyond the last member is read, and does not matter."""
    row_scales = rng.standard_normal(3 + count + LANES).astype(dtype)
    row_scales[3 + count :] = np.nan
    member_hits = rng.integers(-1, 5, (num_columns, len(row_scales)), np.int32)
    member_hits[member_hits == 4] = -7
    for hit in range(5):
        members = np.s_[3 : 3 + count]
        want = reference.sum_others(hit, row_scales[members].astype(float), member_hits[:, members])
        got = sum_at(hit, row_scales, member_hits, 3, count)
        assert got == pytest.approx(want, abs=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 3, 4, 7, 16, 31, 100, 128, 135, 300])
@pytest.mark.parametrize(("num_columns", "count"), [(1, 1), (1, 5), (3, 1), (3, 6)])
def test_members(dtype, dim, num_columns, count, rng):
    """Rows of weights, of sampled classes, and none; the kept gradients are those subtracted."""
    weights = rng.standard_normal((7, dim)).astype(dtype)
    rows = rng.standard_normal((5, STRIDE)).astype(dtype)
    common = rng.standard_normal(STRIDE).astype(dtype)
    row_scales = rng.standard_normal(PLANE).astype(dtype)
    factors = rng.standard_normal((num_columns, PLANE)).astype(dtype)
    choices = rng.integers(-5, 7, factors.shape)
    if num_columns > 1:
        choices[1] = NO_ROW
        factors[1] = 0
    own = np.array(
        [
            [np.zeros(dim) if c == NO_ROW else weights[c] if c >= 0 else rows[-1 - c, :dim] for c in some]
            for some in choices[:, 2 : 2 + count]
        ]
    )
    members = np.s_[2 : 2 + count]
    want = reference.write_members(common[:dim], row_scales[members], factors[:, members], own)
    places, kept = rng.permutation(8)[:count], np.full((8, STRIDE), 7, dtype)
    write(common, row_scales, factors, choices, weights, rows, count, places, kept)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(kept[places, :dim], want, atol=tolerance)
    assert (kept[:, dim:] == 7).all()
    assert (np.delete(kept, places, axis=0) == 7).all()
    table, learning_rate = rng.standard_normal((3, dim)).astype(dtype), dtype(0.3)
    expected = table.copy()
    expected[1] = reference.subtract_members(learning_rate, kept[places, :dim], table[1])
    subtract(learning_rate, common, row_scales, factors, choices, weights, rows, count, table, 1)
    np.testing.assert_array_equal(table, expected)
