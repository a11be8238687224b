"""run.py: events, held-out judgement, checkpoints; a run that goes on ends with the same bits."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError, CheckpointFolder, StopTraining, TrainingDivergedError
from numba_ss.io.checkpoint import write_state
from numba_ss.logs.interactions import read_interactions
from numba_ss.logs.splits import leave_one_out
from numba_ss.retrieval import run as retrieval_run
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.training import run as training_run
from tests.conftest import JIT, names
from tests.retrieval.test_estimator import (
    LOG,
    MANY,
    NUM_ITEMS,
    SAMPLERS,
    bits,
    cycle,
    groups,
    random_log,
    trained,
)
from tests.training.stops import at_event, in_epoch, interrupt, send_interrupt

EVENTS = len(LOG["user"])
OPTIONS = {"sampler": "learned_unigram", "user_features": ("user",), "epochs": 3, "batch_size": 16}
# The best epoch is not the last one, and the last ones are not reached.
STOPPING = {
    **OPTIONS, "sampler": "mixed", "validation": 0.5, "early_stopping": 2, "epochs": 30, "learning_rate": 0.5,
    "seed": 5 if JIT else 8,
}


@pytest.fixture(autouse=True)
def _frequent_reports(monkeypatch):
    monkeypatch.setattr(retrieval_run, "_REPORT", 2)


def run(log=LOG, folder=None, *, callbacks=(), resume=False, minutes=0, **options):
    fit = {"callbacks": callbacks, "checkpoint": folder, "checkpoint_minutes": minutes, "resume": resume}
    return trained(log, fit=fit, **OPTIONS | options)


def outcome(model):
    """Return all that was learned, and all figures but those of time."""
    figures = [{k: v for k, v in e.items() if "second" not in k} for e in model.history_]
    return bits(model), figures, repr(model._stream)


@pytest.fixture(scope="module")
def whole():
    """What runs give that nobody interrupts."""
    with np.errstate(all="ignore"):
        return {"plain": outcome(run()), "stopping": outcome(run(**STOPPING))}


def stopped(folder, kind="step", number=2, **options):
    """Leave the checkpoints of a run that stopped."""
    with pytest.raises(KeyboardInterrupt):
        run(folder=folder, callbacks=at_event(kind, number, interrupt), **options)
    return folder


def test_events(tmp_path):
    seen, vectors, order = [], [], []

    def note(event):
        seen.append(event)
        vectors.append(getattr(event.model, "item_vectors_", None))

    model = run(folder=tmp_path, callbacks=[note, lambda event: order.append((event, len(seen)))])
    assert order == [(event, i) for i, event in enumerate(seen, 1)]
    assert all(event.model is model for event in seen)
    kinds = [event.kind for event in seen]
    assert (kinds[0], kinds[-2:]) == ("begin", ["checkpoint", "end"])
    assert set(kinds[1:-1]) == {"step", "checkpoint", "epoch"}
    finished = 0
    for i, event in enumerate(seen):
        finished += event.kind == "epoch"
        assert event.epoch == finished
        assert event.examples >= seen[i - 1].examples if i else event.examples == 0
        assert np.isnan(event.loss) == (event.kind == "begin")
        assert event.learning_rate == 0.1
        if event.kind == "epoch":
            assert event.examples == finished * EVENTS
            assert kinds[:i].count("step") >= finished * (EVENTS // 32)
            assert event.loss == model.history_[finished - 1]["loss"]
        # What was learned is as of the last event "epoch" or "end".
        is_new = vectors[i] is not (vectors[i - 1] if i else None)
        assert is_new == (event.kind in ("epoch", "end"))
    assert finished == 3
    assert seen[-1].loss == model.history_[-1]["loss"]
    np.testing.assert_array_equal(vectors[-1], model.item_vectors_)


def test_a_model_can_be_used_and_saved_after_an_epoch(tmp_path, whole):
    def use(event):
        if event.kind == "epoch":
            assert event.model.recommend(k=2).items.shape[1] == 2
            assert event.model.evaluate(LOG, 2, exclude_seen=False)["users"] == len(set(LOG["user"]))
            event.model.save(tmp_path / f"{event.epoch}")

    assert outcome(run(callbacks=use)) == whole["plain"]
    for epoch in (1, 2):
        assert bits(YouTubeDNN.load(tmp_path / f"{epoch}")) == bits(run(epochs=epoch))


MOMENTS = [("step", 1), ("epoch", 3), ("begin", 1), ("step", 4), ("checkpoint", 2), ("epoch", 1), ("end", 1)]


@pytest.mark.parametrize("form", ["plain", "stopping"])
@pytest.mark.parametrize(("kind", "number"), MOMENTS[:: 1 if JIT else 3])
def test_interrupted_and_resumed(whole, tmp_path, form, kind, number):
    options = {"plain": {}, "stopping": STOPPING}[form]
    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, callbacks=[seen.append, at_event(kind, number, interrupt)], **options)
    # The estimator holds what was learned, as far as it got.
    left = seen[0].model
    assert hasattr(left, "history_") == (kind != "begin")
    if kind != "begin":
        assert len(left.history_) == seen[-1].epoch
        assert len(left.item_vectors_) == NUM_ITEMS
    if kind == "end":
        assert outcome(left) == whole[form]
    assert outcome(run(folder=tmp_path, resume=True, **options)) == whole[form]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_go_on_where_they_were(tmp_path, sampler):
    stopped(tmp_path, "checkpoint", 3, sampler=sampler)
    assert outcome(run(folder=tmp_path, sampler=sampler, resume=True)) == outcome(run(sampler=sampler))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "hidden_units": ()},
        {"timestamp": None, "item_features": ("kind",), "user_features": ("kind", "user")},
        {"validation": np.float32(0.5), "temperature": np.float64(0.5), "hidden_units": np.array([4, 3])},
    ],
    ids=["sgd", "sets", "numpy"],
)
def test_every_kind_of_model_goes_on(tmp_path, options):
    log = {**LOG, "kind": LOG["item"] % 3}
    stopped(tmp_path, "checkpoint", 2, log=log, **options)
    assert outcome(run(log, folder=tmp_path, resume=True, **options)) == outcome(run(log, **options))


def test_interrupted_again_and_again(whole, tmp_path):
    for number in (1, 2, 1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(
                folder=tmp_path, callbacks=at_event("checkpoint", number, interrupt), resume=True, **STOPPING,
            )
    assert outcome(run(folder=tmp_path, resume=True, **STOPPING | {"num_threads": None})) == whole["stopping"]


def test_ctrl_c_ends_the_step_and_saves(whole, tmp_path, caplog):
    handler, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        run(
            folder=tmp_path, minutes=10, callbacks=[seen.append, at_event("step", 3, send_interrupt)],
        )
    assert signal.getsignal(signal.SIGINT) is handler
    assert "once more to stop at once" in caplog.text
    assert [event.kind for event in seen].count("step") == 3
    assert seen[-1].kind == "checkpoint"
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert state["run"]["examples"] == seen[-1].examples == 3 * 32 if JIT else True
    np.testing.assert_array_equal(arrays["items"], seen[-1].model._model.arrays()["items"])
    assert outcome(run(folder=tmp_path, resume=True)) == whole["plain"]


@pytest.mark.parametrize("when", [("epoch", 1), ("epoch", 3), ("checkpoint", 1)])
def test_ctrl_c_at_the_end_of_an_epoch(whole, tmp_path, when):
    """The signal is never lost, even if no further step follows."""
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, minutes=10**6, callbacks=at_event(*when, send_interrupt))
    assert outcome(run(folder=tmp_path, resume=True)) == whole["plain"]


def test_ctrl_c_without_checkpoints():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[seen.append, at_event("step", 2, send_interrupt)])
    assert seen[-1].kind == "step"
    assert np.isfinite(seen[-1].model.item_vectors_).all()


def test_a_folder_has_checkpoints_of_one_run(tmp_path):
    stopped(tmp_path)
    before = names(tmp_path)
    with pytest.raises(ArgumentError, match=r"checkpoint: .*resume=True"):
        run(folder=tmp_path)
    assert names(tmp_path) == before


OTHERS = {
    "embedding_dim": 9, "hidden_units": (3,), "history_length": 2, "num_sampled": 3, "sampler": "uniform",
    "distortion": 0.5, "subtract_log_q": False, "normalize": False, "temperature": 0.5, "optimizer": "sgd",
    "learning_rate": 0.2, "l2": 0.1, "batch_size": 32, "user": "who", "item": "what",
    "timestamp": None, "user_features": ("kind",), "item_features": ("kind",), "validation": 0.25,
    "early_stopping": 3, "seed": 2,
}


def test_another_option_is_refused(tmp_path):
    log = {**LOG, "kind": LOG["item"] % 5, "who": LOG["user"] + 1, "what": LOG["item"] + 1}
    options = {"validation": 0.5, "user_features": ()}
    stopped(tmp_path, log=log, **options)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {*OTHERS, "num_threads", "epochs"} == set(YouTubeDNN().get_params())
    for name, value in OTHERS.items():
        with pytest.raises(ArgumentError, match=rf"^{name}: expected .*, as in .*checkpoint-\d.npz, got"):
            run(log, folder=tmp_path, resume=True, **options | {name: value})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def changed(column, place, value):
    values = np.array({**LOG, "kind": LOG["user"] % 2}[column])
    values[place] = value
    return {**LOG, "kind": LOG["user"] % 2, column: values}


@pytest.mark.parametrize(
    "log",
    [
        changed("item", 0, LOG["item"][1]), changed("item", -1, 5000), changed("user", 3, 100 + 2), changed("timestamp", 0, 77),
        changed("kind", slice(5), 1 - LOG["user"][0] % 2),
        {name: values[:-1] for name, values in changed("kind", [], []).items()},
    ],
    ids=["item", "new item", "user", "order", "feature", "shorter"],
)
def test_another_log_is_refused(tmp_path, log):
    stopped(tmp_path, log=changed("kind", [], []), user_features=("kind",))
    model = YouTubeDNN()
    with pytest.raises(ArgumentError, match=r"^log: expected .*, as in .*checkpoint-\d.npz, got 'Interactions"):
        model = run(log, folder=tmp_path, resume=True, user_features=("kind",))
    assert not hasattr(model, "log_")


def test_a_finished_run_gives_its_result(whole, tmp_path):
    finished, seen = run(folder=tmp_path, **STOPPING), []
    before = names(tmp_path)
    again = run(folder=tmp_path, resume=True, callbacks=seen.append, **STOPPING)
    assert outcome(again) == outcome(finished) == whole["stopping"]
    assert again.history_ == finished.history_
    assert seen == []
    assert names(tmp_path) == before


def test_resuming_in_an_empty_folder_begins(whole, tmp_path):
    assert outcome(run(folder=tmp_path / "new", resume=True)) == whole["plain"]


@pytest.mark.parametrize("state", [{"epoch": 1}, {"options": {"vector_size": 1}}])
def test_another_program_s_checkpoints(tmp_path, state):
    CheckpointFolder(tmp_path).save({"weights": np.ones(3)}, state)
    with pytest.raises(ArgumentError, match=r"checkpoint-1.npz: expected a checkpoint of YouTubeDNN"):
        run(folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", -1), ("epoch", 99), ("epoch", "1"), ("position", -(2**63)), ("position", 2**62),
        ("examples", -5), ("examples", 1), ("loss", None), ("loss", float("inf")), ("seconds", -1.0),
        ("history", 3), ("history", []), ("history", [3, 4]), ("best_epoch", 1), ("best_epoch", -1),
        (None, {}), (None, 7), (None, "items"), (None, "sampler"),
    ],
)
def test_checkpoints_with_wrong_contents_are_refused(tmp_path, field, value):
    """Their checksums are right, and kernels would use their contents unchecked."""
    stopped(tmp_path, "epoch", 2)
    folder = CheckpointFolder(tmp_path)
    arrays, state, _ = folder.load()
    if field is not None:
        state["run"][field] = value
    elif value == "items":
        del arrays["items"]
    elif value == "sampler":
        del state["sampler"]
    else:
        state["run"] = value
    path = tmp_path / "checkpoint-999.npz"
    with open(path, "wb") as file:
        write_state(file, arrays, state)
    with pytest.raises(ArgumentError, match=r"checkpoint-999.npz: expected a checkpoint of YouTubeDNN, got"):
        run(folder=tmp_path, resume=True)


def test_tables_of_the_best_epoch_are_checked(tmp_path):
    run(folder=tmp_path, **STOPPING)
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    for change in (
        {"best_items": arrays["best_items"][1:]}, {"best_dense": arrays["best_dense"] * np.nan},
        {name: None for name in arrays if name.startswith("best_")},
    ):
        with open(tmp_path / "checkpoint-999.npz", "wb") as file:
            changed = {name: array for name, array in (arrays | change).items() if array is not None}
            write_state(file, changed, state)
        with pytest.raises(ArgumentError, match=r"checkpoint-999.npz: expected a checkpoint of YouTubeDNN, got"):
            run(folder=tmp_path, resume=True, **STOPPING)


def test_a_folder_that_cannot_be_written_fails_first(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="can be written to"):
        run(None, folder=tmp_path / "file")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match="expected room for") as caught:
        run(folder=tmp_path / "folder", callbacks=lambda event: pytest.fail("it began"))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("minutes", [0, 1e9])
def test_how_often_checkpoints_come(tmp_path, minutes):
    seen = []
    run(folder=tmp_path, callbacks=seen.append, minutes=minutes)
    steps = [event.examples for event in seen if event.kind == "step"]
    saved = [event.examples for event in seen if event.kind == "checkpoint"]
    assert saved.pop() == 3 * EVENTS
    assert saved == ([] if minutes else steps)
    assert len(list(tmp_path.glob("*.npz"))) == min(len(saved) + 1, 2)


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    options = {"learning_rate": 1e6, "normalize": False, "temperature": 1, "batch_size": 4, "optimizer": "sgd"}
    seen = []
    with pytest.raises(TrainingDivergedError) as caught:
        run(folder=tmp_path, callbacks=seen.append, **options)
    for part in ("training diverged in epoch 1: ", "NaN or infinite", "lower learning_rate", str(tmp_path)):
        assert part in str(caught.value)
    assert not hasattr(seen[0].model, "log_")
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert 0 < state["run"]["examples"] <= seen[-1].examples
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("kind", ["begin", "step", "checkpoint"])
def test_an_exception_in_the_first_epoch_leaves_the_estimator_alone(tmp_path, kind):
    def fail():
        raise ZeroDivisionError

    old, seen = trained(), []
    before, made = outcome(old), {name: value for name, value in vars(old).items() if name.endswith("_") or name[0] == "_"}
    fit = {"callbacks": at_event(kind, 1, fail), "checkpoint": tmp_path / "old", "checkpoint_minutes": 0}
    with pytest.raises(ZeroDivisionError):
        old.fit(MANY, progress=False, **fit)
    assert outcome(old) == before
    assert all(vars(old)[name] is value for name, value in made.items())
    if kind != "checkpoint":
        with pytest.raises(ZeroDivisionError):
            old.partial_fit(LOG, progress=False, callbacks=at_event(kind, 1, fail))
        assert outcome(old) == before
    with pytest.raises(ZeroDivisionError):
        run(folder=tmp_path / "new", callbacks=[seen.append, at_event(kind, 1, fail)])
    assert set(vars(seen[0].model)) == set(YouTubeDNN().get_params())


@pytest.mark.parametrize(("kind", "epochs"), [("step", 2), ("epoch", 2), ("end", 3), ("checkpoint", 1)])
@pytest.mark.parametrize("form", ["fit", "partial_fit"])
def test_after_an_exception_the_last_finished_epoch_stays(tmp_path, kind, epochs, form):
    """It stays with everything that later epochs need."""
    if (kind, form) == ("checkpoint", "partial_fit"):
        pytest.skip("writes none")
    model, want = (trained(MANY, sampler="in_batch", epochs=1) for _ in "ab")
    model.set_params(epochs=3)
    want.set_params(epochs=epochs)
    fit = {"checkpoint": tmp_path, "checkpoint_minutes": 0} if form == "fit" else {}
    with pytest.raises(ZeroDivisionError) as caught:
        getattr(model, form)(MANY, progress=False, callbacks=in_epoch(kind, epochs, ZeroDivisionError("no")), **fit)
    getattr(want, form)(MANY, progress=False)
    assert outcome(model) == outcome(want)
    assert caught.value.__notes__ == [f"The model is that of epoch {len(want.history_)}."]
    for one in (model, want):
        one.set_params(epochs=1).partial_fit(MANY, progress=False)
    assert outcome(model) == outcome(want)


def test_after_a_divergence_the_last_finished_epoch_stays(monkeypatch):
    learn, calls = retrieval_run.RetrievalModel.learn, []

    def diverge(self, *arguments):
        calls.append(0)
        loss = learn(self, *arguments)
        if len(calls) == 5 * steps // 2:
            self.items[:] = np.nan
            return np.nan
        return loss

    steps = -(-EVENTS // OPTIONS["batch_size"])
    want = outcome(run(epochs=2))
    model = run(epochs=1)
    model.set_params(epochs=3)
    monkeypatch.setattr(retrieval_run.RetrievalModel, "learn", diverge)
    with pytest.raises(TrainingDivergedError, match=r"in epoch 3: .*; the model is that of epoch 2, and no checkpoint"):
        model.fit(LOG, progress=False)
    assert outcome(model) == want


def test_held_out_events_are_those_of_leave_one_out():
    """All users' last events, held out by the model itself or before it comes."""
    log = read_interactions({**LOG, "kind": LOG["item"] % 3, "of": LOG["user"] % 2}, user_features=["of"], item_features=["kind"], progress=False)
    options = {"user_features": ("of",), "item_features": ("kind",), "sampler": "mixed"}
    model = run(log, validation=1.0, **options)
    train, test = leave_one_out(log)
    other = run(train, **options)
    figures = other.evaluate(test, 50)
    assert [entry["loss"] for entry in model.history_] == [entry["loss"] for entry in other.history_]
    np.testing.assert_array_equal(model.item_vectors_, other.item_vectors_)
    for name in ("HR", "NDCG"):
        assert model.history_[-1][f"validation_{name}@50"] == pytest.approx(figures[f"{name}@50"])
    assert model.history_[-1]["events"] == train.num_events
    assert model.log_.num_events == log.num_events


@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_held_out_are_events_of_items_that_are_new_to_a_user(timestamp):
    """Other items could not be recommended, because seen ones are left out."""
    log = read_interactions(random_log(), progress=False, timestamp=timestamp)
    histories = [log.history(user).tolist() for user in range(log.num_users)]
    new = [user for user, items in enumerate(histories) if len(items) > 1 and items[-1] not in items[:-1]]
    assert 3 < len(new) < log.num_users - 3
    model = trained(log, validation=1.0)
    assert {entry["events"] for entry in model.history_} == {log.num_events - len(new)}
    repeating = {"user": [1, 1, 2, 2, 2], "item": [5, 5, 4, 6, 4], "timestamp": range(5)}
    with pytest.raises(ArgumentError, match=r"validation: expected a share that .* 1.0 of 0 such users"):
        trained(repeating, validation=1.0)


@pytest.mark.parametrize("share", [0.2, 0.5, 1])
def test_validation_takes_a_share_of_the_users(share):
    model = run(validation=share)
    users = EVENTS // 6
    assert {entry["events"] for entry in model.history_} == {EVENTS - round(share * users)}
    for entry in model.history_:
        assert 0 <= entry["validation_NDCG@50"] <= entry["validation_HR@50"] <= 1
    assert all("validation" not in name for entry in run().history_ for name in entry)


def test_early_stopping_ends_and_puts_back_the_best(tmp_path):
    at = {}

    def note(event):
        if event.kind == "epoch":
            at[event.epoch] = event.model.item_vectors_, event.model.user_vectors()
        elif event.kind == "end":
            at["end"] = event.model.item_vectors_, event.model.user_vectors()

    model = run(folder=tmp_path, callbacks=note, **STOPPING)
    reached = [entry["validation_NDCG@50"] for entry in model.history_]
    best = int(np.argmax(reached)) + 1
    assert len(reached) == best + 2 < 30
    for found in ((model.item_vectors_, model.user_vectors()), at["end"]):
        for one, want in zip(found, at[best], strict=True):
            np.testing.assert_array_equal(one, want)
    assert not np.array_equal(at[best][0], at[best + 2][0])
    patient = run(**STOPPING | {"early_stopping": 3})
    assert len(patient.history_) >= len(reached) + 1
    assert [e["validation_NDCG@50"] for e in patient.history_[: len(reached)]] == reached


def test_all_epochs_are_done_where_none_is_awaited():
    """Without early stopping, the model of the last epoch stays, whatever its metrics."""
    model = run(**STOPPING | {"early_stopping": None, "epochs": 6})
    plain = run(**STOPPING | {"early_stopping": 30, "epochs": 6})
    assert len(model.history_) == len(plain.history_) == 6
    assert [e["loss"] for e in model.history_] == [e["loss"] for e in plain.history_]


def test_partial_fit_holds_out_of_what_is_new():
    """Events that were learned from cannot be held out."""
    model = trained(MANY)
    more = {"user": [0, 0, 0, 1, 1], "item": [1, 12, 22, 3, 4], "timestamp": np.arange(5) + 10**6}
    model.set_params(validation=1.0).partial_fit(more, progress=False)
    assert {entry["events"] for entry in model.history_[2:]} == {3}
    assert model.history_[-1]["validation_HR@50"] == 1
    old = {"user": [0, 0], "item": [1, 12], "timestamp": [-1, -2]}
    with pytest.raises(ArgumentError, match="validation: expected a share that holds a user"):
        model.partial_fit(old, progress=False)


def test_the_bar_goes_on_where_it_was(tmp_path, monkeypatch):
    bars = []

    class Bar(training_run.Progress):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            bars.append(self)

    monkeypatch.setattr(training_run, "Progress", Bar)
    stopped(tmp_path, "checkpoint", 2, epochs=2)
    run(folder=tmp_path, resume=True, epochs=2)
    assert [bar.total for bar in bars] == [2 * EVENTS] * 2
    assert [bar.initial for bar in bars] == [0, bars[0].done]
    assert 0 < bars[0].done < EVENTS < bars[1].done == 2 * EVENTS


def test_a_finished_run_goes_on(tmp_path):
    """With more epochs, as if there had been as many from the start."""
    run(folder=tmp_path, epochs=2)
    assert outcome(run(folder=tmp_path, epochs=3, resume=True)) == outcome(run(epochs=3))
    with pytest.raises(ArgumentError, match=r"^epochs: expected at least 3, which .* has done, got 2"):
        run(folder=tmp_path, epochs=2, resume=True)


@pytest.mark.parametrize("moment", [("step", 1), ("epoch", 2)])
def test_a_run_that_a_callback_stops_can_be_resumed(whole, tmp_path, moment):
    def stop(event):
        if (event.kind, event.epoch) == moment:
            raise StopTraining

    model = run(folder=tmp_path, callbacks=stop)
    assert len(model.history_) == moment[1]
    assert outcome(run(folder=tmp_path, resume=True)) == whole["plain"]


SCRIPT = """
import sys
import numpy as np
from tests.retrieval.test_run import FORMS, retrieval_run, trained
np.seterr(over="ignore")
retrieval_run._REPORT = 8
folder, output, form = sys.argv[1:]
log, options = FORMS[form]
fit = {"checkpoint": folder, "checkpoint_minutes": 0, "resume": True}
trained(log, fit=fit, **options).save(output)
"""
LONG = cycle(*((300, 8) if JIT else (20, 6)), seed=7)
FORMS = {
    "plain": (LONG, {"sampler": "in_batch", "epochs": 6 if JIT else 3}),
    "stopping": (LONG, STOPPING | {"learning_rate": 0.8, "epochs": 12 if JIT else 4}),
}


def wait_for_checkpoint(process, folder, newest):
    """Return when a newer checkpoint is there, or the process at its end."""
    while process.poll() is None:
        numbers = [int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*[0-9].npz")]
        if max(numbers, default=0) > newest:
            return
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that nobody catches")
@pytest.mark.parametrize("form", list(FORMS))
def test_killed_at_random_moments(tmp_path, monkeypatch, form):
    """As users start it; the moments are those of a generator with seed 9."""
    monkeypatch.undo()
    rng = np.random.default_rng(9)
    log, options = FORMS[form]
    want = outcome(trained(log, **options))
    folder, output = tmp_path / "folder", tmp_path / "model.npz"
    command = [sys.executable, "-c", SCRIPT, str(folder), str(output), form]
    killed = 0
    while not output.exists():
        newest = CheckpointFolder(folder)._last_number()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONWARNINGS": "default" if JIT else "ignore"},
        )
        if killed < 2:
            wait_for_checkpoint(process, folder, newest)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        assert process.communicate()[1] == b""
        assert process.returncode in (0, -signal.SIGKILL)
        killed += process.returncode != 0
        assert killed < 5
    assert killed >= 2
    assert outcome(YouTubeDNN.load(output)) == want


def test_order_of_events_differs_from_epoch_to_epoch(monkeypatch):
    """Each event comes once an epoch, in another order."""
    taken = []
    learn = retrieval_run.RetrievalModel.learn

    def note(self, events, users, positions, rate, key):
        np.testing.assert_array_equal(events.offsets[users] <= positions, True)
        np.testing.assert_array_equal(positions < events.ends[users], True)
        taken.append((positions.copy(), key))
        return learn(self, events, users, positions, rate, key)

    monkeypatch.setattr(retrieval_run.RetrievalModel, "learn", note)
    run(groups(9, 5), epochs=2, batch_size=45)
    (one, key), (two, other) = taken
    assert sorted(one) == sorted(two) == list(range(45))
    assert not np.array_equal(one, two)
    assert key != other
