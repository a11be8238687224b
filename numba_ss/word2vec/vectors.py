"""Word vectors, the result of training: a table of words and vectors, its files, gensim's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Float32s, Integers, PathLike
from numba_ss.io.copies import Copies
from numba_ss.io.foreign_vectors import refuse_foreign
from numba_ss.io.stored_vectors import Stored, first_not_finite, first_repeated
from numba_ss.io.vector_files import READERS, WRITERS, Format, format_of, read_npz
from numba_ss.io.word2vec_files import read_bin, read_txt
from numba_ss.word2vec.lookup import read_only
from numba_ss.word2vec.neighbours import Neighbours

Errors = Literal["strict", "replace", "ignore"]


class WordVectors(Neighbours):
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
        table = _checks.as_array("vectors", vectors)
        if table.dtype.kind != "f":
            _checks.fail("vectors", "floating-point numbers", table.dtype)
        _checks.shaped("vectors", table, (len(self.index_to_key), None), "num_words, dim")
        if not table.size:
            _checks.fail("vectors", "at least one word and one number", f"shape {table.shape}")
        with np.errstate(over="ignore"):  # the check below reports infinities
            table = table.astype(np.float32, order="C", copy=False)
        # A memory map is not checked, because that would read the whole file.
        bad = None if isinstance(vectors, np.memmap) else first_not_finite(table)
        if bad is not None:
            where = f"vectors[{bad[0]}, {bad[1]}], word {self.index_to_key[bad[0]]!r}"
            _checks.fail("vectors", "finite numbers", f"{table[bad]} at {where}")
        self.vectors: Float32s = read_only(table)
        self.counts = None if counts is None else _checked_counts(counts, len(table))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy and an unpickled object are made anew: read-only, and without cached arrays.
        return type(self), (self.index_to_key, self.vectors, self.counts)

    def __repr__(self) -> str:
        return f"WordVectors({len(self)} words, vector_size={self.vector_size})"

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

    def save(self, path: PathLike, format: Format | None = None) -> None:
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
        name = format_of(path, format, reading=False)
        stored = Stored(self.index_to_key, self.vectors, self.counts)
        WRITERS[name](path, stored)

    @classmethod
    def load(
        cls, path: PathLike, format: Format | None = None, mmap: bool = False, *,
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
            refuse_foreign(here)
            name = format_of(here, format, reading=True)
            if mmap and (name != "npz" or here in copies.names):
                _checks.fail("mmap", "False for all but npz files of this machine", path)
            if name in ("bin", "txt"):
                read = read_bin if name == "bin" else read_txt
                return cls(*read(here, limit, errors))
            if name == "npz":
                stored = read_npz(here, mmap=mmap, verify=verify)
            else:
                stored = READERS[name](here)
        words, vectors, counts = stored
        return cls(words[:limit], vectors[:limit], None if counts is None else counts[:limit])


def _listed(counts: Integers | None) -> list[int]:
    return [] if counts is None else counts.tolist()


def _checked_words(words: Any) -> list[str]:
    if isinstance(words, (str, bytes)):
        _checks.fail("words", "a sequence of words", repr(words))
    checked: list[str] = list(words)
    for i, word in enumerate(checked):
        if not isinstance(word, str):
            _checks.fail("words", "str", f"{word!r} at words[{i}]")
    repeated = first_repeated(checked)
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
    return read_only(counts)
