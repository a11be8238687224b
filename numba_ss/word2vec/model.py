"""The two tables of word vectors, and training steps on batches of windows.

This module knows ids and rows, but no words and no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s
from numba_ss.engine.by_name import LOSSES
from numba_ss.engine.memory import aligned_zeros, narrow, round_up, widen
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.core.team import board_shape
from numba_ss.kernels.core.threads import get_num_threads
from numba_ss.kernels.words import row_updates, train_windows, window_chunks
from numba_ss.kernels.words.window_chunks import GROUP
from numba_ss.word2vec.noise import Draws

_CHUNKS = 64  # chunks of a batch
_WINDOWS_A_THREAD = 16  # windows of a batch that make one more thread worth its cost
# In a phase of a batch: those of a thread that is late are taken by others.
_TASKS_A_THREAD = 4

# Losses that learn from a word as noise though it is a target of the window, and losses that
# by default subtract the log of the expected count.
_KEEP_HITS = {"nce"}
_SUBTRACT_LOG_Q = {"nce", "sampled_logistic"}


_NONE = np.empty(0, np.float32)


def subtracts_log_q(loss: str, subtract_log_q: bool | None) -> bool:
    """Return whether the log of the expected count is subtracted from each score."""
    return loss in _SUBTRACT_LOG_Q if subtract_log_q is None else subtract_log_q


def loss_at_start(loss: str, num_sampled: int) -> float:
    """Return the mean loss of vectors that are not trained yet."""
    of_target = math.log(1 + num_sampled)
    of_noise = math.log1p(1 / num_sampled) if LOSSES[loss].logistic else 0.0
    return of_target + num_sampled * of_noise


class Tables:
    """The rows: an input vector and an output vector for each word, padded for the kernels.

    `parts` yields the initial input vectors, then the initial output vectors, each with `dim`
    columns. So the first array can be freed before the second is made.
    """

    def __init__(self, parts: Iterable[Float32s], dim: int) -> None:
        self._wide = list(map(_padded, parts))
        self.num_words, self.dim = len(self._wide[0]) - 1, dim
        # The length of the longest vector so far; infinite if there was a NaN.
        self.longest = max(_longest(table) for table in (self.inputs, self.outputs))

    @classmethod
    def within(cls, inputs: Float32s, outputs: Float32s, dim: int) -> Self:
        """Return tables in padded memory that is given; their last rows are those of separators."""
        tables = cls.__new__(cls)
        tables._wide, tables.num_words, tables.dim = [inputs, outputs], len(inputs) - 1, dim
        tables.longest = 0.0
        return tables

    @property
    def wide(self) -> tuple[Float32s, Float32s]:
        """Both tables with their padding, and one more row, for separators."""
        inputs, outputs = self._wide
        return inputs, outputs

    @property
    def inputs(self) -> Float32s:
        """The input vectors, (num_words, dim); a view."""
        return np.asarray(self._wide[0][: self.num_words, : self.dim])

    @property
    def outputs(self) -> Float32s:
        """The output vectors, (num_words, dim); a view."""
        return np.asarray(self._wide[1][: self.num_words, : self.dim])

    def note_length(self, length: float) -> None:
        """Update `longest` with the length of a vector."""
        self.longest = max(self.longest, length)

    def release(self) -> tuple[Float32s, Float32s]:
        """Return both tables without padding, in the same memory; this object then has none."""
        inputs, outputs = (narrow(table, self.num_words, self.dim) for table in self._wide)
        self._wide = [aligned_zeros(0, self._wide[0].shape[1])] * 2
        return inputs, outputs


class WordModel:
    """Trains tables on a stream of ids. The keyword arguments are parameters of `Word2Vec`."""

    def __init__(
        self, tables: Tables, noise: Draws, *, window: int, architecture: str, loss: str,
        subtract_log_q: bool | None, batch_size: int,
        totals: tuple[Float32s, Float32s] = (_NONE, _NONE),
    ) -> None:
        self.tables, self.noise = tables, noise
        self.num_words, self.window, self.cbow = noise.num_words, window, architecture == "cbow"
        self.batch_size = batch_size
        self.corrected = corrected = subtracts_log_q(loss, subtract_log_q)
        inputs, outputs = tables.wide
        in_totals, out_totals = totals
        num_draws, num_noise = draws_of(batch_size, noise.num_sampled)
        self._model = window_chunks.Model(
            inputs=inputs, outputs=outputs, num_vectors=-(-tables.dim // LANES),
            corrections=noise.log_q if corrected else np.empty(0, np.float32),
            noise=noise.table, drawn=noise.drawn, drawn_from=noise.drawn_from,
            num_sampled=noise.num_sampled, num_draws=num_draws,
            keys=np.zeros(2, np.uint64), window=window, batch_size=batch_size,
            use_logistic=LOSSES[loss].logistic or None, keep_hits=loss in _KEEP_HITS,
            in_totals=in_totals, out_totals=out_totals,
        )
        self._work = _scratch(self._model, num_noise)
        self._num_threads = 0  # of `_lists`, or 0 if there are none
        # Multiplications of a window; a third of them are the forward pass.
        lanes, targets = (GROUP, 1) if self.cbow else (GROUP + window, GROUP)
        self.work_a_window = 3 * lanes * (noise.num_sampled + targets) * tables.dim // GROUP
        self.loss_at_start = loss_at_start(loss, noise.num_sampled)

    def renew(self, tables: Tables, noise: Draws, totals: tuple[Float32s, Float32s]) -> None:
        """Train other tables, with the same settings and in the same scratch."""
        self.tables, self.noise, self.num_words = tables, noise, noise.num_words
        inputs, outputs = tables.wide
        self._model = self._model._replace(
            inputs=inputs, outputs=outputs, noise=noise.table, drawn=noise.drawn,
            drawn_from=noise.drawn_from, in_totals=totals[0], out_totals=totals[1],
            corrections=noise.log_q if self.corrected else self._model.corrections,
        )
        self.losses[:], self.pairs[:] = 0, 0
        if self._num_threads and len(inputs) > len(self._lists.heads):
            self._num_threads = 0

    def arrays(self) -> dict[str, Float32s]:
        """Return both tables, without copying them."""
        return {"inputs": self.tables.inputs, "outputs": self.tables.outputs}

    def load(self, arrays: dict[str, Float32s]) -> None:
        """Copy arrays, named as `arrays` names them, into the tables."""
        for name, array in self.arrays().items():
            array[:] = arrays[name]

    def release(self) -> tuple[Float32s, Float32s]:
        """Return both tables without padding; afterwards this object cannot be used."""
        none = aligned_zeros(0, self._model.inputs.shape[1])
        self._model = self._model._replace(inputs=none, outputs=none)
        return self.tables.release()

    @property
    def losses(self) -> NDArray[np.float64]:
        """The sum of the losses in each chunk, since it was last set to zero."""
        return np.asarray(self._work.losses)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The number of losses in each chunk, since it was last set to zero."""
        return np.asarray(self._work.pairs)

    def start_epoch(self, epoch: int) -> None:
        """Use the random numbers of an epoch."""
        self._model.keys[:] = self.noise.keys(epoch)

    def learn(
        self, stream: NDArray[np.int64], first: int, last: int, position: int,
        rates: NDArray[np.float32],
    ) -> None:
        """Learn from the windows around stream[first:last], a batch for each of `rates`.

        `position` is the position of stream[0] in its epoch.
        """
        threads = min(get_num_threads(), max(1, self.batch_size // _WINDOWS_A_THREAD))
        changed = threads != self._num_threads
        if changed:
            self._lists, self._num_threads = _lists(self._model, self._work, threads), threads
        tasks = min(_TASKS_A_THREAD * threads, row_updates.OWNERS)
        longest = np.zeros((len(rates), 2, tasks), np.float32)
        board = np.zeros(board_shape(2 * len(rates), threads), np.int64)
        arguments = (
            self._model, self._work, self._lists, train_windows.Progress(board, longest),
            train_windows.Text(stream, first, last, position, rates),
        )
        if changed:
            self._gradients = train_windows.gradients_address(
                self.cbow, self._model, self._work, arguments[-1]
            )
            self._chunk = train_windows.chunk_address(threads, self._gradients, *arguments)
        train_windows.train_windows(threads, self._chunk, self._gradients, *arguments)
        self.tables.note_length(float(np.sqrt(longest.max())))


def _padded(table: Float32s) -> Float32s:
    return widen(table, len(table) + 1)


def _longest(table: Float32s) -> float:
    """Return the length of the longest row."""
    return float(np.sqrt(np.einsum("ij,ij->i", table, table).max(initial=0.0)))


def draws_of(batch_size: int, num_sampled: int) -> tuple[int, int]:
    """Return how many noise words are drawn for each window, and for each chunk."""
    size = _chunk_size(batch_size)
    of_chunk = -(-size // GROUP) * num_sampled
    return -(-of_chunk // size), of_chunk


def _chunk_size(batch_size: int) -> int:
    """Return the number of windows of a chunk."""
    return max(GROUP, batch_size // _CHUNKS)


def _scratch(model: window_chunks.Model, num_noise: int) -> window_chunks.Work:
    """Return scratch for chunks of so many noise words."""
    size = _chunk_size(model.batch_size)
    chunks, around, stride = -(-model.batch_size // size), 2 * model.window, model.inputs.shape[1]
    num_inputs, num_outputs, lanes = size + around, num_noise + size, round_up(GROUP + around)
    shares = np.zeros(around + 1, np.float32)
    shares[1:] = 1 / np.arange(1, around + 1)

    def integers(*shape: int) -> NDArray[np.int64]:
        return np.zeros((chunks, *shape), np.int64)

    def small(size: int) -> NDArray[np.int32]:
        return np.zeros((chunks, size), np.int32)

    def floats(*shape: int) -> Float32s:
        return aligned_zeros(chunks, *shape)

    return window_chunks.Work(
        starts=integers(size), sizes=integers(size), in_words=integers(num_inputs),
        in_rows=integers(num_inputs + 1), in_weights=floats(num_inputs),
        in_starts=small(row_updates.OWNERS + 1), in_order=small(num_inputs),
        out_words=integers(num_outputs), out_rows=integers(num_outputs),
        out_weights=floats(num_outputs), out_starts=small(row_updates.OWNERS + 1),
        out_order=small(num_outputs), lines=np.arange(max(num_inputs, num_outputs)) * stride,
        hits=integers(GROUP), scores=floats((model.num_sampled + GROUP) * lanes),
        scratch=floats((3 + GROUP) * lanes), grad_inputs=floats(num_inputs * stride),
        grad_outputs=floats(num_outputs * stride), hidden=floats(GROUP * stride),
        grad_hidden=floats(GROUP * stride),
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
        heads=integers(row_updates.OWNERS * region), following=integers(threads, most),
        words=integers(threads, most),
        sums=aligned_zeros(threads, stride), means=aligned_zeros(threads, 2, stride),
        rows=np.r_[np.arange(samples) * stride, 0, 0],
        products=aligned_zeros(threads, samples * samples),
    )
