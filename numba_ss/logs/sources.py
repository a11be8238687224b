"""Sources of events, read in batches: tables, Parquet and CSV files, arrays, sparse matrices."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.arrow import ArrowStream, ParquetFiles, arrow_errors
from numba_ss.io.csv_files import SUFFIXES, CsvFile, is_csv
from numba_ss.io.file_kinds import ARROW, PARQUET, ZIP
from numba_ss.io.inputs import warn_of_repeated
from numba_ss.logs.columns import as_array
from numba_ss.logs.folders import find_logs, partitions_of

_ROWS = 2**19  # rows of a batch, at least
_PART = 2**23  # bytes of a table that are read at a time


class Columns(NamedTuple):
    """The names of the columns of a log, by use."""

    user: str
    item: str
    time: str | None
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()

    def keys(self) -> list[str]:
        """Return the columns that hold keys."""
        return list(dict.fromkeys([self.user, self.item, *self.user_features, *self.item_features]))

    def all(self) -> list[str]:
        """Return all columns, each once."""
        return self.keys() if self.time is None else list(dict.fromkeys([*self.keys(), self.time]))


class Batch(NamedTuple):
    """Some rows of a table."""

    row: int
    columns: dict[str, Any]  # ndarrays, or chunked arrays of pyarrow
    text: bool = False  # whether the source is text, in which integers look like strings


class EventTable(ABC):
    """A table whose rows are events.

    Parameters
    ----------
    name : str
        Its name in messages.
    types : list of (str, object)
        Names and types of all its columns.
    columns : Columns
        The columns of the log.
    told : collection of str
        Those of them that the folders of a file tell.
    """

    names_without_header = ""

    def __init__(
        self, name: str, types: list[tuple[str, object]], columns: Columns,
        told: Collection[str] = (),
    ) -> None:
        self.name = name
        self.columns = columns
        self.wanted = [column for column in columns.all() if column not in told]
        names = [column for column, _ in types]
        for column in self.wanted:
            if names.count(column) != 1:
                listed = ", ".join(f"{name!r} ({kind})" for name, kind in types)
                got = f"{'none' if column not in names else 'several'} among {listed[:300]}"
                way = "; timestamp=None says that events have no times"
                got += way * (column == columns.time) + self.names_without_header
                _checks.fail(name, f"a column {column!r}", got)

    @abstractmethod
    def total(self) -> int | None:
        """Return the number of rows, or None if it is not known in advance."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Yield all rows, in order."""


class _Arrays(EventTable):
    def __init__(self, name: str, arrays: Mapping[str, Any], columns: Columns) -> None:
        types = [
            (key, getattr(array, "dtype", type(array).__name__)) for key, array in arrays.items()
        ]
        super().__init__(name, types, columns)
        self._arrays = {
            column: as_array(f"{name}, column {column!r}", arrays[column])
            for column in columns.all()
        }
        first = self._arrays[columns.user]
        for column, array in self._arrays.items():
            if len(array) != len(first):
                expected = f"{len(first)} values, as in {columns.user!r}"
                _checks.fail(f"{name}, column {column!r}", expected, len(array))

    def total(self) -> int:
        return len(self._arrays[self.columns.user])

    def batches(self) -> Iterator[Batch]:
        for row in range(0, self.total(), _ROWS):
            rows = slice(row, row + _ROWS)
            yield Batch(row, {name: array[rows] for name, array in self._arrays.items()})


class _Table(EventTable):
    """A table that is read in Arrow record batches."""

    expected = "a table that Arrow can hold"
    text = False

    def batches(self) -> Iterator[Batch]:
        arrow = import_optional("pyarrow", "reading tables")
        waiting: list[Any] = []
        row = rows = 0
        for batch in chain(self._checked(), [None]):
            if batch is not None:
                waiting.append(batch)
                rows += len(batch)
            if rows >= _ROWS or (rows and batch is None):
                table = arrow.Table.from_batches(waiting)
                columns = {name: table.column(name) for name in self.wanted}
                yield Batch(row, columns, self.text)
                row, rows, waiting = row + rows, 0, []

    def _checked(self) -> Iterator[Any]:
        with arrow_errors(self.name, self.expected):
            yield from self._record_batches()

    @abstractmethod
    def _record_batches(self) -> Iterator[Any]: ...


def _types(schema: Any) -> list[tuple[str, object]]:
    return [(field.name, field.type) for field in schema]


class _Stream(_Table):
    def __init__(
        self, name: str, opened: ArrowStream | ParquetFiles, columns: Columns,
        told: Collection[str] = (),
    ) -> None:
        super().__init__(name, _types(opened.schema), columns, told)
        self._opened = opened

    def total(self) -> int | None:
        return self._opened.total()

    def _record_batches(self) -> Iterator[Any]:
        positions = [self._opened.schema.get_field_index(name) for name in self.wanted]
        return self._opened.batches(positions, _PART)


class _Csv(_Table):
    """A CSV file; see `GrowingKeys.encode` for which keys are integers."""

    expected = "a CSV file, each row with as many cells as the first"
    text = True
    names_without_header = '; without a header, columns are called "0", "1" ...'

    def __init__(
        self, name: str, file: CsvFile, columns: Columns, told: Collection[str]
    ) -> None:
        super().__init__(name, [(column, "text") for column in file.names], columns, told)
        self._file = file

    def total(self) -> None:
        return None

    def _record_batches(self) -> Iterator[Any]:
        return self._file.batches(self.wanted)


class _Partition(EventTable):
    """A table with additional columns, each of which has one value for all rows."""

    def __init__(self, table: EventTable, constants: dict[str, str | None]) -> None:
        self.name, self.columns = table.name, table.columns
        self._table, self._constants = table, constants

    def total(self) -> int | None:
        return self._table.total()

    def batches(self) -> Iterator[Batch]:
        arrow = import_optional("pyarrow", "reading tables")
        for batch in self._table.batches():
            length = len(next(iter(batch.columns.values())))
            columns = dict(batch.columns)
            for name, value in self._constants.items():
                repeated = arrow.repeat(arrow.scalar(value, arrow.string()), length)
                columns[name] = arrow.chunked_array([repeated])
            yield batch._replace(columns=columns)


def _open_file(path: Path, columns: Columns) -> EventTable:
    told = {k: v for k, v in partitions_of(path).items() if k in columns.all()}
    wanted = [name for name in columns.all() if name not in told]
    opened: ParquetFiles | CsvFile
    if path.suffix.lower() == ".parquet" or _begins_with(path, PARQUET):
        opened = ParquetFiles([path])
        names = opened.schema.names
    elif is_csv(path):
        opened = CsvFile(path, wanted)
        names = opened.names
    else:
        expected = f"a name that ends with .parquet, {SUFFIXES}, or these and .gz, .bz2, .xz, .zst"
        _checks.fail(str(path), expected, repr(path.name) + _way(path))
    constants = {name: value for name, value in told.items() if name not in names}
    if len(constants) == len(columns.all()):
        _checks.fail("source", "a file with a column that its folders do not tell", "none")
    table = (
        _Csv(str(path), opened, columns, constants) if isinstance(opened, CsvFile)
        else _Stream(str(path), opened, columns, constants)
    )
    return _Partition(table, constants) if constants else table


def _open_files(files: list[Path], columns: Columns) -> list[EventTable]:
    """Open the files of a log; parts without a byte, as Spark writes them, have no events."""
    warn_of_repeated(files)
    parts = [path for path in files if path.stat().st_size]
    return [_open_file(path, columns) for path in parts or files]


def _begins_with(path: Path, mark: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(mark)) == mark


# Hints how to read files of other kinds, by parts of their names.
_WAYS = {
    ".json": "pandas.read_json(path, lines=True)", ".ndjson": "pandas.read_json(path, lines=True)",
    ".xls": "pandas.read_excel(path)", ".orc": "pyarrow.orc.read_table(path)",
    ".avro": "polars.read_avro(path)",
}


def _way(path: Path) -> str:
    """Return a hint how a file of another kind can be read."""
    way = next((way for part, way in _WAYS.items() if part in path.name.lower()), None)
    if _begins_with(path, ARROW):
        way = "pyarrow.feather.read_table(path)"
    elif _begins_with(path, ZIP) and way is None:
        return ": a zip archive, to be unpacked first"
    return f"; {way} makes a table of it" if way else ""


def _open_stream(source: Any, columns: Columns) -> EventTable:
    with arrow_errors("source", _Table.expected):
        return _Stream("source", ArrowStream(source), columns)


def _open_matrix(source: Any, columns: Columns) -> EventTable:
    """Return the stored entries of a sparse matrix, except zeros, as events."""
    matrix = source.tocoo()
    _checks.shaped("source", matrix, (None, None), "num_users, num_items")
    rows, items, data = matrix.row, matrix.col, matrix.data
    if data.dtype.kind not in "biuf":
        _checks.fail("source", "a matrix of real numbers", data.dtype)
    bad = np.flatnonzero(~(np.isfinite(data) & (data >= 0)))
    if bad.size:
        i = int(bad[0])
        _checks.fail(f"source[{rows[i]}, {items[i]}]", "a finite number >= 0", data[i])
    stored = data != 0
    return _Arrays("source", {columns.user: rows[stored], columns.item: items[stored]}, columns)


def _open_array(source: NDArray[Any], columns: Columns) -> EventTable:
    if source.ndim != 2 or source.shape[1] not in (2, 3) or source.dtype.kind not in "iu":
        expected = "integers of shape (n, 2), users and items, or (n, 3), with timestamps"
        kind = "several columns (a dict has them by name)" if source.dtype.names else source.dtype
        _checks.fail("source", expected, f"{kind} of shape {source.shape}")
    source = np.asarray(source)  # columns of a np.matrix would have two dimensions
    arrays = {columns.user: source[:, 0], columns.item: source[:, 1]}
    if columns.time is not None:
        arrays[columns.time] = source[:, 2]
    return _Arrays("source", arrays, columns)


def _open_rows(rows: list[Any] | tuple[Any, ...], columns: Columns) -> EventTable:
    """Take a list of dicts, or of tuples of user, item and time."""
    if all(isinstance(row, Mapping) for row in rows):
        # Rows of JSON often leave out what is null.
        names = [name for name in columns.all() if any(name in row for row in rows)]
        return _Arrays("source", {name: [row.get(name) for row in rows] for name in names}, columns)
    has_time = len(rows[0]) != 2
    order = [columns.user, columns.item, *[columns.time or "a time"] * has_time]
    for i, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != len(order):
            expected = f"a tuple of {', '.join(order)}, or a dict"
            _checks.fail(f"source[{i}]", expected, repr(row)[:100])
    users, items, *times = map(list, zip(*rows, strict=True))
    arrays = {columns.user: users, columns.item: items}
    if not has_time:
        columns = columns._replace(time=None)
    elif columns.time is not None:
        arrays[columns.time] = times[0]
    return _Arrays("source", arrays, columns)


def _hint(source: Any) -> str:
    if hasattr(source, "collect"):
        return "; its collect() is a table"
    if isinstance(source, Iterator):
        return "; list() makes rows of it"
    return ""


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def open_events(source: Any, columns: Columns) -> list[EventTable]:
    """Return the tables of a source, which `read_interactions` reads one after the other."""
    if _is_path(source):
        return _open_files(find_logs("source", source), columns)
    if isinstance(source, (list, tuple)) and source and all(map(_is_path, source)):
        found = [find_logs(f"source[{i}]", path) for i, path in enumerate(source)]
        return _open_files(list(chain.from_iterable(found)), columns)
    if hasattr(source, "__arrow_c_stream__"):
        return [_open_stream(source, columns)]
    if hasattr(source, "tocoo"):  # tested before mappings, because a matrix may be one
        return [_open_matrix(source, columns._replace(time=None))]
    if isinstance(source, Mapping):
        return [_Arrays("source", source, columns)]
    if isinstance(source, np.ndarray):
        has_time = source.ndim == 2 and source.shape[1] != 2
        return [_open_array(source, columns if has_time else columns._replace(time=None))]
    rows = isinstance(source, (list, tuple)) and len(source) > 0
    if rows and isinstance(source[0], (Mapping, list, tuple)):
        return [_open_rows(source, columns)]
    _checks.fail(
        "source",
        "a table, a path, paths, a dict of columns, a list of rows, an array of pairs or a sparse "
        "matrix",
        type(source).__name__ + _hint(source),
    )
