"""neighbours.py: queries, compared with plain NumPy and with gensim."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.vectors import WordVectors
from tests.word2vec.word_cases import NAMES, ranking, same_ranking, unit


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
    assert vectors.doesnt_match(word for word in "dabce") == "d"


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
        (r"positive\[1\]: .*a word or a vector, got rows", lambda v: v.most_similar(["w01", (np.ones(6), 0.5)])),
        (r"word: .*a str \(the word '3' for an integer of a text\), got 3", lambda v: v[3]),
        ("word: .*a str .* got 3", lambda v: v[[3]]),
        ("word: .*a str .* got 3", lambda v: v.most_similar([3])),
        ("words: .*a sequence of words, got None", lambda v: v[None]),
        ("word: .*a str", lambda v: v.similarity("w01", 2)),
        ("words: .*at least three", lambda v: v.doesnt_match(["w01", "w02"])),
        ("words: .*at least three", lambda v: v.doesnt_match(word for word in ["w01", "w02"])),
        ("words: .*a sequence of words", lambda v: v.doesnt_match("w01w02")),
    ],
)
def test_bad_questions(message, ask, vectors):
    with pytest.raises(ArgumentError, match=message):
        ask(vectors)


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
