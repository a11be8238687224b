"""Evaluation of word vectors: analogies, and similarity as judged by people."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.io.copies import Copies
from numba_ss.io.csv_files import csv_rows
from numba_ss.io.text_files import TextFiles
from numba_ss.word2vec.vectors import WordVectors

# Parts of speech, as MEN has them: sun-n, warm-j.
_KIND = re.compile("(?<=.)-[NVJAR]$")


@dataclass(frozen=True)
class AnalogyScore:
    """How many analogies of a file, or of one of its sections, were solved.

    Attributes
    ----------
    name : str
        The name of the section; "total" for the file.
    num_correct, num_used, num_skipped : int
        The numbers of questions that were answered correctly, that were asked, and that were
        skipped because a word has no vector.
    sections : tuple of AnalogyScore
        The scores of the sections, in the order of the file.

    Examples
    --------
    >>> AnalogyScore("family", num_correct=3, num_used=4, num_skipped=1).accuracy
    0.75
    """

    name: str
    num_correct: int
    num_used: int
    num_skipped: int
    sections: tuple[AnalogyScore, ...] = ()

    @property
    def accuracy(self) -> float:
        """The share of correct answers; NaN if no question was asked."""
        return self.num_correct / self.num_used if self.num_used else math.nan


@dataclass(frozen=True)
class SimilarityScore:
    """How well cosines rank pairs of words.

    Attributes
    ----------
    rho : float
        Spearman's rank correlation with the scores of people.
    num_used, num_skipped : int
        The numbers of pairs that were compared, and that were skipped because a word has no
        vector.

    Examples
    --------
    >>> SimilarityScore(0.7, num_used=3, num_skipped=1).oov_ratio
    0.25
    """

    rho: float
    num_used: int
    num_skipped: int

    @property
    def oov_ratio(self) -> float:
        """The share of skipped pairs, in [0, 1]."""
        return self.num_skipped / (self.num_used + self.num_skipped)


def analogies(
    vectors: WordVectors, path: PathLike, restrict_vocab: int | None = 30_000
) -> AnalogyScore:
    r"""Answer the questions "a is to b as c is to ..." of a file, as gensim does.

    The answer is the word nearest to b - a + c, except the three words themselves. Case is
    ignored: of words that differ in case only, the first one counts. Questions with a word that
    is not among the first `restrict_vocab` words are skipped [1]_.

    Parameters
    ----------
    vectors : WordVectors
        Vectors to evaluate, in the order of falling frequency.
    path : str or path
        A text file of lines of four words; a line ``: name`` starts a section. Lines that start
        with # or // are comments.
    restrict_vocab : int or None, default=30000
        Number of words that are used; None for all.

    Returns
    -------
    AnalogyScore
        The total, with its sections.

    Raises
    ------
    ArgumentError
        If a line is neither a section nor four words; it says which.

    References
    ----------
    .. [1] T. Mikolov et al., "Efficient Estimation of Word Representations in Vector Space",
       2013, section 4.1; ``KeyedVectors.evaluate_word_analogies`` in gensim.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> rows = [[1.0, 0.0], [1.0, 1.0], [-1.0, 0.2], [-1.0, 1.0]]
    >>> vectors = WordVectors(["man", "king", "woman", "queen"], rows)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "questions.txt")
    ...     _ = path.write_text(": family\nMan King Woman Queen\n")
    ...     analogies(vectors, path).accuracy
    1.0
    """
    restrict_vocab = _limit(restrict_vocab)
    variants = _variants(vectors, restrict_vocab)
    sections = _read_questions(path)
    known = [
        [words for words in questions if variants.keys() >= set(words)]
        for _, questions in sections
    ]
    solved = iter(_solved(vectors, restrict_vocab, variants, list(chain(*known))))
    scores = tuple(
        AnalogyScore(name, sum(islice(solved, len(used))), len(used), len(questions) - len(used))
        for (name, questions), used in zip(sections, known, strict=True)
    )
    return AnalogyScore(
        "total", sum(score.num_correct for score in scores),
        sum(score.num_used for score in scores), sum(score.num_skipped for score in scores), scores,
    )


def similarity(
    vectors: WordVectors, path: PathLike, restrict_vocab: int | None = 300_000
) -> SimilarityScore:
    r"""Compare cosines with the scores that people gave to pairs of words, as gensim does.

    Case is ignored, as in `analogies`. Pairs with a word that is not among the first
    `restrict_vocab` words are skipped.

    Parameters
    ----------
    vectors : WordVectors
        Vectors to evaluate, in the order of falling frequency.
    path : str or path
        A text file as MEN, WordSim-353, SimLex-999, RareWords, SimVerb and others are
        published. A line has two words and a score, the first number after them, separated by
        tabs, commas, semicolons or blanks. The first line may hold titles. Parts of speech are
        removed if all words have one (``sun-n``). Lines that start with # or // are comments.
    restrict_vocab : int or None, default=300000
        Number of words that are used; None for all.

    Returns
    -------
    SimilarityScore
        Spearman's rank correlation, and the number of pairs.

    Raises
    ------
    ArgumentError
        If a line is not as described, or fewer than two pairs have vectors.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> rows = [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]]
    >>> vectors = WordVectors(["cat", "dog", "car"], rows)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "pairs.tsv")
    ...     _ = path.write_text("cat\tdog\t9.1\ncat\tcar\t2.0\n")
    ...     similarity(vectors, path).rho
    1.0
    """
    variants = _variants(vectors, _limit(restrict_vocab))
    words = vectors.index_to_key
    people, cosines, num_skipped = [], [], 0
    for a, b, score in _read_pairs(path):
        if a in variants and b in variants:
            people.append(score)
            pair = [words[variants[word][0]] for word in (a, b)]
            # Zeros, as in some published files, are far from everything, as in `most_similar`.
            has_angle = vectors[pair].any(axis=1).all()
            cosines.append(vectors.similarity(*pair) if has_angle else 0.0)
        else:
            num_skipped += 1
    if min(len(set(people)), len(set(cosines))) < 2:
        expected = "pairs of known words with different scores and cosines"
        _checks.fail(str(path), expected, f"{len(people)} pairs, {num_skipped} skipped")
    return SimilarityScore(spearman(people, cosines), len(people), num_skipped)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rank correlation; equal values get the mean of their ranks.

    Parameters
    ----------
    x, y : array, shape (num_pairs,)
        Values that are not all equal.

    Examples
    --------
    >>> spearman([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    """
    a, b = _mean_ranks(x), _mean_ranks(y)
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def _mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _limit(restrict_vocab: int | None) -> int | None:
    return None if restrict_vocab is None else _checks.integer("restrict_vocab", restrict_vocab, 1)


def _variants(vectors: WordVectors, restrict_vocab: int | None) -> dict[str, list[int]]:
    """Return the rows of each word in capitals, in ascending order."""
    variants: dict[str, list[int]] = {}
    for row, word in enumerate(vectors.index_to_key[:restrict_vocab]):
        variants.setdefault(word.upper(), []).append(row)
    return variants


def _solved(
    vectors: WordVectors, restrict_vocab: int | None, variants: dict[str, list[int]],
    questions: list[list[str]],
) -> list[bool]:
    """Return for each question whether the best word is the expected one."""
    if not questions:
        return []
    rows = np.array([[variants[word][0] for word in words] for words in questions])
    a, b, c, _ = (vectors.unit_vectors()[column] for column in rows.T)
    own = [[row for word in words[:3] for row in variants[word]] for words in questions]
    best = vectors.nearest_rows(b - a + c, own, 1, restrict_vocab).ids[:, 0].tolist()
    return [row in variants[words[3]] for row, words in zip(best, questions, strict=True)]


def _lines(path: PathLike) -> Iterator[tuple[str, str]]:
    """Yield the position and the text of each line that is neither empty nor a comment."""
    with Copies() as copies:
        file = Path(copies.local("path", path))
        pieces = TextFiles([file], names={file: str(path)}, strict=True).pieces()
        text = b"".join(piece for piece, _ in pieces).decode()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith(("#", "//")):
            yield f"{path}, line {number}", line


def _read_questions(path: PathLike) -> list[tuple[str, list[list[str]]]]:
    """Return the sections of a file, with their questions in capitals."""
    sections: list[tuple[str, list[list[str]]]] = []
    for place, line in _lines(path):
        words = line.upper().split()
        if line.startswith(":"):
            sections.append((line[1:].strip(), []))
        elif len(words) == 4:
            if not sections:
                sections.append((Path(path).stem, []))
            sections[-1][1].append(words)
        else:
            _checks.fail(place, 'four words, or a section ": name"', repr(line.strip()[:80]))
    if not sections:
        _checks.fail(str(path), "questions", "none")
    return sections


def _read_pairs(path: PathLike) -> list[tuple[str, str, float]]:
    """Return pairs of words in capitals with their scores."""
    lines = list(_lines(path))
    first = lines[0][1] if lines else ""
    separator = next((mark for mark in "\t;," if first.count(mark) > 1), None)
    rows = [(place, _fields(line.upper(), separator)) for place, line in lines]
    columns = [_score_column(fields) for _, fields in rows[:2]]
    if len(columns) == 2 and columns[0] != columns[1]:  # titles, which may be numbers
        del rows[0], columns[0]
    pairs = []
    for place, fields in rows:
        score = _score(fields[columns[0]]) if len(fields) == len(rows[0][1]) else None
        if columns[0] < 2 or score is None or not math.isfinite(score):
            expected = "word, word, number, separated by tabs, commas or blanks"
            _checks.fail(place, expected, repr(" ".join(fields)[:80]))
        pairs.append((fields[0], fields[1], score))
    if all(_KIND.search(word) for a, b, _ in pairs for word in (a, b)):
        return [(_KIND.sub("", a), _KIND.sub("", b), score) for a, b, score in pairs]
    return pairs


def _fields(line: str, separator: str | None) -> list[str]:
    """Return the cells of a line; those between commas or semicolons may have quotes."""
    quoted = separator is not None and separator in ";,"
    line = line.replace("\r", " ")
    cells = next(csv_rows([line], separator or ""), []) if quoted else line.split(separator)
    return [cell.strip() for cell in cells]


def _score_column(fields: list[str]) -> int:
    """Return the first column after the two words that holds a number, or 0 if none does."""
    return next((i for i in range(2, len(fields)) if _score(fields[i]) is not None), 0)


def _score(field: str) -> float | None:
    try:
        return None if "_" in field else float(field)  # Python reads 1_0 as 10
    except ValueError:
        return None
