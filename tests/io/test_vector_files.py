"""vector_files.py: every format gives back what it took, and no damaged file goes through."""

import bz2
import gzip
import lzma
import os
import re
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from numba_ss import ArgumentError, Word2Vec
from numba_ss.io import vector_files
from numba_ss.io.vector_files import READERS, Stored, first_not_finite, first_repeated
from numba_ss.word2vec.vectors import WordVectors

FORMATS = ["npz", "bin", "txt", "safetensors", "parquet"]
LIBRARY = {"safetensors": "safetensors", "parquet": "pyarrow.parquet"}
WORD2VEC = ("bin", "txt")


def need(format):
    if format in LIBRARY:
        pytest.importorskip(LIBRARY[format], reason=f"{format} files need {LIBRARY[format]}")


@pytest.fixture
def vectors(rng):
    table = rng.standard_normal((5, 3)).astype(np.float32)
    table[1] = [-0.0, 1e-42, np.finfo(np.float32).max]
    return WordVectors(["the", "Käse", "日本", "a_b", "x" * 300], table, [2**40, 7, 7, 1, 0])


def same(got, want, counts=True):
    assert got.index_to_key == want.index_to_key
    # As integers: minus zero is another number than zero here.
    np.testing.assert_array_equal(got.vectors.view(np.int32), want.vectors.view(np.int32))
    if counts and want.counts is not None:
        np.testing.assert_array_equal(got.counts, want.counts)
    else:
        assert got.counts is None


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(format, vectors, tmp_path):
    need(format)
    path = tmp_path / f"vectors.{format}"
    for want in (vectors, WordVectors(vectors.index_to_key, vectors.vectors)):
        want.save(path)
        same(WordVectors.load(path), want, counts=format not in WORD2VEC)
    vectors.save(tmp_path / "named", format=format)
    assert (tmp_path / "named").read_bytes()
    same(WordVectors.load(tmp_path / "named", format), vectors, counts=format not in WORD2VEC)


@pytest.mark.parametrize("format", ["npz", "safetensors", "parquet"])
def test_words_may_hold_anything(format, vectors, tmp_path):
    need(format)
    words = ["", " ", "a b\n", "\0", "\t"]
    path = tmp_path / f"vectors.{format}"
    WordVectors(words, vectors.vectors).save(path)
    assert WordVectors.load(path).index_to_key == words


@pytest.mark.parametrize(
    ("format", "word"),
    [("bin", "a b"), ("txt", "a\n"), ("txt", ""), ("tsv", "a\tb"), ("npz", "\ud800")],
)
def test_words_a_format_cannot_hold(format, word, tmp_path):
    path = tmp_path / f"vectors.{format}"
    path.write_text("older")
    with pytest.raises(ArgumentError, match=r"words: .* got "):
        WordVectors(["the", word], np.ones((2, 2), np.float32)).save(path)
    assert path.read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1


def test_gensim_reads_and_writes_the_same(vectors, tmp_path):
    models = pytest.importorskip("gensim.models", reason="compares with gensim")
    keyed = models.KeyedVectors(3)
    keyed.add_vectors(vectors.index_to_key, vectors.vectors)
    for format in WORD2VEC:
        ours, theirs = tmp_path / f"ours.{format}", tmp_path / f"theirs.{format}"
        vectors.save(ours)
        keyed.save_word2vec_format(str(theirs), binary=format == "bin")
        assert ours.read_bytes() == theirs.read_bytes()
        same(WordVectors.load(theirs), vectors, counts=False)
        loaded = models.KeyedVectors.load_word2vec_format(str(ours), binary=format == "bin")
        assert loaded.index_to_key == vectors.index_to_key
        np.testing.assert_array_equal(loaded.vectors, vectors.vectors)


def word2vec_c(vectors, format):
    """Write as word2vec.c does: a newline after each vector, a space after each number."""
    out = b"%d %d\n" % vectors.vectors.shape
    for word, row in zip(vectors.index_to_key, vectors.vectors, strict=True):
        numbers = row.tobytes() if format == "bin" else b"".join(b"%.9g " % x for x in row.tolist())
        out += word.encode() + b" " + numbers + b"\n"
    return out


@pytest.mark.parametrize("format", WORD2VEC)
def test_conventions_of_word2vec_c(format, vectors, tmp_path):
    content = word2vec_c(vectors, format)
    plain, packed = tmp_path / f"vectors.{format}", tmp_path / f"vectors.{format}.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    for path in (plain, packed):
        same(WordVectors.load(path), vectors, counts=False)
    plain.rename(tmp_path / "vectors.vec")
    if format == "txt":
        same(WordVectors.load(tmp_path / "vectors.vec"), vectors, counts=False)


def test_binary_longer_than_a_chunk(rng, tmp_path):
    words = [f"word{i}" for i in range(3000)]
    want = WordVectors(words, rng.standard_normal((3000, 200)).astype(np.float32))
    want.save(tmp_path / "vectors.bin")
    same(WordVectors.load(tmp_path / "vectors.bin"), want)


def test_npz_is_numpy_s(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["vectors"], vectors.vectors)
        joined = "".join(vectors.index_to_key).encode()
        assert arrays["words"].tobytes() == joined
    first = path.read_bytes()
    vectors.save(path)
    assert path.read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            lengths = struct.unpack_from("<HH", first, member.header_offset + 26)
            assert (member.header_offset + 30 + sum(lengths)) % 64 == 0


def test_mapped(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    mapped = WordVectors.load(path, mmap=True)
    same(mapped, vectors)
    base = mapped.vectors
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.ctypes.data % 64 == 0
    mapped.save(path)  # over the file that is mapped
    same(mapped, vectors)
    same(WordVectors.load(path), vectors)


def test_mapped_numbers_are_looked_at_when_used(rng, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors = WordVectors(list(map(str, range(2000))), rng.standard_normal((2000, 3)))
    vectors.save(path)
    number = vectors.vectors[1993].tobytes()
    path.write_bytes(path.read_bytes().replace(number, np.float32([1, np.nan, 1]).tobytes()))
    with pytest.raises(ArgumentError, match="CRC"):
        WordVectors.load(path)
    mapped = WordVectors.load(path, mmap=True)
    with pytest.raises(ArgumentError, match=r"length nan at vectors\[1993\]"):
        mapped.most_similar("7")


def test_archives_of_other_kinds(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ArgumentError, match=r"vectors\.npz, the last 22 bytes: .*end of the archive"):
        WordVectors.load(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("vectors.npy", "w") as member:
        np.lib.format.write_array(member, vectors.vectors, version=(2, 0))
    with pytest.raises(ArgumentError, match="vectors is in another version"):
        WordVectors.load(path)


def test_compressed_arrays(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)
    same(WordVectors.load(path), vectors)
    with pytest.raises(ArgumentError, match="uncompressed"):
        WordVectors.load(path, mmap=True)


def test_projector(tmp_path):
    vectors = WordVectors(["a", "b c"], [[0.5, -1.0], [1e-5, 3.0]], [5, 2])
    vectors.save(tmp_path / "v.tsv")
    assert (tmp_path / "v.tsv").read_text() == "0.5\t-1.0\n1e-05\t3.0\n"
    assert (tmp_path / "v_metadata.tsv").read_text() == "word\tcount\na\t5\nb c\t2\n"
    WordVectors(["a", "b c"], vectors.vectors).save(tmp_path / "v.tsv")
    assert (tmp_path / "v_metadata.tsv").read_text() == "a\nb c\n"


def test_parquet_columns(vectors, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files need pyarrow")
    vectors.save(tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["id", "count", "vector"]
    assert str(table.schema.field("vector").type).startswith("fixed_size_list<")
    assert table["vector"].to_pylist() == vectors.vectors.tolist()
    nulls = table.set_column(1, "count", [[1, None, 3, 4, 5]])
    for other, message in [(table.drop(["vector"]), "columns: expected id"), (nulls, "no nulls")]:
        parquet.write_table(other, tmp_path / "v.parquet")
        with pytest.raises(ArgumentError, match=message):
            WordVectors.load(tmp_path / "v.parquet")


A, B = b"a " + np.float32([1, 2]).tobytes(), b"b " + np.float32([3, 4]).tobytes()
GLOVE = "the 1 2\n{word} 3 4\ncat 5 6\n"


@pytest.mark.parametrize("header", ["", "3 2\n", "\ufeff3 2\n", "3\t2 \n"])
@pytest.mark.parametrize(
    "word", ["a", ". . .", "at name@domain.com", " ", "", "2", "-1", "\u00a0", "b c 1.5", "a_b"]
)
@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_published_text(header, word, packed, tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    path.write_bytes(packed((header + GLOVE.format(word=word)).encode()))
    loaded = WordVectors.load(path)
    assert loaded.index_to_key == ["the", word, "cat"]
    assert loaded.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert WordVectors.load(path, limit=2).index_to_key == ["the", word]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "rows", ["the\t1\t2\ncat\t3\t4\n", "the   1  2 \r\ncat 3\t 4\r\n", "the 1.00000000000000001 2e0\ncat 3 +4\n\n\n"]
)
def test_separators_of_all_kinds_and_doubles(rows, tmp_path):
    path = tmp_path / "vectors.vec"
    path.write_text(rows)
    loaded = WordVectors.load(path)
    assert loaded.index_to_key == ["the", "cat"]
    assert loaded.vectors.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("said", [2, 4, 10])
def test_a_first_line_that_counts_wrongly_is_told_of(said, tmp_path, caplog):
    path = tmp_path / "vectors.vec"
    path.write_text(f"{said} 2\n" + GLOVE.format(word="a"))
    assert WordVectors.load(path).index_to_key == ["the", "a", "cat"]
    assert caplog.messages == [f"{path}: line 1 says {said} words, there are 3; all of these were read"]
    assert len(WordVectors.load(path, limit=1)) == 1
    more = WordVectors(["the", "a", "cat"], np.eye(3, 2, dtype=np.float32))
    more.save(tmp_path / "vectors.bin")
    data = (tmp_path / "vectors.bin").read_bytes()
    (tmp_path / "vectors.bin").write_bytes(data.replace(b"3 2", b"%d 2" % said, 1))
    caplog.clear()
    if said == 2:
        same(WordVectors.load(tmp_path / "vectors.bin"), more)
        assert "line 1 says 2 words, there are 3" in caplog.messages[0]
    else:
        with pytest.raises(ArgumentError, match=r"limit=3 \(--limit\) reads them"):
            WordVectors.load(tmp_path / "vectors.bin")
        same(WordVectors.load(tmp_path / "vectors.bin", limit=3), more)


def test_a_last_line_without_an_end_is_told_of(tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2\ncat 3 4")
    assert len(WordVectors.load(path)) == 2
    assert "the last line has no end" in caplog.messages[0]


def test_the_first_of_equal_words_wins_and_the_others_are_told_of(tmp_path, caplog):
    (tmp_path / "v.txt").write_text("2 2\na 1 2\nb 3 4\na 5 6\nb 7 8\n".replace("2 2", "4 2", 1))
    (tmp_path / "v.bin").write_bytes(b"4 2\n" + A + B + A + B)
    for name, place in (("v.txt", "line 4"), ("v.bin", "byte 24")):
        caplog.clear()
        loaded = WordVectors.load(tmp_path / name)
        assert (loaded.index_to_key, loaded.vectors.tolist()) == (["a", "b"], [[1, 2], [3, 4]])
        assert re.search(rf"2 words stand there again, the first of them 'a' at {place}", caplog.text)


def test_bytes_that_are_no_utf_8(tmp_path):
    (tmp_path / "v.txt").write_bytes("caf\u00e9 1 2\nthe 3 4\n".encode("latin-1"))
    (tmp_path / "v.bin").write_bytes(b"2 2\n\xd0" + A + B)
    for name, word in (("v.txt", "caf"), ("v.bin", "")):
        path = tmp_path / name
        with pytest.raises(ArgumentError, match=r'errors="replace" \(--errors\) reads it'):
            WordVectors.load(path)
        replaced = WordVectors.load(path, errors="replace").index_to_key[0]
        assert replaced.startswith(f"{word}\ufffd")
        ignored = WordVectors.load(path, errors="ignore").index_to_key[0]
        assert ignored == replaced.replace("\ufffd", "")
    with pytest.raises(ArgumentError, match="errors: expected one of 'strict'"):
        WordVectors.load(path, errors="surrogateescape")


def test_binary_doubles(rng, tmp_path):
    table = rng.standard_normal((7, 5))
    data = b"7 5\n" + b"".join(b"word%d %s\n" % (i, row.tobytes()) for i, row in enumerate(table))
    (tmp_path / "v.bin").write_bytes(data)
    np.testing.assert_array_equal(WordVectors.load(tmp_path / "v.bin").vectors, table.astype(np.float32))


@pytest.mark.parametrize("format", ["npz", "bin", "txt", "safetensors", "parquet"])
def test_limit(format, vectors, tmp_path):
    need(format)
    vectors.save(tmp_path / "v", format=format)
    for limit in (1, 4, 5, 9):
        want = WordVectors(vectors.index_to_key[:limit], vectors.vectors[:limit], vectors.counts[:limit])
        same(WordVectors.load(tmp_path / "v", format, limit=limit), want, counts=format not in WORD2VEC)
    with pytest.raises(ArgumentError, match="limit: expected at least 1"):
        WordVectors.load(tmp_path / "v", format, limit=0)


def test_what_stands_behind_the_limit_is_not_looked_at(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"5 2\na 1 2\nb 3 4\n\nc\n")
    (tmp_path / "v.bin").write_bytes(b"5 2\n" + A + B + b"c")
    for name in ("v.txt", "v.bin"):
        with pytest.raises(ArgumentError):
            WordVectors.load(tmp_path / name)
        assert WordVectors.load(tmp_path / name, limit=2).index_to_key == ["a", "b"]


def test_a_mark_within_a_file_is_part_of_a_word(tmp_path):
    (tmp_path / "v.txt").write_text("\ufeff" + "".join(f"\ufeff{i} 1 2\n" for i in range(150)), "utf-8")
    assert WordVectors.load(tmp_path / "v.txt").index_to_key == [f"\ufeff{i}" for i in range(150)]


@pytest.mark.parametrize("name", ["v.txt.gz", "v.vec.gz", "v.BIN.GZ"])
def test_compressed_output_is_the_same_each_time(name, vectors, tmp_path):
    vectors.save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    vectors.save(tmp_path / f"other {name}")
    assert (tmp_path / f"other {name}").read_bytes() == data
    same(WordVectors.load(tmp_path / name), vectors, counts=False)
    format = "bin" if "BIN" in name else "txt"
    vectors.save(tmp_path / "plain", format=format)
    assert gzip.decompress(data) == (tmp_path / "plain").read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cc.en.300.bin", struct.pack("<ii", 793712314, 12) + bytes(99), "a model of fastText, .*load its .vec"),
        ("word2vec.model", b"\x80\x04\x95" + bytes(9), r"a Python pickle, such as gensim's .*from_keyed_vectors"),
        ("w.bin", b"\x80\x02}" + bytes(9), "a Python pickle"),
        ("p.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS .*: git lfs pull"),
        ("p.txt", b"<!DOCTYPE html><html>404</html>", "a web page"),
    ],
)
def test_files_of_others_are_named(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArgumentError, match=rf"{name}: expected a file of vectors, got {message}"):
        WordVectors.load(tmp_path / name)


def test_other_archives_are_named(tmp_path):
    path = tmp_path / "v.npz"
    Word2Vec(4, min_count=1, epochs=1, subsample=0).fit([["a", "b"]] * 9, progress=False).save(path)
    with pytest.raises(ArgumentError, match=r"v\.npz: .*a whole model: numba_ss\.Word2Vec\.load"):
        WordVectors.load(path)
    with zipfile.ZipFile(tmp_path / "wiki.vec.zip", "w") as archive:
        archive.writestr("wiki.vec", "1 1\na 1\n")
    with pytest.raises(ArgumentError, match=r"wiki\.vec\.zip: .*a zip archive: unpack it"):
        WordVectors.load(tmp_path / "wiki.vec.zip")


def test_an_array_that_unfolds_to_much_is_refused(vectors, tmp_path):
    path = tmp_path / "v.npz"
    vectors.save(path)
    with np.load(path) as arrays:
        bomb = dict(arrays) | {"vectors": np.zeros((2**20, 8), np.float32)}
    np.savez_compressed(path, **bomb)
    with pytest.raises(ArgumentError, match=r"v\.npz, vectors: expected an array compressed to a 100th"):
        WordVectors.load(path)


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "_LONGEST_LINE", 100)
    (tmp_path / "v.txt").write_bytes(b"1 2\na 1 2" + b" " * 1000)
    with pytest.raises(ArgumentError, match=r"v\.txt: expected lines shorter than 100 bytes"):
        WordVectors.load(tmp_path / "v.txt")


def test_a_flipped_number_is_found_by_checksums(rng, tmp_path):
    vectors = WordVectors(list(map(str, range(2000))), rng.standard_normal((2000, 3)))
    number = vectors.vectors[1993].tobytes()
    for name in ("v.npz", "v.safetensors"):
        need(name.removeprefix("v."))
        path = tmp_path / name
        vectors.save(path)
        path.write_bytes(path.read_bytes().replace(number, bytes([number[0] ^ 1]) + number[1:]))
        with pytest.raises(ArgumentError, match=rf"{name}.*CRC"):
            WordVectors.load(path)
    path = tmp_path / "v.npz"
    assert WordVectors.load(path, mmap=True).index_to_key == vectors.index_to_key
    with pytest.raises(ArgumentError, match="CRC"):
        WordVectors.load(path, mmap=True, verify=True)
    vectors.save(path)
    same(WordVectors.load(path, mmap=True, verify=True), vectors)


def test_tensors_without_checksums_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors files need safetensors")
    arrays = vector_files.pack_words(["a"]) | {"vectors": np.ones((1, 2), np.float32)}
    metadata = {"format": "numba_ss word vectors", "version": "1"}
    numpy.save_file(arrays, tmp_path / "v.safetensors", metadata=metadata)
    assert WordVectors.load(tmp_path / "v.safetensors").index_to_key == ["a"]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from numba_ss import WordVectors
vectors = WordVectors(["a", "b"], np.random.default_rng(0).standard_normal((2, 2**14)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**13, 2**13))
try:
    vectors.save(sys.argv[1])
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of resources")
@pytest.mark.parametrize("name", ["v.npz", "v.bin", "v.txt", "v.safetensors", "v.parquet", "v.txt.gz"])
def test_a_full_disk_is_told_with_the_file_s_name(name, tmp_path):
    need(name.rpartition(".")[2])
    (tmp_path / name).write_text("older")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert str(tmp_path / name) in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("line 1: .*number of words", b""),
        ("line 1: .*number of words", b"a\nb\n"),
        ("line 1: .*a word and 2 numbers, got 1 after b'-2'", b"-2 2\na 1 2\nb 3 4\n"),
        ("line 1: .*a word and 2 numbers, got 0 after b'2'", b"2\na 1 2\nb 3 4\n"),
        ("line 2: .*a word and 1000 numbers, got 2 after b'a'", b"999999999999 1000\na 1 2\n"),
        ("line 1: expected vectors of at most 1048576 numbers, got 99999999", b"2 99999999\na 1 2\n"),
        ("2 words, as line 1 says, got 1: the file is cut, or line 1 is wrong; limit=1", b"2 2\na 1.000000 2.00000"),
        ("line 2: .*a word and 2 numbers, got 1 after b'a'", b"2 2\na 1\nb 3.0000 4.0000\n"),
        ("line 3: .*a word and 2 numbers, got 3 after b'b'", b"2 2\na 1 2\nb 3 4 5\n"),
        ("line 3: .*got could not convert .*x", b"2 2\na 1 2\nb 3 x\n"),
        ("line 3: .*finite numbers, got nan as number 2 of 'b'", b"2 2\na 1 2\nb 3 nan\n"),
        ("line 2: .*finite numbers, got inf as number 1 of 'a'", b"2 2\na 1e39 2\nb 3 4\n"),
        ("line 3: .*got could not convert b'1_0 4'", b"2 2\na 1 2\nb 1_0 4\n"),
        ("line 3: .*got 3 after b'b'", b"a 1 2\nc 1 2\nb 3 4 5\n"),
        ("line 4: .*end of the file, got b'c 5 6", b"a 1 2\nb 3 4\n\nc 5 6\n"),
        (r"line 2: .*UTF-8, got b'\\xffa'.*errors=\"replace\"", b"2 2\n\xffa 1 2\nb 3 4\n"),
    ],
)
def test_malformed_text(message, content, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=rf"vectors\.txt.*{message}"):
        WordVectors.load(path)




@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("line 1: .*number of words", b"two 2\n"),
        ("byte 18: .*word 1 of 999999999999, a space and 4000 bytes", b"999999999999 1000\na 1 2\n"),
        ("line 1: expected vectors of at most 1048576", b"2 99999999\na 1 2\n"),
        ("byte 14: .*word 2 of 2, a space and 8 bytes, got 10 bytes", b"2 2\n" + A + b"longer"[:4] + B[:6]),
        ("byte 14: .*word 2 of 2", b"2 2\n" + A + b"b" * 20),
        ("byte 14: .*a word, got b''", b"2 2\n" + A + B[1:] + b"\n"),
        (r"byte 4: .*a word, got b'a\\na'", b"2 2\na\n" + A + B),
        (r"byte 14: .*UTF-8, got b'\\xff'", b"2 2\n" + A + b"\xff" + B[1:]),
        ("2 words, as line 1 says, got 1: the file is cut, or line 1 is wrong", b"2 2\n" + A),
        ("byte 14: .*finite numbers, got nan as number 2 of 'b'", b"2 2\n" + A + b"b " + np.float32([3, np.nan]).tobytes()),
        ("byte 24: expected word 3 of 2, .* got 1 bytes, b'c'", b"2 2\n" + A + B + b"c"),
    ],
)
def test_malformed_binary(message, content, tmp_path):
    path = tmp_path / "vectors.bin"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=rf"vectors\.bin.*{message}"):
        WordVectors.load(path)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("a vector for each", {"vectors": np.ones((3, 2), np.float32)}),
        ("at least one word", {"vectors": np.ones((2, 0), np.float32)}),
        ("vectors: .*2 dimensions", {"vectors": np.ones(2, np.float32)}),
        ("vectors holds float64", {"vectors": np.ones((2, 2))}),
        ("fortran_order=True", {"vectors": np.asfortranarray(np.ones((2, 2), np.float32))}),
        ("finite numbers, got inf", {"vectors": np.float32([[1, 2], [3, np.inf]])}),
        ("offsets: .*rising", {"offsets": np.array([0, 2, 1])}),
        ("offsets: .*rising", {"offsets": np.array([1, 1, 2])}),
        ("offsets: .*rising", {"offsets": np.array([0, 1, 3])}),
        ("offsets: .*rising", {"offsets": np.array([], np.int64)}),
        ("a count >= 0", {"counts": np.array([1, -1])}),
        ("a count >= 0", {"counts": np.array([1])}),
        ("word 1: .*distinct words", {"words": np.frombuffer(b"aa", np.uint8)}),
        ("words, byte 1: .*UTF-8", {"words": np.frombuffer(b"a\xff", np.uint8)}),
        ("words holds .*object|words holds .O", {"words": np.array(["a", "b"], object)}),
        ("KeyError", {"offsets": None}),
    ],
)
def test_malformed_arrays(message, changes, tmp_path):
    sound = {
        "vectors": np.ones((2, 2), np.float32), "words": np.frombuffer(b"ab", np.uint8),
        "offsets": np.array([0, 1, 2]),
    }
    arrays = {name: array for name, array in (sound | changes).items() if array is not None}
    path = tmp_path / "vectors.npz"
    np.savez(path, **sound)
    assert WordVectors.load(path).index_to_key == ["a", "b"]
    np.savez(path, **arrays)
    with pytest.raises(ArgumentError, match=rf"vectors\.npz.*({message})"):
        WordVectors.load(path)


def test_other_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors files need safetensors")
    numpy.save_file({"vectors": np.ones((2, 2), np.float32)}, tmp_path / "v.safetensors")
    with pytest.raises(ArgumentError, match=r"metadata: expected .*word vectors.*, got None"):
        WordVectors.load(tmp_path / "v.safetensors")


def damaged(data, rng):
    """Yield the file cut short at every byte, with bytes changed, put in and left out."""
    for stop in range(len(data)):
        yield data[:stop]
    for _ in range(100):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        yield bytes(changed)
        start, stop = np.sort(rng.integers(0, len(data), 2))
        yield data[:start] + data[stop:]
        yield data[:start] + rng.bytes(5) + data[start:]


@pytest.mark.parametrize("format", [*FORMATS, "bin.gz", "txt.gz", "mapped"])
def test_damage_is_told_or_harmless(format, rng, tmp_path):
    need(format)
    mmap = format == "mapped"
    plain = "npz" if mmap else format.removesuffix(".gz")
    path = tmp_path / f"vectors.{plain}"
    words = ["the", "Käse", "zz"]
    WordVectors(words, rng.standard_normal((3, 2)).astype(np.float32), [9, 5, 1]).save(path)
    data = path.read_bytes()
    if format.endswith(".gz"):
        data, path = gzip.compress(data), path.with_suffix(f".{format}")
    messages = []
    for content in damaged(data, rng):
        path.write_bytes(content)
        try:
            loaded = WordVectors.load(path, mmap=mmap)
        except ArgumentError as error:
            messages.append(str(error))
        else:
            assert len(set(loaded.index_to_key)) == len(loaded) == len(loaded.vectors)
            assert mmap or np.isfinite(loaded.vectors).all()
    assert len(messages) > len(data) * 0.8
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    ("message", "path", "options"),
    [
        (r"path: .*\.npz.*\.vec, or a format, got .*v\.xyz", "v.xyz", {}),
        ("path", "v", {}),
        ("path", "v.npz.gz", {}),
        ("path", "v.tsv", {}),
        ("format: .*'npz'", "v.npz", {"format": "tsv"}),
        ("mmap: .*all but npz files", "v.bin", {"mmap": True}),
        ("mmap: .*True or False", "v.npz", {"mmap": 1}),
    ],
)
def test_bad_arguments_of_load(message, path, options, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        WordVectors.load(tmp_path / path, **options)


def test_bad_arguments_of_save(vectors, tmp_path):
    for path, options in [("v.npz.gz", {}), ("v.bin.xz", {}), ("v", {}), ("v.npz", {"format": "pickle"})]:
        with pytest.raises(ArgumentError, match=r"path|format"):
            vectors.save(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_absent_files_are_absent(format, tmp_path):
    need(format)
    with pytest.raises(FileNotFoundError):
        READERS[format](tmp_path / f"vectors.{format}")


@pytest.mark.parametrize("format", LIBRARY)
def test_absent_libraries_are_named(format, vectors, monkeypatch, tmp_path):
    module = {"safetensors": "safetensors", "parquet": "pyarrow"}[format]
    for name in (module, f"{module}.numpy", f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {module}: .*numba-ss\[all\]"):
        vectors.save(tmp_path / f"vectors.{format}")
    with pytest.raises(ImportError, match=module):
        WordVectors.load(tmp_path / f"vectors.{format}")


def test_firsts():
    assert first_repeated(["a", "b", "c"]) is None
    assert first_repeated(["a", "b", "b", "a"]) == 2
    table = np.zeros((40_000, 2), np.float32)
    assert first_not_finite(table) is None
    table[[39_000, 20_000], [0, 1]] = np.inf, np.nan
    assert first_not_finite(table) == (20_000, 1)
    assert Stored(["a"], table).counts is None
