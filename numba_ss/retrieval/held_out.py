"""The held-out events of a training set: what is asked for them, and how well it is answered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numba_ss._types import Float32s, Integers
from numba_ss.engine.top_k import top_k
from numba_ss.retrieval.metrics import ranking_metrics
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.training_set import TrainingSet

LONGEST = 2**40  # more events than any user has
JUDGED = 50  # recommendations that are looked at for held-out events
MONITORED = f"NDCG@{JUDGED}"  # of these, for early stopping


class Asked(NamedTuple):
    """Users by their vectors, and the items seen[offsets[u]:offsets[u + 1]] that each has had."""

    vectors: Float32s
    seen: Integers
    offsets: Integers

    def part(self, start: int, stop: int) -> Asked:
        """Return the users from `start` to `stop`."""
        offsets = self.offsets[start : stop + 1]
        seen = self.seen[offsets[0] : offsets[-1]]
        return Asked(self.vectors[start:stop], seen, offsets - offsets[0])


def held_out_queries(data: TrainingSet, model: RetrievalModel) -> Asked:
    """Return the users of whom an event is held out, after all their other events."""
    users = np.flatnonzero(data.held_out)
    events = data.events._replace(
        offsets=data.events.offsets[users], ends=data.events.ends[users],
        user_rows=data.events.user_rows[users],
    )
    length = LONGEST if model.options.unordered else model.options.history_length
    return Asked(model.user_vectors(events, length), *events.seen())


def best_items(items: Float32s, asked: Asked) -> Integers:
    """Return the best items for each user, of those that the user has not had."""
    none = np.zeros(len(items), np.float32)
    k, exclude = min(JUDGED, len(items)), (asked.seen, asked.offsets)
    return top_k(items, none, asked.vectors, k, exclude).ids


def held_out_figures(data: TrainingSet, found: Integers) -> dict[str, float]:
    """Compare what was found for each user with the held-out events."""
    k = found.shape[1]
    asked = data.log.items[data.events.ends[data.held_out]].astype(np.int64)
    figures = ranking_metrics(found, asked, np.arange(len(found) + 1), k)
    return {f"validation_{name}@{JUDGED}": figures[f"{name}@{k}"] for name in ("HR", "NDCG")}
