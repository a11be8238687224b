"""autotune.py: the faster number of threads is found, and found again when it changes."""

from contextlib import nullcontext

from numba_ss.engine import autotune
from numba_ss.engine.autotune import ThreadTuner
from numba_ss.kernels.core import threads


def run(tuner, seconds_alone, seconds_together, steps):
    """Return for each step whether it was taken alone."""
    seen = []
    for _ in range(steps):
        seen.append(tuner.alone)
        tuner.record(seconds_alone if tuner.alone else seconds_together)
    return seen


def test_all_threads_stay_where_they_are_faster():
    """The share of time that trials take becomes small."""
    seen = run(ThreadTuner(), 2.0, 1.0, 20_000)
    assert not any(seen[:32])
    assert 0 < sum(seen[:1000])
    assert sum(seen) < 100


def test_one_thread_is_found_to_be_faster():
    seen = run(ThreadTuner(), 1.0, 1.3, 20_000)
    assert sum(seen) > 19_800
    assert seen[60:65] == [True] * 5


def test_a_hair_is_no_reason_to_change():
    assert sum(run(ThreadTuner(), 0.95, 1.0, 20_000)) < 100


def test_what_is_faster_may_change():
    tuner = ThreadTuner()
    assert sum(run(tuner, 2.0, 1.0, 3000)) < 100
    assert sum(run(tuner, 1.0, 9.0, 20_000)) > 15_000  # another process wants a core
    assert sum(run(tuner, 2.0, 1.0, 20_000)) < 5_000


def test_the_first_steps_after_a_change_do_not_count():
    """These steps may compile, or wake threads."""
    tuner, seen = ThreadTuner(), []
    since = 0
    for _ in range(2000):
        seen.append(tuner.alone)
        since = since + 1 if seen[-2:] == [tuner.alone] * 2 else 0
        tuner.record(1000.0 if since < 1 else 2.0 if tuner.alone else 1.0)
    assert sum(seen) < 100


def test_a_change_of_the_setting_is_noticed(monkeypatch):
    """It is noticed after some steps, because asking takes as long as the checks of a small step."""
    available, asked = 2, []

    def get_num_threads():
        asked.append(available)
        return available

    monkeypatch.setattr(threads.numba, "get_num_threads", get_num_threads)
    tuner = ThreadTuner()
    assert tuner.threads_for(10) == 1
    assert not asked
    assert [tuner.threads_for(10**9) for _ in range(8)] == [2] * 8
    available = 5
    seen = [tuner.threads_for(10**9) for _ in range(100)]
    assert seen[:8] + seen[-80:] == [2] * 8 + [5] * 80
    assert len(asked) < 10


def test_steps_are_timed_by_their_work(monkeypatch):
    """Inside, one thread is used if the tuner says so. With one thread there is nothing to choose."""
    clock, used = [0.0], []
    monkeypatch.setattr(autotune, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 2)
    monkeypatch.setattr(autotune, "use_threads", lambda number: used.append(number) or nullcontext())
    tuner = ThreadTuner()
    for step in range(400):
        work = 1 + step % 7
        with tuner.timed(work):
            clock[0] += work * (1.0 if tuner.alone else 3.0)
    assert used[:32] == [None] * 32
    assert used.count(1) > 300
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 1)
    count = len(used)
    with tuner.timed(1):
        pass
    assert len(used) == count
