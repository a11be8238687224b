"""Adagrad and Adam in the layer: what they keep of its tables, and steps on touched rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.engine.adagrad import Adagrad
from numba_ss.engine.adam import Adam
from numba_ss.engine.full_pass import FullBlock
from numba_ss.engine.rows import add_rows, check_squares, sum_rows
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace

RULES: dict[str, type[Adagrad] | type[Adam]] = {"adagrad": Adagrad, "adam": Adam}

_Sums = tuple[Integers, Float32s]  # distinct rows, and of each the sum of its gradients


class AdaptiveOptimizer:
    """What a rule keeps of a layer's weights, biases and table, and steps by it.

    A gradient of the table's rows is that of the inputs. Where the table is the weights,
    the gradients of both uses of a row are added up.
    """

    def __init__(self, name: str, weights: Float32s, biases: Float32s) -> None:
        self._rule, self._weights, self._biases = RULES[name], weights, biases
        self._of_weights, self._of_biases = self._rule(weights), self._rule(biases)
        # Of the last table. No table, but what is kept of its rows: those of a state, for the
        # next table that fits.
        self._table: Float32s | None = None
        self._num_rows, self._of_table = 0, self._rule(weights[:0])
        self._workspace = Workspace()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caller's table; what is kept of it is for the next one that fits."""
        return vars(self) | {"_table": None}

    def step_touched(
        self, batch: SampledPass, table: Float32s | None, ids: Integers, rate: np.float32
    ) -> None:
        """Update the classes of a batch by its gradients, and the rows `ids` of a table."""
        tied = table is not None and self._is_tied(table)
        classes, rows, biases = batch.summed_class_gradients(self._workspace, with_inputs=tied)
        self._step(
            (classes, rows), (classes[: len(biases)], biases), None if tied else table, ids,
            batch.buffers.arrays.grad_inputs, rate,
        )

    def step_all(
        self, blocks: Iterable[FullBlock], table: Float32s | None, ids: Integers,
        grad_inputs: Float32s, rate: np.float32,
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
        self._step(
            (rows, sums), (rows, bias_sums), None if tied else table, ids, grad_inputs, rate
        )

    def _is_tied(self, table: Float32s) -> bool:
        return bool(table.ctypes.data == self._weights.ctypes.data)

    def _step(
        self, of_weights: _Sums, of_biases: _Sums, table: Float32s | None, ids: Integers,
        grad_inputs: Float32s, rate: np.float32,
    ) -> None:
        """Update rows by the sums of their gradients: all of them, or none."""
        steps = [
            (self._of_weights, self._weights, *of_weights),
            (self._of_biases, self._biases, *of_biases),
        ]
        if table is not None:
            sums = sum_rows(ids, grad_inputs, table.shape[1], self._workspace)
            steps.append((self._kept_of(table), table, *sums))
        for _, _, _, grads in steps:
            check_squares("gradients", grads)
        if table is not None:
            self._table, self._num_rows, self._of_table = table, len(table), steps[-1][0]
        for kept, array, rows, grads in steps:
            kept.step(array, rows, grads, rate)

    def _kept_of(self, table: Float32s) -> Adagrad | Adam:
        known = self._num_rows == len(table)
        if self._table is not None:
            # The same memory: an array may come as a new view each time.
            known = known and table.ctypes.data == self._table.ctypes.data
        return self._of_table if known else self._rule(table)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return what is kept, copied: of each field that of each table."""
        states = {
            "weights": self._of_weights.state(), "biases": self._of_biases.state(),
            "table": self._of_table.state(),
        }
        return {
            field: {name: state[field] for name, state in states.items()}
            for field in self._rule.FIELDS
        }

    def check_state(self, state: dict[str, Any]) -> None:
        """Require a state that can be loaded."""
        shape = self._weights.shape
        shapes = {"weights": shape, "biases": shape[:1], "table": (None, shape[1])}
        for field in self._rule.FIELDS:
            values = state.get(field)
            for name, want in shapes.items():
                value = values.get(name) if isinstance(values, dict) else None
                self._rule.check(f"state_dict[{field!r}][{name!r}]", field, value, want)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a state that was checked; the next table as long is its table."""
        kept = {"weights": self._of_weights, "biases": self._of_biases, "table": self._of_table}
        for name, of in kept.items():
            of.load({field: state[field][name] for field in self._rule.FIELDS})
        self._table, self._num_rows = None, len(state[self._rule.FIELDS[0]]["table"])
