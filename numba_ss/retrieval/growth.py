"""What a retrieval model makes of its log: rows of features, held-out events, and growth.

A model grows when it learns from a later log, which may have new users, items and values.
"""

from __future__ import annotations

import logging
import reprlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Integers
from numba_ss.logs.event_log import Feature
from numba_ss.logs.interactions import Interactions
from numba_ss.logs.keys import Keys
from numba_ss.logs.times import to_one_unit
from numba_ss.retrieval.examples import Events
from numba_ss.retrieval.model import RetrievalModel

_log = logging.getLogger("numba_ss")


def feature_columns(options: dict[str, Any]) -> dict[str, list[str]]:
    """Return the columns of the features of users and of items.

    The user itself may be a feature of users; it needs no column, see `FeatureRows`.
    """
    of_users = [name for name in options["user_features"] if name != options["user"]]
    return {"user_features": of_users, "item_features": list(options["item_features"])}


@dataclass(frozen=True)
class FeatureRows:
    """Where the rows of each feature begin in a model's table.

    The features of users come first, then those of items. The first row of each feature is for
    unknown values. `by_id` says whether the first user feature is the user itself.
    """

    by_id: bool
    user: tuple[int, ...]
    item: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, log: Interactions, by_id: bool) -> FeatureRows:
        """Return the layout for the features of a log."""
        sizes = [log.num_users + 1] * by_id
        sizes += [len(f.keys) + 1 for f in log.user_features.values()]
        num_user = len(sizes)
        sizes += [len(f.keys) + 1 for f in log.item_features.values()]
        starts = [int(n) for n in np.cumsum([0, *sizes])[:-1]]
        return cls(by_id, tuple(starts[:num_user]), tuple(starts[num_user:]), tuple(sizes))

    @property
    def total(self) -> int:
        """Number of rows of all features."""
        return sum(self.sizes)

    def of_users(self, log: Interactions, users: Integers) -> Integers:
        """Return the rows of users, (users, features); -1 stands for an unknown user."""
        columns: list[NDArray[Any]] = [users + 1] if self.by_id else []
        columns += [_codes(feature, users) for feature in log.user_features.values()]
        return _stacked(columns, self.user, len(users))

    def of_items(self, log: Interactions) -> Integers:
        """Return the rows of all items, followed by those of the empty history."""
        items = np.append(np.arange(log.num_items), -1)
        columns = [_codes(feature, items) for feature in log.item_features.values()]
        return _stacked(columns, self.item, len(items))


def _codes(feature: Feature, which: Integers) -> NDArray[Any]:
    return np.where(which < 0, 0, np.append(feature.codes, np.int32(0))[which])


def _stacked(columns: list[NDArray[Any]], starts: tuple[int, ...], length: int) -> Integers:
    out = np.empty((length, len(columns)), np.int64)
    for f, (column, start) in enumerate(zip(columns, starts, strict=True)):
        out[:, f] = column + start
    return out


def training_events(log: Interactions, rows: FeatureRows, held_out: NDArray[np.bool_]) -> Events:
    """Return a log's events, without the last one of each user in `held_out`."""
    return Events(
        log.items, log.offsets[:-1], log.offsets[1:] - held_out,
        rows.of_users(log, np.arange(log.num_users)), rows.of_items(log),
    )


def choose_held_out(
    log: Interactions, share: float | None, seed: int, chosen: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Draw the users whose last event is held out.

    A user can be drawn if three things are true: the user has at least two events; the item of the
    last event does not occur in the user's earlier ones; and the last event is one of the `chosen`.
    """
    held_out = np.zeros(log.num_users, bool)
    if share is not None:
        sizes = np.diff(log.offsets)
        users = np.repeat(np.arange(log.num_users), sizes)
        last = log.offsets[1:] - 1
        is_last_item = log.items == log.items[last[users]]
        able = (np.bincount(users[is_last_item], minlength=log.num_users) == 1) & (sizes >= 2)
        if chosen is not None:
            able &= chosen[last]
        candidates = np.flatnonzero(able)
        count = round(share * len(candidates))
        if not count:
            expected = "a share that holds a user whose last item is a new one after others"
            _checks.fail("validation", expected, f"{share} of {len(candidates)} such users")
        held_out[np.random.default_rng([seed, 2]).choice(candidates, count, replace=False)] = True
    return held_out


def positions_of(
    log: Interactions, held_out: NDArray[np.bool_], chosen: NDArray[np.bool_] | None = None
) -> Integers:
    """Return the positions of the events to learn from: all or the `chosen`, but not held out."""
    learned = np.ones(log.num_events, bool) if chosen is None else chosen.copy()
    learned[log.offsets[1:][held_out] - 1] = False
    return np.flatnonzero(learned)


def merge_logs(log: Interactions, more: Interactions) -> tuple[Interactions, NDArray[np.bool_]]:
    """Return both logs as one, with the keys of the second, and which events are new.

    The keys of the second log must begin with those of the first. The events of a user are
    ordered by time; at the same time, those of the first log come first.
    """
    for name in ("user_keys", "item_keys"):
        require_growth("interactions", name, getattr(log, name), getattr(more, name))
    for kind in ("user_features", "item_features"):
        for name, feature in getattr(log, kind).items():
            later = getattr(more, kind)[name]
            require_growth("interactions", f"{kind} {name!r}", feature.keys, later.keys)
    if (log.timestamps is None) != (more.timestamps is None):
        _checks.fail("timestamp", "times in both logs or in none", "times in one of them")
    lengths = np.diff(log.offsets), np.diff(more.offsets)
    users = np.concatenate([np.repeat(np.arange(len(n)), n) for n in lengths])
    is_new = np.repeat([False, True], [log.num_events, more.num_events])
    if log.timestamps is None or more.timestamps is None:
        unit, stamps = log.time_unit, None
        order = np.argsort(users, kind="stable")
    else:
        both = [(log.time_unit, log.timestamps), (more.time_unit, more.timestamps)]
        unit, parts = to_one_unit(["timestamp as before", "timestamp"], both)
        joined: Any = np.concatenate(parts)
        order = np.lexsort((joined, users))
        stamps = joined[order]
    counts = np.bincount(users, minlength=more.num_users)
    items = np.concatenate([log.items, more.items])[order]
    offsets = np.append(0, np.cumsum(counts))
    whole = Interactions(
        more.user_keys, more.item_keys, offsets, items, stamps, more.user_features,
        more.item_features, unit,
    )
    return whole, is_new[order]


def unknown_keys(log: Interactions, more: Interactions) -> str:
    """Return a text that says how many users and items of a further log are new; "" if none are.

    The keys of the second log must begin with those of the first. If most keys are new, the keys
    of the two logs may have been made in different ways, and a warning says so.
    """
    users, items = np.flatnonzero(np.diff(more.offsets)), np.unique(more.items).astype(np.int64)
    said = [
        _unknown("users", more.user_keys, users, log.num_users),
        _unknown("items", more.item_keys, items, log.num_items),
    ]
    return " and ".join(filter(None, said)) + " not known" * any(said)


def _unknown(what: str, keys: Keys, codes: Integers, num_known: int) -> str:
    new = codes[codes >= num_known]
    if 2 * len(new) > len(codes):
        _log.warning(
            "%d of %d %s are not known: %s ...; known ones are %s ...", len(new), len(codes), what,
            *(
                ", ".join(map(reprlib.repr, keys.take(some[:3]).tolist()))
                for some in (new, np.arange(num_known))
            ),
        )
    return f"{len(new)} of {len(codes)} {what}" * bool(len(new))


def require_growth(argument: str, name: str, old: Keys, new: Keys) -> None:
    """Require that the keys of another log begin with the old ones."""
    first = np.arange(len(old))
    if new is not old and not (
        len(new) >= len(old) and np.array_equal(old.take(first), new.take(first))
    ):
        expected = "a log that was read with known=model.log_, or split off the same log"
        _checks.fail(argument, expected, f"one with other {name}")


def warm_start(
    model: RetrievalModel, rows: FeatureRows, old: RetrievalModel, old_rows: FeatureRows
) -> None:
    """Copy the rows of a smaller model; those of new users, items and values stay as they are."""
    known, num_items = old.arrays(), old.num_items
    for name, array in model.arrays().items():
        if name.startswith("dense"):
            array[:] = known[name]
        elif name.startswith("item"):
            array[:num_items] = known[name][:num_items]
            array[-1:] = known[name][-1:]
        elif len(array):
            pairs = zip(
                rows.user + rows.item, old_rows.user + old_rows.item, old_rows.sizes, strict=True
            )
            for start, old_start, size in pairs:
                array[start : start + size] = known[name][old_start : old_start + size]
    model.tower.transpose()


def pack_log(log: Interactions) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a log as arrays, and a layout from which `unpack_log` rebuilds it."""
    arrays: dict[str, NDArray[Any]] = {"log_offsets": log.offsets, "log_items": log.items}
    if log.timestamps is not None:
        arrays["log_timestamps"] = log.timestamps
    keys = {"user_keys": log.user_keys, "item_keys": log.item_keys}
    layout: dict[str, Any] = {"time_unit": log.time_unit, "split": log.split}
    for kind in ("user_features", "item_features"):
        features: dict[str, Feature] = getattr(log, kind)
        layout[kind] = list(features)
        for f, feature in enumerate(features.values()):
            arrays[f"{kind}_{f}_codes"] = feature.codes
            keys[f"{kind}_{f}_keys"] = feature.keys
    for name, values in keys.items():
        arrays |= {f"{name}_{part}": array for part, array in values.to_arrays().items()}
    return arrays, layout


def unpack_log(name: str, arrays: dict[str, NDArray[Any]], layout: dict[str, Any]) -> Interactions:
    """Return the log that `pack_log` packed."""

    def keys(prefix: str) -> Keys:
        parts = ("integers", "words", "offsets")
        found = {part: arrays[f"{prefix}_{part}"] for part in parts if f"{prefix}_{part}" in arrays}
        return Keys.from_arrays(found, name)

    def features(kind: str) -> dict[str, Feature]:
        return {
            column: Feature(arrays[f"{kind}_{f}_codes"], keys(f"{kind}_{f}_keys"))
            for f, column in enumerate(layout[kind])
        }

    for part in ("time_unit", "split"):
        if not isinstance(layout[part], str):
            _checks.fail(f"{name}, {part}", "text", type(layout[part]).__name__)
    log = Interactions(
        keys("user_keys"), keys("item_keys"), arrays["log_offsets"], arrays["log_items"],
        arrays.get("log_timestamps"), features("user_features"), features("item_features"),
        layout["time_unit"], layout["split"],
    )
    _require_sound(name, log)
    return log


def _require_sound(name: str, log: Interactions) -> None:
    """Require that a log from a file is consistent, because kernels use its codes unchecked."""
    offsets, num_events = log.offsets, len(log.items)
    sound = offsets.shape == (log.num_users + 1,) and offsets[0] == 0 and (
        offsets[-1] == num_events and bool((np.diff(offsets) >= 0).all())
    )
    if offsets.dtype != np.int64 or not sound:
        _checks.fail(name, f"rising offsets of {log.num_users} users", "others")
    codes = {"items": (log.items, num_events, log.num_items)}
    for owners, count, features in (
        ("users", log.num_users, log.user_features), ("items", log.num_items, log.item_features)
    ):
        for column, feature in features.items():
            codes[f"{column!r} of {owners}"] = feature.codes, count, len(feature.keys) + 1
    for what, (array, length, stop) in codes.items():
        fits = array.shape == (length,) and array.dtype == np.int32
        if not fits or (length and not 0 <= array.min() <= array.max() < stop):
            _checks.fail(name, f"{what}: {length} codes below {stop}", "others")
    stamps = log.timestamps
    if stamps is not None and (
        stamps.shape != (num_events,) or stamps.dtype not in (np.int64, np.float64)
    ):
        _checks.fail(name, f"times of {num_events} events", f"{stamps.dtype}, {stamps.shape}")


def require_tables(
    arrays: dict[str, NDArray[Any]], options: dict[str, Any], log: Interactions
) -> None:
    """Require that the tables of a file fit its options, before memory is allocated for them."""
    dim, units = options["embedding_dim"], options["hidden_units"]
    for kind, wanted in feature_columns(options).items():
        if list(getattr(log, kind)) != wanted:
            _checks.fail(f"log, {kind}", str(wanted), str(list(getattr(log, kind)))[:200])
    _checks.shaped("items", arrays["items"], (log.num_items + 1, dim), "num_items + 1, dim")
    widths = [dim, *units, dim] if units else []
    least = sum(inputs * outputs for inputs, outputs in pairwise(widths))
    if arrays["dense"].size < least:
        _checks.fail("dense", f"at least {least} numbers", arrays["dense"].size)
