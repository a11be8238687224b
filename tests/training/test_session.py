"""session.py: what is checked before any data is read, and which checkpoints a run goes on from."""

from pathlib import Path

import numpy as np
import pytest

from numba_ss import ArgumentError, CheckpointFolder
from numba_ss.training.events import TrainingEvent
from numba_ss.training.session import FitSession, require_epochs, require_same

OPTIONS = {"size": 3, "epochs": 2, "num_threads": 1}


def session(callbacks=(), checkpoint=None, **options):
    return FitSession("model", {**OPTIONS, **options}, callbacks, False, checkpoint)


def test_all_callbacks_are_told_in_turn():
    seen = []
    event = TrainingEvent("step", 0, 5, 1.0, 0.1, "model")
    session([lambda event: seen.append((1, event)), lambda event: seen.append((2, event))]).notify(event)
    assert seen == [(1, event), (2, event)]


def test_the_folder_is_made_before_any_data_is_read(tmp_path):
    assert session(checkpoint=tmp_path / "new").folder.path.is_dir()
    assert session().folder is None


def test_bad_arguments_of_a_session(bad_fit_arguments):
    message, arguments = bad_fit_arguments
    given = {"callbacks": (), "progress": False, "checkpoint_minutes": 1.0, "checkpoint": None, "resume": False}
    given |= arguments
    with pytest.raises(ArgumentError, match=message):
        FitSession(
            "model", OPTIONS, given["callbacks"], given["progress"], given["checkpoint"],
            given["checkpoint_minutes"],
        ).newest(given["resume"])


def test_the_newest_checkpoint_is_found_by_who_asks_for_it(tmp_path):
    assert session().newest(False) is None
    assert session(checkpoint=tmp_path).newest(True) is None
    for epoch in (1, 2):
        CheckpointFolder(tmp_path).save({"weights": np.full(3, epoch)}, {"epoch": epoch})
    with pytest.raises(ArgumentError, match=r"^checkpoint: expected a folder without checkpoints, or resume=True"):
        session(checkpoint=tmp_path).newest(False)
    arrays, state, path = session(checkpoint=tmp_path).newest(True)
    assert (arrays["weights"].tolist(), state, path.name) == ([2, 2, 2], {"epoch": 2}, "checkpoint-2.npz")


def test_threads_and_epochs_may_change_and_nothing_else():
    fixed = session().fixed_options()
    assert fixed == {"size": 3}
    require_same(fixed, {"size": 3, "epochs": 9}, Path("c"))
    with pytest.raises(ArgumentError, match=r"^size: expected 4, as in c, got 3"):
        require_same(fixed, {"size": 4}, Path("c"))
    require_epochs(4, 4, Path("c"))
    with pytest.raises(ArgumentError, match=r"^epochs: expected at least 5, which c has done, got 4"):
        require_epochs(4, 5, Path("c"))
