"""inputs.py: which files a path names, whatever stands beside them."""

import os

import pytest

from numba_ss import ArgumentError
from numba_ss.io.inputs import find_files, warn_of_repeated


def write(folder, name, data=b"x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_find_files(tmp_path):
    names = ["b.txt", "a.txt", "B.txt", ".hidden", "inside/c.txt", "[x].txt", ".git/d.txt"]
    paths = {name: write(tmp_path, name) for name in names}
    ordered = [paths[name] for name in ("B.txt", "[x].txt", "a.txt", "b.txt")]
    with_inside = [*ordered, paths["inside/c.txt"]]
    assert find_files("corpus", tmp_path) == with_inside
    assert find_files("corpus", str(tmp_path) + os.sep) == with_inside
    assert find_files("corpus", str(tmp_path / "*.txt")) == ordered
    assert find_files("corpus", str(tmp_path / "**" / "c*")) == [paths["inside/c.txt"]]
    assert find_files("corpus", paths["[x].txt"]) == [paths["[x].txt"]]
    assert find_files("corpus", paths[".hidden"]) == [paths[".hidden"]]


def test_a_link_back_ends_no_search(tmp_path):
    path = write(tmp_path, "inside/c.txt")
    (tmp_path / "inside" / "back").symlink_to(tmp_path)
    assert find_files("corpus", tmp_path) == [path]


def test_checkpoints_beside_a_text_are_not_read(tmp_path):
    path = write(tmp_path, "a.txt")
    write(tmp_path, "checkpoint-1.npz")
    write(tmp_path, "saved/checkpoint-12.npz")
    for name in ("checkpoint-held", "checkpoint-3/state.json", "checkpoint-3/shard-0-of-2.npz"):
        write(tmp_path, f"cluster/{name}")
    other = write(tmp_path, "checkpoint-of-work.txt")
    third = write(tmp_path, "state/state.json")
    assert find_files("corpus", tmp_path) == [path, other, third]


def test_a_parquet_folder_has_other_files_too(tmp_path):
    folder = tmp_path / "table.parquet"
    part = write(folder, "part-0.parquet")
    write(folder, "_SUCCESS")
    assert find_files("corpus", folder) == [part]


@pytest.mark.parametrize(
    "value", ["the cat sat on the mat", "word " * 10_000, "nul\0", "*.nothing", "", "[", "a/**/b"]
)
def test_what_is_no_file(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"corpus: expected a file.*sentences are lists") as error:
        find_files("corpus", value)
    assert len(str(error.value)) < 300


def test_folders_without_files_and_other_things(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="a folder with files"):
        find_files("corpus", tmp_path / "empty")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ArgumentError, match='"-" for standard input'):
            find_files("corpus", tmp_path / "pipe")


def test_what_jobs_write_beside_their_text_is_none_of_it(tmp_path):
    paths = [write(tmp_path, name) for name in ("_chapter.txt", "day=1/part-0", "part-00000")]
    for name in ("_SUCCESS", "_committed_12", "day=1/_started_12", "_metadata", ".part-00000.crc"):
        write(tmp_path, name)
    assert find_files("corpus", tmp_path) == paths
    write(tmp_path, "day=1/_delta_log/0.json")
    with pytest.raises(ArgumentError, match=r"day=1: expected a folder of files that are all in force"):
        find_files("corpus", tmp_path)


def test_folders_behind_links_are_read_once(tmp_path):
    path = write(tmp_path, "elsewhere/a.txt")
    (tmp_path / "texts").mkdir()
    for name in ("one", "two"):
        (tmp_path / "texts" / name).symlink_to(path.parent)
    assert [path.name for path in find_files("corpus", tmp_path / "texts")] == ["a.txt"]


def test_links_that_lead_nowhere_are_told_of(tmp_path, caplog):
    path = write(tmp_path, "a.txt")
    for name in ("b.txt", "inside.txt"):
        (tmp_path / name).symlink_to(tmp_path / "not fetched" / name)
    (tmp_path / ".#lock").symlink_to("of an editor")
    for value in (tmp_path, tmp_path / "*.txt"):
        assert find_files("corpus", value) == [path]
    told = f"{tmp_path / 'b.txt'} is a link that leads nowhere; such links are left out, 2 in all"
    assert caplog.messages == [told] * 2


def test_files_that_are_given_twice_are_told_of(tmp_path, caplog):
    path, other = write(tmp_path, "a.txt"), write(tmp_path, "b.txt")
    (tmp_path / "link").symlink_to(path)
    warn_of_repeated([path, other])
    assert not caplog.messages
    warn_of_repeated([path, other, tmp_path / "link", path])
    assert caplog.messages == [f"{os.path.realpath(path)} is given 3 times, and is read as often"]
