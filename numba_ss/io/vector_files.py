"""Files of word vectors in six formats: which one a file has, and who reads and writes it.

A new format gets a file of its own, with a function that writes `Stored` and one that reads it
(a format without the second can only be written). It is then named here, in `Format`, `WRITERS`
and `READERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, cast

from numba_ss import _checks
from numba_ss._types import Arrays, PathLike
from numba_ss.io.files import whole_file
from numba_ss.io.npz_files import read_archive, write_archive
from numba_ss.io.packed_words import encode_for, encode_words, pack_words, unpack_words
from numba_ss.io.parquet_files import read_table, write_table
from numba_ss.io.safetensors_files import read_tensors, write_tensors
from numba_ss.io.stored_vectors import Stored, sound
from numba_ss.io.word2vec_files import read_bin, read_txt, write_bin, write_rows, write_txt

Format = Literal["npz", "bin", "txt", "safetensors", "parquet", "tsv"]


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
    return sound(path, Stored(words, arrays["vectors"], arrays.get("counts")))


def write_npz(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_archive`."""
    write_archive(path, _pack(stored))


def read_npz(path: PathLike, *, mmap: bool = False, verify: bool = False) -> Stored:
    """Read what `write_npz` wrote, see `read_archive`."""
    return _unpack(path, read_archive(path, _names, mmap=mmap, verify=verify))


def write_safetensors(path: PathLike, stored: Stored) -> None:
    """Write the arrays of `write_npz` as tensors."""
    write_tensors(path, _pack(stored))


def read_safetensors(path: PathLike) -> Stored:
    """Read what `write_safetensors` wrote."""
    return _unpack(path, read_tensors(path, _names))


def write_parquet(path: PathLike, stored: Stored) -> None:
    """Write columns id (string), count (int64, if any), vector (fixed-size list of float)."""
    encode_words(stored.words)
    write_table(path, *stored)


def read_parquet(path: PathLike) -> Stored:
    """Read what `write_parquet` wrote."""
    words, vectors, counts = read_table(path, ["string"])
    return sound(path, Stored(cast(list[str], words), vectors, counts))


def metadata_path(path: PathLike) -> Path:
    """Return the path of the second file of TensorFlow's projector, which holds the words."""
    return Path(path).with_name(f"{Path(path).stem}_metadata.tsv")


def write_tsv(path: PathLike, stored: Stored) -> None:
    """Write two files for TensorFlow's projector: vectors, and words in ``_metadata.tsv``."""
    words = encode_for("tsv", stored.words)
    with whole_file(path) as numbers, whole_file(metadata_path(path)) as names:
        write_rows(numbers, stored.vectors, b"\t", [])
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
