"""The random draws of word vectors: which words are kept, and the negative samples.

They depend on the counts and a seed only, not on the vectors. So every machine with the same counts
draws the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s
from numba_ss.kernels.softmax import sampling
from numba_ss.kernels.words import windows

# Measured on 100 MB of Wikipedia: batches of 1,024 to 4,096 words give equally good vectors.
_LARGEST_BATCH = 2048
# How often the most frequent word may be a target in one batch. A row that repeats more often gets
# a limited update, so it learns less from a text than by single steps.
_MOST_REPEATED = 12


def noise_weights(
    counts: NDArray[np.int64], sampler: str, distortion: float
) -> NDArray[np.float64]:
    """Return how often each word is drawn, up to a factor."""
    if sampler == "uniform":
        return np.ones(len(counts))
    if sampler == "log_uniform":
        rank = np.arange(len(counts))
        return np.asarray(np.log1p(1 / (rank + 1.0)))
    return np.asarray(np.maximum(counts, 1) ** np.float64(distortion))


def keep_probabilities(counts: NDArray[np.int64], subsample: float) -> NDArray[np.float64]:
    """Return the probability that each word is kept: word2vec's sqrt(t / f) + t / f."""
    if subsample == 0:
        return np.ones(len(counts))
    ratio = subsample * counts.sum() / np.maximum(counts, 1)
    return np.asarray(np.minimum(1.0, np.sqrt(ratio) + ratio))


class Draws:
    """Random draws for a vocabulary, as functions of seed, epoch and position.

    A word is kept with probability keep[word] / 2**32. `table` is the alias table of the noise
    words: each entry packs a threshold and an alias.
    """

    # Noise words that are drawn in advance, see `blocks`; and which draw of the epoch the first is.
    drawn, drawn_from = np.empty(0, np.int64), 0

    def __init__(
        self, keep: NDArray[np.int64], table: NDArray[np.int64], log_q: Float32s,
        num_sampled: int, seed: int,
    ) -> None:
        self.num_words, self.num_sampled, self.seed = len(log_q), num_sampled, seed
        self.keep, self.table = keep, table
        self.log_q = log_q  # log of how often a word is expected in one draw of noise

    def thin(self, ids: NDArray[np.int32], epoch: int, position: int) -> NDArray[np.int64]:
        """Drop some of the frequent words at random; separators get the id num_words."""
        out = np.empty(len(ids) + 1, np.int64)
        count = windows.thin_words(
            ids, self.keep, self._key(epoch, 1), position, self.num_words, out
        )
        return out[:count]

    def keys(self, epoch: int) -> NDArray[np.uint64]:
        """Return the random keys of the kernels for an epoch."""
        return np.array([self._key(epoch, stream) for stream in (0, 2)], np.uint64)

    def _key(self, epoch: int, stream: int) -> np.uint64:
        """Return the key of one random stream of an epoch."""
        words = np.random.SeedSequence([self.seed, epoch, stream]).generate_state(1, np.uint64)
        return np.uint64(words[0])


class Noise(Draws):
    """The draws for words with the given counts, and what can be expected of them.

    `counts` are the counts of the words, and `present` those in the current text, if it is not the
    only one. The other arguments are the checked parameters of `Word2Vec`.
    """

    def __init__(
        self, counts: NDArray[np.int64], *, present: NDArray[np.int64] | None = None,
        sampler: str, distortion: float, num_sampled: int, subsample: float, seed: int,
    ) -> None:
        here = counts if present is None else present
        shares = keep_probabilities(counts, subsample)
        self.num_present = int(here.sum())
        self.expected_words = float(np.sum(here * shares))
        self._kept = counts * shares
        self._weights = noise_weights(counts, sampler, distortion)
        # Repetitions among the noise words of a window are dropped.
        share = self._weights / self._weights.sum()
        with np.errstate(divide="ignore"):  # a share of 1 is expected once
            expected = -np.expm1(num_sampled * np.log1p(-share))
        super().__init__(
            np.minimum(np.ceil(shares * 2.0**32), 2**32).astype(np.int64),
            _alias_table(self._weights), np.asarray(np.log(expected), np.float32),
            num_sampled, seed,
        )

    @property
    def batch_size(self) -> int:
        """The largest power of two at which no word fills too much of a batch."""
        kept = self._kept
        most = min(_LARGEST_BATCH, _MOST_REPEATED * kept.sum() / max(kept.max(), 1e-300))
        return int(2 ** np.floor(np.log2(max(most, 16))))

    def distinct_words(self, num_words: float, num_draws: float) -> tuple[float, float]:
        """Return how many distinct words are expected in some of the thinned text.

        First in `num_words` words of it, then in these and `num_draws` draws of noise.
        """
        met = num_words / max(self._kept.sum(), 1e-300) * self._kept
        drawn = num_draws / self._weights.sum() * self._weights
        return float(-np.expm1(-met).sum()), float(-np.expm1(-met - drawn).sum())

    def draws(self) -> Draws:
        """Return the draws alone, which take less memory."""
        return Draws(self.keep, self.table, self.log_q, self.num_sampled, self.seed)


def _alias_table(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the alias table of the kernels; each entry packs a threshold and an alias."""
    # Powers of counts may be too large for float32; a power of two leaves all their bits.
    own = np.ldexp(weights, -np.frexp(weights.max())[1]).astype(np.float32)
    cut, alias = np.empty(len(own), np.float32), np.empty(len(own), np.int64)
    share, scratch = np.empty(len(own)), np.empty((2, len(own)), np.int64)
    sampling.fill_alias(own, cut, alias, share, *scratch)
    return (cut.astype(np.float64) * 2.0**31).astype(np.int64) << 32 | alias
