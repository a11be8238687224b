"""cluster.py: `fit` on a cluster within this process."""

import contextlib

import numpy as np
import pytest

from numba_ss import ArgumentError, StopTraining, TrainingDivergedError
from numba_ss.distributed.local import LocalCluster
from numba_ss.retrieval.model import RetrievalModel
from tests.conftest import JIT, needs_jit
from tests.distributed.test_ray_runtime import ISOLATED, on_ray
from tests.retrieval.test_blocks import BATCH, CASES, columns, estimator


class Rehearsal:
    """A cluster within this process."""

    def __init__(self, num_workers=1, num_shards=1, *, block_size=2 * BATCH, blocks_per_round=1):
        self.shape, self.block_size, self.blocks_per_round = (
            (num_workers, num_shards), block_size, blocks_per_round
        )
        self.tables = None

    def sizes(self):
        return {"block_size": self.block_size, "blocks_per_round": self.blocks_per_round}

    @contextlib.contextmanager
    def open(self):
        yield LocalCluster(*self.shape)


def same(one, two):
    arrays = two._model.arrays()
    for name, array in one._model.arrays().items():
        np.testing.assert_array_equal(array, arrays[name], name)
    np.testing.assert_array_equal(one.item_vectors_, two.item_vectors_)
    for name, value in one._stream.items():
        assert value == two._stream[name], name


def log_of(model, seed=0):
    given = columns(seed)
    if model.timestamp is None:
        del given["timestamp"]
    return given


def fit(cluster=None, seed=0, **options):
    model = estimator(**options)
    return model.fit(log_of(model, seed), progress=False, cluster=cluster)


@pytest.mark.parametrize("name", CASES)
def test_one_block_a_round_gives_the_bits_of_one_machine(name):
    here, there = fit(**CASES[name]), fit(Rehearsal(2, 3), **CASES[name])
    same(here, there)
    for one, two in zip(here.history_, there.history_, strict=True):
        assert one.keys() == two.keys()
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-12)
        for key in set(one) - {"loss", "seconds", "events_per_second"}:
            assert one[key] == two[key]


@pytest.mark.parametrize("name", ["plain", "features"])
def test_bits_do_not_depend_on_workers_and_shards(name):
    fitted = [
        fit(Rehearsal(*shape, block_size=BATCH, blocks_per_round=3), **CASES[name])
        for shape in ((1, 1), (2, 5), (3, 2))
    ]
    same(fitted[0], fitted[1])
    same(fitted[0], fitted[2])


def test_a_further_fit_gives_the_bits_of_one_machine():
    here, there = fit(**CASES["features"]), fit(Rehearsal(), **CASES["features"])
    more = columns(1)
    more["user"] = more["user"] + 2
    more["item"] = more["item"] + 3
    here.partial_fit(more, progress=False)
    there.partial_fit(more, progress=False, cluster=Rehearsal(2, 2))
    same(here, there)
    assert len(there.history_) == 4


def test_a_stream_of_batches_is_refused():
    model = fit(sampler="in_batch")
    before = model.item_vectors_
    with pytest.raises(ArgumentError, match="the last two in fit only, got in_batch"):
        model.partial_fit(columns(1), progress=False, cluster=Rehearsal())
    assert model.item_vectors_ is before


@pytest.mark.parametrize("moment", [1, 3, "epoch"])
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(tmp_path, moment):
    whole = fit(Rehearsal(blocks_per_round=2), validation=0.5)
    steps = []

    def stop(event):
        if event.kind in ("step", "epoch"):
            steps.append(event.kind)
            if moment in (len(steps), event.kind):
                raise StopTraining

    folder = tmp_path / "checkpoints"
    options = {"checkpoint": folder, "progress": False}
    part = estimator(validation=0.5)
    part.fit(log_of(part), cluster=Rehearsal(blocks_per_round=2), callbacks=stop, **options)
    assert (part.item_vectors_ != whole.item_vectors_).any()
    rest = estimator(validation=0.5)
    rest.fit(log_of(rest), cluster=Rehearsal(1, 3, blocks_per_round=2), resume=True, **options)
    same(whole, rest)
    assert [entry["loss"] for entry in rest.history_] == pytest.approx(
        [entry["loss"] for entry in whole.history_]
    )


def test_another_log_or_block_is_refused(tmp_path):
    options = {"checkpoint": tmp_path, "progress": False}
    model = estimator(epochs=1)
    model.fit(log_of(model), cluster=Rehearsal(), **options)
    for log, cluster, name in (
        (columns(1), Rehearsal(), "log"), (columns(), Rehearsal(block_size=BATCH), "block_size"),
        (columns(), Rehearsal(blocks_per_round=2), "blocks_per_round"),
    ):
        with pytest.raises(ArgumentError, match=f"{name}: expected .*as in {tmp_path}"):
            model.fit(log, cluster=cluster, resume=True, **options)


def test_ctrl_c_leaves_what_was_learned():
    model = estimator()

    def interrupt(event):
        if event.kind == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(log_of(model), progress=False, cluster=Rehearsal(), callbacks=interrupt)
    assert np.isfinite(model.item_vectors_).all()


@pytest.mark.parametrize("bad", ["loss", "row"])
def test_a_divergence_is_reported(bad, monkeypatch):
    model = estimator()
    step = RetrievalModel.__mro__[1].step

    def broken(self, *arguments):
        loss = step(self, *arguments)
        if bad == "row":
            self.items[0] = np.inf
        return np.nan if bad == "loss" else loss

    monkeypatch.setattr(RetrievalModel.__mro__[1], "step", broken)
    with pytest.raises(TrainingDivergedError, match="NaN or infinite"):
        model.fit(log_of(model), progress=False, cluster=Rehearsal())
    assert not hasattr(model, "log_")


def test_early_stopping_puts_back_the_best_epoch(tmp_path):
    options = {"validation": 0.5, "early_stopping": 1, "epochs": 8, "learning_rate": 1.0}
    here = fit(**options)
    model = estimator(**options)
    model.fit(log_of(model), progress=False, cluster=Rehearsal(2, 2), checkpoint=tmp_path)
    assert len(here.history_) == len(model.history_) < 8 or not JIT
    same(here, model)


def test_the_best_epoch_is_known_after_a_stop(tmp_path):
    options = {"validation": 0.5, "early_stopping": 1, "epochs": 8, "learning_rate": 1.0}
    here = fit(**options)
    number = len(here.history_) - 1  # that after the best

    def stop(event):
        if event.kind == "step" and event.epoch == number:
            raise StopTraining

    for callbacks, resume in (stop, False), ((), True):
        model = estimator(**options)
        model.fit(
            log_of(model), progress=False, cluster=Rehearsal(), checkpoint=tmp_path,
            callbacks=callbacks, resume=resume,
        )
    same(here, model)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("early_stopping: expected None on a cluster, or a folder as checkpoint= of fit",
         {"validation": 0.5, "early_stopping": 1}),
        ("sampler: expected one that does not learn", {"sampler": "learned_unigram"}),
        ("tables: expected None for YouTubeDNN, .* got 'folder'", {}),
    ],
)
def test_what_a_cluster_cannot_do_is_told_before_the_log_is_read(message, options):
    cluster = Rehearsal()
    cluster.tables = None if options else "folder"
    model, fitted = estimator(**options), fit().set_params(**options)
    for learn in (model.fit, model.partial_fit, fitted.partial_fit):
        with pytest.raises(ArgumentError, match=message):
            learn("no log", progress=False, cluster=cluster)


@needs_jit
@pytest.mark.skipif(ISOLATED is None, reason="needs Ray, unshare and ip")
def test_ray_gives_the_same_bits():
    found = on_ray("items")
    assert found["ray"] == found["local"]
