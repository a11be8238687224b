"""keys.py: a map that grows as a dictionary does, goes to files without objects, and refuses."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import ArgumentError
from numba_ss.logs import keys
from numba_ss.logs.keys import GrowingKeys, Keys

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
PARTS = st.lists(st.lists(INTEGERS)) | st.lists(st.lists(STRINGS))


def arrays_of(grown):
    """Return the keys after a way through a file."""
    file = io.BytesIO()
    np.savez(file, **grown.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return Keys.from_arrays(dict(arrays))


@given(PARTS)
def test_keys_are_a_dictionary_that_grows(parts):
    ref, grown = {}, Keys()
    for part in parts:
        before, old = grown, dict(ref)
        grown = before.extend(part)
        for value in part:
            ref.setdefault(value, len(ref))
        assert before.take(np.arange(len(before))).tolist() == list(old)
        assert grown.codes(part).tolist() == [ref[value] for value in part]
        assert before.codes(part).tolist() == [old.get(value, -1) for value in part]
    values = list(ref)
    assert len(grown) == len(ref)
    assert all(value in grown for value in values)
    assert grown.take(range(len(values))).tolist() == values
    assert grown == Keys(values) == arrays_of(grown)
    assert (grown == Keys(values[::-1])) == (len(values) < 2)


@given(PARTS)
def test_growing_keys_give_the_codes_of_the_result(parts):
    growing = GrowingKeys()
    codes = [growing.encode(np.array(part, object), keys.Place("column")) for part in parts]
    result = growing.keys()
    for part, got in zip(parts, codes, strict=True):
        assert got.dtype == np.int32
        assert got.tolist() == result.codes(part).tolist()


@pytest.mark.parametrize(
    ("parts", "want"),
    [
        ([["7", "-3"], ["0", "7"]], [7, -3, 0]),
        ([["7", "8"], ["007", "7"]], ["7", "8", "007"]),
        ([["1", "01"]], ["1", "01"]),
        ([["5"], [" 5"], ["0x5"], ["-0"], ["+5"], ["5\n"], ["5"]], ["5", " 5", "0x5", "-0", "+5", "5\n"]),
        ([[str(2**63 - 1), str(-(2**63))]], [2**63 - 1, -(2**63)]),
        ([["1"], [str(2**63)]], ["1", str(2**63)]),
        ([["٣", "1"]], ["٣", "1"]),
        ([["a"], ["7"]], ["a", "7"]),
    ],
)
def test_text_is_integers_if_all_of_it_is(parts, want):
    growing = GrowingKeys()
    codes = [
        growing.encode(np.array(part, object), keys.Place("column"), text=True) for part in parts
    ]
    result = growing.keys()
    assert result.take(range(len(want))).tolist() == want
    texts = result.take(np.concatenate(codes)).astype(str).tolist()
    assert texts == [value for part in parts for value in part]


def test_text_behind_known_keys():
    growing = GrowingKeys(Keys([5, 7]))
    place = keys.Place("a.csv, column 'user'", 10)
    assert growing.encode(np.array(["7", "9"], object), place, text=True).tolist() == [1, 2]
    with pytest.raises(ArgumentError, match=r"row 12: expected integer keys, as before, got '09'"):
        growing.encode(np.array(["7", "8", "09"], object), place, text=True)
    growing = GrowingKeys(Keys(["5", "a"]))
    assert growing.encode(np.array(["7", "5"], object), place, text=True).tolist() == [2, 0]


FORMS = [
    np.array([3, -1, 3], np.int8), np.array([3, 2**63 - 1], np.uint64), [np.int32(3), 5],
    np.array([3, 4], object), (3, -4), range(3, 5), iter([3, 9]), np.arange(9)[3::2],
    np.array(["3", "ü"]), np.array(["3", ""], object), [np.str_("3"), "\0"],
    np.array(["3", "中文"], np.dtypes.StringDType()),
]


@pytest.mark.parametrize("values", FORMS, ids=range(len(FORMS)))
def test_forms(values):
    values = list(values) if hasattr(values, "__next__") else values
    grown = Keys(iter(values) if isinstance(values, list) else values)
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    assert grown.take(np.arange(len(grown))).tolist() == list(dict.fromkeys(plain))
    assert grown.kind == ("string" if isinstance(plain[0], str) else "integer")
    taken = grown.take([[0], [1]])
    assert taken.shape == (2, 1)
    assert taken.dtype == (object if grown.kind == "string" else np.int64)
    assert {type(value) for value in taken.reshape(-1).tolist()} == {type(plain[0])}


def test_frames_and_arrow_arrays():
    pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    for make in (pd.Series, pl.Series, pa.array, pd.Index):
        assert Keys(make(["a", "b", "a"])) == Keys(["a", "b"])
        assert Keys(make([2, -1, 2])) == Keys([2, -1])
        assert Keys(["a"]).codes(make(["b", "a"])).tolist() == [-1, 0]
    for nulls in (pd.Series(["a", None]), pd.Series([1, None], dtype="Int64"), pa.array([1, None])):
        with pytest.raises(ArgumentError, match=r"values.*null.*1|values\[1\].*null"):
            Keys(nulls)


def test_contains_nothing_of_another_type():
    assert 1 in Keys([1])
    assert np.int8(1) in Keys([1])
    for other in (True, 1.0, "1", 2**64, None, -1):
        assert other not in Keys([1])
    for other in (1, b"1", None, "2"):
        assert other not in Keys(["1"])
    assert 1 not in Keys()


def test_equality_and_repr():
    assert Keys() == Keys(np.array([], int)) == Keys(["a"]).from_arrays(Keys().to_arrays())
    assert Keys() != Keys([1])
    assert Keys([1]) != Keys(["1"])
    assert Keys([1]) != [1]
    assert repr(Keys(["a", "b"])) == "Keys(2 strings)"
    with pytest.raises(TypeError, match="unhashable"):
        hash(Keys())


def test_what_take_returns_is_a_copy():
    grown = Keys([5, 6])
    grown.take([0, 1])[:] = 0
    grown.to_arrays()["integers"][:] = 0
    assert grown == Keys([5, 6])


BAD = [
    ("tea", r"values: expected a list or an array, got 'tea'"),
    (7, "values: expected a list or an array, got 7"),
    ({"a": 1}, "values: expected a list"),
    ([[1, 2]], r"values\[0\]: expected a string or an integer, got \[1, 2\]"),
    (np.ones((2, 2), int), r"values: expected shape \(n,\)"),
    ([1, "a"], r"values\[1\]: expected integers, as before, got 'a'"),
    (["a", "b", 3], r"values\[2\]: expected strings, as before, got 3"),
    ([1, True], r"values\[1\]: expected integers, as before, got True"),
    ([1.0], r"values\[0\]: expected a string or an integer, got 1\.0; int\(\) makes an integer of it"),
    ([True], r"values\[0\]: expected a string or an integer, got True"),
    ([1, None], r"values\[1\]: expected a string or an integer, got null"),
    ([None], r"values\[0\]: expected a string or an integer, got null"),
    (["a", float("nan")], r"values\[1\]: expected a string or an integer, got null"),
    ([None, 1, 2.5], r"values\[2\]: expected integers, as before, got 2.5"),
    ([1, b"a"], r"values\[1\]: .* got b'a'"),
    (np.array([b"a"]), "values: expected strings or integers, got .S1"),
    (np.array([True]), "values: expected strings or integers, got bool"),
    (np.array([1.0, 2]), "values: expected strings or integers, got float64$"),
    (np.array([1.0, np.nan]), "got float64, and null in row 1"),
    (np.array(["2020"], "M8[s]"), r"values: expected strings or integers, got datetime64\[s\]"),
    (np.array([1, 2**63], np.uint64), r"values\[1\]: expected an integer below 2\*\*63, got 92233"),
    ([1, 2**63], r"values\[1\]: expected an integer in \[-2\*\*63, 2\*\*63\), got 9223372036854775808"),
    ([None, -(2**63) - 1], r"values\[1\]: expected an integer in"),
    (["a", "\ud800"], r"values\[1\]: expected a string that UTF-8 can hold, got '\\ud800'"),
    (np.ma.array([1, 2], mask=[False, True]), r"values\[1\]: .* got null"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=repr)
def test_what_is_no_key(values, message):
    for read in (Keys, Keys().extend, Keys([1]).codes, Keys(["a"]).codes):
        with pytest.raises(ArgumentError, match=message):
            read(values)


def test_keys_of_the_other_kind():
    with pytest.raises(ArgumentError, match=r"values\[0\]: expected integer keys, as before, got 'a'"):
        Keys([1]).extend(["a"])
    with pytest.raises(ArgumentError, match=r"values\[0\]: expected string keys, as before, got 2"):
        Keys(["a"]).codes([2])
    assert Keys().codes(["a", "a"]).tolist() == [-1, -1]
    assert Keys(["a"]).codes([]).tolist() == []


def test_codes_out_of_range():
    for codes in ([2], [-1]):
        with pytest.raises(ArgumentError, match=rf"codes: .*\[0, 2\), got {codes[0]} at codes\[0\]"):
            Keys(["a", "b"]).take(codes)
    with pytest.raises(ArgumentError, match="codes: expected integers, got float64"):
        Keys(["a", "b"]).take([0.5])


def test_nulls_and_bools_of_a_feature():
    for column in ([True, None, False, True], [True, float("nan"), False, True]):
        growing = GrowingKeys()
        codes = growing.encode(np.array(column, object), keys.Place("c"), feature=True)
        assert codes.tolist() == [0, -1, 1, 0]
        assert growing.keys() == Keys([1, 0])
    growing = GrowingKeys(Keys(["a"]))
    codes = growing.encode(np.array([None, None], object), keys.Place("c"), feature=True)
    assert codes.tolist() == [-1, -1]
    assert growing.keys() == Keys(["a"])


def test_more_keys_than_codes(monkeypatch):
    monkeypatch.setattr(keys, "_MOST", 3)
    grown = Keys([1, 2, 3, 1])
    with pytest.raises(ArgumentError, match="values: expected at most 3 distinct keys, got more"):
        grown.extend([4])
    assert grown == Keys([1, 2, 3])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"file: expected the arrays .* got \{\}"),
        ({"integers": np.ones(1)}, r"float64 of shape \(1,\)"),
        ({"integers": np.ones((1, 1), int)}, r"int64 of shape \(1, 1\)"),
        ({"integers": np.ones(1, int), "words": np.ones(1, np.uint8)}, "file: expected the arrays"),
        ({"integers": np.array([1, 1])}, "file: expected distinct keys, got 1 distinct ones of 2"),
        ({"words": np.frombuffer(b"aa", np.uint8), "offsets": np.arange(3)}, "got 1 distinct ones of 2"),
        ({"words": np.frombuffer(b"\xff", np.uint8), "offsets": np.arange(2)}, "a word in UTF-8"),
        ({"words": np.frombuffer(b"ab", np.uint8), "offsets": np.array([0, 1])}, "file, offsets"),
        ({"words": np.frombuffer(b"ab", np.uint8), "offsets": np.array([0, 3, 2])}, "file, offsets"),
    ],
)
def test_damaged_arrays(arrays, message):
    with pytest.raises(ArgumentError, match=message):
        Keys.from_arrays(arrays, "file")
