"""Interaction logs: who took which item when, read from anywhere, as codes grouped by user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss.io.copies import Copies
from numba_ss.io.progress import Progress, check_show
from numba_ss.logs.columns import Integers
from numba_ss.logs.event_log import Codes, EventLog, Feature, Vocabularies
from numba_ss.logs.keys import Keys
from numba_ss.logs.sources import Columns, EventTable, open_events
from numba_ss.logs.times import Times


@dataclass(frozen=True, eq=False)
class Interactions:
    """A log of events, as codes, grouped by user.

    Attributes
    ----------
    user_keys, item_keys : Keys
        What the codes of users and of items stand for.
    offsets : ndarray of int64, shape (num_users + 1,)
        The events of user u are those in [offsets[u], offsets[u + 1]).
    items : ndarray of int32, shape (num_events,)
        Item codes, those of each user in order of time.
    timestamps : ndarray of int64 or float64, shape (num_events,), or None
        Times of the events; None if the events of a user are a set.
    user_features, item_features : dict of str to Feature
        By the name of the column.
    time_unit : str
        What the timestamps are: "integers", "floats", "timestamps in ns" ...
    split : str
        How it was parted from another log, in words; "" if it was not.

    See Also
    --------
    read_interactions : makes one of a table, files or arrays
    """

    user_keys: Keys
    item_keys: Keys
    offsets: Integers
    items: Codes
    timestamps: Times | None = None
    user_features: dict[str, Feature] = field(default_factory=dict)
    item_features: dict[str, Feature] = field(default_factory=dict)
    time_unit: str = ""
    split: str = ""

    @property
    def num_users(self) -> int:
        """Users, those without an event included."""
        return len(self.user_keys)

    @property
    def num_items(self) -> int:
        """Items, those without an event included."""
        return len(self.item_keys)

    @property
    def num_events(self) -> int:
        """Events."""
        return len(self.items)

    def counts(self) -> Integers:
        """Return how many events each item has.

        Returns
        -------
        ndarray of int64, shape (num_items,)
            By code; 0 for an item that is known from elsewhere only.
        """
        return np.bincount(self.items, minlength=self.num_items)

    def history(self, user_code: int) -> Codes:
        """Return the items of a user.

        Parameters
        ----------
        user_code : int
            In [0, num_users).

        Returns
        -------
        ndarray of int32
            Item codes, in order of time; a view.
        """
        user = _checks.integer("user_code", user_code, 0, self.num_users - 1)
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def __repr__(self) -> str:
        sizes = f"{self.num_users} users, {self.num_items} items, {self.num_events} events"
        return f"Interactions({sizes}, {'no times' if self.timestamps is None else 'timed'})"


def column_names(name: str, value: Any) -> tuple[str, ...]:
    """Return the names of columns, checked."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        _checks.fail(name, "a list of columns", repr(value))
    for i, column in enumerate(value):
        _column_name(f"{name}[{i}]", column)
    return tuple(value)


def _column_name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        _checks.fail(name, "the name of a column", repr(value))
    return value


def _columns(
    user: Any, item: Any, timestamp: Any, user_features: Any, item_features: Any
) -> Columns:
    columns = Columns(
        _column_name("user", user), _column_name("item", item),
        None if timestamp is None else _column_name("timestamp", timestamp),
        column_names("user_features", user_features), column_names("item_features", item_features),
    )
    if len({columns.user, columns.item, columns.time}) < 3:
        _checks.fail("user, item, timestamp", "different columns", columns[:3])
    return columns


def _total(tables: list[EventTable]) -> int | None:
    totals = [table.total() for table in tables]
    return None if None in totals else sum(total or 0 for total in totals)


def read_interactions(
    source: Any, *, user: str = "user", item: str = "item", timestamp: str | None = "timestamp",
    user_features: Sequence[str] = (), item_features: Sequence[str] = (),
    known: Vocabularies | None = None, progress: bool | str = "auto",
) -> Interactions:
    """Read a log of events in one pass.

    Only the encoded log is held in memory, never the columns as they are: 16 bytes an event
    (4 of them the user, 4 the item, 8 the time) and 4 more for each feature, four times that
    for a moment at the end, when it is sorted; besides that the distinct keys.

    Parameters
    ----------
    source : table, path, list of paths, dict, ndarray or sparse matrix
        One row an event. One of

        - an object with ``__arrow_c_stream__``, such as a data frame of pandas or polars, a
          table or reader of pyarrow, a relation of DuckDB; one that can be read once will do;
        - Parquet files, or CSV and TSV files (.csv, .tsv, .tab, .dat, .data, .txt), also
          compressed (.csv.gz ...): a path, a list of
          paths, a folder with all folders in it, or a pattern such as ``"log/*.parquet"``.
          Files that begin with a dot or an underscore are passed over; a folder that is
          called ``name=value`` makes a column of strings. In CSV, the separator may be any
          that parts the columns in the header; without a header, columns are "0", "1" ...
          Keys are integers where each is the plain text of one, else strings, so that "007"
          stays what it is; an empty cell is null. Of pipes, of "-" (standard input) and of
          paths with a scheme, such as ``s3://`` (by fsspec), temporary copies are made;
        - a dict of column names and arrays or lists;
        - integers of shape (n, 2), users and items, or (n, 3), with timestamps;
        - a sparse matrix of SciPy's, users by items. Each stored number > 0 is one event; keys
          are the numbers of the rows and columns that have one.
    user, item : str
        The columns of user and item keys: strings, or any integers that int64 can hold.
    timestamp : str or None, default="timestamp"
        The column of times: numbers, timestamps, dates or their text. Those of different
        units are brought to one, where all numbers are plausible as s, ms, us or ns since
        1970; other numbers are compared as they are. None says that events have no time, as
        those of pairs and matrices never have: then each user's are a set, kept in the order
        in which they came.
    user_features, item_features : list of str, optional
        Columns of strings, integers, or True and False, which become 1 and 0. The value of a
        user or an item is that of its last event; null makes it unknown.
    known : Interactions, or an object with its keys and features, optional
        From an earlier log. Its keys keep their codes, new ones follow; users and items
        without an event in this log keep their features, and so do those whose last known
        event is later than those of this log.
    progress : {"auto", True, False}
        As `Progress` has it: a bar on a terminal, lines in the log elsewhere, nothing.

    Returns
    -------
    Interactions
        Events in order of time, those of the same time in the order in which they came; an
        event that comes twice is there twice. Users are coded by first appearance, items by
        falling count, those of the same count by first appearance.

    Raises
    ------
    ArgumentError
        If there is no event, a column is missing or holds something else, or a user, an item
        or a time is null. Rows are counted from 0 in each file.

    Examples
    --------
    >>> log = read_interactions({
    ...     "user": ["ann", "bob", "ann", "ann"],
    ...     "item": ["tea", "rum", "rum", "tea"],
    ...     "timestamp": [5, 1, 3, 4],
    ...     "country": ["GB", None, "FR", "FR"],
    ... }, user_features=["country"], progress=False)
    >>> log
    Interactions(2 users, 2 items, 4 events, timed)
    >>> log.item_keys.take(log.history(0)), log.timestamps
    (array(['rum', 'tea', 'tea'], dtype=object), array([3, 4, 5, 1]))
    >>> log.user_features["country"].codes
    array([1, 0], dtype=int32)
    """
    columns = _columns(user, item, timestamp, user_features, item_features)
    check_show("progress", progress)
    with Copies() as copies:
        tables = open_events(copies.local("source", source, ".csv"), columns)
        log = EventLog(tables[0].columns, known)
        num_events = 0
        with Progress(_total(tables), "events", "read interactions", progress) as bar:
            for table in tables:
                for batch in table.batches():
                    log.add(table.name, batch)
                    num_rows = len(batch.columns[columns.user])
                    num_events += num_rows
                    bar.update(num_rows)
    if not num_events:
        _checks.fail("source", "at least one event", "none")
    return Interactions(*log.grouped())
