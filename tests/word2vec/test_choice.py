"""choice.py: which words are learned, and which are remembered until they are frequent."""

from collections import Counter

import numpy as np
import pytest

from numba_ss import ArgumentError, Vocabulary, Word2Vec
from tests.word2vec.test_estimator import TEXT, trained


def test_vocabulary_options():
    counts = Counter(word for sentence in TEXT for word in sentence)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    least = counts[ordered[4]]
    for options, words in (
        ({}, ordered),
        ({"min_count": least}, [word for word in ordered if counts[word] >= least]),
        ({"max_vocabulary": 3}, ordered[:3]),
        ({"vocabulary": [ordered[6], "absent", ordered[2]]}, [ordered[2], ordered[6]]),
        ({"vocabulary": Vocabulary(ordered[1::-1], [7, 7])}, ordered[:2]),
        ({"vocabulary": np.array(ordered[:2])}, ordered[:2]),
    ):
        model = trained(epochs=1, **options)
        assert model.vectors_.index_to_key == model.vocabulary_.words == words
        want = [counts[word] for word in words]
        assert model.vectors_.counts.tolist() == model.vocabulary_.counts.tolist() == want
        assert model.history_[0]["words"] == sum(want)


def test_partial_fit_counts_what_was_rare_before():
    """A word joins when its counts of all texts are enough, and not one call before."""
    model = trained(min_count=6)
    for day in range(3):
        model.partial_fit([["seldom", "0_0"]] * 2 + TEXT, progress=False)
        assert ("seldom" in model.vocabulary_.index) == (day == 2)
    assert model.vocabulary_.counts[model.vocabulary_.index["seldom"]] == 6


def test_partial_fit_keeps_the_most_frequent_words(tmp_path):
    model = trained(max_vocabulary=4)
    dropped = {word for sentence in TEXT for word in sentence} - set(model.vocabulary_.words)
    more = [[word, "0_0"] for word in sorted(dropped)] * 99
    model.save(tmp_path / "model.npz")
    model = Word2Vec.load(tmp_path / "model.npz").partial_fit(more, progress=False)
    assert len(model.vocabulary_) == len(model.vectors_) == 4
    counts = Counter(word for sentence in [*TEXT, *more] for word in sentence)
    best = sorted(counts, key=lambda word: (-counts[word], word))[:4]
    assert model.vocabulary_.words == best
    assert model.vocabulary_.counts.tolist() == [counts[word] for word in best]


def test_words_that_the_text_lacks_are_left_out(caplog):
    model = trained(vocabulary=["0_1", "unicorn", "0_2", "dragon"])
    assert sorted(model.vectors_.index_to_key) == ["0_1", "0_2"]
    assert "2 of 4 words of vocabulary= are not in the text and get no vector: unicorn, dragon" in caplog.text
    with pytest.raises(ArgumentError, match="vocabulary: expected words that the text has, got none"):
        trained(vocabulary=["unicorn"])


def test_partial_fit_of_a_given_vocabulary():
    words = sorted({word for sentence in TEXT for word in sentence})
    model = trained(vocabulary=words)
    model.partial_fit([[*words, "new"]] * 9, progress=False)
    assert sorted(model.vectors_.index_to_key) == words


def test_given_words_are_not_cut():
    with pytest.raises(ArgumentError, match="max_vocabulary: expected None with vocabulary, got 2"):
        trained(vocabulary=["0_1", "0_2", "0_3"], max_vocabulary=2)
    with pytest.raises(ArgumentError, match=r"two different words of the vocabulary at least, got 1$"):
        trained(vocabulary=["0_1", "unicorn"])


def test_rare_words():
    with pytest.raises(ArgumentError, match=r"min_count: expected at most \d+, .* got 1000"):
        trained(min_count=1000)
