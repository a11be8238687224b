"""Compare item retrieval with DeepMatch, with published figures and with plain baselines.

    python -m benchmarks.compare_retrieval [--movielens FOLDER] [--deepmatch-python PATH]
        [--gowalla FILE] [--diginetica FILE] [--steps] [--seeds 5] [--output results.json]

Each table is printed as Markdown. MovieLens 100K, on one thread a run: DeepMatch trains in a
process of its own, if PATH is an interpreter that can import it. `retrieval_baselines` says
what the data are, how they are split, and what the baselines do; all items are ranked, and
what was seen is left out where the table says so. With ``--output`` each run is kept as soon
as it ends, and a run that is there is not done again. ``--steps`` measures a step of
learning from ten thousand to ten million items, whose popularity falls as 1 / rank, and once
more evenly popular, which no cache helps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks import retrieval_baselines as plain
from numba_ss import (
    FixedUnigramSampler,
    RayCluster,
    YouTubeDNN,
    leave_one_out,
    ranking_metrics,
    read_interactions,
)
from numba_ss.retrieval.examples import Events
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.model import RetrievalModel

FEATURES = ("user", "gender", "age", "occupation", "zip")
# Chosen on held-out parts of the training data.
MOVIELENS = {
    "embedding_dim": 32, "hidden_units": (32,), "history_length": 6, "num_sampled": 96,
    "temperature": 0.07, "learning_rate": 0.25, "batch_size": 768, "epochs": 20,
    "user_features": FEATURES, "num_threads": 1,
}
GOWALLA = {
    "embedding_dim": 256, "hidden_units": (), "history_length": 1000, "num_sampled": 2048,
    "distortion": 0.75, "temperature": 0.09, "learning_rate": 0.2, "batch_size": 512,
    "epochs": 14, "timestamp": None,
}
DIGINETICA = {
    "embedding_dim": 64, "hidden_units": (), "history_length": 5, "num_sampled": 1024,
    "learning_rate": 0.2, "batch_size": 1024, "epochs": 10,
}
PUBLISHED = {  # reczoo's BARS, YoutubeDNN on this split with 800 negatives
    "label": "published (BARS)", "Recall@20": 0.1754, "NDCG@20": 0.1473,
}
STEP_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
STEPS = 120


class Store:
    """Results by name, in a file if there is one."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        there = self._path is not None and self._path.exists()
        self._results = json.loads(self._path.read_text()) if there and self._path else {}

    def get(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a result, from `run` where it is not known."""
        if name not in self._results:
            print(name, "...", file=sys.stderr, flush=True)
            self._results[name] = run()
            if self._path is not None:
                self._path.write_text(json.dumps(self._results, indent=1))
        found: dict[str, Any] = self._results[name]
        return found


def table(heads: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    for row in [heads, ["---"] * len(heads), *rows]:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def spread(values: list[float]) -> str:
    """Return the mean, and the range of several values."""
    text = f"{mean(values):.4f}"
    return text if len(values) == 1 else f"{text} ({min(values):.4f}-{max(values):.4f})"


def speed(model: YouTubeDNN) -> int:
    """Return events a second, the median of the epochs after the first."""
    rates = [entry["events_per_second"] for entry in model.history_]
    return round(median(rates[1:] or rates))


# MovieLens -------------------------------------------------------------------------------


def run_movielens(folder: str, seed: int) -> dict[str, Any]:
    columns = plain.read_movielens(folder)
    log = read_interactions(columns, user_features=FEATURES[1:], progress=False)
    train, test = leave_one_out(log)
    task = plain.leave_one_out(columns)
    keys = np.unique(columns["item"])
    order = np.argsort(log.user_keys.take(np.arange(log.num_users)))
    if not np.array_equal(log.item_keys.take(test.items[order]), keys[task.relevant]):
        raise RuntimeError("the two sides ask for different items")
    model = YouTubeDNN(seed=seed, **MOVIELENS).fit(train, progress=False)
    result: dict[str, Any] = {"samples_per_second": speed(model)}
    for name, exclude in (("unfiltered", False), ("seen_removed", True)):
        result[name] = model.evaluate(test, (10, 50), exclude_seen=exclude)
    return result


def run_deepmatch(python: str, folder: str, seed: int) -> dict[str, Any]:
    command = [
        python, "-m", "benchmarks.retrieval_baselines", "deepmatch", "--data", folder,
        "--seed", str(seed),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def plain_rows(task: plain.Task, k: int, decays: tuple[float, ...], seen: bool) -> dict[str, Any]:
    """Return the rankings of popularity and of co-occurrence, by label."""
    found = {"popularity": plain.popularity_top_k(task, k, seen)}
    for decay in decays:
        found[f"co-occurrence, decay {decay:g}"] = plain.cooccurrence_top_k(
            task.train, task.train_offsets, task.histories, task.history_offsets, k,
            num_items=task.num_items, decay=decay, remove_seen=seen,
        )
    return {
        label: ranking_metrics(ids, task.relevant, task.relevant_offsets, k)
        for label, ids in found.items()
    }


def compare_movielens(store: Store, folder: str, python: str | None, seeds: int) -> None:
    systems: dict[str, list[dict[str, Any]]] = {"numba_ss": [], "DeepMatch": []}
    for seed in range(seeds):  # in turns, so that both see the same machine
        name = f"movielens numba_ss {seed}"
        systems["numba_ss"].append(store.get(name, lambda s=seed: run_movielens(folder, s)))
        if python is not None:
            name = f"movielens DeepMatch {seed}"
            run = store.get(name, lambda s=seed: run_deepmatch(python, folder, s))
            if "skipped" in run:
                print(f"DeepMatch: {run['skipped']}\n")
                break
            systems["DeepMatch"].append(run)
    rows = []
    for label, runs in systems.items():
        if runs:
            rows.append([
                label, *(spread([run[kind]["HR@50"] for run in runs])
                         for kind in ("unfiltered", "seen_removed")),
                *(spread([run[kind]["NDCG@10"] for run in runs])
                  for kind in ("unfiltered", "seen_removed")),
                f"{median([run['samples_per_second'] for run in runs]):,.0f}",
            ])
    task = plain.leave_one_out(plain.read_movielens(folder))
    cuts = {k: [plain_rows(task, k, (0.5,), seen) for seen in (False, True)] for k in (50, 10)}
    for label in cuts[50][0]:
        hits = [f"{result[label]['HR@50']:.4f}" for result in cuts[50]]
        gains = [f"{result[label]['NDCG@10']:.4f}" for result in cuts[10]]
        rows.append([label, *hits, *gains, "-"])
    heads = ["MovieLens 100K", "HR@50", "HR@50, seen left out", "NDCG@10",
             "NDCG@10, seen left out", "samples/s, 1 thread"]
    table(heads, rows)
    if systems["DeepMatch"]:
        pairs = zip(systems["numba_ss"], systems["DeepMatch"], strict=True)
        ratio = median([a["samples_per_second"] / b["samples_per_second"] for a, b in pairs])
        print(f"{ratio:.1f} times DeepMatch's samples a second, the median of pairs\n")


# Gowalla and Diginetica ------------------------------------------------------------------


def events(flat: Any, offsets: Any, timed: bool) -> Any:
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    columns = [users, flat, np.arange(len(flat))] if timed else [users, flat]
    return np.stack(columns, axis=1)


def run_task(
    task: plain.Task, options: dict[str, Any], timed: bool, seen: bool,
    cluster: RayCluster | None = None,
) -> dict[str, Any]:
    """Train on a task's sequences and rank the items for its histories."""
    log = read_interactions(events(task.train, task.train_offsets, timed), progress=False)
    start = time.perf_counter()
    model = YouTubeDNN(**options).fit(log, progress=False, cluster=cluster)
    seconds = time.perf_counter() - start
    histories = np.split(task.histories, task.history_offsets[1:-1])
    if timed:  # where there is no time, all that is known counts
        histories = [history[-options["history_length"] :] for history in histories]
    found = model.recommend(k=20, histories=histories, exclude_seen=seen)
    items = np.where(np.isfinite(found.scores), found.items, -1)
    figures = ranking_metrics(items, task.relevant, task.relevant_offsets, 20)
    return {**figures, "seconds": seconds, "samples_per_second": speed(model)}


def compare_task(
    store: Store, name: str, task: plain.Task, options: dict[str, Any], figures: list[str],
    decays: tuple[float, ...], published: list[dict[str, Any]], seeds: int, *, timed: bool,
    seen: bool,
) -> None:
    runs = [
        store.get(
            f"{name} numba_ss {seed}",
            lambda s=seed: run_task(task, {**options, "seed": s}, timed, seen),
        )
        for seed in range(seeds)
    ]
    rows = [[
        "numba_ss", *(spread([run[figure] for run in runs]) for figure in figures),
        f"{median([run['seconds'] for run in runs]):.0f}",
        f"{median([run['samples_per_second'] for run in runs]):,.0f}",
    ]]
    baselines = store.get(f"{name} baselines", lambda: plain_rows(task, 20, decays, seen))
    for label, result in [*((row["label"], row) for row in published), *baselines.items()]:
        rows.append([label, *(f"{result[figure]:.4f}" for figure in figures), "-", "-"])
    table([name, *figures, "seconds, 2 threads", "samples/s"], rows)


# Steps -----------------------------------------------------------------------------------


def make_steps(num_items: int, even: bool) -> Callable[[], float]:
    """Return a function that takes a step over so many items and returns its seconds."""
    rng = np.random.default_rng(0)
    users, length, batch_size = 20_000, 100, 512
    total = users * length
    if even:
        items = rng.integers(0, num_items, total)
    else:
        items = np.exp(rng.random(total) * np.log(num_items)).astype(np.int64) - 1
    offsets = np.arange(users + 1) * length
    log = Events(
        items.astype(np.int32), offsets[:-1], offsets[1:], np.empty((users, 0), np.int64),
        np.empty((num_items + 1, 0), np.int64),
    )
    options = Options(
        dim=32, hidden_units=(64,), history_length=50, unordered=False, num_features=0,
        num_sampled=255, subtract_log_q=True, normalize=True, temperature=0.05, adaptive=True,
        l2=0.0, seed=1,
    )
    sampler = FixedUnigramSampler(
        num_items, unigrams=np.bincount(items, minlength=num_items) + 1, seed=1
    )
    model = RetrievalModel(num_items, 0, options, sampler)

    def step() -> float:
        positions = rng.integers(0, total, batch_size)
        start = time.perf_counter()
        model.learn(log, positions // length, positions, 0.1, np.uint64(0))
        return time.perf_counter() - start

    return step


def run_steps(even: bool) -> dict[str, Any]:
    """Return the median milliseconds of a step for each number of items, taken in turns."""
    steps = [make_steps(count, even) for count in STEP_SIZES]
    times = np.array([[step() for step in steps] for _ in range(STEPS)])
    return {"milliseconds": (1000 * np.median(times[STEPS // 4 :], axis=0)).tolist()}


def compare_steps(store: Store) -> None:
    rows = []
    for even in (False, True):
        label = "evenly popular" if even else "popularity 1 / rank"
        times = store.get(f"steps {label}", lambda e=even: run_steps(e))["milliseconds"]
        rows.append([label, *(f"{t:.2f}" for t in times), f"{times[-1] / times[0]:.2f}"])
    heads = [f"{count:,} items" for count in STEP_SIZES]
    table(["ms a step", *heads, "last / first"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--movielens", help="folder of MovieLens 100K")
    parser.add_argument("--deepmatch-python", help="interpreter that can import deepmatch")
    parser.add_argument("--gowalla", help="file of Gowalla's check-ins")
    parser.add_argument("--diginetica", help="file of Diginetica's clicks")
    parser.add_argument("--steps", action="store_true", help="measure steps over many items")
    parser.add_argument("--seeds", type=int, default=5, help="of MovieLens; 5")
    parser.add_argument("--more-seeds", type=int, default=1, help="of the other data; 1")
    parser.add_argument("--output", help="file that keeps the results")
    args = parser.parse_args()
    if not (args.movielens or args.gowalla or args.diginetica or args.steps):
        parser.error("expected --movielens, --gowalla, --diginetica or --steps, got none")
    store = Store(args.output)
    if args.movielens:
        compare_movielens(store, args.movielens, args.deepmatch_python, args.seeds)
    if args.gowalla:
        compare_task(
            store, "Gowalla", plain.read_gowalla(args.gowalla), GOWALLA,
            ["Recall@20", "NDCG@20"], (1,), [PUBLISHED], args.more_seeds, timed=False, seen=True,
        )
    if args.diginetica:
        compare_task(
            store, "Diginetica", plain.read_diginetica(args.diginetica), DIGINETICA,
            ["Recall@20", "MRR@20"], (0, 0.5, 1), [], args.more_seeds, timed=True, seen=False,
        )
    if args.steps:
        compare_steps(store)


if __name__ == "__main__":
    main()
