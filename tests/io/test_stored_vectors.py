"""stored_vectors.py: the first repeated word, the first number that is not finite."""

import numpy as np

from numba_ss.io.stored_vectors import Stored, first_not_finite, first_repeated


def test_firsts():
    assert first_repeated(["a", "b", "c"]) is None
    assert first_repeated(["a", "b", "b", "a"]) == 2
    table = np.zeros((40_000, 2), np.float32)
    assert first_not_finite(table) is None
    table[[39_000, 20_000], [0, 1]] = np.inf, np.nan
    assert first_not_finite(table) == (20_000, 1)
    assert Stored(["a"], table).counts is None
