"""Word vectors that several test files ask, and gensim's form of them."""

import numpy as np
import pytest

from numba_ss.word2vec.vectors import WordVectors
from tests.word2vec.word_cases import NAMES


@pytest.fixture
def vectors(rng):
    return WordVectors(NAMES, rng.standard_normal((50, 6)).astype(np.float32), range(50, 0, -1))


@pytest.fixture
def keyed(vectors):
    models = pytest.importorskip("gensim.models", reason="compares with gensim")
    keyed = models.KeyedVectors(6)
    keyed.add_vectors(NAMES, vectors.vectors)
    return keyed
