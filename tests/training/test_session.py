"""session.py: what is told to callbacks, and Ctrl-C in its place."""

import os
import signal
import threading

import pytest

import numba_ss
from numba_ss import ArgumentError
from numba_ss.training.session import (
    TrainingDivergedError,
    TrainingEvent,
    check_callbacks,
    deferred_interrupt,
)
from numba_ss.training.signals import Interrupted, RaisesOnce


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(error):
    with deferred_interrupt():
        interrupt()
        raise error


def test_public_names():
    assert numba_ss.TrainingEvent is TrainingEvent
    assert numba_ss.TrainingDivergedError is TrainingDivergedError
    assert issubclass(TrainingDivergedError, FloatingPointError)


def test_the_first_interrupt_is_noted(caplog):
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as asked:
        assert not asked()
        interrupt()
        assert asked()
        assert "once more to stop at once" in caplog.text
        assert asked()
    assert asked()
    assert signal.getsignal(signal.SIGINT) is before
    with deferred_interrupt() as asked:
        assert not asked()


def test_the_second_interrupt_raises():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as asked:
        interrupt()
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_the_handler_before_comes_back_after_an_error(error):
    caught = []

    def handler(number, frame):
        caught.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(error):
            interrupted(error)
        assert signal.getsignal(signal.SIGINT) is handler
        assert caught == []
        interrupt()
        assert caught == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_ignores_interrupts_goes_on_to():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt() as asked:
            interrupt()
            interrupt()
            assert not asked()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_caught():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with deferred_interrupt() as asked:
            seen.extend([asked(), signal.getsignal(signal.SIGINT) is before])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_one_inside_the_other():
    """The inner one catches; the outer one learns nothing of it."""
    with deferred_interrupt() as outer:
        with deferred_interrupt() as inner:
            interrupt()
            assert (outer(), inner()) == (False, True)
        interrupt()
        assert outer()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_other_signals_are_noted_as_ctrl_c_is(name, caplog):
    number = getattr(signal, name, None) or pytest.skip("no such signal")
    before = signal.getsignal(number)

    def finish_the_step(asked):
        os.kill(os.getpid(), number)
        assert asked()
        assert "once more to stop at once" in caplog.text
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught, deferred_interrupt() as asked:
        finish_the_step(asked)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before
    with deferred_interrupt():
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), number)


def test_signals_that_somebody_else_handles_are_theirs():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with deferred_interrupt() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not asked()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_in_a_command_no_more_than_one_signal_is_raised():
    """So that nothing interrupts what the first one has cleaned up."""
    with RaisesOnce(restore=True), deferred_interrupt() as asked:
        interrupt()
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        for _ in range(3):
            interrupt()


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
