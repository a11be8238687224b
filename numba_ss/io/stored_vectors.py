"""What a file of word vectors holds, and what must hold of it.

A reader trusts nothing in a file that it has not checked: an error names the file and the
position, no header decides how much memory is allocated, and nothing is unpickled.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from numba_ss import _checks
from numba_ss._types import Arrays, Float32s, Integers, PathLike
from numba_ss.io.file_kinds import HEAD, compression_of

log = logging.getLogger("numba_ss")

Place = Callable[[int], str]
Names = Callable[[Collection[str]], list[str]]  # chooses the arrays to read from those in a file
# Bytes that are read at a time, and rows that are checked at a time.
CHUNK, _ROWS = 2**20, 2**14
# The types of the arrays in .npz and .safetensors files.
TYPES = {"vectors": "<f4", "words": "|u1", "offsets": "<i8", "counts": "<i8", "ids": "<i8"}
_OPEN: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}


class Stored(NamedTuple):
    """The contents of a file: distinct words, finite vectors (num_words, dim), counts or None."""

    words: list[str]
    vectors: Float32s
    counts: Integers | None = None


def first_repeated(words: list[str]) -> int | None:
    """Return the position of the first word that repeats an earlier one, or None."""
    if len(set(words)) == len(words):
        return None
    first: dict[str, int] = {}
    return next(i for i, word in enumerate(words) if first.setdefault(word, i) < i)


def first_not_finite(vectors: Float32s) -> tuple[int, int] | None:
    """Return the row and the column of the first NaN or infinity, or None."""
    for start in range(0, len(vectors), _ROWS):
        finite = np.isfinite(vectors[start : start + _ROWS])
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            return start + row, column
    return None


def fail(path: PathLike, place: str, expected: str, got: object) -> NoReturn:
    """Raise an error that names the file and a place in it."""
    _checks.fail(f"{path}, {place}", expected, got)


@contextmanager
def opened(path: PathLike, expected: str) -> Iterator[IO[bytes]]:
    """Open a file, and turn errors of the libraries into an `ArgumentError` that names it."""
    with open(path, "rb") as file:
        kind = compression_of(file.read(HEAD))
    if kind == "zst":
        _checks.fail(str(path), expected, "one compressed by zstd: decompress it, say with unzstd")
    with open(path, "rb") if kind is None else _OPEN[kind](path) as file:
        try:
            yield file
        except _checks.ArgumentError:
            raise
        except Exception as error:  # a flipped bit can cause any error of zipfile, zlib, Arrow ...
            _checks.fail(str(path), expected, f"{type(error).__name__}: {error}")


def distinct(
    path: PathLike, words: list[str], vectors: Float32s, place: Place
) -> tuple[list[str], Float32s, Place]:
    """Return each word once, with its first vector; warn of repetitions."""
    row = first_repeated(words)
    if row is None:
        return words, vectors, place
    first: dict[str, int] = {}
    for i, word in enumerate(words):
        first.setdefault(word, i)
    rows = np.fromiter(first.values(), np.int64)
    log.warning(
        "%s: %d words stand there again, the first of them %s at %s; each keeps its first vector",
        path, len(words) - len(rows), _checks.shortened(repr(words[row])), place(row),
    )
    return list(first), vectors[rows], lambda i: place(int(rows[i]))


def sound(path: PathLike, stored: Stored, place: Place = "word {}".format) -> Stored:
    """Return `stored` if it is consistent; `place` returns the position of a row in the file."""
    words, vectors, counts = stored
    if not vectors.size or len(words) != len(vectors):
        got = f"{len(words)} words and vectors of shape {vectors.shape}"
        _checks.fail(str(path), "at least one word, and a vector for each", got)
    if counts is not None and (counts.shape != (len(words),) or counts.min() < 0):
        _checks.fail(str(path), "a count >= 0 for each word", f"{counts}")
    row = first_repeated(words)
    if row is not None:
        fail(path, place(row), "distinct words", f"{words[row]!r} again")
    # The numbers of a mapped file are not checked, because they should not all be read now.
    bad = None if isinstance(vectors, np.memmap) else first_not_finite(vectors)
    if bad is not None:
        got = f"{vectors[bad]} as number {bad[1] + 1} of {words[bad[0]]!r}"
        fail(path, place(bad[0]), "finite numbers", got)
    return stored


def check_types(path: PathLike, arrays: Arrays) -> None:
    """Require the types and dimensions that arrays have in files of this package."""
    for name, array in arrays.items():
        ndim = 2 if name == "vectors" else 1
        if array.dtype != TYPES[name] or array.ndim != ndim:
            got = f"{array.dtype} of shape {array.shape}"
            fail(path, name, f"{np.dtype(TYPES[name])} of {ndim} dimensions", got)
