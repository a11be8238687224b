"""checkpoints.py: only whole checkpoints count, and old ones go."""

import json
import subprocess
import sys

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.distributed.checkpoints import RoundFolder
from tests.conftest import names


def write(folder, rounds, state=None):
    saved = folder.begin(2, rounds, 0, rounds)
    for shard in range(2):
        np.savez(saved.file(shard), rows=np.arange(9))
    folder.finish(saved, state or {})
    return saved


def test_the_newest_is_found_and_two_are_kept(tmp_path):
    folder = RoundFolder(tmp_path / "new")
    assert folder.load() is None
    for rounds in (3, 5, 9):
        saved = write(folder, rounds, {"words": rounds})
    assert names(folder.path) == ["checkpoint-2", "checkpoint-3"]
    found = RoundFolder(tmp_path / "new").load()
    assert found == (saved, {"words": 9})
    assert (found.saved.num_shards, found.saved.rounds, found.saved.epoch, found.saved.index) == (2, 9, 0, 9)


def test_one_that_is_held_stays(tmp_path):
    folder = RoundFolder(tmp_path)
    best = write(folder, 1)
    folder.hold(best)
    for rounds in (2, 3, 4):
        write(folder, rounds)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3", "checkpoint-4", "checkpoint-held"]
    assert RoundFolder(tmp_path).held().saved == best
    folder.hold(folder.load().saved)
    write(folder, 5)
    assert names(tmp_path) == ["checkpoint-4", "checkpoint-5", "checkpoint-held"]


def test_half_a_checkpoint_is_none(tmp_path):
    folder = RoundFolder(tmp_path)
    assert folder.held() is None
    whole = write(folder, 1)
    half = folder.begin(2, 2, 0, 2)
    half.file(0).write_bytes(b"rows")
    assert folder.load().saved == whole
    with pytest.raises(ArgumentError, match=r"shard-1-of-2\.npz of another machine is missing"):
        folder.finish(half, {})
    assert RoundFolder(tmp_path).load().saved == whole
    RoundFolder(tmp_path).claim()
    assert names(tmp_path) == ["checkpoint-1"]


def test_what_other_programs_call_a_checkpoint_stays(tmp_path):
    theirs = tmp_path / "checkpoint-500" / "model.safetensors"
    theirs.parent.mkdir()
    for file in (theirs, tmp_path / "trial", tmp_path / "held"):
        file.write_text("theirs")
    folder = RoundFolder(tmp_path)
    folder.claim()
    for rounds in (1, 2, 3):
        write(folder, rounds)
    expected = ["checkpoint-500", "checkpoint-502", "checkpoint-503", "held", "trial"]
    assert names(tmp_path) == expected
    assert {file.read_text() for file in (theirs, tmp_path / "trial", tmp_path / "held")} == {"theirs"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"state": 5}', '{"state": {}, "rounds": -1}'])
def test_a_damaged_state_is_refused(tmp_path, text):
    saved = write(RoundFolder(tmp_path), 1)
    (tmp_path / "checkpoint-1" / "state.json").write_text(text)
    with pytest.raises(ArgumentError, match="state of a run on a cluster"):
        RoundFolder(tmp_path).load()
    assert saved.rounds == 1


@pytest.mark.parametrize("name", ["state.json", "shard-1-of-2.npz"])
def test_a_damaged_checkpoint_is_skipped(tmp_path, caplog, name):
    write(RoundFolder(tmp_path), 1)
    sound = write(RoundFolder(tmp_path), 2)
    damaged = tmp_path / "checkpoint-3" / name
    write(RoundFolder(tmp_path), 3)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    folder = RoundFolder(tmp_path)
    assert folder.load().saved == sound
    assert f"checkpoint-3/{name}" in caplog.text
    write(folder, 4)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"]


def test_a_folder_may_move(tmp_path):
    write(RoundFolder(tmp_path / "here"), 1)
    (tmp_path / "here").rename(tmp_path / "there")
    found = RoundFolder(tmp_path / "there").load()
    assert np.load(found.saved.file(0))["rows"][-1] == 8
    assert "here" not in json.dumps((tmp_path / "there/checkpoint-1/state.json").read_text())


def test_two_processes_do_not_save_into_one_folder(tmp_path):
    folder = RoundFolder(tmp_path)
    folder.claim()
    script = "import sys; from numba_ss.distributed.checkpoints import RoundFolder; RoundFolder(sys.argv[1]).claim()"
    other = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert "expected one that no other process saves into" in other.stderr


@pytest.mark.parametrize("path", ["s3://bucket/run", "gs://bucket"])
def test_a_path_of_another_machine_is_refused(path):
    with pytest.raises(ArgumentError, match="checkpoint: expected a path of this machine"):
        RoundFolder(path)
