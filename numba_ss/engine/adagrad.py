"""Row-wise Adagrad: steps on rows of a table, and the sums of squares of a layer's tables."""

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
    table: Float32s, rows: Integers, grads: Float32s, learning_rate: np.float32, squares: Float32s
) -> None:
    """Take a step of row-wise Adagrad on distinct rows of a table.

    The table may also be an array of numbers. The rows of `grads` may be padded.
    """
    table = as_rows(table)
    dim = table.shape[1]
    adagrad.adagrad_rows(
        rows, as_rows(grads), learning_rate, np.float32(0), dim,
        threads_for_update(len(rows) * dim), table, squares,
    )


def step_repeated(
    table: Float32s, ids: Integers, grads: Float32s, learning_rate: np.float32, squares: Float32s,
    scratch: Workspace,
) -> None:
    """Take a step of row-wise Adagrad on rows that may repeat.

    The gradients of a row are first added up, in their order.
    """
    rows, inverse, _ = distinct(ids)
    sums = scratch.array("table_sums", (len(rows), *table.shape[1:]), np.float32)
    sums[:] = 0
    add_rows(inverse, as_rows(grads), as_rows(sums))
    step_distinct(table, rows, sums, learning_rate, squares)


def as_rows(array: Float32s) -> Float32s:
    """Return an array of numbers as a table with one column; a table stays as it is."""
    return array if array.ndim == 2 else array[:, None]


class Adagrad:
    """The sums of squares of a layer's weights, biases and input table, and steps with them.

    The inputs of a step are rows of the input table, so their gradients are those of its rows. If
    the table is the weights, a row may be an input and a class: then both gradients are added up.
    """

    def __init__(self, weights: Float32s, biases: Float32s) -> None:
        self._weights, self._biases = weights, biases
        self._weight_squares, self._bias_squares = np.zeros((2, len(weights)), np.float32)
        # The last table and its sums. After a state is loaded there is no table: the sums belong
        # to the next table that has as many rows.
        self._table: Float32s | None = None
        self._table_squares = np.empty(0, np.float32)
        self._workspace = Workspace()

    def step_touched(
        self, batch: SampledPass, table: Float32s | None, ids: Integers, learning_rate: np.float32
    ) -> None:
        """Update the classes of a batch by its gradients, and the rows `ids` of a table."""
        tied = table is not None and self._is_tied(table)
        classes, rows, biases = batch.summed_class_gradients(self._workspace, with_inputs=tied)
        step_distinct(self._weights, classes, rows, learning_rate, self._weight_squares)
        step_distinct(
            self._biases, classes[: len(biases)], biases, learning_rate, self._bias_squares
        )
        if table is not None and not tied:
            grads = batch.buffers.arrays.grad_inputs
            step_repeated(
                table, ids, grads, learning_rate, self._squares_of(table), self._workspace
            )

    def step_all(
        self, blocks: Iterable[FullBlock], table: Float32s | None, ids: Integers,
        grad_inputs: Float32s, learning_rate: np.float32,
    ) -> None:
        """Update all classes by the gradients in `blocks`.

        `grad_inputs` is complete only after the last block. If the table is the weights, it is
        needed for every class. So no class is updated before.
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
        step_distinct(self._weights, rows, sums, learning_rate, self._weight_squares)
        step_distinct(self._biases, rows, bias_sums, learning_rate, self._bias_squares)
        if table is not None and not tied:
            step_repeated(
                table, ids, grad_inputs, learning_rate, self._squares_of(table), self._workspace
            )

    def _is_tied(self, table: Float32s) -> bool:
        return bool(table.ctypes.data == self._weights.ctypes.data)

    def _squares_of(self, table: Float32s) -> Float32s:
        """Return the sums of squares of a table; they are zeros if the table is a new one."""
        known = len(self._table_squares) == len(table)
        if self._table is not None:
            # Compare memory, not objects: the caller may pass a new view of the array each time.
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
        """Continue from a checked state; the next table with as many rows gets its sums."""
        self._weight_squares[:] = state["weights"]
        self._bias_squares[:] = state["biases"]
        self._table, self._table_squares = None, np.array(state["table"])
