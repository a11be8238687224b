"""times.py: times of every form, and those of different units side by side."""

import datetime as dt
import decimal

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.columns import Place, as_array
from numba_ss.logs.times import single_time, times, to_one_unit

PLACE = Place("log, column 'c'", 40)
DAYS = [dt.date(2020, 1, 2), dt.date(1969, 12, 30), dt.date(2020, 1, 2)]


def test_times_of_every_form():
    pa = pytest.importorskip("pyarrow")
    integers, floats = [5, -3, 2**53 + 1], [0.5, -2.0, 7.0]
    stamps = [dt.datetime(2020, 1, 2, 3), dt.datetime(1960, 1, 1), dt.datetime(2020, 1, 1)]
    micro = np.array(stamps, "M8[us]").astype(np.int64).tolist()
    cases = [
        ([np.array(integers), as_array("c", integers), pa.chunked_array([integers])], "integers", integers),
        ([np.array([1, 2], np.uint8), pa.chunked_array([[1, 2]], pa.uint64())], "integers", [1, 2]),
        ([np.array(floats), as_array("c", floats), pa.chunked_array([floats])], "floats", floats),
        ([np.array(floats, np.float32), pa.chunked_array([floats], pa.float32())], "floats", floats),
        ([as_array("c", [1, 0.5])], "floats", [1.0, 0.5]),
        ([as_array("c", ["1970/01/02", "1970-01-01 00:00:01"])], "timestamps in us", [86_400_000_000, 1_000_000]),
        ([pa.chunked_array([[decimal.Decimal("1.5"), decimal.Decimal(-2)]])], "floats", [1.5, -2.0]),
        ([pa.chunked_array([pa.array([10**18 + 1, 3], pa.decimal128(38, 0))])], "integers", [10**18 + 1, 3]),
        ([np.array(stamps, "M8[us]")], "timestamps in us", micro),
        ([pa.chunked_array([stamps[:1], stamps[1:]])], "timestamps in us", micro),
        ([pa.chunked_array([stamps], pa.timestamp("us", "UTC"))], "timestamps in us", micro),
        ([pa.chunked_array([stamps], pa.timestamp("s"))], "timestamps in s", [m // 10**6 for m in micro]),
        ([pa.chunked_array([DAYS])], "timestamps in D", [18263, -2, 18263]),
        ([pa.chunked_array([DAYS], pa.date64())], "timestamps in ms", [d * 86400000 for d in (18263, -2, 18263)]),
    ]
    for forms, unit, want in cases:
        for form in forms:
            got_unit, got = times(form, PLACE)
            assert got_unit == unit
            assert got.dtype == (np.float64 if unit == "floats" else np.int64)
            assert got.tolist() == want


def test_what_is_no_time():
    pa = pytest.importorskip("pyarrow")
    for form, message in [
        (as_array("c", [1, None]), "row 41: expected a time, got null"),
        (as_array("c", [0.5, float("nan")]), "row 41: expected a time, got null"),
        (np.array([0.5, np.nan]), "row 41: expected a finite time, got nan"),
        (np.array([np.inf]), "row 40: expected a finite time, got inf"),
        (np.array(["2020", "NaT"], "M8[s]"), "row 41: expected a time, got null"),
        (np.array([2**63], np.uint64), r"row 40: expected an integer below 2\*\*63"),
        (as_array("c", ["1", "one"]), "row 41: expected numbers, timestamps, or their text as 2024-12-31T10:00, got 'one'"),
        (as_array("c", ["2024/01/02", "31/12/2024"]), "row 41: expected numbers, .* got '31/12/2024'"),
        (as_array("c", ["1", "1_0"]), "row 41: expected numbers, timestamps, or their text as 2024-12-31T10:00, got '1_0'"),
        (pa.chunked_array([["1", "0x10"]]), "row 41: expected numbers, .* got '0x10'"),
        (pa.chunked_array([["1", "1_0"]]), "row 41: expected numbers, .* got '1_0'"),
        (as_array("c", [True]), "row 40: expected numbers, timestamps, or their text as 2024-12-31T10:00, got True"),
        (np.array([1j]), "column 'c': expected numbers, timestamps, or their text as 2024-12-31T10:00, got complex128"),
        (as_array("c", [2**63]), r"expected integers in \[-2\*\*63, 2\*\*63\), got larger ones"),
        (pa.chunked_array([[1, None]]), "row 41: expected a time, got null"),
        (pa.chunked_array([pa.nulls(1)]), "row 40: expected a time, got null"),
        (pa.chunked_array([[0.5, float("nan")]]), "row 41: expected a finite time, got nan"),
        (pa.chunked_array([DAYS, [None]]), "row 43: expected a time, got null"),
        (pa.chunked_array([[2**63]], pa.uint64()), r"row 40: expected an integer below 2\*\*63"),
        (pa.chunked_array([["2020-01-01"], ["a" * 999]]), "row 41: expected numbers, .*, got 'a{99}...$"),
        (pa.chunked_array([pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())]), "row 40: expected numbers"),
        (pa.chunked_array([[[1]]]), "column 'c': expected numbers, timestamps, or their text as 2024-12-31T10:00, got list"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            times(form, PLACE)


def test_columns_of_other_libraries():
    pd, pl = map(pytest.importorskip, ("pandas", "polars"))
    for array in (pd.Series([1.5, 2], dtype="Float64"), pl.Series([1.5, 2.0]), pd.Series([1.5, 2])):
        assert times(as_array("c", array), PLACE)[1].tolist() == [1.5, 2.0]
    pa = pytest.importorskip("pyarrow")
    table = pa.table(pl.DataFrame({"c": pl.Series(["2024-01-02", "2024-01-03"], dtype=pl.Categorical)}))
    assert times(table["c"], PLACE)[0] == "timestamps in ns"


START = 1_704_153_600  # 2024-01-02


def test_text_of_times():
    pa = pytest.importorskip("pyarrow")
    for texts, unit, want in [
        (["5", "-3"], "integers", [5, -3]), (["5", "0.5"], "floats", [5.0, 0.5]),
        (["2024-01-02", "2024-01-02 00:00:01", "2024-01-02T00:00:00.25"], "s", [0, 1, 0.25]),
        (["2024-01-02T00:00:00Z", "2024-01-02T01:00:00+01:00"], "s", [0, 0]),
        (["2024-01-02", "2024-01-02T02:00:00+01:00"], "s", [0, 3600]),
        (["2024-01-02", str(START + 5), str(1000 * START + 6500)], "s", [0, 5, 6.5]),
    ]:
        for form in (as_array("c", texts), np.array(texts), pa.chunked_array([texts]), pa.chunked_array([texts], pa.large_string()),
                     pa.chunked_array([pa.array(texts[:1]).dictionary_encode(), pa.array(texts[1:]).dictionary_encode()])):
            (got_unit, got) = times(form, PLACE)
            if unit == "s":
                second = 10 ** {"ms": 3, "us": 6, "ns": 9}[got_unit[-2:]]
                got_unit, got = unit, (got - START * second) / second
            assert (got_unit, got.tolist()) == (unit, want)


def test_text_of_nanoseconds():
    pa = pytest.importorskip("pyarrow")
    texts = [f"2024-01-02T01:00:00.{digits}+01:00" for digits in ("000000002", "00000000", "1234567")]
    for form in (as_array("c", texts), pa.chunked_array([texts])):
        assert (times(form, PLACE)[1] - START * 10**9).tolist() == [2, 0, 123_456_700]


def test_objects_of_python():
    pd = pytest.importorskip("pandas")
    moment = dt.datetime(2024, 1, 2, 0, 0, 1)
    zone = dt.timezone(dt.timedelta(hours=2))
    values = [
        dt.date(2024, 1, 2), moment, moment.replace(tzinfo=zone), pd.Timestamp(moment),
        np.datetime64("2024-01-02", "D"), "2024-01-02", START, START + 0.5,
    ]
    unit, got = times(as_array("c", values), PLACE)
    assert unit == "timestamps in us"
    assert (got / 1e6 - START).tolist() == [0, 1, 1 - 7200, 1, 0, 0, 0, 0.5]
    fine = [moment, pd.Timestamp(1000 * (10**6 * START) + 7)]
    assert times(as_array("c", fine), PLACE)[1].tolist() == [(START + 1) * 10**9, START * 10**9 + 7]
    # What stands for "for ever" does not fit in nanoseconds.
    assert times(as_array("c", [dt.datetime(9999, 12, 31)]), PLACE)[0] == "timestamps in us"
    assert single_time("at", moment)[1].tolist() == [(START + 1) * 10**6]
    with pytest.raises(ArgumentError, match=r"^at: expected numbers, timestamps, or their text as 2024-12-31T10:00, got 'no'"):
        single_time("at", "no")


def one_unit(*parts):
    unit, values = to_one_unit([f"part {i}" for i in range(len(parts))], [(unit, np.array(values)) for unit, values in parts])
    return unit, [part.tolist() for part in values]


def test_one_unit():
    seconds, millis = [START, START + 1], [1000 * START + 2]
    integers, floats = ("integers", seconds), ("floats", [START + 0.25])
    for parts, unit, want in [
        ([integers], "integers", [seconds]),
        ([integers, ("integers", [START])], "integers", [seconds, [START]]),
        ([("integers", [1, 2]), ("floats", [0.5])], "floats", [[1.0, 2.0], [0.5]]),
        ([integers, floats], "floats", [[float(s) for s in seconds], [START + 0.25]]),
        ([integers, ("integers", millis)], "timestamps in ms", [[1000 * s for s in seconds], millis]),
        ([("integers", seconds + millis)], "timestamps in ms", [[1000 * s for s in seconds] + millis]),
        ([("timestamps in D", [19724]), integers], "timestamps in s", [[START], seconds]),
        ([("timestamps in ns", [5]), ("timestamps in D", [1])], "timestamps in ns", [[5], [86400 * 10**9]]),
        ([("timestamps in s", [5]), floats], "timestamps in us", [[5 * 10**6], [START * 10**6 + 250000]]),
        ([("timestamps in s", [5]), ("integers", [])], "timestamps in s", [[5], []]),
        # A number that is no time among them: then all are what they are.
        ([integers, ("integers", [7, *millis])], "integers", [seconds, [7, *millis]]),
        ([("integers", [START, 5 * 10**9, 1000 * START])], "integers", [[START, 5 * 10**9, 1000 * START]]),
    ]:
        assert one_unit(*parts) == (unit, want)


def test_what_has_no_common_unit():
    for parts, message in [
        ([("timestamps in s", [1]), ("integers", [7])], "part 1: expected timestamps in s as elsewhere, .* got numbers such as 7"),
        ([("timestamps in ns", [1]), ("timestamps in D", [10**6])], "part 1: expected times that 64 bits hold in ns"),
        ([("integers", [2**53 + 1]), ("floats", [0.5])], r"part 0: expected integers up to 9007199254740992 among floats, got"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            one_unit(*parts)
