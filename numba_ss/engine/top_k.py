"""The classes with the highest logits, found exactly.

No array of the size batch x classes is ever built: the logits of a group of classes and a block of
examples are computed, compared and dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine import full_pass
from numba_ss.engine.full_losses import check_model
from numba_ss.kernels.core import ids as id_kernels
from numba_ss.kernels.core.finite import all_finite
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.softmax import ranking
from numba_ss.kernels.softmax.sampled_classes import BLOCK

_SORTED = 50  # multiplications that take as long as inserting a class into the sorted ones


class TopK(NamedTuple):
    """The best classes of each example, best first.

    Attributes
    ----------
    scores : ndarray, shape (batch_size, k)
        Logits in descending order; -inf if there are no more classes.
    ids : ndarray of int64, shape (batch_size, k)
        Classes; -1 if there are no more.

    Examples
    --------
    >>> top_k(np.array([[1.0], [3.0], [2.0]]), None, np.ones((1, 1)), 2)
    TopK(scores=array([[3., 2.]]), ids=array([[1, 2]]))
    """

    scores: Floats
    ids: Integers


def packed_exclusions(exclude: Any, batch_size: int) -> tuple[Integers, Integers]:
    """Return the ids to leave out, example by example, and where those of each example begin."""
    if exclude is None:
        return np.empty(0, np.int64), np.zeros(batch_size + 1, np.int64)
    if isinstance(exclude, tuple) and [type(part) for part in exclude] == [np.ndarray] * 2:
        if exclude[1].shape != (batch_size + 1,):
            expected = f"a list of rows, or a tuple of ids and offsets ({batch_size + 1},)"
            _checks.fail("exclude", expected, f"a tuple of ids and an array {exclude[1].shape}")
        values = _checks.ids("exclude[0]", exclude[0])
        _checks.shaped("exclude[0]", values, (None,), "number of ids,")
        return values, _checks.offsets("exclude[1]", exclude[1], batch_size, len(values))
    if not hasattr(exclude, "__len__") or isinstance(exclude, Set):
        _checks.fail("exclude", "a sequence of sequences of ids", type(exclude).__name__)
    if len(exclude) != batch_size:
        _checks.fail("exclude", f"batch_size = {batch_size} sequences of ids", len(exclude))
    if isinstance(exclude, np.ndarray) and exclude.ndim == 2:
        offsets = np.arange(batch_size + 1, dtype=np.int64) * exclude.shape[1]
        return _checks.ids("exclude", exclude).reshape(-1), offsets
    rows = [
        _checks.ids(f"exclude[{i}]", list(row) if isinstance(row, Set) else row).reshape(-1)
        for i, row in enumerate(exclude)
    ]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.concatenate([np.empty(0, np.int64), *rows]), offsets


def sorted_exclusions(
    values: Integers, offsets: Integers, num_classes: int
) -> tuple[Integers, Integers]:
    """Return packed exclusions without -1 and repetitions, ascending for each example."""
    example = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    present = values != -1
    values, example = values[present], example[present]
    outside = id_kernels.first_outside(values, num_classes)
    if outside >= 0:
        row = example[outside]
        _checks.in_range(f"exclude[{row}]", values[example == row], num_classes, "num_classes")
    keys = np.unique(example * num_classes + values)
    return keys % num_classes, np.searchsorted(keys, np.arange(len(offsets)) * num_classes)


def top_k(
    weights: ArrayLike, biases: ArrayLike | None, inputs: ArrayLike, k: int,
    exclude: ArrayLike | Sequence[ArrayLike | Collection[int]] | None = None,
) -> TopK:
    """Find the k classes of highest logit for each example, exactly.

    Parameters
    ----------
    weights, biases, inputs
        See `softmax_loss`. A class with bias -inf is not among the best.
    k : int
        Number of classes, at most num_classes.
    exclude : sequence of sequences or sets of int, or array (batch_size, any), optional
        Classes to leave out, for each example; -1 stands for none. The fastest form is a tuple
        of two arrays: the classes of all examples, one example after the other, and offsets
        (batch_size + 1,). Those of example i are ``classes[offsets[i]:offsets[i + 1]]``. A tuple
        of two arrays always means this, so give the arrays of two examples in a list.

    Returns
    -------
    TopK
        Of equal scores the lower id comes first.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, or a number is NaN or infinite.

    Examples
    --------
    >>> weights = np.array([[1.0], [3.0], [2.0]])
    >>> top_k(weights, np.zeros(3), np.ones((1, 1)), 2).ids
    array([[1, 2]])
    """
    w, b, h = check_model(weights, biases, inputs)
    k = _checks.integer("k", k, 1, len(w))
    excluded, offsets = sorted_exclusions(*packed_exclusions(exclude, len(h)), len(w))
    probe = np.zeros(threads_for(h.size * len(w)), w.dtype)
    scores = np.empty((len(h), k), h.dtype)
    ids = np.empty((len(h), k), np.int64)
    threads, highest_bias = len(probe), b.max()  # NaN, if there is one
    rows, logits = full_pass.walk_scratch(threads, w.shape[1], h.dtype)
    for start in range(0, len(h), full_pass.EXAMPLES):
        part = h[start : start + full_pass.EXAMPLES]
        size = len(part)
        columns = full_pass.transposed(full_pass.padded_inputs(part), size, w.shape[1])
        heap_scores = np.empty((threads, size, k), h.dtype)
        heap_ids = np.empty((threads, size, k), np.int64)
        counts = np.empty((threads, size), np.int64)
        heaps = ranking.Heaps(
            heap_scores, heap_ids, counts, np.empty((threads, columns.shape[0] * BLOCK), h.dtype)
        )
        walk = ranking.Walk(w, b, columns, size, rows, logits)
        left_out = ranking.Excluded(excluded, offsets[start : start + size + 1])
        ranking.select(walk, left_out, threads, heaps, probe)
        if not (all_finite(probe) and all_finite(part.reshape(-1)) and highest_bias < np.inf):
            _checks.finite([("inputs", h, None), ("weights", w, None), ("biases", b, None)])
        ranking.merge_best(
            heap_scores, heap_ids, counts, threads_for(_SORTED * heap_ids.size),
            scores[start : start + size], ids[start : start + size],
        )
    if not scores.max(initial=-np.inf) < np.inf:
        _checks.fail("inputs, weights", "logits that the type can hold", "an infinite one")
    return TopK(scores, ids)
