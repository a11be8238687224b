"""estimator.py: planted structure found again, the same bits from every side, bad input refused."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io.checkpoint import read_state, write_state
from numba_ss.kernels.core.threads import max_num_threads
from numba_ss.logs.interactions import read_interactions
from numba_ss.retrieval import training_set
from numba_ss.retrieval.estimator import YouTubeDNN
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
    """By chance, 1 in 19 answers would be right, because one item is seen."""
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
    """Users without a history differ in nothing else."""
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
    """Nobody takes an item twice, so items have only their category in common."""
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
    """It decides initial vectors, the order of events, and candidates."""
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
    """A second fit starts from nothing, also after a failed one."""
    model = trained(MANY, epochs=1)
    model.set_params(epochs=2)
    assert bits(model.fit(LOG, progress=False)) == bits(trained())
    model.partial_fit(LOG, progress=False)
    assert bits(model.fit(LOG, progress=False)) == bits(trained())


def test_a_log_that_was_read_has_the_features_of_its_source():
    options = {"user_features": ["user"], "item_features": ["user"]}
    log = read_interactions(LOG, item_features=["user"], progress=False)
    assert bits(trained(log, **options)) == bits(trained(**options))


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


@needs_jit
def test_two_threads_that_learn_wait_for_each_other():
    """Both logs are learned from, as if one call had followed the other."""
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


def random_log(num_users=25, num_items=15, num_events=160, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "user": rng.integers(num_users, size=num_events), "item": rng.integers(num_items, size=num_events),
        "timestamp": rng.integers(10**6, size=num_events),
    }


FORMS = {
    "strings": (STRINGS, COLUMNS),
    "integers": (LOG, {}),
    "sets": (LOG, {"timestamp": None, "hidden_units": (), "sampler": "in_batch"}),
    "features": (
        {**MANY, "kind": MANY["item"] // 10},
        {"user_features": ("user", "taste"), "item_features": ("kind",), "optimizer": "sgd", "sampler": "mixed"},
    ),
    "users of items": (LOG, {"user_features": ["user"], "item_features": ["user"]}),
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


def test_an_estimator_of_scikit_learn_s():
    base = pytest.importorskip("sklearn.base")
    model = base.clone(YouTubeDNN(7, hidden_units=(3, 2), sampler="mixed"))
    assert model.get_params()["hidden_units"] == (3, 2)
    assert repr(model) == "YouTubeDNN(embedding_dim=7, hidden_units=(3, 2), sampler='mixed')"


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
    """They are refused before the memory that they ask for is allocated."""
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
        monkeypatch.setattr(training_set, "RetrievalModel", lambda *_: pytest.fail("made"))
    with pytest.raises(ArgumentError, match=r"changed: expected a model that YouTubeDNN\.save wrote, got") as caught:
        YouTubeDNN.load(tmp_path / "changed")
    assert len(str(caught.value)) < 700


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


@pytest.mark.parametrize("sampler", ["learned_unigram", "in_batch", "mixed"])
def test_what_samplers_remember_is_checked(sampler, tmp_path):
    """It is checked when the file is read, not when training continues."""
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
