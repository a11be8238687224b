"""Updates of rows of a table, by SGD or by row-wise Adagrad."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._types import Float32s
from numba_ss.engine.adagrad import check_sums, step_distinct
from numba_ss.engine.rows import as_rows, check_squares, subtract_rows, sum_rows
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import use_threads


def update_rows(
    table: Float32s, rows: ArrayLike, grads: ArrayLike, learning_rate: float, *,
    squares: Float32s | None = None, num_threads: int | None = None,
) -> None:
    r"""Subtract ``learning_rate * grads[u]`` from ``table[rows[u]]``, for u = 0, 1, ...

    The rows may repeat. The result is that of the loop, bit for bit, for any number of threads,
    because each thread updates some columns of all rows.

    With `squares` it is a step of row-wise Adagrad [1]_ instead. Let g be the sum of the gradients
    of a row. Each row is updated once:

    .. math::
        s &\leftarrow s + \frac{1}{\mathrm{dim}} \sum_d g_d^2 \\
        w &\leftarrow w - \frac{\mathrm{learning\_rate}}{\sqrt{s}} \, g

    Here s is one number for each row. In Adagrad it is one for each number of the row [2]_. For a
    table of shape (num_rows,) both are the same.

    Parameters
    ----------
    table : ndarray of float32, shape (num_rows, dim) or (num_rows,)
        Modified in place.
    rows : array of integers, shape (num_updates,)
        Rows of `table`.
    grads : ndarray of float32, shape (num_updates, dim) or (num_updates,)
        A gradient for each of the rows, as in `LossAndGradients`.
    learning_rate : float
        The rate.
    squares : ndarray of float32, shape (num_rows,), optional
        The sum s of each row so far; start with zeros. Modified in place.
    num_threads : int, optional
        Threads of this call, at most; by default Numba's setting.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, a gradient is not finite, or with `squares` the sum of their
        squares is more than 1e30; nothing is changed.

    Notes
    -----
    If several Python threads update one table at once, updates are lost: use a lock.

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
    _checks.finite([("grads", values, None)])
    rate = np.float32(_checks.rate("learning_rate", learning_rate, not_negative=False))
    if squares is not None:
        _checks.trainable("squares", squares, (len(table),), "num_rows,")
        if np.may_share_memory(squares, table):
            _checks.fail("squares", "memory of its own", "a part of the table")
        check_sums("squares", squares, ids)
    with use_threads(_checks.threads(num_threads)):
        if squares is not None:
            given = as_rows(values)
            touched, sums = sum_rows(ids, given, given.shape[1], Workspace())
            check_squares("grads", sums)
            step_distinct(table, touched, sums, rate, squares)
            return
        subtract_rows(ids, as_rows(values), rate, as_rows(table))
