"""The training run of item retrieval: an epoch learns from each event once, in random order.

The order is a function of seed and epoch, and candidates come from the sampler's stream. So a run
can be resumed from its state, the model's arrays and the sampler's state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._types import Arrays
from numba_ss.engine.autotune import ThreadTuner
from numba_ss.retrieval.examples import epoch_order, owners_of
from numba_ss.retrieval.held_out import MONITORED, best_items, held_out_figures, held_out_queries
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.samplers import packed_state
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.run import RunState, TrainingRun, checked_state
from numba_ss.training.session import FitSession

log = logging.getLogger("numba_ss")

_REPORT = 32  # batches between two updates of the bar and calls of callbacks


@dataclass
class EventState(RunState):
    """How far a run has come; `loss` is the sum of the losses of this epoch, up to `position`."""

    loss: float = 0.0


def checked_event_state(name: str, given: Any, best: Arrays, num_events: int) -> EventState:
    """Check the state in a file, which may be damaged or manipulated, and return it."""
    state = checked_state(EventState, name, given, {"loss": _checks.number}, best)
    done = state.epoch * num_events + state.position
    is_inside = state.position <= num_events
    if len(state.history) != state.epoch or state.examples != done or not is_inside:
        got = f"{len(state.history)} epochs in the history and {state.examples} events"
        expected = f"{state.epoch} epochs and {done} events, as epoch and position say"
        _checks.fail(name, expected, got)
    return state


class RetrievalRun(TrainingRun):
    """Trains a `RetrievalModel` on the events of a `TrainingSet`.

    `fixed` holds the parameters and the description of the log; a resumed run must have the same.
    """

    unit, monitored, grows = "events", f"validation_{MONITORED}", True

    def __init__(
        self, session: FitSession, fixed: dict[str, Any], model: RetrievalModel,
        data: TrainingSet, state: EventState, best: Arrays, *, first_epoch: int,
    ) -> None:
        o = session.options
        super().__init__(
            session, model, state, best, epochs=o["epochs"], patience=o["early_stopping"],
            first_epoch=first_epoch, epoch_size=len(data.positions), rate=o["learning_rate"],
        )
        self.model: RetrievalModel = model
        self.state: EventState = state
        self.data, self._fixed = data, fixed
        self._owners = owners_of(data.events)
        self._kept_stream: dict[str, Any] = {}
        self._tuner = ThreadTuner()

    def learn_epoch(self) -> Generator[None, None, None]:
        """Learn from the rest of the events of this epoch."""
        state, size = self.state, self.session.options["batch_size"]
        epoch = self.first_epoch + state.epoch
        order, key = epoch_order(self.model.options.seed, epoch, self.epoch_size)
        batches = 0
        while state.position < len(order):
            positions = self.data.positions[order[state.position : state.position + size]]
            users = self._owners[positions].astype(np.int64)
            with self.step(), self._tuner.timed(len(positions)):
                loss = self.model.learn(self.data.events, users, positions, self.rate, key)
            if not math.isfinite(loss):
                self.diverged("the loss is NaN or infinite")
            state.loss += loss
            state.position += len(positions)
            state.examples += len(positions)
            batches += 1
            if batches % _REPORT == 0 or self.is_asked():
                yield
        yield

    def done(self) -> int:
        """Return the number of events of this epoch that are done."""
        return self.state.position

    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""
        return self.state.loss / max(self.state.position, 1)

    def check_arrays(self) -> None:
        """Call `diverged` if a number of the model is not finite."""
        if not all(np.isfinite(array).all() for array in self.model.arrays().values()):
            self.diverged("a number of the model is NaN or infinite")

    def next_epoch(self) -> None:
        """Move the state to the start of the next epoch."""
        super().next_epoch()
        self.state.loss = 0.0

    def keep(self, reached: float | None) -> None:
        """Copy also the state of the sampler."""
        super().keep(reached)
        self._kept_stream = self.model.sampler.state_dict()

    def go_back(self) -> None:
        """Restore also the state of the sampler."""
        super().go_back()
        self.model.sampler.load_state_dict(self._kept_stream)

    def validate(self) -> dict[str, float]:
        """Recommend items that the user has not had, and compare them with the held-out events."""
        if self.session.options["validation"] is None:
            return {}
        asked = held_out_queries(self.data, self.model)
        items = self.model.item_vectors(self.data.events.item_rows)
        return held_out_figures(self.data, best_items(items, asked))

    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what a checkpoint needs besides the tables and the state."""
        arrays, sampler = packed_state(self.model.sampler.state_dict())
        return arrays, {"options": self._fixed, "sampler": sampler}

    def publish(self, *, last: bool) -> None:
        """Give the estimator the model itself."""
        self.session.estimator._publish(
            self.data.log, self.model, self.session.options, self.data.rows,
            self.data.events.item_rows, self.model.sampler.state_dict(),
            [dict(entry) for entry in self.state.history],
        )
