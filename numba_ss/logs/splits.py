"""Splits of a log of events into one for training and one for testing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.logs.interactions import Interactions
from numba_ss.logs.times import Times, single_time, to_one_unit


def _split(
    interactions: Interactions, in_test: NDArray[np.bool_], how: str
) -> tuple[Interactions, Interactions]:
    return _select(interactions, ~in_test, how), _select(interactions, in_test, how)


def _select(interactions: Interactions, chosen: NDArray[np.bool_], how: str) -> Interactions:
    stamps: Any = interactions.timestamps
    return replace(
        interactions,
        offsets=np.append(0, np.cumsum(chosen))[interactions.offsets],
        items=interactions.items[chosen],
        timestamps=None if stamps is None else stamps[chosen],
        split=how,
    )


def leave_one_out(interactions: Interactions) -> tuple[Interactions, Interactions]:
    """Use the last event of each user who has at least two events for the test.

    Parameters
    ----------
    interactions : Interactions
        If events have no time, the last event is the last one in the order of the log.

    Returns
    -------
    train, test : Interactions
        Both have the keys, codes and features of the whole log, so an item may have no event in
        one of them. The value of a feature is that of the last event in the whole log: if it
        changes between events, the train part knows something about the test.

    Raises
    ------
    ArgumentError
        If no user has two events.

    Examples
    --------
    >>> from numba_ss.logs.interactions import read_interactions
    >>> log = read_interactions(np.array([[7, 1], [7, 2], [8, 2], [7, 3]]), progress=False)
    >>> train, test = leave_one_out(log)
    >>> [len(train.history(user)) for user in range(2)], test.item_keys.take(test.history(0))
    ([2, 1], array([3]))
    """
    lengths = np.diff(interactions.offsets)
    in_test = np.zeros(interactions.num_events, bool)
    in_test[interactions.offsets[1:][lengths >= 2] - 1] = True
    if not in_test.any():
        _checks.fail("interactions", "a user with at least two events", "none")
    return _split(interactions, in_test, "leave one out")


def split_by_time(
    interactions: Interactions, fraction: float = 0.1, *, at: Any = None
) -> tuple[Interactions, Interactions]:
    """Use all events from a given time on for the test.

    Parameters
    ----------
    interactions : Interactions
        Events with times.
    fraction : float, default=0.1
        The share of the events in the test, in (0, 1). The share is larger if several events
        have the same time as the first one of the test, because these are not separated.
    at : int, float, str, date or datetime, optional
        The first time of the test, instead of `fraction`: in the unit of `timestamps`, or in any
        other form that times of a log can have, such as "2024-03-01" or seconds since 1970.

    Returns
    -------
    train, test : Interactions
        Both have the keys, codes and features of the whole log, so an item may have no event in
        one of them. The value of a feature is that of the last event in the whole log: if it
        changes between events, the train part knows something about the test.

    Raises
    ------
    ArgumentError
        If events have no times, or one side has no event.

    Examples
    --------
    >>> from numba_ss.logs.interactions import read_interactions
    >>> log = read_interactions(np.array([[7, 1, 10], [7, 2, 30], [8, 2, 20]]), progress=False)
    >>> train, test = split_by_time(log, at=20)
    >>> train.timestamps, test.timestamps
    (array([10]), array([30, 20]))
    """
    stamps: Any = interactions.timestamps
    if stamps is None:
        _checks.fail("interactions", "events with times", "none, which leave_one_out can split")
    if at is None:
        first = _first_time(stamps, fraction)
    else:
        stamps, first = _with_given_time(interactions.time_unit, stamps, at)
    in_test = stamps >= first
    if in_test.all() or not in_test.any():
        shown = first if at is None else at
        got = f"{in_test.sum()} of {len(in_test)} from the time {shown} on"
        _checks.fail("fraction" if at is None else "at", "events on both sides", got)
    return _split(interactions, in_test, f"split by time, from {first if at is None else at} on")


def _with_given_time(unit: str, stamps: Any, at: Any) -> tuple[Any, Any]:
    """Return the times of a log and a given time in one unit."""
    own, given = single_time("at", at)
    if own in ("integers", "floats") and stamps.min() <= given[0] <= stamps.max():
        return stamps, given[0]
    _, (stamps, given) = to_one_unit(["interactions", "at"], [(unit, stamps), (own, given)])
    return stamps, given[0]


def _first_time(stamps: Times, fraction: float) -> Any:
    share = _checks.number("fraction", fraction)
    if not 0 < share < 1:
        _checks.fail("fraction", "a number in (0, 1)", fraction)
    # An element of the array: a quantile would be a float64, which cannot hold nanoseconds.
    rank = len(stamps) - max(1, round(share * len(stamps)))
    return np.partition(stamps, rank)[rank]
