"""The last candidates of a batch, drawn at once if they would take millions of single draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Integers


def draw_remaining(
    p: NDArray[np.float64], candidates: Integers, num_tries: int, unique: bool,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Replace the -1 at the end of `candidates`; return the expected counts of all classes.

    The result has the distribution that drawing on would have. This holds because the draws so far
    stopped at a fixed number of tries, whatever they had found. It takes time in proportion to the
    number of classes.

    Parameters
    ----------
    p : ndarray, shape (num_classes,)
        The probability of each class in one draw; the sum is 1.
    candidates : ndarray of int64, shape (num_sampled,)
        The classes that were drawn, then -1 for each one that is still missing.
    num_tries : int
        How many draws were made so far.
    unique : bool
        Whether the candidates are distinct.
    rng : Generator
        Gives the random numbers.
    """
    first = int(np.count_nonzero(candidates >= 0))
    rest = len(candidates) - first
    if not unique:
        shares = np.cumsum(p)
        candidates[first:] = np.searchsorted(shares, rng.random(rest) * shares[-1], "right")
        return len(candidates) * p
    left = p.copy()
    left[candidates[:first]] = 0
    with np.errstate(divide="ignore"):
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
        order = np.argsort(rng.exponential(size=len(p)) / left, kind="stable")
        candidates[first:] = order[:rest]
        # The probability of a new class before each draw; the number of tries is geometric.
        chance = np.cumsum(left[order][::-1])[::-1][:rest]
        waits = rng.exponential(size=rest) / -np.log1p(-np.minimum(chance, 1))
        tries = num_tries + np.maximum(np.ceil(waits), 1).sum()
        counts: NDArray[np.float64] = -np.expm1(tries * np.log1p(-p))
    return counts if tries > len(candidates) else tries * p
