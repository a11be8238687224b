"""Text files as one stream of UTF-8: finding files, decompression, blocks for the tokeniser."""

from __future__ import annotations

import bz2
import codecs
import gzip
import logging
import lzma
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.decoding import Decoder, check_encoding, tolerated
from numba_ss.io.file_kinds import COMPRESSED, HEAD, compression_of, refuse_foreign
from numba_ss.io.files import naming
from numba_ss.kernels.words.text import PADDING

log = logging.getLogger("numba_ss")

T = TypeVar("T")

# Pieces of data, each with the position of the reader in the files, in bytes of the files.
Pieces = Generator[tuple[bytes, int], None, None]

PIECE = 2**18  # bytes that are read at a time
BLOCK = 2 * PIECE  # bytes that are tokenised at a time, at least
_LARGEST_BLOCK = 2**30  # bytes, because positions in a block have 31 bits
LONGEST_WORD = 2**20  # bytes of a word, at most
_BLANK, _BLANKS = re.compile(rb"[ \t\r\n]"), (b" ", b"\t", b"\r", b"\n")
_WINDOW = 31  # the largest window of zstd, in bits, as with --long=31
_ZSTD_STEP = 2**8


class UnchangedFile:
    """A file that must not change between passes; `name` is its name in messages.

    Of a file that is not compressed, only the lines are read that begin in the bytes of `span`.
    """

    def __init__(
        self, path: Path, name: str | None = None, span: tuple[int, int] | None = None
    ) -> None:
        self.path, self.span = path, span
        self.name = name or str(path)
        self._state: tuple[int, int] | None = None

    def check(self) -> int:
        """Return the size; refuse a file that has changed since the first call."""
        status = self.path.stat()
        state = status.st_size, status.st_mtime_ns
        if self._state not in (None, state):
            _checks.fail(self.name, "the file that the first pass read", "a changed one")
        self._state = state
        return status.st_size


def _zstd_pieces(raw: BinaryIO) -> Iterator[bytes]:
    """Decompress frame by frame, because the package's reader ignores a missing end."""
    package = import_optional("zstandard", "reading .zst before Python 3.14")
    decompressor = package.ZstdDecompressor(max_window_size=2**_WINDOW)
    frame = decompressor.decompressobj()
    complete, piece = True, bytearray()
    # A few bytes at a time, because one byte may decompress to 32 KiB.
    while block := raw.read(PIECE // 32):
        for start in range(0, len(block), _ZSTD_STEP):
            data = block[start : start + _ZSTD_STEP]
            while data:
                if complete:
                    frame = decompressor.decompressobj()
                piece += frame.decompress(data)
                data, complete = frame.unused_data, frame.eof
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
    if not complete:
        raise EOFError("the file ends within a frame")
    yield bytes(piece)


def _decompress(raw: BinaryIO, kind: str | None) -> Iterator[bytes]:
    stream: Any = raw
    if kind == "gz":
        stream = gzip.GzipFile(fileobj=raw)
    elif kind == "bz2":
        stream = bz2.BZ2File(raw)
    elif kind == "xz":
        stream = lzma.LZMAFile(raw)
    elif kind == "zst":
        try:
            zstd = import_module("compression.zstd")
        except ImportError:
            yield from _zstd_pieces(raw)
            return
        stream = zstd.ZstdFile(raw, options={zstd.DecompressionParameter.window_log_max: _WINDOW})
    while piece := stream.read(PIECE):
        yield piece


def _lines(raw: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """Yield the lines of a file that begin in [start, stop)."""
    raw.seek(max(start - 1, 0))
    position, has_begun = raw.tell(), start == 0
    while piece := raw.read(PIECE):
        if not has_begun:  # the line before, which began before `start`
            end = piece.find(b"\n") + 1
            has_begun = end > 0
            skipped = end or len(piece)
            piece, position = piece[skipped:], position + skipped
            if position >= stop:
                return
        end = piece.find(b"\n", max(stop - 1 - position, 0)) + 1
        position += len(piece)
        yield piece[:end] if end else piece
        if end:
            return


def _read(file: UnchangedFile) -> Pieces:
    """Yield what a file holds, decompressed if its first bytes or its name say so."""
    with naming(file.name), open(file.path, "rb", buffering=0) as raw:
        if file.span is not None:
            for piece in _lines(raw, *file.span):
                yield piece, raw.tell()
            return
        kind = compression_of(raw.read(HEAD))
        raw.seek(0)
        suffix = file.path.suffix.lower()[1:]
        kind = suffix if kind is None and suffix in COMPRESSED else kind
        try:
            for piece in _decompress(raw, kind):  # type: ignore[arg-type]
                yield piece, raw.tell()
        except ImportError:
            raise
        except Exception as error:  # every decompressor has errors of its own
            if kind is None:
                raise
            got = f"a damaged or truncated one ({error})"
            _checks.fail(file.name, f"a sound .{kind} file", got)


class TextFiles:
    """Files as one stream of UTF-8, in which each file ends with a newline and has no BOM.

    Parameters
    ----------
    paths : sequence of Path
        The files, compressed or not.
    encoding : str, optional
        Their encoding. By default it is that of each file's BOM, or UTF-8 without a BOM.
        Malformed bytes are replaced, with a warning after the first pass; a file in which more
        than about one byte in a thousand is malformed is refused, and so are all files together.
    names : dict, optional
        The names of files in messages, if these differ from their paths.
    strict : bool, default=False
        Refuse a file with any malformed byte, for example in keys, which would become other
        keys. Words may then have any length.
    cells : bool, default=False
        The text is one of cells, such as pictures in base64, so words may have any length, too.
    look : callable, optional
        A function that gets the name and the first bytes of the text of each file.
    span : (int, int), optional
        Read only the lines that begin in these bytes, of files that are not compressed.
    """

    def __init__(
        self, paths: Sequence[Path], encoding: str | None = None,
        names: Mapping[Path, str] | None = None, *, strict: bool = False, cells: bool = False,
        look: Callable[[str, bytes], object] = lambda name, head: None,
        span: tuple[int, int] | None = None,
    ) -> None:
        self._files = [UnchangedFile(path, (names or {}).get(path), span) for path in paths]
        self._encoding, self._strict = check_encoding(encoding), strict
        self._any_length = strict or cells
        self._look = look
        self._told = False
        self.name = self._files[0].name

    def total(self) -> int:
        """Return the size of all files; refuse if one has changed since the first call."""
        return sum(file.check() for file in self._files)

    def pieces(self) -> Pieces:
        """Yield pieces of the text, each with the position in the (compressed) files."""
        before = bad = read = 0
        damaged = []
        for file in self._files:
            size = file.check()
            decoder = Decoder(file.name, self._encoding, self._strict)
            head = True
            for piece, position in self._text(file, decoder):
                if head:
                    self._look(file.name, piece[:HEAD])
                    head = False
                yield piece, before + position
            before, read = before + size, read + decoder.read
            if decoder.bad:
                bad += decoder.bad
                damaged.append(file.name)
            yield b"\n", before
        if bad and not self._told:  # in the first pass only
            if bad > tolerated(read):  # though each file is so small that it has few
                got = f"{bad} places that are none in {len(damaged)} of {len(self._files)} files"
                hint = 'encoding= (--encoding) names another, such as "cp1252"'
                _checks.fail(damaged[0], "text in its encoding", f"{got}; {hint}")
            self._told = True
            log.warning(
                "%s: %d places that are no text were replaced, in %d of %d files",
                damaged[0], bad, len(damaged), len(self._files),
            )

    def _text(self, file: UnchangedFile, decoder: Decoder) -> Pieces:
        text = _text(file, decoder)
        return text if self._any_length else _with_words(file.name, text)


def _text(file: UnchangedFile, decoder: Decoder) -> Pieces:
    """Yield the text of a file without byte order marks, which joined files have inside."""
    pieces = _with_head(_read(file))
    data, position = next(pieces)
    refuse_foreign(file.name, data)
    begins = True
    while True:
        more = next(pieces, None)
        text = decoder.decode(data, more is None)
        at_start, begins = begins, text.endswith(b"\n") if text else begins
        if not text.isascii():
            text = text.removeprefix(codecs.BOM_UTF8) if at_start else text
            text = text.replace(b"\n" + codecs.BOM_UTF8, b"\n")
        yield text, position
        if more is None:
            return
        data, position = more


def _with_words(name: str, pieces: Pieces) -> Pieces:
    """Yield the same pieces; refuse text with a word that is longer than LONGEST_WORD."""
    running = 0  # bytes since the last blank or end of a line
    with closing(pieces):
        for text, position in pieces:
            blank = _BLANK.search(text)
            if running + (blank.start() if blank else len(text)) > LONGEST_WORD:
                _checks.fail(
                    name, f"a blank or a line end every {LONGEST_WORD} bytes at least",
                    "none, so no text of words that blanks separate",
                )
            last = max(map(text.rfind, _BLANKS))
            running = len(text) - 1 - last if blank else running + len(text)
            yield text, position


def _with_head(pieces: Pieces) -> Pieces:
    """Yield the same data, with HEAD bytes or more in the first piece (or all, if fewer)."""
    head, position = b"", 0
    while len(head) < HEAD and (item := next(pieces, None)) is not None:
        head, position = head + item[0], item[1]
    yield head, position
    yield from pieces


def read_ahead(pieces: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield the same pieces, reading each in a thread while the one before is processed."""
    # The thread runs in a copy of this context, which holds NumPy's treatment of errors.
    read = partial(copy_context().run, next, pieces, None)
    with closing(pieces), ThreadPoolExecutor(1, "numba_ss-reader") as pool:
        try:
            coming = pool.submit(read)
        except RuntimeError:  # no thread can be started
            yield from pieces
            return
        while (piece := coming.result()) is not None:
            coming = pool.submit(read)
            yield piece


class BlockReader:
    """Cuts a stream of bytes into blocks; the tokeniser says where each ends.

    block[:stop] holds the bytes that were read, followed by at least PADDING bytes; `position` is
    the position of the reader in the files.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.block: NDArray[np.uint8] = np.empty(BLOCK + PIECE + PADDING, np.uint8)
        self.stop = self.position = 0

    def fill(self, done: int) -> bool:
        """Keep the bytes from `done` on, and append more; return whether there were more."""
        left = self.stop - done
        self.block[:left] = self.block[done : self.stop]
        self.stop = left
        # Read at least as much as was kept, so that a very long word is not scanned many times.
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
        """Replace malformed UTF-8, except an incomplete character at the end."""
        data = self.block[: self.stop].tobytes()
        text, used = codecs.utf_8_decode(data, "replace", False)
        self.stop = 0
        self._append(text.encode() + data[used:])
