"""Tables through Arrow, in batches of rows: objects that export a stream, and Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.text_files import UnchangedFile


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type is one of strings, or a dictionary of strings."""
    types = import_optional("pyarrow", "reading tables").types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    is_view = getattr(types, "is_string_view", lambda kind: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or is_view(kind))


def _alike(one: Any, other: Any) -> bool:
    """Return whether types are equal, but for the many types that strings and lists have."""
    types = import_optional("pyarrow", "reading tables").types
    lists = [types.is_list(kind) or types.is_large_list(kind) for kind in (one, other)]
    if all(lists):
        return _alike(one.value_type, other.value_type)
    return bool(one == other or (is_text(one) and is_text(other)))


def listed(schema: Any) -> str:
    """Return the names and types of the columns as text for messages."""
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _rows(num_rows: int, num_bytes: int, part: int) -> int:
    """Return how many rows make a batch of about `part` bytes."""
    return max(1, part * num_rows // max(num_bytes, 1))


@contextmanager
def arrow_errors(name: str, expected: str) -> Iterator[None]:
    """Turn errors of Arrow into an `ArgumentError` that names the table."""
    arrow = import_optional("pyarrow", "reading tables")
    try:
        yield
    except (arrow.ArrowException, OSError) as error:
        number = getattr(error, "errno", None)
        if number is not None:  # an error of the operating system
            raise OSError(number, os.strerror(number), name) from error
        _checks.fail(name, expected, f"another one ({str(error)[:300]})")


class ArrowStream:
    """Some columns of an object that exports an Arrow stream.

    Parameters
    ----------
    table : object
        An object with ``__arrow_c_stream__``, such as a data frame or a reader of record batches.
        It is opened at once, and once more for each further pass.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._opened: Any = self._open()
        self.schema: Any = self._opened.schema

    def _open(self) -> Any:
        arrow = import_optional("pyarrow", "reading tables")
        try:
            return arrow.RecordBatchReader.from_stream(self._table)
        except arrow.ArrowInvalid:  # a single column
            return arrow.table({"": arrow.chunked_array(self._table)}).to_reader()

    def total(self) -> int | None:
        """Return None, because a stream does not tell its number of rows."""
        return None

    def batches(self, columns: Sequence[int], part: int) -> Iterator[Any]:
        """Yield the columns at some positions, in record batches of about `part` bytes at most."""
        opened, self._opened = self._opened or self._open(), None
        for whole in opened:
            batch = whole.select(list(columns))
            rows = _rows(len(batch), batch.nbytes, part)
            for start in range(0, len(batch), rows):
                yield batch.slice(start, rows)


class ParquetFiles:
    """Some columns of Parquet files, which must not change between passes.

    Parameters
    ----------
    paths : sequence of Path
        The files; the columns that are read must have the same types in all of them, except that
        strings may be stored in several ways: pandas, Spark and others differ in this.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [UnchangedFile(path) for path in paths]
        with self._open(paths[0]) as opened:
            self.schema: Any = opened.schema_arrow

    def _open(self, path: Path) -> Any:
        parquet = import_optional("pyarrow.parquet", "reading Parquet files")
        with arrow_errors(str(path), "a Parquet file"):
            # Files without checksums can still be read.
            return parquet.ParquetFile(path, page_checksum_verification=True)

    def total(self) -> int | None:
        """Return the number of rows of all files."""
        num_rows = 0
        for file in self._files:
            with self._open(file.path) as opened:
                num_rows += opened.metadata.num_rows
        return num_rows

    def batches(self, columns: Sequence[int], part: int) -> Iterator[Any]:
        """Yield some columns, in the order of the file, in record batches of about `part` bytes."""
        fields = [self.schema.field(i) for i in columns]
        for file in self._files:
            file.check()
            with self._open(file.path) as opened:
                own = {field.name: field.type for field in opened.schema_arrow}
                for field in fields:
                    if field.name not in own or not _alike(own[field.name], field.type):
                        got = f"no column {field.name} ({field.type})"
                        _checks.fail(str(file.path), "the columns of the other files", got)
                groups = [opened.metadata.row_group(i) for i in range(opened.num_row_groups)]
                num_bytes = sum(group.total_byte_size for group in groups)
                rows = _rows(opened.metadata.num_rows, num_bytes, part)
                batches = opened.iter_batches(rows, columns=[field.name for field in fields])
                while (batch := _next(batches, file.path)) is not None:
                    yield batch


def _next(batches: Iterator[Any], path: Path) -> Any:
    with arrow_errors(str(path), "a sound Parquet file"):
        return next(batches, None)
