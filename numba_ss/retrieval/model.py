"""A whole retrieval model in memory: its first tables, its training steps, and its vectors.

This is what `YouTubeDNN` trains. It works with codes and rows, and knows no keys and no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from numba_ss import _checks
from numba_ss._types import Float32s, Integers
from numba_ss.engine.candidate_sampler import Accept, CandidateSampler, SampledCandidates
from numba_ss.engine.memory import aligned_zeros, widen
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.retrieval import items
from numba_ss.retrieval.examples import Events, Examples, find_examples
from numba_ss.retrieval.first_rows import FirstRows
from numba_ss.retrieval.learner import MOVED, Learner, Options

# The limits of one pass that computes vectors: users, events in their histories, and items.
_USERS, _HISTORIES, _ITEMS = 1024, 2**18, 65536


class RetrievalModel(Learner):
    """A `Learner` of all items and features, with the sampler of its candidates.

    The row after the last item stands for an empty history.
    """

    def __init__(
        self, num_items: int, num_feature_rows: int, options: Options, sampler: CandidateSampler,
        unknown: Sequence[int] = (),
    ) -> None:
        self.num_items, self.sampler = num_items, sampler
        first = FirstRows(num_items, num_feature_rows, options, unknown)
        own_rows = first.rows("items", 0, num_items + 1)
        features = first.rows("features", 0, num_feature_rows)
        super().__init__(
            options, widen(own_rows, len(own_rows)),
            aligned_zeros((num_items + 1) * options.adaptive), widen(features, len(features)),
            aligned_zeros(num_feature_rows * options.adaptive), first.network(), first.unknown,
        )

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

    def learn(
        self, events: Events, users: Integers, positions: Integers, rate: float, key: np.uint64
    ) -> float:
        """Take a step on the events `positions` of `users`; return the sum of their losses.

        If events have no order, `key` is the seed that draws the history of each event.
        """
        examples, sampled, accept = draw(
            self._scratch, self.options, self.sampler, events, users, positions, key
        )
        loss = self.step(examples, *sampled[1:], events.item_rows, rate)
        if math.isfinite(loss):
            accept()
        return loss

    def user_vectors(self, events: Events, length: int) -> Float32s:
        """Return the vector of each user, from its last `length` events or all if it has fewer."""
        out = np.empty((len(events.ends), self.options.dim), np.float32)
        none = np.empty(0, np.int64)
        # New for each call: several threads may query at once, and long histories need much memory.
        scratch = Workspace()
        # `offsets` may have an extra element at its end: where the last user's items end.
        sums = np.cumsum(np.clip(events.ends - events.offsets[: len(out)], 1, length))
        start = 0
        while start < len(out):
            done = sums[start - 1] if start else 0
            most = int(np.searchsorted(sums, done + _HISTORIES, "right"))
            users = np.arange(start, max(start + 1, min(start + _USERS, most)))
            examples = find_examples(
                scratch, events, users, events.ends[users], False, np.uint64(0), length, none
            )
            vectors = self._forward(scratch, examples, events.item_rows).users.vectors
            out[users] = vectors[:, : self.options.dim] / self._scale
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
                threads_for(MOVED * vectors.size), vectors,
            )
            out[rows] = unit[:, : self.options.dim]
        return out


def draw(
    scratch: Workspace, options: Options, sampler: CandidateSampler, events: Events,
    users: Integers, positions: Integers, key: np.uint64,
) -> tuple[Examples, SampledCandidates, Accept]:
    """Return a batch's examples, its candidates, and a function that advances the sampler."""
    labels = events.items[positions].astype(np.int64)[:, None]
    sampled, accept = sampler.propose(labels, options.num_sampled, True)
    examples = find_examples(
        scratch, events, users, positions, options.unordered, key, options.history_length,
        np.concatenate([labels.reshape(-1), sampled.sampled_candidates]),
    )
    return examples, sampled, accept
