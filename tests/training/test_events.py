"""events.py: what callbacks are told, and what they may raise."""

import pytest

import numba_ss
from numba_ss import ArgumentError
from numba_ss.training.events import (
    StopTraining,
    TrainingDivergedError,
    TrainingEvent,
    check_callbacks,
)


def test_public_names():
    assert numba_ss.TrainingEvent is TrainingEvent
    assert numba_ss.StopTraining is StopTraining
    assert numba_ss.TrainingDivergedError is TrainingDivergedError
    assert issubclass(TrainingDivergedError, FloatingPointError)


def test_callbacks():
    def one(event):
        return event

    assert check_callbacks(one) == [one]
    assert check_callbacks([]) == check_callbacks(()) == []
    assert check_callbacks((one, print)) == [one, print]
    assert check_callbacks(c for c in (one,)) == [one]


@pytest.mark.parametrize(
    ("message", "callbacks"),
    [
        ("callbacks: expected a function of one event, or a list of them, got None", None),
        ("callbacks: expected a function of one event, or a list of them, got 5", 5),
        (r"callbacks\[1\]: expected a function of one event, got 5", [print, 5]),
        (r"callbacks\[0\]: expected a function of one event, got 'p'", "print"),
    ],
)
def test_bad_callbacks(message, callbacks):
    with pytest.raises(ArgumentError, match=rf"^{message}$"):
        check_callbacks(callbacks)
