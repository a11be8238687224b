"""The events of a log to learn from and those held out, and a new model for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Integers
from numba_ss.logs.interactions import Interactions
from numba_ss.retrieval.examples import Events
from numba_ss.retrieval.growth import (
    FeatureRows,
    choose_held_out,
    pack_log,
    positions_of,
    training_events,
)
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.samplers import draws, make_sampler


def saved_bytes(log: Interactions, options: dict[str, Any]) -> int:
    """Return about how large the file of a model will be: its tables and the log."""
    features = FeatureRows.of(log, options["user"] in options["user_features"])
    numbers: int = options["embedding_dim"] + (options["optimizer"] == "adagrad")
    tables = 4 * (log.num_items + 1 + features.total) * numbers
    return sum((array.nbytes for array in pack_log(log)[0].values()), tables)


@dataclass(frozen=True)
class TrainingSet:
    """A log, split into events to learn from and held-out ones, the last events of some users.

    `positions` are the indices of the events to learn from, and `held_out` says for each user
    whether the last event is held out. `events` has the log without held-out events, and `counts`
    the number of its events of each item.
    """

    log: Interactions
    rows: FeatureRows
    held_out: NDArray[np.bool_]
    positions: Integers
    counts: Integers
    events: Events

    @classmethod
    def of(
        cls, log: Interactions, options: dict[str, Any], chosen: NDArray[np.bool_] | None = None
    ) -> TrainingSet:
        """Split a log as the parameters say; learn from all events, or from the `chosen` ones."""
        rows = FeatureRows.of(log, options["user"] in options["user_features"])
        held_out = choose_held_out(log, options["validation"], options["seed"], chosen)
        positions = positions_of(log, held_out, chosen)
        if not len(positions):
            _checks.fail("interactions", "an event to learn from", "none")
        if log.num_items < 2:
            _checks.fail("interactions", "two different items at least", log.num_items)
        counts = np.bincount(log.items[positions_of(log, held_out)], minlength=log.num_items)
        events = training_events(log, rows, held_out)
        return cls(log, rows, held_out, positions, counts, events)

    def make_model(self, options: dict[str, Any], number: int) -> RetrievalModel:
        """Return a new model for this log, after `number` epochs of other models."""
        o = options
        sampler = make_sampler(
            o["sampler"], self.counts, distortion=o["distortion"], seed=o["seed"], number=number
        )
        return RetrievalModel(
            self.log.num_items, self.rows.total,
            Options(
                dim=o["embedding_dim"], hidden_units=tuple(o["hidden_units"]),
                history_length=o["history_length"], unordered=self.log.timestamps is None,
                num_features=len(self.rows.user),
                num_sampled=draws(o["sampler"], o["num_sampled"], self.counts, o["distortion"]),
                subtract_log_q=o["subtract_log_q"], normalize=o["normalize"],
                temperature=o["temperature"], adaptive=o["optimizer"] == "adagrad", l2=o["l2"],
                seed=o["seed"],
            ),
            sampler, (*self.rows.user, *self.rows.item),
        )
