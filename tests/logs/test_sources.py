"""sources.py: which tables a source is, in what batches, and what is none."""

import bz2
import gzip

import numpy as np
import pytest

from numba_ss import ArgumentError, _optional
from numba_ss.logs import sources
from numba_ss.logs.columns import Place
from numba_ss.logs.sources import Columns, open_events
from numba_ss.logs.times import times

COLUMNS = Columns("user", "item", "time")
ROWS = [(f"u{i % 3}", i, i / 2) for i in range(20)]
HEADER = "user,item,time"


def csv_of(rows, separator=","):
    lines = [HEADER.split(","), *([str(value) for value in row] for row in rows)]
    return "".join(separator.join(line) + "\n" for line in lines).encode()


def read(tables, columns=COLUMNS):
    """Return all rows, and check that batches say where they begin."""
    rows = []
    for table in tables:
        row = 0
        for batch in table.batches():
            assert batch.row == row
            values = [batch.columns[name] for name in columns.all()]
            values = [v.to_pylist() if hasattr(v, "to_pylist") else v.tolist() for v in values]
            rows += zip(*values, strict=True)
            row += len(values[0])
    return rows


def test_columns():
    columns = Columns("u", "i", "t", ("a", "b"), ("b", "i"))
    assert columns.keys() == ["u", "i", "a", "b"]
    assert columns.all() == ["u", "i", "a", "b", "t"]
    assert columns._replace(time=None).all() == columns.keys()
    assert columns._replace(time="b").all() == columns.keys()


def test_small_batches_are_gathered_and_large_ones_cut(monkeypatch):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(dict(zip(COLUMNS.all(), zip(*ROWS, strict=True), strict=True)))
    for rows, chunks, part, sizes in [
        (6, 1, 2**20, [6, 6, 6, 2]), (6, 4, 2**20, [8, 8, 4]), (1, 20, 2**20, [20]),
        (20, 3, 2**20, [20]), (2, 20, 1, [2] * 10),
    ]:
        monkeypatch.setattr(sources, "_ROWS", rows)
        monkeypatch.setattr(sources, "_PART", part)
        (opened,) = open_events(table.to_reader(max_chunksize=chunks), COLUMNS)
        assert opened.total() is None
        batches = list(opened.batches())
        assert [len(batch.columns["user"]) for batch in batches] == sizes
        assert read(open_events(table.to_reader(max_chunksize=chunks), COLUMNS)) == ROWS


def test_arrays_are_cut(monkeypatch):
    monkeypatch.setattr(sources, "_ROWS", 6)
    source = dict(zip(COLUMNS.all(), zip(*ROWS, strict=True), strict=True))
    (opened,) = open_events(source | {"other": 3}, COLUMNS)
    assert [len(batch.columns["item"]) for batch in opened.batches()] == [6, 6, 6, 2]
    assert read([opened]) == ROWS
    assert opened.total() == 20


def test_csv_files(tmp_path):
    pytest.importorskip("pyarrow")
    data = csv_of(ROWS)
    for name, content in {
        "a.csv": data, "b.CSV": b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
        "c.d.csv.gz": gzip.compress(data), "e.csv.bz2": bz2.compress(data),
        "f.tsv": csv_of(ROWS, "\t"), "g.tsv.gz": gzip.compress(csv_of(ROWS, "\t")),
    }.items():
        (tmp_path / name).write_bytes(content)
        (opened,) = open_events(tmp_path / name, COLUMNS)
        assert opened.text
        assert opened.total() is None
        assert texts(read([opened])) == texts(ROWS), name
    assert texts(read(open_events(str(tmp_path / "?.csv"), COLUMNS))) == texts(ROWS)


def texts(rows):
    return [tuple(map(str, row)) for row in rows]


def test_types_of_csv_columns(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "log.csv"
    columns = COLUMNS._replace(user_features=("a", "b"), item_features=("c",))
    path.write_text('a,user,b,item,time,c,d\n1.0,7,2020-01-01,x,2020-01-01,true,\n,-8,"",NA,2020-01-02,,\n')
    (opened,) = open_events(path, columns)
    types = {name: str(column.type) for name, column in next(opened.batches()).columns.items()}
    assert types == dict.fromkeys(["user", "item", "time", "a", "b", "c"], "string")
    rows = read(open_events(path, columns._replace(time=None)), columns._replace(time=None))
    assert rows == [("7", "x", "1.0", "2020-01-01", "true"), ("-8", "NA", None, "", None)]


def test_csv_columns_that_change(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "log.csv"
    many = [(i, i, i) for i in range(200_000)]
    path.write_bytes(csv_of([*many, ("name", 0, 0)]))
    assert read(open_events(path, COLUMNS))[-1] == ("name", "0", "0")


def test_times_in_csv_are_of_one_unit(tmp_path):
    pytest.importorskip("pyarrow")
    stamps = ["2024-01-01", "2024-01-01 10:00:00", "2024-01-01T10:00:00.25"]
    want = np.array(stamps, "M8[ns]").astype(np.int64).tolist()
    for i, order in enumerate([[0, 1, 2], [2, 1, 0], [1, 0, 2]]):
        path = tmp_path / f"{i}.csv"
        path.write_bytes(csv_of([("u", 1, stamps[j]) for j in order]))
        (batch,) = open_events(path, COLUMNS)[0].batches()
        unit, got = times(batch.columns["time"], Place("time"))
        assert unit == "timestamps in ns"
        assert got.tolist() == [want[j] for j in order]


def test_damaged_files(tmp_path):
    pytest.importorskip("pyarrow")
    for name, data, message in [
        ("a.csv", b"", "a.csv: expected a CSV file, got an empty one"),
        ("b.csv", csv_of(ROWS) + b"u,1\n", r"b.csv: expected a CSV file.*Row #22: Expected 3 columns"),
        ("c.csv.gz", csv_of(ROWS), r"c.csv.gz: expected a sound .gz file"),
        ("d.csv", HEADER.encode() + b"\n\xff,1,1\n", r"d.csv: expected text in utf-8, got 1 places that are none.*; iconv makes UTF-8"),
        ("e.parquet", b"PAR1", r"e.parquet: expected a Parquet file, got another one"),
        ("f.csv", b"user,item\na,1\n", r"f.csv: expected a column 'time', got none among 'user' \(text\), 'item' \(text\); timestamp=None .*; without a header, columns are called"),
        ("g.csv", b"user,item,time,user\na,1,1,b\n", r"g.csv: expected a column 'user', got several among"),
        ("h.log", csv_of(ROWS), r"h.log: expected a name that ends with .parquet, .csv, .tsv.* got 'h.log'"),
        ("i", csv_of(ROWS), r"i: expected a name that ends with"),
        ("j.gz", gzip.compress(csv_of(ROWS)), r"j.gz: expected a name that ends with"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArgumentError, match=message):
            read(open_events(tmp_path / name, COLUMNS))


def test_a_damaged_parquet_page(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "log.parquet"
    numbers = np.arange(5000)
    parquet.write_table(pa.table({name: numbers for name in COLUMNS.all()}), path)
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    (opened,) = open_events(path, COLUMNS)
    with pytest.raises(ArgumentError, match=r"log.parquet: expected a sound Parquet file, got"):
        read([opened])
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read([opened])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "source: expected a table, a path, .* a sparse matrix, got NoneType"),
        ([], "source: expected a table, .* got list"),
        ([3], "got list"), (b"log.csv", "got bytes"), (3, "got int"), (iter([(1, 2)]), "got list_iterator; list"),
        ([("a", 1, 2), ("b", 1)], r"source\[1\]: expected a tuple of user, item, time, or a dict, got \('b', 1\)"),
        ([{"user": 1, "item": 2}], "source: expected a column 'time', got none among 'user'"),
        (np.array([(1, 2)], [("user", int), ("item", int)]), r"got several columns \(a dict has them by name\)"),
        ("no such file.csv", "source: expected a file, a folder or a pattern that matches files, got 'no"),
        (["a.csv", "b.csv"], r"source\[0\]: expected a file, a folder or a pattern"),
        (np.ones((3, 2)), r"source: expected integers of shape \(n, 2\), .* got float64 of shape \(3, 2\)"),
        (np.ones((3, 4), int), r"got int64 of shape \(3, 4\)"), (np.ones(3, int), r"got int64 of shape \(3,\)"),
        (np.ones((3, 2), bool), "got bool of shape"),
        ({}, "source: expected a column 'user', got none among"),
        ({"user": [1], "item": [2, 3], "time": [1]}, "column 'item': expected 1 values, as in 'user', got 2"),
        ({"user": [1], "item": np.ones((1, 1), int), "time": [1]}, r"column 'item': expected shape \(n,\)"),
        ({"user": [1], "item": "a", "time": [1]}, "column 'item': expected a list or an array, got 'a'"),
    ],
    ids=lambda value: repr(value) if isinstance(value, (str, list, dict)) else type(value).__name__,
)
def test_what_is_no_source(source, message):
    with pytest.raises(ArgumentError, match=message):
        open_events(source, COLUMNS)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_lists_of_rows():
    dicts = [dict(zip(COLUMNS.all(), row, strict=True)) for row in ROWS]
    for source in (ROWS, tuple(map(list, ROWS)), dicts):
        assert read(open_events(source, COLUMNS)) == ROWS
    pairs = COLUMNS._replace(time=None)
    assert read(open_events([row[:2] for row in ROWS], COLUMNS), pairs) == [row[:2] for row in ROWS]
    assert read(open_events(ROWS, pairs), pairs) == [row[:2] for row in ROWS]  # as of arrays
    assert len(read(open_events(np.matrix([[1, 2], [3, 4]]), COLUMNS), pairs)) == 2

    rows = [{"item": 1, "user": "a"}, {"user": "b", "country": "GB", "item": 2}]
    columns = Columns("user", "item", None, ("country",))
    assert read(open_events(rows, columns), columns) == [("a", 1, None), ("b", 2, "GB")]


def test_an_empty_folder(tmp_path):
    with pytest.raises(ArgumentError, match="source: expected a folder with files"):
        open_events(tmp_path, COLUMNS)


def test_without_pyarrow(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    (tmp_path / "log.csv").write_bytes(csv_of(ROWS))
    monkeypatch.setattr(_optional, "import_module", missing)
    with pytest.raises(ImportError, match=r'CSV files needs pyarrow: pip install "numba-ss\[all\]"'):
        open_events(tmp_path / "log.csv", COLUMNS)
    assert len(read(open_events(np.ones((4, 3), int), COLUMNS))) == 4


def test_folders_that_jobs_write(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = Columns("user", "item", "day", ("country",))
    for country, name in [("DE", "part.snappy.parquet"), ("__HIVE_DEFAULT_PARTITION__", "part.csv")]:
        folder = tmp_path / "log" / "day=2024-01-02" / f"country={country}"
        folder.mkdir(parents=True)
        table = pa.table({"user": [1, 2], "item": ["x", "y"]})
        if name.endswith("csv"):
            (folder / name).write_text("user;item\n1;x\n2;y\n")
        else:
            parquet.write_table(table, folder / name)
    (tmp_path / "log" / "_SUCCESS").touch()
    rows = read(open_events(tmp_path / "log", columns), columns)
    assert sorted(map(str, rows)) == sorted(map(str, [
        (1, "x", "DE", "2024-01-02"), (2, "y", "DE", "2024-01-02"),
        ("1", "x", None, "2024-01-02"), ("2", "y", None, "2024-01-02"),
    ]))
    (table,) = open_events(tmp_path / "log" / "day=2024-01-02" / "country=DE", columns)
    assert table.total() == 2
    # A file's own columns count, and those that nobody asks for do not.
    plain = Columns("user", "item", None)
    assert len(read(open_events(tmp_path / "log", plain), plain)) == 4
    own = tmp_path / "user=7" / "a.csv"
    own.parent.mkdir()
    own.write_text("user,item\n1,x\n")
    assert read(open_events(own, plain), plain) == [("1", "x")]
    with pytest.raises(ArgumentError, match=r"a column 'kind', got none among 'user' \(int64\), 'item'"):
        open_events(tmp_path / "log", columns._replace(item_features=("kind",)))
    own.write_text("other\n1\n")
    with pytest.raises(ArgumentError, match=r"source: expected a file with a column that its folders do not tell"):
        open_events(tmp_path / "user=7", Columns("user", "user", None))


def test_files_under_other_names(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    feather = pytest.importorskip("pyarrow.feather")
    table = pa.table(dict(zip(COLUMNS.all(), zip(*ROWS, strict=True), strict=True)))
    for name in ("log.PARQUET", "log.pq", "log", "log.csv"):
        parquet.write_table(table, tmp_path / name)
        assert read(open_events(tmp_path / name, COLUMNS)) == ROWS
    feather.write_feather(table, tmp_path / "log.arrow")
    for name in ("log.jsonl.gz", "log.xlsx"):
        (tmp_path / name).write_bytes(b"x")
    for name, way in [("log.arrow", "pyarrow.feather.read_table"), ("log.jsonl.gz", "pandas.read_json"), ("log.xlsx", "pandas.read_excel")]:
        with pytest.raises(ArgumentError, match=f"expected a name that ends with .*; {way}"):
            open_events(tmp_path / name, COLUMNS)


def test_parts_without_a_byte_have_no_events(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "part-0.csv").write_bytes(b"")
    (tmp_path / "part-1.csv").write_bytes(csv_of(ROWS))
    assert texts(read(open_events(tmp_path, COLUMNS))) == texts(ROWS)
    assert texts(read(open_events([tmp_path / "part-1.csv", tmp_path / "part-0.csv"], COLUMNS))) == texts(ROWS)
    with pytest.raises(ArgumentError, match=r"part-0.csv: expected a CSV file, got an empty one"):
        open_events(str(tmp_path / "*-0.csv"), COLUMNS)
