"""A run on a cluster: what it tells, where it stops, and what it goes back to."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import (
    ArgumentError,
    CheckpointFolder,
    RayCluster,
    StopTraining,
    TrainingDivergedError,
)
from numba_ss.distributed.checkpoints import RoundFolder
from numba_ss.distributed.local import LocalCluster
from numba_ss.distributed.rounds import Rounds
from numba_ss.distributed.run import ClusterRun, checkpoints_of, require_folder
from numba_ss.training.run import RunState
from numba_ss.training.session import FitSession
from tests.distributed.toy import Toy


def test_only_a_description_of_machines_is_a_cluster():
    assert checkpoints_of(None) is CheckpointFolder
    assert checkpoints_of(RayCluster()) is RoundFolder
    for wrong in ("auto", 4, RayCluster):
        with pytest.raises(ArgumentError, match="cluster: expected a RayCluster or None, got "):
            checkpoints_of(wrong)


class ToyRun(ClusterRun):
    """Trains a `Toy`; its result is all rows."""

    unit, monitored, grows = "blocks", "loss", False

    def __init__(self, session, toy=None, **options):
        rounds = Rounds(LocalCluster(2, 3), toy or Toy())
        given = {"epochs": 3, "patience": None, "first_epoch": 0, "epoch_size": 12, "rate": 0.5}
        super().__init__(session, rounds, RunState(), **{**given, **options})
        self.figures = []

    def take(self, done):
        self.figures += done.figures
        self.state.examples += len(done.figures)

    def done(self):
        return 4 * self.state.position

    def mean_loss(self):
        return float(np.mean([figure["loss"] for figure in self.figures]))

    def validate(self):
        return self.moved() | {"loss": self.mean_loss()}

    def publish(self, *, last):
        self.session.estimator.rows = self.rounds.rows("inputs", 0, 400)


def session(callbacks=(), checkpoint=None, **options):
    return FitSession(
        SimpleNamespace(rows=None), options, callbacks, False, checkpoint, folder=RoundFolder
    )


def test_a_run_tells_what_was_moved():
    run = ToyRun(session())
    run.run()
    row_bytes = 4 * (7 * 12 + 9 * 12 * 4 / 5)
    for entry in run.state.history:
        assert entry["bytes_pulled"] > 100 * row_bytes
        assert entry["bytes_pushed"] > 100 * row_bytes
        assert 0 <= entry["waiting"] <= 1
    assert run.moved()["bytes_pulled"] == 0
    assert [figure["block"] for figure in run.figures] == 3 * list(range(12))


def test_a_stopped_run_has_learned_whole_rounds():
    def stop(event):
        if event.kind == "step" and event.examples == 8:
            raise StopTraining

    run = ToyRun(session(stop))
    run.run()
    assert run.state.position == 2
    assert run.rounds.place.rounds == 2


def test_an_error_leaves_the_last_epoch_if_there_is_a_checkpoint(tmp_path):
    def fail(event):
        if event.kind == "step" and event.examples == 16:
            raise ValueError("mine")

    whole = ToyRun(session(), epochs=1)
    whole.run()
    run = ToyRun(session(fail, tmp_path / "checkpoints"))
    with pytest.raises(ValueError, match="mine"):
        run.run()
    np.testing.assert_array_equal(run.session.estimator.rows, whole.session.estimator.rows)


def test_an_error_without_a_checkpoint_leaves_what_was_there():
    def fail(event):
        if event.kind == "step" and event.examples == 16:
            raise ValueError("mine")

    whole = ToyRun(session(), epochs=1)
    whole.run()
    run = ToyRun(session(fail))
    with pytest.raises(ValueError, match="mine") as caught:
        run.run()
    assert not hasattr(caught.value, "__notes__")
    # They were published for the event "epoch".
    np.testing.assert_array_equal(run.session.estimator.rows, whole.session.estimator.rows)


def test_a_row_that_is_not_finite_ends_the_run():
    class Broken(Toy):
        def train(self, prepared, rows, num_blocks):
            trained = super().train(prepared, rows, num_blocks)
            trained.rows["inputs"][0, 0] = np.nan
            return trained

    run = ToyRun(session(), Broken())
    with pytest.raises(TrainingDivergedError, match="NaN or infinite"):
        run.run()
    assert run.session.estimator.rows is None


def test_early_stopping_needs_a_folder():
    require_folder(session())
    with pytest.raises(ArgumentError, match="early_stopping: expected None on a cluster, or a folder"):
        require_folder(session(early_stopping=1))


def test_the_log_names_checkpoints(tmp_path, caplog):
    caplog.set_level(logging.INFO, "numba_ss")
    ToyRun(session(checkpoint=tmp_path / "checkpoints"), epochs=1).run()
    assert "checkpoint-" in caplog.text
