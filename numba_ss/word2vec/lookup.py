"""Vectors of words: lookups, means, vectors of length 1, and the error for an unknown word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._types import Float32s, Integers
from numba_ss.word2vec.vocabulary import as_word

Doubles = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

# Rows whose lengths are computed at a time.
_ROWS = 2**14
# Words that a misspelled word is compared with.
_SPELLINGS = 100_000
_LONGEST = 100  # characters; similar words are not looked up for a longer word


class UnknownWordError(KeyError):
    """A word without a vector; the message suggests words that are spelt alike.

    It is a `KeyError`. The suggestions are looked up when the message is shown.

    Examples
    --------
    >>> from numba_ss import UnknownWordError, WordVectors
    >>> vectors = WordVectors(["cat", "dog"], [[1.0, 0.1], [0.9, 0.2]])
    >>> try:
    ...     vectors["fish"]
    ... except UnknownWordError:
    ...     print("no such word")
    no such word
    """

    def __init__(self, word: str, words: Sequence[str] = ()) -> None:
        super().__init__(word)
        self.words = words

    def __str__(self) -> str:
        word = self.args[0]
        if len(word) > _LONGEST:
            return f"{_checks.shortened(repr(word))} has no vector"
        pool = [
            other for other in self.words[:_SPELLINGS]
            if abs(len(other) - len(word)) < 3 and other[:1].lower() == word[:1].lower()
        ]
        close = ", ".join(map(repr, get_close_matches(word, pool, n=3)))
        return f"{word!r} has no vector" + (f"; close to it: {close}" if close else "")


class Lookup:
    """Words with a vector each, as rows of a table; the base of `WordVectors`."""

    index_to_key: list[str]
    vectors: Float32s

    @cached_property
    def key_to_index(self) -> dict[str, int]:
        """The row of each word; the dict is made when it is first used."""
        return {word: i for i, word in enumerate(self.index_to_key)}

    @property
    def vector_size(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, word: object) -> bool:
        # Also for an integer of a text: whoever asks for its vector is then told to ask by str.
        return as_word(word) in self.key_to_index

    def __getitem__(self, words: str | Sequence[str]) -> Float32s:
        rows = self._rows(words) if as_word(words) is None else self._row(words)
        found: Float32s = self.vectors[rows]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.index_to_key)

    def keys(self) -> list[str]:
        """Return the words, as iterating over the vectors does."""
        return self.index_to_key

    def get(self, word: str, default: Any = None) -> Any:
        """Return the vector of a word, or `default` if it has none.

        Parameters
        ----------
        word : str
            A word.
        default : optional
            What is returned for a word without a vector.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["a"], [[3.0, 4.0]]).get("b", "unknown")
        'unknown'
        """
        return self[word] if word in self else default

    def get_vector(self, word: str, norm: bool = False) -> Float32s:
        """Return the vector of a word.

        Parameters
        ----------
        word : str
            A word.
        norm : bool, default=False
            Whether to scale the vector to length 1.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["a", "b"], [[3.0, 4.0], [0.0, 1.0]]).get_vector("a", norm=True)
        array([0.6, 0.8], dtype=float32)
        """
        if _checks.flag("norm", norm):
            return self._unit(self._row(word)).astype(np.float32)
        return self[word]

    def get_mean_vector(
        self, words: Iterable[str], weights: ArrayLike | None = None,
        pre_normalize: bool = True, post_normalize: bool = False, ignore_missing: bool = True,
    ) -> Float32s:
        """Return the mean of words' vectors, as gensim does.

        Parameters
        ----------
        words : iterable of str
            Words.
        weights : array of floats, shape (num_words,), optional
            The factor of each vector; the sum is divided by the sum of their absolute values.
        pre_normalize, post_normalize : bool
            Whether to scale each vector, and the mean, to length 1.
        ignore_missing : bool, default=True
            Leave out words without a vector, instead of raising `UnknownWordError`.

        Raises
        ------
        ArgumentError
            If no word has a vector.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
        >>> vectors.get_mean_vector(["a", "b"])
        array([0.5, 0.5], dtype=float32)
        """
        words = words_of(words)
        factors = np.ones(len(words)) if weights is None else np.asarray(weights, np.float64)
        _checks.shaped("weights", factors, (len(words),), "num_words,")
        there = [i for i, word in enumerate(words) if not ignore_missing or word in self]
        rows = self._rows([words[i] for i in there])
        factors = factors[there]
        if not np.abs(factors).sum() > 0:
            _checks.fail("words, weights", "a word with a vector and a weight", "none")
        vectors = [self._unit(row) if pre_normalize else self.vectors[row] for row in rows]
        mean = factors @ np.stack(vectors).astype(np.float64) / np.abs(factors).sum()
        if post_normalize:
            mean = unit_rows("mean", mean[None])[0]
        return np.asarray(mean, np.float32)

    def transform(self, documents: Iterable[Sequence[str]]) -> Float32s:
        """Return the mean of the vectors of each document's words.

        Parameters
        ----------
        documents : iterable of lists of str
            Words or integers, which stand for their decimal digits; words without a vector, and
            None, are left out.

        Returns
        -------
        ndarray of float32, shape (num_documents, dim)
            Zeros for a document without any known word.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
        >>> vectors.transform([["a", "b", "c"], []])
        array([[0.5, 0.5],
               [0. , 0. ]], dtype=float32)
        """
        if isinstance(documents, str) or not isinstance(documents, Iterable):
            got = _checks.shortened(repr(documents))
            _checks.fail("documents", "an iterable of lists of words", got)
        means = [self._mean(i, document) for i, document in enumerate(documents)]
        return np.array(means, np.float32).reshape(-1, self.vector_size)

    def _mean(self, i: int, document: Any) -> Float32s | Doubles:
        if isinstance(document, (str, bytes)) or not isinstance(document, Iterable):
            got = _checks.shortened(repr(document))
            _checks.fail(f"documents[{i}]", "a list of words (say line.split())", got)
        tokens, index = list(document), self.key_to_index
        words = list(map(as_word, tokens))
        for j, (token, word) in enumerate(zip(tokens, words, strict=True)):
            if word is None and token is not None:
                got = _checks.shortened(repr(token))
                _checks.fail(f"documents[{i}][{j}]", "a string or an integer", got)
        rows = [index[word] for word in words if word is not None and word in index]
        if not rows:
            return np.zeros(self.vector_size, np.float32)
        return np.asarray(self.vectors[rows].mean(axis=0, dtype=np.float64))

    def unit_vectors(self) -> Float32s:
        """Return the vectors scaled to length 1; zeros stay zeros. The array is made once.

        Returns
        -------
        ndarray of float32, shape (num_words, dim)
            Read-only, and the same at each call.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["a", "b"], [[3.0, 4.0], [0.0, 0.0]]).unit_vectors()
        array([[0.6, 0.8], [0. , 0. ]], dtype=float32)
        """
        return read_only(self._units)

    def _row(self, word: Any) -> int:
        if not isinstance(word, str):
            digits = as_word(word)
            hint = "" if digits is None else f" (the word {digits!r} for an integer of a text)"
            _checks.fail("word", f"a str{hint}", repr(word))
        row = self.key_to_index.get(word)
        if row is None:
            raise UnknownWordError(word, self.index_to_key)
        return row

    def _rows(self, words: Any) -> Integers:
        return np.array([self._row(word) for word in words_of(words)], np.int64)

    def _unit(self, row: int) -> Doubles:
        """Return one row scaled to length 1."""
        vector = self.vectors[row].astype(np.float64)
        length = np.linalg.norm(vector)
        if not 0 < length < np.inf:
            got = f"length {length} of {self.index_to_key[row]!r}"
            _checks.fail("vectors", "vectors of finite length > 0", got)
        return np.asarray(vector / length)

    @cached_property
    def _lengths(self) -> Doubles:
        """The length of each vector, 1 for zeros."""
        parts = range(0, len(self), _ROWS)
        return np.concatenate([
            _row_lengths("vectors", self.vectors[start : start + _ROWS], start) for start in parts
        ])

    @cached_property
    def _units(self) -> Float32s:
        return unit_rows("vectors", self.vectors)


def _row_lengths(name: str, block: NDArray[Any], start: int) -> Doubles:
    """Return the lengths of rows from `start` on, and 1 for zeros."""
    with np.errstate(over="ignore", invalid="ignore"):  # the length shows it, see below
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    for row in np.flatnonzero(~np.isfinite(lengths)):
        got = f"length {lengths[row]} at {name}[{start + row}]"
        _checks.fail(name, "rows of finite length", got)
    return np.where(lengths == 0, 1.0, lengths)


def unit_rows(name: str, vectors: NDArray[Any]) -> Float32s:
    """Return the rows scaled to length 1; rows of zeros stay zeros."""
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        units[start : start + _ROWS] = block / _row_lengths(name, block, start)[:, None]
    return units


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def words_of(words: Any) -> list[str]:
    """Return several words as a list; a string would be read letter by letter."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        _checks.fail("words", "a sequence of words", _checks.shortened(repr(words)))
    return list(words)
