"""Times of any form as int64 or float64 numbers, and conversion of their units.

A unit is "timestamps in ns" (or us, ms, s, D ...) since 1970, or "integers" or "floats" for
numbers whose meaning only the caller knows.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.arrow import is_text
from numba_ss.logs.columns import Place, is_null, plain, refuse_large

log = logging.getLogger("numba_ss")

Times = NDArray[np.int64] | NDArray[np.float64]
Stamps = tuple[str, Times]  # a unit, and times in this unit

_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")  # coarse to fine
# A number that is a time between 1990 and 2100 in one of four units is none in the others.
_SECONDS = (631_152_000, 4_102_444_800)
_SIZES = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.datetime(1970, 1, 1)
_BELOW_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")  # which datetime leaves out
_EXACT = 2**53  # a larger float64 may stand for several integers
_KINDS = "numbers, timestamps, or their text as 2024-12-31T10:00"


def times(column: Any, place: Place) -> Stamps:
    """Return the unit of a column of times, and int64 or float64 numbers.

    Text may hold integers, floats, or dates and times in ISO 8601; a time with a zone is
    converted to UTC.
    """
    if isinstance(column, np.ndarray):
        return _of_array(column, place)
    return _of_arrow(column, place)


class _Alone(Place):
    def __call__(self, i: int) -> str:
        return self.name


def single_time(name: str, value: Any) -> Stamps:
    """Return the unit and the number of one time; `name` is its name in messages."""
    return _of_objects([value], _Alone(name))


def _refuse_nulls(nulls: NDArray[np.bool_], place: Place) -> None:
    if nulls.any():
        _checks.fail(place(int(nulls.argmax())), "a time", "null")


def _finite(array: NDArray[Any], place: Place) -> Stamps:
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        _checks.fail(place(int(bad[0])), "a finite time", array[bad[0]])
    return "floats", array.astype(np.float64)


def _of_array(array: NDArray[Any], place: Place) -> Stamps:
    kind = array.dtype.kind
    if kind in "OUT":
        return _of_objects(array.tolist(), place)
    if kind == "f":
        return _finite(array, place)
    if kind == "M":
        _refuse_nulls(np.isnat(array), place)
        unit = np.datetime_data(array.dtype)[0]
        return f"timestamps in {unit}", array.astype(f"M8[{unit}]").astype(np.int64)
    if kind not in "iu":
        _checks.fail(place.name, _KINDS, array.dtype)
    if kind == "u":
        refuse_large(array, place)
    return "integers", array.astype(np.int64)


def _of_arrow(column: Any, place: Place) -> Stamps:
    arrow, array = import_optional("pyarrow", "reading tables"), plain(column, place.name)
    kind, types = array.type, arrow.types
    _refuse_nulls(array.is_null().to_numpy(zero_copy_only=False), place)
    if types.is_decimal(kind):
        array, kind = array.cast(arrow.float64()), arrow.float64()
    if types.is_integer(kind) or types.is_floating(kind):
        return _of_array(array.to_numpy(), place)
    if types.is_timestamp(kind) or types.is_date(kind):
        # Arrow cannot cast date32 to int64 directly.
        array = array.cast(arrow.int32()) if types.is_date32(kind) else array
        unit = kind.unit if types.is_timestamp(kind) else "D" if types.is_date32(kind) else "ms"
        return f"timestamps in {unit}", array.cast(arrow.int64()).to_numpy()
    if not is_text(kind):
        _checks.fail(place.name, _KINDS, kind)
    moments = arrow.timestamp("ns"), arrow.timestamp("ns", "UTC")
    compute = import_optional("pyarrow.compute", "reading tables")
    is_hex = compute.match_substring_regex(array, "[xX]")  # Arrow would read 0x10 as 16
    numbers = () if compute.any(is_hex).as_py() else (arrow.int64(), arrow.float64())
    for to in (*numbers, *moments):
        try:
            parsed = array.cast(to)
        except arrow.ArrowInvalid:
            continue
        return _of_arrow(arrow.chunked_array([parsed]), place)
    # Bytes that are not UTF-8 become text that is not a time, so that an error can show them.
    raw = array.cast(arrow.large_binary()).to_pylist()
    return _of_objects([text.decode(errors="replace") for text in raw], place)


class _Moment(int):
    """Nanoseconds since 1970."""


def _of_objects(values: list[Any], place: Place) -> Stamps:
    """Read numbers, dates, times and their text, which may be mixed."""
    _refuse_nulls(np.array([is_null(value) for value in values], bool), place)
    if set(map(type, values)) <= {int, float}:
        return _of_numbers(values, place)
    parsed = [_parsed(value, place, i) for i, value in enumerate(values)]
    is_moment = np.array([isinstance(value, _Moment) for value in parsed], bool)
    numbers = [value for value in parsed if not isinstance(value, _Moment)]
    moments = [int(value) for value in parsed if isinstance(value, _Moment)]
    if not moments:
        return _of_numbers(numbers, place)
    fine = any(moment % 1000 for moment in moments)
    try:
        counts = np.array([m if fine else m // 1000 for m in moments], np.int64)
    except OverflowError:
        _checks.fail(place.name, "times that 64 bits hold in ns", "earlier or later ones")
    stamps: Stamps = f"timestamps in {'ns' if fine else 'us'}", counts
    if not numbers:
        return stamps
    unit, (first, second) = to_one_unit(2 * [place.name], [stamps, _of_numbers(numbers, place)])
    whole = np.empty(len(values), np.int64)
    whole[is_moment], whole[~is_moment] = first, second
    return unit, whole


def _of_numbers(numbers: list[int | float], place: Place) -> Stamps:
    if any(isinstance(number, float) for number in numbers):
        return _finite(np.array(numbers, np.float64), place)
    try:
        return "integers", np.array(numbers, np.int64)
    except OverflowError:
        _checks.fail(place.name, "integers in [-2**63, 2**63)", "larger ones")


def _parsed(value: Any, place: Place, i: int) -> int | float | _Moment:
    """Return a number, or a moment."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return int(value) if isinstance(value, (int, np.integer)) else float(value)
    if isinstance(value, np.datetime64):
        return _Moment(_counted(place(i), _of_array(np.array([value]), place), "ns")[0])
    if isinstance(value, str) and "_" not in value:  # Python reads 1_0 as 10
        for parse in (int, float, _moment_of_text):
            try:
                return parse(value.strip().replace("/", "-"))
            except ValueError:
                continue
    if isinstance(value, dt.datetime):
        return _moment(value, getattr(value, "nanosecond", 0))  # pandas has it
    if isinstance(value, dt.date):
        return _moment(dt.datetime.combine(value, dt.time()), 0)
    _checks.fail(place(i), _KINDS, _shown(value))


def _moment_of_text(text: str) -> _Moment:
    moment, below = dt.datetime.fromisoformat(text), _BELOW_MICROSECONDS.search(text)
    return _moment(moment, int(below[1].ljust(3, "0")) if below else 0)


def _moment(moment: dt.datetime, nanosecond: int) -> _Moment:
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return _Moment(1000 * ((moment - _EPOCH) // dt.timedelta(microseconds=1)) + nanosecond)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def to_one_unit(names: Sequence[str], stamps: Sequence[Stamps]) -> tuple[str, list[Times]]:
    """Convert times of several units to the finest of these units.

    Numbers count as timestamps if all of them are times between 1990 and 2100 in s, ms, us or ns
    since 1970, and either their units differ or other times are timestamps. Otherwise numbers
    are compared as they are. `names` are the names of the times in messages.
    """
    numbers = [values for unit, values in stamps if not _is_timestamp(unit) and len(values)]
    timed = {_unit(unit) for unit, values in stamps if _is_timestamp(unit) and len(values)}
    sizes = _sizes(numbers) if timed or _differ(numbers) else set()
    if timed and numbers and not sizes:
        kind = next(iter(timed))
        i = next(i for i, (u, v) in enumerate(stamps) if not _is_timestamp(u) and len(v))
        expected = f"timestamps in {kind} as elsewhere, or numbers of s, ms, us or ns since 1970"
        _checks.fail(names[i], expected, f"numbers such as {stamps[i][1][0]}")
    if not sizes and not timed:
        is_float = any(values.dtype.kind == "f" for values in numbers)
        if not is_float:
            return "integers", [values for _, values in stamps]
        pairs = zip(names, stamps, strict=True)
        return "floats", [_to_floats(name, values) for name, (_, values) in pairs]
    if sizes and len(timed | sizes) > 1:
        units = " and ".join(sorted(sizes))
        log.info("%s: numbers are taken for times in %s since 1970", names[-1], units)
    finest = max(timed | sizes, key=_UNITS.index)
    counted = [_counted(*pair, finest) for pair in zip(names, stamps, strict=True)]
    return f"timestamps in {finest}", counted


def _is_timestamp(unit: str) -> bool:
    return unit.startswith("timestamps")


def _unit(unit: str) -> str:
    return unit.rpartition(" ")[2]


def _size(value: Any) -> str | None:
    low, high = _SECONDS
    return next((u for u, n in _SIZES.items() if low * n <= value < high * n), None)


def _differ(numbers: list[Times]) -> bool:
    """Return whether the smallest and the largest numbers are times in different units."""
    found = {_size(extreme) for values in numbers for extreme in (values.min(), values.max())}
    return None not in found and len(found) > 1


def _by_size(values: Times) -> NDArray[np.int8]:
    """Return the position in `_SIZES` of the unit of each number, or -1 if it is no time."""
    out = np.full(len(values), -1, np.int8)
    for i, scale in enumerate(_SIZES.values()):
        out[(values >= _SECONDS[0] * scale) & (values < _SECONDS[1] * scale)] = i
    return out


def _sizes(numbers: list[Times]) -> set[str]:
    """Return the units of all numbers, or an empty set if one of them is no time."""
    found = set().union(*(np.unique(_by_size(values)).tolist() for values in numbers))
    if -1 in found:
        return set()
    units = {list(_SIZES)[i] for i in found}
    # Floats have fractions; those of seconds since 1970 are exact to about a microsecond.
    fractions = any(values.dtype.kind == "f" for values in numbers)
    return units | {"us"} if fractions and "ns" not in units else units


def _counted(name: str, stamp: Stamps, unit: str) -> Times:
    """Return times converted to a finer unit."""
    own, values = stamp
    if not _is_timestamp(own):
        scales = np.array([_SIZES[unit] / scale for scale in _SIZES.values()])
        factors: NDArray[Any] = scales[_by_size(values)]
        exact: NDArray[Any] = values * factors.astype(np.int64)
        return exact if values.dtype.kind == "i" else np.rint(values * factors).astype(np.int64)
    if _unit(own) == unit:
        return values
    there = values.astype(f"M8[{_unit(own)}]").astype(f"M8[{unit}]")
    if not np.array_equal(there.astype(f"M8[{_unit(own)}]").astype(np.int64), values):
        _checks.fail(name, f"times that 64 bits hold in {unit}", f"others in {_unit(own)}")
    return there.astype(np.int64)


def _to_floats(name: str, values: Times) -> Times:
    if values.dtype.kind == "i" and (np.abs(values) > _EXACT).any():
        _checks.fail(name, f"integers up to {_EXACT} among floats", np.abs(values).max())
    return values.astype(np.float64)
