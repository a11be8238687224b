"""Adam for touched rows: a step on rows of a table, and the means that Adam keeps of the table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Float32s, Floats, Integers
from numba_ss.engine.rows import as_rows
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax.adam import Rates, adam_rows

# The shares of the two means that a step keeps, and the number that is added to the root of the
# mean square. The values are those of the paper.
BETAS, EPSILON = (0.9, 0.999), 1e-8


def step_distinct(
    table: Floats, rows: Integers, grads: Floats, rate: float, means: Floats, squares: Floats,
    num_steps: int, betas: tuple[float, float] = BETAS, epsilon: float = EPSILON,
) -> None:
    """Take the step with the number `num_steps`, from 1 on, on distinct rows of a table.

    If the table is one-dimensional, a row is one number. `grads` may be padded. `means` holds the
    running means of the gradients, `squares` those of their squares.
    """
    table, number = as_rows(table), table.dtype.type
    beta, beta_squares = betas
    # Both means began as zeros. The rate is corrected for this.
    rate *= math.sqrt(1 - beta_squares**num_steps) / (1 - beta**num_steps)
    rates = Rates(number(rate), number(1 - beta), number(1 - beta_squares), number(epsilon))
    adam_rows(
        rows, as_rows(grads), rates, threads_for_update(table[:1].size * len(rows)), table,
        as_rows(means), as_rows(squares),
    )


class Adam:
    """What Adam keeps of a table: the means of each row, and the number of steps."""

    FIELDS = "means", "mean_squares", "steps"

    def __init__(self, table: Float32s) -> None:
        self.means, self.mean_squares = np.zeros((2, *table.shape), np.float32)
        self.steps = 0

    def step(self, table: Float32s, rows: Integers, grads: Float32s, rate: np.float32) -> None:
        """Take a step on distinct rows, see `step_distinct`; `grads` may be padded."""
        self.steps += 1
        step_distinct(
            table, rows, grads, float(rate), self.means, self.mean_squares, self.steps
        )

    def state(self) -> dict[str, Any]:
        """Return the fields, copied."""
        return {
            "means": self.means.copy(), "mean_squares": self.mean_squares.copy(),
            "steps": self.steps,
        }

    @staticmethod
    def check(label: str, field: str, value: Any, shape: tuple[int | None, ...]) -> None:
        """Require that the value of a field can be loaded, for a table of this shape."""
        if field == "steps":
            _checks.integer(label, value, 0)
            return
        array = np.asarray(value)
        if array.dtype != np.float32:
            _checks.fail(label, "float32 numbers", array.dtype)
        _checks.shaped(label, array, shape, "num_rows, dim" if len(shape) == 2 else "num_rows,")
        least = 0 if field == "mean_squares" else -np.inf
        if not (np.isfinite(array) & (array >= least)).all():
            _checks.fail(label, "finite numbers" + " >= 0" * (least == 0), "others among them")

    def load(self, state: dict[str, Any]) -> None:
        """Go on with fields that were checked."""
        self.means, self.mean_squares = (np.array(state[name]) for name in self.FIELDS[:2])
        self.steps = int(state["steps"])
