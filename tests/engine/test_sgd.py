"""sgd.py: gradients into rows, by SGD and Adagrad, and the schedule."""

import numpy as np
import pytest

from numba_ss import ArgumentError, LinearDecay, reference, update_rows
from numba_ss.engine import rows as row_sums
from numba_ss.engine import sgd
from tests.conftest import JIT, densify


@pytest.mark.parametrize("num_threads", [None, 1])
@pytest.mark.parametrize("shape", [(20, 300), (20,)])
def test_update_rows_is_the_loop(num_threads, shape, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    rows = rng.integers(0, 20, 5000)
    grads = rng.standard_normal((5000, *shape[1:])).astype(np.float32)
    want = reference.scatter_rows(table, rows, grads, np.float32(0.1))
    update_rows(table, rows, grads, 0.1, num_threads=num_threads)
    np.testing.assert_array_equal(table, want)


def adagrad(table, squares, rows, grads, rate):
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
        want = adagrad(*want, rows, grads, 0.3)
        np.testing.assert_allclose(table, want[0], atol=1e-5)
        np.testing.assert_allclose(squares, want[1], rtol=1e-5)
    assert not squares[17:].any()


def test_adagrad_does_not_depend_on_chunks(monkeypatch, rng):
    rows, size = rng.integers(0, 40, 3000 if JIT else 200), (50, 24)
    grads = rng.standard_normal((len(rows), 24)).astype(np.float32)
    results = []
    for chunks in (1, 2, 5):
        for module in (sgd, row_sums):
            monkeypatch.setattr(module, "threads_for_update", lambda numbers, n=chunks: n)
        table, squares = np.zeros(size, np.float32), np.zeros(50, np.float32)
        for _ in range(2):
            update_rows(table, rows, grads, 0.1, squares=squares)
        results.append((table, squares))
    for table, squares in results[1:]:
        np.testing.assert_array_equal(table, results[0][0])
        np.testing.assert_array_equal(squares, results[0][1])


def test_no_gradient_is_no_step():
    """A row whose gradients cancel has seen nothing: its step is 0, not NaN."""
    table, squares = np.ones((3, 2), np.float32), np.zeros(3, np.float32)
    grads = np.array([[1, 2], [-1, -2]], np.float32)
    update_rows(table, [1, 1], grads, 0.1, squares=squares)
    assert (table == 1).all()
    assert not squares.any()


def test_no_rows():
    table = np.ones((3, 2), np.float32)
    for squares in (None, np.zeros(3, np.float32)):
        update_rows(table, [], np.empty((0, 2), np.float32), 0.1, squares=squares)
    assert (table == 1).all()


READ_ONLY = np.zeros(3, np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("table", {"table": np.zeros((3, 2))}),
        ("table", {"table": np.float32(0)}),
        (r"rows: .*got 3 at rows\[1\]", {"rows": [0, 3]}),
        ("rows", {"rows": [[0, 1]]}),
        ("grads", {"grads": np.zeros((2, 3), np.float32)}),
        ("grads: .*nan", {"grads": np.full((2, 2), np.nan)}),
        ("learning_rate", {"learning_rate": np.nan}),
        ("learning_rate: .*at most 1e\\+30", {"learning_rate": 1e39}),
        ("learning_rate: .*at most 1e\\+30", {"learning_rate": -1e38}),
        (r"grads: .*can hold, got 1e\+300 at grads\[0, 0\]", {"grads": np.full((2, 2), 1e300)}),
        ("num_threads", {"num_threads": 1.5}),
        ("squares: .*float32", {"squares": np.zeros(3)}),
        ("squares: .*shape", {"squares": np.zeros(2, np.float32)}),
        ("squares: .*read-only", {"squares": READ_ONLY}),
        (r"squares: .*nan at squares\[1\]", {"squares": np.array([0, np.nan, 0], np.float32)}),
        (r"squares: .*-1.0 at squares\[1\]", {"squares": np.array([0, -1, 0], np.float32)}),
    ],
)
def test_bad_input(message, changes):
    sound = {
        "table": np.zeros((3, 2), np.float32), "rows": [0, 1],
        "grads": np.ones((2, 2), np.float32), "learning_rate": 0.1,
    }
    for squares in (None, np.zeros(3, np.float32)):
        with pytest.raises(ArgumentError, match=message):
            update_rows(**(sound | {"squares": squares} | changes))
        assert not sound["table"].any()
        assert squares is None or not squares.any()


@pytest.mark.parametrize("with_squares", [False, True])
def test_gradients_that_are_part_of_the_table_are_those_before_the_step(with_squares, rng):
    table, rows = rng.standard_normal((9, 5)).astype(np.float32), np.array([8, 3, 8, 1, 2])
    other, squares = table.copy(), np.zeros((2, 9), np.float32)
    update_rows(other, rows, table[2:7].copy(), 0.5, squares=squares[0] if with_squares else None)
    update_rows(table, rows, table[2:7], 0.5, squares=squares[1] if with_squares else None)
    np.testing.assert_array_equal(table, other)
    np.testing.assert_array_equal(*squares)


def test_squares_inside_the_table_are_refused():
    table = np.zeros((3, 2), np.float32)
    with pytest.raises(ArgumentError, match="squares: expected memory of its own"):
        update_rows(table, [0], np.ones((1, 2)), 0.1, squares=table.reshape(-1)[:3])


def test_linear_decay():
    rate = LinearDecay(0.4, 0.1, 3)
    assert [rate(i) for i in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("bad", [(-1, 0, 1), (1, np.inf, 1), (1, 0, 0), (1e38, 0, 1)])
def test_bad_linear_decay(bad):
    with pytest.raises(ArgumentError):
        LinearDecay(*bad)
