"""adam.py: Adam on touched rows, against the paper's rule in float64."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.engine.adam import Adam, step_distinct


def paper(w, m, v, g, rate, t, betas=(0.9, 0.999), epsilon=1e-8):
    """Take step t of the paper's algorithm 1, in the form of its section 2."""
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
    corrected = rate * np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
    return w - corrected * m / (np.sqrt(v) + epsilon), m, v


@pytest.mark.parametrize("shape", [(20, 33), (20,)])
def test_rows_that_have_a_gradient_take_the_paper_s_step(shape, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    kept, want = Adam(table), [a.astype(float) for a in (table, 0 * table, 0 * table)]
    for t in range(1, 6):
        rows = rng.permutation(17)[: 3 * t]  # the last three are never touched
        grads = rng.standard_normal((len(rows), *shape[1:])).astype(np.float32)
        kept.step(table, rows, grads, np.float32(0.1))
        for array, new in zip(want, paper(*[a[rows] for a in want], grads, 0.1, t), strict=True):
            array[rows] = new
        for have, array in zip((table, kept.means, kept.mean_squares), want, strict=True):
            np.testing.assert_allclose(have, array, atol=1e-5)
    assert kept.steps == 5
    assert not kept.means[17:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_options_of_a_step(dtype, rng):
    w, m, g = rng.standard_normal((3, 4, 5)).astype(dtype)
    v, rows = rng.random((4, 5)).astype(dtype), np.arange(4)
    want = paper(*(a.astype(float) for a in (w, m, v, g)), 0.1, 7, (0.5, 0.8), 0.1)
    step_distinct(w, rows, g, 0.1, m, v, 7, (0.5, 0.8), 0.1)
    for have, value in zip((w, m, v), want, strict=True):
        np.testing.assert_allclose(have, value, atol=1e-5)


def test_what_is_kept_is_copied_and_resumed(rng):
    table, rows = rng.standard_normal((6, 3)).astype(np.float32), np.arange(6)
    grads = rng.standard_normal((4, 6, 3)).astype(np.float32)
    kept = Adam(table)
    kept.step(table, rows, grads[0], np.float32(0.1))
    state, other, copy = kept.state(), Adam(table), table.copy()
    for field in Adam.FIELDS:
        Adam.check(field, field, state[field], table.shape)
    other.load(state)
    for grad in grads[1:]:
        kept.step(table, rows, grad, np.float32(0.1))
        other.step(copy, rows, grad, np.float32(0.1))
    np.testing.assert_array_equal(copy, table)
    assert state["steps"] == 1
    assert not np.array_equal(state["means"], kept.means)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("steps", -1, "name: expected at least 0"),
    ("steps", None, "name: expected an integer"),
    ("means", np.zeros((6, 3)), "name: expected float32 numbers"),
    ("means", np.zeros((6, 2), np.float32), "name: expected shape"),
    ("means", np.full((6, 3), np.nan, np.float32), "name: expected finite numbers, got others"),
    ("mean_squares", np.full((6, 3), -1, np.float32), "name: expected finite numbers >= 0"),
])
def test_what_cannot_be_loaded(field, value, message):
    with pytest.raises(ArgumentError, match=message):
        Adam.check("name", field, value, (6, 3))
