"""adagrad.py: rows that learn, against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.memory import widen
from numba_ss.kernels.softmax import adagrad

RATE, DECAY = np.float32(0.3), np.float32(0.05)


def update(rows, grads, dim, decay, num_chunks, table, squares):
    """Return the table and squares after a step on copies."""
    table, squares = table.copy(), squares.copy()
    # A copy, for the decay is added to the gradients in place.
    adagrad.adagrad_rows(rows, grads.copy(), RATE, decay, dim, num_chunks, table, squares)
    return table, squares


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("decay", [DECAY, np.float32(0)])
@pytest.mark.parametrize(("dim", "num_updates"), [(1, 1), (5, 0), (13, 7), (16, 64), (33, 65), (48, 150)])
def test_adagrad_rows(adaptive, decay, dim, num_updates, rng):
    num_rows = 200
    table = widen(rng.standard_normal((num_rows, dim)).astype(np.float32), num_rows)
    grads = widen(rng.standard_normal((num_updates, dim)).astype(np.float32), num_updates)
    squares = rng.random(num_rows * adaptive).astype(np.float32)
    squares[::2] = 0
    rows = rng.permutation(num_rows)[:num_updates]
    ref_table, ref_squares = reference.adagrad_rows(
        rows, grads[:, :dim], RATE, decay, table[:, :dim], squares
    )
    first = update(rows, grads, dim, decay, 1, table, squares)
    np.testing.assert_allclose(first[0][:, :dim], ref_table, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(first[1], ref_squares, rtol=1e-5)
    assert not first[0][:, dim:].any()
    untouched = np.setdiff1d(np.arange(num_rows), rows)
    np.testing.assert_array_equal(first[0][untouched], table[untouched])
    for num_chunks in (2, 3, 8):
        other = update(rows, grads, dim, decay, num_chunks, table, squares)
        np.testing.assert_array_equal(other[0], first[0])
        np.testing.assert_array_equal(other[1], first[1])


def test_steps_fall_as_one_over_the_root():
    """The same gradient again and again: steps of rate / sqrt(t), whatever its size."""
    for size in (1e-12, 1.0, 1e12):
        table, squares = np.zeros((1, 16), np.float32), np.zeros(1, np.float32)
        grads = np.full((1, 16), size, np.float32)
        steps = []
        for _ in range(3):
            before = table[0, 0]
            adagrad.adagrad_rows(
                np.array([0]), grads, RATE, np.float32(0), 16, 1, table, squares
            )
            steps.append(before - table[0, 0])
        np.testing.assert_allclose(steps, RATE / np.sqrt([1, 2, 3]), rtol=1e-5)


def test_no_gradient_no_step():
    table, squares = np.ones((1, 16), np.float32), np.zeros(1, np.float32)
    adagrad.adagrad_rows(
        np.array([0]), np.zeros((1, 16), np.float32), RATE, np.float32(0), 16, 1, table, squares
    )
    assert (table == 1).all()
    assert squares[0] == 0
