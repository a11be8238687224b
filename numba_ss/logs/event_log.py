"""Events in the order of their table, as codes, which are finally grouped by user."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Integers
from numba_ss.logs.columns import Place
from numba_ss.logs.keys import GrowingKeys, Keys
from numba_ss.logs.sources import Batch, Columns
from numba_ss.logs.times import Stamps, Times, times, to_one_unit

Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Feature:
    """A categorical feature: one value of each user, or of each item.

    Attributes
    ----------
    codes : ndarray of int32, shape (num_users,) or (num_items,)
        0 if the value is unknown, else 1 + its code in `keys`.
    keys : Keys
        The values.

    Examples
    --------
    >>> from numba_ss.logs.interactions import read_interactions
    >>> log = read_interactions({
    ...     "user": ["ann", "bob"], "item": ["tea", "rum"], "country": ["GB", None],
    ... }, timestamp=None, user_features=["country"], progress=False)
    >>> country = log.user_features["country"]
    >>> country.codes, country.keys.take([0])
    (array([1, 0], dtype=int32), array(['GB'], dtype=object))
    """

    codes: Codes
    keys: Keys


class Vocabularies(Protocol):
    """Keys and features that are known before a log is read, such as those of `Interactions`."""

    @property
    def user_keys(self) -> Keys:
        """The users."""
        ...

    @property
    def item_keys(self) -> Keys:
        """The items."""
        ...

    @property
    def user_features(self) -> dict[str, Feature]:
        """Features of users by name."""
        ...

    @property
    def item_features(self) -> dict[str, Feature]:
        """Features of items by name."""
        ...

    # If it also has the `time_unit` and the timestamps of an `Interactions`, these are used, too.


_NOTHING: Any = SimpleNamespace(
    user_keys=Keys(), item_keys=Keys(), user_features={}, item_features={}
)


class GroupedEvents(NamedTuple):
    """The parts of `Interactions`."""

    user_keys: Keys
    item_keys: Keys
    offsets: Integers
    items: Codes
    timestamps: Times | None
    user_features: dict[str, Feature]
    item_features: dict[str, Feature]
    time_unit: str


class _Column:
    """The codes of a column, collected batch by batch."""

    def __init__(self, name: str, known: Keys | None, *, feature: bool = False) -> None:
        self.name = name
        self.keys = GrowingKeys(known)
        self._feature = feature
        self._parts: list[Codes] = []

    def add(self, table: str, batch: Batch) -> None:
        place = Place(f"{table}, column {self.name!r}", batch.row)
        codes = self.keys.encode(
            batch.columns[self.name], place, feature=self._feature, text=batch.text
        )
        self._parts.append(codes)

    def codes(self) -> Codes:
        """Return all codes; this frees the collected parts."""
        codes = np.concatenate(self._parts)
        self._parts.clear()
        return codes


class _Times:
    """The times of all events, collected batch by batch."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._names: list[str] = []
        self._parts: list[Stamps] = []

    def add(self, table: str, batch: Batch) -> None:
        if self.name is not None:
            place = Place(f"{table}, column {self.name!r}", batch.row)
            self._names.append(place.name)
            self._parts.append(times(batch.columns[self.name], place))

    def values(self, known: Any) -> tuple[str, Times | None, Times | None]:
        """Return a unit, all times in it, and the times of known events; free the parts."""
        if self.name is None:
            return "", None, None
        kept = getattr(known, "timestamps", None)
        before = [] if kept is None else [(known.time_unit, kept)]
        names = [self.name] * len(before) + self._names
        unit, parts = to_one_unit(names, [*before, *self._parts])
        self._parts.clear()
        values: Any = np.concatenate(parts[len(before) :])
        return unit, values, parts[0] if before else None


class EventLog:
    """Events in the order in which they come, as codes.

    Parameters
    ----------
    columns : Columns
        What to read.
    known : Vocabularies, optional
        Keys that have codes already.
    """

    def __init__(self, columns: Columns, known: Vocabularies | None = None) -> None:
        self._known = known = _NOTHING if known is None else known
        self._users = _Column(columns.user, known.user_keys)
        self._items = _Column(columns.item, known.item_keys)
        self._times = _Times(columns.time)
        self._user_features, self._item_features = (
            {
                name: _Column(name, old[name].keys if name in old else None, feature=True)
                for name in names
            }
            for names, old in (
                (columns.user_features, known.user_features),
                (columns.item_features, known.item_features),
            )
        )

    def add(self, table: str, batch: Batch) -> None:
        """Add the rows of a batch; `table` is the name of their table."""
        self._times.add(table, batch)
        for column in (
            self._users, self._items, *self._user_features.values(), *self._item_features.values()
        ):
            column.add(table, batch)

    def grouped(self) -> GroupedEvents:
        """Group the events by user, and number new items by count; the log is used up."""
        users = self._users.codes()
        unit, stamps, known_stamps = self._times.values(self._known)
        items, item_keys = _by_count(self._items, len(self._known.item_keys))
        user_keys = self._users.keys.keys()
        # A stable sort keeps events of the same time in their order.
        by_time = np.arange(len(users)) if stamps is None else np.argsort(stamps, kind="stable")
        user_times, item_times = _last_times(self._known, known_stamps)
        item_features = _features(
            self._item_features, self._known.item_features, items, by_time, len(item_keys),
            item_times, stamps,
        )
        user_features = _features(
            self._user_features, self._known.user_features, users, by_time, len(user_keys),
            user_times, stamps,
        )
        order = by_time[np.argsort(users[by_time], kind="stable")]
        counts = np.bincount(users, minlength=len(user_keys))
        return GroupedEvents(
            user_keys, item_keys, np.append(0, np.cumsum(counts)), items[order],
            None if stamps is None else stamps[order], user_features, item_features, unit,
        )


def _by_count(column: _Column, num_known: int) -> tuple[Codes, Keys]:
    """Return items and keys, the known ones first, then the new ones by falling count."""
    codes, keys = column.codes(), column.keys.keys()
    counts = np.bincount(codes, minlength=len(keys))
    new = num_known + np.argsort(-counts[num_known:], kind="stable")
    order = np.concatenate([np.arange(num_known), new])
    rank = np.empty(len(keys), np.int32)
    rank[order] = np.arange(len(keys))
    return rank[codes], Keys(keys.take(order))


def _last_times(known: Any, times: Times | None) -> tuple[Any, Any]:
    """Return the times of the last events of the known users and items, or None if unknown."""
    if times is None or not (known.user_features or known.item_features):
        return None, None
    lowest = np.iinfo(np.int64).min if times.dtype.kind == "i" else -np.inf
    users, items = (
        np.full(len(keys), lowest, times.dtype) for keys in (known.user_keys, known.item_keys)
    )
    owners = np.repeat(np.arange(len(users)), np.diff(known.offsets))
    np.maximum.at(users, owners, times)
    np.maximum.at(items, known.items, times)
    return users, items


def _features(
    columns: dict[str, _Column], known: dict[str, Feature], owners: Codes, by_time: Integers,
    num_owners: int, known_times: Any, stamps: Any,
) -> dict[str, Feature]:
    """Return for each user or item the value of the last event, or else the known one."""
    if not columns and not known:
        return {}
    last = np.full(num_owners, -1)
    last[owners[by_time]] = by_time  # the last assignment of each owner remains
    seen = last >= 0
    if known_times is not None:
        old = np.arange(num_owners) < len(known_times)
        late = old & seen
        late[late] = stamps[last[late]] < known_times[np.flatnonzero(late)]
    else:
        late = np.zeros(num_owners, bool)
    result = {}
    for name in dict.fromkeys([*known, *columns]):
        codes = np.zeros(num_owners, np.int32)
        if name in known:
            codes[: len(known[name].codes)] = known[name].codes
        if name in columns:
            # A known value of a later time is kept, unless it is null.
            new = seen & ~(late & (codes > 0))
            codes[new] = columns[name].codes()[last[new]] + 1
        keys = columns[name].keys.keys() if name in columns else known[name].keys
        result[name] = Feature(codes, keys)
    return result
