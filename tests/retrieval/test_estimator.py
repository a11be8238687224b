"""estimator.py: planted structure found again, the same bits from every side, bad input refused."""

import datetime as dt
import json
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Thread

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io.checkpoint import read_state, write_state
from numba_ss.kernels.core.threads import max_num_threads
from numba_ss.logs.interactions import read_interactions
from numba_ss.logs.splits import leave_one_out, split_by_time
from numba_ss.retrieval import session
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.nearest import ExactIndex, FaissIndex
from tests.conftest import JIT, needs_jit

SAMPLERS = ("unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed")
OPTIMIZERS = ("adagrad", "sgd")
NUM_ITEMS = 24 if JIT else 12
GOOD = 0.9 if JIT else 0.5  # share of right answers: of few events, less is learned


def cycle(num_users, length, num_items=NUM_ITEMS, seed=0):
    """Return events of users who go round: item i is followed by item i + 1."""
    rng = np.random.default_rng(seed)
    first = rng.integers(num_items, size=num_users)
    return {
        "user": np.repeat(100 + np.arange(num_users), length),
        "item": ((first[:, None] + np.arange(length)) % num_items).reshape(-1),
        "timestamp": np.tile(np.arange(length), num_users),
    }


LOG = cycle(60 if JIT else 12, 6)


def trained(log=LOG, *, fit=None, **options):
    """Fit on one thread, for on a small log others cost time."""
    defaults = {
        "embedding_dim": 8, "hidden_units": (8,), "batch_size": 32, "epochs": 2, "num_sampled": 6,
        "num_threads": 1,
    }
    return YouTubeDNN(**defaults | options).fit(log, progress=False, **(fit or {}))


def bits(model):
    """Return all that was learned."""
    return (
        model.log_.user_keys.take(np.arange(model.log_.num_users)).tolist(),
        model.log_.item_keys.take(np.arange(model.log_.num_items)).tolist(),
        model.log_.items.tobytes(), model.item_vectors_.tobytes(),
        {name: array.tobytes() for name, array in model._model.arrays().items()},
        [entry["loss"] for entry in model.history_],
    )


def share(log, answers, **options):
    """Return how often the first recommendation is the answer."""
    found = trained(log, **options).recommend(sorted(answers), 1)
    return np.mean([item == answers[user] for user, item in zip(found.users, found.items[:, 0], strict=True)])


def next_of(log, num_items=NUM_ITEMS):
    """Return what follows the last item of each user of `cycle`."""
    return {
        user: (item + 1) % num_items
        for user, item in zip(log["user"].tolist(), log["item"].tolist(), strict=True)
    }


CASES = list(product(SAMPLERS, OPTIMIZERS, ((), (16,)), (True, False)))


# With something else each time; uninterpreted a few.
@pytest.mark.parametrize(
    ("sampler", "optimizer", "hidden_units", "normalize"), CASES[:: 3 if JIT else 13]
)
def test_what_follows_is_found(sampler, optimizer, hidden_units, normalize):
    """By chance 1 in 19 would be right, of those not seen."""
    log = cycle(120, 6) if JIT else cycle(24, 6)
    rate = 0.3 if optimizer == "adagrad" else 10 if normalize else 1
    options = {
        "sampler": sampler, "optimizer": optimizer, "hidden_units": hidden_units,
        "normalize": normalize, "temperature": 0.1 if normalize else 1, "learning_rate": rate,
    }
    hits = share(log, next_of(log), embedding_dim=16, history_length=2, epochs=25 if JIT else 9, **options)
    assert hits > GOOD, hits


def groups(num_users, length, num_groups=3, size=8, seed=1):
    """Return events of users each of whom takes items of one group; item 12 is of group 1."""
    rng = np.random.default_rng(seed)
    of_user = np.arange(num_users) % num_groups
    items = rng.permuted(np.tile(np.arange(size), (num_users, 1)), axis=1)[:, :length]
    return {
        "user": np.repeat(np.arange(num_users), length),
        "item": (10 * of_user[:, None] + items).reshape(-1),
        "taste": np.repeat(np.array(["tea", "rum", "beer"])[of_user], length),
        "timestamp": rng.permutation(num_users * length),
    }


def of_group(found, group):
    """Return the share of recommendations, (n, k), that are of the groups, (n,)."""
    return np.mean(found.items // 10 == np.asarray(group)[:, None])


MANY = groups(300, 5) if JIT else groups(24, 4)
LEARNING = {"epochs": 20 if JIT else 8, "learning_rate": 0.3, "temperature": 0.2}


@pytest.mark.parametrize("sampler", SAMPLERS[:: 1 if JIT else 3])
@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_what_is_taken_together_is_found(sampler, timestamp):
    """By chance 3 in 19 would be of the group."""
    model = trained(MANY, sampler=sampler, timestamp=timestamp, **LEARNING)
    known = model.recommend(k=3)
    assert of_group(known, known.users % 3) > GOOD
    # Strangers too, in any order.
    histories = [[3, 1, 6], [14, 11, 10], [21, 25, 22]]
    assert of_group(model.recommend(histories=histories, k=4), [0, 1, 2]) > GOOD
    named = model.recommend(histories=dict(zip("xyz", histories, strict=True)), k=4)
    assert named.users.tolist() == ["x", "y", "z"]
    assert named.items.tolist() == model.recommend(histories=histories, k=4).items.tolist()
    pair = model.user_vectors(histories=[[3, 14, 2], [2, 14, 3]])
    np.testing.assert_allclose(*pair, atol=1e-5)


def test_features_of_users_alone_tell():
    """Each user takes one item: there is no history to learn from."""
    log = {name: values[::5 if JIT else 4] for name, values in groups(*((600, 5) if JIT else (60, 4))).items()}
    model = trained(log, user_features=["taste"], **LEARNING)
    tastes = ["tea", "rum", "beer"]
    known = model.recommend(histories=[[], [], []], features={"taste": tastes}, k=4)
    assert of_group(known, [0, 1, 2]) > GOOD
    plain = trained(log, **LEARNING).recommend(histories=[[], [], []], k=4)
    assert of_group(plain, [0, 1, 2]) < 0.5
    # Unknown values are all the same, and that of a user who is not known.
    queries = {"histories": [[], [], []], "features": {"taste": ["gin", None, np.nan]}}
    strangers = model.user_vectors(**queries)
    np.testing.assert_array_equal(strangers[:1], model.user_vectors([-5]))
    np.testing.assert_array_equal(strangers, model.user_vectors(histories=[[], [], []]))


@needs_jit
def test_the_user_itself_as_a_feature():
    """Between users without a history nothing else can tell."""
    log = groups(6, 8)
    options = {"history_length": 1, "epochs": 60, "learning_rate": 0.3, "temperature": 0.2}
    model = trained(log, user_features=["user", "taste"], **options)
    assert list(model.log_.user_features) == ["taste"]
    rows = model._rows.of_users(model.log_, np.array([2, -1]))
    assert (rows[0] - rows[1]).tolist()[0] == 3
    vectors = model.user_vectors([0, 3, 999])
    empty = model.user_vectors(histories=[[]])
    np.testing.assert_array_equal(vectors[2:], empty)
    without = model.recommend([0, 1, 2], 4, exclude_seen=False)
    assert of_group(without, [0, 1, 2]) > 0.9
    with pytest.raises(ArgumentError, match="features: expected names among taste, got 'user'"):
        model.user_vectors(histories=[[]], features={"user": [0]})


def test_new_items_of_a_known_category_come_near_it():
    log = groups(90, 5) if JIT else groups(30, 4)
    log["kind"] = np.array(["leaf", "cane", "malt"])[log["item"] // 10]
    model = trained(log, item_features=["kind"], **LEARNING)
    more = {"user": [0, 1, 2], "item": [99, 100, 101], "timestamp": [10**6] * 3}
    # The events contradict the categories, and teach little: the rate is 0.
    more["kind"] = ["cane", "malt", "leaf"]
    model.set_params(learning_rate=0).partial_fit(more, progress=False)
    vectors = model.item_vectors_[model.log_.item_keys.codes([99, 100, 101])]
    near = vectors @ model.item_vectors_[: 3 * 8].T
    kinds = model.log_.item_keys.take(np.arange(24)) // 10
    means = np.stack([near[:, kinds == kind].mean(axis=1) for kind in range(3)], axis=1)
    assert means.argmax(axis=1).tolist() == [1, 2, 0]


def test_item_features_alone_tell():
    """Items that nobody took twice have but their category in common."""
    num_users, length = (80, 4) if JIT else (20, 3)
    kind = np.repeat(np.arange(num_users) % 3, length)
    events = np.arange(num_users * length)
    log = {"user": events // length, "item": 3 * events + kind, "timestamp": events, "kind": kind}

    def own(**options):
        found = trained(log, **LEARNING, **options).recommend(k=5)
        return np.mean(found.items % 3 == found.users[:, None] % 3)

    assert own(item_features=["kind"]) > GOOD
    assert own() < 0.6


@needs_jit
@pytest.mark.skipif(max_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_number_of_threads_gives_the_same_bits(sampler):
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(2000 * (name == "item") + 300, size=9000) for name in ("user", "item", "kind")}
    log = {**columns, "timestamp": np.arange(9000)}
    options = {
        "embedding_dim": 24, "hidden_units": (40, 20), "batch_size": 512, "sampler": sampler,
        "num_sampled": 100, "epochs": 1, "user_features": ["kind"], "item_features": ["user"],
    }
    one, two = (trained(log, num_threads=n, **options) for n in (1, 2))
    assert bits(one) == bits(two)
    np.testing.assert_array_equal(one.user_vectors(), two.user_vectors())
    assert repr(one.recommend([1, 2], 9)) == repr(two.recommend([1, 2], 9))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides(sampler):
    """Of initial vectors, the order of events and candidates."""
    three = trained(seed=3, sampler=sampler)
    assert bits(three) == bits(trained(seed=3, sampler=sampler))
    four = trained(seed=2**31 - 1, sampler=sampler)
    assert bits(three)[:3] == bits(four)[:3]
    assert not np.isclose(three.item_vectors_, four.item_vectors_).all()


TABLE = {**LOG, "item": [f"ä{item}" for item in LOG["item"]], "taste": LOG["user"] % 2}


def written(form, folder):
    """Return the events of TABLE in another form."""
    if form in ("pandas", "polars", "pyarrow"):
        maker = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table"}[form]
        return getattr(pytest.importorskip(form), maker)(TABLE)
    if form == "lists":
        return {name: list(values) for name, values in TABLE.items()}
    if form == "log":
        return read_interactions(TABLE, user_features=["taste", "user"], progress=False)
    table = pytest.importorskip("pyarrow").table(TABLE)
    parquet = pytest.importorskip("pyarrow.parquet")
    if form == "csv":
        pytest.importorskip("pyarrow.csv").write_csv(table, folder / "log.csv")
        return folder / "log.csv"
    half = table.num_rows // 2
    parts = [table] if form == "parquet" else [table.slice(0, half), table.slice(half)]
    for i, part in enumerate(parts):
        parquet.write_table(part, folder / f"{i}.parquet", row_group_size=50)
    assert parquet.ParquetFile(folder / "0.parquet").num_row_groups > 1 or not JIT
    return {"parquet": folder / "0.parquet", "folder": folder, "pattern": str(folder / "*.parquet"),
            "files": sorted(folder.iterdir())}[form]


@pytest.mark.parametrize(
    "form",
    ["lists", "log", "pandas", "polars", "pyarrow", "parquet", "files", "folder", "pattern", "csv"],
)
def test_every_form_of_a_log_gives_the_same_bits(form, tmp_path):
    options = {"user_features": ["taste"], "epochs": 1}
    assert bits(trained(written(form, tmp_path), **options)) == bits(trained(TABLE, **options))


def test_arrays_and_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    triples = np.stack([LOG[name] for name in ("user", "item", "timestamp")], axis=1)
    assert bits(trained(triples)) == bits(trained())
    # A model of timed events takes pairs too, which have no times.
    pairs = triples[np.lexsort((triples[:, 1], triples[:, 0])), :2]
    model = trained(pairs)
    assert bits(model) == bits(trained({"user": pairs[:, 0], "item": pairs[:, 1]}, timestamp=None))
    for form in (sparse.coo_matrix, sparse.csr_array):
        matrix = form((np.full(len(pairs), 2.5), (pairs[:, 0], pairs[:, 1])))
        assert bits(trained(matrix)) == bits(model)


def test_two_fits_are_one(tmp_path):
    """Nothing of an earlier fit stays, nor of a failed one."""
    model = trained(MANY, epochs=1)
    model.set_params(epochs=2)
    assert bits(model.fit(LOG, progress=False)) == bits(trained())
    model.partial_fit(LOG, progress=False)
    assert bits(model.fit(LOG, progress=False)) == bits(trained())


def test_history():
    history = trained(epochs=3, learning_rate=0.05).history_
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert {entry["events"] for entry in history} == {len(LOG["user"])}
    assert {entry["learning_rate"] for entry in history} == {0.05}
    assert {*history[0]} == {"epoch", "loss", "learning_rate", "events", "seconds", "events_per_second"}
    assert all(entry["seconds"] >= 0 and entry["events_per_second"] > 0 for entry in history)
    assert history[-1]["loss"] < history[0]["loss"]
    assert trained().history_[0]["learning_rate"] == 0.1
    assert trained(optimizer="sgd").history_[0]["learning_rate"] == 10


@needs_jit
def test_the_first_loss_is_that_of_a_guess():
    """Among 6 drawn items and the label, when almost all scores are alike."""
    log = cycle(300, 6, num_items=200)
    loss = trained(log, epochs=1, learning_rate=0, temperature=1000, sampler="uniform").history_[0]["loss"]
    # Log Q of the label, drawn 6 times in 200, is that of all others.
    assert loss == pytest.approx(np.log(7), rel=0.02)


STRINGS = {
    "who is": ["ann", "bob", "ann", "eve", "bob", "ann", "eve"] * 3, "what?": list("abcabdcbbcabdcabcabdc"),
    "@": list(range(21)), "her own 1": ["x", None, "y", "x", "x", "y", "x"] * 3, "of what": [1, 2, 3, 1, 2, 4, 3] * 3,
}
COLUMNS = {
    "user": "who is", "item": "what?", "timestamp": "@", "user_features": ["her own 1"],
    "item_features": ["of what"],
}


def test_recommendations_are_in_the_caller_s_keys():
    model = trained(STRINGS, **COLUMNS)
    found = model.recommend(["eve", "ann", "nobody"], 2)
    assert found.users.tolist() == ["eve", "ann", "nobody"]
    assert {found.users.dtype, found.items.dtype} == {np.dtype(object)}
    assert {*found.items[0]} == {"b", "d"}
    assert found.items[1].tolist() == [None, None]
    assert found.scores[1].tolist() == [-np.inf] * 2
    assert set(found.items[2]) < set("abcd")
    columns = found.columns()
    assert list(columns) == ["user", "item", "rank", "score"]
    assert columns["user"].tolist() == ["eve"] * 2 + ["nobody"] * 2
    assert columns["item"].tolist() == [*found.items[0], *found.items[2]]
    assert columns["rank"].tolist() == [1, 2, 1, 2]
    assert columns["score"].tolist() == [*found.scores[0], *found.scores[2]]
    table = pytest.importorskip("pyarrow").table(columns)
    assert table.column("item").to_pylist() == columns["item"].tolist()


@pytest.mark.parametrize("normalize", [True, False])
def test_recommendations_are_those_of_highest_score(normalize):
    model = trained(normalize=normalize)
    users = model.log_.user_keys.take(np.arange(model.log_.num_users))
    scores = model.user_vectors().astype(float) @ model.item_vectors_.T.astype(float)
    for u in range(model.log_.num_users):
        scores[u, model.log_.history(u)] = -np.inf
    found = model.recommend(k=NUM_ITEMS + 3)
    np.testing.assert_array_equal(found.users, users)
    np.testing.assert_allclose(found.scores[:, :NUM_ITEMS], -np.sort(-scores, axis=1), rtol=1e-4, atol=1e-5)
    there = NUM_ITEMS - 6
    assert (found.items[:, there:] == -(2**63)).all()
    assert np.isneginf(found.scores[:, there:]).all()
    codes = model.log_.item_keys.codes(found.items[:, :there].reshape(-1)).reshape(-1, there)
    np.testing.assert_allclose(np.take_along_axis(scores, codes, 1), found.scores[:, :there], rtol=1e-4, atol=1e-5)
    both = model.recommend(users[:1], NUM_ITEMS, exclude_seen=False)
    assert sorted(both.items[0]) == sorted(model.log_.item_keys.take(np.arange(NUM_ITEMS)))
    if normalize:
        for vectors in (model.user_vectors(), model.item_vectors_):
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_users_are_their_histories():
    model = trained(MANY, user_features=["taste"])
    users = [7, 3, 7]
    histories = [model.log_.item_keys.take(model.log_.history(code)) for code in model.log_.user_keys.codes(users)]
    features = {"taste": [["tea", "rum", "beer"][user % 3] for user in users]}
    want = model.user_vectors(users)
    np.testing.assert_array_equal(want, model.user_vectors(histories=histories, features=features))
    assert np.isin(features["taste"], ["tea", "rum"]).all()
    assert np.abs(want - model.user_vectors(histories=histories)).max() > 1e-3
    known, told = model.recommend(users, 5), model.recommend(histories=histories, features=features, k=5)
    np.testing.assert_array_equal(known.items, told.items)
    assert told.users.tolist() == [0, 1, 2]
    # Unknown items do not count, and what was long ago does not.
    longer = [[*[998] * 60, *items[:2], 999, *items[2:]] for items in histories]
    np.testing.assert_array_equal(want, model.user_vectors(histories=longer, features=features))


@needs_jit
def test_queries_from_several_threads_do_not_mix():
    model, seen = trained(random_log(), user_features=["user"]), []
    want = model.user_vectors()

    def ask():
        seen.extend(np.array_equal(model.user_vectors(), want) for _ in range(50))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert seen == [True] * 100


@needs_jit
def test_two_threads_that_learn_wait_for_each_other():
    """Both logs are learned from, as if one call had come after the other."""
    first, second = random_log(1), random_log(2)
    want = []
    for pair in ((first, second), (second, first)):
        model = trained()
        for log in pair:
            model.partial_fit(log, progress=False)
        want.append(bits(model))
    model = trained()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda log: model.partial_fit(log, progress=False), (first, second)))
    assert bits(model) in want


@needs_jit
def test_a_model_that_learns_is_asked_for_what_it_had_learned_before():
    model = trained()
    before, more = bits(model), cycle(9, 7, NUM_ITEMS + 5)
    want, answers = model.recommend(k=3), []

    def ask(event):
        if event.kind == "step":
            with ThreadPoolExecutor(1) as pool:
                answers.append(pool.submit(model.recommend, k=3).result())

    model.partial_fit(more, callbacks=ask, progress=False)
    assert bits(model) != before
    first = answers[0]
    np.testing.assert_array_equal(first.items, want.items)
    np.testing.assert_array_equal(first.scores, want.scores)


def test_an_answer_is_of_one_model():
    """A fit that ends between the parts of a query changes none of them."""
    model, other = trained(), trained(cycle(9, 7, NUM_ITEMS + 5))
    want, search = model.recommend(k=3), YouTubeDNN._search

    def search_late(self, *given):
        vars(model).update(vars(other))
        return search(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(YouTubeDNN, "_search", search_late)
        found = model.recommend(k=3)
    np.testing.assert_array_equal(found.items, want.items)
    np.testing.assert_array_equal(found.scores, want.scores)


def test_what_was_longer_ago_than_the_history_is_forgotten():
    model = trained(history_length=2)
    want = model.user_vectors(histories=[[5, 6]])
    np.testing.assert_array_equal(want, model.user_vectors(histories=[[1, 2, 3, 5, 6]]))
    assert np.abs(want - model.user_vectors(histories=[[4, 6]])).max() > 1e-3
    found = model.recommend(histories=[[1, 2, 3, 5, 6]], k=NUM_ITEMS)
    assert not {1, 2, 3, 5, 6} & {*found.items[0]}


def test_newcomers():
    """A user who is not known is one without a history and features."""
    model = trained(MANY, user_features=["taste", "user"])
    found = model.recommend([-1, 10**6], 4)
    assert found.users.tolist() == [-1, 10**6]
    empty = model.recommend(histories=[[], np.empty(0, int), [555]], k=4)
    np.testing.assert_array_equal(np.concatenate([found.items, found.items[:1]]), empty.items)
    np.testing.assert_array_equal(found.scores[0], empty.scores[2])
    for nobody in (model.recommend([], 3), model.recommend(histories=[], k=3)):
        assert nobody.items.shape == nobody.scores.shape == (0, 3)
        assert len(nobody.columns()["user"]) == 0
    assert model.user_vectors(np.array([], int)).shape == (0, 8)


@pytest.mark.parametrize("form", [list, tuple, set, iter, np.array, "pandas", "polars", "pyarrow"])
def test_users_and_items_come_in_any_form(form):
    if isinstance(form, str):
        module = pytest.importorskip(form)
        form = module.array if form == "pyarrow" else module.Series
    model = trained()
    want = model.recommend([105], 3)
    found = model.recommend(form([105]), 3)
    assert found.users.tolist() == [105]
    assert {found.users.dtype, found.items.dtype} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(found.items, want.items)
    code = model.log_.user_keys.codes([105])[0]
    history = model.log_.item_keys.take(model.log_.history(code))
    vector = model.user_vectors([105])
    if form is not set:
        np.testing.assert_array_equal(model.user_vectors(histories=[form(history)]), vector)
    for histories in (history[None], iter([history])):
        np.testing.assert_array_equal(model.user_vectors(histories=histories), vector)


@pytest.mark.parametrize("features", [{"member": [True, False]}, {"member": [1, 0]}, {"member": np.array([True, False])}])
def test_truth_values_as_features(features):
    log = {**LOG, "member": LOG["user"] % 2 == 0}
    model = trained(log, user_features=["member"])
    vectors = model.user_vectors(histories=[[], []], features=features)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    code = model.log_.user_keys.codes([100])[0]
    history = model.log_.item_keys.take(model.log_.history(code))
    told = model.user_vectors(histories=[history, history], features=features)
    np.testing.assert_array_equal(told[0], model.user_vectors([100])[0])


@pytest.mark.parametrize("kind", [ExactIndex, FaissIndex])
def test_an_index_finds_the_same(kind):
    if kind is FaissIndex:
        pytest.importorskip("faiss")
    model = trained(MANY, epochs=3)
    index = model.fill_index(kind())
    assert len(index) == 24
    for query in ({}, {"histories": [[1, 2], []]}, {"exclude_seen": False, "users": [5]}):
        want, found = model.recommend(k=7, **query), model.recommend(k=7, index=index, **query)
        np.testing.assert_array_equal(found.items, want.items)
        np.testing.assert_allclose(found.scores, want.scores, rtol=1e-5)
    want = model.evaluate(MANY, [3, 5], exclude_seen=False)
    assert model.evaluate(MANY, [3, 5], exclude_seen=False, index=index) == want
    with pytest.raises(ArgumentError, match="model: expected one that has learned"):
        YouTubeDNN().fill_index(kind())


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("users, histories: expected one of the two, got both", {"users": [1], "histories": [[1]]}),
        ("features: expected None, where no histories are given", {"users": [1], "features": {}}),
        (r"users\[0\]: expected integer keys, as before, got 'a'", {"users": ["a"]}),
        ("users: expected a list or an array, got 5", {"users": 5}),
        (r"histories\[1\]\[0\]: expected integer keys, as before, got 'b'", {"histories": [[1], ["b"]]}),
        (r"histories\[0\]: expected a list or an array, got 'b'", {"histories": ["b"]}),
        ("histories: expected a list of lists of items, got str", {"histories": "b"}),
        ("histories: expected a list of lists of items, got int", {"histories": 5}),
        ("histories: expected a list of lists of items, got dict", {"histories": {1: [2]}}),
        (r"users\[0\]: expected a string or an integer, got null", {"users": [None]}),
        (r"features\['taste'\]: expected 2 values, got 1", {"histories": [[], []], "features": {"taste": ["tea"]}}),
        (r"features\['taste'\]\[0\]: expected string keys, as before, got 7", {"histories": [[]], "features": {"taste": [7]}}),
        ("features: expected names among taste, got 'age'", {"histories": [[]], "features": {"age": [7]}}),
        ("k: expected at least 1, got 0", {"k": 0}),
        ("k: expected an integer, got 1.5", {"k": 1.5}),
        ("exclude_seen: expected True or False, got 1", {"exclude_seen": 1}),
    ],
)
def test_bad_queries(message, arguments):
    model = trained(MANY, user_features=["taste"], epochs=1)
    with pytest.raises(ArgumentError, match=rf"^{message}"):
        model.recommend(**arguments)
    with pytest.raises(ArgumentError, match="model: expected one that has learned"):
        YouTubeDNN().recommend(**arguments)


def plain_figures(model, asked, k, exclude_seen):
    """Return the figures of `evaluate`, counted in plain Python; `asked` are pairs of keys."""
    seen = {}
    for code in range(model.log_.num_users):
        (user,) = model.log_.user_keys.take([code]).tolist()
        seen[user] = set(model.log_.item_keys.take(model.log_.history(code)).tolist())
    wanted, shown = {}, set()
    for user, item in asked:
        if not (exclude_seen and item in seen.get(user, ())):
            wanted.setdefault(user, set()).add(item)
    sums = dict.fromkeys(("HR", "Recall", "NDCG", "MRR"), 0)
    for user in {user for user, _ in asked}:
        best = model.recommend([user], k, exclude_seen=exclude_seen).items[0].tolist()
        shown |= {item for item in best if item not in (None, -(2**63))}
        if user in wanted:
            hits = [rank for rank, item in enumerate(best, 1) if item in wanted[user]]
            ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(k, len(wanted[user])) + 1))
            sums["HR"] += bool(hits)
            sums["Recall"] += len(hits) / len(wanted[user])
            sums["NDCG"] += sum(1 / np.log2(rank + 1) for rank in hits) / ideal
            sums["MRR"] += 1 / hits[0] if hits else 0
    figures = {f"{name}@{k}": value / len(wanted) for name, value in sums.items()}
    return figures | {f"coverage@{k}": len(shown) / model.log_.num_items, "users": len(wanted)}


def random_log(num_users=25, num_items=15, num_events=160, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "user": rng.integers(num_users, size=num_events), "item": rng.integers(num_items, size=num_events),
        "timestamp": rng.integers(10**6, size=num_events),
    }


def pairs_of(log):
    users = np.repeat(np.arange(log.num_users), np.diff(log.offsets))
    return list(zip(log.user_keys.take(users).tolist(), log.item_keys.take(log.items).tolist(), strict=True))


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("way", ["leave_one_out", "split_by_time", "another log"])
def test_evaluate_counts_as_one_would_by_hand(way, exclude_seen):
    """Some events repeat earlier ones; some users of the test are not in the train part."""
    whole = read_interactions(random_log(), progress=False)
    train, test = split_by_time(whole, 0.3) if way == "split_by_time" else leave_one_out(whole)
    if way == "another log":
        test = {"user": [1, 2, 999, 1, 2, 5, 5], "item": [3, 4, 5, 3, 777, 6, 7], "timestamp": [0] * 7}
        asked = list(zip(test["user"], test["item"], strict=True))
    else:
        asked = pairs_of(test)
    model = trained(train)
    found = model.evaluate(test, [2, 6], exclude_seen=exclude_seen)
    protocol = found.pop("protocol")
    want = plain_figures(model, asked, 2, exclude_seen) | plain_figures(model, asked, 6, exclude_seen)
    assert found == pytest.approx(want)
    assert 0 < found["HR@2"] <= found["HR@6"] < 1
    assert "15 items ranked" in protocol
    ways = {"split_by_time": "split by time, from ", "another log": "events of another log: "}
    assert protocol.startswith(ways.get(way, "leave one out: "))
    assert ("not left out" in protocol) == (not exclude_seen)
    assert f"of {want['users']} users asked for" in protocol


def test_score_is_ndcg_and_figures_may_be_cut_beyond_the_items():
    train, test = leave_one_out(read_interactions(random_log(), progress=False))
    model = trained(train)
    assert model.score(test) == model.evaluate(test, 50)["NDCG@50"] == model.evaluate(test)["NDCG@50"]


def test_test_parts_need_no_features():
    log = {**LOG, "kind": LOG["item"] % 3, "of": LOG["user"] % 3}
    model = trained(log, item_features=["kind"], user_features=["of", "user"])
    assert model.evaluate(LOG, 3, exclude_seen=False)["users"] == len(set(LOG["user"]))


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("k: expected at least 1, got 0", {"k": 0}),
        ("k: expected at least 1, got -1", {"k": [3, -1]}),
        ("exclude_seen: expected True or False", {"exclude_seen": None}),
        ("source: expected a column 'user'", {"test": {"item": [1]}}),
        ("source: expected at least one event", {"test": {"user": [], "item": [], "timestamp": []}}),
        ("test: expected an event of an item that the user has not had, got none", {"test": LOG}),
        ("test: expected a log that was read with known=model.log_, .* got one with other user_keys",
         {"test": read_interactions(MANY, progress=False)}),
    ],
)
def test_bad_tests(message, arguments):
    model = trained()
    with pytest.raises(ArgumentError, match=message):
        model.evaluate(**{"test": random_log(), **arguments})
    with pytest.raises(ArgumentError, match="model: expected one that has learned"):
        YouTubeDNN().evaluate(LOG)


FORMS = {
    "strings": (STRINGS, COLUMNS),
    "integers": (LOG, {}),
    "sets": (LOG, {"timestamp": None, "hidden_units": (), "sampler": "in_batch"}),
    "features": (
        {**MANY, "kind": MANY["item"] // 10},
        {"user_features": ("user", "taste"), "item_features": ("kind",), "optimizer": "sgd", "sampler": "mixed"},
    ),
    "numpy": (
        LOG,
        {"embedding_dim": np.int64(8), "hidden_units": np.array([4, 3]), "temperature": np.float32(0.25),
         "learning_rate": np.float64(0.1), "normalize": np.bool_(False), "seed": np.uint32(5),
         "validation": np.float32(0.5), "early_stopping": np.int8(3), "epochs": np.int16(2)},
    ),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_a_saved_model_is_the_same_and_learns_on_as_if_it_had_stayed(form, tmp_path):
    log, options = FORMS[form]
    model = trained(log, **options)
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = YouTubeDNN.load(path)
    assert bits(loaded) == bits(model)
    assert loaded.history_ == model.history_
    assert repr(loaded.recommend(k=3)) == repr(model.recommend(k=3))
    for name, value in model.get_params().items():
        given = tuple(value) if isinstance(value, (list, np.ndarray)) else value
        assert getattr(loaded, name) == given, name
    assert loaded.log_.user_features.keys() == model.log_.user_features.keys()
    loaded.save(path)
    assert bits(YouTubeDNN.load(path)) == bits(model)
    for one in (model, loaded):  # nothing of the same log again is new to anybody
        one.set_params(validation=None, early_stopping=None)
    for _ in range(2):
        assert bits(model.partial_fit(log, progress=False)) == bits(loaded.partial_fit(log, progress=False))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_samplers_remember_is_saved(sampler, tmp_path):
    """Streaming counts begin with the first partial_fit."""
    model = trained(sampler=sampler).partial_fit(MANY, progress=False)
    model.save(tmp_path / "model")
    loaded = YouTubeDNN.load(tmp_path / "model")
    for one in (model, loaded):
        one.partial_fit(LOG, progress=False)
    assert bits(model) == bits(loaded)
    assert repr(model._stream) == repr(loaded._stream)
    if sampler in ("in_batch", "mixed"):
        assert model._stream["last_step"].max() == model._stream["step"] - 1 > 0


def test_parameters_changed_after_learning_do_not_spoil_the_file(tmp_path):
    model = trained(optimizer="sgd", user_features=["user"])
    model.set_params(
        embedding_dim=5, hidden_units=(2, 2), optimizer="adagrad", user_features=(), num_threads=10**6,
        sampler="mixed", normalize=False,
    ).save(tmp_path / "model")
    loaded = YouTubeDNN.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    assert bits(loaded) == bits(model)
    loaded.set_params(num_threads=1)
    np.testing.assert_array_equal(loaded.user_vectors(), model.set_params(num_threads=1).user_vectors())


def test_damaged_files(tmp_path):
    path = tmp_path / "bad.npz"
    with pytest.raises(ArgumentError, match="model: expected one that has learned"):
        YouTubeDNN().save(path)
    with pytest.raises(FileNotFoundError):
        YouTubeDNN.load(path)
    assert not list(tmp_path.iterdir())
    trained(STRINGS, **COLUMNS).save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for cut in (0, 10, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:cut])
        with pytest.raises(ArgumentError, match=r"bad.npz: expected a model that YouTubeDNN.save wrote"):
            YouTubeDNN.load(path)
    want = bits(YouTubeDNN.load(write(path, data)))
    for place in rng.integers(len(data), size=60 if JIT else 20):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            found = bits(YouTubeDNN.load(path))
        except ArgumentError:
            refused += 1
        else:
            assert found == want  # in a date of the archive, say
    assert refused > (40 if JIT else 12)
    np.savez(path, items=np.ones(3))
    with pytest.raises(ArgumentError, match=r"bad.npz: expected a model that"):
        YouTubeDNN.load(path)


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("log_items", lambda a: a + 2**20), ("log_items", lambda a: a.astype(np.int64)),
        ("log_offsets", lambda a: a - 1), ("log_offsets", lambda a: a[::-1].copy()),
        ("log_timestamps", lambda a: a[1:]), ("user_features_0_codes", lambda a: a + 2**30),
        ("items", lambda a: a[:1]), ("items", lambda a: a * np.nan), ("dense", lambda a: a[:1]),
    ],
)
def test_changed_arrays_are_refused(name, change, tmp_path):
    log = random_log()
    log["age"] = log["user"] % 3
    trained(log, user_features=["age"]).save(tmp_path / "model")
    with open(tmp_path / "model", "rb") as file:
        arrays, state = read_state(file)
    arrays[name] = change(arrays[name])
    with open(tmp_path / "changed", "wb") as file:
        write_state(file, arrays, state)
    with pytest.raises(ArgumentError, match=r"changed: expected a model that YouTubeDNN\.save wrote"):
        YouTubeDNN.load(tmp_path / "changed")


NUMBERS = [
    ("embedding_dim", (0, 1.5, "8", True)), ("hidden_units", ("8", 8, (0,), (8, 1.5), None)),
    ("history_length", (0, 2.0, None)), ("num_sampled", (0, 1.5)), ("sampler", ("all", None)),
    ("distortion", ("x", np.nan, 1e4)), ("subtract_log_q", (1, "yes")), ("normalize", (1, None)),
    ("temperature", (0, -1, np.inf, 1e-40)), ("optimizer", ("adam", None)), ("learning_rate", (-0.1, np.nan, "x", 1e30)),
    ("l2", (-0.1, None, 1e39)), ("batch_size", (0, 2**21, 1.5)), ("epochs", (0, 1.5)),
    ("user", (5, None)), ("item", (5, "user")), ("timestamp", (5, "item")),
    ("user_features", ("abc", 5, [5])), ("item_features", ("abc", [None])),
    ("validation", (0, -0.5, 1.5, "x", np.nan)), ("early_stopping", (0, 1.5)), ("num_threads", (0, 1.5)),
    ("seed", (-1, 2**31, None)),
]


def test_every_parameter_is_checked():
    assert {name for name, _ in NUMBERS} == set(YouTubeDNN().get_params())


@pytest.mark.parametrize(("name", "value"), [(n, value) for n, values in NUMBERS for value in values])
def test_bad_parameter(name, value):
    """The log would fail as well, but is not looked at."""
    model = YouTubeDNN(validation=0.5).set_params(**{name: value})
    # Those that are compared with each other are named together.
    start = r"user, item, timestamp" if value in ("user", "item") else rf"{name}\b"
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ArgumentError, match=rf"^{start}"):
            fit(None, progress=False)
    assert not hasattr(model, "log_")


def without(name):
    return {column: values for column, values in LOG.items() if column != name}


def with_null(name, null):
    values = LOG[name].tolist()
    values[3] = null
    return {**LOG, name: values}


@pytest.mark.parametrize(
    ("message", "log", "options"),
    [
        *((f"source: expected a column '{name}', got none among", without(name), {}) for name in LOG),
        ("source: expected a column 'age', got none among", LOG, {"user_features": ["age"]}),
        ("source: expected a column 'kind', got none among", LOG, {"item_features": ["kind"]}),
        ("source, column 'user', row 3: expected a string or an integer, got null", with_null("user", None), {}),
        ("source, column 'item', row 3: expected a string or an integer, got null", with_null("item", None), {}),
        ("source, column 'item', row 3: expected a string or an integer, got null", with_null("item", np.nan), {}),
        ("source, column 'timestamp'.*3.*: expected a time, got null", with_null("timestamp", None), {}),
        ("source, column 'timestamp'.*3.*: expected a finite time, got inf", with_null("timestamp", np.inf), {}),
        ("source, column 'item': expected strings or integers, got float64", {**LOG, "item": LOG["item"] / 2}, {}),
        ("source, column 'taste': expected strings or integers, got float64, and null in row 0",
         {**LOG, "taste": np.full(len(LOG["user"]), np.nan)}, {"user_features": ["taste"]}),
        ("source: expected at least one event, got none", {name: [] for name in LOG}, {}),
        ("source, column 'timestamp': expected 2 values, as in 'user', got 1", {"user": [1, 2], "item": [1, 2], "timestamp": [1]}, {}),
        ("interactions: expected two different items at least, got 1", {"user": [1], "item": [1], "timestamp": [1]}, {}),
        ("interactions: expected two different items at least, got 1", {"user": [1, 2], "item": [1, 1], "timestamp": [1, 2]}, {}),
        ("validation: expected a share that holds a user whose last item is a new one .* got 0.5 of 0 such users", {"user": [1, 2], "item": [1, 2], "timestamp": [1, 2]}, {"validation": 0.5}),
        ("source: expected a table, a path, .* got NoneType", None, {}),
        ("source: expected a file, .* got 'absent.csv'", "absent.csv", {}),
        (r"source: expected integers of shape \(n, 2\), .* got", np.full((3, 2), "a"), {}),
    ],
)
def test_bad_logs(message, log, options):
    model = trained()
    before = bits(model)
    with pytest.raises(ArgumentError, match=message):
        model.set_params(**options).fit(log, progress=False)
    assert bits(model) == before


@needs_jit
def test_nothing_of_the_size_of_batch_times_items_is_built():
    """It would be 4 MB in float32, and 64 MB for all users when they are asked about."""
    num_items = num_users = 4096
    rng = np.random.default_rng(0)
    log = {"user": np.arange(2 * num_items) % num_users, "item": rng.permutation(2 * num_items) % num_items}
    log["timestamp"] = np.arange(2 * num_items)
    events = read_interactions(log, progress=False)
    options = {"batch_size": 256, "embedding_dim": 2, "hidden_units": (), "num_sampled": 8, "epochs": 1, "history_length": 1}
    trained(events, **options)  # compiles
    tracemalloc.start()
    try:
        model = trained(events, validation=0.1, sampler="learned_unigram", **options)
        learned = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        model.recommend(k=3)
        asked = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert learned < 4 * 256 * num_items
    assert asked < 4 * num_users * num_items / 4


def test_an_estimator_of_scikit_learn_s():
    base = pytest.importorskip("sklearn.base")
    model = base.clone(YouTubeDNN(7, hidden_units=(3, 2), sampler="mixed"))
    assert model.get_params()["hidden_units"] == (3, 2)
    assert repr(model) == "YouTubeDNN(embedding_dim=7, hidden_units=(3, 2), sampler='mixed')"


def test_parameters_are_what_json_holds():
    """Checkpoints and files keep them."""
    for _, options in FORMS.values():
        checked = YouTubeDNN(**options)._checked()
        assert json.loads(json.dumps(checked)) == checked


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("options", "embedding_dim", 2**16), ("options", "hidden_units", [2**16, 2**16]),
        ("options", "history_length", -5), ("options", "batch_size", 2**40), ("options", "seed", -1),
        ("options", "sampler", "best"), ("options", "temperature", 0), ("options", "more", 1),
        ("options", "num_threads", 0), ("options", "num_threads", "2"),
        ("params", "more", 1), ("log", "user_features", 3), ("log", "user_features", ["more"]),
        ("log", "time_unit", 1.5), ("log", "split", None), ("history", None, 5), ("history", None, [1]),
        ("history", None, [{"loss": "x"}]), ("sampler", None, []), ("options", None, {}),
    ],
)
def test_states_with_wrong_contents_are_refused(part, name, value, tmp_path, monkeypatch):
    """Before as much memory is taken as they ask for."""
    trained().save(tmp_path / "model")
    with open(tmp_path / "model", "rb") as file:
        arrays, state = read_state(file)
    if name is None:
        state[part] = value
    else:
        state[part][name] = value
    with open(tmp_path / "changed", "wb") as file:
        write_state(file, arrays, state)
    if part == "options":
        monkeypatch.setattr(session, "RetrievalModel", lambda *_: pytest.fail("made"))
    with pytest.raises(ArgumentError, match=r"changed: expected a model that YouTubeDNN\.save wrote, got") as caught:
        YouTubeDNN.load(tmp_path / "changed")
    assert len(str(caught.value)) < 700


def test_unknown_users_and_items_are_told(caplog):
    """Also where other keys were meant: the figures alone would look well."""
    letters = {"user": list("aabbccdd"), "item": list("ABCDEFGA"), "timestamp": range(8)}
    model, keys = trained(letters), (list("abc"), list("DEF"))
    test = {"user": keys[0], "item": keys[1]}
    assert "not known" not in model.evaluate(test, 2, exclude_seen=False)["protocol"]
    test = {"user": [*keys[0], "nobody"], "item": [*keys[1], keys[1][0]]}
    figures = model.evaluate(test, 2, exclude_seen=False)
    assert figures["protocol"].endswith(" of 4 users asked for, 1 of 4 users not known")
    assert caplog.messages == []
    test = {"user": [f" {key}" for key in keys[0]], "item": [*keys[1][:2], "nothing"]}
    figures = model.evaluate(test, 2, exclude_seen=False)
    assert figures["protocol"].endswith(", 3 of 3 users and 1 of 3 items not known")
    (message,) = caplog.messages
    assert message.startswith(f"3 of 3 users are not known: ' {keys[0][0]}', ")
    assert message.endswith(f"; known ones are {', '.join(map(repr, keys[0]))} ...")
    caplog.clear()
    model.partial_fit(test | {"timestamp": [10**6] * 3}, progress=False)
    assert [record.levelname for record in caplog.records][:1] == ["WARNING"]
    assert caplog.messages[0] == message


def test_evaluate_asks_for_no_column_that_it_does_not_use():
    model = trained(random_log() | {"age": random_log()["user"] % 3}, user_features=["age"])
    log = random_log(seed=2)
    want = model.evaluate(log, 3)
    count = len(log["user"])
    for test in (
        {name: log[name] for name in ("user", "item")}, log | {"timestamp": [None] * count},
        log | {"timestamp": ["soon"] * count},
    ):
        assert model.evaluate(test, 3) == want


def test_times_of_a_later_log_may_be_of_another_form():
    """Seconds first, then milliseconds, dates and text: the same as if all were seconds."""
    start = 1_704_153_600
    log = {"user": [1, 1, 2, 2], "item": [1, 2, 3, 1], "timestamp": start + np.arange(4) * 86400}
    days = [dt.date(2024, 1, 5), dt.date(2024, 1, 1), dt.date(2024, 1, 7), dt.date(2024, 1, 4)]
    more = {"user": [1, 1, 2, 2], "item": [3, 1, 2, 2]}
    seconds = np.array(days, "M8[s]").astype(int)
    want = trained(log).partial_fit(more | {"timestamp": seconds}, progress=False)
    for stamps in (seconds * 1000, seconds.astype(float), days, list(map(str, days)), np.array(days, "M8[D]")):
        got = trained(log).partial_fit(more | {"timestamp": stamps}, progress=False)
        assert got.log_.items.tolist() == want.log_.items.tolist()
        assert got.item_vectors_.tobytes() == want.item_vectors_.tobytes()


def test_histories_and_features_of_any_library():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    log = {"user": list("aabbcc"), "item": list("xyxzyz"), "timestamp": range(6), "c": list("ppqqrr")}
    model = trained(log, user_features=["c"])
    histories, features = [["x", "y"], [], ["z"]], {"c": ["p", None, "r"]}
    want = repr(model.recommend(histories=histories, features=features, k=2))
    for form in (pd.Series(histories), pl.Series(histories), pa.array(histories), pa.array([["x", "y"], None, ["z"]])):
        assert repr(model.recommend(histories=form, features=features, k=2)) == want
    for form in (pd.DataFrame(features), pl.DataFrame(features), pa.table(features), list(features.items())):
        assert repr(model.recommend(histories=histories, features=form, k=2)) == want
        np.testing.assert_array_equal(
            model.user_vectors(histories=histories, features=form),
            model.user_vectors(histories=histories, features=features),
        )


@pytest.mark.parametrize("sampler", ["learned_unigram", "in_batch", "mixed"])
def test_what_samplers_remember_is_checked(sampler, tmp_path):
    """When a file is read, not when the model learns on."""
    model = trained(sampler=sampler)
    if sampler != "learned_unigram":
        model.partial_fit(MANY, progress=False)
    model.save(tmp_path / "model")
    with open(tmp_path / "model", "rb") as file:
        arrays, state = read_state(file)
    name = "sampler_weights" if sampler == "learned_unigram" else "sampler_gap"
    with open(tmp_path / "changed", "wb") as file:
        write_state(file, arrays | {name: arrays[name][:3]}, state)
    with pytest.raises(ArgumentError, match=r"changed: expected a model that YouTubeDNN\.save wrote, got"):
        YouTubeDNN.load(tmp_path / "changed")
