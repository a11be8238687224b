"""kernels/threads.py: settings are put back, and small work stays on one thread."""

import os
import subprocess
import sys

import numba
import pytest

from numba_ss.kernels import threads


def test_use_threads_puts_the_setting_back():
    before = numba.get_num_threads()
    with threads.use_threads(1):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before
    with pytest.raises(KeyError), threads.use_threads(1):
        raise KeyError
    assert numba.get_num_threads() == before
    with threads.use_threads(None):
        assert numba.get_num_threads() == before


def test_threads_for():
    assert threads.threads_for(10) == 1
    assert threads.threads_for(10**9) == numba.get_num_threads() <= threads.max_num_threads()


@pytest.mark.parametrize("available", [1, 2, 8])
def test_threads_for_update(available, monkeypatch):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: available)
    assert threads.threads_for_update(10**9) == available
    assert threads.threads_for_update(10) == 1


@pytest.mark.parametrize(
    ("given", "want"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_the_caller_decides_how_long_threads_spin(given, want):
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    script = "import os, numba_ss.kernels.threads; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == want
