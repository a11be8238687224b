"""_files.py: an older file survives whatever happens to a newer one."""

import os

import pytest

from numba_ss import _files
from numba_ss._files import whole_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "name.bin"
    for content in (b"old", b"new and longer"):
        with whole_file(path) as file:
            file.write(content)
        assert path.read_bytes() == content
        assert names(tmp_path) == ["name.bin"]


def test_nobody_sees_a_part(tmp_path):
    path = tmp_path / "name.bin"
    path.write_bytes(b"old")
    with whole_file(str(path)) as file:
        file.write(b"ne")
        file.flush()
        assert path.read_bytes() == b"old"
        (partial,) = set(names(tmp_path)) - {"name.bin"}
        assert partial.startswith(".name.bin.")
        assert partial.endswith(".partial")
        file.write(b"w")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_changes_nothing(tmp_path, error):
    path = tmp_path / "name.bin"
    path.write_bytes(b"old")

    def write_half(file):
        file.write(b"ne")
        raise error

    with pytest.raises(error), whole_file(path) as file:
        write_half(file)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["name.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_changes_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / "name.bin"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="disk"), whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["name.bin"]


def test_order_on_the_disk(tmp_path, monkeypatch):
    """First the bytes, then the name, then the folder that holds the name."""
    calls = []

    def spy(name):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: (calls.append(name), real(*args))[1])

    spy("fsync")
    spy("replace")
    with whole_file(tmp_path / "name.bin") as file:
        file.write(b"new")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_files.os, "open", lambda *_: (_ for _ in ()).throw(OSError("no")))
    _files._sync_folder(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_permissions_are_those_of_open(tmp_path):
    old = os.umask(0o027)
    try:
        with whole_file(tmp_path / "name.bin"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "name.bin").stat().st_mode & 0o777 == 0o640


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "none" / "name.bin"):
        pass
