"""interactions.py: every form of a log is the same log as plain Python makes of its rows."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError, _optional
from numba_ss.logs import sources
from numba_ss.logs.interactions import Feature, Interactions, read_interactions
from numba_ss.logs.keys import Keys
from tests.conftest import JIT

COLUMNS = ["user", "item", "timestamp", "country", "kind", "premium"]
FEATURES = {"user_features": ["country", "premium"], "item_features": ["kind"]}


def rows_of(rng, num_rows, users, items):
    """Return events with repetitions, equal times and nulls among the features."""
    countries, kinds = ["GB", "中国", None, ""], [7, None, -1]
    user = rng.choice(users, num_rows).tolist()
    item = rng.choice(items, num_rows).tolist()
    time = rng.integers(-5, 20, num_rows).tolist()
    country = [countries[i] for i in rng.integers(0, 4, num_rows)]
    kind = [kinds[i] for i in rng.integers(0, 3, num_rows)]
    premium = (rng.random(num_rows) < 0.5).tolist()
    return list(zip(user, item, time, country, kind, premium, strict=True))


def reference(rows, timed=True, known=((), ())):
    """Return users, items and, by user, (item, time): the log by its definition."""
    users = list(dict.fromkeys([*known[0], *(row[0] for row in rows)]))
    counts = Counter(row[1] for row in rows if row[1] not in known[1])
    items = [*known[1], *(item for item, _ in counts.most_common())]
    ordered = sorted(rows, key=lambda row: row[2]) if timed else rows
    events = {user: [row for row in ordered if row[0] == user] for user in users}
    return users, items, events, ordered


def check(log, rows, timed=True, known=((), ()), features=True):
    users, items, events, ordered = reference(rows, timed, known)
    assert log.user_keys.take(range(log.num_users)).tolist() == users
    assert log.item_keys.take(range(log.num_items)).tolist() == items
    assert (log.num_users, log.num_items, log.num_events) == (len(users), len(items), len(rows))
    assert (log.items.dtype, log.offsets.dtype) == (np.int32, np.int64)
    assert (log.timestamps is None) != timed
    for code, user in enumerate(users):
        assert [items[i] for i in log.history(code)] == [row[1] for row in events[user]]
        if timed:
            times = log.timestamps[log.offsets[code] : log.offsets[code + 1]]
            assert times.tolist() == [row[2] for row in events[user]]
    counts = Counter(row[1] for row in rows)
    assert log.counts().tolist() == [counts[item] for item in items]
    if features:
        for feature, owners, owner, column in [
            (log.user_features["country"], users, 0, 3), (log.item_features["kind"], items, 1, 4),
            (log.user_features["premium"], users, 0, 5),
        ]:
            last = {row[owner]: row[column] for row in ordered}
            assert values_of(feature) == [last.get(name) for name in owners]


def values_of(feature):
    assert feature.codes.dtype == np.int32
    values = [None, *feature.keys.take(range(len(feature.keys))).tolist()]
    return [values[code] for code in feature.codes]


def columns_of(rows):
    return {name: list(column) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)}


STRINGS = ["ann", "bob", "", "Zoë", "李", "a" * 40, "\0"], ["tea", "rüm", "x y", "茶"]
INTEGERS = [5, -1, 2**63 - 1, -(2**63), 0], [3, -7, 10**12]


def numpy_forms(rows):
    columns = columns_of(rows)
    typed = columns | {"timestamp": np.array(columns["timestamp"], np.int16), "extra": np.eye(2)}
    for name in ("user", "item"):
        typed[name] = np.array(columns[name])
    return {"lists": columns, "arrays": typed}


def arrow_forms(rows, folder):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    csv = pytest.importorskip("pyarrow.csv")
    table = pa.table(columns_of(rows))
    parquet.write_table(table, folder / "log.parquet", row_group_size=7)
    (folder / "parts").mkdir()
    for i in range(0, len(rows), 20):
        parquet.write_table(table[i : i + 20], folder / "parts" / f"{i:04}.parquet")
    parts = sorted((folder / "parts").iterdir())
    coded = table.set_column(0, "user", table["user"].dictionary_encode())
    text = table.drop_columns("premium").append_column("premium", table["premium"].cast(pa.int8()))
    csv.write_csv(text, folder / "log.csv")
    parquet.write_table(table[:40], folder / "first.parquet")
    csv.write_csv(text[40:], folder / "second.csv")
    with pa.CompressedOutputStream(folder / "log.tsv.gz", "gzip") as file:
        csv.write_csv(text, file, csv.WriteOptions(delimiter="\t"))
    return {
        "table": table,
        "reader": table.to_reader(max_chunksize=3),
        "batch": table.combine_chunks().to_batches()[0],
        "chunks": pa.concat_tables([table[:9], table[9:]]),
        "other order": table.select(COLUMNS[::-1]),
        "coded": coded,
        "parquet": folder / "log.parquet",
        "str": str(folder / "log.parquet"),
        "folder": folder / "parts",
        "pattern": str(folder / "parts" / "*.parquet"),
        "paths": [parts[0], *map(str, parts[1:])],
        "csv": folder / "log.csv",
        "tsv": folder / "log.tsv.gz",
        "several formats": [folder / "first.parquet", folder / "second.csv"],
    }


def frames(rows):
    pytest.importorskip("pyarrow")
    pd, pl, duckdb = map(pytest.importorskip, ("pandas", "polars", "duckdb"))
    frame = pd.DataFrame(columns_of(rows)).astype({"kind": "Int64"})
    relation = duckdb.sql("SELECT * FROM frame")
    return {
        "pandas": frame,
        "pandas index": frame.set_index(np.arange(len(rows))[::-1]),
        "categories": frame.astype({"user": "category", "item": "category", "kind": "category"}),
        "polars": pl.DataFrame(columns_of(rows)),
        "polars categories": pl.DataFrame(columns_of(rows)).with_columns(
            pl.col("country").cast(pl.Categorical)
        ),
        "duckdb": relation,
        "series": {name: frame[name] for name in COLUMNS},
    }


@pytest.mark.parametrize("num_rows", [4, 2**19])
@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("forms", [numpy_forms, arrow_forms, frames])
def test_every_form_is_the_same_log(forms, kind, num_rows, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(sources, "_ROWS", num_rows)
    rows = rows_of(rng, 90, *(STRINGS if kind == "strings" else INTEGERS))
    forms = forms(rows, tmp_path) if forms is arrow_forms else forms(rows)
    for name, form in forms.items():
        log = read_interactions(form, **FEATURES, progress=False)
        check(log, rows)
        assert log.user_keys.kind == kind[:-1], name
        assert log.timestamps.dtype == np.int64, name


def test_times_are_numbers_or_timestamps(rng):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    rows = rows_of(rng, 50, *INTEGERS)
    columns = columns_of(rows)
    days = np.array(columns["timestamp"], "M8[D]").astype("M8[ms]")
    for frame in (dict, pd.DataFrame, pl.DataFrame):
        log = read_interactions(frame(columns | {"timestamp": days}), progress=False)
        milliseconds = [(*row[:2], row[2] * 86400000, *row[3:]) for row in rows]
        check(log, milliseconds, features=False)
    halves = {"timestamp": np.array(columns["timestamp"]) / 2}
    log = read_interactions(columns | halves, progress=False)
    check(log, [(*row[:2], row[2] / 2) for row in rows], features=False)
    assert log.timestamps.dtype == np.float64


def test_without_times(rng):
    rows = rows_of(rng, 60, *STRINGS)
    log = read_interactions(columns_of(rows), timestamp=None, **FEATURES, progress=False)
    check(log, rows, timed=False)
    assert repr(log) == f"Interactions({log.num_users} users, 4 items, 60 events, no times)"


def test_names_of_columns(rng):
    rows = rows_of(rng, 60, *STRINGS)
    named = dict(zip("abcdef", columns_of(rows).values(), strict=True))
    log = read_interactions(named, user="a", item="b", timestamp="c", progress=False)
    check(log, rows, features=False)
    assert (log.user_features, log.item_features) == ({}, {})
    both = read_interactions(
        named, user="a", item="b", timestamp="c", user_features=("b", "e"), item_features=["e"],
        progress=False,
    )
    assert values_of(both.user_features["b"]) == [
        both.item_keys.take(both.history(user)[-1:])[0] for user in range(both.num_users)
    ]


def test_arrays_and_sparse_matrices(rng):
    rows = [row[:3] for row in rows_of(rng, 80, *INTEGERS)]
    triples = np.array(rows)
    check(read_interactions(triples, progress=False), rows, features=False)
    for log in (
        read_interactions(triples[:, :2], progress=False),
        read_interactions(triples, timestamp=None, progress=False),
        read_interactions(np.asfortranarray(triples[:, :2]), timestamp="t", progress=False),
    ):
        check(log, rows, timed=False, features=False)
    small = np.array([[3, 1], [3, 200]], np.uint8)
    check(read_interactions(small, progress=False), small.tolist(), timed=False, features=False)


def test_sparse_matrices_are_pairs(rng):
    sparse = pytest.importorskip("scipy.sparse")
    dense = rng.poisson(0.3, (30, 20))
    dense[[4, 7]], dense[:, 3] = 0, 0
    pairs = np.argwhere(dense)
    forms = [sparse.csr_matrix, sparse.csr_array, sparse.coo_array, sparse.lil_array]
    matrices = [form(dense.astype(dtype)) for form in forms for dtype in (float, np.int8, bool)]
    stored = sparse.coo_array((np.r_[dense[tuple(pairs.T)], 0], np.c_[pairs.T, [4, 3]]), dense.shape)
    for matrix in [*matrices, stored]:
        log = read_interactions(matrix, progress=False)
        check(log, pairs.tolist(), timed=False, features=False)
    twice = sparse.coo_array(([1, 1], ([0, 0], [2, 2])), (1, 3))
    assert read_interactions(twice, progress=False).num_events == 2
    for bad, message in [
        (-1.0, r"source\[1, 2\]: expected a finite number >= 0, got -1.0"),
        (np.nan, "finite number >= 0, got nan"), (np.inf, "got inf"), (1j, "real numbers, got complex"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            read_interactions(sparse.csr_array(([1, bad], ([0, 1], [0, 2])), (2, 3)), progress=False)
    with pytest.raises(ArgumentError, match=r"source: expected a column 'age', got none among 'user'"):
        read_interactions(stored, user_features=["age"], progress=False)


@pytest.mark.parametrize("kind", ["strings", "integers"])
def test_a_log_that_continues_another(kind, rng):
    users, items = STRINGS if kind == "strings" else INTEGERS
    first = rows_of(rng, 30, users[:2], items[:2])
    second = rows_of(rng, 40, users[1:], items[1:])
    old = read_interactions(columns_of(first), **FEATURES, progress=False)
    new = read_interactions(columns_of(second), **FEATURES, known=old, progress=False)
    known = tuple(keys.take(range(len(keys))).tolist() for keys in (old.user_keys, old.item_keys))
    check(new, second, known=known, features=False)
    for names, owner, column, ours, theirs in [
        (new.user_keys, 0, 3, new.user_features["country"], old.user_features["country"]),
        (new.item_keys, 1, 4, new.item_features["kind"], old.item_features["kind"]),
    ]:
        before, after = (
            {row[owner]: row[column] for row in sorted(rows, key=lambda row: row[2])}
            for rows in (first, second)
        )
        assert values_of(ours) == [(before | after)[name] for name in names.take(range(len(names)))]
        assert ours.keys.take(range(len(theirs.keys))).tolist() == theirs.keys.take(range(len(theirs.keys))).tolist()
    check(old, first)  # as it was


def test_features_that_one_of_two_logs_has(rng):
    first = {"user": ["a"], "item": [1], "country": ["GB"]}
    second = {"user": ["b", "a"], "item": [1, 2], "age": [30, None]}
    old = read_interactions(first, timestamp=None, user_features=["country"], progress=False)
    part = SimpleNamespace(  # what a model keeps
        user_keys=old.user_keys, item_keys=old.item_keys, user_features=old.user_features,
        item_features={},
    )
    for known in (old, part):
        new = read_interactions(
            second, timestamp=None, user_features=["age"], known=known, progress=False
        )
        assert values_of(new.user_features["country"]) == ["GB", None]
        assert values_of(new.user_features["age"]) == [None, 30]
    assert list(new.user_features) == ["country", "age"]
    with pytest.raises(ArgumentError, match=r"column 'user', row 0: expected string keys, as before, got 1"):
        read_interactions({"user": [1], "item": [1]}, timestamp=None, known=old, progress=False)
    assert old.user_keys == Keys(["a"])


def test_ties_and_repeated_events():
    log = read_interactions(np.array([[1, 5, 3], [1, 4, 3], [1, 5, 3], [1, 9, 2], [1, 4, 3]]), progress=False)
    assert log.item_keys.take(log.history(0)).tolist() == [9, 5, 4, 5, 4]
    assert log.item_keys == Keys([5, 4, 9])  # of equal counts the first to come


GOOD = {"user": ["a", "b", "c"], "item": [1, 2, 3], "timestamp": [1, 2, 3], "age": [1, None, 2]}
BAD_COLUMNS = [
    ({"user": ["a", None, "c"]}, r"column 'user', row 1: expected a string or an integer, got null"),
    ({"item": [1, None, 3]}, r"column 'item'.* null"),
    ({"timestamp": [1, 2, None]}, r"column 'timestamp', row 2: expected a time, got null"),
    ({"timestamp": [1, 2, np.nan]}, r"column 'timestamp', row 2: expected a .*time, got n"),
    ({"timestamp": [1, 2, np.inf]}, r"column 'timestamp', row 2: expected a finite time, got inf"),
    ({"timestamp": ["a", "b", "c"]}, r"column 'timestamp', row 0: expected numbers, timestamps, or their text"),
    ({"item": [0.5, 1.5, 2.5]}, r"column 'item'.*expected .*string"),
    ({"item": [True, False, True]}, r"column 'item'.*expected .*string"),
    ({"age": [0.5, None, 1.0]}, r"column 'age'.*expected .*string"),
    ({"age": [[1], [2], [3]]}, r"column 'age'.*expected .*string"),
]


@pytest.mark.parametrize("make", ["dict", "pandas", "polars", "table", "parquet"])
def test_columns_that_cannot_be_used(make, tmp_path):
    if make == "parquet":
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

        def form(columns):
            parquet.write_table(pa.table(columns), tmp_path / "log.parquet", row_group_size=1)
            return tmp_path / "log.parquet"
    elif make == "table":
        form = pytest.importorskip("pyarrow").table
    else:
        form = dict if make == "dict" else pytest.importorskip(make).DataFrame
    for change, message in BAD_COLUMNS:
        if make == "polars" and isinstance(change.get("timestamp", [0])[-1], float):
            continue  # takes no lists of integers and floats
        with pytest.raises(ArgumentError, match=message):
            read_interactions(form(GOOD | change), user_features=["age"], progress=False)


@pytest.mark.parametrize("mixed", [["a", 1, "b"], [1, "a", 2], [b"a", "a", 1]])
def test_columns_of_several_types(mixed):
    with pytest.raises(ArgumentError, match=r"column 'user', row [01]: expected"):
        read_interactions(GOOD | {"user": mixed}, progress=False)
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    with pytest.raises(ArgumentError, match=r"source: expected a table that Arrow can hold, got .*user"):
        read_interactions(pd.DataFrame(GOOD | {"user": np.array(mixed, object)}), progress=False)


def test_arguments_that_cannot_be_used():
    for changes, message in [
        ({"user": 3}, "user: expected the name of a column, got 3"),
        ({"item": None}, "item: expected the name of a column, got None"),
        ({"timestamp": 1}, "timestamp: expected the name of a column, got 1"),
        ({"item": "user"}, r"user, item, timestamp: expected different columns, got \('user', 'user'"),
        ({"item": "user", "timestamp": None}, "user, item, timestamp: expected different columns"),
        ({"user_features": "age"}, "user_features: expected a list of columns, got 'age'"),
        ({"item_features": {"age": 1}}, "item_features: expected a list of columns"),
        ({"item_features": [3]}, r"item_features\[0\]: expected the name of a column, got 3"),
        ({"item_features": ["agee"]}, r"source: expected a column 'agee', got none among 'user' \(.*'age'"),
        ({"timestamp": "time"}, "source: expected a column 'time', got none among 'user'.*; timestamp=None says that events have no times"),
        ({"progress": 3}, 'progress: expected True, False or "auto", got 3'),
    ]:
        with pytest.raises(ArgumentError, match=message):
            read_interactions(GOOD, **{"progress": False} | changes)


def test_files_that_disagree(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"user": [1, 2], "item": [1, 2], "timestamp": np.array([1, 2], "M8[ms]")}
    table = pa.table(columns)
    paths = [tmp_path / f"{i}.parquet" for i in range(2)]
    parquet.write_table(table, paths[0])
    for column, values, message in [
        ("timestamp", [1, 2], r"1.parquet, column 'timestamp': expected timestamps in ms as elsewhere, .* got numbers such as 1"),
        ("item", ["a", "b"], r"1.parquet, column 'item', row 0: expected integer keys, as before, got 'a'"),
        ("user", [1, None], r"1.parquet, column 'user', row 1: expected a string or an integer, got null"),
        ("other", [1, 2], r"1.parquet: expected a column 'user', got none among 'other' \(int64\)"),
    ]:
        other = pa.table({"other": values} if column == "other" else columns | {column: values})
        parquet.write_table(other, paths[1])
        with pytest.raises(ArgumentError, match=message):
            read_interactions(paths, progress=False)
    narrow = table.set_column(0, "user", table["user"].cast(pa.uint8()))
    parquet.write_table(narrow, paths[1])
    assert read_interactions(paths, progress=False).history(1).tolist() == [1, 1]


def test_empty_logs():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({name: np.zeros(0, int) for name in COLUMNS[:3]})
    spent = table.to_reader()
    spent.read_all()
    for empty in (
        table, spent, {name: [] for name in COLUMNS}, np.zeros((0, 2), int), np.zeros((0, 3), int),
    ):
        with pytest.raises(ArgumentError, match="source: expected at least one event, got none"):
            read_interactions(empty, progress=False)


def test_progress(caplog, monkeypatch):
    monkeypatch.setattr(sources, "_ROWS", 2)
    with caplog.at_level("INFO", logger="numba_ss"):
        read_interactions(GOOD, progress="auto")
    assert caplog.messages[-1].startswith("read interactions: 100% of 3 events")


def test_histories_and_codes_out_of_range():
    log = read_interactions(GOOD, progress=False)
    for code in (-1, 3):
        with pytest.raises(ArgumentError, match="user_code: expected at"):
            log.history(code)
    nobody = Interactions(Keys(["a"]), Keys([1, 2]), np.array([0, 0]), np.zeros(0, np.int32))
    assert nobody.counts().tolist() == [0, 0]
    assert nobody.history(0).tolist() == []
    assert Feature(np.zeros(1, np.int32), Keys()).codes.size == 1


def test_without_pyarrow(monkeypatch, rng):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(_optional, "import_module", missing)
    for kind in (STRINGS, INTEGERS):
        rows = rows_of(rng, 30, *kind)
        for form in numpy_forms(rows).values():
            check(read_interactions(form, **FEATURES, progress=False), rows)
    table = SimpleNamespace(__arrow_c_stream__=None)
    with pytest.raises(ImportError, match=r'tables needs pyarrow: pip install "numba-ss\[all\]"'):
        read_interactions(table, progress=False)


def test_many_events(rng):
    """Batches of many sizes, keys that come early and late, against NumPy's own sorting."""
    n = 300_000 if JIT else 30_000
    user, item = rng.integers(0, n // 3, n), rng.zipf(1.3, n) % 1000
    time = rng.integers(0, n // 10, n)
    log = read_interactions(np.stack([user, item, time], 1), progress=False)
    order = np.lexsort([np.arange(n), time, log.user_keys.codes(user)])
    assert np.array_equal(log.item_keys.take(log.items), item[order])
    assert np.array_equal(log.timestamps, time[order])
    assert np.array_equal(np.sort(log.counts())[::-1], log.counts())
    assert np.array_equal(np.diff(log.offsets), np.bincount(log.user_keys.codes(user)))


def test_csv_keys_that_look_like_numbers_stay_strings_where_the_known_ones_are(tmp_path):
    pytest.importorskip("pyarrow")
    first = read_interactions({"user": ["003", "x"], "item": ["a", "7"]}, timestamp=None)
    path = tmp_path / "more.csv"
    path.write_text("user,item\n003,7\n004,7\n")
    more = read_interactions(path, timestamp=None, known=first)
    assert more.user_keys.take([0, 1, 2]).tolist() == ["003", "x", "004"]
    assert more.history(0).tolist() == [first.item_keys.codes(["7"])[0]]


def test_what_is_known_is_a_log():
    with pytest.raises(ArgumentError, match="known: expected None, or what read_interactions returned, got int"):
        read_interactions({"user": [1], "item": [2]}, timestamp=None, known=5)
