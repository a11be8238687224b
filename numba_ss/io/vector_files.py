"""Files of word vectors: NumPy, word2vec binary and text, safetensors, Parquet, projector.

A reader trusts nothing in a file that it has not checked: an error names the file and the
position, no header decides how much memory is allocated, and nothing is unpickled.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import logging
import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Arrays, Float32s, Integers, PathLike
from numba_ss.io.file_kinds import HEAD, LFS, PICKLE, POINTER, Foreign, compression_of
from numba_ss.io.files import whole_file

log = logging.getLogger("numba_ss")


_PARQUET = "reading or writing Parquet"
Place = Callable[[int], str]
Format = Literal["npz", "bin", "txt", "safetensors", "parquet", "tsv"]
Names = Callable[[Collection[str]], list[str]]  # chooses the arrays to read from those in a file

# Bytes that are read at a time, and rows that are checked at a time.
_CHUNK, _ROWS = 2**20, 2**14
_PACKED = 2**12  # words that are encoded at a time: each alone takes several times its bytes
# A file that decompresses to more than this many times its size is refused: vectors do not.
_UNFOLDS = 100
_LONGEST_VECTOR = 2**20  # numbers of a vector, at most
# The types of the arrays in .npz and .safetensors files.
_TYPES = {"vectors": "<f4", "words": "|u1", "offsets": "<i8", "counts": "<i8", "ids": "<i8"}
_METADATA = {"format": "numba_ss word vectors", "version": "1"}
_OPEN: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_LONGEST_LINE = 2**22  # bytes of a line, at most
_LOOK = 100  # lines from which the length of a vector is found
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.I)

_WHITESPACE = (r"\s", "whitespace, for word2vec's formats")
_FORBIDDEN = {
    "bin": _WHITESPACE, "txt": _WHITESPACE,
    "tsv": (r"\t\n\r", "tabs or newlines, for a .tsv file"),
}
_FOREIGN = {
    b"\xba\x16\x4f\x2f": Foreign(
        "a model of fastText, whose words are made of parts of words",
        "load its .vec file, or WordVectors.from_keyed_vectors("
        "gensim.models.fasttext.load_facebook_vectors(path))",
    ),
    LFS: POINTER,
    b"<!DOCTYPE": Foreign("a web page", "fetch the file that it speaks of"),
}
_GENSIM = Foreign(
    "a Python pickle, such as gensim's .model and .kv, which is never opened here",
    "WordVectors.from_keyed_vectors(gensim.models.KeyedVectors.load(path)), and of a model "
    "Word2Vec.load(path).wv, brings its vectors here",
)


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


def _fail(path: PathLike, place: str, expected: str, got: object) -> NoReturn:
    _checks.fail(f"{path}, {place}", expected, got)


@contextmanager
def _opened(path: PathLike, expected: str) -> Iterator[IO[bytes]]:
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


def refuse_foreign(path: PathLike) -> None:
    """Refuse files of other programs; the error says how to convert them."""
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        head = file.read(HEAD)
    found = next((kind for mark, kind in _FOREIGN.items() if head.startswith(mark)), None)
    if head[:1] == PICKLE and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        found = _GENSIM
    if found is not None:
        _checks.fail(str(path), "a file of vectors", f"{found.what}: {found.way}")
    if head.startswith(b"PK\3\4"):
        _refuse_archive(path)


def _refuse_archive(path: PathLike) -> None:
    """Refuse zip archives that hold no vectors; the reader reports damaged ones later."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile:
        return
    if "content.json" in names:
        got = "a whole model: numba_ss.Word2Vec.load(path).vectors_ are its vectors"
    elif not any(name.endswith(".npy") for name in names):
        got = "a zip archive: unpack it, and name the file in it"
    else:
        return
    _checks.fail(str(path), "a file of vectors", got)


def _distinct(
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


def _sound(path: PathLike, stored: Stored, place: Place = "word {}".format) -> Stored:
    """Return `stored` if it is consistent; `place` returns the position of a row in the file."""
    words, vectors, counts = stored
    if not vectors.size or len(words) != len(vectors):
        got = f"{len(words)} words and vectors of shape {vectors.shape}"
        _checks.fail(str(path), "at least one word, and a vector for each", got)
    if counts is not None and (counts.shape != (len(words),) or counts.min() < 0):
        _checks.fail(str(path), "a count >= 0 for each word", f"{counts}")
    row = first_repeated(words)
    if row is not None:
        _fail(path, place(row), "distinct words", f"{words[row]!r} again")
    # The numbers of a mapped file are not checked, because they should not all be read now.
    bad = None if isinstance(vectors, np.memmap) else first_not_finite(vectors)
    if bad is not None:
        got = f"{vectors[bad]} as number {bad[1] + 1} of {words[bad[0]]!r}"
        _fail(path, place(bad[0]), "finite numbers", got)
    return stored


def _encode(words: list[str]) -> list[bytes]:
    try:
        return [word.encode() for word in words]
    except UnicodeEncodeError as error:
        _checks.fail("words", "words that UTF-8 can hold", ascii(error.object))


def require_words(format: str, words: list[str]) -> None:
    """Require that a format can hold the words: some cannot hold empty words or blanks."""
    if format in _FORBIDDEN:
        separators, what = _FORBIDDEN[format]
        forbidden = re.compile(f"[{separators}]|^$", re.ASCII)
        for word in words:
            if forbidden.search(word):
                expected = f"words without {what}, none of them empty (or another format)"
                _checks.fail("words", expected, repr(word))


def _encoded(format: str, words: list[str]) -> list[bytes]:
    require_words(format, words)
    return _encode(words)


def _decode(
    path: PathLike, unit: str, position: int, raw: bytes, errors: str = "strict"
) -> str:
    try:
        return raw.decode(errors=errors)
    except UnicodeDecodeError as error:
        got = f"{raw[:40]!r} ({error.reason}); errors=\"replace\" (--errors) reads it"
        _fail(path, f"{unit} {position}", "a word in UTF-8", got)


def pack_words(words: list[str]) -> Arrays:
    """Return words as arrays: the UTF-8 of all words, one after the other, and offsets into it."""
    pieces, offsets = [], np.zeros(len(words) + 1, np.int64)
    for start in range(0, len(words), _PACKED):
        encoded = _encode(words[start : start + _PACKED])
        offsets[start + 1 : start + 1 + len(encoded)] = [len(word) for word in encoded]
        pieces.append(b"".join(encoded))
    np.cumsum(offsets, out=offsets)
    return {"words": np.frombuffer(b"".join(pieces), np.uint8), "offsets": offsets}


def unpack_words(path: PathLike, data: NDArray[Any], offsets: NDArray[Any]) -> list[str]:
    """Return the words that `pack_words` packed; `path` is the file of the arrays."""
    raw, ends = data.tobytes(), offsets.tolist()
    if ends[:1] != [0] or ends[-1] != len(raw) or (offsets[1:] < offsets[:-1]).any():
        _fail(path, "offsets", f"rising numbers from 0 to {len(raw)}", offsets)
    return [_decode(path, "words, byte", i, raw[i:j]) for i, j in pairwise(ends)]


def _pack(stored: Stored) -> Arrays:
    arrays = {"vectors": stored.vectors, **pack_words(stored.words)}
    if stored.counts is not None:
        arrays["counts"] = stored.counts
    return arrays


def _names(present: Collection[str]) -> list[str]:
    """Return the arrays to read from a file of word vectors; only counts may be absent."""
    return ["vectors", "words", "offsets", *({"counts"} & set(present))]


def _unpack(path: PathLike, arrays: Arrays) -> Stored:
    words = unpack_words(path, arrays["words"], arrays["offsets"])
    return _sound(path, Stored(words, arrays["vectors"], arrays.get("counts")))


def _check_types(path: PathLike, arrays: Arrays) -> None:
    for name, array in arrays.items():
        ndim = 2 if name == "vectors" else 1
        if array.dtype != _TYPES[name] or array.ndim != ndim:
            got = f"{array.dtype} of shape {array.shape}"
            _fail(path, name, f"{np.dtype(_TYPES[name])} of {ndim} dimensions", got)


def write_archive(path: PathLike, arrays: Arrays) -> None:
    """Write arrays that `numpy.load` reads, uncompressed, each at a multiple of 64 bytes."""
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            # An extra field, which readers ignore, pads the header. Without it the header has 30
            # bytes, the name, 20 bytes for the 64-bit sizes, and 4 for the head of this field.
            filling = -(file.tell() + 30 + len(member.filename) + 20 + 4) % 64
            member.extra = struct.pack("<HH", 0xD935, filling) + bytes(filling)
            with archive.open(member, "w", force_zip64=True) as out:
                array = array.astype(_TYPES[name], copy=False)
                np.lib.format.write_array(out, array, allow_pickle=False)


def read_archive(
    path: PathLike, names: Names, *, mmap: bool = False, verify: bool = False
) -> Arrays:
    """Read what `write_archive` wrote; with `mmap`, map the vectors into memory.

    The archive has a checksum of each array. With `verify`, that of mapped vectors is compared,
    too.
    """
    with _opened(path, "an .npz file of vectors") as file, zipfile.ZipFile(file) as archive:
        file.seek(-22, os.SEEK_END)
        if file.read(4) != b"PK\5\6":
            _fail(path, "the last 22 bytes", "the end of the archive", "something else")
        arrays = {
            name: _mapped(path, file, archive, verify) if mmap and name == "vectors"
            else _member(path, archive, name)
            for name in names([name.removesuffix(".npy") for name in archive.namelist()])
        }
        _check_types(path, arrays)
        return arrays


def write_npz(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_archive`."""
    write_archive(path, _pack(stored))


def read_npz(path: PathLike, *, mmap: bool = False, verify: bool = False) -> Stored:
    """Read what `write_npz` wrote, see `read_archive`."""
    return _unpack(path, read_archive(path, _names, mmap=mmap, verify=verify))


def _member(path: PathLike, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array; unlike ``numpy.load``, compare its shape with the number of bytes."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > _CHUNK + _UNFOLDS * info.compress_size:
        got = f"one of {info.compress_size} bytes that unfolds to {info.file_size}"
        _fail(path, name, f"an array compressed to a {_UNFOLDS}th at most", got)
    with archive.open(info) as file:
        shape, _ = _array_header(file, name, info.file_size)
        return np.frombuffer(file.read(), _TYPES[name]).reshape(shape)


def _mapped(
    path: PathLike, file: IO[bytes], archive: zipfile.ZipFile, verify: bool
) -> NDArray[Any]:
    info = archive.getinfo("vectors.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        _fail(path, "vectors", "an uncompressed array, for mmap=True", "a compressed one")
    with archive.open(info) as member:
        shape, header = _array_header(member, "vectors", info.file_size)
        while verify and member.read(_CHUNK):  # the end of the member compares the checksum
            pass
    file.seek(info.header_offset + 26)
    start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    return np.memmap(file, _TYPES["vectors"], "r", start, shape)


def _array_header(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of an array in NumPy's format, and the offset of its numbers."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is in another version of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != _TYPES[name] or fortran_order:
        raise ValueError(f"{name} holds {dtype}, fortran_order={fortran_order}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{name} of shape {shape} in {size - file.tell()} bytes")
    return shape, file.tell()


def write_tensors(path: PathLike, arrays: Arrays) -> None:
    """Write arrays as tensors, with a checksum for each."""
    save_file = import_optional("safetensors.numpy", "safetensors").save_file
    failure = import_optional("safetensors", "safetensors").SafetensorError
    sums = {f"crc32 {name}": _checksum(array) for name, array in arrays.items()}
    with whole_file(path) as file:
        try:
            save_file(arrays, file.name, metadata=_METADATA | sums)
        except failure as error:  # for example of a full disk
            raise OSError(str(error)) from error


def read_tensors(path: PathLike, names: Names) -> Arrays:
    """Read what `write_tensors` wrote; older files have no checksums."""
    safe_open = import_optional("safetensors", "safetensors").safe_open
    with (
        _opened(path, "a safetensors file of vectors"),
        safe_open(path, framework="np") as file,
    ):
        metadata = file.metadata() or {}
        if not _METADATA.items() <= metadata.items():
            _fail(path, "metadata", f"{_METADATA}", file.metadata())
        arrays = {name: file.get_tensor(name) for name in names(file.keys())}
        _check_types(path, arrays)
        for name, array in arrays.items():
            expected, got = metadata.get(f"crc32 {name}"), _checksum(array)
            if expected not in (None, got):
                _fail(path, name, f"an array whose CRC-32 is {expected}", got)
        return arrays


def _checksum(array: NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"


def write_safetensors(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_npz` as tensors."""
    write_tensors(path, _pack(stored))


def read_safetensors(path: PathLike) -> Stored:
    """Read what `write_safetensors` wrote."""
    return _unpack(path, read_tensors(path, _names))


def write_table(
    path: PathLike, ids: list[str] | Integers, vectors: Float32s, counts: Integers | None = None
) -> None:
    """Write columns id, count (int64, if any), vector (fixed-size list of float)."""
    arrow, parquet = (import_optional(name, _PARQUET) for name in ("pyarrow", "pyarrow.parquet"))
    columns = {"id": arrow.array(ids, arrow.string() if isinstance(ids, list) else arrow.int64())}
    if counts is not None:
        columns["count"] = arrow.array(counts)
    numbers = arrow.array(vectors.reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])
    with whole_file(path) as file:
        # No dictionary and no compression: all ids and nearly all numbers are different.
        parquet.write_table(
            arrow.table(columns), file, compression="none", use_dictionary=False,
            write_page_checksum=True,
        )


def read_table(
    path: PathLike, id_types: Sequence[str]
) -> tuple[list[str] | Integers, Float32s, Integers | None]:
    """Read what `write_table` wrote, with ids of one of these types."""
    arrow, parquet = (import_optional(name, _PARQUET) for name in ("pyarrow", "pyarrow.parquet"))
    with _opened(path, "a Parquet file of vectors") as file:
        table = parquet.read_table(file, page_checksum_verification=True)
        types = {field.name: field.type for field in table.schema}
        dim = getattr(types.get("vector"), "list_size", 0)
        wanted = {"id": types.get("id"), "vector": arrow.list_(arrow.float32(), dim)}
        if "count" in types:
            wanted["count"] = arrow.int64()
        if types != wanted or dim < 1 or str(types["id"]) not in id_types:
            expected = (
                f"id: {' or '.join(id_types)}, count: int64 (or none), "
                "vector: fixed_size_list<float>"
            )
            _fail(path, "columns", expected, ", ".join(f"{k}: {v}" for k, v in types.items()))
        if any(column.null_count for column in table.columns):
            _fail(path, "columns", "no nulls", "some")
        chunks = [chunk.flatten().to_numpy() for chunk in table["vector"].chunks]
        vectors = np.concatenate(chunks).reshape(-1, dim)
        counts = table["count"].to_numpy() if "count" in types else None
        column = table["id"]
        ids = column.to_numpy() if types["id"] == arrow.int64() else column.to_pylist()
        return ids, vectors, counts


def write_parquet(path: PathLike, stored: Stored) -> None:
    """Write columns id (string), count (int64, if any), vector (fixed-size list of float)."""
    _encode(stored.words)
    write_table(path, *stored)


def read_parquet(path: PathLike) -> Stored:
    """Read what `write_parquet` wrote."""
    words, vectors, counts = read_table(path, ["string"])
    return _sound(path, Stored(cast(list[str], words), vectors, counts))


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
    words = _encoded("bin", stored.words)
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
    with _opened(path, "a word2vec binary file") as file, np.errstate(over="ignore"):
        line = file.readline(100)
        header = _header(path, line)
        if header is None:
            _fail(path, "line 1", "the number of words and the length of a vector", repr(line[:40]))
        num_words, dim = header
        rows, starts, words = _Rows(num_words, dim), [], list[str]()
        data, at, begin, width = b"", 0, len(line), kind.itemsize * dim
        while limit is None or len(words) < limit:
            space = data.find(b" ", at)
            if space < 0 or len(data) - space <= width:
                begin += at
                data, at = data[at:] + file.read(max(_CHUNK, 2 * width)), 0
                space = data.find(b" ")
                if not data.strip(b"\n"):
                    break
                if space < 0 or len(data) - space <= width:
                    expected = f"word {len(words) + 1} of {num_words}, a space and {width} bytes"
                    _fail(path, f"byte {begin}", expected, f"{len(data)} bytes, {data[:40]!r}")
            raw = data[at:space].lstrip(b"\n")
            starts.append(begin + at)
            if not raw or b"\n" in raw:
                _fail(path, f"byte {begin + at}", "a word", repr(raw[:40]))
            words.append(_decode(path, "byte", begin + at, raw, errors))
            rows.append(np.frombuffer(data, kind, dim, space + 1))
            at = space + 1 + width
        else:
            num_words = len(words)  # the rest of the file is not read
        _compare_counts(path, num_words, len(words), whole=False)
        return _told(path, words, rows.array(), lambda row: f"byte {starts[row]}")


class _Rows:
    """Vectors that are read one by one; memory grows with them, whatever a header says."""

    def __init__(self, expected: int, dim: int) -> None:
        self._rows = np.empty((min(expected, _CHUNK // dim + 1), dim), np.float32)
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


def _told(path: PathLike, words: list[str], vectors: Float32s, place: Place) -> Stored:
    words, vectors, place = _distinct(path, words, vectors, place)
    return _sound(path, Stored(words, vectors), place)


def write_txt(path: PathLike, stored: Stored) -> None:
    """Write word2vec's text format, byte for byte as gensim does; counts are lost."""
    words = _encoded("txt", stored.words)
    with _word2vec_file(path) as file:
        file.write(b"%d %d\n" % stored.vectors.shape)
        _write_rows(file, stored.vectors, b" ", words)


def _write_rows(file: BinaryIO, vectors: Float32s, separator: bytes, words: list[bytes]) -> None:
    """Write lines of a word, if words are given, and numbers with all their digits."""
    for i, row in enumerate(vectors):
        line = [*words[i : i + 1], *row.astype("S").tolist()]
        file.write(separator.join(line) + b"\n")


def read_txt(path: PathLike, limit: int | None = None, errors: str = "strict") -> Stored:
    """Read the text formats of word2vec, fastText and GloVe (which has no first line).

    Words may contain blanks; numbers may be separated by several blanks and tabs.
    """
    with _opened(path, "a text file of vectors") as file, np.errstate(over="ignore"):
        lines = _lines(path, file)
        first = list(islice(lines, _LOOK))
        header = _header(path, first[0]) if first else None
        num_words, dim = header or (None, _most_numbers(path, first))
        before = 2 if header else 1  # the number of the first line with a word
        del first[: before - 1]
        rows, words, whole = _Rows(_ROWS, dim), list[str](), True
        lines = chain(first, lines)
        for number, line in enumerate(lines, before):
            if len(words) == limit:  # the rest of the file is not read
                num_words, lines = None, iter(())
                break
            if not line.strip():
                break
            word, numbers = _split(path, number, line, dim)
            words.append(_decode(path, "line", number, word, errors))
            rows.append(numbers)
            whole = line.endswith(b"\n")
        for number, line in enumerate(lines, len(words) + before + 1):
            if line.strip():
                _fail(path, f"line {number}", "the end of the file", repr(line[:40]))
        if num_words is not None:
            _compare_counts(path, num_words, len(words), whole=whole)
        if not whole:
            log.warning("%s: the last line has no end; the file may be cut there", path)
        return _told(path, words, rows.array(), lambda row: f"line {row + before}")


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
        _fail(path, "line 1", expected, repr(lines[0][:40] if lines else b""))
    return most - 1


def _split(path: PathLike, number: int, line: bytes, dim: int) -> tuple[bytes, list[float]]:
    """Return the word of a line and its numbers."""
    word, *parts = line.rstrip().rsplit(b" ", dim)
    if len(parts) != dim or b"" in parts:  # several blanks, or tabs
        word, *parts = line.rstrip().rsplit(None, dim)
        word = word.strip()
    what = f"a word and {dim} numbers"
    if len(parts) != dim:
        _fail(path, f"line {number}", what, f"{len(parts)} after {word[:40]!r}")
    try:
        numbers = list(map(float, parts))
        if b"_" in line and any(b"_" in part for part in parts):  # Python would read 1_0 as 10
            raise ValueError(f"could not convert {b' '.join(parts)[:40]!r}")
    except ValueError as error:
        _fail(path, f"line {number}", what, error)
    # A word may contain blanks and end with a number, but not with one like those of the vector.
    last = word.split()[-1:] if b" " in word or b"\t" in word else []
    if last and _NUMBER.fullmatch(last[0]) and (b"." in last[0]) == (b"." in parts[0]):
        begin = word.split()[0]
        _fail(path, f"line {number}", what, f"{len(line.split()) - 1} after {begin[:40]!r}")
    return word, numbers


def _header(path: PathLike, line: bytes) -> tuple[int, int] | None:
    """Return the number of words and the length of a vector if a line is a header, else None."""
    match = re.fullmatch(rb"\s*([1-9]\d{,17})[ \t]+([1-9]\d{,17})\s*", line)
    if not match:
        return None
    num_words, dim = int(match[1]), int(match[2])
    if dim > _LONGEST_VECTOR:
        _fail(path, "line 1", f"vectors of at most {_LONGEST_VECTOR} numbers", dim)
    return num_words, dim


def metadata_path(path: PathLike) -> Path:
    """Return the path of the second file of TensorFlow's projector, which holds the words."""
    return Path(path).with_name(f"{Path(path).stem}_metadata.tsv")


def write_tsv(path: PathLike, stored: Stored) -> None:
    """Write two files for TensorFlow's projector: vectors, and words in ``_metadata.tsv``."""
    words = _encoded("tsv", stored.words)
    with whole_file(path) as numbers, whole_file(metadata_path(path)) as names:
        _write_rows(numbers, stored.vectors, b"\t", [])
        if stored.counts is None:
            names.write(b"".join(word + b"\n" for word in words))
        else:
            names.write(b"word\tcount\n")
            for word, count in zip(words, stored.counts, strict=True):
                names.write(b"%s\t%d\n" % (word, count))


WRITERS: dict[str, Callable[[PathLike, Stored], None]] = {
    "npz": write_npz, "bin": write_bin, "txt": write_txt, "safetensors": write_safetensors,
    "parquet": write_parquet, "tsv": write_tsv,
}
READERS: dict[str, Callable[..., Stored]] = {
    "npz": read_npz, "bin": read_bin, "txt": read_txt, "safetensors": read_safetensors,
    "parquet": read_parquet,
}


def format_of(path: PathLike, format: Any, reading: bool) -> str:
    """Return the name of a format: `format`, or else that of the suffix."""
    choices = list(READERS if reading else WRITERS)
    if format is not None:
        return _checks.choice("format", format, choices)
    endings = r"\.(bin|txt|vec)\.(gz|bz2|xz)$" if reading else r"\.(bin|txt|vec)\.gz$"
    name = str(path).lower()
    if re.search(endings, name):
        name = name.rpartition(".")[0]
    suffix = Path(name).suffix[1:]
    suffix = "txt" if suffix == "vec" else suffix
    if suffix not in choices:
        expected = "a file name that ends in " + ", ".join(f".{s}" for s in [*choices, "vec"])
        _checks.fail("path", expected + ", or a format", repr(str(path)))
    return suffix
