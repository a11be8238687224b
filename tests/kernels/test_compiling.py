"""_compiling.py: who waits is told, once for all kernels that follow each other."""

import logging
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from numba_ss.kernels import _compiling
from numba_ss.kernels._compiling import Compilations, signals_wait
from numba_ss.kernels._jit import exact_kernel
from tests.conftest import needs_jit

numba = pytest.importorskip("numba")


@pytest.fixture
def clock(monkeypatch):
    """A list with the time in it."""
    now = [1000.0]
    monkeypatch.setattr(_compiling, "monotonic", lambda: now[0])
    monkeypatch.setattr(_compiling.in_log, "ended", 0.0)
    return now


def compilation(kernel, inside=lambda: None):
    """Have Numba tell of a compilation, and call a function in the middle of it."""
    with numba.core.event.trigger_event("numba:compile", data={"dispatcher": kernel}):
        inside()


@pytest.fixture
def kernel():
    return exact_kernel(lambda x: x)


@needs_jit
def test_a_real_compilation_is_told(caplog, kernel, monkeypatch):
    caplog.set_level(logging.INFO, "numba_ss")
    monkeypatch.setattr(_compiling.in_log, "ended", -1e9)
    told = []
    compilations = Compilations(lambda: told.append(1))
    compilations.start()
    kernel._cache = type("NoCache", (type(kernel._cache),), {
        "load_overload": lambda *_: None, "save_overload": lambda *_: None,
    })(kernel.py_func)
    kernel(1.5)
    assert told == [1]
    assert compilations.seconds > 0
    kernel(2.5)  # is compiled
    compilations.stop()
    kernel(1)
    assert told == [1]
    assert caplog.messages == ["compiling for this machine, once: this takes up to a minute"]


@needs_jit
def test_signals_wait_for_the_end_of_a_compilation(kernel, monkeypatch):
    seen = []

    class Interrupted(type(kernel._cache)):
        def load_overload(self, *_):
            signal.raise_signal(signal.SIGINT)
            with signals_wait():  # of a kernel inside this one
                signal.raise_signal(signal.SIGINT)
            seen.append("loaded")

        def save_overload(self, *_):
            seen.append("compiled")

    kernel._cache = Interrupted(kernel.py_func)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        kernel(1.5)
    assert seen == ["loaded", "compiled"]
    assert signal.getsignal(signal.SIGINT) is before
    assert kernel(1.5) == 1.5
    assert seen == ["loaded", "compiled"]


def test_other_threads_have_no_signals_to_hold_back():
    with ThreadPoolExecutor(1) as pool, signals_wait():
        held = signal.getsignal(signal.SIGINT)
        assert pool.submit(lambda: signals_wait()(signal.getsignal)(signal.SIGINT)).result() is held


@needs_jit
def test_only_the_outermost_compilation_counts(clock, kernel):
    compilations = Compilations(lambda: None)
    compilations.start()

    def later():
        clock[0] += 3

    def inside():
        later()
        compilation(kernel, later)
        later()

    compilation(kernel, inside)
    assert compilations.seconds == 9
    compilation(numba.njit(lambda x: x), later)  # of the caller's own
    assert compilations.seconds == 9
    compilations.stop()


@needs_jit
def test_who_begins_to_listen_in_the_middle_counts_from_the_next_one(clock, kernel):
    compilations = Compilations(lambda: None)

    def start():
        clock[0] += 3
        compilations.start()

    compilation(kernel, start)
    assert compilations.seconds == 0
    compilation(kernel, lambda: clock.__setitem__(0, clock[0] + 2))
    compilations.stop()
    assert compilations.seconds == 2


@needs_jit
def test_the_log_tells_again_after_other_work(clock, kernel, caplog):
    caplog.set_level(logging.INFO, "numba_ss")
    for seconds in (0, 1, 1, 60):
        clock[0] += seconds
        compilation(kernel)
    assert len(caplog.messages) == 2
