"""growth.py: rows of features, held-out events, two logs as one, tables that grow."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.engine.samplers import UniformSampler
from numba_ss.logs.interactions import Interactions, read_interactions
from numba_ss.logs.keys import Keys
from numba_ss.retrieval.growth import (
    FeatureRows,
    choose_held_out,
    merge_logs,
    pack_log,
    positions_of,
    require_growth,
    training_events,
    unpack_log,
    warm_start,
)
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.model import RetrievalModel

TABLE = {
    "user": ["ann", "bob", "ann", "eve", "bob", "ann", "joe"],
    "item": [5, 6, 7, 5, 6, 8, 9],
    "timestamp": [3, 1, 2, 9, 5, 4, 0],
    "age": [30, 40, 30, None, 40, 30, 50],
    "town": ["x", "y", "x", "x", "y", "x", None],
    "kind": [1, 2, None, 1, 2, 3, 3],
}
FEATURES = {"user_features": ["age", "town"], "item_features": ["kind"]}
KINDS = ("user_features", "item_features")


def read(table=TABLE, **options):
    return read_interactions(table, **{**FEATURES, "progress": False, **options})


def events_of(log):
    """Return the events of each user in keys, with times, in order."""
    return {
        log.user_keys.take([u])[0]: list(
            zip(
                log.item_keys.take(log.history(u)).tolist(),
                [None] * len(log.history(u)) if log.timestamps is None
                else log.timestamps[log.offsets[u] : log.offsets[u + 1]].tolist(),
                strict=True,
            )
        )
        for u in range(log.num_users)
    }


def values_of(log):
    """Return the features of all users and items in keys, None where unknown."""
    return {
        name: [None if code == 0 else feature.keys.take([code - 1])[0] for code in feature.codes]
        for kind in KINDS for name, feature in getattr(log, kind).items()
    }


@pytest.mark.parametrize("by_id", [False, True])
def test_each_value_of_a_feature_has_a_row(by_id):
    log = read()
    rows = FeatureRows.of(log, by_id)
    sizes = [4 + 1] * by_id + [3 + 1, 2 + 1, 3 + 1]  # users, ages, towns, kinds; and unknown
    assert rows.sizes == tuple(sizes)
    assert rows.total == sum(sizes)
    assert rows.user + rows.item == tuple(np.cumsum([0, *sizes[:-1]]))
    assert len(rows.user) == 2 + by_id
    found = rows.of_users(log, np.array([2, 0, -1, 3]))
    assert found.shape == (4, 2 + by_id)
    # eve has no age, joe no town, and nothing is known of a stranger.
    local = (found - rows.user).tolist()
    columns = [[2 + 1, 0 + 1, 0, 3 + 1]] * by_id + [[0, 1, 0, 3], [1, 1, 0, 0]]
    assert local == np.transpose(columns).tolist()
    of_items = rows.of_items(log)
    keys = log.item_keys.take(np.arange(5)).tolist()
    kinds = {5: 1, 6: 2, 7: None, 8: 3, 9: 3}
    codes = [0 if kinds[key] is None else 1 + log.item_features["kind"].keys.codes([kinds[key]])[0] for key in keys]
    assert of_items.tolist() == [[rows.item[0] + code] for code in [*codes, 0]]


def test_no_features_no_rows():
    log = read(user_features=[], item_features=[])
    rows = FeatureRows.of(log, False)
    assert (rows.user, rows.item, rows.total) == ((), (), 0)
    assert rows.of_users(log, np.array([0, -1])).shape == (2, 0)
    assert rows.of_items(log).shape == (log.num_items + 1, 0)


def long_log(num_users=40):
    """Return a log of users with 1 to 4 different items each, user u with 1 + u % 4."""
    sizes = 1 + np.arange(num_users) % 4
    users = np.repeat(np.arange(num_users), sizes)
    return read_interactions(
        {"user": users, "item": np.arange(len(users)), "timestamp": np.arange(len(users))}, progress=False
    )


@pytest.mark.parametrize("share", [None, 0.1, 0.5, 1])
def test_held_out_events(share):
    log = long_log()
    held_out = choose_held_out(log, share, 7)
    assert held_out.sum() == round((share or 0) * 30)
    assert not held_out[::4].any()
    np.testing.assert_array_equal(held_out, choose_held_out(log, share, 7))
    if share in (0.1, 0.5):
        assert (held_out != choose_held_out(log, share, 8)).any()
    positions = positions_of(log, held_out)
    last = set((log.offsets[1:] - 1)[held_out].tolist())
    assert positions.tolist() == [p for p in range(log.num_events) if p not in last]
    events = training_events(log, FeatureRows.of(log, False), held_out)
    learned = [p for u in range(40) for p in range(events.offsets[u], events.ends[u])]
    assert learned == positions.tolist()


def test_held_out_of_chosen_events():
    log = long_log()
    chosen = np.arange(log.num_events) >= 50
    held_out = choose_held_out(log, 1.0, 1, chosen)
    last = log.offsets[1:] - 1
    assert held_out.tolist() == [bool(u % 4 and last[u] >= 50) for u in range(40)]
    positions = positions_of(log, held_out, chosen)
    assert positions.tolist() == [p for p in range(50, log.num_events) if p not in set(last[held_out].tolist())]


def test_held_out_items_are_new_to_their_user():
    log = read_interactions(
        {"user": [1, 1, 2, 2, 3, 3, 3, 4], "item": [1, 1, 1, 2, 2, 1, 2, 1], "timestamp": range(8)}, progress=False
    )
    assert choose_held_out(log, 1.0, 1).tolist() == [False, True, False, False]
    with pytest.raises(ArgumentError, match=r"^validation: expected a share that .*, got 0.1 of 1 such users"):
        choose_held_out(log, 0.1, 1)


@pytest.mark.parametrize("timed", [True, False])
def test_two_logs_as_one(timed):
    """The result is that of reading both at once, except for the order of the keys."""
    options = {} if timed else {"timestamp": None}
    more = {
        "user": ["zoe", "ann", "bob", "ann", "zoe"], "item": [3, 7, 9, 3, 6], "timestamp": [1, 2, 100, 3, 0],
        "age": [None, 31, 40, 31, 60], "town": ["z", None, "y", None, "z"], "kind": [4, 2, None, 4, 2],
    }
    old = read(**options)
    later = read(more, known=old, **options)
    whole, is_new = merge_logs(old, later)
    at_once = read({name: [*TABLE[name], *more[name]] for name in TABLE}, **options)
    assert events_of(whole) == events_of(at_once)
    assert (whole.num_events, is_new.sum()) == (12, 5)
    users = np.repeat(np.arange(whole.num_users), np.diff(whole.offsets))
    keys = list(zip(whole.user_keys.take(users).tolist(), whole.item_keys.take(whole.items).tolist(), strict=True))
    new = sorted(key for key, fresh in zip(keys, is_new, strict=True) if fresh)
    assert new == sorted(zip(more["user"], more["item"], strict=True))
    # Of the same time the old one comes first: ann took 7 at 2 twice, and 5 at 3 before 3.
    if timed:
        code = whole.user_keys.codes(["ann"])[0]
        part = slice(whole.offsets[code], whole.offsets[code + 1])
        assert is_new[part].tolist() == [False, True, False, True, False]
    assert values_of(whole) == values_of(later)
    assert whole.user_keys == later.user_keys
    assert len(whole.counts()) == whole.num_items


def test_logs_that_do_not_fit():
    old = read()
    untimed = read(timestamp=None, known=old)
    for pair in ((old, untimed), (untimed, read(known=untimed))):
        with pytest.raises(ArgumentError, match=r"^timestamp: expected times in both logs or in none, got"):
            merge_logs(*pair)
    for name, keys in (("user_keys", ["bob", "ann", "eve", "joe"]), ("item_keys", [5, 6])):
        parts = {**vars(old), name: Keys(keys)}
        with pytest.raises(ArgumentError, match=f"^interactions: expected a log that was .* other {name}"):
            merge_logs(old, Interactions(**parts))
    others = read({**TABLE, "town": ["y", *TABLE["town"][1:]]}, known=read(user_features=[]))
    with pytest.raises(ArgumentError, match=r"^interactions: .* one with other user_features 'town'"):
        merge_logs(old, others)


def test_growth():
    old = Keys(["a", "b"])
    for new in (old, Keys(["a", "b"]), Keys(["a", "b", "c"])):
        require_growth("x", "user_keys", old, new)
    for new in (Keys(["a"]), Keys(["b", "a"]), Keys([1, 2, 3])):
        with pytest.raises(ArgumentError, match=r"^x: .* one with other user_keys"):
            require_growth("x", "user_keys", old, new)


def make_model(log, rows, *, adaptive=True, seed=1):
    options = Options(
        dim=3, hidden_units=(4,), history_length=5, unordered=False, num_features=len(rows.user),
        num_sampled=2, subtract_log_q=True, normalize=True, temperature=1.0, adaptive=adaptive, l2=0.0, seed=seed,
    )
    model = RetrievalModel(log.num_items, rows.total, options, UniformSampler(log.num_items, seed=1))
    rng = np.random.default_rng(seed)
    for array in model.arrays().values():
        array[:] = rng.standard_normal(array.shape)
    return model


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_model_takes_over_what_a_smaller_one_learned(adaptive, by_id):
    """Each row has the position of its item, user or value in the larger log."""
    more = {"user": ["zoe"], "item": [3], "timestamp": [1], "age": [77], "town": ["q"], "kind": [9]}
    old = read()
    new = read(more, known=old)
    old_rows, rows = (FeatureRows.of(log, by_id) for log in (old, new))
    before, model = make_model(old, old_rows, adaptive=adaptive), make_model(new, rows, adaptive=adaptive, seed=2)
    fresh = {name: array.copy() for name, array in model.arrays().items()}
    warm_start(model, rows, before, old_rows)
    had, has = before.arrays(), model.arrays()
    for name in ("dense", "dense_squares"):
        np.testing.assert_array_equal(has[name], had[name])
    users = np.arange(old.num_users)
    pairs = [
        ("items", np.arange(5), np.arange(5)), ("items", [5], [6]),  # the empty history is the last
        ("features", old_rows.of_users(old, users), rows.of_users(old, users)),
        ("features", old_rows.of_items(old), rows.of_items(old)),
    ]
    touched = {"items": set(), "features": set()}
    for name, source, target in pairs:
        for form in (name, name.rstrip("s") + "_squares")[: 1 + adaptive]:
            np.testing.assert_array_equal(has[form][target], had[form][source])
        touched[name] |= set(np.asarray(target).reshape(-1).tolist())
    # What is new is as it was made: an item, and a row of each feature.
    assert (has["items"][5] == fresh["items"][5]).all()
    ends = np.cumsum(rows.sizes) - 1
    np.testing.assert_array_equal(has["features"][ends], fresh["features"][ends])
    assert len(touched["items"]) == 6
    transposed = model.tower.transposed.copy()
    model.tower.transpose()
    np.testing.assert_array_equal(transposed, model.tower.transposed)


@pytest.mark.parametrize("options", [{}, {"timestamp": None}, {"user_features": []}, {"user": "item", "item": "user"}])
def test_packed_logs(options):
    log = read(**options)
    arrays, layout = pack_log(log)
    assert all(array.dtype.kind in "iuf" and name.isidentifier() for name, array in arrays.items())
    again = unpack_log("file", arrays, layout)
    assert events_of(again) == events_of(log)
    assert values_of(again) == values_of(log)
    assert (again.user_keys, again.item_keys) == (log.user_keys, log.item_keys)
    for kind in KINDS:
        assert list(getattr(again, kind)) == list(getattr(log, kind))


def test_a_packed_log_that_is_torn():
    arrays, layout = pack_log(read())
    with pytest.raises(ArgumentError, match=r"^file: expected the arrays"):
        unpack_log("file", {k: v for k, v in arrays.items() if k != "user_keys_words"}, layout)
