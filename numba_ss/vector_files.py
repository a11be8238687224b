"""Files of word vectors: NumPy, word2vec binary and text, safetensors, Parquet, projector.

A reader takes its file for damaged until it has checked it: an error names the file and
the place, nothing is allocated because a header says so, nothing is unpickled.
"""

from __future__ import annotations

import gzip
import importlib
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._files import PathLike, whole_file

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Place = Callable[[int], str]
Names = Callable[[Collection[str]], list[str]]  # which arrays to read, of those that are there

# Bytes read at a time, and rows looked at a time.
_CHUNK, _ROWS = 2**20, 2**14
# DEFLATE never makes less than a byte out of this many.
_DEFLATE = 1032
# The types of the arrays in .npz and .safetensors files.
_TYPES = {"vectors": "<f4", "words": "|u1", "offsets": "<i8", "counts": "<i8", "ids": "<i8"}
_METADATA = {"format": "numba_ss word vectors", "version": "1"}


class Stored(NamedTuple):
    """What a file holds: distinct words, (num_words, dim) finite numbers, counts or None."""

    words: list[str]
    vectors: Floats
    counts: Integers | None = None


def extra(module: str) -> Any:
    """Import a library that is not always there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f'this needs {name}: pip install "numba-ss[all]"') from error


def first_repeated(words: list[str]) -> int | None:
    """Return the first position of a word that stands further up as well."""
    if len(set(words)) == len(words):
        return None
    first: dict[str, int] = {}
    return next(i for i, word in enumerate(words) if first.setdefault(word, i) < i)


def first_not_finite(vectors: Floats) -> tuple[int, int] | None:
    """Return the row and the column of the first NaN or infinity."""
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
    """Open a file, and say of every error of the libraries that it is the file's fault."""
    with gzip.open(path) if str(path).lower().endswith(".gz") else open(path, "rb") as file:
        try:
            yield cast(IO[bytes], file)
        except _checks.ArgumentError:
            raise
        except Exception as error:  # a flipped bit comes as any error of zipfile, zlib, Arrow ...
            _checks.fail(str(path), expected, f"{type(error).__name__}: {error}")


def _sound(path: PathLike, stored: Stored, place: Place = "word {}".format) -> Stored:
    """Return `stored` if it is consistent; `place` says where in the file a row stands."""
    words, vectors, counts = stored
    if not vectors.size or len(words) != len(vectors):
        got = f"{len(words)} words and vectors of shape {vectors.shape}"
        _checks.fail(str(path), "at least one word, and a vector for each", got)
    if counts is not None and (counts.shape != (len(words),) or counts.min() < 0):
        _checks.fail(str(path), "a count >= 0 for each word", f"{counts}")
    row = first_repeated(words)
    if row is not None:
        _fail(path, place(row), "distinct words", f"{words[row]!r} again")
    # A mapped file stays on the disk: its numbers are looked at when they are used.
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


def _encode_without(separators: str, words: list[str], what: str) -> list[bytes]:
    """Return words in UTF-8, none of them empty or with one of the separators in it."""
    forbidden = re.compile(f"[{separators}]|^$", re.ASCII)
    for word in words:
        if forbidden.search(word):
            _checks.fail("words", f"words without {what}, none of them empty", repr(word))
    return _encode(words)


def _decode(path: PathLike, unit: str, position: int, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        _fail(path, f"{unit} {position}", "a word in UTF-8", f"{raw[:40]!r} ({error.reason})")


def pack_words(words: list[str]) -> Arrays:
    """Return arrays for any words: one piece of UTF-8, and offsets into it."""
    encoded = _encode(words)
    return {
        "words": np.frombuffer(b"".join(encoded), np.uint8),
        "offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
    }


def unpack_words(path: PathLike, data: NDArray[Any], offsets: NDArray[Any]) -> list[str]:
    """Return the words of `pack_words`; `path` is where the arrays come from."""
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
    """Return the arrays of word vectors, absent ones included, for which reading fails."""
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
            # A field that no reader knows fills the header up: 30 bytes and the name, 20 for
            # the 64-bit sizes, 4 for the field's own head.
            filling = -(file.tell() + 30 + len(member.filename) + 20 + 4) % 64
            member.extra = struct.pack("<HH", 0xD935, filling) + bytes(filling)
            with archive.open(member, "w", force_zip64=True) as out:
                array = array.astype(_TYPES[name], copy=False)
                np.lib.format.write_array(out, array, allow_pickle=False)


def read_archive(path: PathLike, names: Names, *, mmap: bool = False) -> Arrays:
    """Read what `write_archive` wrote; with `mmap`, leave the vectors on the disk."""
    with _opened(path, "an .npz file of vectors") as file, zipfile.ZipFile(file) as archive:
        file.seek(-22, os.SEEK_END)
        if file.read(4) != b"PK\5\6":
            _fail(path, "the last 22 bytes", "the end of the archive", "something else")
        arrays = {
            name: _mapped(path, file, archive) if mmap and name == "vectors"
            else _member(archive, name)
            for name in names([name.removesuffix(".npy") for name in archive.namelist()])
        }
        _check_types(path, arrays)
        return arrays


def write_npz(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_archive`."""
    write_archive(path, _pack(stored))


def read_npz(path: PathLike, *, mmap: bool = False) -> Stored:
    """Read what `write_npz` wrote; with `mmap`, leave the vectors on the disk."""
    return _unpack(path, read_archive(path, _names, mmap=mmap))


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array; unlike `numpy.load`, compare its shape with the bytes there are."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        shape, _ = _array_header(file, name, info.file_size)
        return np.frombuffer(file.read(), _TYPES[name]).reshape(shape)


def _mapped(path: PathLike, file: IO[bytes], archive: zipfile.ZipFile) -> NDArray[Any]:
    info = archive.getinfo("vectors.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        _fail(path, "vectors", "an uncompressed array, for mmap=True", "a compressed one")
    with archive.open(info) as member:
        shape, header = _array_header(member, "vectors", info.file_size)
    file.seek(info.header_offset + 26)
    start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    return np.memmap(file, _TYPES["vectors"], "r", start, shape)


def _array_header(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of an array in NumPy's format, and where its numbers begin."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is in another version of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != _TYPES[name] or fortran_order:
        raise ValueError(f"{name} holds {dtype}, fortran_order={fortran_order}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{name} of shape {shape} in {size - file.tell()} bytes")
    return shape, file.tell()


def write_tensors(path: PathLike, arrays: Arrays) -> None:
    """Write arrays as tensors."""
    save_file = extra("safetensors.numpy").save_file
    with whole_file(path) as file:
        save_file(arrays, file.name, metadata=_METADATA)


def read_tensors(path: PathLike, names: Names) -> Arrays:
    """Read what `write_tensors` wrote."""
    safe_open = extra("safetensors").safe_open
    with (
        _opened(path, "a safetensors file of vectors"),
        safe_open(path, framework="np") as file,
    ):
        if file.metadata() != _METADATA:
            _fail(path, "metadata", f"{_METADATA}", file.metadata())
        arrays = {name: file.get_tensor(name) for name in names(file.keys())}
        _check_types(path, arrays)
        return arrays


def write_safetensors(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_npz` as tensors."""
    write_tensors(path, _pack(stored))


def read_safetensors(path: PathLike) -> Stored:
    """Read what `write_safetensors` wrote."""
    return _unpack(path, read_tensors(path, _names))


def write_table(
    path: PathLike, ids: list[str] | Integers, vectors: Floats, counts: Integers | None = None
) -> None:
    """Write columns id, count (int64, if any), vector (fixed-size list of float)."""
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    columns = {"id": arrow.array(ids, arrow.string() if isinstance(ids, list) else arrow.int64())}
    if counts is not None:
        columns["count"] = arrow.array(counts)
    numbers = arrow.array(vectors.reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])
    with whole_file(path) as file:
        # All ids differ, and nearly all numbers: there is nothing to make smaller.
        parquet.write_table(
            arrow.table(columns), file, compression="none", use_dictionary=False,
            write_page_checksum=True,
        )


def read_table(
    path: PathLike, id_types: Sequence[str]
) -> tuple[list[str] | Integers, Floats, Integers | None]:
    """Read what `write_table` wrote, with ids of one of these types."""
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
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


def write_bin(path: PathLike, stored: Stored) -> None:
    """Write word2vec's binary format, as gensim does; counts are lost."""
    words = _encode_without(r"\s", stored.words, "whitespace, for word2vec's formats")
    with whole_file(path) as file:
        file.write(b"%d %d\n" % stored.vectors.shape)
        for word, row in zip(words, stored.vectors, strict=True):
            file.write(word + b" " + row.astype("<f4", copy=False).tobytes())


def read_bin(path: PathLike) -> Stored:
    """Read word2vec's binary format, with the newlines of word2vec.c or without."""
    with _opened(path, "a word2vec binary file") as file:
        num_words, dim, begin = _word2vec_header(path, file, 4)
        vectors = np.empty((num_words, dim), np.float32)
        starts = np.empty(num_words, np.int64)
        words = []
        data, at, width = b"", 0, 4 * dim
        for row in range(num_words):
            space = data.find(b" ", at)
            if space < 0 or len(data) - space <= width:
                begin += at
                data, at = data[at:] + file.read(max(_CHUNK, 2 * width)), 0
                space = data.find(b" ")
                if space < 0 or len(data) - space <= width:
                    expected = f"word {row + 1} of {num_words}, a space and {width} bytes"
                    _fail(path, f"byte {begin}", expected, f"{len(data)} bytes, {data[:40]!r}")
            raw = data[at:space].lstrip(b"\n")
            starts[row] = begin + at
            if not raw or b"\n" in raw:
                _fail(path, f"byte {begin + at}", "a word", repr(raw[:40]))
            words.append(_decode(path, "byte", begin + at, raw))
            vectors[row] = np.frombuffer(data, "<f4", dim, space + 1)
            at = space + 1 + width
        rest = (data[at:] + file.read(_CHUNK)).lstrip(b"\n")
        if rest:
            _fail(path, f"byte {begin + at}", "the end of the file", repr(rest[:40]))
        return _sound(path, Stored(words, vectors), lambda row: f"byte {starts[row]}")


def write_txt(path: PathLike, stored: Stored) -> None:
    """Write word2vec's text format, byte for byte as gensim does; counts are lost."""
    words = _encode_without(r"\s", stored.words, "whitespace, for word2vec's formats")
    with whole_file(path) as file:
        file.write(b"%d %d\n" % stored.vectors.shape)
        _write_rows(file, stored.vectors, b" ", words)


def _write_rows(file: BinaryIO, vectors: Floats, separator: bytes, words: list[bytes]) -> None:
    """Write lines of a word, if any, and numbers that read back as they are."""
    for i, row in enumerate(vectors):
        line = [*words[i : i + 1], *row.astype("S").tolist()]
        file.write(separator.join(line) + b"\n")


def read_txt(path: PathLike) -> Stored:
    """Read word2vec's text format, with or without word2vec.c's space before the newline."""
    with _opened(path, "a word2vec text file") as file, np.errstate(over="ignore"):
        num_words, dim, _ = _word2vec_header(path, file, 2)
        vectors = np.empty((num_words, dim), np.float32)
        words = []
        for row in range(num_words):
            word, *numbers = file.readline().rstrip().split(b" ")
            if not word or len(numbers) != dim:
                got = f"{len(numbers)} after {word[:40]!r}"
                _fail(path, f"line {row + 2}", f"a word and {dim} numbers", got)
            try:
                vectors[row] = list(map(float, numbers))
            except ValueError as error:
                _fail(path, f"line {row + 2}", f"a word and {dim} numbers", error)
            words.append(_decode(path, "line", row + 2, word))
        for number, line in enumerate(file, num_words + 2):
            if line.strip():
                _fail(path, f"line {number}", "the end of the file", repr(line[:40]))
        return _sound(path, Stored(words, vectors), lambda row: f"line {row + 2}")


def _word2vec_header(path: PathLike, file: IO[bytes], width: int) -> tuple[int, int, int]:
    """Return num_words, dim and the header's length; a number takes at least `width` bytes."""
    line = file.readline(100)
    match = re.fullmatch(rb"([1-9]\d{,17})[ \t]+([1-9]\d{,17})\s*", line)
    if not match:
        _fail(path, "line 1", "the number of words and the length of a vector", repr(line[:40]))
    num_words, dim = int(match[1]), int(match[2])
    size = Path(path).stat().st_size
    # A word has a letter, and a space or newline, which may be absent at the end.
    least = len(line) + num_words * (width * dim + 2) - 1
    if least > size * (_DEFLATE if isinstance(file, gzip.GzipFile) else 1):
        what = f"at least {least} bytes for {num_words} words of {dim} numbers, as line 1 says"
        _checks.fail(str(path), what, f"{size} bytes")
    return num_words, dim, len(line)


def write_tsv(path: PathLike, stored: Stored) -> None:
    """Write two files for TensorFlow's projector: numbers, and words in `_metadata.tsv`."""
    words = _encode_without(r"\t\n\r", stored.words, "tabs or newlines, for a .tsv file")
    labels = Path(path).with_name(f"{Path(path).stem}_metadata.tsv")
    with whole_file(path) as numbers, whole_file(labels) as names:
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
    """Return the name of a format: `format`, or the one that the suffix stands for."""
    choices = list(READERS if reading else WRITERS)
    if format is not None:
        return _checks.choice("format", format, choices)
    name = str(path).lower()
    if reading and re.search(r"\.(bin|txt|vec)\.gz$", name):
        name = name.removesuffix(".gz")
    suffix = Path(name).suffix[1:]
    suffix = "txt" if suffix == "vec" else suffix
    if suffix not in choices:
        expected = "a file name that ends in " + ", ".join(f".{s}" for s in [*choices, "vec"])
        _checks.fail("path", expected + ", or a format", repr(str(path)))
    return suffix
