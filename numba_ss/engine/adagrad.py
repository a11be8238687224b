"""Row-wise Adagrad: steps on rows of a table, and what is kept of a layer's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Float32s, Integers
from numba_ss.engine.full_pass import FullBlock
from numba_ss.engine.rows import add_rows, distinct
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax import adagrad


def check_squares(name: str, squares: Float32s, rows: Integers) -> None:
    """Require finite sums of squares >= 0 where rows are updated."""
    bad = np.flatnonzero(~((squares[rows] >= 0) & (squares[rows] < np.inf)))
    if bad.size:
        row = rows[bad[0]]
        _checks.fail(name, "finite numbers >= 0", f"{squares[row]} at {name}[{row}]")


def step_distinct(
    table: Float32s, rows: Integers, grads: Float32s, step: np.float32, squares: Float32s
) -> None:
    """Take a step of row-wise Adagrad on distinct rows, or numbers; `grads` may be padded."""
    table = as_rows(table)
    dim = table.shape[1]
    adagrad.adagrad_rows(
        rows, as_rows(grads), step, np.float32(0), dim, threads_for_update(len(rows) * dim),
        table, squares,
    )


def step_repeated(
    table: Float32s, ids: Integers, grads: Float32s, step: np.float32, squares: Float32s,
    scratch: Workspace,
) -> None:
    """Take a step of row-wise Adagrad by the sum, in order, of each row's gradients."""
    rows, inverse, _ = distinct(ids)
    sums = scratch.array("table_sums", (len(rows), *table.shape[1:]), np.float32)
    sums[:] = 0
    add_rows(inverse, as_rows(grads), as_rows(sums))
    step_distinct(table, rows, sums, step, squares)


def as_rows(array: Float32s) -> Float32s:
    """Return numbers as rows of one."""
    return array if array.ndim == 2 else array[:, None]


class Adagrad:
    """What row-wise Adagrad keeps of a layer's weights, biases and table, and its steps.

    A gradient of the table's rows is that of the inputs. Where the table is the weights,
    the gradients of both uses of a row are added up.
    """

    def __init__(self, weights: Float32s, biases: Float32s) -> None:
        self._weights, self._biases = weights, biases
        self._weight_squares, self._bias_squares = np.zeros((2, len(weights)), np.float32)
        # Of the last table. No table, but squares: those of a state, for the next that fits.
        self._table: Float32s | None = None
        self._table_squares = np.empty(0, np.float32)
        self._workspace = Workspace()

    def step_touched(
        self, batch: SampledPass, table: Float32s | None, ids: Integers, step: np.float32
    ) -> None:
        """Update the classes of a batch by its gradients, and the rows `ids` of a table."""
        tied = table is not None and self._is_tied(table)
        classes, rows, biases = batch.summed_class_gradients(self._workspace, with_inputs=tied)
        step_distinct(self._weights, classes, rows, step, self._weight_squares)
        step_distinct(self._biases, classes[: len(biases)], biases, step, self._bias_squares)
        if table is not None and not tied:
            grads = batch.buffers.arrays.grad_inputs
            step_repeated(table, ids, grads, step, self._squares_of(table), self._workspace)

    def step_all(
        self, blocks: Iterable[FullBlock], table: Float32s | None, ids: Integers,
        grad_inputs: Float32s, step: np.float32,
    ) -> None:
        """Update all classes; `grad_inputs` is complete after the last of the blocks.

        That is why no class can be updated before, where the table is the weights.
        """
        sums = self._workspace.array("sums", self._weights.shape, np.float32)
        bias_sums = self._workspace.array("bias_sums", self._biases.shape, np.float32)
        for block in blocks:
            count = block.classes.stop - block.classes.start
            sums[block.classes] = block.grad_rows[:count, : sums.shape[1]]
            bias_sums[block.classes] = block.grad_biases[:count]
        tied = table is not None and self._is_tied(table)
        if tied:
            add_rows(ids, grad_inputs, sums)
        rows = np.arange(len(sums))
        step_distinct(self._weights, rows, sums, step, self._weight_squares)
        step_distinct(self._biases, rows, bias_sums, step, self._bias_squares)
        if table is not None and not tied:
            step_repeated(
                table, ids, grad_inputs, step, self._squares_of(table), self._workspace
            )

    def _is_tied(self, table: Float32s) -> bool:
        return bool(table.ctypes.data == self._weights.ctypes.data)

    def _squares_of(self, table: Float32s) -> Float32s:
        """Return what is kept of a table from here on, zeros for a new one."""
        known = len(self._table_squares) == len(table)
        if self._table is not None:
            # The same memory: an array may come as a new view each time.
            known = known and table.ctypes.data == self._table.ctypes.data
        if not known:
            self._table_squares = np.zeros(len(table), np.float32)
        self._table = table
        return self._table_squares

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of squares, copied."""
        return {
            "weights": self._weight_squares.copy(),
            "biases": self._bias_squares.copy(),
            "table": self._table_squares.copy(),
        }

    def check_state(self, state: Any) -> None:
        """Require a state that can be loaded."""
        lengths = {"weights": len(self._weights), "biases": len(self._biases), "table": None}
        for name, length in lengths.items():
            label = f"state_dict['squares'][{name!r}]"
            array = np.asarray(state.get(name) if isinstance(state, dict) else None)
            if array.dtype != np.float32:
                _checks.fail(label, "float32 numbers", array.dtype)
            _checks.shaped(label, array, (length,), "num_rows,")
            check_squares(label, array, np.arange(len(array)))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a state that was checked; the next table as long is its table."""
        self._weight_squares[:] = state["weights"]
        self._bias_squares[:] = state["biases"]
        self._table, self._table_squares = None, np.array(state["table"])
