"""id_vectors.py: keys and vectors come back as they were, and no damaged file goes through."""

import sys
import tracemalloc

import numpy as np
import pytest

from numba_ss import ArgumentError, WordVectors
from numba_ss.retrieval.id_vectors import load_vectors, save_vectors

LIBRARY = {"safetensors": "safetensors.numpy", "parquet": "pyarrow.parquet"}
FORMATS = ["npz", *LIBRARY]
STRINGS = ["the", "Käse", "", "a b\n", "日本", "nul\0"]
INTEGERS = [7, -(2**63), 2**63 - 1, 0, -1, 30]
LISTS = {"string": STRINGS, "integer": INTEGERS}


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    if request.param in LIBRARY:
        pytest.importorskip(LIBRARY[request.param], reason=f"{request.param} files need it")
    return tmp_path / f"vectors.{request.param}"


@pytest.fixture
def table(rng):
    table = rng.standard_normal((6, 3)).astype(np.float32)
    table[1] = [-0.0, 1e-42, np.finfo(np.float32).max]
    return table


def same(got, keys, vectors):
    ids, table = got
    assert ids.dtype == (object if isinstance(keys[0], str) else np.int64)
    assert ids.tolist() == list(keys)
    assert {type(key) for key in ids.tolist()} == {type(keys[0])}
    assert (table.dtype, table.shape) == (np.float32, vectors.shape)
    # As integers: minus zero is another number than zero here.
    np.testing.assert_array_equal(table.view(np.int32), np.array(vectors).view(np.int32))
    assert ids.flags.writeable
    assert table.flags.writeable


@pytest.mark.parametrize("keys", LISTS.values(), ids=LISTS)
def test_round_trip(keys, path, table):
    save_vectors(path, keys, table)
    same(load_vectors(path), keys, table)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_every_form_of_keys_and_vectors(path, table):
    """Arrays of strings, objects and small integers; views, columns, arrays only to be read."""
    strings = ["b", "a", "c"]
    for keys in (np.array(strings), np.array(strings, object), tuple(strings)):
        save_vectors(path, keys, table[::2, ::-1])
        same(load_vectors(path), strings, np.ascontiguousarray(table[::2, ::-1]))
    frozen = np.asfortranarray(table[:3])
    frozen.flags.writeable = False
    for keys in (np.uint8([5, 3, 200]), np.array([5, 3, 200], object)):
        save_vectors(str(path), keys, frozen)
        same(load_vectors(str(path)), [5, 3, 200], table[:3])


def test_words_are_shared_with_word_vectors(path, table):
    """Both use one format if keys are words; word vectors cannot read integers."""
    save_vectors(path, STRINGS, table)
    loaded = WordVectors.load(path)
    assert loaded.index_to_key == STRINGS
    assert loaded.vectors.tobytes() == table.tobytes()
    WordVectors(STRINGS, table, range(6, 0, -1)).save(path)
    same(load_vectors(path), STRINGS, table)
    save_vectors(path, INTEGERS, table)
    with pytest.raises(ArgumentError, match=str(path)):
        WordVectors.load(path)


def test_others_read_it(tmp_path, table):
    save_vectors(tmp_path / "v.npz", INTEGERS, table)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["ids", "vectors"]
        assert arrays["ids"].tolist() == INTEGERS
        np.testing.assert_array_equal(arrays["vectors"], table)
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files need pyarrow")
    for keys, kind in ((INTEGERS, "int64"), (STRINGS, "string")):
        save_vectors(tmp_path / "v.parquet", keys, table)
        read = parquet.read_table(tmp_path / "v.parquet")
        assert read.column_names == ["id", "vector"]
        assert str(read.schema.field("id").type) == kind
        assert read["id"].to_pylist() == keys
        assert read.schema.field("vector").type.list_size == 3
        assert str(read.schema.field("vector").type.value_type) == "float"
        assert read["vector"].to_pylist() == table.tolist()


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ([1, 2, 1], np.ones((3, 2), np.float32), r"ids: expected distinct keys, got 1 again at ids\[2\]"),
        (["b", "a", "a"], np.ones((3, 2), np.float32), r"ids: .* got 'a' again at ids\[2\]"),
        (["a", None], ONES, r"ids\[1\]: expected a string or an integer, got null"),
        (["a", 2], ONES, r"ids\[1\]: expected strings, as before, got 2"),
        (["a", "\ud800"], ONES, r"ids\[1\]: expected a string that UTF-8 can hold"),
        ([1, 2**63], ONES, r"ids\[1\]: .*2\*\*63"),
        ([0.5, 1.5], ONES, "ids"),
        ("ab", ONES, "ids: expected a list or an array, got 'ab'"),
        ([], np.ones((0, 3), np.float32), "ids: expected at least one key, got none"),
        ([1], ONES, r"vectors: expected shape \(n, dim\) = \(1, any\), got shape \(2, 3\)"),
        ([1, 2], ONES[0], "vectors: expected shape"),
        ([1, 2], np.ones((2, 0), np.float32), "vectors: expected vectors of at least one number"),
        ([1, 2], np.ones((2, 3)), "vectors: expected float32 numbers, got float64"),
        ([1, 2], np.float32([[1, 2], [3, np.nan]]), r"vectors: .*got nan at vectors\[1, 1\]"),
    ],
)
def test_what_cannot_be_saved(ids, vectors, message, path):
    path.write_text("older")
    with pytest.raises(ArgumentError, match=message):
        save_vectors(path, ids, vectors)
    assert path.read_text() == "older"
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["v", "v.bin", "v.npz.gz", "v.tsv"])
def test_other_suffixes(name, tmp_path):
    expected = r"path: .*ends in \.npz, \.safetensors, \.parquet, got '.*v"
    with pytest.raises(ArgumentError, match=expected):
        save_vectors(tmp_path / name, [1, 2], ONES)
    with pytest.raises(ArgumentError, match=expected):
        load_vectors(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_absent_files_and_libraries(path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        load_vectors(path)
    module = LIBRARY.get(path.suffix[1:])
    if module is not None:
        for name in (module.partition(".")[0], module):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r"numba-ss\[all\]"):
            save_vectors(path, [1, 2], ONES)
        assert not path.exists()


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("key 1: expected distinct keys, got 5 again", {"ids": np.int64([5, 5])}),
        ("a vector for each, got 3 keys", {"ids": np.arange(3)}),
        ("ids holds int32", {"ids": np.int32([5, 6])}),
        ("ids: expected int64 of 1 dimensions", {"ids": np.int64([[5, 6]])}),
        ("KeyError: .*vectors", {"vectors": None}),
        ("KeyError: .*words", {"ids": None}),
        ("key 1: expected finite numbers, got inf as number 2 of 6", {"vectors": np.float32([[1, 2], [3, np.inf]])}),
        ("vectors", {"vectors": np.ones((2, 2))}),
        ("at least one key", {"vectors": np.ones((2, 0), np.float32)}),
    ],
)
def test_malformed_arrays(message, changes, tmp_path):
    sound = {"vectors": np.ones((2, 2), np.float32), "ids": np.int64([5, 6])}
    path = tmp_path / "v.npz"
    np.savez(path, **sound)
    same(load_vectors(path), [5, 6], sound["vectors"])
    arrays = {name: array for name, array in (sound | changes).items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(ArgumentError, match=rf"v\.npz.*{message}"):
        load_vectors(path)


def test_other_tables(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "v.parquet"
    vector = arrow.FixedSizeListArray.from_arrays(arrow.array(np.ones(4, np.float32)), 2)
    for columns, message in (
        ({"id": [1.5, 2.5], "vector": vector}, "columns: expected id: string or int64"),
        ({"id": [1, 2], "vector": [[1.0], [2.0]]}, "columns: .*got id: int64, vector: list"),
        ({"vector": vector}, "columns: expected id"),
        ({"id": [1, None], "vector": vector}, "no nulls"),
        ({"id": [3, 3], "vector": vector}, "key 1: expected distinct keys, got 3 again"),
    ):
        parquet.write_table(arrow.table(columns), path)
        with pytest.raises(ArgumentError, match=rf"v\.parquet.*{message}"):
            load_vectors(path)


@pytest.mark.parametrize("keys", LISTS.values(), ids=LISTS)
def test_damage_is_told_or_harmless(keys, path, table, rng):
    save_vectors(path, keys, table)
    data = path.read_bytes()
    messages = []
    contents = [data[:stop] for stop in range(0, len(data), 7)]
    for _ in range(150):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        contents.append(bytes(changed))
    for content in contents:
        path.write_bytes(content)
        try:
            ids, vectors = load_vectors(path)
        except ArgumentError as error:
            messages.append(str(error))
        else:
            assert len(set(ids.tolist())) == len(ids) == len(vectors)
            assert np.isfinite(vectors).all()
    assert len(messages) > len(contents) * 0.7
    assert all(str(path) in message for message in messages)


def test_a_small_archive_takes_little_memory(tmp_path):
    path = tmp_path / "v.npz"
    np.savez_compressed(path, ids=np.arange(2**12), vectors=np.zeros((2**12, 2**12), np.float32))
    tracemalloc.start()
    try:
        with pytest.raises(ArgumentError, match=r"v.npz, vectors: expected an array compressed to a 100th at most, got .*unfolds to 67"):
            load_vectors(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    rng = np.random.default_rng(1)
    np.savez_compressed(path, ids=np.arange(50), vectors=rng.random((50, 8), np.float32))
    assert load_vectors(path)[1].shape == (50, 8)


@pytest.mark.parametrize("length", [238, 250])
def test_long_names_of_files(tmp_path, length):
    path = tmp_path / ("v" * (length - 4) + ".npz")
    save_vectors(path, [1, 2], np.eye(2, dtype=np.float32))
    assert load_vectors(path)[0].tolist() == [1, 2]
