"""Word vectors, the result of training: lookups, nearest words, analogies and files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Float32s, Integers, PathLike
from numba_ss.engine.top_k import TopK, top_k
from numba_ss.io import vector_files
from numba_ss.io.copies import Copies
from numba_ss.word2vec.vocabulary import as_word

Doubles = NDArray[np.float64]
Query = str | ArrayLike | Iterable[str | ArrayLike] | None
Errors = Literal["strict", "replace", "ignore"]
Scalar = TypeVar("Scalar", bound=np.generic)

# Rows whose lengths are computed at a time.
_ROWS = 2**14
_FEW = 16  # queries that are no work
# Words that a misspelled word is compared with.
_SPELLINGS = 100_000
_LONGEST = 100  # characters; similar words are not looked up for a longer word


class UnknownWordError(KeyError):
    """A word without a vector; the message suggests words that are spelt alike.

    It is a `KeyError`. The suggestions are looked up when the message is shown.

    Examples
    --------
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


class WordVectors:
    """Words and their vectors; methods are named as in gensim.

    The arrays are read-only and copied only if necessary; the vectors may be a memory map.

    Parameters
    ----------
    words : sequence of str
        Distinct words, usually in the order of falling frequency.
    vectors : array of floats, shape (num_words, dim)
        Their vectors, finite numbers; kept as float32.
    counts : array of int, shape (num_words,), optional
        How often each word occurred.

    Attributes
    ----------
    index_to_key : list of str
        The words.
    vectors : ndarray of float32, shape (num_words, dim)
        Row i belongs to word i.
    counts : ndarray of int64, shape (num_words,), or None
        Occurrences.

    Raises
    ------
    ArgumentError
        If a word repeats, shapes do not fit, or a number is NaN or infinite.

    Examples
    --------
    >>> vectors = WordVectors(["cat", "dog", "car"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
    >>> len(vectors), vectors.vector_size, "dog" in vectors
    (3, 2, True)
    >>> vectors["dog"]
    array([0.9, 0.2], dtype=float32)
    >>> vectors.most_similar("cat", topn=1)[0][0]
    'dog'
    """

    def __init__(
        self, words: Sequence[str], vectors: ArrayLike, counts: ArrayLike | None = None
    ) -> None:
        self.index_to_key = _checked_words(words)
        table = np.asarray(vectors)
        if table.dtype.kind != "f":
            _checks.fail("vectors", "floating-point numbers", table.dtype)
        _checks.shaped("vectors", table, (len(self.index_to_key), None), "num_words, dim")
        if not table.size:
            _checks.fail("vectors", "at least one word and one number", f"shape {table.shape}")
        with np.errstate(over="ignore"):  # the check below reports infinities
            table = table.astype(np.float32, order="C", copy=False)
        # The numbers of a memory map are not checked, because they should not all be read now.
        bad = None if isinstance(vectors, np.memmap) else vector_files.first_not_finite(table)
        if bad is not None:
            where = f"vectors[{bad[0]}, {bad[1]}], word {self.index_to_key[bad[0]]!r}"
            _checks.fail("vectors", "finite numbers", f"{table[bad]} at {where}")
        self.vectors: Float32s = _read_only(table)
        self.counts = None if counts is None else _checked_counts(counts, len(table))

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
        return word in self.key_to_index

    def __getitem__(self, words: str | Sequence[str]) -> Float32s:
        rows = self._row(words) if isinstance(words, str) else self._rows(words)
        found: Float32s = self.vectors[rows]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.index_to_key)

    def __repr__(self) -> str:
        return f"WordVectors({len(self)} words, vector_size={self.vector_size})"

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
            Whether to scale it to length 1.

        Examples
        --------
        >>> WordVectors(["a", "b"], [[3.0, 4.0], [0.0, 1.0]]).get_vector("a", norm=True)
        array([0.6, 0.8], dtype=float32)
        """
        if _checks.flag("norm", norm):
            return self._unit(self._row(word)).astype(np.float32)
        return self[word]

    def get_mean_vector(
        self, words: Sequence[str], weights: ArrayLike | None = None,
        pre_normalize: bool = True, post_normalize: bool = False, ignore_missing: bool = True,
    ) -> Float32s:
        """Return the mean of words' vectors, as gensim does.

        Parameters
        ----------
        words : sequence of str
            Words.
        weights : array of floats, shape (len(words),), optional
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
        >>> vectors = WordVectors(["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
        >>> vectors.get_mean_vector(["a", "b"])
        array([0.5, 0.5], dtype=float32)
        """
        if isinstance(words, str):
            _checks.fail("words", "a sequence of words", _checks.shortened(repr(words)))
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
            mean = _unit_rows("mean", mean[None])[0]
        return np.asarray(mean, np.float32)

    def transform(self, documents: Iterable[Sequence[str]]) -> Float32s:
        """Return the mean of the vectors of each document's words.

        Parameters
        ----------
        documents : iterable of lists of str
            Words or integers, which stand for their decimal digits; words without a vector are
            left out.

        Returns
        -------
        ndarray of float32, shape (num_documents, dim)
            Zeros for a document without any known word.

        Examples
        --------
        >>> vectors = WordVectors(["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
        >>> vectors.transform([["a", "b", "c"], []])
        array([[0.5, 0.5],
               [0. , 0. ]], dtype=float32)
        """
        if isinstance(documents, str):
            got = _checks.shortened(repr(documents))
            _checks.fail("documents", "an iterable of lists of words", got)
        means = [self._mean(i, document) for i, document in enumerate(documents)]
        return np.array(means, np.float32).reshape(-1, self.vector_size)

    def _mean(self, i: int, document: Any) -> Float32s | Doubles:
        if isinstance(document, (str, bytes)) or not isinstance(document, Iterable):
            got = _checks.shortened(repr(document))
            _checks.fail(f"documents[{i}]", "a list of words (say line.split())", got)
        index = self.key_to_index
        words = map(as_word, document)
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
        >>> WordVectors(["a", "b"], [[3.0, 4.0], [0.0, 0.0]]).unit_vectors()
        array([[0.6, 0.8], [0. , 0. ]], dtype=float32)
        """
        return _read_only(self._units)

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
        """Return that one of the given words that is nearest to `word`.

        Parameters
        ----------
        word : str
            A word.
        words : sequence of str
            At least one other word.

        Examples
        --------
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
        >>> vectors = WordVectors(["x", "y", "xy"], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> [best[0][0] for best in vectors.most_similar_many(["x", "y"], topn=1)]
        ['xy', 'xy']
        """
        if isinstance(queries, np.ndarray):
            vectors = _checks.real("queries", queries)
            _checks.shaped("queries", vectors, (None, self.vector_size), "num_queries, dim")
            units, own = _unit_rows("queries", vectors), np.empty((len(vectors), 0), np.int64)
        else:
            rows = self._rows(queries)
            units, own = _unit_rows("vectors", self.vectors[rows]), rows[:, None]
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
        >>> rows = [[1.0, 0.0], [1.0, 1.0], [-1.0, 0.2], [-1.0, 1.0]]
        >>> WordVectors(["man", "king", "woman", "queen"], rows).analogy("man", "king", "woman")
        ...     # doctest: +ELLIPSIS
        [('queen', 0.9...)]
        """
        return self.most_similar([b, c], [a], topn)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """Return the word that is farthest from the mean of all.

        Parameters
        ----------
        words : sequence of str
            At least three words.

        Examples
        --------
        >>> vectors = WordVectors(["cat", "dog", "car"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> vectors.doesnt_match(["cat", "car", "dog"])
        'car'
        """
        if isinstance(words, str) or len(words) < 3:
            _checks.fail("words", "at least three words", repr(words))
        units = np.stack([self._unit(row) for row in self._rows(words)])
        return words[int(np.argmin(units @ units.mean(axis=0)))]

    def to_keyed_vectors(self) -> Any:
        """Return a copy of these vectors for gensim.

        Returns
        -------
        gensim.models.KeyedVectors
            With the counts as its attribute "count".
        """
        keyed = import_optional("gensim.models", "gensim's form").KeyedVectors(self.vector_size)
        keyed.add_vectors(self.index_to_key, self.vectors)
        for word, count in zip(self.index_to_key, _listed(self.counts), strict=False):
            keyed.set_vecattr(word, "count", count)
        return keyed

    @classmethod
    def from_keyed_vectors(cls, keyed: Any) -> WordVectors:
        """Make `WordVectors` of gensim's vectors, without a copy.

        Parameters
        ----------
        keyed : gensim.models.KeyedVectors
            Its attribute "count", if there is one, gives the counts.
        """
        if not hasattr(keyed, "index_to_key"):
            way = "; of a model, give its wv" if hasattr(keyed, "wv") else ""
            _checks.fail("keyed", "gensim.models.KeyedVectors", type(keyed).__name__ + way)
        return cls(keyed.index_to_key, keyed.vectors, keyed.expandos.get("count"))

    def save(self, path: PathLike, format: vector_files.Format | None = None) -> None:
        """Write a file, whole or not at all.

        Parameters
        ----------
        path : str or path
            Its suffix selects the format: ``.npz`` (NumPy), ``.bin`` (word2vec's binary
            format), ``.txt`` or ``.vec`` (word2vec's text format), ``.safetensors``,
            ``.parquet``, ``.tsv`` (TensorFlow's projector, with a second file
            ``_metadata.tsv``). word2vec's formats hold no counts.
        format : {"npz", "bin", "txt", "safetensors", "parquet", "tsv"}, optional
            The format, instead of that of the suffix.

        Raises
        ------
        ArgumentError
            If the format cannot hold a word: word2vec's cannot hold words with spaces.

        Examples
        --------
        >>> import tempfile
        >>> vectors = WordVectors(["a", "b"], [[0.5, 1.0], [2.0, 3.0]], counts=[7, 4])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     vectors.save(f"{folder}/vectors.npz")
        ...     WordVectors.load(f"{folder}/vectors.npz").counts
        array([7, 4])
        """
        name = vector_files.format_of(path, format, reading=False)
        stored = vector_files.Stored(self.index_to_key, self.vectors, self.counts)
        vector_files.WRITERS[name](path, stored)

    @classmethod
    def load(
        cls, path: PathLike, format: vector_files.Format | None = None, mmap: bool = False, *,
        limit: int | None = None, errors: Errors = "strict", verify: bool = False,
    ) -> WordVectors:
        r"""Read a file that `save`, word2vec, GloVe, fastText or gensim wrote.

        Published text files are read as they are: with or without a first line, with a first
        line that has wrong numbers, with blanks in words, with repeated words. A warning names
        what was wrong. fastText's own models (also ``.bin``) and gensim's (``.model``, ``.kv``)
        are refused; the error says how to convert them.

        Parameters
        ----------
        path : str or path
            Its suffix selects the format, as with `save`; word2vec's formats may be compressed
            (``.gz``, ``.bz2`` or ``.xz``). ``.tsv`` cannot be read. If it has a scheme, such as
            ``https://`` and ``s3://``, fsspec makes a temporary copy.
        format : str, optional
            The format, instead of that of the suffix.
        mmap : bool, default=False
            Map the vectors of an ``.npz`` file into memory, which all processes share. The
            numbers are not checked.
        limit : int, optional
            Read the first words only.
        errors : {"strict", "replace", "ignore"}, default="strict"
            How to treat bytes of a word that are not UTF-8, in word2vec's formats.
        verify : bool, default=False
            Also compare mapped vectors with their checksum, which reads the whole file. Other
            vectors are always compared.

        Raises
        ------
        ArgumentError
            If the file is damaged; the error says where.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "glove.txt")
        ...     _ = path.write_text("cat 1.0 0.1\ndog 0.9 0.2\n")
        ...     WordVectors.load(path)["dog"]
        array([0.9, 0.2], dtype=float32)
        """
        limit = None if limit is None else _checks.integer("limit", limit, 1)
        _checks.choice("errors", errors, get_args(Errors))
        mmap, verify = _checks.flag("mmap", mmap), _checks.flag("verify", verify)
        with Copies() as copies:
            here = copies.local("path", path)
            vector_files.refuse_foreign(here)
            name = vector_files.format_of(here, format, reading=True)
            if mmap and (name != "npz" or here in copies.names):
                _checks.fail("mmap", "False for all but npz files of this machine", path)
            if name in ("bin", "txt"):
                read = vector_files.read_bin if name == "bin" else vector_files.read_txt
                return cls(*read(here, limit, errors))
            if name == "npz":
                stored = vector_files.read_npz(here, mmap=mmap, verify=verify)
            else:
                stored = vector_files.READERS[name](here)
        words, vectors, counts = stored
        return cls(words[:limit], vectors[:limit], None if counts is None else counts[:limit])

    def _row(self, word: Any) -> int:
        if not isinstance(word, str):
            _checks.fail("word", "a str", repr(word))
        row = self.key_to_index.get(word)
        if row is None:
            raise UnknownWordError(word, self.index_to_key)
        return row

    def _rows(self, words: Any) -> Integers:
        if isinstance(words, str) or not isinstance(words, Iterable):
            _checks.fail("words", "a sequence of words", repr(words))
        return np.array([self._row(word) for word in words], np.int64)

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
        return _unit_rows("vectors", self.vectors)

    def _parts(self, name: str, query: Any) -> list[tuple[Doubles, int | None]]:
        """Return the vectors of a query, and the rows of its words."""
        if query is None:
            return []
        if isinstance(query, str) or (isinstance(query, np.ndarray) and query.ndim == 1):
            query = [query]
        if not isinstance(query, Iterable):
            _checks.fail(name, "words or vectors", repr(query))
        return [self._part(f"{name}[{i}]", item) for i, item in enumerate(query)]

    def _part(self, name: str, item: Any) -> tuple[Doubles, int | None]:
        if isinstance(item, str):
            row = self._row(item)
            return self._unit(row), row
        vector = np.asarray(item)
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
        """Do as `nearest_rows`, in NumPy: to compile that would take longer than the search."""
        topn = _checks.integer("topn", topn, 1)
        if restrict_vocab is not None:
            restrict_vocab = _checks.integer("restrict_vocab", restrict_vocab, 1)
        table, lengths = self.vectors[:restrict_vocab], self._lengths[:restrict_vocab]
        shape = len(units), min(topn, len(table))
        found = TopK(np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64))
        for i, unit in enumerate(units):
            # In float64, so that equal directions have equal cosines.
            products = np.einsum("ij,j->i", table, unit, dtype=np.float64)
            cosines = (products / lengths).astype(np.float32)
            cosines[own[i][own[i] < len(table)]] = -np.inf
            cut = np.partition(cosines, -shape[1])[-shape[1]]
            best = np.flatnonzero((cosines >= cut) & (cosines > -np.inf))
            best = best[np.argsort(-cosines[best], kind="stable")[: shape[1]]]
            found.ids[i, : len(best)], found.scores[i, : len(best)] = best, cosines[best]
        return found


def _row_lengths(name: str, block: NDArray[Any], start: int) -> Doubles:
    """Return the lengths of rows from `start` on, and 1 for zeros."""
    with np.errstate(over="ignore", invalid="ignore"):  # the length shows it, see below
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    for row in np.flatnonzero(~np.isfinite(lengths)):
        got = f"length {lengths[row]} at {name}[{start + row}]"
        _checks.fail(name, "rows of finite length", got)
    return np.where(lengths == 0, 1.0, lengths)


def _unit_rows(name: str, vectors: NDArray[Any]) -> Float32s:
    """Return the rows scaled to length 1; rows of zeros stay zeros."""
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        units[start : start + _ROWS] = block / _row_lengths(name, block, start)[:, None]
    return units


def _read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    view = array.view()
    view.flags.writeable = False
    return view


def _listed(counts: Integers | None) -> list[int]:
    return [] if counts is None else counts.tolist()


def _checked_words(words: Any) -> list[str]:
    if isinstance(words, (str, bytes)):
        _checks.fail("words", "a sequence of words", repr(words))
    checked: list[str] = list(words)
    for i, word in enumerate(checked):
        if not isinstance(word, str):
            _checks.fail("words", "str", f"{word!r} at words[{i}]")
    repeated = vector_files.first_repeated(checked)
    if repeated is not None:
        got = f"{checked[repeated]!r} again at words[{repeated}]"
        _checks.fail("words", "distinct words", got)
    return checked


def _checked_counts(value: Any, num_words: int) -> Integers:
    counts = _checks.ids("counts", value)
    _checks.shaped("counts", counts, (num_words,), "num_words,")
    if counts.min() < 0:
        where = int(np.argmin(counts))
        _checks.fail("counts", "numbers >= 0", f"{counts[where]} at counts[{where}]")
    return _read_only(counts)
