"""files.py: an older file survives whatever happens to a newer one."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from numba_ss import ArgumentError
from numba_ss.io import files
from numba_ss.io.files import require_distinct, require_writable, whole_file
from tests.conftest import names

posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and pipes are POSIX's")


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
    monkeypatch.setattr(files.os, "open", lambda *_: (_ for _ in ()).throw(OSError("no")))
    files._sync_folder(tmp_path)


@posix
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


def write(path, content=b"new"):
    with whole_file(path) as file:
        file.write(content)


@posix
def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("older", "new"):
        target, link = tmp_path / "there" / name, tmp_path / name
        link.symlink_to(target)
        if name == "older":
            target.write_bytes(b"old")
        write(link)
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
    assert names(tmp_path / "there") == ["new", "older"]


@posix
def test_the_mode_of_an_older_file_is_kept(tmp_path):
    path = tmp_path / "name.bin"
    path.write_bytes(b"old")
    for mode in (0o600, 0o664):
        path.chmod(mode)
        with whole_file(path) as file:
            (partial,) = tmp_path.glob(".*.partial")
            assert partial.stat().st_mode & 0o777 & ~mode == 0
            file.write(b"new")
        assert path.stat().st_mode & 0o777 == mode


@posix
def test_the_mask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    """All threads share it: if it were changed, files of other threads would be open to all."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("changed"))
    write(tmp_path / "name.bin")


@posix
def test_a_pipe_stays_one_and_gets_all_bytes(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    with whole_file(path) as file:
        file.write(b"old")
        file.seek(0)
        file.write(b"new")
    reader.join()
    assert got == [b"new"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_writable(tmp_path):
    (tmp_path / "older").write_text("mine")
    for name in ("older", "new"):
        require_writable("--output", tmp_path / name)
        require_writable("--output", str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["older"]
    assert (tmp_path / "older").read_text() == "mine"
    with pytest.raises(ArgumentError, match="--history: expected a file, got the folder"):
        require_writable("--history", tmp_path)
    with pytest.raises(ArgumentError, match="--history: expected a file in a folder that exists"):
        require_writable("--history", tmp_path / "absent" / "new")
    with pytest.raises(ArgumentError, match="a file in a folder that exists"):
        require_writable("--history", tmp_path / "older" / "new")


@posix
def test_a_device_stays_one(tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "link"):
        require_writable("--output", path)
        write(path)
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_folders_are_refused(tmp_path):
    for check in (write, lambda path: require_writable(str(path), path)):
        with pytest.raises(ArgumentError, match="expected a file, got the folder"):
            check(tmp_path)
    assert names(tmp_path) == []


def test_what_is_not_to_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "name.bin").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    for check in (write, lambda path: require_writable("--output", path)):
        with pytest.raises(ArgumentError, match=r"expected a file that may be written, got .*name.bin"):
            check(tmp_path / "name.bin")
    assert (tmp_path / "name.bin").read_bytes() == b"old"


def test_long_names(tmp_path):
    longest = tmp_path / ("ä" * 127 + "b")
    require_writable("--output", longest)
    write(longest)
    assert names(tmp_path) == [longest.name]
    too_long = tmp_path / ("b" * 256)
    for check in (write, lambda path: require_writable("--output", path)):
        with pytest.raises(OSError, match="b" * 256):
            check(too_long)


def test_errors_name_the_file(tmp_path):
    def fill_the_disk(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*name\.bin'") as caught:
        with whole_file(tmp_path / "name.bin") as file:
            fill_the_disk(file)
    assert caught.value.errno == 28


SCRIPT = """
import os, signal, sys
from numba_ss.io.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"part")
    print("written", flush=True)
    sys.stdin.read()
"""


@posix
def test_the_next_one_clears_what_a_killed_process_left(tmp_path):
    path, other = tmp_path / "name.bin", tmp_path / "name.bin.gz"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in (path, path, other)
    ]
    for process in processes:
        assert process.stdout.readline() == b"written\n"
    for i in (0, 2):
        processes[i].send_signal(signal.SIGKILL)
        processes[i].communicate()
    assert len(names(tmp_path)) == 3
    require_writable("--output", path)
    # The second one is at work, and the third one's file is another.
    assert sum(name.startswith(".name.bin.") for name in names(tmp_path)) == 2
    processes[1].communicate(b"")
    assert processes[1].returncode == 0
    assert path.read_bytes() == b"part"
    write(other)
    assert names(tmp_path) == ["name.bin", "name.bin.gz"]


@posix
def test_a_file_that_was_cleared_before_its_lock_is_made_anew(tmp_path, monkeypatch):
    real, calls = files._lock, []

    def slow(descriptor, *, wait):
        if wait and not calls:
            calls.extend(tmp_path.iterdir())
            calls[0].unlink()
        return real(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", slow)
    write(tmp_path / "name.bin")
    assert len(calls) == 1
    assert (tmp_path / "name.bin").read_bytes() == b"new"


@posix
def test_without_locks_nothing_is_cleared(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    (tmp_path / ".name.bin.00000000.partial").touch()
    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    write(tmp_path / "name.bin")
    assert names(tmp_path) == [".name.bin.00000000.partial", "name.bin"]


def refused(outputs, inputs=None):
    """Return what is said of outputs and inputs, if anything."""
    try:
        require_distinct(outputs, inputs or {})
    except ArgumentError as error:
        return str(error)
    return None


@posix
def test_no_output_is_an_input_by_whatever_name(tmp_path, monkeypatch):
    folder = tmp_path / "logs"
    (folder / "deep").mkdir(parents=True)
    log, deep = folder / "log.csv", folder / "deep" / "log.csv"
    for path in (log, deep, tmp_path / "other"):
        path.write_bytes(b"a")
    (tmp_path / "link").symlink_to(log)
    (tmp_path / "door").symlink_to(folder)
    os.link(log, tmp_path / "hard")
    monkeypatch.chdir(folder)
    names = (log, str(log), "log.csv", "../logs/./log.csv", tmp_path / "link", tmp_path / "hard",
             tmp_path / "door" / "log.csv")
    for output in names:
        for source in (log, [tmp_path / "other", str(log)], folder, str(folder / "*.csv"),
                       tmp_path / "link", [str(tmp_path / "door")], str(tmp_path / "**" / "*.csv"),
                       tmp_path / "hard"):
            message = refused({"--output": output}, {"LOG": source})
            assert message is not None
            assert message.startswith(f"--output: expected another file than LOG, got {output}")
    assert "--output" in refused({"--output": deep}, {"LOG": folder})
    assert "--checkpoint" in refused({"--checkpoint": folder}, {"LOG": tmp_path / "door"})
    for free in (None, "new.csv", tmp_path / "other", tmp_path / "new" / "file"):
        assert refused({"--output": free}, {"LOG": [log, folder, "no-*.csv", "-"]}) is None
    # What is no path is no file, even if a file is called so.
    assert refused({"--output": log}, {"LOG": object(), "words": None, "pairs": [(log, log)]}) is None


@posix
def test_no_two_outputs_are_one(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    for other in ("new", "./new", tmp_path / "link"):
        message = refused({"--output": tmp_path / "new", "--history": other})
        assert message.startswith(f"--history: expected another file than --output, got {other}")
    assert refused({"--output": ["a.tsv", "a_metadata.tsv"], "--history": "a_metadata.tsv"})
    assert refused({"--output": ["a.tsv", "a_metadata.tsv"], "--history": "b.json"}) is None
    assert refused({"--output": "/dev/null", "--history": "/dev/null"}, {"LOG": "/dev/null"}) is None


@posix
def test_links_that_lead_nowhere_are_no_obstacle(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "self").symlink_to("self")
    (tmp_path / "texts" / "gone").symlink_to("absent")
    require_distinct({"--output": str(tmp_path / "v.npz")}, {"the text": str(tmp_path / "texts")})


ASCII = """
import sys
from numba_ss.io.files import whole_file
for name in sys.argv[1:]:
    with whole_file(name) as file:
        file.write(b"new")
"""


@posix
def test_any_name_where_the_system_speaks_ascii(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    wanted = ["ü.npz", "ü" * 125]
    subprocess.run([sys.executable, "-c", ASCII, *wanted], cwd=tmp_path, env=os.environ | plain, check=True)
    assert names(tmp_path) == sorted(wanted)
