"""What item retrieval is held against: DeepMatch, popularity, co-occurrence; and their data.

    python -m benchmarks.retrieval_baselines deepmatch --data ML100K [--seed 0] [--threads 1]
        [--epochs 20]
    python -m benchmarks.retrieval_baselines plain [--movielens ML100K] [--diginetica FILE]
        [--gowalla FILE]

Each prints one line of JSON a result. ``deepmatch`` trains DeepMatch's YoutubeDNN as its
MovieLens notebook does. It needs ``deepmatch==0.3.2``, ``tensorflow-cpu`` and ``tf-keras``,
if need be in an environment of its own: of this project it imports nothing. ``plain`` needs
SciPy.

Data: ML100K is a folder with MovieLens 100K as RecBole's wheel holds it
(``recbole/dataset_example/ml-100k``). Diginetica's clicks, split by GCE-GNN's rules, and
Gowalla's check-ins, LightGCN's split, are ``.npz`` files with ``train``, ``train_off``,
``test``, ``test_off`` and ``n_items``.

Three protocols, each a `Task`; quality is always measured over all items:

- leave one out (MovieLens): a user's last event is asked for, those before are known;
- next click (Diginetica): each click but the first of a test sequence is asked for, those
  before it are known; items that were clicked before may be the answer;
- held-out set (Gowalla): a user's test items are asked for, the train items are known and
  not recommended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

MAX_HISTORY, NUM_SAMPLED, BATCH_SIZE, DIM, USER_DIM = 50, 255, 512, 32, 16  # the notebook's
USER_FEATURES = ("gender", "age", "occupation", "zip")
PIECE = 1 << 21  # about as many scores are held at a time, in all blockwise work
NEIGHBOURS, DAMPING = 100, 20  # similar items kept of each item, and doubt of rare ones:
# both as in the Item-KNN that GRU4Rec's authors compare with


class Task(NamedTuple):
    """Sequences of item codes from 0 on, each kind flat with offsets; row i asks for row i."""

    num_items: int
    train: Ints
    train_offsets: Ints
    histories: Ints  # what is known of each who is asked about, oldest first
    history_offsets: Ints
    relevant: Ints  # the right answers
    relevant_offsets: Ints


# Data ------------------------------------------------------------------------------------


def read_movielens(folder: str | Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a MovieLens folder in RecBole's form, a row an event, as they stand.

    ``user``, ``item``, ``timestamp``, ``age`` are integers, ``gender``, ``occupation``,
    ``zip``, ``genre`` strings; of a movie's genres, the first.
    """
    events, users, items = (
        _read_table(next(Path(folder).glob(f"*.{kind}"))) for kind in ("inter", "user", "item")
    )
    user_rows = {key: row for row, key in enumerate(users["user_id"])}
    item_rows = {key: row for row, key in enumerate(items["item_id"])}
    of_user = np.array([user_rows[key] for key in events["user_id"]])
    of_item = np.array([item_rows[key] for key in events["item_id"]])
    genres = np.array([value.split()[0] for value in items["class"]])
    return {
        "user": np.array(events["user_id"], np.int64),
        "item": np.array(events["item_id"], np.int64),
        "timestamp": np.array(events["timestamp"], np.int64),
        "gender": np.array(users["gender"])[of_user],
        "age": np.array(users["age"], np.int64)[of_user],
        "occupation": np.array(users["occupation"])[of_user],
        "zip": np.array(users["zip_code"])[of_user],
        "genre": genres[of_item],
    }


def _read_table(path: Path) -> dict[str, list[str]]:
    """Return a tab-separated file's columns; its heads are ``name:type``."""
    head, *rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    names = [name.partition(":")[0] for name in head]
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def user_order(columns: dict[str, NDArray[Any]]) -> tuple[Ints, Ints]:
    """Return the events' rows by user, then by time, and offsets; ties stay in input order."""
    order = np.lexsort((columns["timestamp"], columns["user"]))
    counts = np.unique(columns["user"], return_counts=True)[1]
    return order, _offsets(counts)


def leave_one_out(columns: dict[str, NDArray[Any]]) -> Task:
    """Return the task to find each user's last event; users in the order of their keys.

    An item's code is the rank of its key. Every user has two events at least.
    """
    order, offsets = user_order(columns)
    keys, codes = np.unique(columns["item"], return_inverse=True)
    items, last = codes[order], offsets[1:] - 1
    train, train_offsets = np.delete(items, last), offsets - np.arange(len(offsets))
    answers = np.arange(len(last) + 1)
    return Task(
        len(keys), train, train_offsets, train, train_offsets, items[last], answers
    )


def read_diginetica(path: str | Path) -> Task:
    """Return the task to find each next click of the test sequences; codes are ids less 1."""
    with np.load(path) as file:
        train, train_offsets, num_items = file["train"], file["train_off"], int(file["n_items"])
        test, offsets = file["test"].astype(np.int64) - 1, file["test_off"]
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    targets = np.flatnonzero(np.arange(len(test)) > starts)
    lengths = targets - starts[targets]
    history_offsets = _offsets(lengths)
    places = np.arange(history_offsets[-1]) - np.repeat(history_offsets[:-1], lengths)
    histories = test[np.repeat(starts[targets], lengths) + places]
    return Task(
        num_items, train.astype(np.int64) - 1, train_offsets,
        histories, history_offsets, test[targets], np.arange(len(targets) + 1),
    )


def read_gowalla(path: str | Path) -> Task:
    """Return the task to find each user's test items."""
    with np.load(path) as file:
        train, test = (file[name].astype(np.int64) for name in ("train", "test"))
        offsets, test_offsets = file["train_off"], file["test_off"]
        return Task(int(file["n_items"]), train, offsets, train, offsets, test, test_offsets)


def digest(task: Task) -> str:
    """Return the mark of a split: two sides that print the same one trained on the same."""
    mark = hashlib.sha256()
    for array in task[1:]:
        mark.update(np.asarray(array, "<i8").tobytes())
    return mark.hexdigest()[:16]


def _offsets(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts)))


# Quality ---------------------------------------------------------------------------------


def quality(recommended: Ints, relevant: Ints, offsets: Ints, k: int) -> dict[str, float]:
    """Return HR, Recall, NDCG and MRR at `k` of (n, at least k) ids, best first, -1 for none.

    Right answers are distinct and every row has one at least. NDCG has binary gains and
    its ideal is cut at `k`; MRR is the reciprocal rank of the first hit, 0 without one.
    """
    counts, rows = np.diff(offsets), np.arange(len(offsets) - 1)
    hits = _among(recommended[:, :k], rows, relevant, np.repeat(rows, counts))
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, k) - 1]
    found = hits.any(1)
    values = {
        "HR": found, "Recall": hits.sum(1) / counts, "NDCG": hits @ discounts / ideal,
        "MRR": found / (hits.argmax(1) + 1),
    }
    return {f"{name}@{k}": round(float(value.mean()), 5) for name, value in values.items()}


def _among(ids: Ints, rows: Ints, others: Ints, other_rows: Ints) -> NDArray[np.bool_]:
    """Tell which `ids` (one row of them for each of `rows`) are among the others of the row."""
    base = max(ids.max(initial=0), others.max(initial=0)) + 2  # -1 is an id as well
    return np.isin(rows[:, None] * base + ids, other_rows * base + others)


def top_k(scores: Floats, k: int) -> Ints:
    """Return the columns of the `k` highest scores of each row, best first; ties, lowest first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


# Plain baselines -------------------------------------------------------------------------


def popularity_scores(items: Ints, num_items: int) -> Floats:
    """Return each item's score, which is its number of events."""
    return np.bincount(items, minlength=num_items).astype(np.float64)


def popularity_top_k(task: Task, k: int, remove_seen: bool) -> Ints:
    """Recommend to everybody the `k` items of most events, or those not in the history."""
    ranking = top_k(popularity_scores(task.train, task.num_items)[None], task.num_items)[0]
    lengths = np.diff(task.history_offsets)
    if not remove_seen:
        return np.broadcast_to(ranking[:k], (len(lengths), k))
    candidates = ranking[: k + lengths.max()]  # enough for whoever has seen the most
    found = [
        candidates[np.argsort(_seen(task, rows, candidates[None]), axis=1, kind="stable")[:, :k]]
        for rows in _blocks(len(lengths), len(candidates))
    ]
    return np.concatenate(found)


def cooccurrence_top_k(
    train: Ints, train_offsets: Ints, histories: Ints, history_offsets: Ints,
    k: int, *, num_items: int, decay: float = 0.0, remove_seen: bool = False,
) -> Ints:
    """Recommend what stands in the same sequences as the items of a history (Item-KNN).

    The similarity of two items is the damped cosine of their columns in the binary matrix of
    sequences and items: how many have both, over the root of the product of how many have
    each, both plus `DAMPING`. Of each item, the `NEIGHBOURS` most similar others are kept. A
    candidate's score is the sum of its similarities to the items of the history, the one
    that is n places before the last weighted by ``decay**n``: 0 takes the last item alone
    (the Item-KNN of session-based work, Hidasi et al. 2016), 1 all items alike (Sarwar et
    al. 2001, Deshpande and Karypis 2004). Ties go to the lower id.

    Returns (n, k) ids, best first, -1 where no further item has a score.
    """
    from scipy.sparse import csr_array

    similar = _similarities(train, train_offsets, num_items)
    lengths = np.diff(history_offsets)
    age = np.repeat(history_offsets[1:], lengths) - 1 - np.arange(len(histories))
    weights = float(decay) ** age
    votes = csr_array((weights, histories, history_offsets), shape=(len(lengths), num_items))
    found = []
    for rows in _blocks(len(lengths), NEIGHBOURS * max(1, int(lengths.mean()))):
        scores = csr_array(votes[rows] @ similar).tocoo()
        keep = scores.data > 0
        if remove_seen:
            known = votes[rows].tocoo()
            base = np.int64(num_items)
            keep &= ~np.isin(scores.row * base + scores.col, known.row * base + known.col)
        found.append(
            _best(scores.row[keep], scores.col[keep], scores.data[keep], scores.shape[0], k)[0]
        )
    return np.concatenate(found)


def _similarities(train: Ints, offsets: Ints, num_items: int) -> Any:
    """Return the sparse matrix of each item's nearest neighbours, a block of items at a time."""
    from scipy.sparse import csr_array, vstack

    shape = (len(offsets) - 1, num_items)
    ones = np.ones(len(train), np.float32)
    events = csr_array((ones, train, offsets), shape=shape, copy=True)
    events.sum_duplicates()  # sorts in place, hence the copy
    events.data[:] = 1
    support, by_item = events.sum(0), events.T.tocsr()
    num_pairs = int(np.square(np.diff(events.indptr).astype(np.int64)).sum())
    parts = []
    for rows in _blocks(num_items, num_pairs // num_items + 1):
        pairs = csr_array(by_item[rows] @ events).tocoo()
        first, second = pairs.row + rows.start, pairs.col
        cosine = pairs.data / np.sqrt((support[first] + DAMPING) * (support[second] + DAMPING))
        other = first != second
        count = pairs.shape[0]
        ids, values = _best(pairs.row[other], second[other], cosine[other], count, NEIGHBOURS)
        full = ids >= 0
        starts = _offsets(full.sum(1))
        parts.append(csr_array((values[full], ids[full], starts), shape=(count, num_items)))
    return vstack(parts, format="csr")


def _best(rows: Ints, ids: Ints, values: Floats, count: int, k: int) -> tuple[Ints, Floats]:
    """Return (count, k) ids of highest value in each row, best first, -1 for none; and values."""
    order = np.lexsort((ids, -values, rows))
    rows, ids, values = rows[order], ids[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(count))[rows]
    first = place < k
    best_ids, best_values = np.full((count, k), -1), np.zeros((count, k))
    best_ids[rows[first], place[first]] = ids[first]
    best_values[rows[first], place[first]] = values[first]
    return best_ids, best_values


def _blocks(count: int, width: int) -> list[slice]:
    """Cut `count` rows of about `width` scores each."""
    size = max(1, PIECE // width)
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def _seen(task: Task, rows: slice, ids: Ints) -> NDArray[np.bool_]:
    """Tell which `ids` stand in the histories of the rows."""
    starts = task.history_offsets[rows.start : rows.stop + 1]
    members = np.repeat(np.arange(rows.start, rows.stop), np.diff(starts))
    known = task.histories[starts[0] : starts[-1]]
    return _among(ids, np.arange(rows.start, rows.stop), known, members)


def plain_results(
    name: str, task: Task, cuts: tuple[int, ...], decays: tuple[float, ...], remove_seen: bool
) -> None:
    """Print the quality of popularity, and of co-occurrence with each decay, at each cut."""
    k = max(cuts)
    for decay in (None, *decays):
        start = time.perf_counter()
        if decay is None:
            label, found = "popularity", popularity_top_k(task, k, remove_seen)
        else:
            label = f"co-occurrence, decay {decay:g}"
            found = cooccurrence_top_k(
                task.train, task.train_offsets, task.histories, task.history_offsets, k,
                num_items=task.num_items, decay=decay, remove_seen=remove_seen,
            )
        seconds = round(time.perf_counter() - start, 2)
        result = {"data": name, "baseline": label, "seen_removed": remove_seen}
        for cut in cuts:
            result |= quality(found, task.relevant, task.relevant_offsets, cut)
        result |= {"split": digest(task), "rows": len(found), "seconds": seconds}
        print(json.dumps(result), flush=True)


# DeepMatch -------------------------------------------------------------------------------


def deepmatch_inputs(
    columns: dict[str, NDArray[Any]], task: Task
) -> tuple[Any, Any, dict[str, int]]:
    """Return the train and test inputs and the sizes of vocabularies, as the notebook has them.

    Codes start from 1, 0 pads. A user's first event is no target. Histories are the 50 most
    recent items, the latest first.
    """
    order, offsets = user_order(columns)
    first = order[offsets[:-1]]
    codes = {name: _codes(columns[name])[first] for name in ("user", *USER_FEATURES)}
    genres = np.zeros(task.num_items, np.int64)
    genres[_codes(columns["item"]) - 1] = _codes(columns["genre"])
    sizes = {name: len(np.unique(columns[name])) + 1 for name in (*codes, "item", "genre")}
    users = np.repeat(np.arange(len(first)), np.diff(task.train_offsets))
    places = np.flatnonzero(np.arange(len(users)) > task.train_offsets[users])

    def inputs(ends: Ints, who: Ints, targets: Ints) -> dict[str, Ints]:
        window = ends[:, None] - 1 - np.arange(MAX_HISTORY)
        inside = window >= task.train_offsets[who][:, None]
        items = task.train[window]
        names = {name: values[who] for name, values in codes.items()}
        return names | {
            "item": targets + 1,
            "hist_item": np.where(inside, items + 1, 0),
            "hist_genre": np.where(inside, genres[items], 0),
            "hist_len": inside.sum(1),
        }

    train = inputs(places, users[places], task.train[places])
    everyone = np.arange(len(first))
    return train, inputs(task.train_offsets[1:], everyone, task.relevant), sizes


def _codes(column: NDArray[Any]) -> Ints:
    return np.unique(column, return_inverse=True)[1] + 1


def import_deepmatch(seed: int, threads: int) -> Any:
    """Return TensorFlow, ready for DeepMatch: the former Keras, graph mode, so many threads."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    import requests
    import tensorflow as tf

    vars(requests)["get"] = None  # importing DeepMatch asks PyPI for a newer version, and prints
    import deepmatch  # noqa: F401

    tf.compat.v1.disable_eager_execution()
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=config))
    np.random.seed(seed)  # noqa: NPY002 - Keras shuffles with it
    tf.random.set_seed(seed)
    return tf


def build_deepmatch(sizes: dict[str, int], item_count: list[int], seed: int) -> Any:
    """Return YoutubeDNN as the notebook builds it, compiled."""
    from deepctr.feature_column import SparseFeat, VarLenSparseFeat
    from deepmatch.models import YoutubeDNN
    from deepmatch.utils import NegativeSampler, sampledsoftmaxloss

    def pooled(name: str) -> Any:
        column = SparseFeat(f"hist_{name}", sizes[name], DIM, embedding_name=name)
        return VarLenSparseFeat(column, MAX_HISTORY, "mean", "hist_len")

    user_columns = [SparseFeat(name, sizes[name], USER_DIM) for name in ("user", *USER_FEATURES)]
    sampler = NegativeSampler("frequency", NUM_SAMPLED, "item", item_count=item_count)
    model = YoutubeDNN(
        [*user_columns, pooled("item"), pooled("genre")], [SparseFeat("item", sizes["item"], DIM)],
        user_dnn_hidden_units=(128, 64, DIM), sampler_config=sampler, seed=seed,
    )
    model.compile(optimizer="adam", loss=sampledsoftmaxloss)
    return model


def run_deepmatch(folder: str, seed: int, threads: int, epochs: int) -> dict[str, Any]:
    """Train and evaluate DeepMatch on MovieLens; return the figures."""
    columns = read_movielens(folder)
    task = leave_one_out(columns)
    train, test, sizes = deepmatch_inputs(columns, task)
    tf = import_deepmatch(seed, threads)
    item_count = np.bincount(train["item"], minlength=sizes["item"]).tolist()
    model = build_deepmatch(sizes, item_count, seed)
    times = [time.perf_counter()]
    clock = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: times.append(time.perf_counter())
    )
    samples = len(train["item"])
    history = model.fit(
        train, np.ones(samples), batch_size=BATCH_SIZE, epochs=epochs, verbose=0, callbacks=[clock]
    )
    every_item = {"item": np.arange(1, sizes["item"])}
    users = tf.keras.Model(model.user_input, model.user_embedding).predict(test)
    items = tf.keras.Model(model.item_input, model.item_embedding).predict(every_item)
    seconds = np.diff(times)
    warm = seconds[1:] if epochs > 1 else seconds
    return {
        "system": "DeepMatch", "seed": seed, "threads": threads, "epochs": epochs,
        "split": digest(task), "users": len(users), "items": len(items), "samples": samples,
        "train_seconds": round(float(seconds.sum()), 2),
        "samples_per_second": round(samples * len(warm) / float(warm.sum())),
        "loss": round(float(history.history["loss"][-1]), 4),
        "unfiltered": _figures(users @ items.T, task, remove_seen=False),
        "seen_removed": _figures(users @ items.T, task, remove_seen=True),
    }


def _figures(scores: Floats, task: Task, remove_seen: bool) -> dict[str, float]:
    """Return HR@50, HR@10 and NDCG@10 of an exact search."""
    if remove_seen:
        rows = np.repeat(np.arange(len(scores)), np.diff(task.history_offsets))
        scores[rows, task.histories] = -np.inf
    found = top_k(scores, 50)
    results = quality(found, task.relevant, task.relevant_offsets, 50)
    results |= quality(found, task.relevant, task.relevant_offsets, 10)
    return {name: results[name] for name in ("HR@50", "HR@10", "NDCG@10")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    deepmatch = commands.add_parser("deepmatch")
    deepmatch.add_argument("--data", required=True)
    deepmatch.add_argument("--seed", type=int, default=0)
    deepmatch.add_argument("--threads", type=int, default=1)
    deepmatch.add_argument("--epochs", type=int, default=20)
    plain = commands.add_parser("plain")
    for name in ("movielens", "diginetica", "gowalla"):
        plain.add_argument(f"--{name}")
    args = parser.parse_args()
    if args.command == "deepmatch":
        try:
            with contextlib.redirect_stdout(sys.stderr):  # leave to us the one line of JSON
                result = run_deepmatch(args.data, args.seed, args.threads, args.epochs)
        except ImportError as error:
            result = {"system": "DeepMatch", "skipped": f"cannot be imported: {error}"}
        print(json.dumps(result))
        return
    if args.movielens:
        task = leave_one_out(read_movielens(args.movielens))
        for remove_seen in (False, True):
            plain_results("MovieLens", task, (10, 50), (0, 0.5, 1), remove_seen)
    if args.diginetica:
        task = read_diginetica(args.diginetica)
        plain_results("Diginetica", task, (20,), (0, 0.5, 1), remove_seen=False)
    if args.gowalla:  # sets have no last item
        plain_results("Gowalla", read_gowalla(args.gowalla), (20,), (1,), remove_seen=True)


if __name__ == "__main__":
    main()
