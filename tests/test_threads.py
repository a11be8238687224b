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


def run(pace, seconds_alone, seconds_together, steps):
    """Return for each step whether it was taken alone."""
    seen = []
    for _ in range(steps):
        seen.append(pace.alone)
        pace.record(seconds_alone if pace.alone else seconds_together)
    return seen


def test_all_threads_stay_where_they_are_faster():
    """What is tried beside costs a share that becomes small."""
    seen = run(threads.Pace(), 2.0, 1.0, 20_000)
    assert not any(seen[:32])
    assert 0 < sum(seen[:1000])
    assert sum(seen) < 100


def test_one_thread_is_found_to_be_faster():
    seen = run(threads.Pace(), 1.0, 1.3, 20_000)
    assert sum(seen) > 19_800
    assert seen[60:65] == [True] * 5


def test_a_hair_is_no_reason_to_change():
    assert sum(run(threads.Pace(), 0.95, 1.0, 20_000)) < 100


def test_what_is_faster_may_change():
    pace = threads.Pace()
    assert sum(run(pace, 2.0, 1.0, 3000)) < 100
    assert sum(run(pace, 1.0, 9.0, 20_000)) > 15_000  # another process wants a core
    assert sum(run(pace, 2.0, 1.0, 20_000)) < 5_000


def test_the_first_steps_after_a_change_do_not_count():
    """They compile, or wake threads."""
    pace, seen = threads.Pace(), []
    since = 0
    for _ in range(2000):
        seen.append(pace.alone)
        since = since + 1 if seen[-2:] == [pace.alone] * 2 else 0
        pace.record(1000.0 if since < 1 else 2.0 if pace.alone else 1.0)
    assert sum(seen) < 100


def test_a_change_of_the_setting_is_noticed(monkeypatch):
    """Not at once: to ask costs as much as a small step's checks do."""
    available, asked = 2, []

    def get_num_threads():
        asked.append(available)
        return available

    monkeypatch.setattr(threads.numba, "get_num_threads", get_num_threads)
    pace = threads.Pace()
    assert pace.threads_for(10) == 1
    assert not asked
    assert [pace.threads_for(10**9) for _ in range(8)] == [2] * 8
    available = 5
    seen = [pace.threads_for(10**9) for _ in range(100)]
    assert seen[:8] + seen[-80:] == [2] * 8 + [5] * 80
    assert len(asked) < 10
