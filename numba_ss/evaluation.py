"""The best classes of all, found exactly.

Nothing of the size batch x classes is ever built: the logits of a group of classes
and a block of examples are used and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks, _passes
from numba_ss.full_losses import check_model
from numba_ss.kernels import ranking
from numba_ss.kernels.batch import BLOCK
from numba_ss.kernels.threads import threads_for

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


class TopK(NamedTuple):
    """The best classes of each example, best first.

    Attributes
    ----------
    scores : ndarray, shape (batch_size, k)
        Logits, falling; -inf where there is no further class.
    ids : ndarray of int64, shape (batch_size, k)
        Classes; -1 where there is no further one.
    """

    scores: Floats
    ids: Integers


def _exclusions(exclude: Any, batch_size: int, num_classes: int) -> tuple[Integers, Integers]:
    """Return each example's excluded ids, ascending, one after the other, and offsets."""
    if exclude is None:
        return np.empty(0, np.int64), np.zeros(batch_size + 1, np.int64)
    if len(exclude) != batch_size:
        _checks.fail("exclude", f"batch_size = {batch_size} sequences of ids", len(exclude))
    rows = []
    for i, row in enumerate(exclude):
        ids = _checks.ids(f"exclude[{i}]", row).reshape(-1)
        ids = np.unique(ids[ids != -1])
        _checks.in_range(f"exclude[{i}]", ids, num_classes, "num_classes")
        rows.append(ids)
    offsets = np.cumsum([0, *map(len, rows)])
    return np.concatenate([np.empty(0, np.int64), *rows]), offsets


def top_k(
    weights: ArrayLike, biases: ArrayLike, inputs: ArrayLike, k: int,
    exclude: ArrayLike | Sequence[ArrayLike] | None = None,
) -> TopK:
    """Find the k classes of highest logit for each example, exactly.

    Parameters
    ----------
    weights, biases, inputs
        See `softmax_loss`.
    k : int
        Number of classes, at most num_classes.
    exclude : sequence of sequences of int, or array (batch_size, any), optional
        Classes to leave out, for each example; -1 stands for none.

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
    excluded, offsets = _exclusions(exclude, len(h), len(w))
    probe = np.zeros(threads_for(h.size * len(w)), w.dtype)
    scores = np.empty((len(h), k), h.dtype)
    ids = np.empty((len(h), k), np.int64)
    threads = len(probe)
    rows, logits = _passes.walk_scratch(threads, w.shape[1], h.dtype)
    for start in range(0, len(h), _passes.EXAMPLES):
        part = h[start : start + _passes.EXAMPLES]
        size = len(part)
        xt = _passes.transposed(_passes.padded_inputs(part), size, w.shape[1])
        heap_scores = np.empty((threads, size, k), h.dtype)
        heap_ids = np.empty((threads, size, k), np.int64)
        ranking.select(
            w, b, xt, size, excluded, offsets[start : start + size + 1], threads, rows, logits,
            np.empty((threads, xt.shape[0] * BLOCK), h.dtype), heap_scores, heap_ids,
            np.empty((threads, size), np.int64), probe,
        )
        if not np.isfinite(probe.sum() + b.sum() + part.sum()):
            parts = [("inputs", h, None), ("weights", w, None), ("biases", b, None)]
            _checks.explain_loss(np.array([np.nan]), parts)
        all_scores = heap_scores.transpose(1, 0, 2).reshape(size, -1)
        all_ids = heap_ids.transpose(1, 0, 2).reshape(size, -1)
        best = np.lexsort((all_ids, -all_scores), axis=1)[:, :k]
        scores[start : start + size] = np.take_along_axis(all_scores, best, 1)
        ids[start : start + size] = np.take_along_axis(all_ids, best, 1)
    return TopK(scores, ids)
