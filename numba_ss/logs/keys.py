"""Keys: the caller's names of users, items or categories, and their codes 0, 1, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Integers
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.logs.columns import Factors, Place, as_array, factorize

_MOST = 2**31 - 1  # keys at most, because a log holds codes of 32 bits
_INTEGER_TYPES = {"integers": "int64"}
_STRING_TYPES = {"words": "uint8", "offsets": "int64"}
_PLAIN = re.compile("0|-?[1-9][0-9]{0,18}")  # integers as Python prints them


class _IntegerIndex:
    """Integers in ascending order, each with its code."""

    kind = "integer"

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.int64)
        self._codes = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._sorted)

    def copy(self) -> _IntegerIndex:
        result = _IntegerIndex()
        result._sorted, result._codes = self._sorted, self._codes  # no array changes in place
        return result

    def find(self, values: Integers) -> Integers:
        if not len(self):
            return np.full(len(values), -1)
        at = np.minimum(np.searchsorted(self._sorted, values), len(self) - 1)
        return np.where(self._sorted[at] == values, self._codes[at], -1)

    def add(self, values: Integers) -> None:
        order = np.argsort(values)
        at = np.searchsorted(self._sorted, values[order])
        self._codes = np.insert(self._codes, at, len(self) + order)
        self._sorted = np.insert(self._sorted, at, values[order])

    def values(self) -> NDArray[Any]:
        values = np.empty_like(self._sorted)
        values[self._codes] = self._sorted
        return values


class _StringIndex:
    """Strings in a dictionary, with the methods of `_IntegerIndex`."""

    kind = "string"

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def copy(self) -> _StringIndex:
        result = _StringIndex()
        result._codes = self._codes.copy()
        return result

    def find(self, values: list[str]) -> Integers:
        return np.fromiter(map(self._codes.get, values, repeat(-1)), np.int64, len(values))

    def add(self, values: list[str]) -> None:
        self._codes.update(zip(values, range(len(self), len(self) + len(values)), strict=True))

    def values(self) -> NDArray[Any]:
        return np.fromiter(self._codes, object, len(self))


def _kind(values: Any) -> str:
    return "string" if isinstance(values, list) else "integer"


def _select(values: Any, chosen: Integers) -> Any:
    """Return some of the values of `Factors`, as an array or a list like theirs."""
    return [values[i] for i in chosen.tolist()] if isinstance(values, list) else values[chosen]


def _check_kind(kind: str, factors: Factors, place: Place) -> None:
    """Require that all keys have this kind."""
    if _kind(factors.values) != kind:
        row, value = int(np.argmax(factors.positions >= 0)), factors.values[0]
        got = repr(value) if isinstance(value, str) else value
        _checks.fail(place(row), f"{kind} keys, as before", got)


class Keys:
    """A two-way map between distinct keys and the codes 0, 1, ...

    Keys are either all strings, or all integers in [-2**63, 2**63). The object never changes;
    `extend` returns a new one.

    Parameters
    ----------
    values : array or list of str or int, optional
        Keys, numbered in the order of first appearance; repetitions have no effect.

    Examples
    --------
    >>> keys = Keys(["tea", "milk", "tea"])
    >>> keys.codes(["milk", "rum"]), keys.take([1, 0, 1])
    (array([ 1, -1]), array(['milk', 'tea', 'milk'], dtype=object))
    >>> more = keys.extend(["rum", "tea"])
    >>> len(keys), len(more), "rum" in more, more.kind
    (2, 3, True, 'string')
    """

    def __init__(self, values: Any = ()) -> None:
        growing = GrowingKeys()
        growing.encode(as_array("values", values), Place("values"))
        self._index = growing.index

    @classmethod
    def _of(cls, index: Any) -> Self:
        keys = cls.__new__(cls)
        keys._index = index
        return keys

    @property
    def kind(self) -> str:
        """``"integer"`` or ``"string"``; "integer" if there are no keys yet."""
        return str(self._index.kind)

    @cached_property
    def _values(self) -> NDArray[Any]:
        values: NDArray[Any] = self._index.values()
        return values

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: object) -> bool:
        if self.kind == "string":
            return isinstance(key, str) and bool(self._index.find([key])[0] >= 0)
        if not isinstance(key, (int, np.integer)) or isinstance(key, bool):
            return False
        held = -(2**63) <= int(key) < 2**63
        return held and bool(self._index.find(np.array([key], np.int64))[0] >= 0)

    def __eq__(self, other: object) -> bool:
        """Return whether the other object has the same codes for the same keys."""
        if not isinstance(other, Keys):
            return NotImplemented
        same_kind = self.kind == other.kind or not len(self)
        return same_kind and np.array_equal(self._values, other._values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Keys({len(self)} {self.kind}s)"

    def extend(self, values: Any) -> Keys:
        """Return these keys, followed by those of `values` that are new.

        Parameters
        ----------
        values : array or list of str or int
            Keys of the same kind.

        Returns
        -------
        Keys
            With the same codes for the old keys.

        Examples
        --------
        >>> Keys(["tea"]).extend(["rum", "tea"]).codes(["tea", "rum"])
        array([0, 1])
        """
        growing = GrowingKeys(self)
        growing.encode(as_array("values", values), Place("values"))
        return growing.keys()

    def codes(self, values: Any) -> Integers:
        """Return the code of each key, or -1 if it is unknown.

        Parameters
        ----------
        values : array or list of str or int, shape (n,)
            Keys of the same kind.

        Returns
        -------
        ndarray of int64, shape (n,)
            Codes in [-1, len(keys)).

        Examples
        --------
        >>> Keys([30, 10]).codes([10, 20, 30])
        array([ 1, -1,  0])
        """
        place = Place("values")
        factors = factorize(as_array("values", values), place)
        if not len(factors.values) or not len(self):
            return np.full(len(factors.positions), -1)
        _check_kind(self.kind, factors, place)
        found: Integers = self._index.find(factors.values)[factors.positions]
        return found

    def take(self, codes: Any) -> NDArray[Any]:
        """Return the key of each code.

        Parameters
        ----------
        codes : array of integers
            In [0, len(keys)).

        Returns
        -------
        ndarray of int64 or of str objects
            In the shape of `codes`.

        Examples
        --------
        >>> Keys([30, 10]).take([[1, 0], [0, 0]])
        array([[10, 30],
               [30, 30]])
        """
        array = _checks.ids("codes", codes)
        _checks.in_range("codes", array, len(self), "num_keys")
        return self._values[array]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays without Python objects, to write them to a file.

        Returns
        -------
        dict of ndarray
            Either ``integers``, or ``words`` (the UTF-8 of all strings, one after the other) and
            ``offsets`` into it.
        """
        if self.kind == "string":
            return pack_words(self._values.tolist())
        return {"integers": self._values.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str = "keys") -> Keys:
        """Return the keys from the arrays that `to_arrays` made.

        Parameters
        ----------
        arrays : mapping of ndarray
            Not trusted: types, offsets, UTF-8 and distinctness are checked.
        name : str, default="keys"
            The name for error messages, such as that of the file.
        """
        found = {part: f"{array.dtype} of shape {array.shape}" for part, array in arrays.items()}
        types = {part: str(array.dtype) for part, array in arrays.items() if array.ndim == 1}
        if types not in (_INTEGER_TYPES, _STRING_TYPES) or len(types) < len(found):
            _checks.fail(name, f"the arrays {_INTEGER_TYPES} or {_STRING_TYPES}", found)
        if types == _INTEGER_TYPES:
            values: Any = arrays["integers"]
        else:
            values = unpack_words(name, arrays["words"], arrays["offsets"])
        keys = cls(values)
        if len(keys) < len(values):
            _checks.fail(name, "distinct keys", f"{len(keys)} distinct ones of {len(values)}")
        return keys


def plain_integers(words: list[str]) -> Integers | None:
    """Return words as integers, or None unless all are as Python prints them: 7, but not 007."""
    if not all(map(_PLAIN.fullmatch, words)):
        return None
    try:
        return np.array(list(map(int, words)), np.int64)
    except OverflowError:
        return None


class GrowingKeys:
    """Keys that grow column by column; the time of each depends on the number of new keys.

    Parameters
    ----------
    known : Keys, optional
        The first keys, which keep their codes.
    """

    def __init__(self, known: Keys | None = None) -> None:
        self.index: Any = _IntegerIndex() if known is None else known._index.copy()
        self._only_text = not len(self.index)

    def _of_text(self, factors: Factors, place: Place) -> Factors:
        """Return integers while every key so far is the text of one; else make all strings."""
        words: Any = factors.values
        if len(self.index) and self.index.kind == "string":
            return factors
        numbers = plain_integers(words)
        if numbers is not None:
            return Factors(numbers, factors.positions)
        if not self._only_text:
            bad = next(i for i, word in enumerate(words) if plain_integers([word]) is None)
            row = int(np.flatnonzero(factors.positions == bad)[0])
            _checks.fail(place(row), "integer keys, as before", repr(words[bad]))
        index = _StringIndex()
        index.add([str(key) for key in self.index.values().tolist()])
        self.index = index
        return factors

    def encode(
        self, column: Any, place: Place, *, feature: bool = False, text: bool = False
    ) -> NDArray[np.int32]:
        """Add the keys of a column, and return its codes; -1 stands for a null of a feature.

        If a column is `text`, as in a CSV file, keys are integers if all keys of all columns are
        the plain text of one: "7", but not "007".
        """
        factors = factorize(column, place, feature=feature)
        if not len(factors.values):
            return factors.positions.astype(np.int32)
        if text:
            factors = self._of_text(factors, place)
        self._only_text &= text
        values, positions = factors
        if not len(self.index) and _kind(values) == "string":
            self.index = _StringIndex()
        elif not len(self.index):
            self.index = _IntegerIndex()
        _check_kind(self.index.kind, factors, place)
        codes = self.index.find(values)
        new = np.flatnonzero(codes < 0)
        if len(self.index) + len(new) > _MOST:
            _checks.fail(place.name, f"at most {_MOST} distinct keys", "more")
        if new.size:
            codes[new] = np.arange(len(self.index), len(self.index) + len(new))
            self.index.add(_select(values, new))
        return np.append(codes, -1).astype(np.int32)[positions]

    def keys(self) -> Keys:
        """Return all keys; this object must not be used afterwards."""
        return Keys._of(self.index)
