"""An epoch of events: all of them once, in random order.

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
from numba_ss.engine.top_k import top_k
from numba_ss.retrieval.metrics import ranking_metrics
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.samplers import packed_state
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.run import RunState, TrainingRun, checked_state
from numba_ss.training.session import FitSession

log = logging.getLogger("numba_ss")

_REPORT = 32  # batches between two updates of the bar and calls of callbacks
LONGEST = 2**40  # more events than any user has
JUDGED = 50  # recommendations for each user among which held-out events are searched
MONITORED = f"NDCG@{JUDGED}"  # the metric for early stopping


@dataclass
class EventState(RunState):
    """How far a run is; `loss` is the sum of the losses of this epoch, up to `position`."""

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

    `fixed` has the parameters and the description of the log that must be equal in a resumed run.
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
        # The user of each event: finding it again in each step would take a tenth of a small step.
        events = data.events
        sizes = np.diff(events.offsets, append=len(events.items))
        self._owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self._kept_stream: dict[str, Any] = {}
        self._tuner = ThreadTuner()

    def learn_epoch(self) -> Generator[None, None, None]:
        """Learn from the rest of the events of this epoch."""
        state, size = self.state, self.session.options["batch_size"]
        seed = [self.model.options.seed, 1, self.first_epoch + state.epoch]
        order = np.random.default_rng(seed).permutation(self.epoch_size)
        key = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
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
        data, model = self.data, self.model
        users = np.flatnonzero(data.held_out)
        events = data.events._replace(
            offsets=data.events.offsets[users], ends=data.events.ends[users],
            user_rows=data.events.user_rows[users],
        )
        length = LONGEST if model.options.unordered else model.options.history_length
        vectors = model.user_vectors(events, length)
        items = model.item_vectors(events.item_rows)
        exclude = [
            data.log.items[start:end].astype(np.int64)
            for start, end in zip(events.offsets, events.ends, strict=True)
        ]
        k = min(JUDGED, len(items))
        found = top_k(items, np.zeros(len(items), np.float32), vectors, k, exclude)
        asked = data.log.items[events.ends].astype(np.int64)
        figures = ranking_metrics(found.ids, asked, np.arange(len(users) + 1), k)
        return {f"validation_{name}@{JUDGED}": figures[f"{name}@{k}"] for name in ("HR", "NDCG")}

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
