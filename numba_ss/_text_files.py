"""Files of text as one stream of bytes: which files, decompression, blocks for the tokeniser."""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import lzma
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.kernels.text import PADDING

PathLike = str | os.PathLike[str]

# Bytes and how far the reading is: of files, in bytes of theirs.
Pieces = Generator[tuple[bytes, int], None, None]

PIECE = 2**20  # bytes that are read at a time
BLOCK = 2 * PIECE  # bytes that are tokenised at a time, or more
_LARGEST_BLOCK = 2**30  # places in a block have 31 bits


def extra(module: str, purpose: str) -> Any:
    """Import a module that is not required to be installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{purpose} needs {package}: pip install "numba-ss[all]", or {package} alone'
        ) from error


def find_files(name: str, value: PathLike) -> list[Path]:
    """Return the files that a path names: itself, those of a folder, or those of a pattern."""
    text = os.fspath(value)
    if os.path.isfile(text):
        return [Path(text)]
    if os.path.isdir(text):
        inside = sorted(p for p in Path(text).iterdir() if p.name[0] != "." and p.is_file())
        if text.rstrip("/" + os.sep).endswith(".parquet"):
            inside = [path for path in inside if path.suffix == ".parquet"]
        if not inside:
            _checks.fail(name, "a folder with files", repr(text))
        return inside
    if os.path.exists(text):
        _checks.fail(name, 'a file or a folder ("-" for standard input)', repr(text))
    found = sorted(glob.glob(text, recursive=True)) if "\0" not in text else []
    files = [Path(path) for path in found if os.path.isfile(path)]
    if not files:
        shown = repr(text) if len(text) < 80 else f"{text[:60]!r}..."
        _checks.fail(
            name,
            "a file, a folder or a pattern that matches files (sentences are lists of words, not "
            "strings)",
            f"{shown}, which does not exist",
        )
    return files


class UnchangedFile:
    """A file that every pass must find as the first one did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int] | None = None

    def check(self) -> int:
        """Return the size; refuse a file that differs from what the first call saw."""
        status = self.path.stat()
        state = status.st_size, status.st_mtime_ns
        if self._state not in (None, state):
            _checks.fail(str(self.path), "the file that the first pass read", "a changed one")
        self._state = state
        return status.st_size


def _zstd_pieces(raw: BinaryIO) -> Iterator[bytes]:
    """Decompress frame by frame, for the package's own reader passes over a missing end."""
    decompressor = extra("zstandard", "reading .zst before Python 3.14").ZstdDecompressor()
    frame = decompressor.decompressobj()
    complete = True
    while data := raw.read(PIECE // 32):
        while data:
            if complete:
                frame = decompressor.decompressobj()
            yield frame.decompress(data)
            data, complete = frame.unused_data, frame.eof
    if not complete:
        raise EOFError("the file ends within a frame")


def _decompress(raw: BinaryIO, suffix: str) -> Iterator[bytes]:
    stream: Any = raw
    if suffix == ".gz":
        stream = gzip.GzipFile(fileobj=raw)
    elif suffix == ".bz2":
        stream = bz2.BZ2File(raw)
    elif suffix == ".xz":
        stream = lzma.LZMAFile(raw)
    elif suffix == ".zst":
        try:
            stream = import_module("compression.zstd").ZstdFile(raw)
        except ImportError:
            yield from _zstd_pieces(raw)
            return
    while piece := stream.read(PIECE):
        yield piece


def _read(path: Path) -> Pieces:
    suffix = path.suffix.lower()
    with open(path, "rb", buffering=0) as raw:
        try:
            for piece in _decompress(raw, suffix):  # type: ignore[arg-type]
                yield piece, raw.tell()
        except ImportError:
            raise
        except Exception as error:  # every decompressor has errors of its own
            if suffix not in (".gz", ".bz2", ".xz", ".zst"):
                raise
            got = f"a damaged or truncated one ({error})"
            _checks.fail(str(path), f"a sound {suffix} file", got)


def _without_bom(pieces: Pieces) -> Pieces:
    head = b""
    for piece, position in pieces:
        head += piece
        if len(head) >= len(codecs.BOM_UTF8):
            yield head.removeprefix(codecs.BOM_UTF8), position
            break
    else:
        yield head, 0
    yield from pieces


class TextFiles:
    """Files as a stream of bytes in which each ends with a newline, and has no BOM."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [UnchangedFile(path) for path in paths]

    def total(self) -> int:
        """Return the size of all files; refuse if one has changed since the first call."""
        return sum(file.check() for file in self._files)

    def pieces(self) -> Pieces:
        """Yield the bytes, and the position in the files, compressed or not."""
        before = 0
        for file in self._files:
            size = file.check()
            for piece, position in _without_bom(_read(file.path)):
                yield piece, before + position
            before += size
            yield b"\n", before


def spool_input() -> Path:
    """Copy standard input to a temporary file, which the caller removes."""
    with tempfile.NamedTemporaryFile(prefix="numba_ss-", suffix=".txt", delete=False) as file:
        try:
            shutil.copyfileobj(sys.stdin.buffer, file, PIECE)
        except BaseException:
            os.unlink(file.name)
            raise
    return Path(file.name)


def read_ahead(pieces: Pieces) -> Pieces:
    """Yield the same, but read one piece while the one before it is worked on."""
    with closing(pieces), ThreadPoolExecutor(1, "numba_ss-reader") as pool:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            yield piece


class BlockReader:
    """Cut a stream of bytes to blocks that end where the tokeniser says.

    `block[:stop]` is read, `position` says how far; `block` has PADDING bytes more.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.block: NDArray[np.uint8] = np.empty(BLOCK + PIECE + PADDING, np.uint8)
        self.stop = self.position = 0

    def fill(self, done: int) -> bool:
        """Read on, behind what stands from `done` on; tell whether there was more."""
        left = self.stop - done
        self.block[:left] = self.block[done : self.stop]
        self.stop = left
        # Twice what a very long word left, or it would be read over and over.
        while self.stop < max(BLOCK, 2 * left) and (item := next(self._pieces, None)):
            piece, self.position = item
            self._append(piece)
        return self.stop > left

    def _append(self, piece: bytes) -> None:
        stop = self.stop + len(piece)
        if stop > len(self.block) - PADDING:
            if stop > _LARGEST_BLOCK:
                _checks.fail("corpus", f"words of less than {_LARGEST_BLOCK // 2} bytes", "more")
            self.block = np.concatenate([self.block, np.empty(stop, np.uint8)])
        self.block[self.stop : stop] = np.frombuffer(piece, np.uint8)
        self.stop = stop

    def repair(self) -> None:
        """Replace malformed UTF-8, except at the end, where more may follow."""
        data = self.block[: self.stop].tobytes()
        text, used = codecs.utf_8_decode(data, "replace", False)
        self.stop = 0
        self._append(text.encode() + data[used:])
