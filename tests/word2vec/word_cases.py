"""Word vectors that several test files ask, and gensim's answers."""

import numpy as np

NAMES = [f"w{i:02}" for i in range(50)]


def unit(vector):
    return vector / np.linalg.norm(vector)


def ranking(vectors, query, leave_out=(), limit=None):
    """Rank all words, one by one in float64."""
    words = [word for word in vectors.index_to_key[:limit] if word not in leave_out]
    cosines = {word: unit(query) @ unit(vectors[word].astype(float)) for word in words}
    return sorted(cosines.items(), key=lambda pair: -pair[1])


def same_ranking(got, want):
    assert [word for word, _ in got] == [word for word, _ in want]
    np.testing.assert_allclose([c for _, c in got], [c for _, c in want], atol=2e-6)
