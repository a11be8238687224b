"""The hand-written updaters, SGD and Adagrad: gradients into rows; learning-rate schedules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss.engine.full_pass import FullBlock
from numba_ss.engine.rows import add_rows, distinct, subtract_rows
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for_update, use_threads
from numba_ss.kernels.softmax import adagrad

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]



def update_rows(
    table: Floats, rows: ArrayLike, grads: ArrayLike, learning_rate: float, *,
    squares: Floats | None = None, num_threads: int | None = None,
) -> None:
    r"""Subtract ``learning_rate * grads[u]`` from ``table[rows[u]]``, for u = 0, 1, ...

    The rows may repeat. The result is that of the loop, bit for bit, whatever the
    number of threads: each has some columns of all rows.

    With `squares` it is a step of row-wise Adagrad [1]_ instead: with g the sum of the
    gradients of a row, which is taken once,

    .. math::
        s &\leftarrow s + \frac{1}{\mathrm{dim}} \sum_d g_d^2 \\
        w &\leftarrow w - \frac{\mathrm{learning\_rate}}{\sqrt{s}} \, g

    s being one number a row, where Adagrad has one for each number of it [2]_: a table
    of numbers is updated as there.

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
    squares : ndarray of float32, shape (num_rows,), optional
        Sums of the mean squared gradients of each row so far, at first zeros; modified in
        place.
    num_threads : int, optional
        Threads for this call, or as many as there are; by default Numba's setting.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, or a gradient is not finite; nothing is changed.

    Notes
    -----
    Threads that update one table at once lose updates; a lock around the calls is theirs.

    References
    ----------
    .. [1] D. Mudigere et al., "Software-Hardware Co-design for Fast and Scalable Training of
       Deep Learning Recommendation Models", ISCA 2022; FBGEMM's "rowwise_adagrad".
    .. [2] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning
       and Stochastic Optimization", JMLR 12, 2011.

    Examples
    --------
    >>> table = np.zeros((4, 2), np.float32)
    >>> update_rows(table, [1, 1, 3], np.ones((3, 2), np.float32), 0.5)
    >>> table[:, 0]
    array([ 0. , -1. ,  0. , -0.5], dtype=float32)
    >>> table, squares = np.zeros((4, 2), np.float32), np.zeros(4, np.float32)
    >>> update_rows(table, [1, 1, 3], np.ones((3, 2), np.float32), 0.5, squares=squares)
    >>> table[:, 0], squares
    (array([ 0. , -0.5,  0. , -0.5], dtype=float32), array([0., 4., 0., 1.], dtype=float32))
    """
    shape = (None,) * min(max(np.ndim(table), 1), 2)
    table = _checks.trainable("table", table, shape, "num_rows, dim")
    ids = _checks.ids("rows", rows)
    _checks.shaped("rows", ids, (None,), "num_updates,")
    _checks.in_range("rows", ids, len(table), "num_rows")
    values = _checks.cast("grads", _checks.real("grads", grads), np.float32)
    _checks.shaped("grads", values, (len(ids), *table.shape[1:]), "num_updates, dim")
    if np.may_share_memory(values, table):
        values = values.copy()
    if not np.isfinite(values).all():
        _checks.explain_loss(np.array([np.nan]), [("grads", values, None)])
    step = np.float32(_checks.rate("learning_rate", learning_rate, positive=False))
    if squares is not None:
        _checks.trainable("squares", squares, (len(table),), "num_rows,")
        if np.may_share_memory(squares, table):
            _checks.fail("squares", "memory of its own", "a part of the table")
        _check_squares("squares", squares, ids)
    with use_threads(_checks.threads(num_threads)):
        if squares is not None:
            _step_repeated(table, ids, values, step, squares)
            return
        subtract_rows(ids, _columns(values), step, _columns(table))


def _check_squares(name: str, squares: Floats, rows: Integers) -> None:
    bad = np.flatnonzero(~((squares[rows] >= 0) & (squares[rows] < np.inf)))
    if bad.size:
        row = rows[bad[0]]
        _checks.fail(name, "finite numbers >= 0", f"{squares[row]} at {name}[{row}]")


def _step_distinct(
    table: Floats, rows: Integers, grads: Floats, step: np.float32, squares: Floats
) -> None:
    """Take a step of row-wise Adagrad on distinct rows, or numbers; `grads` may be padded."""
    table = _columns(table)
    dim = table.shape[1]
    adagrad.adagrad_rows(
        rows, _columns(grads), step, np.float32(0), dim, threads_for_update(len(rows) * dim),
        table, squares,
    )


def _step_repeated(
    table: Floats, ids: Integers, grads: Floats, step: np.float32, squares: Floats
) -> None:
    """Take a step of row-wise Adagrad by the sum, in order, of each row's gradients."""
    rows, inverse, _ = distinct(ids)
    sums = np.zeros((len(rows), *table.shape[1:]), np.float32)
    add_rows(inverse, _columns(grads), _columns(sums))
    _step_distinct(table, rows, sums, step, squares)


def _columns(array: Floats) -> Floats:
    """Return numbers as rows of one."""
    return array if array.ndim == 2 else array[:, None]


class Adagrad:
    """What row-wise Adagrad keeps of a layer's weights, biases and table, and its steps.

    A gradient of the table's rows is that of the inputs. Where the table is the weights,
    the gradients of both uses of a row are added up.
    """

    def __init__(self, weights: Floats, biases: Floats) -> None:
        self._weights, self._biases = weights, biases
        self._weight_squares, self._bias_squares = np.zeros((2, len(weights)), np.float32)
        # Of the last table. No table, but squares: those of a state, for the next that fits.
        self._table: Floats | None = None
        self._table_squares = np.empty(0, np.float32)
        self._workspace = Workspace()

    def step_touched(
        self, batch: SampledPass, table: Floats | None, ids: Integers, step: np.float32
    ) -> None:
        """Update the classes of a batch by its gradients, and the rows `ids` of a table."""
        tied = table is not None and self._is_tied(table)
        classes, rows, biases = batch.summed_class_gradients(self._workspace, with_inputs=tied)
        _step_distinct(self._weights, classes, rows, step, self._weight_squares)
        _step_distinct(self._biases, classes[: len(biases)], biases, step, self._bias_squares)
        if table is not None and not tied:
            grads = batch.buffers.arrays.grad_inputs
            _step_repeated(table, ids, grads, step, self._squares_of(table))

    def step_all(
        self, blocks: Iterable[FullBlock], table: Floats | None, ids: Integers,
        grad_inputs: Floats, step: np.float32,
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
        _step_distinct(self._weights, rows, sums, step, self._weight_squares)
        _step_distinct(self._biases, rows, bias_sums, step, self._bias_squares)
        if table is not None and not tied:
            _step_repeated(table, ids, grad_inputs, step, self._squares_of(table))

    def _is_tied(self, table: Floats) -> bool:
        return bool(table.ctypes.data == self._weights.ctypes.data)

    def _squares_of(self, table: Floats) -> Floats:
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
            _check_squares(label, array, np.arange(len(array)))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a state that was checked; the next table as long is its table."""
        self._weight_squares[:] = state["weights"]
        self._bias_squares[:] = state["biases"]
        self._table, self._table_squares = None, np.array(state["table"])


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
        _checks.rate("start", self.start)
        _checks.rate("stop", self.stop)
        _checks.integer("num_steps", self.num_steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ..."""
        share = min(step / self.num_steps, 1.0)
        return self.start + (self.stop - self.start) * share
