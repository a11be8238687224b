"""vectors.py: what a table may be, and gensim's form of it."""

import copy
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.vectors import WordVectors
from tests.word2vec.word_cases import NAMES, same_ranking


def test_attributes(rng):
    table = rng.standard_normal((3, 2)).astype(np.float32)
    vectors = WordVectors(["a", "b", "c"], table, [9, 4, 1])
    assert vectors.index_to_key == ["a", "b", "c"]
    assert vectors.key_to_index == {"a": 0, "b": 1, "c": 2}
    assert (len(vectors), vectors.vector_size, repr(vectors)) == (3, 2, "WordVectors(3 words, vector_size=2)")
    assert "b" in vectors
    assert "d" not in vectors
    assert np.shares_memory(vectors.vectors, table)
    assert vectors.counts.tolist() == [9, 4, 1]
    np.testing.assert_array_equal(vectors["b"], table[1])
    np.testing.assert_array_equal(vectors[["c", "a"]], table[[2, 0]])
    assert vectors[[]].shape == (0, 2)
    for array in (vectors.vectors, vectors.counts, vectors["a"], vectors.unit_vectors()):
        assert not array.flags.writeable
    assert table.flags.writeable
    for again in (pickle.loads(pickle.dumps(vectors)), copy.deepcopy(vectors), copy.copy(vectors)):
        assert again.similarity("a", "b") == vectors.similarity("a", "b")
        assert not any(array.flags.writeable for array in (again.vectors, again.counts))
        assert "_units" not in vars(again)


def test_other_types_become_float32():
    for table in ([[1.0, 2.0]], np.ones((1, 2)), np.ones((1, 2), np.float16), np.ones((2, 1), np.float32).T):
        vectors = WordVectors(["a"], table)
        assert vectors.vectors.dtype == np.float32
        assert vectors.vectors.flags.c_contiguous


@pytest.mark.parametrize(
    ("message", "words", "table", "counts"),
    [
        ("words: expected a sequence", "ab", np.ones((2, 2)), None),
        (r"words: expected str, got 1 at words\[1\]", ["a", 1], np.ones((2, 2)), None),
        (r"words: .*distinct words, got 'a' again at words\[2\]", ["a", "b", "a"], np.ones((3, 2)), None),
        (r"vectors: expected shape \(num_words, dim\) = \(1, any\)", ["a"], np.ones((2, 2)), None),
        ("vectors: .*at least one word", [], np.ones((0, 2)), None),
        ("vectors: .*at least one", ["a"], np.ones((1, 0)), None),
        ("vectors: expected floating-point", ["a"], np.ones((1, 2), int), None),
        ("vectors: expected rows of one length, got rows of", ["a", "b"], [[1.0], [1.0, 2.0]], None),
        (r"vectors: .*finite numbers, got nan at vectors\[1, 0\], word 'b'", ["a", "b"], [[1.0], [np.nan]], None),
        ("vectors: .*finite numbers, got inf", ["a"], [[1e39]], None),
        ("counts: expected integers", ["a"], [[1.0]], [0.5]),
        ("counts: expected shape", ["a"], [[1.0]], [1, 2]),
        (r"counts: .*got -1 at counts\[0\]", ["a"], [[1.0]], [-1]),
    ],
)
def test_bad_vectors(message, words, table, counts):
    with pytest.raises(ArgumentError, match=message):
        WordVectors(words, table, counts)


def test_to_gensim_and_back(vectors, keyed):
    there = vectors.to_keyed_vectors()
    assert there.index_to_key == NAMES
    assert there.get_vecattr("w01", "count") == 49
    same_ranking(there.most_similar("w01"), keyed.most_similar("w01"))
    back = WordVectors.from_keyed_vectors(there)
    assert back.index_to_key == NAMES
    np.testing.assert_array_equal(back.vectors, vectors.vectors)
    np.testing.assert_array_equal(back.counts, vectors.counts)
    assert np.shares_memory(back.vectors, there.vectors)
    without = WordVectors(NAMES, vectors.vectors).to_keyed_vectors()
    assert WordVectors.from_keyed_vectors(without).counts is None


def test_gensim_s_models_are_told_from_their_vectors():
    model = SimpleNamespace(wv=None)
    with pytest.raises(ArgumentError, match=r"keyed: expected gensim.models.KeyedVectors, got SimpleNamespace; of a model, give its wv"):
        WordVectors.from_keyed_vectors(model)
    with pytest.raises(ArgumentError, match=r"keyed: expected gensim.models.KeyedVectors, got NoneType$"):
        WordVectors.from_keyed_vectors(None)


def test_gensim_is_named_where_it_is_absent(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match=r"needs gensim: .*numba-ss\[all\]"):
        vectors.to_keyed_vectors()
