"""blocks.py: rounds of blocks against `fit`, and against a planted structure."""

import pickle

import numpy as np
import pytest

from numba_ss import YouTubeDNN, read_interactions
from numba_ss.retrieval.blocks import RetrievalWork
from numba_ss.retrieval.first_rows import FirstRows
from numba_ss.retrieval.training_set import TrainingSet
from tests.conftest import JIT, needs_jit
from tests.distributed.toy import Given

NUM_USERS, NUM_ITEMS, LENGTH = (200, 300, 20) if JIT else (12, 40, 6)
BATCH = 128 if JIT else 16
CASES = {
    "plain": {},
    "no layer": {"hidden_units": ()},
    "sgd": {"optimizer": "sgd"},
    "features": {"user_features": ("user", "age"), "item_features": ("kind",), "l2": 0.01},
    "unordered": {"timestamp": None},
    "uniform": {"sampler": "uniform"},
    "in batch": {"sampler": "in_batch"},
    "mixed": {"sampler": "mixed"},
    "held out": {"validation": 0.5},
}


def columns(seed=0):
    """Return a log, in which a user likes the items of one of five kinds."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(NUM_USERS), LENGTH)
    items = rng.integers(NUM_ITEMS // 5, size=len(users)) * 5 + users % 5
    noise = rng.random(len(users)) < 0.1
    items[noise] = rng.integers(NUM_ITEMS, size=noise.sum())
    return {
        "user": users, "item": items, "timestamp": np.arange(len(users)), "age": users % 7,
        "kind": items % 11,
    }


def estimator(**options):
    given = {"epochs": 2, "batch_size": BATCH, "num_sampled": 10, "num_threads": 1, **options}
    return YouTubeDNN(12, **given)


def make_work(model, block_size, blocks_per_round):
    """Return the work of a new run of an estimator."""
    given = columns()
    if model.timestamp is None:
        del given["timestamp"]
    log = read_interactions(
        given, timestamp=model.timestamp, progress=False,
        user_features=[name for name in model.user_features if name != "user"],
        item_features=model.item_features,
    )
    options = model._checked()
    data = TrainingSet.of(log, options)
    whole = data.make_model(options, 0)
    first = FirstRows(
        log.num_items, data.rows.total, whole.options, (*data.rows.user, *data.rows.item)
    )
    work = RetrievalWork(
        first, whole.sampler, data.events, data.positions, rate=options["learning_rate"],
        batch_size=options["batch_size"], first_epoch=0, block_size=block_size,
        blocks_per_round=blocks_per_round,
    )
    return log, pickle.loads(pickle.dumps(work))


def train(work, epochs=2):
    """Return the tables after some epochs, and the mean loss of each."""
    tables = {
        name: work.first_rows(name, 0, shape.num_rows) for name, shape in work.tables.items()
    }
    losses = []
    for epoch in range(epochs):
        loss = events = 0
        for blocks in work.rounds(epoch):
            before = {name: table.copy() for name, table in tables.items()}
            for block in blocks:
                prepared = pickle.loads(pickle.dumps(work.prepare(epoch, block)))
                rows = {name: Given(before[name][ids]) for name, ids in prepared.ids.items()}
                trained = work.train(prepared, rows, len(blocks))
                for name, ids in prepared.ids.items():
                    if len(blocks) == 1:
                        tables[name][ids] = trained.rows[name]
                    else:
                        tables[name][ids] += trained.rows[name] - before[name][ids]
                loss, events = loss + trained.figures["loss"], events + trained.figures["events"]
        losses.append(loss / events)
    return tables, losses


@pytest.mark.parametrize("block_size", [1, 4 * BATCH])
@pytest.mark.parametrize("name", CASES)
def test_one_block_a_round_is_fit(name, block_size):
    model = estimator(**CASES[name])
    log, work = make_work(model, block_size, 1)
    tables, losses = train(work)
    model.fit(log, progress=False)
    learned = model._model.arrays()
    assert sorted(tables) == sorted(key for key, array in learned.items() if array.size)
    for key, table in tables.items():
        np.testing.assert_array_equal(table.reshape(learned[key].shape), learned[key], key)
    np.testing.assert_allclose(losses, [entry["loss"] for entry in model.history_], rtol=1e-12)


def test_a_block_knows_no_keys():
    model = estimator(user_features=("user",))
    _, work = make_work(model, None, 4)
    assert b"Interactions" not in pickle.dumps(work)


def test_rounds_have_each_batch_once():
    size = LENGTH // 2
    _, work = make_work(estimator(batch_size=size), 3 * size, 4)
    rounds = work.rounds(0)
    blocks = [block for one in rounds for block in one]
    assert blocks == list(range(len(blocks)))
    assert {len(one) for one in rounds[:-1]} == {4}
    events = [work.prepare(0, block).payload["events"] for block in blocks]
    assert sum(events) == LENGTH * NUM_USERS
    assert set(events[:-1]) == {3 * size}
    num_batches = 2 * NUM_USERS
    assert [work.batches_until(1, index) for index in (0, 1)] == [num_batches, num_batches + 12]
    assert work.batches_until(0, len(rounds)) == num_batches


def test_a_block_has_only_the_rows_that_it_needs():
    _, work = make_work(estimator(batch_size=8, num_sampled=3, **CASES["features"]), 1, 1)
    ids = work.prepare(1, 2).ids
    assert len(ids["items"]) <= 8 + 3 + 8 * LENGTH
    for name, rows in ids.items():
        assert len(np.unique(rows)) == len(rows)
        assert 0 <= rows.min() <= rows.max() < work.tables[name].num_rows
    again = work.prepare(1, 2).ids
    for name, rows in ids.items():
        np.testing.assert_array_equal(rows, again[name])


def test_a_loss_that_is_not_finite_is_reported():
    _, work = make_work(estimator(), 2 * BATCH, 1)
    prepared = work.prepare(0, 0)
    rows = {name: work.first_rows(name, 0, shape.num_rows) for name, shape in work.tables.items()}
    rows["items"][:] = np.nan
    rows = {name: Given(rows[name][ids]) for name, ids in prepared.ids.items()}
    assert not np.isfinite(work.train(prepared, rows, 1).figures["loss"])


@needs_jit
@pytest.mark.parametrize("name", ["plain", "no layer", "sgd", "features", "mixed"])
def test_eight_blocks_a_round_learn_the_planted_kinds(name):
    """A fifth of the items is each user's own kind, so chance gives .2.

    In so few rounds, what becomes the blocks' mean learns less than on one machine: the network,
    and with plain gradient descent all rows.
    """
    model = estimator(**{**CASES[name], "epochs": 10, "batch_size": 32})
    log, work = make_work(model, 64, 8)
    tables, losses = train(work, 10)
    model.fit(log, progress=False)
    assert losses[-1] < 0.6 * losses[0]

    def share():
        found = model.recommend(k=10, exclude_seen=False)
        return np.mean(found.items % 5 == found.users[:, None] % 5)

    alone = share()
    arrays = model._model.arrays()
    model._model.load({
        key: tables[key].reshape(array.shape) if key in tables else array
        for key, array in arrays.items()
    })
    vars(model)["item_vectors_"] = model._model.item_vectors(model._item_rows)
    assert share() > (0.35 if name == "sgd" else 0.6) * alone
    assert alone > 0.7
