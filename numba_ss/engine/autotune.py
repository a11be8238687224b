"""How many threads a work that is done again and again uses: measured, for no rule can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from numba_ss.kernels.core.threads import SMALL, get_num_threads, use_threads


class ThreadTuner:
    """Whether a work that is done again and again is faster with one thread than with all.

    Cores may share a cache or sit on two chips, and other processes may want them: what a
    second thread gives to a work of a tenth of a millisecond no rule can tell. So the other
    way is tried for a few steps now and then, the more seldom the more often it lost.
    """

    _WARM, _TRIAL = 2, 6  # steps that are not counted after a change, and those of a trial
    _FIRST, _LAST = 32, 4096  # steps between trials
    _GAIN = 0.9  # of the time at most, or it is not worth a change
    _ASK = 16  # steps, after which Numba is asked again how many threads there are

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
        """Return how many threads are worth using; a change is noticed after some steps.

        To ask takes a microsecond, for Numba takes a lock. Threads that are no longer there
        only make the parts smaller that the others take.
        """
        if operations < SMALL:
            return 1
        if not self._until_asked:
            self._available, self._until_asked = get_num_threads(), self._ASK
        self._until_asked -= 1
        return self._available

    @property
    def is_trial(self) -> bool:
        """Whether the next step is a trial; a small step is enough for it."""
        return self._is_trial

    @contextmanager
    def timed(self, work: int) -> Iterator[None]:
        """Run a step of so much work on the faster number of threads, and measure it."""
        if get_num_threads() == 1:
            yield
            return
        start = perf_counter()
        with use_threads(1 if self.alone else None):
            yield
        self.record((perf_counter() - start) / max(work, 1))

    def record(self, seconds: float) -> None:
        """Take notice of what a step took, in proportion to its work; `alone` is for the next."""
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
