"""A block of an epoch of words: prepared from a piece of the text, trained on rows of its own.

The draws of a block are those that one machine makes at the same place of the text, and it is
trained by the same code. Only the ids differ: a block numbers the words that it meets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s
from numba_ss.distributed.work import Rows
from numba_ss.engine.by_name import LOSSES
from numba_ss.engine.memory import aligned_zeros, round_up
from numba_ss.engine.rows import distinct
from numba_ss.kernels.words import damping, windows
from numba_ss.word2vec.model import Tables, WordModel
from numba_ss.word2vec.noise import Draws

_SAMPLES, _VECTORS, _ITERATIONS = 512, 8, 8
_STEEPNESS = 0.5  # a: of the curvature, in terms of its upper bound


class Block(NamedTuple):
    """A block of which all is known but its rows; its words have the numbers 0, 1, 2, ...

    The first `num_met` numbers are those of words of the text, the others those of further noise
    words. Batches are those of stream[first:last]; stream[0] is the position-th number of the
    epoch. `drawn` are noise words, the first of them is draw `drawn_from` of the epoch.
    """

    ids: NDArray[np.int64]
    num_met: int
    stream: NDArray[np.int64]
    position: int
    first: int
    last: int
    drawn: NDArray[np.int64]
    drawn_from: int
    keys: NDArray[np.uint64]
    rates: Float32s
    log_q: Float32s


class BlockDraws(Draws):
    """The draws of one block, which were all made when it was prepared."""

    def __init__(self, block: Block, num_sampled: int) -> None:
        none = np.empty(0, np.int64)
        super().__init__(none, none, block.log_q, num_sampled, 0)
        self.drawn, self.drawn_from, self._keys = block.drawn, block.drawn_from, block.keys

    def keys(self, epoch: int) -> NDArray[np.uint64]:
        """Return the random keys of the kernels."""
        return self._keys


def prepare_block(
    draws: Draws, num_draws: tuple[int, int], epoch: int,
    stream: NDArray[np.int64], position: int, first: int, last: int, rates: Float32s,
) -> Block:
    """Draw the noise of stream[first:last], and number its words.

    `num_draws` tells how many noise words a window and a chunk have, see `draws_of`.
    """
    each, of_chunk = num_draws
    keys, drawn_from = draws.keys(epoch), (position + first) * each
    size = (last - first) * each + of_chunk
    every = np.empty(len(stream) + size, np.int64)
    every[: len(stream)] = stream
    windows.draw_noise(draws.table, keys[0], drawn_from, every[len(stream) :])
    found, numbers, num_met = distinct(every, len(stream))
    # Frequent words have the smallest ids. In their order, rows of frequent words lie together in
    # memory. First come the words of the text; last comes the separator, which is no word.
    separator, keys_of = draws.num_words, found.copy()
    keys_of[num_met:] += separator
    keys_of[found == separator] = 2 * separator
    order = np.argsort(keys_of)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    numbers = places[numbers]
    ids = found[order]
    ids = ids[ids < separator]
    num_met -= len(found) - len(ids)
    return Block(
        ids, num_met, numbers[: len(stream)], position, first, last, numbers[len(stream) :],
        drawn_from, keys, rates, draws.log_q[ids],
    )


class BlockTrainer:
    """Trains blocks, one after the other, in the same memory.

    `settled` are the parameters of `Word2Vec`.
    """

    def __init__(self, settled: dict[str, Any], batch_size: int, num_sampled: int) -> None:
        self._dim, self._num_sampled = settled["vector_size"], num_sampled
        names = "window", "architecture", "loss", "subtract_log_q"
        self._settings = {name: settled[name] for name in names} | {"batch_size": batch_size}
        self._wide = aligned_zeros(4, 0, round_up(self._dim))
        self._model: WordModel | None = None

    def train(
        self, block: Block, inputs: Rows, outputs: Rows, num_blocks: int
    ) -> tuple[Float32s, Float32s, float, int]:
        """Return the new rows of inputs and outputs, the sum of the losses and their number.

        `inputs` are the rows of the words of the text, `outputs` those of all words of the block.
        `num_blocks` blocks are trained from the same rows. The new rows have padding, and stay in
        memory that the next block overwrites.
        """
        num_words, num_met, is_shared = len(block.ids), block.num_met, num_blocks > 1
        weights = np.zeros((2, num_words + 1 if is_shared else 0), np.float32)
        model = self._model_of(block, inputs, outputs, (weights[0], weights[1]))
        model.start_epoch(0)
        wide_inputs, wide_outputs = model.tables.wide
        if is_shared:
            before_inputs, before_outputs = self._wide[2:]
            before_inputs[:num_met] = wide_inputs[:num_met]
            before_outputs[:num_words] = wide_outputs[:num_words]
        model.learn(block.stream, block.first, block.last, block.position, block.rates)
        if is_shared and num_met > 0:
            words = _spread(block.stream[block.stream < num_words])
            of_noise = wide_outputs[_spread(block.drawn)]
            # The changes of a softmax's scores add up to zero, so what all outputs have in common
            # moves no input. With a logistic loss it moves them most.
            is_centered = not LOSSES[self._settings["loss"]].logistic
            met_by_inputs = directions_of(
                np.concatenate([wide_outputs[words], of_noise]), is_centered=is_centered
            )
            met_by_outputs = directions_of(wide_inputs[words], is_centered=False)
            for weight, directions, before, after in (
                (weights[0, :num_met], met_by_inputs, before_inputs, wide_inputs),
                (weights[1, :num_words], met_by_outputs, before_outputs, wide_outputs),
            ):
                damping.damp_rows(weight, directions, num_blocks, before, after)
        return wide_inputs, wide_outputs, float(model.losses.sum()), int(model.pairs.sum())

    def _model_of(
        self, block: Block, inputs: Rows, outputs: Rows, totals: tuple[Float32s, Float32s],
    ) -> WordModel:
        """Return a model of the rows in the first two arrays; the others are for copies."""
        size = len(block.ids) + 1
        if self._wide.shape[1] < size:
            self._wide = aligned_zeros(4, 2 * size, self._wide.shape[2])
        wide_inputs, wide_outputs = self._wide[0, :size], self._wide[1, :size]
        inputs.copy_to(wide_inputs)
        outputs.copy_to(wide_outputs)
        wide_inputs[-1], wide_outputs[-1] = 0, 0
        tables = Tables.within(wide_inputs, wide_outputs, self._dim)
        draws = BlockDraws(block, self._num_sampled)
        if self._model is None:
            self._model = WordModel(tables, draws, totals=totals, **self._settings)
        else:
            self._model.renew(tables, draws, totals)
        return self._model


def _spread(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a few hundred of many, from all places alike."""
    places = np.linspace(0, len(words) - 1, min(_SAMPLES, len(words))).astype(np.int64)
    return words[places]


def directions_of(rows: Float32s, *, is_centered: bool) -> damping.Directions:
    """Return the leading eigenvectors of the second moment of the rows, or of their deviations."""
    count, stride = rows.shape
    center = rows.mean(axis=0) if is_centered else np.zeros(stride, np.float32)
    moment = np.zeros((stride, stride), np.float32)
    # Any start will do; those of the rows point where the eigenvectors do.
    vectors = aligned_zeros(_VECTORS, stride)
    vectors[:] = np.resize(rows[:: max(1, count // _VECTORS)], vectors.shape)
    damping.add_moment(rows.copy(), center, moment)
    moment /= np.float32(max(count, 1))
    values, scratch = np.zeros(_VECTORS, np.float32), np.zeros(stride, np.float32)
    for _ in range(_ITERATIONS):
        damping.iterate(moment, vectors, values, scratch)
    others = max(float(np.trace(moment) - values.sum()), 0.0) / max(stride - _VECTORS, 1)
    return damping.Directions(
        vectors, values * np.float32(_STEEPNESS), np.float32(others * _STEEPNESS),
        damping.scratch_of(_VECTORS, stride),
    )
