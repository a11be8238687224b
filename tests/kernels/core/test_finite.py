"""finite.py: one number among many tells."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.core.finite import all_finite, sum_of_squares


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_all_finite(dtype, size, rng):
    # Their sum is infinite, and so is that of their squares.
    values = np.finfo(dtype).max * rng.choice([-1, 1], size).astype(dtype)
    assert all_finite(values)
    assert reference.all_finite(values)
    for place in {0, size // 2, size - 1} & set(range(size)):
        for bad in (np.nan, np.inf, -np.inf):
            broken = values.copy()
            broken[place] = bad
            assert not all_finite(broken)
            assert not reference.all_finite(broken)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_sum_of_squares(dtype, size, rng):
    values = rng.standard_normal(size).astype(dtype)
    assert sum_of_squares(values) == pytest.approx(reference.sum_of_squares(values), rel=1e-5)
    if size:
        values[size // 2] = np.inf
        assert sum_of_squares(values) == np.inf
