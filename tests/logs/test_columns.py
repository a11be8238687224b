"""columns.py: columns of NumPy and of Arrow, of whatever type, become the same numbers."""

import datetime as dt
import decimal

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.columns import Place, as_array, factorize, named_columns, named_rows

PLACE = Place("log, column 'c'", 40)


def plain(factors):
    """Return the keys row by row, and check that they are numbered by first appearance."""
    values = [v.item() if isinstance(v, np.generic) else v for v in factors.values]
    positions = factors.positions.tolist()
    seen = list(dict.fromkeys(p for p in positions if p >= 0))
    assert seen == list(range(len(values)))
    assert len(set(values)) == len(values)
    return [None if p < 0 else values[p] for p in positions]


KEYS = [[5, -3, 5, 2**63 - 1, -(2**63)], ["b", "", "ü", "b", "中\0"], [7], ["x"] * 5]


@pytest.mark.parametrize("values", KEYS, ids=repr)
@pytest.mark.parametrize("nulls", [False, True])
def test_keys_of_every_form(values, nulls):
    pa = pytest.importorskip("pyarrow")
    values = [None, *values, None] if nulls else values
    forms = [as_array("c", values), pa.chunked_array([values[:2], values[2:], []], pa.array(values).type)]
    forms.append(pa.chunked_array([pa.array(values).dictionary_encode()]))
    if any(isinstance(value, str) for value in values):
        forms += [forms[1].cast(pa.large_string()), forms[1].cast(pa.string_view())]
        codes = pa.array([i if v is not None else None for i, v in enumerate(values)], pa.int8())
        repeated = pa.DictionaryArray.from_arrays(codes, pa.array(values))
        forms.append(pa.chunked_array([repeated[:1], repeated[1:]]))
        views = pa.DictionaryArray.from_arrays(codes.cast(pa.uint32()), repeated.dictionary.cast(pa.string_view()))
        forms.append(pa.chunked_array([views]))
    for form in forms:
        assert plain(factorize(form, PLACE, feature=True)) == values
        if nulls:
            with pytest.raises(ArgumentError, match="log, column 'c', row 40: expected a string or an integer, got null"):
                factorize(form, PLACE)
        else:
            assert plain(factorize(form, PLACE)) == values


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_integers_of_every_width(kind):
    pa = pytest.importorskip("pyarrow")
    array = np.array([3, 100, 3], kind)
    for form in (array, pa.chunked_array([array])):
        factors = factorize(form, PLACE)
        assert plain(factors) == [3, 100, 3]
        assert factors.values.dtype == np.int64


def test_bools_are_features():
    pa = pytest.importorskip("pyarrow")
    for form in (as_array("c", [True, None, False]), pa.chunked_array([[True, None, False]])):
        assert plain(factorize(form, PLACE, feature=True)) == [1, None, 0]
    for form in (np.array([True]), pa.chunked_array([[True]])):
        assert plain(factorize(form, PLACE, feature=True)) == [1]
        with pytest.raises(ArgumentError, match="column 'c': expected strings or integers, got bool"):
            factorize(form, PLACE)


def test_nothing_but_nulls_and_nothing():
    pa = pytest.importorskip("pyarrow")
    for form in (as_array("c", [None] * 2), pa.chunked_array([pa.nulls(2)]), pa.chunked_array([[None] * 2], pa.string())):
        assert plain(factorize(form, PLACE, feature=True)) == [None, None]
    for form in (as_array("c", []), pa.chunked_array([], pa.int64())):
        assert plain(factorize(form, PLACE)) == []


def test_what_arrow_holds_besides_keys():
    pa = pytest.importorskip("pyarrow")
    for values, got in [
        ([1.0, 2.0], "double$"),
        ([1.0, None], "double, and null in row 41$"),
        ([1.0, 2.0, float("nan")], "double, and null in row 42$"),
        ([[1]], "list<"), ([decimal.Decimal("1.5")], "decimal128"), ([dt.date(2020, 1, 1)], "date32"), ([{"a": 1}], "struct"),
    ]:
        for feature in (False, True):
            with pytest.raises(ArgumentError, match=f"log, column 'c': expected strings or integers, got {got}"):
                factorize(pa.chunked_array([values]), PLACE, feature=feature)
    large = pa.chunked_array([[1, None], [2**63]], pa.uint64())
    with pytest.raises(ArgumentError, match=r"row 42: expected an integer below 2\*\*63, got 9223372036854775808"):
        factorize(large, PLACE, feature=True)


def test_bytes_are_strings_and_whole_decimals_integers():
    pa = pytest.importorskip("pyarrow")
    for kind in (pa.binary(), pa.large_binary()):
        column = pa.chunked_array([["ä".encode(), b"b"], [b"b", None]], kind)
        assert plain(factorize(column, PLACE, feature=True)) == ["ä", "b", "b", None]
    with pytest.raises(ArgumentError, match=r"row 41: expected a string in UTF-8, got b'\\xff'"):
        factorize(pa.chunked_array([[b"a", b"\xff"]]), PLACE)
    column = pa.chunked_array([[10**18 + 1, 7, None]], pa.decimal128(38, 0))
    assert plain(factorize(column, PLACE, feature=True)) == [10**18 + 1, 7, None]
    with pytest.raises(ArgumentError, match=r"^log, column 'c': expected integers in \[-2\*\*63, 2\*\*63\), got another"):
        factorize(pa.chunked_array([[10**19]], pa.decimal128(38, 0)), PLACE)


def test_arrays_of_other_libraries():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    for array in (pd.Series([1, None], dtype="Int64"), pl.Series([1, None]), pa.array([1, None])):
        assert plain(factorize(as_array("c", array), PLACE, feature=True)) == [1, None]
    masked = np.ma.array([1, 2, 3], mask=[False, True, False])
    assert plain(factorize(as_array("c", masked), PLACE, feature=True)) == [1, None, 3]
    assert masked.tolist() == [1, None, 3]


def test_place():
    assert Place("values")(3) == "values[3]"
    assert PLACE(3) == "log, column 'c', row 43"


def test_strings_of_arrow_that_are_no_utf8():
    pa = pytest.importorskip("pyarrow")
    raw = pa.array([b"a", b"a", None, b"\xffz", b"b"])
    column = pa.chunked_array([pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())])
    with pytest.raises(ArgumentError, match=r"^log, column 'c', row 43: expected a string in UTF-8, got b'\\xffz'"):
        factorize(column, PLACE, feature=True)


def test_columns_by_name():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    columns = {"c": ["p", "q"], "d": [1, 2]}
    for form in (columns, pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns),
                 pa.RecordBatch.from_pydict(columns), list(columns.items())):
        got = named_columns("features", form)
        assert {name: as_array(name, values).tolist() for name, values in got.items()} == columns
    for form in (3, "c", [1], ["cde"]):
        with pytest.raises(ArgumentError, match=r"^features: expected a dict of columns, a data frame or a table"):
            named_columns("features", form)


def test_columns_of_lists():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    rows = [["p", "q"], [], ["p"]]
    for form in (rows, tuple(rows), iter(rows), pd.Series(rows), pl.Series(rows), pa.array(rows), pa.chunked_array([rows])):
        names, got = named_rows("histories", form)
        assert names.tolist() == [0, 1, 2]
        assert [list(row) for row in got] == rows
    assert [row.tolist() for row in named_rows("histories", np.eye(2, dtype=int))[1]] == [[1, 0], [0, 1]]
    for form in ("pq", pd.DataFrame({"p": rows}), pa.table({"p": rows}), 3, None):
        with pytest.raises(ArgumentError, match=r"^histories: expected a list of lists of items, or a dict"):
            named_rows("histories", form)


def test_rows_by_name():
    for names in (["ann", "bob"], [7, -3]):
        got, rows = named_rows("histories", dict(zip(names, [["p"], []], strict=True)))
        assert got.tolist() == names
        assert got.dtype == (object if "ann" in names else np.int64)
        assert rows == [["p"], []]
    with pytest.raises(ArgumentError, match=r"histories\[1\]: expected strings, as before, got 3"):
        named_rows("histories", {"ann": [], 3: []})
