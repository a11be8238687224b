"""adam.py: rows that learn, against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.softmax import adam

RATE, SHARE, SHARE_SQUARES, EPSILON = map(np.float32, (0.3, 0.1, 0.001, 1e-8))


def update(rows, grads, num_chunks, *state):
    """Return the table, means and squares after a step on copies."""
    state = [array.copy() for array in state]
    rates = adam.Rates(RATE, SHARE, SHARE_SQUARES, EPSILON)
    adam.adam_rows(rows, grads, rates, num_chunks, *state)
    return state


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("dim", "num_updates"), [(1, 1), (5, 0), (13, 7), (16, 64), (48, 150)])
def test_adam_rows(dtype, dim, num_updates, rng):
    num_rows = 200
    state = [
        rng.standard_normal((num_rows, dim)).astype(dtype),
        rng.standard_normal((num_rows, dim)).astype(dtype),
        rng.random((num_rows, dim)).astype(dtype),
    ]
    grads = rng.standard_normal((num_updates, dim)).astype(dtype)
    rows = rng.permutation(num_rows)[:num_updates]
    want = reference.adam_rows(rows, grads, RATE, SHARE, SHARE_SQUARES, EPSILON, *state)
    first = update(rows, grads, 1, *state)
    for have, expected, before in zip(first, want, state, strict=True):
        np.testing.assert_allclose(have, expected, rtol=1e-5, atol=2e-5)
        untouched = np.setdiff1d(np.arange(num_rows), rows)
        np.testing.assert_array_equal(have[untouched], before[untouched])
    for num_chunks in (2, 3, 8):
        for have, expected in zip(update(rows, grads, num_chunks, *state), first, strict=True):
            np.testing.assert_array_equal(have, expected)


def test_the_first_step_is_the_rate_whatever_the_gradient():
    """With both means corrected for the zeros they began with."""
    rate = RATE * np.sqrt(SHARE_SQUARES) / SHARE
    for size in (1e-3, 1.0, 1e9):
        table, means, squares = np.zeros((3, 1, 16), np.float32)
        grads = np.full((1, 16), size, np.float32)
        rates = adam.Rates(rate, SHARE, SHARE_SQUARES, EPSILON)
        adam.adam_rows(np.array([0]), grads, rates, 1, table, means, squares)
        np.testing.assert_allclose(table, -RATE, rtol=1e-3)
