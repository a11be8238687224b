"""word2vec_files.py: conventions of all writers, published text, and malformed files."""

import bz2
import gzip
import lzma
import re

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io import word2vec_files
from numba_ss.word2vec.vectors import WordVectors
from tests.io.vector_cases import WORD2VEC, same


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


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(word2vec_files, "_LONGEST_LINE", 100)
    (tmp_path / "v.txt").write_bytes(b"1 2\na 1 2" + b" " * 1000)
    with pytest.raises(ArgumentError, match=r"v\.txt: expected lines shorter than 100 bytes"):
        WordVectors.load(tmp_path / "v.txt")


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
