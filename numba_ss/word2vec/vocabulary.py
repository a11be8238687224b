"""Words and their ids: the vocabulary, and the table in which the tokeniser looks words up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss.kernels.core.threads import get_num_threads
from numba_ss.kernels.words import text

_ROOM = 2**14  # words that a new table can take


def as_word(token: object) -> str | None:
    """Return a string, or an integer in decimal digits, as a word; None for anything else."""
    if isinstance(token, str):
        return str.__str__(token)  # NumPy's subclass becomes plain str
    if isinstance(token, (int, np.integer)) and not isinstance(token, bool):
        return str(int(token))
    return None


def _check_words(words: Any) -> list[str]:
    if isinstance(words, str):
        _checks.fail("words", "a list of strings", repr(words[:60]))
    result = list(words)
    for i, word in enumerate(result):
        if not isinstance(word, str):
            _checks.fail("words", "strings", f"{word!r} at words[{i}]")
    return result


def _check_counts(counts: ArrayLike, length: int) -> NDArray[np.int64]:
    array = _checks.ids("counts", counts)
    _checks.shaped("counts", array, (length,), "num_words,")
    negative = np.flatnonzero(array < 0)
    if negative.size:
        _checks.fail("counts", "counts >= 0", f"{array[negative[0]]} at counts[{negative[0]}]")
    return array


def _by_count(words: Sequence[str], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of the words by descending count, and by code points if counts are equal."""
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    return order[np.argsort(-counts[order], kind="stable")]


class Vocabulary:
    """Words, each with its count and its id, which is its position.

    Parameters
    ----------
    words : list of str
        The words, all different, in the order of their ids.
    counts : array of integers, shape (num_words,)
        How often each occurs.

    See Also
    --------
    Vocabulary.from_counts : the frequent words of a text, in the order of their counts

    Examples
    --------
    >>> vocabulary = Vocabulary.from_counts(["rare", "the", "cat"], [1, 8, 2], min_count=2)
    >>> vocabulary.words
    ['the', 'cat']
    >>> vocabulary.index["cat"], "rare" in vocabulary, len(vocabulary)
    (1, False, 2)
    """

    def __init__(self, words: Sequence[str], counts: ArrayLike) -> None:
        self.words = _check_words(words)
        self.counts = _check_counts(counts, len(self.words)).copy()
        if len(set(self.words)) < len(self.words):
            word, times = Counter(self.words).most_common(1)[0]
            _checks.fail("words", "words that are all different", f"{word!r} {times} times")

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of each word."""
        return {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return as_word(word) in self.index

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, {int(self.counts.sum())} occurrences)"

    @classmethod
    def from_counts(
        cls, words: Sequence[str], counts: ArrayLike, *, min_count: int = 5,
        max_size: int | None = None,
    ) -> Vocabulary:
        """Return the frequent words, by descending count, then by code points.

        Parameters
        ----------
        words : sequence of str
            Words, all different, in any order.
        counts : array of integers, shape (num_words,)
            How often each occurs.
        min_count : int, default=5
            The smallest count of a word that is kept.
        max_size : int, optional
            The largest number of words; of equally frequent words, the first by code points are
            kept.

        Returns
        -------
        Vocabulary
            At least one word.

        Raises
        ------
        ArgumentError
            If no word is left.

        Examples
        --------
        >>> Vocabulary.from_counts(["dog", "cat", "owl"], [7, 9, 4]).words
        ['cat', 'dog']
        """
        min_count = _checks.integer("min_count", min_count, 0)
        if max_size is not None:
            max_size = _checks.integer("max_size", max_size, 1)
        array = _check_counts(counts, len(words))
        kept = np.flatnonzero(array >= min_count)
        if not kept.size:
            most = f"at most {array.max(initial=0)}, the count of the most frequent"
            _checks.fail("min_count", f"{most} of {len(words)} different words", min_count)
        frequent = _check_words([words[i] for i in kept.tolist()])
        order = _by_count(frequent, array[kept])[:max_size]
        return cls([frequent[i] for i in order], array[kept[order]])

    @classmethod
    def from_words(cls, words: Sequence[str], counts: ArrayLike | None = None) -> Vocabulary:
        """Return a vocabulary of exactly these words, by descending count.

        Parameters
        ----------
        words : sequence of str
            Words, all different; equally frequent words keep their order.
        counts : array of integers, shape (num_words,), optional
            How often each occurs; by default 0, for unknown.

        Returns
        -------
        Vocabulary
            The same words, at least one.

        Examples
        --------
        >>> Vocabulary.from_words(["dog", "cat"], [1, 3]).words
        ['cat', 'dog']
        """
        words = _check_words(words)
        if not words:
            _checks.fail("words", "at least one word", "none")
        array = _check_counts(np.zeros(len(words), int) if counts is None else counts, len(words))
        order = np.argsort(-array, kind="stable")
        return cls([words[i] for i in order], array[order])

    def merge(
        self, words: Sequence[str], counts: ArrayLike, *, min_count: int = 5,
        max_size: int | None = None,
    ) -> tuple[Vocabulary, NDArray[np.int64]]:
        """Return the vocabulary with the counts of a further corpus.

        Every old word is kept, and its counts are added. A new word is added if it occurs often
        enough in the further corpus. With more than `max_size` words, the most frequent are
        kept; of equally frequent words, those of the further corpus.

        Parameters
        ----------
        words : sequence of str
            Words of the further corpus, all different, in any order.
        counts : array of integers, shape (num_words,)
            How often each occurs there.
        min_count : int, default=5
            The smallest count of a new word that is added.
        max_size : int, optional
            Keep the most frequent words only.

        Returns
        -------
        vocabulary : Vocabulary
            By descending count, then code points.
        old_ids : ndarray of int64, shape (len(vocabulary),)
            The old id of each word, or -1.

        Examples
        --------
        >>> old = Vocabulary(["the", "cat"], [8, 2])
        >>> new, old_ids = old.merge(["dog", "the", "owl"], [5, 1, 1], min_count=2)
        >>> new.words, new.counts, old_ids
        (['the', 'dog', 'cat'], array([9, 5, 2]), array([ 0, -1,  1]))
        """
        min_count = _checks.integer("min_count", min_count, 0)
        array = _check_counts(counts, len(words))
        total = self.counts.copy()
        joined, recent = list(self.words), np.zeros(len(self), bool)
        further = []
        for word, count in zip(_check_words(words), array.tolist(), strict=True):
            if word in self.index:
                total[self.index[word]] += count
                recent[self.index[word]] |= count > 0
            elif count >= min_count:
                joined.append(word)
                further.append(count)
        total = np.concatenate([total, np.array(further, np.int64)])
        order = _by_count(joined, total)
        if max_size is not None and max_size < len(order):
            recent = np.concatenate([recent, np.ones(len(further), bool)])
            best = np.lexsort((~recent[order], -total[order]))[:max_size]
            order = order[np.sort(best)]
        old_ids = np.where(order < len(self), order, -1)
        return Vocabulary([joined[i] for i in order], total[order]), old_ids


class WordTable:
    """The table in which the compiled tokeniser looks words up and counts them.

    Parameters
    ----------
    words : sequence of str
        Words whose positions are their ids. A word that no text can contain, such as one with a
        space, is never found.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        lines = [word if word.split() == [word] else "" for word in words]
        data = "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")
        self._arena = np.zeros(len(data) + 8 * _ROOM + text.PADDING, np.uint8)
        self._arena[: len(data)] = np.frombuffer(data, np.uint8)
        self._counts = np.zeros(len(lines) + _ROOM, np.int64)
        self._sizes = np.array([len(lines), len(data)], np.int64)
        self._ids = np.empty(0, np.int32)
        self._hash(2 * _ROOM)

    def _hash(self, num_slots: int) -> None:
        while 3 * self._sizes[0] > 2 * num_slots:
            num_slots *= 2
        self._slots: NDArray[np.uint64] = np.zeros(3 * num_slots, np.uint64)
        text.fill_slots(self._arena, int(self._sizes[1]), self._slots)

    def encode(
        self, block: NDArray[np.uint8], stop: int, *, keep_unknown: bool
    ) -> tuple[list[NDArray[np.int32]], int]:
        """Return the ids in block[:stop], and where encoding ended, or `text.MALFORMED`.

        The ids are views, which are valid until the next call.
        """
        if len(self._ids) < len(block):
            self._ids = np.empty(len(block), np.int32)
        num_chunks = get_num_threads()
        chunks = np.empty((num_chunks, 3), np.int64)
        text.encode_words(
            block, stop, self._arena, self._slots, int(keep_unknown), num_chunks, self._ids, chunks
        )
        parts = [self._ids[first:last] for first, last, _ in chunks.tolist()]
        return parts, int(chunks[:, 2].min())

    def count(self, ids: NDArray[np.int32], block: NDArray[np.uint8], stop: int) -> None:
        """Count the ids from `encode`, and add unknown words to the table."""
        done = 0
        while True:
            done = text.count_words(
                ids, done, block, stop, self._arena, self._slots, self._counts, self._sizes
            )
            if done == len(ids):
                return
            self._grow(2 * stop)

    def _grow(self, longest: int) -> None:
        """Enlarge the table by room for a word of at most `longest` bytes."""
        num_words, used = self._sizes.tolist()
        if used + longest + text.PADDING > len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty(used + longest, np.uint8)])
        if num_words == len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        if 9 * num_words >= 2 * len(self._slots):
            num_slots = 2 * len(self._slots) // 3
            self._slots = np.empty(0, np.uint64)  # frees the old slots before new ones are made
            self._hash(num_slots)

    def result(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the words in the order of first occurrence, and their counts."""
        num_words, used = self._sizes.tolist()
        words = str(self._arena[:used].data, "utf-8").split("\n")[:-1]
        return words, self._counts[:num_words].copy()
