"""Word vectors in word2vec's formats, binary and text, and in the text that others publish."""

from __future__ import annotations

import codecs
import gzip
import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Any, BinaryIO, cast

import numpy as np

from numba_ss import _checks
from numba_ss._types import Float32s, PathLike
from numba_ss.io.files import whole_file
from numba_ss.io.packed_words import decode_word, encode_for
from numba_ss.io.stored_vectors import CHUNK, Place, Stored, distinct, fail, opened, sound

log = logging.getLogger("numba_ss")

_LONGEST_VECTOR = 2**20  # numbers of a vector, at most
_LONGEST_LINE = 2**22  # bytes of a line, at most
_FIRST_ROWS = 2**14  # rows of memory at first, if nothing says how many there are
_LOOK = 100  # lines from which the length of a vector is found
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.I)


@contextmanager
def _word2vec_file(path: PathLike) -> Iterator[BinaryIO]:
    """Open a file in one of word2vec's formats for writing, compressed if its name ends in .gz."""
    with whole_file(path) as file:
        if str(path).lower().endswith(".gz"):
            # Name and time are left out, so that equal vectors give equal files.
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield file


def write_bin(path: PathLike, stored: Stored) -> None:
    """Write word2vec's binary format, as gensim does; counts are lost."""
    words = encode_for("bin", stored.words)
    with _word2vec_file(path) as file:
        file.write(b"%d %d\n" % stored.vectors.shape)
        for word, row in zip(words, stored.vectors, strict=True):
            file.write(word + b" " + row.astype("<f4", copy=False).tobytes())


def read_bin(path: PathLike, limit: int | None = None, errors: str = "strict") -> Stored:
    """Read word2vec's binary format, with or without the newlines of word2vec.c.

    The numbers are read as float32 or, if that fails, as float64.
    """
    try:
        return _read_bin(path, limit, errors, np.dtype("<f4"))
    except _checks.ArgumentError as error:
        try:
            return _read_bin(path, limit, "strict", np.dtype("<f8"))
        except _checks.ArgumentError:
            raise error from None


def _read_bin(path: PathLike, limit: int | None, errors: str, kind: np.dtype[Any]) -> Stored:
    # A float64 may be too large for float32; the check reports infinities.
    with opened(path, "a word2vec binary file") as file, np.errstate(over="ignore"):
        line = file.readline(100)
        header = _header(path, line)
        if header is None:
            fail(path, "line 1", "the number of words and the length of a vector", repr(line[:40]))
        num_words, dim = header
        rows, starts, words = _Rows(num_words, dim), [], list[str]()
        data, at, begin, width = b"", 0, len(line), kind.itemsize * dim
        while limit is None or len(words) < limit:
            space = data.find(b" ", at)
            if space < 0 or len(data) - space <= width:
                begin += at
                data, at = data[at:] + file.read(max(CHUNK, 2 * width)), 0
                space = data.find(b" ")
                if not data.strip(b"\n"):
                    break
                if space < 0 or len(data) - space <= width:
                    expected = f"word {len(words) + 1} of {num_words}, a space and {width} bytes"
                    fail(path, f"byte {begin}", expected, f"{len(data)} bytes, {data[:40]!r}")
            raw = data[at:space].lstrip(b"\n")
            starts.append(begin + at)
            if not raw or b"\n" in raw:
                fail(path, f"byte {begin + at}", "a word", repr(raw[:40]))
            words.append(decode_word(path, "byte", begin + at, raw, errors))
            rows.append(np.frombuffer(data, kind, dim, space + 1))
            at = space + 1 + width
        else:
            num_words = len(words)  # the rest of the file is not read
        _compare_counts(path, num_words, len(words), whole=False)
        return _stored(path, words, rows.array(), lambda row: f"byte {starts[row]}")


class _Rows:
    """Vectors that are read one by one; memory grows with them, whatever a header says."""

    def __init__(self, expected: int, dim: int) -> None:
        self._rows = np.empty((min(expected, CHUNK // dim + 1), dim), np.float32)
        self._num = 0

    def append(self, row: Any) -> None:
        if self._num == len(self._rows):
            self._rows.resize((2 * self._num + 1, self._rows.shape[1]), refcheck=False)
        self._rows[self._num] = row
        self._num += 1

    def array(self) -> Float32s:
        self._rows.resize((self._num, self._rows.shape[1]), refcheck=False)
        return self._rows


def _compare_counts(path: PathLike, expected: int, got: int, *, whole: bool) -> None:
    """Warn of a wrong number in the first line, and refuse a file that may be truncated.

    `whole` says whether the last line is complete.
    """
    if got == expected:
        return
    what = f"{expected} words, as line 1 says"
    if got < expected and not whole:
        there = f"{got}: the file is cut, or line 1 is wrong; limit={got} (--limit) reads them"
        _checks.fail(str(path), what, there)
    message = "%s: line 1 says %d words, there are %d; all of these were read"
    log.warning(message, path, expected, got)


def _stored(path: PathLike, words: list[str], vectors: Float32s, place: Place) -> Stored:
    words, vectors, place = distinct(path, words, vectors, place)
    return sound(path, Stored(words, vectors), place)


def write_txt(path: PathLike, stored: Stored) -> None:
    """Write word2vec's text format, byte for byte as gensim does; counts are lost."""
    words = encode_for("txt", stored.words)
    with _word2vec_file(path) as file:
        file.write(b"%d %d\n" % stored.vectors.shape)
        write_rows(file, stored.vectors, b" ", words)


def write_rows(file: BinaryIO, vectors: Float32s, separator: bytes, words: list[bytes]) -> None:
    """Write a line for each vector: its word, if words are given, and numbers with all digits."""
    for i, row in enumerate(vectors):
        line = [*words[i : i + 1], *row.astype("S").tolist()]
        file.write(separator.join(line) + b"\n")


def read_txt(path: PathLike, limit: int | None = None, errors: str = "strict") -> Stored:
    """Read the text formats of word2vec, fastText and GloVe (which has no first line).

    Words may contain blanks; numbers may be separated by several blanks and tabs.
    """
    with opened(path, "a text file of vectors") as file, np.errstate(over="ignore"):
        lines = _lines(path, file)
        first = list(islice(lines, _LOOK))
        header = _header(path, first[0]) if first else None
        num_words, dim = header or (None, _most_numbers(path, first))
        before = 2 if header else 1  # the number of the first line with a word
        del first[: before - 1]
        rows, words, whole = _Rows(_FIRST_ROWS, dim), list[str](), True
        lines = chain(first, lines)
        for number, line in enumerate(lines, before):
            if len(words) == limit:  # the rest of the file is not read
                num_words, lines = None, iter(())
                break
            if not line.strip():
                break
            word, numbers = _split(path, number, line, dim)
            words.append(decode_word(path, "line", number, word, errors))
            rows.append(numbers)
            whole = line.endswith(b"\n")
        for number, line in enumerate(lines, len(words) + before + 1):
            if line.strip():
                fail(path, f"line {number}", "the end of the file", repr(line[:40]))
        if num_words is not None:
            _compare_counts(path, num_words, len(words), whole=whole)
        if not whole:
            log.warning("%s: the last line has no end; the file may be cut there", path)
        return _stored(path, words, rows.array(), lambda row: f"line {row + before}")


def _lines(path: PathLike, file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines of bounded length, without the byte order mark of the file."""
    line = file.readline(_LONGEST_LINE).removeprefix(codecs.BOM_UTF8)
    while line:
        if len(line) == _LONGEST_LINE:
            _checks.fail(str(path), f"lines shorter than {_LONGEST_LINE} bytes", "a longer one")
        yield line
        line = file.readline(_LONGEST_LINE)


def _most_numbers(path: PathLike, lines: list[bytes]) -> int:
    """Return the number of numbers that most of the first lines have."""
    lengths = Counter(len(line.split()) for line in lines if line.strip())
    most = max(lengths, key=lambda length: (lengths[length], -length), default=0)
    if most < 2:
        expected = "the number of words and the length of a vector, or a word and its vector"
        fail(path, "line 1", expected, repr(lines[0][:40] if lines else b""))
    return most - 1


def _split(path: PathLike, number: int, line: bytes, dim: int) -> tuple[bytes, list[float]]:
    """Return the word of a line and its numbers."""
    word, *parts = line.rstrip().rsplit(b" ", dim)
    if len(parts) != dim or b"" in parts:  # several blanks, or tabs
        word, *parts = line.rstrip().rsplit(None, dim)
        word = word.strip()
    what = f"a word and {dim} numbers"
    if len(parts) != dim:
        fail(path, f"line {number}", what, f"{len(parts)} after {word[:40]!r}")
    try:
        numbers = list(map(float, parts))
        if b"_" in line and any(b"_" in part for part in parts):  # Python would read 1_0 as 10
            raise ValueError(f"could not convert {b' '.join(parts)[:40]!r}")
    except ValueError as error:
        fail(path, f"line {number}", what, error)
    # A word may contain blanks and end with a number, but not with one like those of the vector.
    last = word.split()[-1:] if b" " in word or b"\t" in word else []
    if last and _NUMBER.fullmatch(last[0]) and (b"." in last[0]) == (b"." in parts[0]):
        begin = word.split()[0]
        fail(path, f"line {number}", what, f"{len(line.split()) - 1} after {begin[:40]!r}")
    return word, numbers


def _header(path: PathLike, line: bytes) -> tuple[int, int] | None:
    """Return the number of words and the length of a vector if a line is a header, else None."""
    match = re.fullmatch(rb"\s*([1-9]\d{,17})[ \t]+([1-9]\d{,17})\s*", line)
    if not match:
        return None
    num_words, dim = int(match[1]), int(match[2])
    if dim > _LONGEST_VECTOR:
        fail(path, "line 1", f"vectors of at most {_LONGEST_VECTOR} numbers", dim)
    return num_words, dim
