"""The two tables of word vectors, what noise they learn from, and batches of windows.

What `Word2Vec` trains: it knows ids and rows, no words and no files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss._memory import aligned_zeros, widen
from numba_ss.kernels import sampling, skipgram, windows
from numba_ss.kernels.threads import get_num_threads
from numba_ss.kernels.tile import LANES

Floats = NDArray[np.float32]

SAMPLERS = ("unigram", "log_uniform", "uniform")

# More strata serve more threads, but the draws of a batch become more alike: 32 lost a
# point of the analogies, and a stratum of fewer words would hold hardly any noise.
_MOST_STRATA = 16
_WORDS_A_STRATUM = 64
_LARGEST_BATCH = 4096
# How often the most frequent word may be a target of one batch. Its gradients are all
# taken at the same place and then summed: with hundreds the sum would overshoot.
_MOST_REPEATED = 32


class Loss(NamedTuple):
    """What a loss means for the kernels."""

    logistic: bool
    keep_hits: bool
    subtract_log_q: bool


LOSSES = {
    "sampled_softmax": Loss(logistic=False, keep_hits=False, subtract_log_q=False),
    "negative_sampling": Loss(logistic=True, keep_hits=False, subtract_log_q=False),
    "sampled_logistic": Loss(logistic=True, keep_hits=False, subtract_log_q=True),
    "nce": Loss(logistic=True, keep_hits=True, subtract_log_q=True),
}


def noise_weights(
    counts: NDArray[np.int64], sampler: str, distortion: float
) -> NDArray[np.float64]:
    """Return how often each word is drawn, up to a factor."""
    if sampler == "uniform":
        return np.ones(len(counts))
    if sampler == "log_uniform":
        rank = np.arange(len(counts))
        return np.asarray(np.log1p(1 / (rank + 1.0)) ** distortion)
    return np.asarray(np.maximum(counts, 1) ** np.float64(distortion))


def keep_probabilities(counts: NDArray[np.int64], subsample: float) -> NDArray[np.float64]:
    """Return the probability of each word to stay: word2vec's sqrt(t / f) + t / f."""
    if subsample == 0:
        return np.ones(len(counts))
    ratio = subsample * counts.sum() / np.maximum(counts, 1)
    return np.asarray(np.minimum(1.0, np.sqrt(ratio) + ratio))


class WordModel:
    """Tables of input and output vectors that learn from a stream of ids.

    Parameters are those of `Word2Vec`, checked. `counts` are the words' occurrences,
    `present` those in the text at hand if it is not all of it.
    """

    def __init__(
        self, inputs: Floats, outputs: Floats, counts: NDArray[np.int64], *,
        present: NDArray[np.int64] | None = None, window: int, architecture: str, loss: str,
        num_sampled: int, sampler: str, distortion: float, subtract_log_q: bool | None,
        subsample: float, batch_size: int | None, seed: int,
    ) -> None:
        self.num_words, self.dim = inputs.shape
        kind = LOSSES[loss]
        keep = keep_probabilities(counts, subsample)
        self.num_present = int(counts.sum() if present is None else present.sum())
        self.expected_words = float(np.sum((counts if present is None else present) * keep))
        self._keep = np.minimum(np.ceil(keep * 2.0**32), 2**32).astype(np.int64)
        self.batch_size = batch_size or self._choose_batch(counts * keep)
        weights = noise_weights(counts, sampler, distortion)
        num_strata = int(np.clip(self.num_words // _WORDS_A_STRATUM, 1, _MOST_STRATA))
        self.log_q = self._log_expected(weights, num_strata, num_sampled)
        corrected = kind.subtract_log_q if subtract_log_q is None else subtract_log_q
        self.corrected = corrected
        self._seed = seed
        table, strata = _alias_tables(weights, num_strata)
        self._model = skipgram.Model(
            inputs=widen(inputs, self.num_words + 1),
            outputs=widen(outputs, self.num_words + 1 + self.batch_size),
            num_vectors=-(-self.dim // LANES),
            corrections=self.log_q if corrected else np.empty(0, np.float32),
            noise=table, strata=strata, key=np.uint64(0), window=window, num_sampled=num_sampled,
            batch_size=self.batch_size, cbow=architecture == "cbow", logistic=kind.logistic,
            keep_hits=kind.keep_hits,
        )
        self._work = _scratch(self._model)
        self.window, self.cbow = window, architecture == "cbow"
        outputs_of_zeros = num_sampled + 1
        self.loss_of_zeros = float(
            outputs_of_zeros * np.log(2) if kind.logistic else np.log(outputs_of_zeros)
        )

    @staticmethod
    def _choose_batch(kept: NDArray[np.float64]) -> int:
        """Return a power of two such that no word fills too much of a batch."""
        most = min(_LARGEST_BATCH, _MOST_REPEATED * kept.sum() / max(kept.max(), 1e-300))
        return int(2 ** np.floor(np.log2(max(most, 16))))

    @staticmethod
    def _log_expected(weights: NDArray[np.float64], num_strata: int, num_sampled: int) -> Floats:
        """Return the log of how often a word is expected in one draw of noise."""
        expected = np.empty(len(weights))
        for s in range(num_strata):
            own = weights[s::num_strata]
            # Repetitions are dropped; every stratum has its turn equally often.
            expected[s::num_strata] = -np.expm1(num_sampled * np.log1p(-own / own.sum()))
        return np.log(expected / num_strata).astype(np.float32)

    @property
    def inputs(self) -> Floats:
        """The input vectors, (num_words, dim); a view."""
        return np.asarray(self._model.inputs[: self.num_words, : self.dim])

    @property
    def outputs(self) -> Floats:
        """The output vectors, (num_words, dim); a view."""
        return np.asarray(self._model.outputs[: self.num_words, : self.dim])

    def release(self) -> tuple[Floats, Floats]:
        """Return copies of both tables and give up its own, one after the other: at the end."""
        none = aligned_zeros(0, self._model.inputs.shape[1])
        inputs = self.inputs.copy()
        self._model = self._model._replace(inputs=none)
        outputs = self.outputs.copy()
        self._model = self._model._replace(outputs=none)
        return inputs, outputs

    @property
    def losses(self) -> NDArray[np.float64]:
        """Sums of losses since they were set to zero; one a stratum."""
        return np.asarray(self._work.losses)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Numbers of losses since they were set to zero; one a stratum."""
        return np.asarray(self._work.pairs)

    def thin(self, ids: NDArray[np.int32], epoch: int, position: int) -> NDArray[np.int64]:
        """Leave out some of the frequent words; the ids of separators become num_words."""
        out = np.empty(len(ids) + 1, np.int64)
        count = windows.thin_words(
            ids, self._keep, self._key(epoch, 1), position, self.num_words, out
        )
        return out[:count]

    def _key(self, epoch: int, stream: int) -> np.uint64:
        """Return the key of one epoch's stream of random numbers."""
        words = np.random.SeedSequence([self._seed, epoch, stream]).generate_state(1, np.uint64)
        return np.uint64(words[0])

    def start_epoch(self, epoch: int) -> None:
        """Take the random numbers of an epoch."""
        self._model = self._model._replace(key=self._key(epoch, 0))

    def copy_targets(self, stream: NDArray[np.int64], first: int) -> None:
        """Prepare the batch that starts at stream[first]."""
        self._apply(stream, first, first)

    def learn(
        self, stream: NDArray[np.int64], first: int, last: int, position: int, rate: float
    ) -> None:
        """Learn from the windows around stream[first:last], and prepare the batch after them.

        `position` is that of stream[0] in its epoch.
        """
        skipgram.learn_windows(
            min(get_num_threads(), len(self._work.losses)), self._model, self._work, stream, first,
            last, position, np.float32(rate),
        )
        self._apply(stream, first, last)

    def _apply(self, stream: NDArray[np.int64], first: int, last: int) -> None:
        """Change the rows of the batch stream[first:last], and prepare the next one."""
        most = 2 * (self._model.inputs.shape[1] // skipgram.COLUMNS)  # of two tables
        skipgram.apply_windows(
            min(get_num_threads(), most), self._model, self._work, stream, first, last,
            min(last + self.batch_size, len(stream)),
        )


def _alias_tables(
    weights: NDArray[np.float64], num_strata: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    tables = []
    for s in range(num_strata):
        own = weights[s::num_strata].astype(np.float32)
        cut, alias = np.empty(len(own), np.float32), np.empty(len(own), np.int64)
        share, scratch = np.empty(len(own)), np.empty((2, len(own)), np.int64)
        sampling.fill_alias(own, cut, alias, share, *scratch)
        tables.append((cut.astype(np.float64) * 2.0**31).astype(np.int64) << 32 | alias)
    return np.concatenate(tables), np.cumsum([0, *map(len, tables)])


def _scratch(model: skipgram.Model) -> skipgram.Work:
    strata = len(model.strata) - 1
    size = -(-model.batch_size // strata)
    around = 2 * model.window
    stride, outputs = model.inputs.shape[1], model.num_sampled + 1
    lanes = skipgram.GROUP * (around + 1)
    shares = np.zeros(around + 1, np.float32)
    shares[1:] = 1 / np.arange(1, around + 1)

    def integers(*shape: int) -> NDArray[np.int64]:
        return np.zeros((strata, *shape), np.int64)

    def floats(*shape: int) -> Floats:
        return aligned_zeros(strata, *shape)

    return skipgram.Work(
        in_rows=integers(size, around + 1), grad_rows=integers(size, around + 1),
        out_rows=integers(size, outputs), sizes=integers(size),
        noise_words=integers(size, model.num_sampled), dropped=integers(size),
        scores=floats(outputs * lanes), scratch=floats(2, lanes),
        grad_inputs=floats((size + around) * stride),
        hidden=floats(skipgram.GROUP, stride), hidden_rows=np.arange(skipgram.GROUP) * stride,
        grad_hidden=floats(skipgram.GROUP, stride),
        shares=shares, losses=np.zeros(strata), pairs=np.zeros(strata, np.int64),
    )

