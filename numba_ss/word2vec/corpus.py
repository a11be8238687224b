"""Corpora: text, lists of words, tables and packed ids, each read as a stream of word ids.

A sentence is a line of text, a list of words, or a row of a table. The words of a line are
``line.decode("utf-8", "replace").split()``; those of a list are its strings. In the stream, each
sentence ends with -1. Words outside the vocabulary are left out, and so are sentences without any
word of the vocabulary.
"""

from __future__ import annotations

import logging
import os
import re
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.io.arrow import ArrowStream, ParquetFiles, arrow_errors, is_text, listed
from numba_ss.io.copies import Copies
from numba_ss.io.csv_files import plain_suffix
from numba_ss.io.file_kinds import ARROW, HEAD, PARQUET, Foreign, markup_of
from numba_ss.io.inputs import find_files, warn_of_repeated
from numba_ss.io.text_columns import TextColumn
from numba_ss.io.text_files import (
    BlockReader,
    Pieces,
    TextFiles,
    read_ahead,
)
from numba_ss.kernels.words.text import END_OF_SENTENCE, MALFORMED
from numba_ss.word2vec.vocabulary import Vocabulary, WordTable, as_word

log = logging.getLogger("numba_ss")

Ids = NDArray[np.int32]
WordCounts = tuple[list[str], NDArray[np.int64]]
Progress = Callable[[int, int | None], object]

STREAM_SIZE = 2**17  # ids in an array of the stream
_UNKNOWN = -2
_BATCH = 2**18  # words of sentences that are looked up at a time
_SENTENCES = 2**14  # sentences between two reports of progress
_LINES = 20  # in a text of fewer lines, one word in each may be an accident
_PART = 2**23  # bytes of a table that are read at a time
_LARGEST_ID = 2**31 - 2  # of packed sentences without words
# The beginning of a list of words as Python, NumPy and JSON write it.
_PRINTED = re.compile(rb"""\s*\[(['"])[^'"]*\1(,\s*|\s+)['"]""")
_DECIMAL = re.compile("0|[1-9][0-9]{0,9}")


class Corpus(ABC):
    """Sentences of words that can be counted, and encoded as ids.

    Attributes
    ----------
    name : str
        Its name in messages.

    Examples
    --------
    >>> corpus = open_corpus([["to", "be"], ["to", "do"]])
    >>> isinstance(corpus, Corpus), corpus.count()
    (True, (['to', 'be', 'do'], array([2, 1, 1])))
    """

    name: str = "corpus"

    def count(self, progress: Progress | None = None) -> WordCounts:
        """Return the distinct words and their counts, in one pass.

        Parameters
        ----------
        progress : callable, optional
            Called now and then with two numbers: the work done so far, and the total work or
            None if that is not known. The unit is bytes for text, and sentences otherwise.

        Returns
        -------
        words : list of str
            Distinct words.
        counts : ndarray of int64, shape (num_words,)
            How often each occurs.

        Raises
        ------
        ArgumentError
            If there is no word.
        """
        words, counts = self._count(progress or (lambda done, total: None))
        if not words:
            _checks.fail(self.name, "at least one word", "none")
        return words, counts

    def encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        """Yield the ids of all words in one pass, in arrays of 2**17 ids; the last may be shorter.

        Parameters
        ----------
        vocabulary : Vocabulary
            The words and their ids; other words are left out. The id -1 ends a sentence.

        Yields
        ------
        ndarray of int32
            Ids; an array may end anywhere in a sentence.
        """
        out, filled, last = np.empty(STREAM_SIZE, np.int32), 0, END_OF_SENTENCE
        for ids in self._encode(vocabulary):
            if ids.size and ids[0] == last == END_OF_SENTENCE:
                ids = ids[1:]
            while ids.size:
                last = ids[-1]
                part, ids = np.split(ids, [STREAM_SIZE - filled])
                out[filled : filled + len(part)] = part
                filled += len(part)
                if filled == STREAM_SIZE:
                    yield out
                    out, filled = np.empty(STREAM_SIZE, np.int32), 0
        if filled:
            yield out[:filled]

    @abstractmethod
    def _count(self, progress: Progress) -> WordCounts: ...

    @abstractmethod
    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        """Yield ids; END_OF_SENTENCE may come first, but never twice in a row."""


def _tidy(ids: Ids) -> Ids:
    """Remove unknown words, and sentences that have no other words."""
    ids = ids[ids != _UNKNOWN]
    ends = ids == END_OF_SENTENCE
    ends[1:] &= ends[:-1]
    ends[:1] = False
    return np.delete(ids, ends)


class TextCorpus(Corpus):
    """A corpus of text, from files or from rows of a table; each line is a sentence."""

    def __init__(
        self, name: str, pieces: Callable[[], Pieces], total: Callable[[], int | None]
    ) -> None:
        self.name = name
        self._pieces = pieces
        self._total = total

    def _blocks(
        self, table: WordTable, keep_unknown: bool
    ) -> Iterator[tuple[BlockReader, list[Ids]]]:
        with closing(read_ahead(self._pieces())) as pieces:
            reader, done = BlockReader(pieces), 0
            while reader.fill(done):
                ids, done = table.encode(reader.block, reader.stop, keep_unknown=keep_unknown)
                if done == MALFORMED:
                    reader.repair()
                    ids, done = table.encode(reader.block, reader.stop, keep_unknown=keep_unknown)
                yield reader, ids

    def _count(self, progress: Progress) -> WordCounts:
        table, total, num_ids, num_lines = WordTable(), self._total(), 0, 0
        for reader, parts in self._blocks(table, True):
            if not num_ids:
                self._warn_of_printed_lists(reader.block[: min(reader.stop, HEAD)].tobytes())
            for ids in parts:
                table.count(ids, reader.block, reader.stop)
                num_ids += len(ids)
                num_lines += int(np.count_nonzero(ids == END_OF_SENTENCE))
            progress(reader.position, total)
        self._warn_of_single_words(num_ids - num_lines, num_lines)
        return table.result()

    def _warn_of_single_words(self, num_words: int, num_lines: int) -> None:
        if num_lines >= _LINES and 0 < num_words < 1.1 * num_lines:
            log.warning(
                "%s: %d words in %d lines: single words have no neighbours to learn from. Blanks "
                "have to separate words; programs such as jieba and MeCab put them into Chinese "
                "and Japanese text", self.name, num_words, num_lines,
            )

    def _warn_of_printed_lists(self, head: bytes) -> None:
        if _PRINTED.match(head):
            log.warning(
                "%s: %s looks like a printed list: brackets, quotes and commas become parts of "
                "words; write words with blanks between them instead", self.name,
                head.split(b"\n")[0][:60].decode(errors="replace"),
            )

    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        self._total()
        for _, parts in self._blocks(WordTable(vocabulary.words), False):
            yield from parts


class _WordIds(dict[str, int]):
    """A dictionary from words and integers to ids; other tokens raise an error."""

    def __missing__(self, token: object) -> int:
        word = as_word(token)
        if word is None:
            raise TypeError
        return self.get(word, _UNKNOWN)


def _length(sentences: Any) -> int | None:
    """Return the number of sentences if it is known: some have a length that raises an error."""
    try:
        return len(sentences)
    except TypeError:
        return None


class SentenceCorpus(Corpus):
    """A corpus of lists of words or integers; an iterator can be read only once."""

    def __init__(self, sentences: Iterable[Sequence[str]]) -> None:
        self._corpus = sentences
        self._spent = False

    def _sentences(self) -> Iterator[tuple[int, Sequence[str]]]:
        if self._spent:
            _checks.fail(self.name, "a corpus that can be read again", "an iterator")
        self._spent = isinstance(self._corpus, Iterator)
        sentences: Any = self._corpus
        if not hasattr(type(sentences), "__iter__") and hasattr(sentences, "__len__"):
            # For example a data set of PyTorch, which may return something for any position.
            sentences = map(sentences.__getitem__, range(len(sentences)))
        for i, sentence in enumerate(sentences):
            yield i, sentence if type(sentence) is list else self._words(i, sentence)

    def _words(self, i: int, sentence: Any) -> Sequence[str]:
        if isinstance(sentence, str):
            got = f"the string {sentence[:40]!r}, which would be read letter by letter"
            _checks.fail(f"{self.name}[{i}]", "a list of words", got)
        got = type(sentence).__name__
        if isinstance(sentence, (set, frozenset)):
            got += ", whose order is another in every process"
        elif not isinstance(sentence, (bytes, Mapping)) and hasattr(sentence, "__iter__"):
            return list(sentence)
        _checks.fail(f"{self.name}[{i}]", "a list of words", got)

    def _refuse(self, i: int, words: Sequence[str]) -> None:
        """Raise the error that names the first token that is not a word."""
        for j, word in enumerate(words):
            if as_word(word) is None:
                _checks.fail(f"{self.name}[{i}][{j}]", "a string or an integer", repr(word))

    def _count(self, progress: Progress) -> WordCounts:
        counter: Counter[Any] = Counter()
        size, i = _length(self._corpus), -1
        for i, words in self._sentences():
            before = len(counter)
            try:
                counter.update(words)
            except TypeError:
                self._refuse(i, words)
                raise
            new = islice(reversed(counter), len(counter) - before)
            if not all(as_word(word) is not None for word in new):
                self._refuse(i, words)
            if i % _SENTENCES == 0:
                progress(i + 1, size)
        progress(i + 1, size)
        total: Counter[str] = Counter()
        for token, count in counter.items():  # the integer 7 and the string "7" are one word
            total[str(as_word(token))] += count
        return list(total), np.fromiter(total.values(), np.int64)

    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        ids = _WordIds(vocabulary.index)
        at: tuple[int, Sequence[str]] = 0, ()

        def parts() -> Iterator[Iterable[int]]:
            nonlocal at
            for at in self._sentences():
                yield map(ids.__getitem__, at[1])
                yield (END_OF_SENTENCE,)

        stream = chain.from_iterable(parts())
        while True:
            try:
                batch = np.fromiter(islice(stream, _BATCH), np.int32)
            except TypeError:
                self._refuse(*at)
                raise
            if not batch.size:
                return
            yield _tidy(batch)


def _is_id(word: str) -> bool:
    return _DECIMAL.fullmatch(word) is not None and int(word) <= _LARGEST_ID


class PackedCorpus(Corpus):
    """Sentences as one array of word ids, with offsets; both may be memory maps.

    Parameters
    ----------
    ids : ndarray of integers, shape (num_ids,)
        The ids of all sentences, one after the other. They are read in blocks, never
        copied as a whole.
    offsets : ndarray of integers, shape (num_sentences + 1,)
        Sentence i is ids[offsets[i]:offsets[i + 1]].
    words : list of str, optional
        The word of each id; by default the id in decimal digits. Then `count` takes memory in
        proportion to the largest id.

    Examples
    --------
    >>> corpus = PackedCorpus(np.array([0, 2, 2, 1]), np.array([0, 3, 4]), ["a", "b", "c"])
    >>> corpus.count()
    (['a', 'b', 'c'], array([1, 1, 2]))
    >>> list(corpus.encode(Vocabulary(["c", "a"], [2, 1])))
    [array([ 1,  0,  0, -1], dtype=int32)]
    """

    def __init__(
        self, ids: NDArray[Any], offsets: NDArray[Any], words: Sequence[str] | None = None
    ) -> None:
        for name, array in (("ids", ids), ("offsets", offsets)):
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
                got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                _checks.fail(name, "an ndarray of integers", got)
        _checks.shaped("ids", ids, (None,), "num_ids,")
        _checks.shaped("offsets", offsets, (None,), "num_sentences + 1,")
        self._ids = ids
        self._offsets = offsets.astype(np.int64, copy=False)
        self._check_offsets()
        self._words = None if words is None else Vocabulary(words, np.zeros(len(words), int))

    def _check_offsets(self) -> None:
        offsets, num_ids = self._offsets, len(self._ids)
        if not offsets.size or offsets[0] != 0 or offsets[-1] != num_ids:
            got = f"{offsets[0]} ... {offsets[-1]}" if offsets.size else "none"
            _checks.fail("offsets", f"0 first and num_ids = {num_ids} last", got)
        for start in range(0, len(offsets) - 1, STREAM_SIZE):
            falls = np.flatnonzero(np.diff(offsets[start : start + STREAM_SIZE + 1]) < 0)
            if falls.size:
                i = start + int(falls[0])
                got = f"{offsets[i]}, {offsets[i + 1]} at offsets[{i}:{i + 2}]"
                _checks.fail("offsets", "offsets that do not fall", got)

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        stop = _LARGEST_ID + 1 if self._words is None else len(self._words)
        for start in range(0, len(self._ids), STREAM_SIZE):
            block = self._ids[start : start + STREAM_SIZE]
            if block.min() < 0 or block.max() >= stop:
                i = int(np.flatnonzero((block < 0) | (block >= stop))[0])
                symbol = "2**31 - 1" if self._words is None else "num_words"
                got = f"{block[i]} at ids[{start + i}]"
                _checks.fail("ids", f"ids in [0, {symbol}) = [0, {stop})", got)
            yield start, block

    def _count(self, progress: Progress) -> WordCounts:
        counts = np.zeros(0 if self._words is None else len(self._words), np.int64)
        for start, block in self._blocks():
            missing = int(block.max()) + 1 - len(counts)
            if missing > 0:
                counts = np.concatenate([counts, np.zeros(missing + len(counts), np.int64)])
            np.add.at(counts, block, 1)
            done = np.searchsorted(self._offsets[1:], start + len(block), "right")
            progress(int(done), len(self._offsets) - 1)
        present = np.flatnonzero(counts)
        name = str if self._words is None else self._words.words.__getitem__
        return list(map(name, present.tolist())), counts[present]

    def _new_ids(self, vocabulary: Vocabulary) -> Ids:
        """Return 2 + the vocabulary's id of each id, and a 0 at the end for all larger ids."""
        if self._words is not None:
            old = list(range(len(self._words)))
            new = [vocabulary.index.get(word, _UNKNOWN) for word in self._words.words]
        else:
            decimal = [word for word in vocabulary.words if _is_id(word)]
            old = [int(word) for word in decimal]
            new = [vocabulary.index[word] for word in decimal]
        ids = np.zeros(max(old, default=-1) + 2, np.int32)
        ids[old] = np.array(new, np.int32) - _UNKNOWN
        return ids

    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        new_ids = self._new_ids(vocabulary)
        ends = self._offsets[1:]
        for start, block in self._blocks():
            first, last = np.searchsorted(ends, [start, start + len(block)], "right")
            ids = new_ids.take(block.astype(np.intp, copy=False), mode="clip") + np.int32(_UNKNOWN)
            yield _tidy(np.insert(ids, ends[first:last] - start, END_OF_SENTENCE))


def _is_list_of(kind: Any, is_word: Callable[[Any], bool]) -> bool:
    types = import_optional("pyarrow", "reading tables").types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and is_word(kind.value_type))


def _choose(schema: Any, column: str | None) -> int:
    """Return the position of the column that holds the text."""
    is_integer = import_optional("pyarrow", "reading tables").types.is_integer
    kinds = list(enumerate(schema.types))
    suitable = [i for i, kind in kinds if is_text(kind) or _is_list_of(kind, is_text)]
    of_integers = [i for i, kind in kinds if _is_list_of(kind, is_integer)]
    if column is not None:
        chosen = [i for i in suitable + of_integers if schema[i].name == column]
    else:  # lists of integers beside a text are often its words, encoded
        chosen = suitable or of_integers
    if len(chosen) != 1:
        expected = "a name, to choose one column of" if column is None else "a column of"
        got = f"{column!r}: {listed(schema)}"
        _checks.fail("column", f"{expected} strings or lists of strings or integers", got)
    return chosen[0]


class _Column:
    """One column of a table, read in parts."""

    def __init__(self, table: ArrowStream | ParquetFiles, column: str | None) -> None:
        self._position = _choose(table.schema, column)
        self._table = table
        self.type = table.schema.types[self._position]
        self.total = table.total

    def arrays(self) -> Iterator[Any]:
        for batch in self._table.batches([self._position], _PART):
            yield batch.column(0)


class ListsCorpus(Corpus):
    """A corpus from a column of lists of words or integers."""

    def __init__(self, name: str, source: _Column) -> None:
        self.name = name
        self._source = source

    def _batches(self) -> Iterator[tuple[int, list[str], NDArray[Any], NDArray[np.int64]]]:
        """Yield the number of rows before, distinct words, their positions, and ends of rows."""
        arrow = import_optional("pyarrow", "reading tables")
        compute = import_optional("pyarrow.compute", "reading tables")
        rows = 0
        for lists in self._source.arrays():
            lengths = compute.list_value_length(lists).fill_null(0)
            ends = np.cumsum(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)
            words = lists.flatten().cast(arrow.large_string())
            if words.null_count:
                at = int(np.flatnonzero(words.is_null().to_numpy(zero_copy_only=False))[0])
                row = int(np.searchsorted(ends, at, "right"))
                place = f"[{rows + row}][{at - (ends[row - 1] if row else 0)}]"
                _checks.fail(f"{self.name}{place}", "a string or an integer", "null")
            words = words.dictionary_encode()
            yield rows, words.dictionary.to_pylist(), words.indices.to_numpy(), ends
            rows += len(lists)

    def _count(self, progress: Progress) -> WordCounts:
        counter: Counter[str] = Counter()
        total = self._source.total()
        for rows, words, codes, ends in self._batches():
            for word, count in zip(words, np.bincount(codes).tolist(), strict=True):
                counter[word] += count
            progress(rows + len(ends), total)
        return list(counter), np.fromiter(counter.values(), np.int64)

    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        for _, words, codes, ends in self._batches():
            ids = np.array([vocabulary.index.get(word, _UNKNOWN) for word in words], np.int32)
            yield _tidy(np.insert(ids[codes], ends, END_OF_SENTENCE))


def _lines(source: _Column) -> Pieces:
    """Yield rows of strings as lines; newlines inside a row become spaces."""
    arrow = import_optional("pyarrow", "reading tables")
    compute = import_optional("pyarrow.compute", "reading tables")
    rows = 0
    for array in source.arrays():
        rows += len(array)
        lines = array.cast(arrow.large_string()).cast(arrow.large_binary())
        lines = compute.replace_substring(lines, b"\n", b" ").to_pylist()
        yield b"\n".join([*(line or b"" for line in lines), b""]), rows


def _open_table(name: str, source: _Column) -> Corpus:
    if is_text(source.type):
        return TextCorpus(name, lambda: _lines(source), source.total)
    return ListsCorpus(name, source)


def by_kind(paths: list[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Return Parquet files, Arrow files and others, without the markers in folders of tables."""
    parquet, arrow, others = [], [], []
    for path in paths:
        with open(path, "rb") as file:
            head = file.read(len(ARROW))
        if head.startswith(PARQUET) or path.suffix.lower() == ".parquet":
            parquet.append(path)
        elif head == ARROW:
            arrow.append(path)
        else:
            others.append(path)
    if parquet or arrow:  # Spark writes markers such as _SUCCESS beside them
        others = [path for path in others if path.name[0] != "_" and path.stat().st_size]
    return parquet, arrow, others


def _open_files(
    name: str, paths: list[Path], column: str | None, encoding: str | None,
    names: Mapping[Path, str],
) -> Corpus:
    parquet, arrow, others = kinds = by_kind(paths)
    if sum(map(bool, kinds)) > 1:
        got = ", ".join(str(files[0]) for files in kinds if files)
        _checks.fail("corpus", "Parquet files, Arrow files or text files", f"several: {got}")
    if parquet:
        return _open_table(name, _Column(ParquetFiles(parquet), column))
    if arrow:
        return _open_table(name, _Column(ArrowStream(_arrow_table(arrow)), column))
    if column is not None:
        columns = [TextFiles([path], encoding, names, cells=True) for path in others]
        source: TextColumn | TextFiles = TextColumn(columns, column)
    else:
        source = TextFiles(others, encoding, names, look=_MarkupWarning())
        with closing(source.pieces()) as pieces:
            next(pieces)  # a file that is not text is refused now, not after hours of work
    return TextCorpus(name, source.pieces, source.total)


def _arrow_table(paths: list[Path]) -> Any:
    """Return Arrow files as one table, mapped from the disk if they are not compressed."""
    arrow = import_optional("pyarrow", "reading tables")
    tables = []
    for path in paths:
        try:
            opened = arrow.ipc.open_file(arrow.memory_map(str(path)))
            tables.append(opened.read_all())
        except (arrow.ArrowException, OSError) as error:
            _checks.fail(str(path), "an Arrow file", f"a damaged one ({error})")
    with arrow_errors("corpus", "Arrow files of the same columns"):
        return arrow.concat_tables(tables)


class _MarkupWarning:
    """Warns once if files are read as lines of words, but look like something else."""

    def __init__(self) -> None:
        self._given = False

    def __call__(self, name: str, head: bytes) -> None:
        markup = markup_of(head)
        if markup is None and plain_suffix(Path(name)) in (".csv", ".tsv"):
            markup = Foreign("a table", "column= (--column) reads one of its columns")
        if markup is not None and not self._given:
            self._given = True
            log.warning("%s looks like %s, and is read as lines of words; %s", name, *markup)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_paths(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_path, value))


def _is_packed(value: Any) -> bool:
    """Return whether a value is a pair of arrays, at least one of them of integers."""
    pair = isinstance(value, tuple) and len(value) == 2
    arrays = pair and all(isinstance(part, np.ndarray) for part in value)
    return arrays and any(part.dtype.kind in "iu" for part in value)


def _refuse(corpus: Any) -> NoReturn:
    hint = ""
    if isinstance(corpus, Iterator):
        hint = (
            ", which can be read once only: give a list, a file, or an object whose __iter__ "
            "starts anew each time"
        )
    elif hasattr(corpus, "tocsr"):
        hint = ", a sparse matrix: words have an order in a sentence, which it does not tell"
    elif isinstance(corpus, (set, frozenset)):
        hint = ", whose order is another in every process: give a list"
    elif hasattr(corpus, "collect"):
        hint = "; its collect() is a table"
    elif callable(corpus):
        hint = ": call it in the __iter__ of a class, which is asked once a pass"
    _checks.fail(
        "corpus",
        "a path, paths, an iterable of lists of words, a table or packed ids",
        f"{type(corpus).__name__}{hint}",
    )


def open_corpus(
    corpus: Any, *, passes: int = 2, column: str | None = None, encoding: str | None = None
) -> Corpus:
    """Return a corpus of any form as sentences that can be counted and encoded.

    Parameters
    ----------
    corpus : path, list of paths, iterable, table, or tuple
        One of

        - a text file whose lines are sentences, also compressed (gzip, bzip2, xz, zstd); a list
          of such files, a folder with all files in it, or a pattern such as ``"texts/*.txt"``.
          Pipes, ``"-"`` (standard input) and paths with a scheme, such as ``s3://`` and
          ``https://`` (by fsspec), are first copied to a temporary file. A word has at most
          2**20 bytes;
        - an iterable of lists of words, which is iterated over once for each pass; integers are
          words, too;
        - with `column`, CSV files (without a header, columns are "0", "1" ...), or files of JSON
          lines;
        - Parquet or Arrow files, or an object with ``__arrow_c_stream__`` such as a data frame of
          pyarrow, polars or pandas, with a column of lists of words (or integers) or of lines of
          text;
        - packed ids: a `PackedCorpus`, or a tuple of its ids and offsets.
    passes : int, default=2
        How often the corpus will be read. An iterator or generator can be read only once.
    column : str, optional
        The column of a table; by default the only one of strings or lists of strings or, if there
        is none, of lists of integers.
    encoding : str, optional
        The encoding of text files, such as "cp1252" or "gb18030". By default it is that of the
        byte order mark, or UTF-8 without one. Malformed bytes are replaced by U+FFFD and logged;
        a file, or a corpus, in which they are more than about one in a thousand is refused.

    Returns
    -------
    Corpus
        With the methods `count` and `encode`.

    Raises
    ------
    ArgumentError
        If the value is not a corpus, or cannot be read as often as `passes` says.

    Examples
    --------
    >>> corpus = open_corpus([["to", "be", "or"], ["not", "to", "be"]])
    >>> vocabulary = Vocabulary.from_counts(*corpus.count(), min_count=2)
    >>> vocabulary.words
    ['be', 'to']
    >>> list(corpus.encode(vocabulary))
    [array([ 1,  0, -1,  1,  0, -1], dtype=int32)]
    """
    _checks.integer("passes", passes, 1)
    if not isinstance(column, (str, type(None))):
        _checks.fail("column", 'None or a name, such as "text" or "0"', repr(column))
    if isinstance(corpus, Corpus):
        for name, value in (("column", column), ("encoding", encoding)):
            if value is not None:
                _checks.fail(name, "None for a corpus that is open", repr(value))
        return corpus
    if _is_path(corpus):
        name = "standard input" if corpus == "-" else os.fspath(corpus)
        return _open_paths(name, {"corpus": corpus}, column, encoding)
    if _is_paths(corpus):
        paths = {f"corpus[{i}]": path for i, path in enumerate(corpus)}
        return _open_paths("corpus", paths, column, encoding)
    if encoding is not None:
        _checks.fail("encoding", "None for what is no file", repr(encoding))
    if passes > 1 and isinstance(corpus, Iterator):
        _refuse(corpus)
    if hasattr(corpus, "__arrow_c_stream__"):
        with arrow_errors("corpus", "a table or a series with values of one type in each column"):
            stream = ArrowStream(corpus)
        return _open_table("corpus", _Column(stream, column))
    if column is not None:
        _checks.fail("column", f"None for a {type(corpus).__name__}", repr(column))
    if _is_packed(corpus):
        return PackedCorpus(*corpus)
    iterable = hasattr(type(corpus), "__iter__") or hasattr(type(corpus), "__getitem__")
    wrong = (bytes, bytearray, Mapping, set, frozenset)
    unreadable = hasattr(corpus, "tocsr") or hasattr(corpus, "collect")
    if isinstance(corpus, wrong) or unreadable or not iterable:
        _refuse(corpus)
    return SentenceCorpus(corpus)


def open_validation(
    validation: Any, column: str | None, encoding: str | None
) -> Corpus | None:
    """Return a held-out text as a corpus, or None if there is none.

    `column` and `encoding` are those of the training text. They are used if the held-out text is of
    a form that can have them.
    """
    if validation is None:
        return None
    is_file = _is_path(validation) or _is_paths(validation)
    has_columns = is_file or hasattr(validation, "__arrow_c_stream__")
    try:
        opened = open_corpus(
            validation, passes=1, column=column if has_columns else None,
            encoding=encoding if is_file else None,
        )
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(f"validation: {error}") from None
    if not is_file and opened is not validation:
        opened.name = "validation"
    return opened


def _open_paths(
    name: str, paths: Mapping[str, Any], column: str | None, encoding: str | None
) -> Corpus:
    """Open files; pipes and remote files are copied, and the copies are kept with the corpus."""
    copies = Copies()
    files: list[Path] = []
    for argument, path in paths.items():
        files += find_files(argument, copies.local(argument, path))
    warn_of_repeated(files)
    opened = _open_files(name, files, column, encoding, copies.names)
    weakref.finalize(opened, copies.close)
    return opened
