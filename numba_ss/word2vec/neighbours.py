"""Queries of word vectors: nearest words, analogies, cosines, ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._types import Float32s, Integers
from numba_ss.engine.top_k import TopK, top_k
from numba_ss.word2vec.lookup import Doubles, Lookup, unit_rows, words_of
from numba_ss.word2vec.vocabulary import as_word

Query = str | ArrayLike | Iterable[str | ArrayLike] | None

_FEW = 16  # queries up to which NumPy is used


class Neighbours(Lookup):
    """The methods of `WordVectors` that compare words by the angles between their vectors."""

    def most_similar(
        self, positive: Query = None, negative: Query = None, topn: int = 10,
        restrict_vocab: int | None = None, *, among: Sequence[str] | None = None,
    ) -> list[tuple[str, float]]:
        """Find the words nearest to a mean of words and vectors.

        As in gensim, the mean is taken over the positive vectors and the negated negative ones;
        vectors of words are first scaled to length 1. The words of the query are not found.

        Parameters
        ----------
        positive, negative : str, array (dim,), or sequence of these, optional
            Words and vectors, at least one in total.
        topn : int, default=10
            Number of words to find; fewer if there are no more.
        restrict_vocab : int, optional
            Search the first words only.
        among : sequence of str, optional
            Search these words only.

        Returns
        -------
        list of (str, float)
            Words and cosines, best first; of words with equal cosines, the earlier one first.

        Raises
        ------
        UnknownWordError
            If a word has no vector; a KeyError.
        ArgumentError
            If the query is empty, or its mean is zero.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["x", "y", "xy"], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> vectors.most_similar(positive=["x", "y"], topn=1)[0][0]
        'xy'
        """
        names = "positive, negative"
        parts = [(1, *part) for part in self._parts("positive", positive)]
        parts += [(-1, *part) for part in self._parts("negative", negative)]
        if not parts:
            _checks.fail(names, "at least one word or vector", "none")
        mean = np.sum([sign * vector for sign, vector, _ in parts], axis=0)
        length = np.linalg.norm(mean)
        if length <= 1e-12 * sum(np.linalg.norm(vector) for _, vector, _ in parts):
            _checks.fail(names, "vectors whose mean has a direction", f"one of length {length}")
        own = np.array([[row for _, _, row in parts if row is not None]], np.int64)
        if among is not None:
            return self._search_among(mean / length, own[0], topn, restrict_vocab, among)
        return self._search((mean / length)[None], own, topn, restrict_vocab)[0]

    def most_similar_to_given(self, word: str, words: Sequence[str]) -> str:
        """Return the one of the given words that is nearest to `word`.

        Parameters
        ----------
        word : str
            A word.
        words : sequence of str
            At least one other word.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["cat", "dog", "car"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> vectors.most_similar_to_given("cat", ["car", "dog"])
        'dog'
        """
        found = self.most_similar(word, topn=1, among=words)
        if not found:
            _checks.fail("words", f"at least one word other than {word!r}", repr(words))
        return found[0][0]

    def most_similar_many(
        self, queries: Iterable[str] | Float32s, topn: int = 10,
        restrict_vocab: int | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Find the nearest words of many queries at once, which is faster than one by one.

        Parameters
        ----------
        queries : sequence of str, or array, shape (num_queries, dim)
            Words or vectors; a word is left out of its own list.
        topn, restrict_vocab
            See `most_similar`.

        Returns
        -------
        list of lists of (str, float)
            What `most_similar` returns, for each query.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["x", "y", "xy"], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> [best[0][0] for best in vectors.most_similar_many(["x", "y"], topn=1)]
        ['xy', 'xy']
        """
        if isinstance(queries, np.ndarray):
            vectors = _checks.real("queries", queries)
            _checks.shaped("queries", vectors, (None, self.vector_size), "num_queries, dim")
            units, own = unit_rows("queries", vectors), np.empty((len(vectors), 0), np.int64)
        else:
            rows = self._rows(queries)
            units, own = unit_rows("vectors", self.vectors[rows]), rows[:, None]
        zeros = np.flatnonzero(~units.any(axis=1))
        if zeros.size:
            _checks.fail("queries", "vectors of length > 0", f"zeros for queries[{zeros[0]}]")
        return self._search(units, own, topn, restrict_vocab)

    def nearest_rows(
        self, queries: ArrayLike, exclude: Iterable[Iterable[int]], topn: int = 10,
        restrict_vocab: int | None = None,
    ) -> TopK:
        """Find the rows with the smallest angles to many vectors.

        Parameters
        ----------
        queries : array, shape (num_queries, dim)
            Vectors.
        exclude : sequence of sequences of int, or array (num_queries, any)
            Rows to leave out, for each query.
        topn, restrict_vocab
            See `most_similar`.

        Returns
        -------
        TopK
            Cosines times the length of the query, best first, and rows; -inf and -1 if there
            are no more rows.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["x", "y", "xy"], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> vectors.nearest_rows(vectors.vectors[:2], [[0], [1]], topn=1).ids
        array([[2], [2]])
        """
        topn = _checks.integer("topn", topn, 1)
        if restrict_vocab is not None:
            restrict_vocab = _checks.integer("restrict_vocab", restrict_vocab, 1)
        table = self._units[:restrict_vocab]
        inside = [[i for i in rows if i < len(table)] for rows in exclude]
        no_biases = np.zeros(len(table), np.float32)
        inputs = np.asarray(queries, np.float32)
        return top_k(table, no_biases, inputs, min(topn, len(table)), exclude=inside)

    def similarity(self, a: str, b: str) -> float:
        """Return the cosine between two words' vectors.

        Parameters
        ----------
        a, b : str
            Words.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["x", "y"], [[1.0, 0.0], [3.0, 4.0]]).similarity("x", "y")
        0.6
        """
        return float(np.clip(self._unit(self._row(a)) @ self._unit(self._row(b)), -1, 1))

    def distance(self, a: str, b: str) -> float:
        """Return 1 minus the cosine between two words' vectors.

        Parameters
        ----------
        a, b : str
            Words.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["x", "y"], [[1.0, 0.0], [3.0, 4.0]]).distance("x", "y")
        0.4
        """
        return 1 - self.similarity(a, b)

    def n_similarity(self, a: Sequence[str], b: Sequence[str]) -> float:
        """Return the cosine between the means of two lists of words, as gensim does.

        Parameters
        ----------
        a, b : sequence of str
            Words; those without a vector are left out.

        Raises
        ------
        ArgumentError
            If a list has no word with a vector.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["x", "y", "xy"], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(vectors.n_similarity(["x", "y"], ["xy"]), 6)
        1.0
        """
        means = [self.get_mean_vector(words, None, False, True) for words in (a, b)]
        return float(np.clip(means[0].astype(np.float64) @ means[1], -1, 1))

    def rank(self, a: str, b: str) -> int:
        """Return how near `b` is to `a`: 1 if no other word is nearer.

        Parameters
        ----------
        a, b : str
            Words.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> WordVectors(["x", "y", "z"], [[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).rank("x", "z")
        2
        """
        row, other = self._row(a), self._row(b)
        cosines = self._units @ self._units[row]
        nearer = cosines > cosines[other]
        nearer[row] = False
        return 1 + int(np.count_nonzero(nearer))

    def analogy(self, a: str, b: str, c: str, topn: int = 10) -> list[tuple[str, float]]:
        """Find words that are to `c` as `b` is to `a`: those nearest to b - a + c.

        Parameters
        ----------
        a, b, c : str
            Words, such as "man", "king", "woman".
        topn : int, default=10
            See `most_similar`.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> rows = [[1.0, 0.0], [1.0, 1.0], [-1.0, 0.2], [-1.0, 1.0]]
        >>> WordVectors(["man", "king", "woman", "queen"], rows).analogy("man", "king", "woman")
        ...     # doctest: +ELLIPSIS
        [('queen', 0.9...)]
        """
        return self.most_similar([b, c], [a], topn)

    def doesnt_match(self, words: Iterable[str]) -> str:
        """Return the word that is farthest from the mean of all given words.

        Parameters
        ----------
        words : iterable of str
            At least three words.

        Examples
        --------
        >>> from numba_ss import WordVectors
        >>> vectors = WordVectors(["cat", "dog", "car"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> vectors.doesnt_match(["cat", "car", "dog"])
        'car'
        """
        given = words_of(words)
        if len(given) < 3:
            _checks.fail("words", "at least three words", repr(given))
        units = np.stack([self._unit(row) for row in self._rows(given)])
        return given[int(np.argmin(units @ units.mean(axis=0)))]

    def _parts(self, name: str, query: Any) -> list[tuple[Doubles, int | None]]:
        """Return the vectors of a query, each with its row, which is None if it was not a word."""
        if query is None:
            return []
        if isinstance(query, str) or (isinstance(query, np.ndarray) and query.ndim == 1):
            query = [query]
        if not isinstance(query, Iterable):
            _checks.fail(name, "words or vectors", repr(query))
        return [self._part(f"{name}[{i}]", item) for i, item in enumerate(query)]

    def _part(self, name: str, item: Any) -> tuple[Doubles, int | None]:
        if as_word(item) is not None:
            row = self._row(item)
            return self._unit(row), row
        vector = _checks.as_array(name, item, "a word or a vector")
        if vector.dtype.kind not in "iuf":
            _checks.fail(name, "a word or a vector", repr(item))
        _checks.shaped(name, vector, (self.vector_size,), "dim,")
        if not np.isfinite(vector).all():
            _checks.fail(name, "finite numbers", vector)
        return vector.astype(np.float64), None

    def _search_among(
        self, unit: Doubles, own: Integers, topn: int, restrict_vocab: int | None, among: Any
    ) -> list[tuple[str, float]]:
        topn = _checks.integer("topn", topn, 1)
        if restrict_vocab is not None:
            _checks.fail("among", "None with restrict_vocab", "words")
        rows = np.setdiff1d(self._rows(among), own)
        cosines = np.clip(self._units[rows] @ unit, -1, 1)
        best = np.argsort(-cosines, kind="stable")[:topn]
        return [(self.index_to_key[rows[i]], float(cosines[i])) for i in best]

    def _search(
        self, units: Float32s | Doubles, own: Integers, topn: int, restrict_vocab: int | None
    ) -> list[list[tuple[str, float]]]:
        search = self._nearest_to_few if len(units) <= _FEW else self.nearest_rows
        found = search(units, own, topn, restrict_vocab)
        cosines = np.clip(found.scores, -1, 1).tolist()
        return [
            [(self.index_to_key[i], score) for i, score in zip(row, scores, strict=True) if i >= 0]
            for row, scores in zip(found.ids.tolist(), cosines, strict=True)
        ]

    def _nearest_to_few(
        self, units: Float32s | Doubles, own: Integers, topn: int, restrict_vocab: int | None
    ) -> TopK:
        """Do what `nearest_rows` does, in NumPy: compiling takes longer than a few searches."""
        topn = _checks.integer("topn", topn, 1)
        if restrict_vocab is not None:
            restrict_vocab = _checks.integer("restrict_vocab", restrict_vocab, 1)
        table, lengths = self.vectors[:restrict_vocab], self._lengths[:restrict_vocab]
        shape = len(units), min(topn, len(table))
        found = TopK(np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64))
        for i, unit in enumerate(units):
            # Computed in float64, so that equal directions have equal cosines.
            products = np.einsum("ij,j->i", table, unit, dtype=np.float64)
            cosines = (products / lengths).astype(np.float32)
            cosines[own[i][own[i] < len(table)]] = -np.inf
            cut = np.partition(cosines, -shape[1])[-shape[1]]
            best = np.flatnonzero((cosines >= cut) & (cosines > -np.inf))
            best = best[np.argsort(-cosines[best], kind="stable")[: shape[1]]]
            found.ids[i, : len(best)], found.scores[i, : len(best)] = best, cosines[best]
        return found
