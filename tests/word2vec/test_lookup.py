"""lookup.py: words and rows, means, and words that are unknown."""

import pickle

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.lookup import UnknownWordError
from numba_ss.word2vec.vectors import WordVectors
from tests.word2vec.word_cases import NAMES


def test_unit_vectors_are_made_once_and_not_for_a_pair(vectors):
    vectors.similarity("w01", "w02")
    vectors.doesnt_match(NAMES[:3])
    assert "_units" not in vars(vectors)
    first = vectors.unit_vectors()
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    assert np.shares_memory(vectors.unit_vectors(), first)


def test_unknown_words():
    vectors = WordVectors(["paris", "parish", "Parts", "london", "s"], np.ones((5, 2)))
    for ask in (
        lambda: vectors["pariss"],
        lambda: vectors.most_similar(["london", "pariss"]),
        lambda: vectors.most_similar_many(["pariss"]),
        lambda: vectors.similarity("pariss", "london"),
    ):
        with pytest.raises(KeyError) as caught:
            ask()
        assert caught.type is UnknownWordError
        assert caught.value.args == ("pariss",)
        assert str(caught.value) == "'pariss' has no vector; close to it: 'paris', 'parish'"
    with pytest.raises(KeyError, match=r"^'zzz' has no vector$"):
        vectors["zzz"]
    assert "zzz" in str(pickle.loads(pickle.dumps(UnknownWordError("zzz"))))


def test_integers_of_a_text_are_asked_for_as_words():
    vectors = WordVectors(["7", "x"], np.eye(2))
    assert 7 in vectors
    assert np.int64(7) in vectors
    assert not any(token in vectors for token in (8, 7.0, True, None, ["7"]))
    for ask in (vectors.get, vectors.__getitem__, lambda word: vectors.get_mean_vector([word, "x"])):
        with pytest.raises(ArgumentError, match=r"word: expected a str \(the word '7' for .*got 7"):
            ask(7)


def test_what_gensim_s_users_call(vectors, keyed):
    words = vectors.index_to_key
    assert list(vectors) == vectors.keys() == words
    assert dict(vectors).keys() == set(words)
    a, b, c = words[:3]
    np.testing.assert_array_equal(vectors.get(a), keyed[a])
    assert vectors.get("absent") is None
    assert vectors.get("absent", 5) == 5
    for norm in (True, False):
        np.testing.assert_allclose(vectors.get_vector(a, norm), keyed.get_vector(a, norm), rtol=1e-6)
    for options in (
        {}, {"weights": [1, -2, 0.5]}, {"pre_normalize": False}, {"post_normalize": True},
    ):
        got = vectors.get_mean_vector([a, b, c], **options)
        np.testing.assert_allclose(got, keyed.get_mean_vector([a, b, c], **options), rtol=1e-5)
        assert got.dtype == np.float32
    np.testing.assert_allclose(
        vectors.get_mean_vector([a, "absent"]), keyed.get_mean_vector([a, "absent"]), rtol=1e-6
    )
    with pytest.raises(UnknownWordError):
        vectors.get_mean_vector([a, "absent"], ignore_missing=False)
    assert vectors.distance(a, b) == pytest.approx(keyed.distance(a, b), abs=1e-6)
    for one, other in (([a], [b]), ([a, b], [c, "absent"]), ([a, b], [a, b])):
        assert vectors.n_similarity(one, other) == pytest.approx(keyed.n_similarity(one, other), abs=1e-6)
    for other in words[1:]:
        assert vectors.rank(a, other) == keyed.rank(a, other)
        assert vectors.most_similar_to_given(a, words[1:]) == keyed.most_similar_to_given(a, words[1:])


def test_documents_become_means():
    vectors = WordVectors(["a", "b", "7", ""], [[1.0, 0], [0, 1], [4, 4], [9, 9]])
    got = vectors.transform([["a", "a", "b", "absent", None], (7, np.int64(7)), [], ["absent"], np.array(["b"])])
    np.testing.assert_allclose(got, [[2 / 3, 1 / 3], [4, 4], [0, 0], [0, 0], [0, 1]], rtol=1e-6)
    assert got.dtype == np.float32
    assert vectors.transform([]).shape == (0, 2)
    for documents, message in (
        ("a b", "documents: expected an iterable of lists of words, got 'a b'"),
        (None, "documents: expected an iterable of lists of words, got None"),
        (["a b"], r"documents\[0\]: expected a list of words \(say line\.split\(\)\), got 'a b'"),
        ([["a"], 5], r"documents\[1\]: expected a list of words"),
        ([["a"], ["b", 7.0]], r"documents\[1\]\[1\]: expected a string or an integer, got 7.0"),
        ([[["a", "b"]]], r"documents\[0\]\[0\]: expected a string or an integer, got \['a', 'b'\]"),
    ):
        with pytest.raises(ArgumentError, match=message):
            vectors.transform(documents)


def test_a_long_word_is_shortened():
    with pytest.raises(UnknownWordError) as error:
        WordVectors(["a"], [[1.0]])["x" * 1_000_000]
    assert len(str(error.value)) < 600
