"""damping.py: against blocks that were trained one after the other."""

import numpy as np
import pytest

from numba_ss.retrieval.damping import averaged, damped


def adagrad(row, square, grads, rate):
    """Return a row and its sum of mean squared gradients after some steps, in float64."""
    for grad in grads:
        square += np.mean(grad**2)
        row = row - rate * grad / np.sqrt(square)
    return row, square


@pytest.mark.parametrize("before", [0.0, 0.3, 50.0, 1e4])
@pytest.mark.parametrize("num_blocks", [2, 8, 32])
def test_blocks_together_move_a_row_as_far_as_one_after_the_other(before, num_blocks, rng):
    """Up to what the first steps of all differ by: a sum is an integral only in the limit."""
    steps, dim, rate = 200, 6, 0.1
    grad = rng.standard_normal(dim)
    row = rng.standard_normal(dim)
    one, square = adagrad(row, before, [grad] * steps, rate)
    far, _ = adagrad(row, before, [grad] * (steps * num_blocks), rate)
    old, new = (array[None].astype(np.float32) for array in (row, one))
    squares = np.array([[before]], np.float32), np.array([[square]], np.float32)
    each = damped(old, new, num_blocks, *squares)
    assert each.dtype == np.float32
    moved = num_blocks * (each - old)[0]
    np.testing.assert_allclose(moved, far - row, rtol=0.07)
    if before < 1:  # plain sums go much too far
        assert np.linalg.norm(num_blocks * (one - row)) > 1.3 * np.linalg.norm(far - row)


def test_blocks_make_the_mean_where_nothing_is_known_of_their_steps():
    old, new = np.ones((2, 3), np.float32), np.full((2, 3), 9, np.float32)
    np.testing.assert_array_equal(averaged(old, new, 4), 3)


def test_what_learned_nothing_stays():
    old, none = np.ones((1, 3), np.float32), np.zeros((1, 1), np.float32)
    np.testing.assert_array_equal(damped(old, old, 8, none, none), old)


def test_what_learned_much_before_is_added_as_it_is():
    old, new = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    before, after = np.array([[1e6]], np.float32), np.array([[1e6 + 1]], np.float32)
    np.testing.assert_allclose(damped(old, new, 8, before, after), 1, rtol=1e-5)
    np.testing.assert_allclose(damped(old, new, 4, 0 * before, after), 0.5, rtol=1e-6)
