"""The start of a `YouTubeDNN` run: random tables, a checkpoint, or a fitted estimator."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._types import Arrays
from numba_ss.io.checkpoint import Checkpoint, reading
from numba_ss.logs.interactions import Interactions
from numba_ss.retrieval.growth import merge_logs, pack_log, unknown_keys, warm_start
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.run import EventState, RetrievalRun, checked_event_state
from numba_ss.retrieval.samplers import resume_sampler, unpacked_state
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.run import best_arrays
from numba_ss.training.session import FitSession, require_epochs, require_same

log = logging.getLogger("numba_ss")


def begin(session: FitSession, events: Interactions, found: Checkpoint | None) -> RetrievalRun:
    """Return a new run, or one that is resumed from the checkpoint that was found."""
    data = TrainingSet.of(events, session.options)
    fixed = session.fixed_options()
    if session.folder is not None:
        fixed["log"] = checksum_of(events)
    if found is not None:
        return _resumed(session, data, fixed, *found)
    model = data.make_model(session.options, 0)
    return RetrievalRun(session, fixed, model, data, EventState(), {}, first_epoch=0)


def checksum_of(events: Interactions) -> str:
    """Return what tells a log from others, with words for a message."""
    checksum = 0
    for array in pack_log(events)[0].values():
        checksum = zlib.crc32(array.data, checksum)
    return f"{events!r} with checksum {checksum:08x}"


def _resumed(
    session: FitSession, data: TrainingSet, fixed: dict[str, Any], arrays: Arrays,
    state: dict[str, Any], path: Path,
) -> RetrievalRun:
    kept = state.get("options")
    if not isinstance(kept, dict) or "embedding_dim" not in kept:
        _checks.fail(str(path), "a checkpoint of YouTubeDNN", "another one")
    require_same(fixed, kept, path)
    model, best = data.make_model(session.options, 0), best_arrays(arrays)
    with reading(str(path), "a checkpoint of YouTubeDNN"):
        run = checked_event_state("run", state["run"], best, len(data.positions))
        for tables in filter(None, (best, arrays)):  # the last ones stay
            model.load(tables)
        model.sampler.load_state_dict(unpacked_state(arrays, state["sampler"]))
    require_epochs(session.options["epochs"], run.epoch, path)
    log.info("resuming from %s", path)
    return RetrievalRun(session, fixed, model, data, run, best, first_epoch=0)


def go_on(session: FitSession, more: Interactions) -> RetrievalRun:
    """Return a run that trains a fitted estimator on further events."""
    state = EventState(history=list(session.estimator.history_))
    data, model = grow(session, more, len(state.history))
    return RetrievalRun(
        session, session.fixed_options(), model, data, state, {},
        first_epoch=len(state.history),
    )


def grow(
    session: FitSession, more: Interactions, number: int
) -> tuple[TrainingSet, RetrievalModel]:
    """Return a fitted estimator's events and further ones, and its model, grown for all of them.

    `number` is that of earlier epochs.
    """
    before, options = session.estimator, session.options
    whole, is_new = merge_logs(before.log_, more)
    unknown = unknown_keys(before.log_, more)
    if unknown:
        log.info("new events: %s, and learned", unknown)
    data = TrainingSet.of(whole, options, is_new)
    model = data.make_model(options, number)
    warm_start(model, data.rows, before._model, before._rows)
    model.sampler = resume_sampler(
        model.sampler, options["sampler"], before._stream, before.log_.counts(),
        options["batch_size"], before._options["batch_size"],
    )
    return data, model
