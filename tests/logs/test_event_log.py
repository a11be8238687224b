"""event_log.py: batches however cut are one log, grouped, and nothing known is touched."""

from itertools import pairwise

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.event_log import EventLog
from numba_ss.logs.interactions import Feature, Interactions
from numba_ss.logs.keys import Keys
from numba_ss.logs.sources import Batch, Columns

COLUMNS = Columns("user", "item", "time", ("age",), ("kind",))
ROWS = {
    "user": np.array([9, 8, 9, 7, 8, 9]),
    "item": np.array(["x", "y", "y", "z", "z", "y"]),
    "time": np.array([4, 3, 4, 3, 1, 4]),
    "age": np.array([30, 20, None, 10, 25, 31], object),
    "kind": np.array(["a", None, "b", "c", "d", "c"], object),
}


def grouped(cuts, known=None, columns=COLUMNS):
    log, edges = EventLog(columns, known), [0, *cuts, 6]
    for start, stop in pairwise(edges):
        log.add("log", Batch(start, {name: ROWS[name][start:stop] for name in columns.all()}))
    return log.grouped()


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 3, 4, 5], [0, 0, 6]])
def test_batches_are_one_log(cuts):
    got = grouped(cuts)
    assert got.user_keys == Keys([9, 8, 7])
    assert got.item_keys == Keys(["y", "z", "x"])
    assert got.offsets.tolist() == [0, 3, 5, 6]
    assert got.items.tolist() == [2, 0, 0, 1, 0, 1]
    assert got.timestamps.tolist() == [4, 4, 4, 1, 3, 3]
    age, kind = got.user_features["age"], got.item_features["kind"]
    assert age.keys == Keys([30, 20, 10, 25, 31])
    assert age.codes.tolist() == [5, 2, 3]  # 31, then 20 at time 3, then 10
    assert kind.keys == Keys(["a", "b", "c", "d"])
    assert kind.codes.tolist() == [3, 3, 1]
    assert (age.codes.dtype, got.items.dtype) == (np.int32, np.int32)


def test_without_times():
    got = grouped([2], columns=COLUMNS._replace(time=None))
    assert got.timestamps is None
    assert got.items.tolist() == [2, 0, 0, 0, 1, 1]
    assert got.user_features["age"].codes.tolist() == [5, 4, 3]
    assert got.item_features["kind"].codes.tolist() == [3, 4, 1]


def test_what_is_known_of_a_later_time_stays():
    """User 9 was last seen at 9, user 8 at 2, item "y" at 9 with an unknown kind."""
    known = Interactions(
        Keys([9, 8]), Keys(["y", "x"]), np.array([0, 2, 3]), np.array([0, 1, 1], np.int32),
        np.array([2, 9, 2]), {"age": Feature(np.array([1, 1], np.int32), Keys([99]))},
        {"kind": Feature(np.array([0, 1], np.int32), Keys(["k"]))}, "integers",
    )
    got = grouped([3], known)
    age, kind = got.user_features["age"], got.item_features["kind"]
    assert [age.keys.take([code - 1]).tolist() for code in age.codes] == [[99], [20], [10]]
    values = [kind.keys.take([code - 1]).tolist() for code in kind.codes]
    assert values[:2] == [["c"], ["k"]]


def test_times_of_another_unit_than_the_known_ones():
    day = 86400 * 10**6
    known = Interactions(
        Keys([9, 8]), Keys(["y", "x"]), np.array([0, 1, 2]), np.array([0, 1], np.int32),
        np.array([20_000 * day, 19_998 * day]), {"age": Feature(np.array([1, 1], np.int32), Keys([99]))},
        {}, "timestamps in us",
    )
    ages = {}
    for scale in (1, 1000):
        log = EventLog(COLUMNS._replace(item_features=()), known)
        stamps = scale * 86400 * np.array([19_999, 20_001])
        log.add("log", Batch(0, {"user": [9, 8], "item": ["x", "x"], "age": [1, 2], "time": stamps}
                | {name: np.array(v, object) for name, v in {"user": [9, 8], "item": ["x", "x"], "age": [1, 2]}.items()}))
        got = log.grouped()
        assert got.time_unit == "timestamps in us"
        assert got.timestamps.tolist() == [19_999 * day, 20_001 * day]
        age = got.user_features["age"]
        ages[scale] = [age.keys.take([code - 1]).tolist() for code in age.codes]
    # User 9 has been seen since.
    assert ages == {1: [[99], [2]], 1000: [[99], [2]]}
    log = EventLog(COLUMNS, known)
    log.add("log", Batch(0, ROWS))
    with pytest.raises(ArgumentError, match=r"log, column 'time': expected timestamps in us as elsewhere"):
        log.grouped()


def test_known_keys_keep_their_codes_and_are_not_changed():
    known = Interactions(
        Keys([1, 8]), Keys(["w", "z"]), np.zeros(3, np.int64), np.zeros(0, np.int32), None,
        {"age": Feature(np.array([1, 2], np.int32), Keys([99, 20]))},
        {"kind": Feature(np.array([1, 0], np.int32), Keys(["k"]))},
    )
    got = grouped([4], known)
    assert got.user_keys == Keys([1, 8, 9, 7])
    assert got.item_keys == Keys(["w", "z", "y", "x"])
    assert got.offsets.tolist() == [0, 0, 2, 5, 6]
    assert got.items.tolist() == [1, 2, 3, 2, 2, 1]
    assert got.user_features["age"].keys == Keys([99, 20, 30, 10, 25, 31])
    assert got.user_features["age"].codes.tolist() == [1, 2, 6, 4]
    assert got.item_features["kind"].keys == Keys(["k", "a", "b", "c", "d"])
    assert got.item_features["kind"].codes.tolist() == [1, 4, 4, 2]
    assert known.user_keys == Keys([1, 8])
    assert known.item_keys == Keys(["w", "z"])
    assert known.user_features["age"].keys == Keys([99, 20])
    assert known.user_features["age"].codes.tolist() == [1, 2]


def test_errors_name_the_table_the_column_and_the_row():
    log = EventLog(COLUMNS)
    log.add("a.csv", Batch(0, ROWS))
    for change, message in [
        ({"time": np.array([None] * 6)}, "b.csv, column 'time', row 7: expected a time, got null"),
        ({"user": np.array(["a"] * 6)}, "b.csv, column 'user', row 7: expected integer keys, as before"),
        ({"item": np.array(["a"] * 5 + [None], object)}, "b.csv, column 'item', row 12: .* got null"),
        ({"age": np.array([None] * 5 + ["a"], object)}, "b.csv, column 'age', row 12: expected integer keys"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            log.add("b.csv", Batch(7, ROWS | change))
