"""Tables of items and features and a network of users: forward, and a step of learning."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.engine.candidate_sampler import SampledCandidates
from numba_ss.engine.columns import make_columns
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core import ids as id_kernels
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.retrieval import histories, items, tower
from numba_ss.kernels.softmax import adagrad
from numba_ss.retrieval.examples import Examples, hashes
from numba_ss.retrieval.tower import Tower

# Reading a number of a random row takes as long as this many multiplications.
MOVED = 4


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


class Forward(NamedTuple):
    """What the forward pass keeps for the backward pass; see the kernels in `kernels.retrieval`."""

    histories: histories.Histories
    scored: items.Scored
    network: tower.Network
    users: tower.UserVectors
    activations: Float32s
    operations: int


class Learner:
    """Rows of items and features, and a network of users, that learn from batches of examples.

    The tables are padded, as `widen` does it; the sums of squares are empty for plain SGD. The
    `unknown` rows of features are zero and stay so: what is not known adds nothing.
    """

    def __init__(
        self, options: Options, items: Float32s, item_squares: Float32s, features: Float32s,
        feature_squares: Float32s, tower: Tower, unknown: Integers,
    ) -> None:
        self.options, self.tower = options, tower
        self.items, self.item_squares = items, item_squares
        self.features, self.feature_squares = features, feature_squares
        self._unknown = unknown
        self._scale = np.float32(1 / options.temperature)
        self._shares = _inverses(1)
        self._workspace, self._scratch = Workspace(), Workspace()

    def arrays(self) -> dict[str, Float32s]:
        """Return all that is learned, and what the updater remembers; not copies."""
        dim = self.options.dim
        return {
            "items": self.items[:, :dim], "item_squares": self.item_squares,
            "features": self.features[:, :dim], "feature_squares": self.feature_squares,
            "dense": self.tower.dense, "dense_squares": self.tower.squares,
        }

    def _forward(self, scratch: Workspace, examples: Examples, item_rows: Integers) -> Forward:
        """Compute users' vectors, and gather the items that are compared or in histories."""
        batch_size, width, o = len(examples.user_rows), self.items.shape[1], self.options
        array, rows, history = scratch.array, examples.rows, examples.history
        shares = self._shares
        if len(shares) <= examples.longest:  # kept in a local name: another thread may replace it
            shares = self._shares = _inverses(2 * examples.longest)
        vectors = array("vectors", (len(rows), width), np.float32)
        scored = items.Scored(
            o.normalize, array("unit", (examples.num_scored, width), np.float32),
            array("lengths", (examples.num_scored,), np.float32),
        )
        items.gather_items(
            items.ItemTables(self.items, self.features, item_rows), rows, scored,
            threads_for(MOVED * vectors.size), vectors,
        )
        layers, size = self.tower.place(-(-batch_size // tower.EXAMPLES) * tower.EXAMPLES)
        activations = array("activations", (size,), np.float32)
        network = tower.Network(layers, self.tower.dense, self.tower.transposed)
        users = tower.UserVectors(
            self._scale, o.normalize, array("user_vectors", (batch_size, width), np.float32),
            array("inverse", (batch_size,), np.float32),
        )
        places = np.multiply(history, width, out=array("places", history.shape, np.int64))
        seen = histories.Histories(examples.offsets, history, places, shares)
        features = tower.Features(self.features, examples.user_rows * width, self.tower.step)
        num_ids = len(examples.first) + len(history)
        operations = batch_size * len(self.tower.dense) + MOVED * width * num_ids
        tower.forward_tower(
            vectors, seen, features, network, users, threads_for(operations), activations
        )
        return Forward(seen, scored, network, users, activations, operations)

    def step(
        self, examples: Examples, true_count: Float32s, sampled_count: Float32s,
        item_rows: Integers, rate: float,
    ) -> float:
        """Take a step on a batch; return the sum of the losses. If it is not finite, do nothing.

        The items that `examples` were found for are the labels, followed by the candidates, and
        the counts are those that are expected of them.
        """
        batch_size = len(examples.user_rows)
        forward = self._forward(self._scratch, examples, item_rows)
        columns = make_columns(
            examples.first[:batch_size, None],
            SampledCandidates(examples.first[batch_size:], true_count, sampled_count),
            np.float32, True, self.options.subtract_log_q,
        )
        width, num_scored = self.items.shape[1], examples.num_scored
        grad_output = self._scratch.array("grad_output", (batch_size,), np.float32)
        grad_output[:] = 1 / batch_size
        biases = self._scratch.array("biases", (num_scored,), np.float32)
        biases[:] = 0
        scored = SampledPass(
            self._workspace, forward.users.vectors, np.arange(batch_size), forward.scored.unit,
            biases, columns, False, threads_for(columns.operations(width)),
        )
        losses, _ = scored.forward_and_backward(grad_output)
        loss = float(np.add.reduce(losses, dtype=np.float64))
        if not math.isfinite(loss):
            return loss
        grads = self._scratch.array("grads", (len(examples.rows), width), np.float32)
        grads[:] = 0
        scored.add_class_gradients(grads[:num_scored], biases)
        self._backward(
            examples, forward, scored.buffers.arrays.grad_inputs, grads, item_rows,
            np.float32(rate),
        )
        return loss

    def _backward(
        self, examples: Examples, forward: Forward, grad_users: Float32s, grads: Float32s,
        item_rows: Integers, rate: np.float32,
    ) -> None:
        """Propagate the gradients of users' vectors and of compared items to all rows."""
        o, t = self.options, self.tower
        width = int(forward.network.layers[0, 0])
        threads, moving = threads_for(forward.operations), threads_for(MOVED * grads.size)
        tower_grads = self._scratch.array("tower_grads", forward.activations.shape, np.float32)
        tower.backward_tower(
            forward.users, grad_users, forward.network, forward.activations, threads, tower_grads
        )
        inputs = items.InputGrads(tower_grads, width, t.step)
        items.backward_items(forward.scored, forward.histories, inputs, threads, grads)
        decay = np.float32(o.l2)
        if len(self.features):
            user_rows, item_rows = examples.user_rows, item_rows[examples.rows]
            ids = np.concatenate([user_rows.reshape(-1), item_rows.reshape(-1)])
            slots, rows = np.empty_like(ids), np.empty_like(ids)
            _, count = id_kernels.factorize(ids, 0, hashes(self._scratch, len(ids)), slots, rows)
            user_slots = slots[: user_rows.size].reshape(user_rows.shape)
            item_slots = slots[user_rows.size :].reshape(item_rows.shape)
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
            examples.rows, grads, rate, decay, o.dim, moving, self.items, self.item_squares
        )
        tower.update_tower(
            forward.network, len(forward.users.vectors), forward.activations, tower_grads,
            tower.Update(rate, t.grads, t.squares), threads,
        )


def _inverses(length: int) -> Float32s:
    """Return 1 / n for n = 0 ... `length`; the number for n = 0 is not used."""
    return (1 / np.maximum(np.arange(length + 1), 1)).astype(np.float32)
