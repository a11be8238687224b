"""The two tables of word vectors, what noise they learn from, and batches of windows.

What `Word2Vec` trains: it knows ids and rows, no words and no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from numba_ss.engine.by_name import LOSSES
from numba_ss.engine.memory import aligned_zeros, round_up, widen
from numba_ss.kernels.core.team import board_shape
from numba_ss.kernels.core.threads import get_num_threads
from numba_ss.kernels.core.tile import LANES
from numba_ss.kernels.softmax import sampling
from numba_ss.kernels.words import row_updates, train_windows, window_chunks, windows

Floats = NDArray[np.float32]

_CHUNKS = 64  # of a batch
_WINDOWS_A_THREAD = 16  # of a batch, or a further thread costs more than it gives
# In a phase of a batch: those of a thread that is late are taken by others.
_TASKS_A_THREAD = 4
# Of 100 MB of Wikipedia, batches of 1,024 to 4,096 words give the same vectors.
_LARGEST_BATCH = 2048
# How often the most frequent word may be a target of one batch. Where a row repeats more, its
# update holds it back, and it learns less from a text than single steps would.
_MOST_REPEATED = 12


# Losses that learn from a word as noise though it is a target of the window, and losses that
# by default subtract the log of the expected count.
_KEEP_HITS = {"nce"}
_SUBTRACT_LOG_Q = {"nce", "sampled_logistic"}


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
        keep = keep_probabilities(counts, subsample)
        self.num_present = int(counts.sum() if present is None else present.sum())
        self.expected_words = float(np.sum((counts if present is None else present) * keep))
        self._keep = np.minimum(np.ceil(keep * 2.0**32), 2**32).astype(np.int64)
        self.batch_size = batch_size or self._choose_batch(counts * keep)
        weights = noise_weights(counts, sampler, distortion)
        self.log_q = self._log_expected(weights, num_sampled)
        corrected = loss in _SUBTRACT_LOG_Q if subtract_log_q is None else subtract_log_q
        self.corrected = corrected
        self._seed = seed
        kind_of_model = window_chunks.CbowModel if architecture == "cbow" else window_chunks.Model
        self._model = kind_of_model(
            inputs=widen(inputs, self.num_words + 1),
            outputs=widen(outputs, self.num_words + 1),
            num_vectors=-(-self.dim // LANES),
            corrections=self.log_q if corrected else np.empty(0, np.float32),
            noise=_alias_table(weights), keys=np.zeros(3, np.uint64), window=window,
            batch_size=self.batch_size, logistic=LOSSES[loss].logistic,
            keep_hits=loss in _KEEP_HITS,
        )
        self._work = _scratch(self._model, num_sampled)
        self._num_threads = 0
        # The length of the longest vector that there has been; infinite with a NaN.
        self.longest = max(_longest(table) for table in (inputs, outputs))
        # Multiplications, of which a third are the forward pass.
        vectors = 1 if architecture == "cbow" else window + 1
        self.work_a_window = 3 * vectors * (num_sampled + 1) * self.dim
        self.window, self.cbow = window, architecture == "cbow"
        self.loss_of_zeros = self._loss_of_zeros(counts * keep, weights, num_sampled)

    def _loss_of_zeros(
        self, kept: NDArray[np.float64], weights: NDArray[np.float64], num_sampled: int
    ) -> float:
        """Return the mean loss of vectors of zeros; a softmax of corrected scores as without."""
        if not self._model.logistic:
            return float(np.log(num_sampled + 1))
        offsets = self.log_q.astype(np.float64) if self.corrected else np.zeros(self.num_words)
        of_target = np.average(np.logaddexp(0, offsets), weights=kept)
        of_noise = np.average(np.logaddexp(0, -offsets), weights=weights)
        return float(of_target + num_sampled * of_noise)

    @staticmethod
    def _choose_batch(kept: NDArray[np.float64]) -> int:
        """Return a power of two such that no word fills too much of a batch."""
        most = min(_LARGEST_BATCH, _MOST_REPEATED * kept.sum() / max(kept.max(), 1e-300))
        return int(2 ** np.floor(np.log2(max(most, 16))))

    @staticmethod
    def _log_expected(weights: NDArray[np.float64], num_sampled: int) -> Floats:
        """Return the log of how often a word is expected in one draw of noise."""
        # Repetitions are dropped.
        expected = -np.expm1(num_sampled * np.log1p(-weights / weights.sum()))
        return np.asarray(np.log(expected), np.float32)

    @property
    def inputs(self) -> Floats:
        """The input vectors, (num_words, dim); a view."""
        return np.asarray(self._model.inputs[: self.num_words, : self.dim])

    @property
    def outputs(self) -> Floats:
        """The output vectors, (num_words, dim); a view."""
        return np.asarray(self._model.outputs[: self.num_words, : self.dim])

    def arrays(self) -> dict[str, Floats]:
        """Return both tables; not copies."""
        return {"inputs": self.inputs, "outputs": self.outputs}

    def load(self, arrays: dict[str, Floats]) -> None:
        """Take over what `arrays` returned."""
        for name, array in self.arrays().items():
            array[:] = arrays[name]

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
        """Sums of losses since they were set to zero; one a chunk."""
        return np.asarray(self._work.losses)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Numbers of losses since they were set to zero; one a chunk."""
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
        self._model.keys[:] = [self._key(epoch, stream) for stream in (0, 2, 3)]

    def learn(
        self, stream: NDArray[np.int64], first: int, last: int, position: int,
        rates: NDArray[np.float32],
    ) -> None:
        """Learn from the windows around stream[first:last], a batch for each of `rates`.

        `position` is that of stream[0] in its epoch.
        """
        threads = min(get_num_threads(), max(1, self.batch_size // _WINDOWS_A_THREAD))
        if threads != self._num_threads:
            self._lists, self._num_threads = _lists(self._model, self._work, threads), threads
        tasks = min(_TASKS_A_THREAD * threads, row_updates.OWNERS)
        longest = np.zeros((len(rates), 2, tasks), np.float32)
        arguments = (
            self._model, self._work, self._lists, longest,
            np.zeros(board_shape(2 * len(rates), threads), np.int64), stream, first, last,
            position, rates,
        )
        if threads == 1:
            train_windows.train_windows_chunk(0, 1, *arguments)
        else:
            train_windows.train_windows(threads, *arguments)
        self.longest = max(self.longest, float(np.sqrt(longest.max())))


def _longest(table: Floats) -> float:
    """Return the length of the longest row."""
    return float(np.sqrt(np.einsum("ij,ij->i", table, table).max(initial=0.0)))


def _alias_table(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    own = weights.astype(np.float32)
    cut, alias = np.empty(len(own), np.float32), np.empty(len(own), np.int64)
    share, scratch = np.empty(len(own)), np.empty((2, len(own)), np.int64)
    sampling.fill_alias(own, cut, alias, share, *scratch)
    return (cut.astype(np.float64) * 2.0**31).astype(np.int64) << 32 | alias


def _scratch(model: window_chunks.Model, num_sampled: int) -> window_chunks.Work:
    size = max(window_chunks.GROUP, model.batch_size // _CHUNKS)
    chunks = -(-model.batch_size // size)
    pool = 1 << (max(2 * size, 4 * num_sampled) - 1).bit_length()
    around, stride = 2 * model.window, model.inputs.shape[1]
    lanes = window_chunks.GROUP * (around + 1)
    shares = np.zeros(around + 1, np.float32)
    shares[1:] = 1 / np.arange(1, around + 1)

    def integers(*shape: int) -> NDArray[np.int64]:
        return np.zeros((chunks, *shape), np.int64)

    def floats(*shape: int) -> Floats:
        return aligned_zeros(chunks, *shape)

    return window_chunks.Work(
        sizes=integers(size), in_rows=integers(size, around + 1),
        in_places=integers(size, around + 1),
        in_grads=integers(size, around + 1), in_words=integers(size + around),
        in_weights=floats(size + around), out_words=integers(pool + size),
        out_weights=floats(pool + size), noise=integers(size, num_sampled),
        places=integers(size, num_sampled), dropped=integers(size),
        out_rows=integers(size, 1 + num_sampled), out_grads=integers(size, 1 + num_sampled),
        scores=floats((1 + num_sampled) * lanes), scratch=floats(2, lanes),
        grad_inputs=floats((size + around) * stride), grad_outputs=floats((pool + size) * stride),
        hidden=floats(window_chunks.GROUP, stride),
        hidden_rows=np.arange(window_chunks.GROUP) * stride,
        grad_hidden=floats(window_chunks.GROUP, stride),
        in_samples=aligned_zeros(row_updates.SAMPLES, stride),
        out_samples=aligned_zeros(row_updates.SAMPLES, stride), shares=shares,
        losses=np.zeros(chunks), pairs=np.zeros(chunks, np.int64),
    )


def _lists(
    model: window_chunks.Model, work: window_chunks.Work, threads: int
) -> row_updates.Lists:
    most, stride = max(work.in_words.size, work.out_words.size), model.inputs.shape[1]
    region = round_up(-(-len(model.inputs) // row_updates.OWNERS))
    samples = row_updates.SAMPLES

    def integers(*shape: int) -> NDArray[np.int32]:
        return np.zeros(shape, np.int32)

    return row_updates.Lists(
        heads=integers(row_updates.OWNERS * region), places=integers(threads, most),
        following=integers(threads, most), first=integers(threads, most),
        last=integers(threads, most), sums=aligned_zeros(threads, 2, stride),
        means=aligned_zeros(threads, 2, stride),
        rows=np.r_[np.arange(samples) * stride, 0, 0], products=aligned_zeros(threads, 2 * samples),
    )
