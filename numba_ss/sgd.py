"""The hand-written updater: gradients into rows, and learning-rate schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss.kernels import scatter
from numba_ss.kernels.threads import max_num_threads, threads_for_update, use_threads


def check_threads(num_threads: Any) -> int | None:
    """Return a number of threads that the process has, or None for Numba's setting."""
    if num_threads is None:
        return None
    return _checks.integer("num_threads", num_threads, 1, max_num_threads())


def update_rows(
    table: NDArray[np.float32], rows: ArrayLike, grads: ArrayLike, learning_rate: float, *,
    num_threads: int | None = None,
) -> None:
    """Subtract ``learning_rate * grads[u]`` from ``table[rows[u]]``, for u = 0, 1, ...

    The rows may repeat. The result is that of the loop, bit for bit, whatever the
    number of threads: each row belongs to one of them.

    Parameters
    ----------
    table : ndarray of float32, shape (num_rows, dim) or (num_rows,)
        Modified in place.
    rows : array of integers, shape (num_updates,)
        Rows of `table`.
    grads : ndarray of float32, shape (num_updates, dim) or (num_updates,)
        One gradient a row; as `LossAndGradients` holds them.
    learning_rate : float
        Step size.
    num_threads : int, optional
        Threads for this call; by default Numba's setting.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, or a gradient is not finite; nothing is changed.

    Examples
    --------
    >>> table = np.zeros((4, 2), np.float32)
    >>> update_rows(table, [1, 1, 3], np.ones((3, 2), np.float32), 0.5)
    >>> table[:, 0]
    array([ 0. , -1. ,  0. , -0.5], dtype=float32)
    """
    shape = (None,) * min(max(np.ndim(table), 1), 2)
    table = _checks.trainable("table", table, shape, "num_rows, dim")
    ids = _checks.ids("rows", rows)
    _checks.shaped("rows", ids, (None,), "num_updates,")
    _checks.in_range("rows", ids, len(table), "num_rows")
    values = np.ascontiguousarray(_checks.real("grads", grads), np.float32)
    _checks.shaped("grads", values, (len(ids), *table.shape[1:]), "num_updates, dim")
    if not np.isfinite(values).all():
        _checks.explain_loss(np.array([np.nan]), [("grads", values, None)])
    step = np.float32(_checks.number("learning_rate", learning_rate))
    with use_threads(check_threads(num_threads)):
        scatter.scatter_rows(
            ids, values.reshape(len(ids), -1), step, threads_for_update(values.size),
            table.reshape(len(table), -1),
        )


@dataclass(frozen=True)
class LinearDecay:
    """A learning rate that falls in a straight line, then stays.

    Parameters
    ----------
    start, stop : float
        Learning rate of the first step, and of step `num_steps` and all after it.
    num_steps : int
        Steps in between.

    Examples
    --------
    >>> LinearDecay(0.1, 0.0, 10)(5)
    0.05
    """

    start: float
    stop: float
    num_steps: int

    def __post_init__(self) -> None:
        _checks.number("start", self.start, positive=True)
        _checks.number("stop", self.stop, positive=True)
        _checks.integer("num_steps", self.num_steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ..."""
        share = min(step / self.num_steps, 1.0)
        return self.start + (self.stop - self.start) * share
