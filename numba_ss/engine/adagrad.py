"""Row-wise Adagrad: steps on rows of a table, and what is kept of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Float32s, Floats, Integers
from numba_ss.engine.rows import as_rows
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax import adagrad


def check_sums(name: str, squares: Float32s, rows: Integers) -> None:
    """Require finite sums of squares >= 0 where rows are updated."""
    bad = np.flatnonzero(~((squares[rows] >= 0) & (squares[rows] < np.inf)))
    if bad.size:
        row = rows[bad[0]]
        _checks.fail(name, "finite numbers >= 0", f"{squares[row]} at {name}[{row}]")


def step_distinct(
    table: Floats, rows: Integers, grads: Floats, rate: np.floating[Any], squares: Floats
) -> None:
    """Take a step of row-wise Adagrad on distinct rows, or numbers; `grads` may be padded."""
    table = as_rows(table)
    dim = table.shape[1]
    adagrad.adagrad_rows(
        rows, as_rows(grads), rate, table.dtype.type(0), dim,
        threads_for_update(len(rows) * dim), table, squares,
    )


class Adagrad:
    """What row-wise Adagrad keeps of a table: the sums of the mean squared gradients."""

    FIELDS = ("squares",)

    def __init__(self, table: Float32s) -> None:
        self.squares = np.zeros(len(table), np.float32)

    def step(self, table: Float32s, rows: Integers, grads: Float32s, rate: np.float32) -> None:
        """Take a step on distinct rows, or numbers; `grads` may be padded."""
        step_distinct(table, rows, grads, rate, self.squares)

    def state(self) -> dict[str, Any]:
        """Return the field, copied."""
        return {"squares": self.squares.copy()}

    @staticmethod
    def check(label: str, field: str, value: Any, shape: tuple[int | None, ...]) -> None:
        """Require a field that can be loaded, of a table of this shape."""
        array = np.asarray(value)
        if array.dtype != np.float32:
            _checks.fail(label, "float32 numbers", array.dtype)
        _checks.shaped(label, array, shape[:1], "num_rows,")
        check_sums(label, array, np.arange(len(array)))

    def load(self, state: dict[str, Any]) -> None:
        """Go on with a field that was checked."""
        self.squares = np.array(state["squares"])
