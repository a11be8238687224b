"""Logs of events: which user took which item, and when. They are read from many sources.

Users and items become codes, which are small integers, and events are grouped by user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Integers, Show
from numba_ss.io.copies import Copies
from numba_ss.io.progress import Progress, check_show
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
        The features by the names of their columns.
    time_unit : str
        The kind and the unit of the timestamps: "integers", "floats", "timestamps in ns" ...
    split : str
        A description of how it was split from another log; "" if it was not.

    See Also
    --------
    read_interactions : read a log from a table, files or arrays

    Examples
    --------
    >>> log = read_interactions(np.array([[7, 5], [7, 6], [9, 5]]), progress=False)
    >>> log.num_users, log.counts(), log.item_keys.take(log.history(0))
    (2, array([2, 1]), array([5, 6]))
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
        """Number of users, including those without an event."""
        return len(self.user_keys)

    @property
    def num_items(self) -> int:
        """Number of items, including those without an event."""
        return len(self.item_keys)

    @property
    def num_events(self) -> int:
        """Number of events."""
        return len(self.items)

    def counts(self) -> Integers:
        """Return how many events each item has.

        Returns
        -------
        ndarray of int64, shape (num_items,)
            By code; 0 for an item that only occurs in an earlier log.

        Examples
        --------
        >>> log = read_interactions(np.array([[7, 5], [9, 6], [9, 5]]), progress=False)
        >>> log.item_keys.take([0, 1]), log.counts()
        (array([5, 6]), array([2, 1]))
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

        Examples
        --------
        >>> log = read_interactions({
        ...     "user": ["ann", "bob", "ann"], "item": ["tea", "rum", "rum"],
        ...     "timestamp": [5, 1, 3],
        ... }, progress=False)
        >>> log.item_keys.take(log.history(0))
        array(['rum', 'tea'], dtype=object)
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
        if _column_name(f"{name}[{i}]", column) in value[:i]:
            _checks.fail(name, "different columns", value)
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
    known: Vocabularies | None = None, progress: Show = "auto",
) -> Interactions:
    """Read a log of events in one pass.

    Only the encoded log and the distinct keys are held in memory, never whole columns. An event
    takes 16 bytes (4 for the user, 4 for the item, 8 for the time) and 4 more for each feature.
    At the end the log is sorted; while this lasts, it takes four times as much.

    Parameters
    ----------
    source : table, path, list of paths, dict, list, ndarray or sparse matrix
        One row an event. One of

        - an object with ``__arrow_c_stream__``, such as a data frame of pandas or polars, a
          table or reader of pyarrow, a relation of DuckDB; it is read once;
        - Parquet files, or CSV and TSV files (.csv, .tsv, .tab, .dat, .data, .txt), also
          compressed (.csv.gz ...): a path, a list of paths, a folder with its subfolders, or a
          pattern such as ``"log/*.parquet"``. Files whose names begin with a dot or an
          underscore are left out; a folder ``name=value`` makes a column of strings. In CSV,
          the separator is found from the header; without a header, columns are called "0",
          "1" ...; only a first row 0, 1 ... is still taken for a header. Keys are integers if
          every cell is an integer in its usual form, else strings (a single "007" makes them
          strings); an empty cell is null. Pipes, "-" (standard input) and paths with a scheme,
          such as ``s3://`` (by fsspec), are first copied to a temporary file;
        - a dict of column names and arrays or lists, a list of dicts, or a list of tuples of
          user, item and time;
        - integers of shape (n, 2), users and items, or (n, 3), with timestamps;
        - a sparse matrix of SciPy, users by items. Each stored number > 0 is one event; keys
          are the numbers of the rows and columns that have one.
    user, item : str
        The columns of user and item keys: strings, or any integers that int64 can hold.
    timestamp : str or None, default="timestamp"
        The column of times: numbers, timestamps, dates or their text. If all numbers are
        plausible as s, ms, us or ns since 1970, different units are converted to one; other
        numbers are compared as they are. With None, events have no time, as in pairs and
        matrices: then the events of a user are a set, and are kept in the order of the source.
    user_features, item_features : list of str, optional
        Columns of strings, integers, or True and False, which become 1 and 0. The value of a
        user or an item is that of its last event; null makes it unknown.
    known : Interactions, or an object with its keys and features, optional
        An earlier log. Its keys keep their codes, and new keys get the codes after them. A user or
        an item keeps the features of the earlier log if it has no event in this log, or if its
        last event in the earlier log is later.
    progress : {"auto", True, False}
        Whether to show a progress bar, see `Progress`.

    Returns
    -------
    Interactions
        Events in order of time; events of the same time keep their order, and repeated events
        are kept. Users are numbered by first appearance, items by falling count, and items of
        the same count by first appearance.

    Raises
    ------
    ArgumentError
        If there is no event, if a column is missing or has another type, or if a user, an item
        or a time is null. The error counts rows from 0 in each file.

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
    if known is not None and not hasattr(known, "item_features"):
        _checks.fail("known", "None, or what read_interactions returned", type(known).__name__)
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
