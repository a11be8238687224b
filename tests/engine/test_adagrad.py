"""adagrad.py: row-wise Adagrad, against the dense one in float64."""

import numpy as np
import pytest

from numba_ss import update_rows
from numba_ss.engine import adagrad
from numba_ss.engine import rows as row_sums
from tests.conftest import JIT, densify


def dense_adagrad(table, squares, rows, grads, rate):
    """Row-wise Adagrad over the whole table, in float64; zeros where nothing was seen."""
    total = densify(rows, grads.astype(float), len(table)).reshape(len(table), -1)
    squares = squares + (total**2).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(squares > 0, rate / np.sqrt(squares), 0)
    return table - (step[:, None] * total).reshape(table.shape), squares


@pytest.mark.parametrize("shape", [(20, 33), (20,)])
def test_squares_make_it_adagrad(shape, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    squares = np.zeros(20, np.float32)
    want = table.astype(float), squares.astype(float)
    for size in (50, 1, 7, 0):
        # The last three rows are never touched.
        rows = rng.integers(0, 17, size)
        grads = rng.standard_normal((size, *shape[1:])).astype(np.float32)
        update_rows(table, rows, grads, 0.3, squares=squares)
        want = dense_adagrad(*want, rows, grads, 0.3)
        np.testing.assert_allclose(table, want[0], atol=1e-5)
        np.testing.assert_allclose(squares, want[1], rtol=1e-5)
    assert not squares[17:].any()


def test_adagrad_does_not_depend_on_chunks(monkeypatch, rng):
    rows, size = rng.integers(0, 40, 3000 if JIT else 200), (50, 24)
    grads = rng.standard_normal((len(rows), 24)).astype(np.float32)
    results = []
    for chunks in (1, 2, 5):
        for module in (adagrad, row_sums):
            monkeypatch.setattr(module, "threads_for_update", lambda numbers, n=chunks: n)
        table, squares = np.zeros(size, np.float32), np.zeros(50, np.float32)
        for _ in range(2):
            update_rows(table, rows, grads, 0.1, squares=squares)
        results.append((table, squares))
    for table, squares in results[1:]:
        np.testing.assert_array_equal(table, results[0][0])
        np.testing.assert_array_equal(squares, results[0][1])


def test_no_gradient_is_no_step():
    """The gradients of a row sum to 0: its step is 0, not NaN."""
    table, squares = np.ones((3, 2), np.float32), np.zeros(3, np.float32)
    grads = np.array([[1, 2], [-1, -2]], np.float32)
    update_rows(table, [1, 1], grads, 0.1, squares=squares)
    assert (table == 1).all()
    assert not squares.any()
