"""Learning-rate schedules."""

from __future__ import annotations

from dataclasses import dataclass

from numba_ss import _checks


@dataclass(frozen=True)
class LinearDecay:
    """A learning rate that changes linearly from `start` to `stop`, and then stays at `stop`.

    Parameters
    ----------
    start, stop : float
        Learning rates of the first step, and of step `num_steps` and all later ones.
    num_steps : int
        Number of steps from `start` to `stop`.

    Examples
    --------
    >>> LinearDecay(0.1, 0.0, 10)(5)
    0.05
    """

    start: float
    stop: float
    num_steps: int

    def __post_init__(self) -> None:
        _checks.rate("start", self.start)
        _checks.rate("stop", self.stop)
        _checks.integer("num_steps", self.num_steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step; the first step has the number 0."""
        share = min(step / self.num_steps, 1.0)
        return self.start + (self.stop - self.start) * share
