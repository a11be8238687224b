"""A `YouTubeDNN` run on a cluster: rounds of events, and held-out ones that are asked in parts."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from numba_ss import _checks
from numba_ss._types import Arrays, Integers
from numba_ss.distributed.checkpoints import Found
from numba_ss.distributed.cluster import Cluster, Stored
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.distributed.rounds import Round, Rounds
from numba_ss.distributed.run import ClusterRun, require_folder
from numba_ss.logs.interactions import Interactions
from numba_ss.retrieval.blocks import RetrievalWork
from numba_ss.retrieval.first_rows import FirstRows
from numba_ss.retrieval.held_out import (
    MONITORED,
    Asked,
    best_items,
    held_out_figures,
    held_out_queries,
)
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.run import EventState
from numba_ss.retrieval.start import checksum_of, grow
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.run import checked_state
from numba_ss.training.session import FitSession, require_epochs, require_same

log = logging.getLogger("numba_ss")

# Samplers whose candidates depend on nothing but the number of the batch, and its labels.
_ABLE = ("unigram", "uniform", "log_uniform", "in_batch", "mixed")
_PIECE = 2**24  # numbers of a table that are fetched at a time


def require_able(session: FitSession, described: RayCluster) -> None:
    """Require what can be learned on a cluster, before any data is read."""
    require_folder(session)
    if described.tables is not None:
        expected = "None for YouTubeDNN, whose tables come into the memory of this machine"
        _checks.fail("tables", expected, repr(described.tables))
    if session.options["sampler"] not in _ABLE:
        _refuse_sampler(session)


def _refuse_sampler(session: FitSession) -> NoReturn:
    expected = "one that does not learn from batch to batch, on a cluster: "
    expected += ", ".join(_ABLE) + ", the last two in fit only"
    _checks.fail("sampler", expected, session.options["sampler"])


def begin_on_cluster(
    session: FitSession, events: Interactions, cluster: Cluster, sizes: dict[str, Any],
    found: Found | None,
) -> RetrievalClusterRun:
    """Return a new run on a cluster, or one that is resumed from the checkpoint that was found.

    `sizes` are `block_size` and `blocks_per_round`.
    """
    data = TrainingSet.of(events, session.options)
    same = {**session.fixed_options(), **sizes, "log": checksum_of(events)}
    state = EventState()
    if found is not None:
        state = _checked(session, same, found, len(data.positions))
    model = data.make_model(session.options, 0)
    return RetrievalClusterRun(session, data, model, None, cluster, sizes, same, state, found)


def go_on_cluster(
    session: FitSession, more: Interactions, cluster: Cluster, sizes: dict[str, Any]
) -> RetrievalClusterRun:
    """Return a run that trains a fitted estimator on further events."""
    history = list(session.estimator.history_)
    data, model = grow(session, more, len(history))
    same, state = {**session.fixed_options(), **sizes}, EventState(history=history)
    return RetrievalClusterRun(
        session, data, model, model.arrays(), cluster, sizes, same, state, None
    )


def _checked(
    session: FitSession, same: dict[str, Any], found: Found, num_events: int
) -> EventState:
    """Return the state of a checkpoint, which may be of another run."""
    path = Path(found.saved.folder)
    kept = found.state.get("options")
    if not isinstance(kept, dict) or "embedding_dim" not in kept:
        _checks.fail(str(path), "a checkpoint of YouTubeDNN", "another one")
    require_same(same, kept, path)
    name, own = f"{path}, run", {"loss": _checks.number}
    state = checked_state(EventState, name, found.state.get("run"), own, None)
    begun, ended = state.epoch * num_events, (state.epoch + 1) * num_events
    if len(state.history) != state.epoch or not begun <= state.examples <= ended:
        got = f"{len(state.history)} epochs in the history and {state.examples} events"
        expected = f"{state.epoch} epochs and {begun} to {ended} events, as epoch says"
        _checks.fail(name, expected, got)
    require_epochs(session.options["epochs"], state.epoch, path)
    log.info("resuming from %s", path)
    return state


@dataclass(frozen=True)
class _Judge:
    """Finds the best items for some users, on a worker."""

    items: Stored

    def __call__(self, asked: Asked) -> Integers:
        return best_items(self.items.read(), asked)


class RetrievalClusterRun(ClusterRun):
    """Trains the tables of `YouTubeDNN` on a cluster.

    `learned` are the tables to begin with, if not random ones; `model` has their shapes, and the
    sampler.
    """

    unit, monitored, grows = "events", f"validation_{MONITORED}", True

    def __init__(
        self, session: FitSession, data: TrainingSet, model: RetrievalModel,
        learned: Arrays | None, cluster: Cluster, sizes: dict[str, Any], same: dict[str, Any],
        state: EventState, found: Found | None,
    ) -> None:
        o = session.options
        if "last_step" in model.sampler.state_dict():
            _refuse_sampler(session)
        first_epoch = len(state.history) - state.epoch
        self.work = RetrievalWork(
            FirstRows(
                model.num_items, len(model.features), model.options,
                (*data.rows.user, *data.rows.item), learned,
            ),
            model.sampler, data.events, data.positions, rate=o["learning_rate"],
            batch_size=o["batch_size"], first_epoch=first_epoch, **sizes,
        )
        rounds = Rounds(cluster, self.work, None if found is None else found.saved)
        super().__init__(
            session, rounds, state, epochs=o["epochs"], patience=o["early_stopping"],
            first_epoch=first_epoch, epoch_size=len(data.positions), rate=o["learning_rate"],
        )
        self.state: EventState = state
        self.data, self.cluster, self._same = data, cluster, same

    def take(self, done: Round) -> None:
        """Add the events and the loss of a round."""
        for figures in done.figures:
            self.state.loss += figures["loss"]
            self.state.examples += int(figures["events"])
        if not math.isfinite(self.state.loss):
            self.diverged("the loss is NaN or infinite")

    def done(self) -> int:
        """Return the number of events of this epoch that are done."""
        return self.state.examples - self.state.epoch * self.epoch_size

    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""
        return self.state.loss / max(self.done(), 1)

    def next_epoch(self) -> None:
        """Move the state to the start of the next epoch."""
        super().next_epoch()
        self.state.loss = 0.0

    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what must be the same when the run is resumed."""
        return {}, {"options": self._same}

    def validate(self) -> dict[str, float]:
        """Ask for the held-out events, of some users on each worker."""
        if self.session.options["validation"] is None:
            return {}
        model = self._gathered()
        asked = held_out_queries(self.data, model)
        judge = _Judge(self.cluster.put(model.item_vectors(self.data.events.item_rows)))
        count = len(asked.vectors)
        ends = np.linspace(0, count, min(self.cluster.num_workers, count) + 1).astype(int)
        parts = [asked.part(a, b) for a, b in pairwise(ends)]
        return held_out_figures(self.data, np.concatenate(self.cluster.map(judge, parts)))

    def publish(self, *, last: bool) -> None:
        """Give the estimator a model with the tables of all shards."""
        model, session = self._gathered(), self.session
        session.estimator._publish(
            self.data.log, model, session.options, self.data.rows, self.data.events.item_rows,
            model.sampler.state_dict(), [dict(entry) for entry in self.state.history],
        )

    def _gathered(self) -> RetrievalModel:
        """Return a model with the tables of all shards, and the sampler of one machine."""
        model = self.data.make_model(self.session.options, self.first_epoch)
        for name, array in model.arrays().items():
            if name not in self.work.tables:
                continue
            num_rows, dim = self.work.tables[name]
            size = max(1, _PIECE // dim)
            table = array.reshape(num_rows, -1)  # a view
            for start in range(0, num_rows, size):
                stop = min(start + size, num_rows)
                table[start:stop] = self.rounds.rows(name, start, stop)
        model.tower.transpose()
        calls = self.work.batches_until(self.state.epoch, self.state.position)
        model.sampler.seek(calls, model.options.num_sampled)
        return model
