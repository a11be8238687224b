"""metrics.py: ranking metrics against ranx and their formulas."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.retrieval.metrics import ranking_metrics
from tests.engine.test_top_k import pack


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
    """In a process of its own and interpreted, because ranx takes a minute to compile."""
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


def test_rows_of_different_lengths():
    with pytest.raises(ArgumentError, match="recommended: expected rows of one length, filled up"):
        ranking_metrics([[1, 2], [3]], [1], [0, 1, 1], 1)
