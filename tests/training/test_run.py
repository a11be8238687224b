"""run.py: the loop of both trainers, with a model of one number."""

import logging

import numpy as np
import pytest

from numba_ss import ArgumentError, CheckpointFolder, StopTraining, TrainingDivergedError
from numba_ss.training import run as training_run
from numba_ss.training.run import RunState, TrainingRun, best_arrays, checked_state
from numba_ss.training.session import FitSession

SIZE = 4  # examples of an epoch


class Number:
    """A model that counts what it has learned from."""

    def __init__(self):
        self.value = np.zeros(1)

    def arrays(self):
        return {"value": self.value}

    def load(self, arrays):
        self.value[:] = arrays["value"]


class Counting(TrainingRun):
    """Learns one example a step; `losses` are those of the held-out examples after each epoch."""

    unit, monitored, grows = "examples", "validation_loss", False

    def __init__(self, session, *, epochs=3, patience=None, losses=(), state=None, best=None, fails=()):
        super().__init__(
            session, Number(), state or RunState(), best or {}, epochs=epochs, patience=patience,
            first_epoch=0, epoch_size=SIZE, rate=0.1,
        )
        self.losses, self.fails, self.published = list(losses), set(fails), []
        self.model.value += self.state.examples

    def learn_epoch(self):
        while self.state.position < SIZE:
            with self.step():
                self.model.value += 1
                if self.state.examples in self.fails:
                    raise ZeroDivisionError
            self.state.position += 1
            self.state.examples += 1
            yield

    def done(self):
        return self.state.position

    def mean_loss(self):
        return 2.0

    def check_arrays(self):
        if not np.isfinite(self.model.value).all():
            self.diverged("a number is NaN")

    def validate(self):
        return {"validation_loss": self.losses[self.state.epoch]} if self.losses else {}

    def contents(self):
        return {}, {"options": {}}

    def publish(self, *, last):
        self.published.append((float(self.model.value[0]), last))


def counting(callbacks=(), folder=None, **options):
    session = FitSession("model", {}, callbacks, False, folder, 1e9)
    return Counting(session, **options)


def at(kind, epoch, error, seen=None):
    """Return a callback that raises at the first event of a kind after so many epochs."""

    def callback(event):
        if seen is not None:
            seen.append(event)
        if (event.kind, event.epoch) == (kind, epoch):
            raise error

    return callback


def test_a_whole_run(tmp_path):
    seen = []
    run = counting(seen.append, tmp_path)
    run.run()
    assert [event.kind for event in seen] == ["begin", *(["step"] * SIZE + ["epoch"]) * 3, "checkpoint", "end"]
    # Callbacks find a copy after each epoch and at the end; then the model itself is given away.
    assert run.published == [(4, False), (8, False), (12, False), (12, False), (12, True)]
    assert [entry["epoch"] for entry in run.state.history] == [1, 2, 3]
    assert {entry["examples"] for entry in run.state.history} == {SIZE}
    assert [event.examples for event in seen if event.kind == "epoch"] == [4, 8, 12]


def test_nothing_is_copied_for_nobody():
    run = counting()
    run.run()
    assert run.published == [(12, True)]


@pytest.mark.parametrize(
    ("kind", "epoch", "value", "epochs"),
    [("begin", 0, 0, 0), ("step", 0, 1, 0), ("step", 1, 5, 1), ("epoch", 2, 8, 2), ("end", 3, 12, 3)],
)
def test_a_callback_stops_a_run_cleanly(tmp_path, kind, epoch, value, epochs):
    seen = []
    run = counting(at(kind, epoch, StopTraining, seen), tmp_path)
    run.run()
    assert run.published[-1] == (value, True)
    assert len(run.state.history) == epochs
    assert [event.kind for event in seen[-2:]] == ["checkpoint", "end"]
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert (arrays["value"][0], state["run"]["examples"]) == (value, value)


@pytest.mark.parametrize(
    ("fails", "value", "epochs"), [({0}, None, 0), ({3}, None, 0), ({4}, 4, 1), ({11}, 8, 2)]
)
def test_after_an_error_the_last_finished_epoch_stays(fails, value, epochs):
    """Also if the step that failed has changed the arrays."""
    run = counting(fails=fails)
    with pytest.raises(ZeroDivisionError) as caught:
        run.run()
    assert run.published == ([] if value is None else [(value, True)])
    notes = getattr(caught.value, "__notes__", [])
    assert notes == ([] if value is None else [f"The model is that of epoch {epochs}."])


def test_after_ctrl_c_the_model_is_as_far_as_it_got():
    run = counting(at("step", 1, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.published[-1] == (5, True)


def test_ctrl_c_before_the_first_step_changes_nothing():
    run = counting(at("begin", 0, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.published == []


def test_after_a_divergence_the_last_finished_epoch_stays(tmp_path):
    def spoil(event):
        if event.kind == "step" and event.examples == 6:
            run.model.value[:] = np.nan

    run = counting(spoil, tmp_path)
    with pytest.raises(TrainingDivergedError) as caught:
        run.run()
    for part in ("in epoch 2: a number is NaN; lower learning_rate", "that of epoch 1, and", str(tmp_path)):
        assert part in str(caught.value)
    assert run.published[-1] == (4, True)


def test_training_ends_when_nothing_gets_better(tmp_path, caplog):
    """The model is then that of the best epoch, also if the run is resumed."""
    caplog.set_level(logging.INFO, "numba_ss")
    losses = [3.0, 2.0, 2.5, 2.0, 1.0]
    run = counting(folder=tmp_path, epochs=9, patience=2, losses=losses)
    run.run()
    assert len(run.state.history) == 4
    assert (run.state.best, run.state.best_epoch) == (2.0, 2)
    assert "validation loss was no better for 2 epochs: the training ends" in caplog.text
    assert run.published == [(8, True)]
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert (arrays["value"][0], arrays["best_value"][0]) == (16, 8)
    again = checked_state(RunState, "run", state["run"], {}, best_arrays(arrays))
    resumed = counting(epochs=9, patience=2, losses=losses, state=again, best=best_arrays(arrays))
    resumed.run()
    assert resumed.published == [(8, True)]
    assert "epoch 3: validation loss 2.5" in caplog.text
    assert caplog.text.count("the model is that of epoch 2, the best") == 2


def test_epochs_are_counted_as_in_the_history(caplog):
    """Also by a run that goes on from a fitted estimator."""
    caplog.set_level(logging.INFO, "numba_ss")
    state = RunState(history=[{"epoch": 1}, {"epoch": 2}])
    run = counting(epochs=3, patience=1, losses=[2.0, 3.0], state=state)
    run.first_epoch = 2
    run.run()
    assert [entry["epoch"] for entry in run.state.history] == [1, 2, 3, 4]
    assert "epoch 4: validation loss 3" in caplog.text
    assert "the model is that of epoch 3, the best" in caplog.text
    run.model.value[:] = np.nan
    with pytest.raises(TrainingDivergedError, match="diverged in epoch 5:"):
        run.check_arrays()


def test_more_may_be_better():
    run = counting(epochs=9, patience=1, losses=[0.1, 0.3, 0.2, 0.9])
    run.grows = True
    run.run()
    assert (len(run.state.history), run.published) == (3, [(8, True)])


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    counting(at("step", 0, StopTraining), tmp_path).run()
    _, state, _ = CheckpointFolder(tmp_path).load()
    state = checked_state(RunState, "run", state["run"], {}, {})
    assert 0 < state.examples < SIZE
    run = counting(state=state)
    run.run()
    assert run.published == [(12, True)]


@pytest.mark.parametrize(("epochs", "lines"), [(2, ["epoch 1/2", "epoch 2/2"]), (1, ["epoch 1/1"])])
def test_one_bar_a_run(monkeypatch, epochs, lines):
    bars, stages = [], []

    class Bar(training_run.Progress):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            bars.append(self)

        def describe(self, desc):
            stages.append(desc)
            super().describe(desc)

    monkeypatch.setattr(training_run, "Progress", Bar)
    counting(epochs=epochs).run()
    (bar,) = bars
    assert (bar.total, bar.done, bar.initial) == (epochs * SIZE, epochs * SIZE, 0)
    assert stages == lines
    resumed = counting(epochs=2, state=RunState(epoch=1, position=1, examples=5, history=[{}]))
    resumed.run()
    assert (bars[1].initial, bars[1].done) == (5, 8)
    monkeypatch.setattr(Counting, "done", lambda run: 1 + run.state.position)  # an estimate
    counting(epochs=epochs).run()
    assert bars[2].done == bars[2].total


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", -1), ("position", 2**63), ("examples", 1.5), ("seconds", -1.0), ("best", None),
        ("best_epoch", 2), ("history", 3), ("more", 1),
    ],
)
def test_a_state_that_is_no_state_is_refused(field, value):
    state = {**vars(RunState(epoch=1)), field: value}
    with pytest.raises(ArgumentError, match=r"^run"):
        checked_state(RunState, "run", state, {}, {})


def test_a_best_epoch_has_arrays():
    state = vars(RunState(epoch=2, best_epoch=1))
    assert checked_state(RunState, "run", state, {}, {"value": np.zeros(1)}).best_epoch == 1
    with pytest.raises(ArgumentError, match="run, best_epoch: expected that of the arrays"):
        checked_state(RunState, "run", state, {}, {})
