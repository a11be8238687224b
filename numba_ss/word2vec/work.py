"""Word vectors as the work of a cluster: an encoded text in pieces, cut into blocks.

The blocks of an epoch, one after the other, are the batches of one machine: a block is a number of
whole batches of the subsampled text, with the words around them. The text is cut into as many
stretches as a round has blocks, and a round has the next block of each stretch. So what comes in a
run, such as a hundred articles made from one pattern, lies in the blocks of different rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s
from numba_ss.distributed.cluster import Cluster, Stored
from numba_ss.distributed.work import Prepared, Rows, Table, Trained
from numba_ss.word2vec.blocks import Block, BlockTrainer, prepare_block
from numba_ss.word2vec.model import draws_of
from numba_ss.word2vec.noise import Draws, Noise
from numba_ss.word2vec.parameters import rate_at
from numba_ss.word2vec.start import first_inputs, first_outputs

_STRIDE = 2**16  # ids between two marks
# By default an epoch has so many rounds. Of larger rounds, less is learned: see `RayCluster`.
_ROUNDS = 40
_LARGEST = 500_000  # words of a block; larger ones move hardly fewer rows for each word
_BYTES = 2**26  # of the rows of a block; a worker has several copies of them


class Text(NamedTuple):
    """Encoded parts of a text, and marks in it, a few ten thousand ids apart.

    `part` and `start` say where a mark lies, and `position` how many ids of the text are before it.
    """

    parts: list[Stored]
    part: NDArray[np.int64]
    start: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[Stored], lengths: Sequence[int]) -> Text:
        """Return a text from its encoded parts and their lengths."""
        marks = [np.arange(0, length, _STRIDE) for length in lengths]
        before = np.cumsum([0, *lengths])[: len(lengths)]
        return cls(
            list(parts), np.repeat(np.arange(len(marks)), [len(mark) for mark in marks]),
            np.concatenate([*marks, np.empty(0, np.int64)]).astype(np.int64),
            np.concatenate(
                [*(mark + n for mark, n in zip(marks, before, strict=True)), np.empty(0, np.int64)]
            ).astype(np.int64),
        )

    def ids(self, mark: int) -> NDArray[np.int32]:
        """Return the ids from a mark to the next."""
        start = int(self.start[mark])
        ids: NDArray[np.int32] = self.parts[self.part[mark]].read()[start : start + _STRIDE]
        return ids


@dataclass(frozen=True)
class Thinner:
    """Measures what subsampling leaves of the ids between two marks, in each epoch."""

    text: Text
    draws: Draws
    epochs: range

    def __call__(self, marks: range) -> NDArray[np.int64]:
        """Return (epochs, marks, 2): how many ids are left, and how many of them are words."""
        sizes = np.zeros((len(self.epochs), len(marks), 2), np.int64)
        for m, mark in enumerate(marks):
            ids, position = self.text.ids(mark), int(self.text.position[mark])
            for e, epoch in enumerate(self.epochs):
                left = self.draws.thin(ids, epoch, position)
                sizes[e, m] = len(left), np.count_nonzero(left != self.draws.num_words)
        return sizes


def measure(
    text: Text, draws: Draws, epochs: range, cluster: Cluster
) -> NDArray[np.int64]:
    """Return (epochs, marks + 1, 2): ids and words that are left before each mark."""
    marks = range(len(text.part))
    size = max(1, -(-len(marks) // (4 * cluster.num_workers)))
    groups = [marks[i : i + size] for i in range(0, len(marks), size)]
    sizes = cluster.map(Thinner(text, draws, epochs), groups)
    none = np.zeros((len(epochs), 1, 2), np.int64)
    return np.cumsum(np.concatenate([none, *sizes], axis=1), axis=1)


class WordWork:
    """The `Work` of word vectors: see `numba_ss.distributed.work`.

    `settled` are the parameters of `Word2Vec`, `before` is what `measure` returns for the epochs
    from `first_epoch` on. `tables` are the input and output vectors to begin with, if not new ones.
    """

    def __init__(
        self, settled: dict[str, Any], noise: Noise, text: Text, before: NDArray[np.int64],
        first_epoch: int, tables: tuple[Stored, ...] | None, *, block_size: int | None,
        blocks_per_round: int,
    ) -> None:
        self.num_words, self.dim = noise.num_words, settled["vector_size"]
        self.tables = {
            name: Table(self.num_words, self.dim) for name in ("inputs", "outputs")
        }
        self._settled, self._draws = settled, noise.draws()
        self._first = tables
        self._text, self._before, self._first_epoch = text, before, first_epoch
        self.batch_size = settled["batch_size"] or noise.batch_size
        self._num_draws = draws_of(self.batch_size, noise.num_sampled)
        share = noise.expected_words / max(noise.num_present, 1)  # that subsampling keeps
        if block_size is None:
            words = share * min(noise.num_present // (_ROUNDS * blocks_per_round), _LARGEST)
            while words > self.batch_size and self._bytes(noise, words) > _BYTES:
                words /= 2
        else:
            words = share * block_size
        self.size = max(1, round(words / self.batch_size)) * self.batch_size
        self._per_round = blocks_per_round
        self._total = max(1.0, noise.expected_words * settled["epochs"])
        self._trainer: BlockTrainer | None = None  # memory of this process
        # The words of all epochs before each epoch.
        self._learned = np.cumsum([0, *before[:, -1, 1].tolist()])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_trainer": None}

    def _bytes(self, noise: Noise, num_words: float) -> float:
        """Return the bytes that are expected of the rows of a block of the thinned text."""
        num_draws = num_words * self._num_draws[0]
        return float(4 * self.dim * sum(noise.distinct_words(num_words, num_draws)))

    def first_rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return rows to begin with: those given, or initial ones."""
        if self._first is not None:
            rows: Float32s = self._first[table == "outputs"].read()[start:stop]
            return rows
        if table == "inputs":
            return first_inputs(self.num_words, self._settled, start, stop)
        return first_outputs(self._draws, self._settled, start, stop)

    def rounds(self, epoch: int) -> Sequence[Sequence[int]]:
        """Return the numbers of the blocks of each round of an epoch."""
        blocks = range(-(-int(self._before[epoch, -1, 0]) // self.size))
        rounds = self._num_rounds(epoch)
        return [blocks[number::rounds] for number in range(rounds)]

    def _num_rounds(self, epoch: int) -> int:
        """Return the number of rounds of an epoch, which is that of the blocks of a stretch."""
        return -(-int(self._before[epoch, -1, 0]) // (self.size * self._per_round))

    def prepare(self, epoch: int, block: int) -> Prepared:
        """Subsample the text around a block, and draw its noise words."""
        before, window = self._before[epoch], self._settled["window"]
        length = int(before[-1, 0])
        first = block * self.size
        last = min(first + self.size, length)
        low, high = max(first - window, 0), min(last + window, length)
        mark = int(np.searchsorted(before[:, 0], low, "right")) - 1
        end = int(np.searchsorted(before[:, 0], high, "left"))
        number = self._first_epoch + epoch
        stream = np.concatenate([
            self._draws.thin(self._text.ids(m), number, int(self._text.position[m]))
            for m in range(mark, end)
        ])
        offset = int(before[mark, 0])
        is_word = stream != self._draws.num_words
        words = int(before[mark, 1]) + np.cumsum(is_word) - is_word  # before each of the stream
        starts = np.arange(first, last, self.batch_size) - offset
        # All stretches are learned at the same speed, so far as one block knows.
        rounds = self._num_rounds(epoch)
        begin = np.interp(block // rounds * rounds * self.size, before[:, 0], before[:, 1])
        num_stretches = -(-length // (rounds * self.size))
        learned = self._learned[epoch] + num_stretches * (words[starts] - int(begin))
        rates = [rate_at(self._settled, self._total, count) for count in learned.tolist()]
        prepared = prepare_block(
            self._draws, self._num_draws, number, stream[low - offset : high - offset], low,
            first - low, last - low, np.array(rates, np.float32),
        )
        count = int(np.count_nonzero(is_word[first - offset : last - offset]))
        ids = {"inputs": prepared.ids[: prepared.num_met], "outputs": prepared.ids}
        return Prepared(ids, {"block": tuple(prepared), "words": count})

    def train(self, prepared: Prepared, rows: Mapping[str, Rows], num_blocks: int) -> Trained:
        """Train a block on copies of its rows."""
        block = Block(*prepared.payload["block"])
        if self._trainer is None:
            self._trainer = BlockTrainer(self._settled, self.batch_size, self._draws.num_sampled)
        inputs, outputs, loss, pairs = self._trainer.train(
            block, rows["inputs"], rows["outputs"], num_blocks
        )
        words = prepared.payload["words"]
        return Trained(
            {"inputs": inputs, "outputs": outputs},
            {"loss": loss, "pairs": float(pairs), "words": float(words)},
        )
