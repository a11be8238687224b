"""sgd.py: gradients into rows, and the schedule."""

import numpy as np
import pytest

from numba_ss import ArgumentError, LinearDecay, reference, update_rows


@pytest.mark.parametrize("num_threads", [None, 1])
@pytest.mark.parametrize("shape", [(20, 300), (20,)])
def test_update_rows_is_the_loop(num_threads, shape, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    rows = rng.integers(0, 20, 5000)
    grads = rng.standard_normal((5000, *shape[1:])).astype(np.float32)
    want = reference.scatter_rows(table, rows, grads, np.float32(0.1))
    update_rows(table, rows, grads, 0.1, num_threads=num_threads)
    np.testing.assert_array_equal(table, want)


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
        ("num_threads", {"num_threads": 1.5}),
    ],
)
def test_bad_input(message, changes):
    sound = {
        "table": np.zeros((3, 2), np.float32), "rows": [0, 1],
        "grads": np.ones((2, 2), np.float32), "learning_rate": 0.1,
    }
    with pytest.raises(ArgumentError, match=message):
        update_rows(**(sound | changes))
    assert not sound["table"].any()


def test_linear_decay():
    rate = LinearDecay(0.4, 0.1, 3)
    assert [rate(i) for i in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("bad", [(-1, 0, 1), (1, np.inf, 1), (1, 0, 0)])
def test_bad_linear_decay(bad):
    with pytest.raises(ArgumentError):
        LinearDecay(*bad)
