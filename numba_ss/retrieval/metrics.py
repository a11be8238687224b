"""Metrics of rankings: hit rate, recall, NDCG, reciprocal rank, coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._types import Integers


def find(known: Integers, values: Integers) -> Integers:
    """Return the position of each value in the ascending array `known`, or -1."""
    at = np.searchsorted(known, values)
    if not len(known):
        return np.full_like(at, -1)
    at[at == len(known)] = 0
    at[known[at] != values] = -1
    return at


def _check_ranking(value: ArrayLike) -> Integers:
    """Return recommended ids, which must be distinct in each row, with -1 only at its end."""
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
    """Return the users and the ranks (from 0) of the recommended ids that are relevant."""
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
    """Return the share of items that are recommended to at least one user."""
    distinct = np.unique(recommended[recommended != -1]).size
    return distinct / _checks.integer("num_items", num_items, max(distinct, 1))


def ranking_metrics(
    recommended: ArrayLike, relevant: ArrayLike, offsets: ArrayLike,
    k: int | Sequence[int] = (10, 50), *, num_items: int | None = None,
) -> dict[str, float]:
    r"""Score rankings by the items that turned out to be relevant.

    Let :math:`R_u` be the relevant items of user u, and :math:`r_{uj}` 1 if the item at rank
    j = 1, 2, ... is one of them, else 0. The metrics are the means over all users with relevant
    items of

    .. math::
        \mathrm{HR@k} &= \max_{j \le k} r_{uj} \\
        \mathrm{Recall@k} &= \sum_{j \le k} r_{uj} \; / \; |R_u| \\
        \mathrm{NDCG@k} &= \sum_{j \le k} \frac{r_{uj}}{\log_2(j + 1)} \Big/
            \sum_{j \le \min(k, |R_u|)} \frac{1}{\log_2(j + 1)} \\
        \mathrm{MRR@k} &= \max_{j \le k} r_{uj} / j

    Parameters
    ----------
    recommended : array of integers, shape (users, K)
        Items of each user, distinct, best first; -1 if there are no more.
    relevant : array of integers, shape (any,)
        Relevant items of all users, one user after the other; distinct for each user.
    offsets : array of integers, shape (users + 1,)
        The relevant items of user u are relevant[offsets[u]:offsets[u + 1]].
    k : int or sequence of int
        Ranks to cut at, each at most K.
    num_items : int, optional
        Total number of items, for the coverage.

    Returns
    -------
    dict
        "HR@k", "Recall@k", "NDCG@k" and "MRR@k" for each k; "users", the number of users in the
        means; and with `num_items` "coverage@k", the share of items that are among the first k
        of at least one user, including users without relevant items.

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
    ends = _checks.offsets("offsets", offsets, len(ids), len(true))
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
