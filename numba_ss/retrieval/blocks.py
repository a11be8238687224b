"""An epoch of events as blocks on tables in shards: the `Work` of `distributed.work`.

A block is some batches that follow one another in the order in which one machine goes through an
epoch, with the candidates that it draws there. The block numbers the rows that it needs anew, and a
`Learner` of these rows alone takes the steps. So with one block a round the result is that of one
machine, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.distributed.work import Prepared, Rows, Table, Trained
from numba_ss.engine.candidate_sampler import CandidateSampler
from numba_ss.engine.memory import aligned_zeros, widen
from numba_ss.engine.workspace import Workspace
from numba_ss.retrieval.damping import averaged, damped
from numba_ss.retrieval.examples import Events, Examples, epoch_order, owners_of
from numba_ss.retrieval.first_rows import FirstRows
from numba_ss.retrieval.learner import Learner
from numba_ss.retrieval.model import draw
from numba_ss.retrieval.tower import Tower

# A round should be a small part of an epoch. But the more events a block has, the fewer rows move
# for each of them.
_ROUNDS, _LARGEST = 20, 2**16
_ONE = np.zeros(1, np.int64)  # the row of the network
_SQUARES = {"items": "item_squares", "features": "feature_squares"}


class RetrievalWork:
    """The blocks of a run of `YouTubeDNN`.

    `sampler` is a new one that does not learn. `positions` are the events to learn from, in
    batches of `batch_size`; `first_epoch` counts the epochs of earlier runs. A block has about
    `block_size` events, by default so many that an epoch has some 20 rounds. The tables have the
    names of `RetrievalModel.arrays`; the weights of the network are one row.
    """

    def __init__(
        self, first: FirstRows, sampler: CandidateSampler, events: Events, positions: Integers,
        *, rate: float, batch_size: int, first_epoch: int,
        block_size: int | None, blocks_per_round: int,
    ) -> None:
        self._options, self._sampler = first.options, sampler
        self._events, self._positions, self._owners = events, positions, owners_of(events)
        self._first, self._rate, self._batch_size = first, rate, batch_size
        self._first_epoch = first_epoch
        self._num_batches = -(-len(positions) // batch_size)
        if block_size is None:
            block_size = min(len(positions) // (_ROUNDS * blocks_per_round), _LARGEST)
        self._batches_per_block = max(1, round(block_size / batch_size))
        self._blocks_per_round = blocks_per_round
        self.tables = {
            name: Table(*shape) for name, shape in first.shapes.items() if math.prod(shape)
        }
        self._order: tuple[int, Integers, np.uint64] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the order of an epoch behind: who gets this makes it again."""
        return vars(self) | {"_order": None}

    def first_rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return the rows from `start` to `stop` of a table before the first round."""
        return self._first.rows(table, start, stop)

    def rounds(self, epoch: int) -> Sequence[Sequence[int]]:
        """Return the numbers of the blocks of each round of an epoch."""
        count = -(-self._num_batches // self._batches_per_block)
        return [
            range(start, min(start + self._blocks_per_round, count))
            for start in range(0, count, self._blocks_per_round)
        ]

    def batches_until(self, epoch: int, index: int) -> int:
        """Return the number of batches before a round of an epoch, in all epochs of the run."""
        done = index * self._blocks_per_round * self._batches_per_block
        return epoch * self._num_batches + min(done, self._num_batches)

    def prepare(self, epoch: int, block: int) -> Prepared:
        """Draw the candidates of the batches, and number the rows."""
        first = block * self._batches_per_block
        last = min(first + self._batches_per_block, self._num_batches)
        drawn = [self._draw(epoch, batch) for batch in range(first, last)]
        items = np.unique(np.concatenate([examples.rows for examples, *_ in drawn]))
        item_rows = self._events.item_rows[items]
        codes = [item_rows, *(examples.user_rows for examples, *_ in drawn)]
        features = np.unique(np.concatenate([code.reshape(-1) for code in codes]))
        ids = {
            "items": items, "item_squares": items, "features": features,
            "feature_squares": features, "dense": _ONE, "dense_squares": _ONE,
        }
        payload = {
            "batches": [
                (
                    *examples._replace(
                        rows=np.searchsorted(items, examples.rows),
                        user_rows=np.searchsorted(features, examples.user_rows),
                    ),
                    *counts,
                )
                for examples, *counts in drawn
            ],
            "item_rows": np.searchsorted(features, item_rows),
            "unknown": np.flatnonzero(np.isin(features, self._first.unknown)),
            "events": sum(len(examples.user_rows) for examples, *_ in drawn),
        }
        return Prepared({name: ids[name] for name in self.tables}, payload)

    def train(self, prepared: Prepared, rows: Mapping[str, Rows], num_blocks: int) -> Trained:
        """Take the steps of the batches; with several blocks in a round, keep a part of them."""
        payload, loss = prepared.payload, 0.0
        before = {name: given.collect() for name, given in rows.items()}
        learner = self._learner(before, payload["unknown"])
        for *examples, true_count, sampled_count in payload["batches"]:
            loss += learner.step(
                Examples(*examples), true_count, sampled_count, payload["item_rows"], self._rate
            )
            if not math.isfinite(loss):
                break
        arrays = learner.arrays()
        new = {
            name: np.ascontiguousarray(arrays[name]).reshape(old.shape)  # without padding
            for name, old in before.items()
        }
        if num_blocks > 1:
            new = _shared(before, new, num_blocks)
        return Trained(new, {"loss": loss, "events": float(payload["events"])})

    def _learner(self, rows: dict[str, Float32s], unknown: Integers) -> Learner:
        """Return a learner of copies of the rows; a table that no block has is empty."""
        o = self._options
        network = Tower(o.dim, o.hidden_units, o.num_features, o.adaptive)
        if "dense" in rows:
            network.dense[:] = rows["dense"][0]
            network.squares[:] = rows["dense_squares"][0] if o.adaptive else 0
            network.transpose()
        none = np.empty((0, o.dim), np.float32)
        items, features = (rows.get(name, none) for name in ("items", "features"))
        return Learner(
            o, widen(items, len(items)), _flat(rows, "item_squares"),
            widen(features, len(features)), _flat(rows, "feature_squares"), network, unknown,
        )

    def _draw(self, epoch: int, batch: int) -> tuple[Examples, Float32s, Float32s]:
        """Return a batch with the ids of all rows, and the expected counts."""
        if self._order is None or self._order[0] != epoch:
            order, key = epoch_order(
                self._options.seed, self._first_epoch + epoch, len(self._positions)
            )
            self._order = epoch, order, key
        _, order, key = self._order
        chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size]
        positions = self._positions[chosen]
        users = self._owners[positions].astype(np.int64)
        self._sampler.seek(epoch * self._num_batches + batch, self._options.num_sampled)
        # The arrays of the examples lie in this workspace, so each batch has its own.
        examples, sampled, _ = draw(
            Workspace(), self._options, self._sampler, self._events, users, positions, key
        )
        return examples, sampled.true_expected_count, sampled.sampled_expected_count


def _shared(
    old: dict[str, Float32s], new: dict[str, Float32s], num_blocks: int
) -> dict[str, Float32s]:
    """Return the rows of a block with the part of its changes that it keeps among others."""
    kept = dict(new)
    for table in new:
        squares = _SQUARES.get(table, "")
        if squares in new:
            kept[table] = damped(old[table], new[table], num_blocks, old[squares], new[squares])
        elif table not in _SQUARES.values():
            kept[table] = averaged(old[table], new[table], num_blocks)
    return kept


def _flat(rows: dict[str, Float32s], table: str) -> Float32s:
    """Return a copy of the sums of squares, none if there is no such table."""
    given = rows.get(table, np.empty((0, 1), np.float32))
    squares = aligned_zeros(len(given))
    squares[:] = given[:, 0]
    return squares
