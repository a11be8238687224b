"""arrow.py: the batches of a table are the table, whoever exports it and however it is cut."""

import numpy as np
import pytest

from numba_ss import ArgumentError, _optional
from numba_ss.io.arrow import ArrowStream, ParquetFiles, is_text, listed

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TABLE = pa.table({
    "n": np.arange(100), "words": [f"w{i % 7}" * (i % 5) for i in range(100)],
    "x": np.linspace(0, 1, 100),
})


def check(source, columns, part):
    batches = list(source.batches(columns, part))
    assert pa.Table.from_batches(batches).equals(TABLE.select(columns))
    return batches


@pytest.mark.parametrize("part", [1, 100, 2**23])
@pytest.mark.parametrize("columns", [[0], [2, 1], [1, 0, 2]])
def test_streams(columns, part):
    for table in (TABLE, pa.concat_tables([TABLE[:30], TABLE[30:]])):
        source = ArrowStream(table)
        assert source.schema == TABLE.schema
        assert source.total() is None
        for _ in range(2):
            batches = check(source, columns, part)
        size = TABLE.select(columns).nbytes
        assert len(batches) == 100 if part == 1 else len(batches) >= size / part


def test_a_stream_that_can_be_read_once():
    source = ArrowStream(TABLE.to_reader(max_chunksize=9))
    check(source, [1], 2**20)
    assert list(source.batches([1], 2**20)) == []


def test_a_single_column():
    source = ArrowStream(TABLE["words"])
    assert source.schema.names == [""]
    values = pa.Table.from_batches(source.batches([0], 100)).column(0)
    assert values.to_pylist() == TABLE["words"].to_pylist()


@pytest.mark.parametrize("part", [1, 100, 2**23])
def test_parquet_files(part, tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    parquet.write_table(TABLE[:60], paths[0], row_group_size=7)
    parquet.write_table(TABLE[60:], paths[1])
    source = ParquetFiles(paths)
    assert source.total() == 100
    for columns in ([0], [1], [0, 2]):
        check(source, columns, part)


def test_parquet_files_that_differ(tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    parquet.write_table(TABLE, paths[0])
    parquet.write_table(TABLE.set_column(0, "n", TABLE["n"].cast(pa.int32())), paths[1])
    source = ParquetFiles(paths)
    assert sum(map(len, source.batches([1, 2], 2**20))) == 200
    message = r"b.parquet: expected the columns of the other files, got no column n \(int64\)"
    with pytest.raises(ArgumentError, match=message):
        list(source.batches([0], 2**20))
    parquet.write_table(TABLE[:5], paths[0])
    with pytest.raises(ArgumentError, match=r"a.parquet: expected the file that the first pass read"):
        list(source.batches([1], 2**20))
    paths[1].write_bytes(b"text")
    with pytest.raises(ArgumentError, match=r"b.parquet: expected a Parquet file, got another one"):
        ParquetFiles(paths[1:])


def test_parquet_files_may_differ_in_how_they_store_strings(tmp_path):
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    texts = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
    lists = (pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(texts[2]))
    for path, text, kind in zip(paths, texts, lists, strict=True):
        fields = [pa.field("t", text, nullable=path == paths[0]), pa.field("w", kind)]
        parquet.write_table(pa.table([["a b"], [["a", "b"]]], pa.schema(fields)), path)
    for column, values in ((0, ["a b"]), (1, [["a", "b"]])):
        batches = list(ParquetFiles(paths).batches([column], 2**20))
        assert [batch.column(0).to_pylist() for batch in batches] == [values] * 3


def test_types():
    strings = [pa.string(), pa.large_string(), pa.string_view()]
    assert all(map(is_text, [*strings, *(pa.dictionary(pa.int8(), kind) for kind in strings)]))
    assert not any(map(is_text, [pa.int8(), pa.binary(), pa.dictionary(pa.int8(), pa.int8())]))
    assert listed(TABLE.schema) == "n (int64), words (string), x (double)"


def test_without_pyarrow(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(_optional, "import_module", missing)
    for open_table in (lambda: ArrowStream(TABLE), lambda: ParquetFiles([tmp_path])):
        with pytest.raises(ImportError, match=r'needs pyarrow: pip install "numba-ss\[all\]"'):
            open_table()


def test_flipped_bits_are_found(tmp_path):
    """The files have checksums, and these are compared."""
    path = tmp_path / "log.parquet"
    parquet.write_table(TABLE, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = path.read_bytes()
    source = ParquetFiles([path])
    column = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    for bit in range(8 * (column.data_page_offset + 200), 8 * (column.data_page_offset + 700), 97):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ArgumentError, match=r"log.parquet: expected a sound Parquet file, got another one"):
            list(ParquetFiles([path]).batches([0], 2**20))
    path.write_bytes(data)
    check(source, [0], 2**20)


def test_errors_of_arrow_name_the_file(tmp_path):
    path = tmp_path / "log.parquet"
    parquet.write_table(TABLE, path)
    data = path.read_bytes()
    for damaged in (data[:50], data[:-300] + bytes(280) + data[-20:], data[:4] + bytes(300) + data[304:]):
        path.write_bytes(damaged)
        with pytest.raises(ArgumentError, match=r"log.parquet: expected a (sound )?Parquet file, got another one"):
            list(ParquetFiles([path]).batches([0, 1, 2], 2**20))
    with pytest.raises(FileNotFoundError, match=r"none\.parquet"):
        ParquetFiles([tmp_path / "none.parquet"])
