"""The number of threads of a repeated task, chosen by measuring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from numba_ss.kernels.core.threads import SMALL, get_num_threads, use_threads


class ThreadTuner:
    """Finds out whether a repeated task is faster with one thread or with all.

    Cores may share a cache or sit on two chips, and other processes may use them. So no rule can
    tell what a second thread brings to a task of a tenth of a millisecond. The tuner tries the
    other number of threads for a few steps now and then. Each time it loses, the next trial comes
    later.
    """

    _WARM, _TRIAL = 2, 6  # steps: not measured after a change, and measured in a trial
    _FIRST, _LAST = 32, 4096  # steps between trials
    _GAIN = 0.9  # a trial must take less than this share of the time to win
    _ASK = 16  # steps until Numba is asked again how many threads there are

    def __init__(self) -> None:
        self.alone = False
        self._available = self._until_asked = 0
        self._period = self._FIRST
        self._before = math.inf  # seconds of a step, before a trial
        self._is_trial = False
        self._start(self._FIRST)

    def _start(self, steps: int) -> None:
        self._left, self._skip, self._seconds = steps, self._WARM, 0.0
        self._steps = steps

    def threads_for(self, operations: int) -> int:
        """Return the number of threads for a task of this many multiplications.

        Asking Numba takes a microsecond, because it takes a lock. So it is asked only every few
        steps. If there are fewer threads by then, some of them do several parts.
        """
        if operations < SMALL:
            return 1
        if not self._until_asked:
            self._available, self._until_asked = get_num_threads(), self._ASK
        self._until_asked -= 1
        return self._available

    @property
    def is_trial(self) -> bool:
        """Whether the next step is a trial; the caller may make it a small step."""
        return self._is_trial

    @contextmanager
    def timed(self, work: int) -> Iterator[None]:
        """Run a step with the chosen number of threads; measure its seconds per unit of `work`."""
        if get_num_threads() == 1:
            yield
            return
        start = perf_counter()
        with use_threads(1 if self.alone else None):
            yield
        self.record((perf_counter() - start) / max(work, 1))

    def record(self, seconds: float) -> None:
        """Record the seconds of a step per unit of work, and set `alone` for the next step."""
        if self._skip:
            self._skip -= 1
            return
        self._seconds += seconds
        self._left -= 1
        if self._left:
            return
        mean = self._seconds / self._steps
        if not self._is_trial:
            self._before, self._is_trial, self.alone = mean, True, not self.alone
            self._start(self._TRIAL)
            return
        won = mean < self._GAIN * self._before
        self._period = self._FIRST if won else min(2 * self._period, self._LAST)
        self._is_trial, self.alone = False, self.alone if won else not self.alone
        self._start(self._period)
