"""queries.py: answers in the caller's keys, as one would count them by hand."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.interactions import read_interactions
from numba_ss.logs.splits import leave_one_out, split_by_time
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.nearest import ExactIndex, FaissIndex
from tests.conftest import needs_jit
from tests.retrieval.test_estimator import (
    COLUMNS,
    LOG,
    MANY,
    NUM_ITEMS,
    STRINGS,
    bits,
    cycle,
    random_log,
    trained,
)


def pairs_of(log):
    users = np.repeat(np.arange(log.num_users), np.diff(log.offsets))
    return list(zip(log.user_keys.take(users).tolist(), log.item_keys.take(log.items).tolist(), strict=True))


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
    """An unknown user is like one without history and features."""
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
        ("histories: expected a list of lists of items, or a dict of such by name, got str", {"histories": "b"}),
        ("histories: expected a list of lists of items, or a dict of such by name, got int", {"histories": 5}),
        (r"users\[0\]: expected a string or an integer, got null", {"users": [None]}),
        (r"features\['taste'\]: expected 2 values, got 1", {"histories": [[], []], "features": {"taste": ["tea"]}}),
        (r"features\['taste'\]\[0\]: expected string keys, as before, got 7", {"histories": [[]], "features": {"taste": [7]}}),
        ("features: expected names among taste, got 'age'", {"histories": [[]], "features": {"age": [7]}}),
        ("k: expected at least 1, got 0", {"k": 0}),
        ("k: expected at most 1048576, got 1000000000", {"k": 10**9}),
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


@needs_jit
def test_nothing_of_the_size_of_batch_times_items_is_built():
    """Such an array would take 4 MB in float32, and 64 MB for all users."""
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


def test_unknown_users_and_items_are_told(caplog):
    """Also if the keys were made in another way: the metrics alone would look good."""
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
        log | {"timestamp": ["soon"] * count}, list(zip(*log.values(), strict=True)),
    ):
        assert model.evaluate(test, 3) == want


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
