"""vocabulary.py: which words, in which order, and the table that looks them up in text."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import ArgumentError
from numba_ss.kernels.words.text import MALFORMED, PADDING
from numba_ss.word2vec import vocabulary
from numba_ss.word2vec.vocabulary import Vocabulary, WordTable, as_word
from tests.conftest import JIT

words = st.lists(st.text("abcß中\U0001f30d", min_size=1, max_size=3), unique=True, min_size=1, max_size=30)


def by_rule(counts):
    return sorted(counts, key=lambda word: (-counts[word], word))


@given(words, st.data())
def test_order_is_count_then_code_points_whatever_came_first(words, data):
    counts = data.draw(st.lists(st.integers(1, 4), min_size=len(words), max_size=len(words)))
    want = by_rule(dict(zip(words, counts, strict=True)))
    for order in (range(len(words)), data.draw(st.permutations(range(len(words))))):
        vocabulary = Vocabulary.from_counts(
            [words[i] for i in order], [counts[i] for i in order], min_count=1
        )
        assert vocabulary.words == want
        assert vocabulary.counts.dtype == np.int64
        assert vocabulary.counts.tolist() == [counts[words.index(word)] for word in want]
        assert [vocabulary.index[word] for word in want] == list(range(len(words)))


def test_min_count_and_max_size():
    words, counts = ["a", "b", "c", "d"], [5, 4, 9, 5]
    assert Vocabulary.from_counts(words, counts).words == ["c", "a", "d"]
    limited = Vocabulary.from_counts(words, np.array(counts, np.int32), min_count=0, max_size=2)
    assert limited.words == ["c", "a"]
    assert "c" in limited
    assert "b" not in limited
    assert len(limited) == 2
    assert repr(limited) == "Vocabulary(2 words, 14 occurrences)"


def test_from_words_keeps_the_given_order_of_ties():
    assert Vocabulary.from_words(["z", "b", "y", "a"], [1, 3, 1, 0]).words == ["b", "z", "y", "a"]
    unknown = Vocabulary.from_words(["z", "a"])
    assert unknown.words == ["z", "a"]
    assert unknown.counts.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary.from_counts(["a", "b"], [3, 4]), "min_count: expected at most 4.* 2 different words, got 5"),
        (lambda: Vocabulary.from_counts([], []), "min_count: .* 0 different words"),
        (lambda: Vocabulary.from_counts(["a"], [5], min_count=1.5), "min_count: expected an integer"),
        (lambda: Vocabulary.from_counts(["a"], [5], max_size=0), "max_size: expected at least 1"),
        (lambda: Vocabulary.from_counts(["a", "b"], [5]), r"counts: expected shape \(num_words,\) = \(2\)"),
        (lambda: Vocabulary.from_counts(["a"], [-1], min_count=0), r"counts: .*-1 at counts\[0\]"),
        (lambda: Vocabulary.from_counts(["a"], [5.0]), "counts: expected integers"),
        (lambda: Vocabulary.from_counts(["a", "a"], [5, 5]), "words: .*'a' 2 times"),
        (lambda: Vocabulary.from_counts(["a", 7], [5, 5]), r"words: expected strings, got 7 at words\[1\]"),
        (lambda: Vocabulary.from_words([]), "words: expected at least one word"),
        (lambda: Vocabulary.from_words("abc"), "words: expected a list of strings, got 'abc'"),
        (lambda: Vocabulary.from_words(["b", "a", "b"]), "words: .*'b' 2 times"),
        (lambda: Vocabulary(["a"], [1]).merge(["b", "b"], [5, 6]), "words: .*'b' 2 times"),
        (lambda: Vocabulary(["a"], [1]).merge(["b"], [5], min_count="no"), "min_count"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_counts_are_a_copy():
    counts = np.array([3, 2])
    vocabulary = Vocabulary(["a", "b"], counts)
    counts[:] = 0
    assert vocabulary.counts.tolist() == [3, 2]


@given(words, words, st.integers(0, 4), st.data())
def test_merge(old_words, new_words, min_count, data):
    counts = [st.lists(st.integers(0, 9), min_size=len(w), max_size=len(w)) for w in (old_words, new_words)]
    old_counts, new_counts = data.draw(counts[0]), data.draw(counts[1])
    old = Vocabulary.from_words(old_words, old_counts)
    new, old_ids = old.merge(new_words, new_counts, min_count=min_count)
    want = Counter(dict(zip(old_words, old_counts, strict=True)))
    for word, count in zip(new_words, new_counts, strict=True):
        if word in old or count >= min_count:
            want[word] += count
    assert new.words == by_rule(want)
    assert new.counts.tolist() == [want[word] for word in new.words]
    assert old_ids.tolist() == [old.index.get(word, -1) for word in new.words]


def padded(data):
    return np.frombuffer(data + b" " * PADDING, np.uint8).copy(), len(data)


def test_table_grows_with_what_it_counts(monkeypatch):
    monkeypatch.setattr(vocabulary, "_ROOM", 4)
    words = [f"{'word' if i % 3 else 'a_much_longer_word_than_a_slot_holds'}{i}" for i in range(20_000 if JIT else 300)]
    data = " ".join([*words, *words[:100]]).encode() + b" "
    table = WordTable()
    for part in (data, data):
        (ids, *more), done = table.encode(*padded(part), keep_unknown=True)
        assert done == len(data)
        for some in (ids, *more):
            table.count(some, *padded(part))
    got, counts = table.result()
    assert got == words
    assert counts.tolist() == [4] * 100 + [2] * (len(words) - 100)


def test_table_of_words_that_no_text_can_hold(monkeypatch):
    """They have ids, but are never found in a text."""
    monkeypatch.setattr(vocabulary, "_ROOM", 1)
    words = ["New York", "New", "", "a\nb", "b", "\ud800", "York\u3000", "\xa0", "last"]
    text = "New York a b last \u3000York\n".encode()
    parts, done = WordTable(words).encode(*padded(text), keep_unknown=False)
    assert done == len(text)
    assert np.concatenate(parts).tolist() == [1, 4, 8, -1]
    assert WordTable(words).encode(*padded(b"\xed\xa0\x80 "), keep_unknown=False)[1] == MALFORMED


@pytest.mark.parametrize(
    ("token", "word"),
    [("a", "a"), (np.str_("b"), "b"), (7, "7"), (np.uint8(200), "200"), (-1, "-1"), (True, None),
     (np.True_, None), (1.0, None), (b"a", None), (None, None)],
)
def test_tokens_as_words(token, word):
    assert as_word(token) == word
    assert type(as_word(token)) in (str, type(None))
    assert (token in Vocabulary(["7", "x"], [1, 1])) == (word in ("7", "x"))


def test_merge_keeps_the_most_frequent_words():
    old = Vocabulary(["a", "b", "c"], [9, 4, 4])
    new, old_ids = old.merge(["d", "c", "e"], [8, 0, 4], min_count=1, max_size=3)
    assert new.words == ["a", "d", "e"]  # of three words that come four times, the newest
    assert old_ids.tolist() == [0, -1, -1]
    new, old_ids = old.merge(["d", "c"], [6, 2], min_count=1, max_size=3)
    assert (new.words, new.counts.tolist()) == (["a", "c", "d"], [9, 6, 6])
    assert old_ids.tolist() == [0, 2, -1]
