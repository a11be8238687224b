"""signals.py: exit statuses, and signals that come one upon the other."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from numba_ss.training.signals import (
    SIGNALS,
    Interrupted,
    RaisesOnce,
    deferred_interrupt,
    exit_status,
    raise_for,
)
from tests.conftest import needs_jit

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")
OTHERS = [number for number in SIGNALS if number != signal.SIGINT]


def raised(number):
    with pytest.raises(KeyboardInterrupt) as caught:
        raise_for(number)
    return caught.value


def test_which_signals():
    assert SIGNALS == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


def test_statuses():
    assert type(raised(signal.SIGINT)) is KeyboardInterrupt
    assert exit_status(raised(signal.SIGINT)) == 130
    for number in OTHERS:
        assert type(raised(number)) is Interrupted
        assert exit_status(raised(number)) == raised(number).code == 128 + number


@pytest.mark.parametrize("number", OTHERS)
def test_a_process_that_catches_nothing_ends_with_the_status_and_no_traceback(number):
    script = f"from numba_ss.training.signals import raise_for; raise_for({int(number)})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (128 + number, b"")


def test_the_first_one_raises_and_others_do_not():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with RaisesOnce(restore=True) as handler:
        with pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.number == signal.SIGTERM
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        assert handler.raised
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_what_is_ignored_or_handled_by_others_stays_so():
    def own(number, frame):
        seen.append(number)

    seen = []
    before = [signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR1, own)]
    try:
        with RaisesOnce(restore=True):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGUSR1, before[1])


def test_another_thread_handles_none():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with RaisesOnce(restore=True):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_without_restore_nothing_interrupts_the_end_of_the_process():
    script = """
import os, signal
from numba_ss.training.signals import RaisesOnce
with RaisesOnce(restore=False):
    pass
for i in range(5):
    os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@needs_jit
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_text_from_standard_input_is_removed(tmp_path, name):
    """Both while it is copied and while it is learned from."""
    number = getattr(signal, name)
    command = [sys.executable, "-m", "numba_ss", "word2vec", "-", "-o", "v.npz", "--epochs", "999999"]
    for ends in (False, True):
        # A shell that runs this in the background makes it deaf to Ctrl-C.
        process = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)}, stdin=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        process.stdin.write(b"one two three four five\n" * 20_000)
        process.stdin.flush()
        if ends:
            process.stdin.close()
            process.stdin = None
            while b"compiling" not in (line := process.stderr.readline()) and b"vocabulary" not in line:
                assert line, "ended"
        else:
            while not list(tmp_path.glob("numba_ss-*")):
                assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == 128 + number, errors
        assert b"Traceback" not in errors
        assert list(tmp_path.iterdir()) == []


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(error):
    with deferred_interrupt():
        interrupt()
        raise error


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
    """The inner context catches the signal; the outer one does not notice it."""
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
    """So a second signal cannot interrupt the cleaning up after the first one."""
    with RaisesOnce(restore=True), deferred_interrupt() as asked:
        interrupt()
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        for _ in range(3):
            interrupt()
