"""evaluation.py: the best classes, exactly."""

import numpy as np
import pytest

from numba_ss import ArgumentError, _passes, reference, top_k


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exclude", ["none", "lists", "padded"])
def test_top_k(dtype, exclude, rng, monkeypatch):
    monkeypatch.setattr(_passes, "EXAMPLES", 64)
    weights = rng.standard_normal((500, 8)).astype(dtype)
    biases = rng.standard_normal(500).astype(dtype)
    inputs = rng.standard_normal((150, 8)).astype(dtype)
    leave_out = None
    if exclude == "lists":
        leave_out = [rng.integers(0, 500, rng.integers(0, 60)).tolist() for _ in inputs]
    elif exclude == "padded":
        leave_out = rng.integers(-1, 500, (150, 40))
    got = top_k(weights, biases, inputs, 9, leave_out)
    logits = inputs.astype(float) @ weights.T + biases
    rows = None if leave_out is None else [[c for c in row if c >= 0] for row in leave_out]
    scores, ids = reference.select(logits, 9, rows)
    np.testing.assert_array_equal(got.ids, ids)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)


def test_fewer_classes_than_asked_for():
    got = top_k(np.eye(3), np.zeros(3), np.ones((1, 3)), 3, exclude=[[0, 2]])
    assert got.ids.tolist() == [[1, -1, -1]]
    assert got.scores.tolist() == [[1, -np.inf, -np.inf]]


def test_empty_batch():
    assert top_k(np.eye(3), np.zeros(3), np.ones((0, 3)), 2).ids.shape == (0, 2)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("k: expected at most 3", {"k": 4}),
        ("k", {"k": 0}),
        ("exclude", {"exclude": [[1], [2]]}),
        (r"exclude\[0\]", {"exclude": [[3]]}),
        ("weights: .*finite", {"weights": np.full((3, 3), np.nan)}),
        ("biases: .*finite", {"biases": np.full(3, np.nan)}),
        ("inputs: .*finite", {"inputs": np.full((1, 3), np.inf)}),
    ],
)
def test_bad_input(message, changes):
    sound = {"weights": np.eye(3), "biases": np.zeros(3), "inputs": np.ones((1, 3)), "k": 2}
    with np.errstate(all="ignore"), pytest.raises(ArgumentError, match=message):
        top_k(**(sound | changes))
