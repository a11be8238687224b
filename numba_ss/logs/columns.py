"""Columns of tables as numbers: the distinct keys, and the position of each row's key.

A column is an ndarray or a chunked array of pyarrow. pyarrow is imported only when such a column
comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Integers
from numba_ss.io.arrow import arrow_errors, is_text

_KEYS = frozenset({"string", "integer"})
_NULLS = ("NoneType", "NAType", "NaTType")  # the last two are pandas', which may be missing
_SURROGATE = re.compile("[\ud800-\udfff]")


class Place(NamedTuple):
    """The name of a column in messages, and the number of its first row in the table."""

    name: str
    row: int | None = None

    def __call__(self, i: int) -> str:
        """Return the name of value `i` in messages."""
        return f"{self.name}[{i}]" if self.row is None else f"{self.name}, row {self.row + i}"


class Factors(NamedTuple):
    """A column as distinct values, in order of appearance, and the position of each row's value.

    The position of a null is -1.
    """

    values: Integers | list[str]
    positions: Integers


def as_array(name: str, values: Any) -> NDArray[Any]:
    """Return a column of any form as an ndarray; a list becomes an array of its objects."""
    array: NDArray[Any]
    if isinstance(values, np.ma.MaskedArray):
        array = np.ma.getdata(values).astype(object)
        array[np.ma.getmaskarray(values)] = None
    elif hasattr(values, "__array__"):
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = _with_nulls(values, array)
    elif isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        array = np.fromiter(values, object)
    else:
        _checks.fail(name, "a list or an array", repr(values))
    _checks.shaped(name, array, (None,), "n,")
    return array


def _with_nulls(values: Any, floats: NDArray[Any]) -> NDArray[Any]:
    """Return the objects of a column of integers with nulls, which NumPy makes floats with NaN."""
    listed = getattr(values, "to_list", getattr(values, "to_pylist", None))
    if listed is None or isinstance(getattr(values, "dtype", None), np.dtype):
        return floats
    return np.fromiter(listed(), object)


def named_columns(name: str, value: Any) -> dict[str, Any]:
    """Return the columns of a dict, a data frame, an Arrow table or a list of pairs, by name."""
    if hasattr(value, "column_names"):
        return {column: value.column(column) for column in value.column_names}
    if hasattr(value, "get_columns"):
        return {column.name: column for column in value.get_columns()}
    if hasattr(value, "items"):
        return dict(value.items())
    try:
        return dict(value)
    except (TypeError, ValueError):
        _checks.fail(name, "a dict of columns, a data frame or a table", repr(value)[:100])


def named_rows(name: str, value: Any) -> tuple[NDArray[Any], list[Any]]:
    """Return the names and the rows of a dict, or of a list, a series or an array of lists.

    Names are strings or integers; rows without names get 0, 1, ...
    """
    if isinstance(value, Mapping):
        names = factorize(as_array(name, list(value)), Place(name)).values
        kind = object if isinstance(names, list) else np.int64
        return np.array(names, kind), list(value.values())
    is_table = isinstance(value, (str, bytes)) or hasattr(value, "columns")
    if is_table or not isinstance(value, Iterable):
        expected = "a list of lists of items, or a dict of such by name"
        _checks.fail(name, expected, type(value).__name__)
    listed = getattr(value, "to_pylist", getattr(value, "to_list", None))
    rows = list(value if listed is None else listed())
    return np.arange(len(rows)), rows


def factorize(column: Any, place: Place, *, feature: bool = False) -> Factors:
    """Return the distinct keys of a column; a feature may also hold nulls, or True and False."""
    if isinstance(column, np.ndarray):
        factors = _of_array(column, place, feature)
    else:
        factors = _of_arrow(column, place, feature)
    if not feature:
        null = np.flatnonzero(factors.positions < 0)
        if null.size:
            _checks.fail(place(int(null[0])), "a string or an integer", "null")
    return factors


def _refuse_type(place: Place, kind: object, nulls: NDArray[np.bool_]) -> NoReturn:
    """Refuse a column of this type; many libraries turn integers with nulls into such floats."""
    first = f", and null in row {(place.row or 0) + int(nulls.argmax())}" if nulls.any() else ""
    _checks.fail(place.name, "strings or integers", f"{kind}{first}")


def _of_array(array: NDArray[Any], place: Place, feature: bool) -> Factors:
    if not array.size:
        return Factors([], np.empty(0, np.int64))
    kind = array.dtype.kind
    if kind in "OUT":
        return _of_objects(array.tolist(), place, feature)
    if kind == "u":
        refuse_large(array, place)
    elif kind != "i" and not (kind == "b" and feature):
        nulls = np.isnan(array) if kind in "fcmM" else np.zeros(1, bool)
        _refuse_type(place, array.dtype, nulls)
    return _of_integers(array.astype(np.int64))


def refuse_large(array: NDArray[Any], place: Place) -> None:
    """Refuse integers beyond the range of int64."""
    large = np.flatnonzero(array > np.uint64(2**63 - 1))
    if large.size:
        _checks.fail(place(int(large[0])), "an integer below 2**63", array[large[0]])


def _of_integers(array: Integers) -> Factors:
    distinct, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Factors(distinct[order], rank[inverse])


def _of_objects(objects: list[Any], place: Place, feature: bool) -> Factors:
    kinds = _kinds(objects)
    if kinds <= _KEYS:
        rows, values = np.arange(len(objects)), objects
    else:
        rows = np.flatnonzero([not is_null(value) for value in objects])
        values = [objects[i] for i in rows.tolist()]
        kinds = _kinds(values)
    allowed = _KEYS | {"bool"} if feature else _KEYS
    if len(kinds) > 1 or not kinds <= allowed:
        _refuse_objects(values, rows, place, allowed)
    if kinds == {"string"}:
        factors = _of_strings(values, rows, place)
    else:
        factors = _of_integers(_to_int64(values, rows, place))
    positions = np.full(len(objects), -1)
    positions[rows] = factors.positions
    return Factors(factors.values, positions)


def _kinds(values: list[Any]) -> set[str]:
    return set(map(_kind, set(map(type, values))))


def _kind(kind: type) -> str:
    if issubclass(kind, str):
        return "string"
    if issubclass(kind, (bool, np.bool_)):
        return "bool"
    return "integer" if issubclass(kind, (int, np.integer)) else kind.__name__


def is_null(value: object) -> bool:
    """Return whether an object is None, NaN, or pandas' NA or NaT."""
    is_nan = isinstance(value, (float, np.floating)) and bool(np.isnan(value))
    return is_nan or type(value).__name__ in _NULLS


def _refuse_objects(
    values: list[Any], rows: Integers, place: Place, allowed: frozenset[str]
) -> NoReturn:
    """Raise the error that names the first value that is not a key, or of another kind."""
    first = _kind(type(values[0]))
    usual = {first} & allowed
    bad = next(i for i, value in enumerate(values) if _kind(type(value)) not in usual)
    expected = f"{first}s, as before" if usual else "a string or an integer"
    way = ""
    if isinstance(values[bad], bytes):
        way = "; decode() makes a string of it"
    elif isinstance(values[bad], (float, np.floating)):
        way = "; int() makes an integer of it"
    _checks.fail(place(int(rows[bad])), expected, _checks.shortened(repr(values[bad])) + way)


def _of_strings(values: list[str], rows: Integers, place: Place) -> Factors:
    index = {value: i for i, value in enumerate(dict.fromkeys(values))}
    positions = np.fromiter(map(index.__getitem__, values), np.int64, len(values))
    distinct = list(map(str.__str__, index))  # NumPy's subclass becomes plain str
    try:
        "".join(distinct).encode()
    except UnicodeEncodeError:
        bad = next(i for i, value in enumerate(values) if _SURROGATE.search(value))
        _checks.fail(place(int(rows[bad])), "a string that UTF-8 can hold", ascii(values[bad]))
    return Factors(distinct, positions)


def _to_int64(values: list[Any], rows: Integers, place: Place) -> Integers:
    try:
        return np.fromiter(map(int, values), np.int64, len(values))
    except OverflowError:
        bad = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)
        _checks.fail(place(int(rows[bad])), "an integer in [-2**63, 2**63)", values[bad])


def plain(column: Any, name: str) -> Any:
    """Return a column as one Arrow array without dictionaries; strings have 64-bit offsets.

    Bytes are taken as strings, as Hive and Impala write them, and decimals without fractions as
    integers, as Snowflake does. `name` is that of the column in messages.
    """
    arrow = import_optional("pyarrow", "reading tables")
    kind, types = column.type, arrow.types
    if types.is_binary(kind) or types.is_large_binary(kind):
        return column.cast(arrow.large_binary()).combine_chunks().view(arrow.large_string())
    if is_text(kind):
        kind = arrow.large_string()
    elif types.is_decimal(kind) and kind.scale == 0:
        with arrow_errors(name, "integers in [-2**63, 2**63)"):
            return column.cast(arrow.int64()).combine_chunks()
    elif types.is_dictionary(kind):
        kind = kind.value_type
    if arrow.types.is_dictionary(column.type):
        # Each dictionary is cast by itself: Arrow cannot cast a column with string views.
        chunks = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks]
        return arrow.chunked_array(chunks, kind).combine_chunks()
    return column.cast(kind).combine_chunks()


def _texts(encoded: Any, positions: Integers, place: Place) -> list[str]:
    """Return the strings of a dictionary; refuse a string that is not UTF-8."""
    try:
        texts: list[str] = encoded.dictionary.to_pylist()
    except UnicodeDecodeError as error:
        whole = [raw.as_buffer().to_pybytes() for raw in encoded.dictionary]
        bad = next(i for i, raw in enumerate(whole) if raw == error.object)
        row = int(np.flatnonzero(positions == bad)[0])
        _checks.fail(place(row), "a string in UTF-8", repr(error.object[:60]))
    return texts


def _of_arrow(column: Any, place: Place, feature: bool) -> Factors:
    arrow = import_optional("pyarrow", "reading tables")
    array, types = plain(column, place.name), arrow.types
    if types.is_null(array.type):
        return Factors([], np.full(len(array), -1))
    if types.is_boolean(array.type) and feature:
        array = array.cast(arrow.int8())
    if not (is_text(array.type) or types.is_integer(array.type)):
        nulls = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        _refuse_type(place, array.type, nulls)
    encoded = array.dictionary_encode()
    positions = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    if is_text(array.type):
        return Factors(_texts(encoded, positions, place), positions)
    values = encoded.dictionary.to_numpy()
    if values.dtype == np.uint64:
        refuse_large(array.fill_null(0).to_numpy(), place)
    return Factors(values.astype(np.int64), positions)
