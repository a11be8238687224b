"""Word vectors that several test files save and load."""

import numpy as np
import pytest

from numba_ss.word2vec.vectors import WordVectors


@pytest.fixture
def vectors(rng):
    table = rng.standard_normal((5, 3)).astype(np.float32)
    table[1] = [-0.0, 1e-42, np.finfo(np.float32).max]
    return WordVectors(["the", "Käse", "日本", "a_b", "x" * 300], table, [2**40, 7, 7, 1, 0])
