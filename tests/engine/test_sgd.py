"""sgd.py: gradients into rows, by SGD and Adagrad."""

import numpy as np
import pytest

from numba_ss import ArgumentError, reference, update_rows


@pytest.mark.parametrize("num_threads", [None, 1])
@pytest.mark.parametrize("shape", [(20, 300), (20,)])
def test_update_rows_is_the_loop(num_threads, shape, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    rows = rng.integers(0, 20, 5000)
    grads = rng.standard_normal((5000, *shape[1:])).astype(np.float32)
    want = reference.scatter_rows(table, rows, grads, np.float32(0.1))
    update_rows(table, rows, grads, 0.1, num_threads=num_threads)
    np.testing.assert_array_equal(table, want)


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


def test_gradients_whose_squares_are_too_large_change_nothing():
    table, squares = np.zeros((3, 2), np.float32), np.zeros(3, np.float32)
    for grads in ([[1e20, 1e20]], [[3e38, 0], [3e38, 0]]):
        with pytest.raises(ArgumentError, match="grads: expected a sum of squares"):
            update_rows(table, [0] * len(grads), np.float32(grads), 0.1, squares=squares)
        assert not table.any()
        assert not squares.any()


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
