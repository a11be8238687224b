"""top_k.py: the best classes, exactly."""


import numpy as np
import pytest

from numba_ss import ArgumentError, reference, top_k
from numba_ss.engine import full_pass


def pack(rows):
    """Return the packed form of lists of ids."""
    values = np.array([i for row in rows for i in row], np.int64)
    return values, np.cumsum([0, *map(len, rows)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exclude", ["none", "lists", "padded", "packed"])
def test_top_k(dtype, exclude, rng, monkeypatch):
    monkeypatch.setattr(full_pass, "EXAMPLES", 64)
    weights = rng.standard_normal((500, 8)).astype(dtype)
    biases = rng.standard_normal(500).astype(dtype)
    inputs = rng.standard_normal((150, 8)).astype(dtype)
    leave_out = None
    if exclude == "lists":
        leave_out = [rng.integers(0, 500, rng.integers(0, 60)).tolist() for _ in inputs]
    elif exclude == "padded":
        leave_out = rng.integers(-1, 500, (150, 40))
    elif exclude == "packed":
        leave_out = [rng.integers(-1, 40, rng.integers(0, 30)).tolist() for _ in inputs]
    got = top_k(weights, biases, inputs, 9, pack(leave_out) if exclude == "packed" else leave_out)
    logits = inputs.astype(float) @ weights.T + biases
    rows = None if leave_out is None else [[c for c in row if c >= 0] for row in leave_out]
    scores, ids = reference.select(logits, 9, rows)
    np.testing.assert_array_equal(got.ids, ids)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)


def test_fewer_classes_than_asked_for():
    got = top_k(np.eye(3), np.zeros(3), np.ones((1, 3)), 3, exclude=[[0, 2]])
    assert got.ids.tolist() == [[1, -1, -1]]
    assert got.scores.tolist() == [[1, -np.inf, -np.inf]]


def test_classes_of_bias_minus_infinity_are_not_among_the_best():
    biases = np.array([-np.inf, 0, -np.inf, 1])
    got = top_k(np.eye(4), biases, np.zeros((2, 4)), 4)
    assert got.ids.tolist() == [[3, 1, -1, -1]] * 2
    for bad in (np.inf, np.nan):
        with pytest.raises(ArgumentError, match=rf"biases: .*{bad} at biases\[1\]"):
            top_k(np.eye(4), np.where(biases == 0, bad, biases), np.zeros((2, 4)), 4)


@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8"])
def test_floats_of_every_kind_and_no_biases(kind, rng):
    weights, inputs = rng.standard_normal((40, 3)).astype(kind), rng.standard_normal((5, 3)).astype(kind)
    like = np.float32 if weights.dtype.itemsize <= 4 else np.float64
    got = top_k(weights, None, inputs, 7)
    want = top_k(weights.astype(like), np.zeros(40), inputs.astype(like), 7)
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.scores, want.scores)


def test_scores_that_overflow_are_refused():
    with pytest.raises(ArgumentError, match="logits that the type can hold"):
        top_k(np.full((3, 2), 1e300), None, np.full((1, 2), 1e300), 2)


def test_inputs_may_be_of_any_size():
    """Their sum is infinite, the scores are not."""
    weights, inputs = np.full((3, 1), 1e-30, np.float32), np.full((2, 1), 3e38, np.float32)
    assert top_k(weights, None, inputs, 1).ids.tolist() == [[0], [0]]


def test_rows_of_different_lengths():
    with pytest.raises(ArgumentError, match="inputs: expected rows of one length"):
        top_k(np.eye(3), None, [[1.0, 2, 3], [1.0]], 1)


@pytest.mark.parametrize("exclude", [None, [], np.empty((0, 4), int), pack([])])
def test_empty_batch(exclude):
    assert top_k(np.eye(3), np.zeros(3), np.ones((0, 3)), 2, exclude).ids.shape == (0, 2)


def test_two_examples_and_two_lists():
    """Only two arrays in a tuple are the packed form."""
    for exclude in ([0], [1]), [[0], [1]], [np.array([0]), np.array([1])], pack([[0], [1]]), [{0}, {1}]:
        assert top_k(np.eye(2), np.zeros(2), np.ones((2, 2)), 1, exclude).ids.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("k: expected at most 3", {"k": 4}),
        ("k", {"k": 0}),
        ("exclude", {"exclude": [[1], [2]]}),
        (r"exclude\[0\]: .*got 3", {"exclude": [[3]]}),
        (r"exclude\[0\]: .*got -2", {"exclude": pack([[1, -2]])}),
        (r"exclude\[0\]: expected integers", {"exclude": (np.array([1.0]), np.array([0, 1]))}),
        (r"exclude\[0\]: expected shape", {"exclude": (np.ones((1, 1), int), np.array([0, 1]))}),
        (r"exclude: expected a list of rows, or .*\(2,\), got", {"exclude": pack([[1], [2]])}),
        ("exclude: expected a sequence", {"exclude": ([i] for i in range(1))}),
        ("exclude: expected a sequence", {"exclude": {(1,)}}),
        (r"exclude\[1\]: .*= 2, got 0 to 1", {"exclude": (np.array([1, 2]), np.array([0, 1]))}),
        (r"exclude\[1\]: .*got 1 to 2", {"exclude": (np.array([1, 2]), np.array([1, 2]))}),
        ("inputs: .*finite", {"inputs": np.full((1, 3), np.nan)}),
        ("weights: .*finite", {"weights": np.full((3, 3), np.nan)}),
        ("biases: .*finite", {"biases": np.full(3, np.nan)}),
        ("inputs: .*finite", {"inputs": np.full((1, 3), np.inf)}),
    ],
)
def test_bad_input(message, changes):
    sound = {"weights": np.eye(3), "biases": np.zeros(3), "inputs": np.ones((1, 3)), "k": 2}
    with np.errstate(all="ignore"), pytest.raises(ArgumentError, match=message):
        top_k(**(sound | changes))


def test_falling_offsets():
    packed = np.array([0, 1, 2]), np.array([0, 2, 1, 3])
    with pytest.raises(ArgumentError, match=r"exclude\[1\]: .*not fall, got 1 at \[2\]"):
        top_k(np.eye(3), np.zeros(3), np.ones((3, 3)), 1, packed)
