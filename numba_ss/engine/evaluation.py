"""The best classes of all, found exactly, and how good a ranking is.

Nothing of the size batch x classes is ever built: the logits of a group of classes
and a block of examples are used and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss.engine import passes
from numba_ss.engine.full_losses import check_model
from numba_ss.kernels.core import ids as id_kernels
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.softmax import ranking
from numba_ss.kernels.softmax.candidates import BLOCK

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


_SORTED = 50  # multiplications that take as long as putting a class in its place


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


def find(known: Integers, values: Integers) -> Integers:
    """Return where each value stands in `known`, which ascends, or -1."""
    at = np.searchsorted(known, values)
    if not len(known):
        return np.full_like(at, -1)
    at[at == len(known)] = 0
    at[known[at] != values] = -1
    return at


def _check_offsets(name: str, value: ArrayLike, num_rows: int, num_values: int) -> Integers:
    """Return where each row begins among the values of all, and where the last one ends."""
    offsets = _checks.ids(name, value)
    _checks.shaped(name, offsets, (num_rows + 1,), "number of rows + 1,")
    falls = np.flatnonzero(np.diff(offsets) < 0) + 1
    if falls.size:
        _checks.fail(name, "offsets that do not fall", f"{offsets[falls[0]]} at [{falls[0]}]")
    if offsets[0] != 0 or offsets[-1] != num_values:
        ends = f"{offsets[0]} to {offsets[-1]}"
        _checks.fail(name, f"offsets from 0 to the number of ids = {num_values}", ends)
    return offsets


def packed_exclusions(exclude: Any, batch_size: int) -> tuple[Integers, Integers]:
    """Return the ids to leave out, one example's after the other's, and their offsets."""
    if exclude is None:
        return np.empty(0, np.int64), np.zeros(batch_size + 1, np.int64)
    if isinstance(exclude, tuple) and [type(part) for part in exclude] == [np.ndarray] * 2:
        values = _checks.ids("exclude[0]", exclude[0])
        _checks.shaped("exclude[0]", values, (None,), "number of ids,")
        return values, _check_offsets("exclude[1]", exclude[1], batch_size, len(values))
    if len(exclude) != batch_size:
        _checks.fail("exclude", f"batch_size = {batch_size} sequences of ids", len(exclude))
    if isinstance(exclude, np.ndarray) and exclude.ndim == 2:
        offsets = np.arange(batch_size + 1, dtype=np.int64) * exclude.shape[1]
        return _checks.ids("exclude", exclude).reshape(-1), offsets
    rows = [_checks.ids(f"exclude[{i}]", row).reshape(-1) for i, row in enumerate(exclude)]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.concatenate([np.empty(0, np.int64), *rows]), offsets


def sorted_exclusions(
    values: Integers, offsets: Integers, num_classes: int
) -> tuple[Integers, Integers]:
    """Return them without -1 and repetitions, each example's ascending."""
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
    exclude: ArrayLike | Sequence[ArrayLike] | None = None,
) -> TopK:
    """Find the k classes of highest logit for each example, exactly.

    Parameters
    ----------
    weights, biases, inputs
        See `softmax_loss`. A class of bias -inf is not among the best.
    k : int
        Number of classes, at most num_classes.
    exclude : sequence of sequences of int, or array (batch_size, any), optional
        Classes to leave out, for each example; -1 stands for none. A tuple of two arrays
        is the packed form, the fastest: those of one example after the other's, and
        offsets (batch_size + 1,) of where each example's begin and the last one's end.

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
    rows, logits = passes.walk_scratch(threads, w.shape[1], h.dtype)
    for start in range(0, len(h), passes.EXAMPLES):
        part = h[start : start + passes.EXAMPLES]
        size = len(part)
        xt = passes.transposed(passes.padded_inputs(part), size, w.shape[1])
        heap_scores = np.empty((threads, size, k), h.dtype)
        heap_ids = np.empty((threads, size, k), np.int64)
        counts = np.empty((threads, size), np.int64)
        ranking.select(
            w, b, xt, size, excluded, offsets[start : start + size + 1], threads, rows, logits,
            np.empty((threads, xt.shape[0] * BLOCK), h.dtype), heap_scores, heap_ids, counts,
            probe,
        )
        if not (np.isfinite(probe.sum() + part.sum()) and highest_bias < np.inf):
            parts = [("inputs", h, None), ("weights", w, None), ("biases", b, None)]
            _checks.explain_loss(np.array([np.nan]), parts)
        ranking.merge_best(
            heap_scores, heap_ids, counts, threads_for(_SORTED * heap_ids.size),
            scores[start : start + size], ids[start : start + size],
        )
    if not scores.max(initial=-np.inf) < np.inf:
        _checks.fail("inputs, weights", "logits that the type can hold", "an infinite one")
    return TopK(scores, ids)


def _check_ranking(value: ArrayLike) -> Integers:
    """Return recommended ids, distinct in each row, -1 after the last of them."""
    ids = _checks.ids("recommended", value, "rows of one length, filled up with -1")
    _checks.shaped("recommended", ids, (None, None), "users, K")
    ascending = np.sort(ids, axis=1)
    repeated = (ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] != -1)
    for expected, wrong in [
        ("ids >= 0, or -1 where there is none", ids < -1),
        ("-1 after the last id of a row only", (ids[:, :-1] == -1) & (ids[:, 1:] != -1)),
        ("distinct ids in a row", repeated),
    ]:
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1)))
            _checks.fail("recommended", expected, f"{ids[row]} at recommended[{row}]")
    return ids


def _hits(
    recommended: Integers, relevant: Integers, offsets: Integers
) -> tuple[Integers, Integers]:
    """Return the users and the ranks, from 0, of the recommended ids that are relevant."""
    known, codes = np.unique(relevant, return_inverse=True)
    users = np.repeat(np.arange(len(recommended)), np.diff(offsets))
    keys = np.sort(users * len(known) + codes)
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if twice.size:
        user, code = divmod(int(keys[twice[0]]), len(known))
        _checks.fail("relevant", "distinct ids for each user", f"{known[code]} twice, user {user}")
    codes = find(known, recommended)
    rows, ranks = np.nonzero(codes >= 0)
    hit = find(keys, rows * len(known) + codes[rows, ranks]) >= 0
    return rows[hit], ranks[hit]


def _coverage(recommended: Integers, num_items: int) -> float:
    """Return the share of the items that are recommended to anybody."""
    distinct = np.unique(recommended[recommended != -1]).size
    return distinct / _checks.integer("num_items", num_items, max(distinct, 1))


def ranking_metrics(
    recommended: ArrayLike, relevant: ArrayLike, offsets: ArrayLike,
    k: int | Sequence[int] = (10, 50), *, num_items: int | None = None,
) -> dict[str, float]:
    r"""Judge rankings by the items that turned out to be relevant.

    With :math:`R_u` the relevant items of user u, :math:`r_{uj}` 1 where the item at rank
    j = 1, 2, ... is one of them and 0 elsewhere, means over the users who have any of

    .. math::
        \mathrm{HR@k} &= \max_{j \le k} r_{uj} \\
        \mathrm{Recall@k} &= \sum_{j \le k} r_{uj} \; / \; |R_u| \\
        \mathrm{NDCG@k} &= \sum_{j \le k} \frac{r_{uj}}{\log_2(j + 1)} \Big/
            \sum_{j \le \min(k, |R_u|)} \frac{1}{\log_2(j + 1)} \\
        \mathrm{MRR@k} &= \max_{j \le k} r_{uj} / j

    Parameters
    ----------
    recommended : array of integers, shape (users, K)
        Items of each user, distinct, best first; -1 where there are no more.
    relevant : array of integers, shape (any,)
        Relevant items, distinct for a user, one user's after the other's.
    offsets : array of integers, shape (users + 1,)
        Where each user's begin in `relevant`, and where the last one's end.
    k : int or sequence of int
        Ranks to cut at, each at most K.
    num_items : int, optional
        Number of items there are, for the coverage.

    Returns
    -------
    dict
        "HR@k", "Recall@k", "NDCG@k" and "MRR@k" for each k; with `num_items` "coverage@k",
        the share of the items that are recommended to anybody within k, users without
        relevant items included; "users", the number of users in the means.

    Raises
    ------
    ArgumentError
        If shapes, ids or offsets do not fit, or no user has a relevant item.

    References
    ----------
    K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS
    20 (2002), section 2, https://doi.org/10.1145/582415.582418: NDCG, here with gains of 0
    and 1 and the discount log2(j + 1). E. M. Voorhees, The TREC-8 question answering track
    report (1999): the reciprocal rank of the first hit.

    Examples
    --------
    >>> result = ranking_metrics([[7, 5, 9], [4, -1, -1]], [7, 9, 6], [0, 2, 3], k=2)
    >>> {name: round(value, 3) for name, value in result.items()}
    {'HR@2': 0.5, 'Recall@2': 0.25, 'NDCG@2': 0.307, 'MRR@2': 0.5, 'users': 2}
    """
    ids = _check_ranking(recommended)
    true = _checks.ids("relevant", relevant)
    _checks.shaped("relevant", true, (None,), "number of relevant items,")
    ends = _check_offsets("offsets", offsets, len(ids), len(true))
    cuts = [_checks.integer("k", cut, 1, ids.shape[1]) for cut in np.atleast_1d(np.asarray(k))]
    if not len(true):
        _checks.fail("relevant", "a relevant item for one user at least", "none")
    if true.min() < 0:
        _checks.fail("relevant", "ids >= 0", true.min())
    users, ranks = _hits(ids, true, ends)
    sizes = np.diff(ends)
    some = sizes > 0
    discount = 1 / np.log2(np.arange(2, ids.shape[1] + 2))
    ideal = np.cumsum(discount)
    result: dict[str, float] = {}
    for cut in cuts:
        within = ranks < cut
        user, rank = users[within], ranks[within]
        found = np.bincount(user, minlength=len(ids))[some]
        gain = np.bincount(user, discount[rank], len(ids))[some]
        first = np.diff(user, prepend=-1) > 0
        result |= {
            f"HR@{cut}": float((found > 0).mean()),
            f"Recall@{cut}": float((found / sizes[some]).mean()),
            f"NDCG@{cut}": float((gain / ideal[np.minimum(sizes[some], cut) - 1]).mean()),
            f"MRR@{cut}": float((1 / (rank[first] + 1)).sum() / len(found)),
        }
        if num_items is not None:
            result[f"coverage@{cut}"] = _coverage(ids[:, :cut], num_items)
    return result | {"users": int(some.sum())}
