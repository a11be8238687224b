"""Checks and conversions of arguments, and the one function that raises their errors.

Every module reports a bad argument through `fail`. So all such errors have one type and one
form: the name of the argument, what was expected, and what came.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from numba_ss._types import Floats, Integers
from numba_ss.kernels.core import ids as id_kernels

_INT64 = np.dtype(np.int64)
_LONGEST = 500  # characters of the caller's data in a message, at most
FLOAT_TYPES = _FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_BLOCK = 2**20  # numbers that are looked at at once
_LARGEST_RATE = 1e30  # a larger learning rate can make float32 infinite within a step


class ArgumentError(ValueError):
    """An argument that cannot be used; the message has its name, what was expected, what came.

    It is a `ValueError`, and a call that raises it has changed nothing.

    Examples
    --------
    >>> import numba_ss
    >>> numba_ss.top_k(np.ones((9, 2)), np.zeros(9), np.ones((1, 2)), 0)
    Traceback (most recent call last):
        ...
    numba_ss._checks.ArgumentError: k: expected at least 1, got 0
    """


def shortened(data: object) -> str:
    """Return the text of an object; of a long text, its beginning and its end."""
    text = str(data)
    return text if len(text) <= _LONGEST else f"{text[:300]} ... {text[-100:]}"


def fail(name: str, expected: str, got: object) -> NoReturn:
    """Raise an `ArgumentError`."""
    parts = map(shortened, (name, expected, got))  # any of them may hold data of the caller
    raise ArgumentError("{}: expected {}, got {}".format(*parts))


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        fail(name, "an integer", repr(value))
    if number < low:
        fail(name, f"at least {low}", number)
    if high is not None and number > high:
        fail(name, f"at most {high}", number)
    return number


def optional_integer(name: str, value: Any) -> int | None:
    """Return any integer, or None."""
    return None if value is None else integer(name, value, -(2**63), 2**63 - 1)


def number(name: str, value: Any, *, not_negative: bool = False) -> float:
    """Return a finite real number; with `not_negative`, it must not be negative."""
    if type(value) is float and 0 <= value < np.inf:
        return value
    if isinstance(value, (bool, np.bool_, str)) or np.ndim(value) != 0:
        fail(name, "a finite number", repr(value))
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        fail(name, "a finite number", repr(value))
    if not np.isfinite(result) or (not_negative and result < 0):
        fail(name, "a finite number" + " >= 0" * not_negative, repr(value))
    return result


def bounded(name: str, value: Any, low: float, high: float) -> float:
    """Return a number in [low, high]."""
    result = number(name, value)
    if not low <= result <= high:
        fail(name, f"a number in [{low:g}, {high:g}]", result)
    return result


def threads(value: Any) -> int | None:
    """Return a number of threads, or None for the default; it may exceed what the machine has."""
    return None if value is None else integer("num_threads", value, 1)


def rate(name: str, value: Any, *, not_negative: bool = True) -> float:
    """Return a learning rate, small enough to keep float32 finite."""
    if type(value) is float and 0 <= value <= _LARGEST_RATE:
        return value
    result = number(name, value, not_negative=not_negative)
    if not -_LARGEST_RATE <= result <= _LARGEST_RATE:
        fail(name, f"a number of at most {_LARGEST_RATE:g} in size", result)
    return result


def flag(name: str, value: Any) -> bool:
    """Return a bool; other values, such as 0 and 1, are refused."""
    if not isinstance(value, (bool, np.bool_)):
        fail(name, "True or False", repr(value))
    return bool(value)


def state(value: Any) -> dict[str, Any]:
    """Return what should be the result of a ``state_dict()``, if it is a dict at all."""
    if not isinstance(value, dict):
        fail("state_dict", "what state_dict() returned, a dict", type(value).__name__)
    return value


def choice(name: str, value: Any, choices: Any) -> str:
    """Return `value`, which is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        fail(name, "one of " + ", ".join(map(repr, choices)), repr(value))
    return value


def _shape(array: NDArray[Any]) -> str:
    return "shape (" + ", ".join(map(str, array.shape)) + "," * (array.ndim == 1) + ")"


def shaped(name: str, array: NDArray[Any], shape: tuple[int | None, ...], symbols: str) -> None:
    """Require a shape, in which None stands for any length."""
    have = array.shape
    fits = len(have) == len(shape)
    # A loop, because a generator takes longer than all of the rest, for each array of each call.
    for want, got in zip(shape, have, strict=False):
        fits &= want is None or want == got
    if not fits:
        values = ", ".join("any" if want is None else str(want) for want in shape)
        fail(name, f"shape ({symbols}) = ({values})", _shape(array))


def as_array(name: str, value: Any, rows: str = "rows of one length") -> NDArray[Any]:
    """Return an array; `rows` says in an error what nested lists should be."""
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
    fail(name, rows, "rows of different lengths")


def real_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the type in which numbers are computed, or None if they are not real."""
    if dtype.kind != "f" and dtype.name != "bfloat16":
        return None
    return _FLOAT32 if dtype.itemsize <= _FLOAT32.itemsize else _FLOAT64


def cast(name: str, array: NDArray[Any], dtype: DTypeLike) -> Floats:
    """Return an array as another type, whose range must suffice; copy only if the type differs."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        result: Floats = array.astype(dtype)
    if np.dtype(dtype).itemsize < array.dtype.itemsize:
        lost = np.flatnonzero(np.isinf(result) & np.isfinite(array))
        if lost.size:
            where = _position(int(lost[0]), array.shape)
            got = f"{array.flat[lost[0]]} at {name}{where}"
            fail(name, f"numbers that {np.dtype(dtype)} can hold", got)
    return result


def real(name: str, value: Any) -> Floats:
    """Return a C-contiguous array of float32 or float64, copied only if necessary."""
    if type(value) is np.ndarray and value.dtype in FLOAT_TYPES and value.flags.c_contiguous:
        return value
    array = as_array(name, value)
    dtype = real_type(array.dtype)
    if dtype is None:
        fail(name, "float32 or float64 numbers", array.dtype)
    return np.ascontiguousarray(cast(name, array, dtype))


def inputs(value: Any) -> Floats:
    """Return activations, (batch_size, dim)."""
    array = real("inputs", value)
    if array.ndim > 2:
        fail(
            "inputs", "shape (batch_size, dim); inputs.reshape(-1, inputs.shape[-1]) and "
            "labels.reshape(-1, 1) make a batch of a batch of series", _shape(array),
        )
    shaped("inputs", array, (None, None), "batch_size, dim")
    return array if array.flags.writeable else array.copy()


def _position(flat: int, shape: tuple[int, ...]) -> str:
    index = np.unravel_index(flat, shape)
    return "[" + ", ".join(str(int(i)) for i in index) + "]"


def offsets(name: str, value: ArrayLike, num_rows: int, num_values: int) -> Integers:
    """Return where each row begins among the values of all, and where the last one ends."""
    values = ids(name, value)
    shaped(name, values, (num_rows + 1,), "number of rows + 1,")
    falls = np.flatnonzero(np.diff(values) < 0) + 1
    if falls.size:
        fail(name, "offsets that do not fall", f"{values[falls[0]]} at [{falls[0]}]")
    if values[0] != 0 or values[-1] != num_values:
        ends = f"{values[0]} to {values[-1]}"
        fail(name, f"offsets from 0 to the number of ids = {num_values}", ends)
    return values


def in_range(name: str, ids: Integers, stop: int, symbol: str) -> None:
    """Require every id to be in [0, stop); the error names the first that is not."""
    outside = id_kernels.first_outside(ids if ids.ndim == 1 else ids.reshape(-1), stop)
    if outside >= 0:
        value = ids.reshape(-1)[outside]
        where = _position(outside, ids.shape)
        fail(name, f"ids in [0, {symbol}) = [0, {stop})", f"{value} at {name}{where}")


def ids(name: str, value: Any, rows: str = "rows of one length") -> Integers:
    """Return integers as a contiguous int64 array of any shape; see `as_array` for `rows`."""
    if type(value) is np.ndarray and value.dtype == _INT64 and value.flags.carray:
        return value
    array = as_array(name, value, rows)
    if array.size == 0 and not isinstance(value, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        fail(name, "integers", array.dtype)
    if array.dtype == np.uint64 and array.size and array.max() > np.uint64(2**63 - 1):
        fail(name, "ids below 2**63", array.max())
    return np.require(array, np.int64, ["C", "W"])


def labels(
    value: Any, batch_size: int, num_true: int | None, num_classes: int
) -> tuple[Integers, NDArray[np.bool_] | None]:
    """Return labels, (batch_size, num_true), and which rows have a label, None if all have.

    -1 or a mask marks an absent label.
    """
    masked = type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray)
    mask = np.ma.getmaskarray(value) if masked else None
    array = ids(
        "labels", np.ma.getdata(value) if masked else value,
        "rows of one length, where -1 or a mask stands for an absent label",
    )
    shaped("labels", array, (batch_size, num_true), "batch_size, num_true")
    if mask is not None:
        array = np.where(mask, -1, array)
    if array.shape[1] and id_kernels.first_outside(array.reshape(-1), num_classes) < 0:
        return array, None
    present = array != -1
    in_range("labels", np.where(present, array, 0), num_classes, "num_classes")
    some = present.any(axis=1)
    return array, None if some.all() else some


def require_unmasked(labels: Integers, biases: Floats) -> None:
    """Require that no label has the bias -inf; `biases` are those of the labels."""
    bad = np.argwhere((labels >= 0) & np.isneginf(biases))
    if len(bad):
        where = "[" + ", ".join(map(str, bad[0])) + "]"
        got = f"{labels[tuple(bad[0])]} at labels{where}"
        fail("labels", "classes whose bias is not -inf", got)


def true_classes(value: Any, num_true: int | None, range_max: int) -> Integers:
    """Return labels for a sampler, (batch_size, num_true); none may be absent."""
    array = ids("true_classes", value)
    shaped("true_classes", array, (None, num_true), "batch_size, num_true")
    in_range("true_classes", array, range_max, "range_max")
    return array


def counts(name: str, value: Any, length: int | None, symbol: str) -> NDArray[np.float64]:
    """Return occurrence counts: finite, not negative, not all zero."""
    array = as_array(name, value, "numbers")
    if array.dtype.kind not in "iuf":
        fail(name, "numbers", array.dtype)
    shaped(name, array, (length,), symbol)
    array = array.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if bad.size:
        fail(name, "finite numbers >= 0", f"{array[bad[0]]} at {name}[{bad[0]}]")
    if not np.any(array > 0):
        fail(name, "a positive number among them", "none")
    with np.errstate(over="ignore"):
        if array.sum() == np.inf:
            fail(name, "numbers of finite sum", "an infinite one")
    return array


def expected_counts(name: str, array: Floats, ids: Integers) -> None:
    """Require positive, finite counts, except where `ids` is negative (an absent class)."""
    if not array.size or (array.min() > 0 and array.max() < np.inf):
        return
    bad = np.flatnonzero(~((array > 0) & (array < np.inf)) & (ids >= 0))
    if bad.size:
        where = _position(int(bad[0]), array.shape)
        fail(
            name,
            "finite counts > 0 (a class that the sampler never draws has no log-Q correction)",
            f"{array.flat[bad[0]]} at {name}{where}, class {ids.flat[bad[0]]}",
        )


def unique_ids(name: str, value: Any, stop: int) -> Integers:
    """Return the distinct ids in ascending order; they must be in [0, stop)."""
    array = np.unique(ids(name, value))
    in_range(name, array, stop, "range_max")
    return array


def trainable(name: str, value: Any, shape: tuple[int | None, ...], symbols: str) -> Floats:
    """Return the caller's own array, which a kernel can update in place."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        fail(name, "a float32 ndarray, to be updated in place", got)
    shaped(name, value, shape, symbols)
    if not value.flags.c_contiguous or not value.flags.writeable:
        got = "a read-only one" if value.flags.c_contiguous else "one that is not contiguous"
        fail(name, "a C-contiguous, writeable array, to be updated in place", got)
    return value


Parts = Sequence[tuple[str, Floats, Integers | None]]


def finite(parts: Parts) -> None:
    """Require that all numbers that a batch used are finite; the error names the first that is not.

    Each of `parts` is (name, array, ids): the batch used the rows `ids` of the array, or all rows
    if `ids` is None. A bias of -inf is allowed, because it masks a class.
    """
    for name, array, ids in parts:
        reached = range(len(array)) if ids is None else np.unique(ids[ids >= 0])
        count = max(1, _BLOCK // max(1, array[:1].size))
        for start in range(0, len(reached), count):
            rows = slice(start, start + count) if ids is None else reached[start : start + count]
            block = array[rows]
            bad = ~np.isfinite(block)
            if name.startswith("biases"):
                bad &= ~np.isneginf(block)
            if bad.any():
                first = np.argwhere(bad)[0]
                row, *column = map(int, first)
                place = [int(reached[start + row]), *column]
                fail(name, "finite numbers", f"{block[tuple(first)]} at {name}{place}")


def explain_loss(loss: Floats, parts: Parts) -> NoReturn:
    """Raise the error that says what made the loss of a batch NaN or infinite; see `finite`."""
    finite(parts)
    example = int(np.flatnonzero(~np.isfinite(loss))[0])
    fail(
        "inputs, weights",
        "logits that the type can hold",
        f"a loss of {loss[example]} for example {example}, from finite numbers",
    )
