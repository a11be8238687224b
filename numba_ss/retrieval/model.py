"""The tables and the network of a retrieval model, and a training step.

This is what `YouTubeDNN` trains. It knows codes and rows, but no keys and no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Float32s, Integers
from numba_ss.engine.candidate_sampler import CandidateSampler, SampledCandidates
from numba_ss.engine.columns import make_columns
from numba_ss.engine.memory import aligned_zeros, widen
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core import ids as id_kernels
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.retrieval import histories, items, tower
from numba_ss.kernels.softmax import adagrad
from numba_ss.retrieval.tower import Tower

_NOTHING = np.empty(0, np.float32)
# The most users, events in their histories, and items of one pass that computes vectors.
_USERS, _HISTORIES, _ITEMS = 1024, 2**18, 65536
# Reading a number of a random row takes as long as this many multiplications.
_MOVED = 4


class Options(NamedTuple):
    """The shape of a model and how it learns; see `YouTubeDNN`.

    `unordered` says that the events of a user have no order. `num_features` is the number of
    features of a user.
    """

    dim: int
    hidden_units: tuple[int, ...]
    history_length: int
    unordered: bool
    num_features: int
    num_sampled: int | None
    subtract_log_q: bool
    normalize: bool
    temperature: float
    adaptive: bool
    l2: float
    seed: int


class Events(NamedTuple):
    """Events grouped by user, and the rows of features.

    The items of user u are items[offsets[u]:ends[u]]; those from ends[u] to the next offset are
    held out. `user_rows` (num_users, any) and `item_rows` (num_items + 1, any) have the rows of the
    features of each user and item. The last row of `item_rows` belongs to the empty history.
    """

    items: NDArray[np.int32]
    offsets: Integers
    ends: Integers
    user_rows: Integers
    item_rows: Integers


class _Batch(NamedTuple):
    """What the forward pass keeps for the backward pass; see the kernels in `kernels.retrieval`."""

    first: Integers
    rows: Integers
    histories: histories.Histories
    scored: items.Scored
    network: tower.Network
    users: tower.UserVectors
    activations: Float32s
    user_rows: Integers
    operations: int


class RetrievalModel:
    """Rows of items and features, and the network of users, trained on batches of events.

    The row after the last item stands for an empty history. The `unknown` rows of features are
    zeros and are never changed, so an unknown value adds nothing.
    """

    def __init__(
        self, num_items: int, num_feature_rows: int, options: Options, sampler: CandidateSampler,
        unknown: Sequence[int] = (),
    ) -> None:
        self.num_items, self.options, self.sampler = num_items, options, sampler
        rng = np.random.default_rng([options.seed, num_items, num_feature_rows])
        self.items = _random_rows(rng, num_items + 1, options.dim)
        self.features = _random_rows(rng, num_feature_rows, options.dim)
        self._unknown = np.array(unknown, np.int64)
        self.features[self._unknown] = 0
        self.item_squares = aligned_zeros((num_items + 1) * options.adaptive)
        self.feature_squares = aligned_zeros(num_feature_rows * options.adaptive)
        self.tower = Tower(
            options.dim, options.hidden_units, options.num_features, options.adaptive, rng
        )
        self._scale = np.float32(1 / options.temperature)
        self._shares = _inverses(1)
        self._workspace, self._scratch = Workspace(), Workspace()

    def arrays(self) -> dict[str, Float32s]:
        """Return all learned arrays and the sums of the optimizer, without copying them."""
        dim = self.options.dim
        return {
            "items": self.items[:, :dim], "item_squares": self.item_squares,
            "features": self.features[:, :dim], "feature_squares": self.feature_squares,
            "dense": self.tower.dense, "dense_squares": self.tower.squares,
        }

    def load(self, arrays: dict[str, Float32s]) -> None:
        """Copy arrays, named as `arrays` names them, into the model."""
        for name, array in self.arrays().items():
            given = arrays[name]
            if given.shape != array.shape or not np.isfinite(given).all():
                _checks.fail(name, f"finite numbers of shape {array.shape}", given.shape)
            array[:] = given
        for table in (self.items, self.features):  # a divergence may have reached the padding
            table[:, self.options.dim :] = 0
        self.tower.transpose()

    def _forward(
        self, scratch: Workspace, events: Events, users: Integers, positions: Integers,
        unordered: bool, key: np.uint64, length: int, first: Integers,
    ) -> _Batch:
        """Compute the users' vectors; gather each item of `first` and of the histories once."""
        batch_size, width, o = len(users), self.items.shape[1], self.options
        array, skip = scratch.array, len(first)
        offsets = array("offsets", (batch_size + 1,), np.int64)
        user_events = histories.UserEvents(events.items, events.offsets, events.ends, unordered)
        longest = histories.measure_histories(user_events, users, positions, length, offsets)
        shares = self._shares
        if len(shares) <= longest:  # kept in a local name: another thread may replace it
            shares = self._shares = _inverses(2 * longest)
        num_ids = skip + int(offsets[-1])
        ids = array("ids", (num_ids,), np.int64)
        ids[:skip] = first
        histories.fill_histories(
            user_events, users, positions, key, self.num_items, offsets, ids[skip:]
        )
        slots, rows = array("slots", (num_ids,), np.int64), array("rows", (num_ids,), np.int64)
        num_scored, num_rows = id_kernels.factorize(
            ids, skip, _hashes(scratch, num_ids), slots, rows
        )
        rows, history = rows[:num_rows], slots[skip:]
        vectors = array("vectors", (num_rows, width), np.float32)
        scored = items.Scored(
            o.normalize, array("unit", (num_scored, width), np.float32),
            array("lengths", (num_scored,), np.float32),
        )
        items.gather_items(
            items.ItemTables(self.items, self.features, events.item_rows), rows, scored,
            threads_for(_MOVED * vectors.size), vectors,
        )
        layers, size = self.tower.place(-(-batch_size // tower.EXAMPLES) * tower.EXAMPLES)
        activations = array("activations", (size,), np.float32)
        network = tower.Network(layers, self.tower.dense, self.tower.transposed)
        user_vectors = tower.UserVectors(
            self._scale, o.normalize, array("user_vectors", (batch_size, width), np.float32),
            array("inverse", (batch_size,), np.float32),
        )
        places = np.multiply(history, width, out=array("places", history.shape, np.int64))
        seen = histories.Histories(offsets, history, places, shares)
        user_rows = events.user_rows.take(users, axis=0)
        features = tower.Features(self.features, user_rows * width, self.tower.step)
        operations = batch_size * len(self.tower.dense) + _MOVED * width * num_ids
        tower.forward_tower(
            vectors, seen, features, network, user_vectors, threads_for(operations), activations
        )
        return _Batch(
            slots[:skip], rows, seen, scored, network, user_vectors, activations, user_rows,
            operations,
        )

    def learn(
        self, events: Events, users: Integers, positions: Integers, rate: float, key: np.uint64
    ) -> float:
        """Take a step on the events `positions` of `users`; return the sum of their losses.

        If events have no order, `key` is the seed that draws the history of each event.
        """
        o, batch_size = self.options, len(users)
        labels = events.items[positions].astype(np.int64)[:, None]
        sampled, accept = self.sampler.propose(labels, o.num_sampled, True)
        candidates = sampled.sampled_candidates
        batch = self._forward(
            self._scratch, events, users, positions, o.unordered, key, o.history_length,
            np.concatenate([labels.reshape(-1), candidates]),
        )
        columns = make_columns(
            batch.first[:batch_size, None],
            SampledCandidates(batch.first[batch_size:], *sampled[1:]),
            np.float32, True, o.subtract_log_q,
        )
        width, num_scored = self.items.shape[1], len(batch.scored.unit)
        grad_output = self._scratch.array("grad_output", (batch_size,), np.float32)
        grad_output[:] = 1 / batch_size
        biases = self._scratch.array("biases", (num_scored,), np.float32)
        biases[:] = 0
        scored = SampledPass(
            self._workspace, batch.users.vectors, np.arange(batch_size), batch.scored.unit,
            biases, columns, False, threads_for(columns.operations(width)),
        )
        losses, _ = scored.forward_and_backward(grad_output)
        loss = float(np.add.reduce(losses, dtype=np.float64))
        if not math.isfinite(loss):
            return loss
        accept()
        grads = self._scratch.array("grads", (len(batch.rows), width), np.float32)
        grads[:] = 0
        scored.add_class_gradients(grads[:num_scored], biases)
        self._backward(events, batch, scored.buffers.arrays.grad_inputs, grads, np.float32(rate))
        return loss

    def _backward(
        self, events: Events, batch: _Batch, grad_users: Float32s, grads: Float32s,
        rate: np.float32,
    ) -> None:
        """Propagate the gradients of users' vectors and of compared items to all rows."""
        o, t = self.options, self.tower
        width = int(batch.network.layers[0, 0])
        threads, moving = threads_for(batch.operations), threads_for(_MOVED * grads.size)
        tower_grads = self._scratch.array("tower_grads", batch.activations.shape, np.float32)
        tower.backward_tower(
            batch.users, grad_users, batch.network, batch.activations, threads, tower_grads
        )
        inputs = items.InputGrads(tower_grads, width, t.step)
        items.backward_items(batch.scored, batch.histories, inputs, threads, grads)
        decay, item_rows = np.float32(o.l2), events.item_rows[batch.rows]
        if len(self.features):
            ids = np.concatenate([batch.user_rows.reshape(-1), item_rows.reshape(-1)])
            slots, rows = np.empty_like(ids), np.empty_like(ids)
            _, count = id_kernels.factorize(ids, 0, _hashes(self._scratch, len(ids)), slots, rows)
            user_slots = slots[: batch.user_rows.size].reshape(batch.user_rows.shape)
            item_slots = slots[batch.user_rows.size :].reshape(item_rows.shape)
            feature_grads = self._scratch.array(
                "feature_grads", (count, grads.shape[1]), np.float32
            )
            items.feature_grads(user_slots, inputs, item_slots, grads, moving, feature_grads)
            adagrad.adagrad_rows(
                rows[:count], feature_grads, rate, decay, o.dim, moving, self.features,
                self.feature_squares,
            )
            self.features[self._unknown] = 0
        adagrad.adagrad_rows(
            batch.rows, grads, rate, decay, o.dim, moving, self.items, self.item_squares
        )
        tower.update_tower(
            batch.network, len(batch.users.vectors), batch.activations, tower_grads,
            tower.Update(rate, t.grads, t.squares), threads,
        )

    def user_vectors(self, events: Events, length: int) -> Float32s:
        """Return each user's vector after all its events, or the last `length`."""
        out = np.empty((len(events.ends), self.options.dim), np.float32)
        none = np.empty(0, np.int64)
        # New for each call: several threads may query at once, and long histories need much memory.
        scratch = Workspace()
        # `offsets` may have one element more, the end of the last user's items.
        sums = np.cumsum(np.clip(events.ends - events.offsets[: len(out)], 1, length))
        start = 0
        while start < len(out):
            done = sums[start - 1] if start else 0
            most = int(np.searchsorted(sums, done + _HISTORIES, "right"))
            users = np.arange(start, max(start + 1, min(start + _USERS, most)))
            batch = self._forward(
                scratch, events, users, events.ends[users], False, np.uint64(0), length, none
            )
            out[users] = batch.users.vectors[:, : self.options.dim] / self._scale
            start += len(users)
        return out

    def item_vectors(self, item_rows: Integers) -> Float32s:
        """Return the vector of each item; of length 1 if the model normalizes vectors."""
        out = np.empty((self.num_items, self.options.dim), np.float32)
        width = self.items.shape[1]
        for start in range(0, self.num_items, _ITEMS):
            rows = np.arange(start, min(start + _ITEMS, self.num_items))
            vectors, unit = np.empty((2, len(rows), width), np.float32)
            scored = items.Scored(self.options.normalize, unit, np.empty(len(rows), np.float32))
            items.gather_items(
                items.ItemTables(self.items, self.features, item_rows), rows, scored,
                threads_for(_MOVED * vectors.size), vectors,
            )
            out[rows] = unit[:, : self.options.dim]
        return out


def _hashes(scratch: Workspace, count: int) -> NDArray[np.int32]:
    return scratch.array("hashes", (1 << (2 * count).bit_length(),), np.int32)


def _random_rows(rng: np.random.Generator, num_rows: int, dim: int) -> Float32s:
    """Return padded random rows of a length near 1."""
    rows = rng.standard_normal((num_rows, dim), np.float32)
    rows *= np.float32(dim**-0.5)
    return widen(rows, num_rows)


def _inverses(length: int) -> Float32s:
    """Return 1 / n for n = 0 ... `length`; the number for n = 0 is not used."""
    return (1 / np.maximum(np.arange(length + 1), 1)).astype(np.float32)
