"""session.py: fits that begin anew or go on, and what stays when they cannot."""

import numpy as np
import pytest

from numba_ss import ArgumentError, TrainingDivergedError
from numba_ss.logs.interactions import Interactions, read_interactions
from numba_ss.logs.splits import split_by_time
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.model import RetrievalModel
from tests.conftest import JIT
from tests.retrieval.test_estimator import (
    LOG,
    MANY,
    NUM_ITEMS,
    OPTIMIZERS,
    SAMPLERS,
    bits,
    cycle,
    trained,
)


def test_partial_fit_first_is_fit():
    options = {"embedding_dim": 8, "hidden_units": (8,), "batch_size": 32, "epochs": 2, "num_sampled": 6}
    assert bits(YouTubeDNN(**options).partial_fit(LOG, progress=False)) == bits(trained())


def test_checkpoints_are_looked_at_before_the_log_is_read(tmp_path):
    trained(fit={"checkpoint": tmp_path})
    for message, options in (
        ("checkpoint: expected a folder without checkpoints, or resume=True", {"checkpoint": tmp_path}),
        ("resume: expected a folder as checkpoint=", {"resume": True}),
    ):
        with pytest.raises(ArgumentError, match=message):
            YouTubeDNN().fit("no log", progress=False, **options)


@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_partial_fit_grows_the_tables(timestamp):
    log = {**MANY, "kind": MANY["item"] // 10}
    model = trained(log, user_features=["user", "taste"], item_features=["kind"], timestamp=timestamp)
    old, vectors, items = model.log_, model.user_vectors(), model.item_vectors_
    arrays = {name: array.copy() for name, array in model._model.arrays().items()}
    history = list(model.history_)
    more = {
        "user": [4, 5000, 5000, 4], "item": [3, 99, 98, 99], "timestamp": [-5, 10**7, 10**7 + 1, 10**7],
        "taste": ["rum", "gin", "gin", "gin"], "kind": [0, 7, 8, 7],
    }
    seen = []
    assert model.set_params(learning_rate=0).partial_fit(more, progress=False, callbacks=seen.append) is model
    # At a rate of 0 all is as it was before, and the new ones follow.
    assert (model.log_.num_users, model.log_.num_items) == (old.num_users + 1, old.num_items + 2)
    for name in ("user_keys", "item_keys"):
        keys = getattr(old, name).take(np.arange(len(getattr(old, name))))
        np.testing.assert_array_equal(getattr(model.log_, name).take(np.arange(len(keys))), keys)
    np.testing.assert_array_equal(model.item_vectors_[: old.num_items], items)
    np.testing.assert_array_equal(model._model.arrays()["dense"], arrays["dense"])
    np.testing.assert_array_equal(model._model.arrays()["items"][: old.num_items], arrays["items"][:-1])
    np.testing.assert_array_equal(model._model.arrays()["items"][-1], arrays["items"][-1])
    # Of the users only one has other events, a history in order of time, and another taste.
    code = old.user_keys.codes([4])[0]
    changed = np.flatnonzero((model.user_vectors()[: old.num_users] != vectors).any(axis=1))
    assert changed.tolist() == [code]
    before = old.item_keys.take(old.history(code)).tolist()
    after = model.log_.item_keys.take(model.log_.history(code)).tolist()
    assert after == ([3, *before, 99] if timestamp else [*before, 3, 99])
    features = {"taste": ["gin"]}
    told = model.user_vectors(histories=[after], features=features)
    assert np.abs(told - model.user_vectors(histories=[after], features={"taste": ["rum"]})).max() > 1e-3
    assert model.history_[:2] == history
    assert [(e["epoch"], e["events"]) for e in model.history_[2:]] == [(3, 4), (4, 4)]
    assert seen[-1].examples == 8
    # Then it learns, and a fit after it begins from nothing.
    model.set_params(learning_rate=0.1).partial_fit(more, progress=False)
    assert np.abs(model.item_vectors_[model.log_.item_keys.codes([99])] @ model.item_vectors_.T).max() > 0
    assert not np.array_equal(model.item_vectors_[: old.num_items], items)
    model.set_params(learning_rate=None).fit(log, progress=False)
    fresh = trained(log, user_features=["user", "taste"], item_features=["kind"], timestamp=timestamp)
    assert bits(model) == bits(fresh)


def test_partial_fit_of_the_next_part_of_a_log():
    """Users without new events keep their vectors if no row or weight of theirs was trained."""
    whole = read_interactions({**LOG, "of": LOG["user"] % 3}, user_features=["of"], progress=False)
    train, test = split_by_time(whole, 0.3)
    model = trained(train, user_features=["of"])
    model.partial_fit(test, progress=False)
    assert model.log_.items.tolist() == whole.items.tolist()
    assert model.log_.timestamps.tolist() == whole.timestamps.tolist()
    assert model.log_.offsets.tolist() == whole.offsets.tolist()
    assert [entry["events"] for entry in model.history_] == [train.num_events] * 2 + [test.num_events] * 2


def test_partial_fit_learns_what_is_new():
    """Users who took items in ascending order take them in descending order now."""
    log = cycle(120, 4) if JIT else cycle(40, 4)
    back = {**log, "item": (NUM_ITEMS - log["item"]) % NUM_ITEMS, "timestamp": log["timestamp"] + 100}
    model = trained(log, history_length=1, epochs=20 if JIT else 8, learning_rate=0.3, temperature=0.1)
    model.partial_fit(back, progress=False)
    histories = np.arange(NUM_ITEMS)[:, None].tolist()
    found = model.recommend(histories=histories, k=1).items[:, 0]
    assert np.mean(found == (np.arange(NUM_ITEMS) - 1) % NUM_ITEMS) > 0.5


@pytest.mark.parametrize(
    ("message", "options", "log"),
    [
        ("embedding_dim: expected 8, as before, got 9", {"embedding_dim": 9}, LOG),
        (r"hidden_units: expected \[8\], as before, got \[9\]", {"hidden_units": (9,)}, LOG),
        ("optimizer: expected 'adagrad', as before, got 'sgd'", {"optimizer": "sgd"}, LOG),
        (r"user_features: expected \[\], as before, got \['user'\]", {"user_features": ["user"]}, LOG),
        (r"item_features: expected \[\], as before, got \['x'\]", {"item_features": ["x"]}, LOG),
        ("epochs: expected at least 1, got 0", {"epochs": 0}, LOG),
        ("source: expected a column 'item'", {}, {"user": [1], "timestamp": [1]}),
        ("source, column 'user', row 0: expected integer keys, as before, got 'a'", {}, {**LOG, "user": ["a"] * len(LOG["user"])}),
        ("timestamp: expected times in both logs or in none", {"timestamp": None}, LOG),
        ("timestamp: expected times in both logs or in none", {}, np.array([[1, 2], [1, 3]])),
        ("interactions: expected a log that was read with known=model.log_, .* other user_keys", {},
         read_interactions(MANY, progress=False)),
    ],
)
def test_bad_partial_fit_changes_nothing(message, options, log):
    model = trained()
    before = bits(model)
    with pytest.raises(ArgumentError, match=message):
        model.set_params(**options).partial_fit(log, progress=False)
    assert bits(model) == before


def test_features_of_another_log_are_refused():
    """Their codes would mean other values."""
    model = trained(MANY, user_features=["taste"])
    other = read_interactions(
        {**MANY, "taste": MANY["taste"][::-1]}, user_features=["taste"], progress=False,
    )
    known = Interactions(
        model.log_.user_keys, model.log_.item_keys, other.offsets, other.items, other.timestamps,
        other.user_features,
    )
    with pytest.raises(ArgumentError, match="one with other user_features 'taste'"):
        model.partial_fit(known, progress=False)
    with pytest.raises(ArgumentError, match="user_features: expected features of the log: none, got taste"):
        trained(read_interactions(MANY, progress=False), user_features=["taste"])


def test_bad_arguments_of_fit(bad_fit_arguments):
    message, arguments = bad_fit_arguments
    model = YouTubeDNN(8)
    with pytest.raises(ArgumentError, match=message):
        model.fit(LOG, **{"progress": False, **arguments})
    assert not hasattr(model, "log_")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_tiny_logs(sampler, timestamp):
    for users, items in (([1, 1], [1, 2]), ([1, 2], [1, 2]), ([-1] * 5, [-7, 7, -7, -7, 7]), ([5] * 3, [3, 3, 4])):
        log = {"user": users, "item": items, "timestamp": np.zeros(len(users))}
        model = trained(log, sampler=sampler, timestamp=timestamp)
        assert np.isfinite(model.item_vectors_).all()
        found = model.recommend(users[:1], 2, exclude_seen=False)
        assert sorted(found.items[0]) == sorted(set(items))
        assert model.log_.num_events == len(items)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_divergence(optimizer):
    model = trained()
    before = bits(model)
    model.set_params(
        optimizer=optimizer, learning_rate=1e6, normalize=False, temperature=1e-3, hidden_units=(16, 16),
    )
    with pytest.raises(TrainingDivergedError, match=r"in epoch 1: .*; lower learning_rate; no checkpoint was asked"):
        model.fit(LOG, progress=False)
    assert bits(model) == before


def test_a_step_that_is_cut_short_leaves_what_was_before(monkeypatch):
    """A second Ctrl-C raises anywhere, also while rows are changed."""
    model = trained()
    before = bits(model)
    learn, calls = RetrievalModel.learn, []

    def cut_short(self, *arguments):
        calls.append(0)
        loss = learn(self, *arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(RetrievalModel, "learn", cut_short)
    with pytest.raises(KeyboardInterrupt):
        model.fit(LOG, progress=False)
    assert len(calls) == 3
    assert bits(model) == before
