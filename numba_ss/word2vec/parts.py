"""Parts of a corpus that several machines read: files, spans of lines, blocks of a data set.

The parts one after the other are the corpus: their words add up to its words, and their ids are its
ids.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.distributed.cluster import Cluster, Stored
from numba_ss.io.copies import is_stream, remote_files
from numba_ss.io.file_kinds import ARROW, COMPRESSED, HEAD, PARQUET, compression_of, encoding_of
from numba_ss.io.files import is_remote, without_scheme
from numba_ss.io.inputs import find_files
from numba_ss.io.packed_words import unpack_words
from numba_ss.io.text_files import TextFiles
from numba_ss.word2vec.corpus import Corpus, TextCorpus, WordCounts, by_kind, open_corpus
from numba_ss.word2vec.vocabulary import Vocabulary

SPAN = 2**25  # bytes of a text that are one part


class Part(NamedTuple):
    """A file, the lines of a file that begin in a span of bytes, or a stored table.

    `state` is the size of the file and when it was changed, if that is known.
    """

    source: Any
    span: tuple[int, int] | None
    state: tuple[int, int] | None
    column: str | None
    encoding: str | None

    def open(self) -> Corpus:
        """Open the part on this machine."""
        if isinstance(self.source, Stored):
            return open_corpus(self.source.read(), column=self.column)
        if self.state is not None:
            try:
                state = _state(self.source)
            except OSError as error:
                _checks.fail(self.source, "a file that every worker can read", error.strerror)
            if state != self.state:
                _checks.fail(self.source, "the file that the first pass read", "a changed one")
        if self.span is None:
            return open_corpus(self.source, column=self.column, encoding=self.encoding)
        text = TextFiles([Path(self.source)], span=self.span)
        return TextCorpus(str(self.source), text.pieces, text.total)


def parts_of(
    corpus: Any, column: str | None, encoding: str | None, cluster: Cluster
) -> list[Part] | None:
    """Return the parts of what workers can open themselves, or None for anything else."""
    if type(corpus).__module__.startswith("ray.data"):
        return [Part(stored, None, None, column, None) for stored in cluster.tables_of(corpus)]
    listed = list(corpus) if isinstance(corpus, (list, tuple)) else [corpus]
    if not listed or not all(isinstance(path, (str, os.PathLike)) for path in listed):
        return None
    if any(map(is_stream, listed)):
        return None
    if not any(map(is_remote, map(without_scheme, listed))):
        # What workers log nobody sees: look at the files here, too.
        open_corpus(corpus, column=column, encoding=encoding)
    parts = []
    for path in map(without_scheme, listed):
        if is_remote(path):
            files = remote_files("corpus", str(path))
            parts += [Part(file, None, None, column, encoding) for file in files]
        else:
            for file in chain.from_iterable(by_kind(find_files("corpus", path))):
                parts += _parts_of_file(os.path.abspath(file), column, encoding)
    return parts


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _parts_of_file(path: str, column: str | None, encoding: str | None) -> list[Part]:
    """Return spans of a plain text file, or any other file as a whole."""
    state = _state(path)
    whole = [Part(path, None, state, column, encoding)]
    if column is not None or encoding is not None or state[0] <= SPAN:
        return whole
    with open(path, "rb") as file:
        head = file.read(HEAD)
    is_plain = compression_of(head) is None and encoding_of(head) == "utf-8"
    is_plain &= not head.startswith((PARQUET, ARROW))
    if not is_plain or path.lower().endswith(tuple(f".{name}" for name in COMPRESSED)):
        return whole
    starts = range(0, state[0], SPAN)
    return [Part(path, (start, start + SPAN), state, None, None) for start in starts]


def count_part(part: Part) -> WordCounts:
    """Return the distinct words of a part and their counts; there may be none."""
    return part.open()._count(lambda done, total: None)


def add_counts(counted: Sequence[WordCounts]) -> WordCounts:
    """Return the words of all parts, in the order of their first occurrence, and their counts."""
    total: Counter[str] = Counter()
    for words, counts in counted:
        for word, count in zip(words, counts.tolist(), strict=True):
            total[word] += count
    if not total:
        _checks.fail("corpus", "at least one word", "none")
    return list(total), np.fromiter(total.values(), np.int64)


@dataclass(frozen=True)
class Encoder:
    """Encodes parts; `words` and `offsets` are a packed vocabulary."""

    words: Stored
    offsets: Stored

    def __call__(self, part: Part) -> tuple[NDArray[np.int32], tuple[int, int, int]]:
        """Return the ids of a part, and of them length, checksum, and number of words."""
        listed = unpack_words("", self.words.read(), self.offsets.read())
        vocabulary = Vocabulary(listed, np.zeros(len(listed), int))
        pieces = list(part.open().encode(vocabulary))
        ids = np.concatenate([np.empty(0, np.int32), *pieces])
        return ids, summary_of(ids)


def summary_of(ids: NDArray[np.int32]) -> tuple[int, int, int]:
    """Return of some ids their number, their checksum, and how many of them are words."""
    return len(ids), zlib.crc32(ids.data), int(np.count_nonzero(ids >= 0))
