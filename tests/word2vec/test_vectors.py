"""vectors.py: queries, compared with plain NumPy and with gensim."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.vectors import UnknownWordError, WordVectors

NAMES = [f"w{i:02}" for i in range(50)]


@pytest.fixture
def vectors(rng):
    return WordVectors(NAMES, rng.standard_normal((50, 6)).astype(np.float32), range(50, 0, -1))


@pytest.fixture
def keyed(vectors):
    models = pytest.importorskip("gensim.models", reason="compares with gensim")
    keyed = models.KeyedVectors(6)
    keyed.add_vectors(NAMES, vectors.vectors)
    return keyed


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
    again = pickle.loads(pickle.dumps(vectors))
    assert again.similarity("a", "b") == vectors.similarity("a", "b")


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


def test_most_similar(vectors, rng):
    v = {word: vectors[word].astype(float) for word in NAMES}
    same_ranking(vectors.most_similar("w03"), ranking(vectors, v["w03"], ["w03"])[:10])
    mean = unit(v["w01"]) + unit(v["w02"]) - unit(v["w03"])
    own = ["w01", "w02", "w03"]
    want = ranking(vectors, mean, own)
    same_ranking(vectors.most_similar(["w01", "w02"], ["w03"], topn=3), want[:3])
    same_ranking(vectors.most_similar(["w01", "w02"], "w03", topn=1000), want)
    same_ranking(vectors.analogy("w03", "w01", "w02", topn=4), want[:4])
    other = rng.standard_normal(6)
    same_ranking(vectors.most_similar(other, topn=50), ranking(vectors, other))
    same_ranking(
        vectors.most_similar(["w40", other], restrict_vocab=20, topn=30),
        ranking(vectors, unit(v["w40"]) + other, limit=20),
    )


def test_most_similar_is_gensim_s(vectors, keyed, rng):
    other = rng.standard_normal(6).astype(np.float32)
    for arguments in [
        {"positive": "w07"}, {"negative": ["w07"]}, {"positive": other},
        {"positive": ["w01", other], "negative": ["w02", "w03"]},
        {"positive": ["w01", "w01"], "negative": "w49", "topn": 7, "restrict_vocab": 30},
    ]:
        same_ranking(vectors.most_similar(**arguments), keyed.most_similar(**arguments))
    for words in (NAMES[:5], NAMES[20:40]):
        assert vectors.doesnt_match(words) == keyed.doesnt_match(words)
    assert vectors.similarity("w01", "w02") == pytest.approx(keyed.similarity("w01", "w02"), abs=1e-6)


def test_most_similar_many(vectors, rng):
    got = vectors.most_similar_many(NAMES[:5], topn=4)
    for word, best in zip(NAMES, got, strict=False):
        same_ranking(best, vectors.most_similar(word, topn=4))
    queries = rng.standard_normal((5, 6))
    for query, best in zip(queries, vectors.most_similar_many(queries, restrict_vocab=9), strict=True):
        same_ranking(best, ranking(vectors, query, limit=9))
    for word, best in zip(NAMES[:49], vectors.most_similar_many(NAMES[:49]), strict=True):
        same_ranking(best, vectors.most_similar(word))  # compiled, and not
    assert vectors.most_similar_many([]) == []
    assert vectors.most_similar_many(np.empty((0, 6))) == []


def test_equal_cosines_come_in_the_order_of_the_words():
    rows = np.ones((40, 3), np.float32) * np.arange(1, 41)[:, None]
    vectors = WordVectors(NAMES[:40], rows)
    best = vectors.most_similar("w05", topn=8)
    assert [word for word, _ in best] == [word for word in NAMES[:9] if word != "w05"]
    assert all(0.999999 < cosine <= 1 for _, cosine in best)
    assert vectors.similarity("w03", "w30") <= 1


def test_zeros_are_far_from_everything(vectors):
    table = vectors.vectors.copy()
    table[4] = 0
    vectors = WordVectors(NAMES, table)
    assert not vectors.unit_vectors()[4].any()
    assert dict(vectors.most_similar("w01", topn=49))["w04"] == 0
    for ask in (
        lambda: vectors.most_similar("w04"),
        lambda: vectors.most_similar_many(["w01", "w04"]),
        lambda: vectors.similarity("w01", "w04"),
        lambda: vectors.doesnt_match(["w01", "w02", "w04"]),
    ):
        with pytest.raises(ArgumentError, match=r"length 0.0 of 'w04'|zeros for queries\[1\]"):
            ask()


def test_extreme_lengths():
    table = np.float32([[1e-40, 0], [1e38, 1e38], [0, 3e38]])
    vectors = WordVectors(["a", "b", "c"], table)
    assert vectors.similarity("a", "b") == pytest.approx(0.5**0.5)
    assert [word for word, _ in vectors.most_similar("a")] == ["b", "c"]


def test_doesnt_match():
    rows = [[1, 0.1], [1, 0.2], [0.9, 0.1], [-1, 0.4], [1, 0]]
    vectors = WordVectors(list("abcde"), np.float32(rows))
    assert vectors.doesnt_match(["d", "a", "b", "c", "e"]) == "d"


def test_unit_vectors_are_made_once_and_not_for_a_pair(vectors):
    vectors.similarity("w01", "w02")
    vectors.doesnt_match(NAMES[:3])
    assert "_units" not in vars(vectors)
    first = vectors.unit_vectors()
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    assert np.shares_memory(vectors.unit_vectors(), first)


@pytest.mark.parametrize(
    ("message", "ask"),
    [
        ("positive, negative: .*at least one", lambda v: v.most_similar()),
        ("positive, negative: .*at least one", lambda v: v.most_similar([], [])),
        ("positive, negative: .*direction", lambda v: v.most_similar("w01", "w01")),
        ("positive, negative: .*direction", lambda v: v.most_similar(["w01", "w02"], ["w02", "w01"])),
        ("positive, negative: .*direction", lambda v: v.most_similar(np.zeros(6))),
        (r"positive\[0\]: .*\(dim,\) = \(6\)", lambda v: v.most_similar(np.ones(5))),
        (r"negative\[1\]: .*finite", lambda v: v.most_similar("w01", ["w02", np.full(6, np.nan)])),
        (r"positive\[0\]: .*a word or a vector", lambda v: v.most_similar([None])),
        ("positive: .*words or vectors, got 3", lambda v: v.most_similar(3)),
        ("topn: .*at least 1, got 0", lambda v: v.most_similar("w01", topn=0)),
        ("topn: .*integer", lambda v: v.most_similar("w01", topn=2.5)),
        ("restrict_vocab: .*at least 1", lambda v: v.most_similar("w01", restrict_vocab=0)),
        (r"queries: .*\(any, 6\)", lambda v: v.most_similar_many(np.ones(6))),
        ("queries: .*finite length, got length inf", lambda v: v.most_similar_many(np.full((1, 6), 1e200))),
        (r"queries: .*zeros for queries\[0\]", lambda v: v.most_similar_many(np.zeros((1, 6)))),
        ("words: .*a sequence of words", lambda v: v.most_similar_many("w01")),
        ("words: .*a sequence of words", lambda v: v[3]),
        ("word: .*a str, got 3", lambda v: v[[3]]),
        ("word: .*a str", lambda v: v.similarity("w01", 2)),
        ("words: .*at least three", lambda v: v.doesnt_match(["w01", "w02"])),
        ("words: .*at least three", lambda v: v.doesnt_match("w01w02")),
    ],
)
def test_bad_questions(message, ask, vectors):
    with pytest.raises(ArgumentError, match=message):
        ask(vectors)


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


def test_search_among_given_words(vectors):
    words = vectors.index_to_key
    for among in (words, words[::-2], [words[3]], [words[0]], []):
        want = [pair for pair in vectors.most_similar(words[0], topn=len(words)) if pair[0] in among]
        got = vectors.most_similar(words[0], topn=len(words), among=among)
        assert [word for word, _ in got] == [word for word, _ in want]
        np.testing.assert_allclose([c for _, c in got], [c for _, c in want], atol=1e-6)
        assert vectors.most_similar(words[0], topn=1, among=among) == got[:1]
    for ask, message in (
        (lambda: vectors.most_similar(words[0], among=words, restrict_vocab=3), "among: expected None"),
        (lambda: vectors.most_similar(words[0], among=words[1]), "words: expected a sequence of words"),
        (lambda: vectors.most_similar(words[0], 1, among=words), "topn|negative"),
        (lambda: vectors.most_similar_to_given(words[0], [words[0]]), "words: expected at least one word other"),
        (lambda: vectors.get_mean_vector(["absent"]), "a word with a vector and a weight, got none"),
        (lambda: vectors.get_mean_vector(words[0]), "words: expected a sequence of words"),
        (lambda: vectors.get_mean_vector(words, [1]), "weights: expected shape"),
    ):
        with pytest.raises(ArgumentError, match=message):
            ask()


def test_documents_become_means():
    vectors = WordVectors(["a", "b", "7", ""], [[1.0, 0], [0, 1], [4, 4], [9, 9]])
    got = vectors.transform([["a", "a", "b", "absent", None], (7, np.int64(7)), [], ["absent"], np.array(["b"])])
    np.testing.assert_allclose(got, [[2 / 3, 1 / 3], [4, 4], [0, 0], [0, 0], [0, 1]], rtol=1e-6)
    assert got.dtype == np.float32
    assert vectors.transform([]).shape == (0, 2)
    for documents, message in (
        ("a b", "documents: expected an iterable of lists of words, got 'a b'"),
        (["a b"], r"documents\[0\]: expected a list of words \(say line\.split\(\)\), got 'a b'"),
        ([["a"], 5], r"documents\[1\]: expected a list of words"),
    ):
        with pytest.raises(ArgumentError, match=message):
            vectors.transform(documents)


def test_a_long_word_is_shortened():
    with pytest.raises(UnknownWordError) as error:
        WordVectors(["a"], [[1.0]])["x" * 1_000_000]
    assert len(str(error.value)) < 600


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
