"""evaluation.py: the best classes, exactly; ranking metrics against ranx and their formulas."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from numba_ss import ArgumentError, reference, top_k
from numba_ss.engine import passes
from numba_ss.engine.evaluation import ranking_metrics


def pack(rows):
    """Return the packed form of lists of ids."""
    values = np.array([i for row in rows for i in row], np.int64)
    return values, np.cumsum([0, *map(len, rows)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exclude", ["none", "lists", "padded", "packed"])
def test_top_k(dtype, exclude, rng, monkeypatch):
    monkeypatch.setattr(passes, "EXAMPLES", 64)
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: top_k(np.eye(3), None, [[1.0, 2, 3], [1.0]], 1), "inputs: expected rows of one length"),
        (lambda: ranking_metrics([[1, 2], [3]], [1], [0, 1, 1], 1), "recommended: expected rows of one length, filled up with -1"),
    ],
)
def test_rows_of_different_lengths(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("exclude", [None, [], np.empty((0, 4), int), pack([])])
def test_empty_batch(exclude):
    assert top_k(np.eye(3), np.zeros(3), np.ones((0, 3)), 2, exclude).ids.shape == (0, 2)


def test_two_examples_and_two_lists():
    """Only two arrays in a tuple are the packed form."""
    for exclude in ([0], [1]), [[0], [1]], [np.array([0]), np.array([1])], pack([[0], [1]]):
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
        (r"exclude\[1\]: expected shape", {"exclude": pack([[1], [2]])}),
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


def plain_metrics(recommended, relevant, k, num_items):
    """Return the metrics one user after the other, as the formulas read."""
    hr, recall, ndcg, mrr = [], [], [], []
    for row, true in zip(recommended, relevant, strict=True):
        if not len(true):
            continue
        ranks = [j + 1 for j, item in enumerate(row[:k]) if item in set(true)]
        hr.append(float(bool(ranks)))
        recall.append(len(ranks) / len(true))
        best = sum(1 / math.log2(j + 1) for j in range(1, min(k, len(true)) + 1))
        ndcg.append(sum(1 / math.log2(j + 1) for j in ranks) / best)
        mrr.append(1 / ranks[0] if ranks else 0.0)
    items = {item for row in recommended for item in row[:k] if item >= 0}
    means = [sum(values) / len(values) for values in (hr, recall, ndcg, mrr)]
    names = [f"{name}@{k}" for name in ("HR", "Recall", "NDCG", "MRR", "coverage")]
    return dict(zip(names, [*means, len(items) / num_items], strict=True)) | {"users": len(hr)}


def random_ranking(rng, num_users=200, num_items=60, depth=20):
    """Return rankings of different lengths, and up to 30 relevant items a user."""
    items = rng.choice(2**40, num_items, replace=False)  # ids are not positions
    recommended = np.stack([rng.permutation(items)[:depth] for _ in range(num_users)])
    recommended[np.arange(depth) >= rng.integers(0, depth + 1, (num_users, 1))] = -1
    sizes = rng.integers(0, 31, num_users) * (rng.random(num_users) < 0.8)
    return recommended, [rng.permutation(items)[:size].tolist() for size in sizes]


@pytest.mark.parametrize("k", [1, 5, 20])
def test_metrics_are_their_formulas(k, rng):
    recommended, relevant = random_ranking(rng)
    got = ranking_metrics(recommended, *pack(relevant), k, num_items=70)
    expected = plain_metrics(recommended.tolist(), relevant, k, 70)
    assert list(got) == list(expected)
    assert got == pytest.approx(expected, rel=1e-12)
    assert 0 < got[f"HR@{k}"] < 1
    assert got["users"] < len(recommended)


RANX = """
import json, sys, ranx
qrels, run, names = json.load(sys.stdin)
print(json.dumps(dict(ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), names))))
"""


@pytest.mark.skipif(find_spec("ranx") is None, reason="compares with ranx")
def test_metrics_are_those_of_ranx(rng):
    """In a process of its own, interpreted: it takes a minute to compile."""
    recommended, relevant = random_ranking(rng)
    qrels = {u: dict.fromkeys(true, 1) for u, true in enumerate(relevant) if true}
    # A user without any recommendation has an unknown item there.
    rows = {u: [i for i in recommended[u].tolist() if i >= 0] or ["none"] for u in qrels}
    run = {u: {i: -float(rank) for rank, i in enumerate(row)} for u, row in rows.items()}
    names = {"HR": "hit_rate", "Recall": "recall", "NDCG": "ndcg", "MRR": "mrr"}
    wanted = {f"{ours}@{k}": f"{names[ours]}@{k}" for k in (3, 10, 20) for ours in names}
    done = subprocess.run(
        [sys.executable, "-c", RANX], env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, check=True,
        input=json.dumps([qrels, run, list(wanted.values())]), capture_output=True, text=True,
    )
    expected = json.loads(done.stdout)
    got = ranking_metrics(recommended, *pack(relevant), (3, 10, 20))
    assert got.pop("users") == len(qrels)
    assert got == pytest.approx({ours: expected[theirs] for ours, theirs in wanted.items()})


def test_metrics_that_are_known():
    perfect = ranking_metrics([[3, 1, 2]], [1, 2, 3], [0, 3], (1, 3), num_items=3)
    assert perfect == {
        "HR@1": 1, "Recall@1": 1 / 3, "NDCG@1": 1, "MRR@1": 1, "coverage@1": 1 / 3,
        "HR@3": 1, "Recall@3": 1, "NDCG@3": 1, "MRR@3": 1, "coverage@3": 1, "users": 1,
    }
    nobody = ranking_metrics(np.full((2, 3), -1), [5], [0, 0, 1], 3, num_items=9)
    assert nobody == {"HR@3": 0, "Recall@3": 0, "NDCG@3": 0, "MRR@3": 0, "coverage@3": 0, "users": 1}


def test_an_id_that_is_relevant_to_the_neighbour_only():
    assert ranking_metrics([[9], [1]], [1, 9], [0, 1, 2], 1)["HR@1"] == 0


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("recommended: expected shape", {"recommended": [1, 2]}),
        ("recommended: expected integers", {"recommended": [[0.5, 1], [2, 3]]}),
        (r"recommended: .*distinct.* at recommended\[1\]", {"recommended": [[1, 2], [3, 3]]}),
        (r"recommended: .*-1 after .* at recommended\[0\]", {"recommended": [[-1, 2], [3, 4]]}),
        (r"recommended: expected ids >= 0, .* at recommended\[1\]", {"recommended": [[1, 2], [3, -2]]}),
        ("relevant: expected shape", {"relevant": [[1, 2, 3]]}),
        ("relevant: .*distinct ids.*got 2 twice, user 1", {"relevant": [2, 2, 2]}),
        ("relevant: expected ids >= 0, got -1", {"relevant": [1, 2, -1]}),
        ("relevant: .*one user at least", {"relevant": [], "offsets": [0, 0, 0]}),
        ("offsets: expected shape", {"offsets": [0, 3]}),
        ("offsets: .*= 3, got 0 to 2", {"offsets": [0, 1, 2]}),
        ("offsets: .*not fall, got 3 at", {"offsets": [0, 4, 3]}),
        ("k: expected at most 2, got 3", {"k": (1, 3)}),
        ("k: expected at least 1", {"k": 0}),
        ("k: expected an integer", {"k": 1.5}),
        ("num_items: expected at least 4, got 3", {"num_items": 3}),
    ],
)
def test_bad_rankings(message, changes):
    sound = {"recommended": [[1, 2], [3, 4]], "relevant": [1, 2, 3], "offsets": [0, 1, 3], "k": 2}
    assert ranking_metrics(**sound)["users"] == 2
    with pytest.raises(ArgumentError, match=message):
        ranking_metrics(**(sound | changes))
