"""One call of `YouTubeDNN.fit`, `partial_fit` or `load`: from a log to what was learned.

A session makes the model for a log, begins it at random, from a checkpoint or from what was
learned before, trains it, and hands the result to the estimator all at once.
"""

from __future__ import annotations

import logging
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.engine.top_k import top_k
from numba_ss.io.checkpoint import reading
from numba_ss.logs.interactions import Interactions
from numba_ss.retrieval.growth import (
    FeatureRows,
    appended,
    choose_held_out,
    pack_log,
    positions_of,
    take_over,
    training_events,
    unknown_keys,
)
from numba_ss.retrieval.metrics import ranking_metrics
from numba_ss.retrieval.model import Options, RetrievalModel
from numba_ss.retrieval.run import FitRun, FitState, checked_state
from numba_ss.retrieval.samplers import (
    continued,
    draws,
    make_sampler,
    packed_state,
    unpacked_state,
)
from numba_ss.training.session import FitSession, TrainingEvent

log = logging.getLogger("numba_ss")

LONGEST = 2**40  # more events than any user has
JUDGED = 50  # recommendations that are looked at for held-out events
# What a fit leaves behind; by the first it is known that there was one.
_FITTED = (
    "history_", "log_", "item_vectors_", "_model", "_options", "_rows", "_item_rows", "_stream",
)


class Session(FitSession):
    """One call of `YouTubeDNN.fit`, and the log that it learns from."""

    def __init__(
        self, estimator: Any, options: dict[str, Any], callbacks: Any, show: bool | str,
        checkpoint: Any, minutes: float,
    ) -> None:
        super().__init__(estimator, options, callbacks, show, checkpoint, minutes)
        self.state, self.first_epoch, self.checksum = FitState(), 0, 0
        self.stream: dict[str, Any] = {}
        self.best: dict[str, NDArray[Any]] = {}

    def prepare(self, events: Interactions, chosen: NDArray[np.bool_] | None) -> None:
        """Make a model for a log; learn from all events or the `chosen` ones."""
        o = self.options
        self.log = events
        self.rows = FeatureRows.of(events, o["user"] in o["user_features"])
        self.held_out = choose_held_out(events, o["validation"], o["seed"], chosen)
        self.positions = positions_of(events, self.held_out, chosen)
        if not len(self.positions):
            _checks.fail("interactions", "an event to learn from", "none")
        if events.num_items < 2:
            _checks.fail("interactions", "two different items at least", events.num_items)
        self.counts = np.bincount(
            events.items[positions_of(events, self.held_out)], minlength=events.num_items
        )
        sampler = make_sampler(
            o["sampler"], self.counts, distortion=o["distortion"], seed=o["seed"],
            number=self.first_epoch,
        )
        self.model = RetrievalModel(
            events.num_items, self.rows.total,
            Options(
                dim=o["embedding_dim"], hidden_units=tuple(o["hidden_units"]),
                history_length=o["history_length"], unordered=events.timestamps is None,
                num_features=len(self.rows.user),
                num_sampled=draws(
                    o["sampler"], o["num_sampled"], self.counts, o["distortion"]
                ),
                subtract_log_q=o["subtract_log_q"], normalize=o["normalize"],
                temperature=o["temperature"], adaptive=o["optimizer"] == "adagrad", l2=o["l2"],
                seed=o["seed"],
            ),
            sampler, (*self.rows.user, *self.rows.item),
        )
        self.events = training_events(events, self.rows, self.held_out)

    def kept_options(self) -> dict[str, Any]:
        """Return the parameters that change what a run gives, and which log it is."""
        return super().kept_options() | {
            "log": f"{self.log!r} with checksum {self.checksum:08x}"
        }

    def start(self, events: Interactions, resume: bool) -> None:
        """Begin at random, or where the newest checkpoint stands."""
        found = self.newest(resume)
        self.prepare(events, None)
        if self.folder is not None:
            for array in pack_log(events)[0].values():
                self.checksum = zlib.crc32(array.data, self.checksum)
        if found is None:
            return
        arrays, state, path = found
        kept = state.get("options")
        if not isinstance(kept, dict) or "embedding_dim" not in kept:
            _checks.fail(str(path), "a checkpoint of YouTubeDNN", "another one")
        self.require_same_options(kept, path)
        with reading(str(path), "a checkpoint of YouTubeDNN"):
            self._restore(arrays, state)
        log.info("resuming from %s", path)

    def _restore(self, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        self.best = {
            name.removeprefix("best_"): array
            for name, array in arrays.items() if name.startswith("best_")
        }
        self.state = checked_state(
            state["run"], epochs=self.options["epochs"], num_events=len(self.positions)
        )
        if bool(self.best) != (self.state.best_epoch > 0):
            _checks.fail("best_epoch", "that of the arrays, if there are any", state["run"])
        for tables in (self.best, arrays):  # the last ones stay
            if tables:
                self.model.load(tables)
        self.model.sampler.load_state_dict(unpacked_state(arrays, state["sampler"]))

    def go_on(self, more: Interactions) -> None:
        """Begin with what was learned before, on further events."""
        before = self.estimator
        whole, is_new = appended(before.log_, more)
        unknown = unknown_keys(before.log_, more)
        if unknown:
            log.info("new events: %s, and learned", unknown)
        self.first_epoch = len(before.history_)
        self.state.history = list(before.history_)
        self.prepare(whole, is_new)
        take_over(self.model, self.rows, before._model, before._rows)
        self.model.sampler = continued(
            self.model.sampler, self.options["sampler"], before._stream, before.log_.counts(),
            self.options["batch_size"], before._options["batch_size"],
        )

    def _header(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, sampler = packed_state(self.model.sampler.state_dict())
        return arrays, {"options": self.kept_options(), "sampler": sampler}

    def _judge(self) -> dict[str, float]:
        """Ask for the held-out events, of items that the user has not had."""
        users = np.flatnonzero(self.held_out)
        events = self.events._replace(
            offsets=self.events.offsets[users], ends=self.events.ends[users],
            user_rows=self.events.user_rows[users],
        )
        o = self.options
        length = LONGEST if self.model.options.unordered else o["history_length"]
        vectors = self.model.user_vectors(events, length)
        items = self.model.item_vectors(events.item_rows)
        exclude = [
            self.log.items[start:end].astype(np.int64)
            for start, end in zip(events.offsets, events.ends, strict=True)
        ]
        k = min(JUDGED, len(items))
        found = top_k(items, np.zeros(len(items), np.float32), vectors, k, exclude)
        asked = self.log.items[events.ends].astype(np.int64)
        figures = ranking_metrics(found.ids, asked, np.arange(len(users) + 1), k)
        return {f"{name}@{JUDGED}": figures[f"{name}@{k}"] for name in ("HR", "NDCG")}

    def train(self) -> None:
        """Train and hand the result to the estimator, also if it is interrupted."""
        o = self.options
        if self.folder is not None:
            size = sum(array.nbytes for array in self.model.arrays().values())
            room = 2 * size if o["early_stopping"] else size
            self.folder.require((self.folder.keep + 1) * (room + 2**20))

        def tell(kind: str, epoch: int, examples: int, loss: float, rate: float) -> None:
            if self.callbacks:
                if kind in ("epoch", "end"):
                    self.hand_over()
                event = TrainingEvent(kind, epoch, examples, loss, rate, self.estimator)
                for callback in self.callbacks:
                    callback(event)

        run = FitRun(
            self.model, self.events, self.positions, epochs=o["epochs"],
            batch_size=o["batch_size"], rate=o["learning_rate"], first_epoch=self.first_epoch,
            state=self.state, best=self.best,
            judge=None if o["validation"] is None else self._judge, patience=o["early_stopping"],
            show=self.show, tell=tell, folder=self.folder, header=self._header,
            minutes=self.minutes,
        )
        fitted = vars(self.estimator)
        before = {name: fitted[name] for name in _FITTED if name in fitted}
        try:
            run.run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not run.in_step:
                self.hand_over()
                raise
            stream = run.go_back()
            if stream is not None:
                self.stream = stream
                self.hand_over()
                error.add_note(f"The model is that of epoch {len(self.state.history)}.")
                raise
            # Callbacks may have seen a model that was on its way.
            fitted.update(before)
            for name in _FITTED:
                if name not in before:
                    fitted.pop(name, None)
            raise
        self.hand_over()

    def hand_over(self) -> None:
        """Give the estimator what was learned, all at once."""
        stream = self.stream or self.model.sampler.state_dict()
        vars(self.estimator).update(
            log_=self.log, history_=[dict(entry) for entry in self.state.history],
            item_vectors_=self.model.item_vectors(self.events.item_rows),
            _model=self.model, _options=self.options, _rows=self.rows, _stream=stream,
            _item_rows=self.events.item_rows,
        )
