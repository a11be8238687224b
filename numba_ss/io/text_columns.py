"""One column of CSV files or of JSON lines, as lines of text."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

from numba_ss import _checks
from numba_ss.io.csv_files import SEPARATORS, csv_rows, find_layout
from numba_ss.io.text_files import PIECE, Pieces, TextFiles


class TextColumn:
    """One column of CSV files, or of files of JSON lines.

    Parameters
    ----------
    files : sequence of TextFiles
        One object for each file.
    column : str
        The name in the header (without one, "0", "1" ...), or the key in the JSON objects. Each
        value is a line of text, in which line breaks become blanks; in JSON it may also be a list
        of words and integers.
    """

    def __init__(self, files: Sequence[TextFiles], column: str) -> None:
        self._files = files
        self._column = column

    def total(self) -> int:
        """Return the size of all files; refuse if one has changed since the first call."""
        return sum(file.total() for file in self._files)

    def pieces(self) -> Pieces:
        """Yield the lines, and the position in the files, see `TextFiles.pieces`."""
        before = 0
        for file in self._files:
            with closing(file.pieces()) as pieces:
                source = _Lines(pieces)
                values: list[str] = []
                length = 0
                for value in self._values(file.name, source.lines):
                    values.append(value)
                    length += len(value)
                    if length > PIECE:
                        yield _joined(values), before + source.position
                        values, length = [], 0
                yield _joined(values), before + source.position
            before += source.position

    def _values(self, name: str, lines: Iterator[str]) -> Iterator[str]:
        first = next(lines, "")
        while first.isspace():
            first = next(lines, "")
        if first.lstrip()[:1] == "[":
            _checks.fail(name, "CSV or JSON lines, one object a line", "a JSON array")
        if first.lstrip()[:1] == "{":
            yield from self._json(name, first, lines)
        else:
            yield from self._csv(name, first, lines)

    def _csv(self, name: str, header: str, lines: Iterator[str]) -> Iterator[str]:
        try:
            separator, names, has_header = find_layout(header, SEPARATORS, [self._column])
        except csv.Error as error:  # lines that end with \r alone, for example
            _checks.fail(f"{name}, line 1", "CSV", error)
        if names.count(self._column) != 1:
            self._missing(name, f"the header {header.strip()[:200]!r}")
        place = names.index(self._column)
        rows = csv_rows(lines if has_header else chain([header], lines), separator, strict=True)
        try:
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    where = f"{name}, row that ends in line {rows.line_num + has_header}"
                    _checks.fail(where, f"{len(names)} cells, as in the first line", len(row))
                yield row[place]
        except csv.Error as error:
            _checks.fail(f"{name}, line {rows.line_num + has_header}", "CSV", error)

    def _json(self, name: str, first: str, lines: Iterator[str]) -> Iterator[str]:
        number, line = 1, first
        while line:
            if not line.isspace():
                yield self._text(f"{name}, line {number}", line)
            number, line = number + 1, next(lines, "")

    def _text(self, place: str, line: str) -> str:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            _checks.fail(place, "a JSON object", error)
        if not isinstance(row, dict) or self._column not in row:
            keys = f"one with the keys {list(row)}" if isinstance(row, dict) else "another value"
            self._missing(place, keys[:200])
        value: Any = row[self._column]
        if value is None:
            return ""
        if isinstance(value, list):
            words = [str(word) if type(word) is int else word for word in value]
            for word in words:
                if not isinstance(word, str) or word.split() != [word]:
                    expected = "words without blanks or integers in a list"
                    _checks.fail(place, expected, repr(word)[:80])
            return " ".join(words)
        if not isinstance(value, str):
            _checks.fail(place, f"a string as {self._column!r}", repr(value)[:80])
        return str(value)

    def _missing(self, place: str, got: str) -> None:
        _checks.fail(place, f"a column or key {self._column!r} (column=, --column)", got)


def _joined(lines: list[str]) -> bytes:
    text = "\n".join([*(line.replace("\n", " ") for line in lines), ""])
    return text.encode("utf-8", "replace")  # JSON may escape half of a surrogate pair


class _Lines:
    """The lines of a file with their line ends; `position` is that in the file."""

    def __init__(self, pieces: Pieces) -> None:
        self.position = 0
        self.lines = self._read(pieces)

    def _read(self, pieces: Pieces) -> Iterator[str]:
        parts: list[bytes] = []
        for piece, self.position in pieces:  # the last piece of a file is a newline
            if b"\n" not in piece:
                parts.append(piece)
                continue
            *lines, rest = b"".join([*parts, piece]).split(b"\n")
            parts = [rest]
            for line in lines:
                yield line.decode() + "\n"
