"""The choice of the words to learn, and the counts of the others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.word2vec.parameters import settle, settle_min_count
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

_MOST_RARE = 2**20  # words outside the vocabulary whose counts are kept
_RARE = ("rare_words", "rare_offsets", "rare_counts")

# Words outside the vocabulary, packed, and their counts.
Rare = dict[str, NDArray[Any]]


def choose_words(
    words: list[str], counts: NDArray[np.int64], given: list[str] | None, options: dict[str, Any]
) -> Vocabulary:
    """Return the vocabulary of a text, and set the parameters that depend on the text.

    `given` has the words that the user asked for, if any. `options` has the parameters; those that
    are None are set.
    """
    total = int(counts.sum())
    min_count = settle_min_count(options, total)
    if given is None:
        vocabulary = Vocabulary.from_counts(
            words, counts, min_count=min_count, max_size=options["max_vocabulary"]
        )
    else:
        seen = dict(zip(words, counts.tolist(), strict=True))
        present = [word for word in given if seen.get(word, 0) > 0]
        if len(present) < len(given):
            lacking = [word for word in given if seen.get(word, 0) == 0]
            log.warning(
                "%s of %s words of vocabulary= are not in the text and get no vector: %s",
                f"{len(lacking):,}", f"{len(given):,}", ", ".join(lacking)[:200],
            )
        if not present:
            _checks.fail("vocabulary", "words that the text has", "none of them")
        vocabulary = Vocabulary.from_words(present, [seen[word] for word in present])
    log.info(
        "%s words, %s different; %s in the vocabulary, %s words of the text",
        f"{total:,}", f"{len(words):,}", f"{len(vocabulary):,}", f"{vocabulary.counts.sum():,}",
    )
    require_two_words(vocabulary.counts, min_count if given is None else None)
    settle(options, total, len(vocabulary))
    return vocabulary


def merge_words(
    old: Vocabulary, rare_before: Rare, words: list[str], counts: NDArray[np.int64],
    given: list[str] | None, options: dict[str, Any],
) -> tuple[Vocabulary, NDArray[np.int64], Rare]:
    """Return the vocabulary after a further text, the old id of each word or -1, and rare words.

    Arguments are as in `choose_words`, with the vocabulary and the rare words before.
    """
    rare = Counter(dict(_unpacked(rare_before)))
    known, known_counts = [], []
    for word, count in zip(words, counts.tolist(), strict=True):
        if word in old.index:
            known.append(word)
            known_counts.append(count)
        else:
            rare[word] += count
    total = int(old.counts.sum()) + rare.total() + sum(known_counts)
    min_count = settle_min_count(options, total)
    new = [word for word in words if word not in old.index]
    if given is not None:
        allowed, min_count = set(given), 1
        new = [word for word in new if word in allowed]
    vocabulary, old_ids = old.merge(
        [*known, *new], [*known_counts, *(rare[word] for word in new)], min_count=min_count,
        max_size=options["max_vocabulary"],
    )
    rest = Counter(rare)
    kept = set(old_ids.tolist())
    gone = [word for i, word in enumerate(old.words) if i not in kept]
    if gone:
        log.info("%s words left the vocabulary for more frequent ones", f"{len(gone):,}")
        more = dict(zip(known, known_counts, strict=True))
        rest.update({w: int(old.counts[old.index[w]]) + more.get(w, 0) for w in gone})
    settle(options, total, len(vocabulary))
    counted = np.fromiter(rest.values(), np.int64)
    return vocabulary, old_ids, rare_words(list(rest), counted, vocabulary)


def rare_words(words: list[str], counts: NDArray[np.int64], vocabulary: Vocabulary) -> Rare:
    """Return the most frequent words that are not in the vocabulary."""
    outside = np.array([word not in vocabulary.index for word in words], bool)
    positions = np.flatnonzero(outside)
    positions = np.sort(positions[np.argsort(-counts[positions], kind="stable")[:_MOST_RARE]])
    packed = pack_words([words[i] for i in positions.tolist()])
    return dict(zip(_RARE, (packed["words"], packed["offsets"], counts[positions]), strict=True))


def rare_of(name: Any, arrays: dict[str, NDArray[Any]]) -> Rare:
    """Check the rare words in a file, which may be damaged or manipulated, and return them."""
    rare = {part: arrays[part] for part in _RARE}
    words = unpack_words(name, rare["rare_words"], rare["rare_offsets"])
    _checks.shaped("rare_counts", rare["rare_counts"], (len(words),), "rare words,")
    return rare


def _unpacked(rare: Rare) -> Iterator[tuple[str, int]]:
    words = unpack_words("rare words", rare["rare_words"], rare["rare_offsets"])
    return zip(words, rare["rare_counts"].tolist(), strict=True)


def require_two_words(counts: NDArray[np.int64], min_count: int | None) -> None:
    """Require a text with two words of the vocabulary; otherwise there is nothing to learn.

    `min_count` is None if the words of the vocabulary are given.
    """
    present = np.count_nonzero(counts)
    if present < 2:
        got = f"{present}" if min_count is None else f"{present}, with min_count={min_count}"
        _checks.fail("corpus", "two different words of the vocabulary at least", got)
