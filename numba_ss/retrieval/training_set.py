"""A log as a model learns from it: the events to learn from, those held out, and a fresh model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.logs.interactions import Interactions
from numba_ss.retrieval.growth import (
    FeatureRows,
    choose_held_out,
    positions_of,
    training_events,
)
from numba_ss.retrieval.model import Events, Integers, Options, RetrievalModel
from numba_ss.retrieval.samplers import draws, make_sampler


@dataclass(frozen=True)
class TrainingSet:
    """A log, cut into the events `positions` to learn from and the last ones of some users.

    `held_out` tells of which users, `events` has all others, `counts` how often these have each
    item.
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
        """Cut a log as the parameters say; learn from all events or the `chosen` ones."""
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
        """Return a model of this log that has learned nothing; `number` counts epochs before."""
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
