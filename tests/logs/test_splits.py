"""splits.py: the two parts are the whole, cut where the definition says, with its codes."""

import datetime as dt

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.interactions import read_interactions
from numba_ss.logs.splits import leave_one_out, split_by_time

# Time 0 ... 9 in steps that repeat; user 4 has one event, item 6 only the latest one.
ROWS = [
    (1, 5, 0), (2, 5, 9), (1, 7, 3), (3, 5, 3), (1, 5, 8), (4, 7, 5), (2, 5, 1), (3, 7, 3),
    (2, 6, 9), (1, 5, 8),
]


def events(log):
    """Return (user, item, time) in the log's order."""
    users = np.repeat(np.arange(log.num_users), np.diff(log.offsets))
    times = [None] * log.num_events if log.timestamps is None else log.timestamps.tolist()
    names = log.user_keys.take(users).tolist(), log.item_keys.take(log.items).tolist()
    return list(zip(*names, times, strict=True))


def check(log, train, test, in_test):
    got, want = events(log), ([], [])
    for event, chosen in zip(got, in_test, strict=True):
        want[bool(chosen)].append(event)
    assert (events(train), events(test)) == want
    for part in (train, test):
        assert part.offsets[0] == 0
        assert part.offsets[-1] == part.num_events
        assert part.user_keys is log.user_keys
        assert part.item_keys is log.item_keys
        assert part.user_features is log.user_features


def ref_last(log):
    found = [event[0] for event in events(log)]
    return [
        i == len(found) - 1 - found[::-1].index(user) and found.count(user) > 1
        for i, user in enumerate(found)
    ]


@pytest.mark.parametrize("columns", [2, 3])
def test_leave_one_out(columns):
    log = read_interactions(np.array(ROWS)[:, :columns], progress=False)
    train, test = leave_one_out(log)
    check(log, train, test, ref_last(log))
    last = {row[0]: row[1] for row in sorted(ROWS, key=lambda row: row[2] if columns == 3 else 0)}
    assert {user: item for user, item, _ in events(test)} == {u: last[u] for u in (1, 2, 3)}
    assert train.counts()[log.item_keys.codes([6])[0]] == 0
    assert events(log) == events(read_interactions(np.array(ROWS)[:, :columns], progress=False))


def test_users_with_one_event():
    log = read_interactions(np.array(ROWS)[[0, 1, 3]], progress=False)
    with pytest.raises(ArgumentError, match="interactions: expected a user with at least two events"):
        leave_one_out(log)


@pytest.mark.parametrize("at", [1, 3, 3.5, 8, 9, np.int64(5)])
def test_split_at_a_time(at):
    log = read_interactions(np.array(ROWS), progress=False)
    check(log, *split_by_time(log, at=at), [time >= at for _, _, time in events(log)])


@pytest.mark.parametrize(
    ("fraction", "first"),
    [(0.1, 9), (0.2, 9), (0.3, 8), (0.4, 8), (0.5, 5), (0.7, 3), (0.8, 3), (0.9, 1), (0.01, 9)],
)
def test_split_by_fraction(fraction, first):
    log = read_interactions(np.array(ROWS), progress=False)
    train, test = split_by_time(log, fraction)
    check(log, train, test, [time >= first for _, _, time in events(log)])
    assert test.num_events >= round(10 * fraction)


@pytest.mark.parametrize("share", np.arange(1, 10) / 10)
def test_fractions_of_distinct_times(share):
    rows = np.stack([np.zeros(50, int), np.arange(50), np.arange(50) / 1], 1).astype(int)
    _, test = split_by_time(read_interactions(rows, progress=False))
    assert test.num_events == 5
    train, test = split_by_time(read_interactions(rows, progress=False), share)
    assert test.num_events == round(50 * share)
    assert train.timestamps.max() < test.timestamps.min()


def test_nanoseconds_are_not_rounded():
    start = 1_700_000_000_000_000_000
    rows = np.array([[0, i, start + i] for i in range(10)])
    log = read_interactions(rows, progress=False)
    for split in (split_by_time(log, 0.3), split_by_time(log, at=start + 7)):
        assert split[1].timestamps.tolist() == [start + 7, start + 8, start + 9]


def test_a_time_of_any_form():
    start = 1_704_153_600  # 2024-01-02
    for scale in (1, 10**3, 10**6, 10**9):
        rows = np.array([[0, i, (start + i) * scale] for i in range(-5, 5)])
        log = read_interactions(rows, progress=False)
        moments = read_interactions(
            {"user": rows[:, 0], "item": rows[:, 1], "timestamp": rows[:, 2] * (10**9 // scale) + np.datetime64(0, "ns")},
            progress=False,
        )
        for source in (log, moments):
            for at in (
                start, float(start), start * 1000, start * 10**9, "2024-01-02", "2024-01-02T00:00:00Z",
                str(start), dt.date(2024, 1, 2), dt.datetime(2024, 1, 2), np.datetime64("2024-01-02"),
            ):
                train, test = split_by_time(source, at=at)
                assert test.item_keys.take(test.items).tolist() == list(range(5))
                assert test.timestamps.dtype == np.int64
                assert train.time_unit == source.time_unit
                assert test.split == f"split by time, from {at} on"


def test_splits_that_cannot_be():
    log = read_interactions(np.array(ROWS), progress=False)
    for arguments, message in [
        ({"at": 0}, "at: expected events on both sides, got 10 of 10 from the time 0 on"),
        ({"at": 10}, "at: expected events on both sides, got 0 of 10 from the time 10 on"),
        ({"at": "x"}, "at: expected numbers, timestamps"), ({"at": np.nan}, "at: expected a time, got null"),
        ({"at": np.inf}, "at: expected a finite time"), ({"at": True}, "at: expected numbers, timestamps"),
        ({"at": "2024-01-01"}, "interactions: expected timestamps in us as elsewhere, .* got numbers such as 0"),
        ({"fraction": 0}, r"fraction: expected a number in \(0, 1\), got 0"),
        ({"fraction": 1.0}, r"fraction: expected a number in \(0, 1\), got 1.0"),
        ({"fraction": None}, "fraction: expected a finite number, got None"),
        ({"fraction": 0.99}, "fraction: expected events on both sides, got 10 of 10 from the time 0"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            split_by_time(log, **arguments)
    pairs = read_interactions(np.array(ROWS)[:, :2], progress=False)
    with pytest.raises(ArgumentError, match="interactions: expected events with times, got none"):
        split_by_time(pairs)
