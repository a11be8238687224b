"""CSV files as Arrow record batches of strings: separators, headers, blocks of whole rows.

Arrow finds the ends of rows without regard to quotes, or it loses the newline of a quoted CR LF
at the end of a block (apache/arrow 51368). So this module cuts a file into blocks of whole rows,
and Arrow parses one block at a time.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.file_kinds import COMPRESSED
from numba_ss.io.text_files import TextFiles

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

log = logging.getLogger("numba_ss")

_BLOCK = 2**20  # bytes that Arrow parses at a time, at least
_LONGEST = 2**24  # bytes of a row, at most
_LONGEST_CELL = 2**28  # characters of a cell, at most
# Arrow takes a single character, so MovieLens' two colons are replaced by one that no text has.
_COLONS, _UNIT = "::", "\x1f"
SEPARATORS = ",;\t|"
_TABS = f"\t,;|{_UNIT}"
# The separators of each suffix, the usual one first.
_SEPARATORS = {
    ".csv": SEPARATORS + _UNIT, ".tsv": _TABS, ".tab": _TABS, ".dat": _TABS + " ",
    ".data": _TABS + " ", ".txt": _TABS + " ",
}
SUFFIXES = ", ".join(_SEPARATORS)


def csv_rows(lines: Iterable[str], separator: str, *, strict: bool = False) -> CsvReader:
    """Return a reader of rows whose cells may be long."""
    # The default limit of the csv module, 2**17, is less than an article of Wikipedia.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    return csv.reader(lines, delimiter=separator, strict=strict)


def plain_suffix(path: Path) -> str:
    """Return the suffix of a name, without that of a compression such as .gz."""
    return (path.with_suffix("") if path.suffix.lower()[1:] in COMPRESSED else path).suffix.lower()


def is_csv(path: Path) -> bool:
    """Return whether the name is that of a CSV or TSV file."""
    return plain_suffix(path) in _SEPARATORS


class Layout(NamedTuple):
    """How a CSV file is divided, and what its columns are called."""

    separator: str
    names: list[str]
    has_header: bool


def find_layout(line: str, separators: str, wanted: Sequence[str]) -> Layout:
    """Return the layout that the first line of a file shows.

    The separator is the first one that gives the wanted columns. If all of these are numbers, "0",
    "1" ..., they are positions in a file without a header, even if its first row holds the same
    numbers by chance. Only a first row 0, 1 ... in order, as pandas names columns without names,
    is a header then.
    """
    found = {separator: _cells(line, separator) for separator in separators}
    fitting = [separator for separator, names in found.items() if set(wanted) <= set(names)]
    has_places = bool(wanted) and all(map(_is_place, wanted))
    if has_places and not any(_count_up(found[separator]) for separator in fitting):
        most = max(found, key=lambda separator: len(found[separator]))
        return Layout(most, [str(i) for i in range(len(found[most]))], False)
    separator = next(iter(fitting or found))
    return Layout(separator, found[separator], True)


class CsvFile:
    """Some columns of a CSV file.

    Its separator is one of those in `_SEPARATORS`; `find_layout` says when it has no header.

    Parameters
    ----------
    path : Path
        A file with one of `SUFFIXES`, compressed or not.
    wanted : sequence of str
        The columns to read.
    """

    def __init__(self, path: Path, wanted: Sequence[str]) -> None:
        # If it is missing, fail now and not after hours.
        import_optional("pyarrow.csv", "reading CSV files")
        self._path = path
        line = self._first_line()
        layout = find_layout(line, _SEPARATORS[plain_suffix(path)], wanted)
        self._separator, self.names, self._has_header = layout
        if self._has_header and _count_up(self.names):
            log.warning("%s: the first row, %r, is taken for names of columns", path, line[:60])

    def _first_line(self) -> str:
        with_rest = b""
        for piece, _ in TextFiles([self._path], strict=True).pieces():
            with_rest += piece
            if re.search(rb"[\r\n]", with_rest.lstrip(b"\r\n")) or len(with_rest) > _LONGEST:
                break
        line = re.split(rb"[\r\n]", with_rest.lstrip(b"\r\n"), maxsplit=1)[0]
        if not line:
            _checks.fail(str(self._path), "a CSV file", "an empty one")
        return line.decode()

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield record batches of strings; an empty cell is null, a quoted one a string."""
        arrow = import_optional("pyarrow", "reading CSV files")
        module = import_optional("pyarrow.csv", "reading CSV files")
        convert = module.ConvertOptions(
            column_types=dict.fromkeys(columns, arrow.string()), include_columns=list(columns),
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        )
        read = module.ReadOptions(
            block_size=_BLOCK, use_threads=False,
            column_names=None if self._has_header else self.names,
        )
        parse = module.ParseOptions(delimiter=self._separator, newlines_in_values=True)
        blocks = _Blocks(self._path, self._separator)
        with module.open_csv(
            blocks, read_options=read, parse_options=parse, convert_options=convert
        ) as reader:
            yield from reader


def _cells(line: str, separator: str) -> list[str]:
    if separator == _UNIT:
        line = line.replace(_COLONS, _UNIT)
    return next(csv_rows([line], separator), [])


def _count_up(names: list[str]) -> bool:
    """Return whether names are 0, 1 ..., after an empty one if pandas wrote an index."""
    named = names[1:] if names[:1] == [""] else names
    return named == [str(i) for i in range(len(named))]


def _is_place(name: str) -> bool:
    return name.isdecimal() and name.isascii()


class _Blocks(io.RawIOBase):
    """A file whose `read` returns a block of whole rows, whatever size is asked for."""

    def __init__(self, path: Path, separator: str) -> None:
        self._blocks = _whole_rows(path, separator.encode())

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._blocks, b"")


def _whole_rows(path: Path, separator: bytes) -> Iterator[bytes]:
    pattern, waiting, line = _RowPattern(separator), b"", 1
    pieces = (piece for piece, _ in TextFiles([path], strict=True).pieces())
    for piece in chain(_single(pieces) if separator == _UNIT.encode() else pieces, [b""]):
        waiting += piece
        if piece and len(waiting) < _BLOCK:
            continue
        stop = pattern.end_of_rows(waiting)
        block, waiting = waiting[:stop], waiting[stop:]
        if block:
            stray = pattern.stray_quote(block)
            if stray is not None:
                expected = "a quote that is closed in its line"
                got = f"one that also stands for itself in whole rows: {_shown(block[stray:])}"
                _checks.fail(f"{path}, line {line + _lines(block[:stray])}", expected, got)
            yield block
            line += _lines(block)
        if len(waiting) > _LONGEST or (waiting and not piece):
            expected = f"quotes that are closed, and rows of less than {_LONGEST:,} bytes"
            _checks.fail(f"{path}, line {line}", expected, _shown(waiting))


def _single(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same text, with two colons replaced by one character."""
    rest = b""
    for piece in pieces:
        piece = rest + piece
        # The second colon of a pair may be in the next piece.
        rest = b":" * ((len(piece) - len(piece.rstrip(b":"))) % 2)
        done = piece[: len(piece) - len(rest)]
        yield done.replace(_COLONS.encode(), _UNIT.encode())


def _lines(block: bytes) -> int:
    return block.count(b"\n") or block.count(b"\r")


def _shown(data: bytes) -> str:
    return repr(data[:60].decode(errors="replace")) + "..." * (len(data) > 60)


class _RowPattern:
    """Regular expressions for rows of cells.

    A cell that begins with a quote includes everything up to the closing quote, also line breaks
    and separators, and what follows up to the next separator.
    """

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        other = re.escape(separator) + rb"\r\n"

        def row(in_quotes: bytes) -> bytes:
            quoted = rb'"(?:[^"' + in_quotes + rb']++|"")*+"[^' + other + rb"]*+"
            cell = rb"(?:" + quoted + rb'|[^"' + other + rb"][^" + other + rb"]*+|)"
            return cell + rb"(?:" + re.escape(separator) + cell + rb")*+(?:\r\n|\n|\r(?=[^\n]))"

        self._row = re.compile(row(b""))
        self._rows = re.compile(rb"(?:" + row(b"") + rb")*+")
        self._short_rows = re.compile(rb"(?:" + row(rb"\r\n") + rb")*+")
        self._width: int | None = None

    def end_of_rows(self, data: bytes) -> int:
        """Return where the last complete row ends."""
        if b'"' in data:
            return _end(self._rows, data)
        return max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1

    def stray_quote(self, rows: bytes) -> int | None:
        """Return the start of a row that spans several lines which would be rows by themselves.

        In files that are separated by tabs, a quote is often a plain character. If a later row
        holds another one, all rows between the two would become one cell.
        """
        if self._separator != b"\t":
            return None
        if self._width is None:
            self._width = rows[: _end(self._row, rows)].count(b"\t")
        at = 0
        while b'"' in rows and (at := _end(self._short_rows, rows, at)) < len(rows):
            stop = _end(self._row, rows, at)
            if all(line.count(b"\t") == self._width for line in rows[at:stop].splitlines()):
                return at
            at = stop
        return None


def _end(pattern: re.Pattern[bytes], data: bytes, start: int = 0) -> int:
    match = pattern.match(data, start)
    return start if match is None else match.end()
