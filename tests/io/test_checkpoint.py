"""checkpoint.py: killed, cut, flipped, on a full disk; what was saved comes back."""

import errno
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError, _checks
from numba_ss.io import checkpoint, files
from numba_ss.io.checkpoint import CheckpointFolder, checked_fields, checked_history, reading
from tests.conftest import names


def save_numbers(path, *numbers, keep=2):
    """Save checkpoints whose arrays repeat what the state says."""
    folder = CheckpointFolder(path, keep=keep)
    return [folder.save({"a": np.full(50, n), "b": np.full((3, 4), -n)}, {"n": n}) for n in numbers]


def loaded_number(path):
    arrays, state, _ = CheckpointFolder(path).load()
    np.testing.assert_array_equal(arrays["a"], np.full(50, state["n"]))
    np.testing.assert_array_equal(arrays["b"], np.full((3, 4), -state["n"]))
    return state["n"]


ARRAYS = {
    "c_order": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(40)[::-3],
    "bits": np.array([np.nan, np.inf, -0.0, 5e-324]),
    "empty": np.zeros((0, 7), np.float32),
    "scalar": np.array(3, np.uint8),
    "big_endian": np.arange(3, dtype=">i4"),
    "words": np.array(["a", "ähm", ""]),
    "flags": np.array([True, False]),
    "content": np.arange(2),
    "file": np.arange(2),
}
STATE = {"step": 2**63, "rate": 0.1 + 0.2, "words": ["ä", "\0"], "more": {"none": None, "on": True}}


def test_arrays_and_state_come_back(tmp_path):
    path = CheckpointFolder(tmp_path / "new" / "folder").save(ARRAYS, STATE)
    found = CheckpointFolder(path.parent).load()
    assert found.path == path
    assert found.state == STATE
    assert list(found.arrays) == list(ARRAYS)
    for name, want in ARRAYS.items():
        got = found.arrays[name]
        assert (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())
        assert got.flags.writeable


def test_numpy_and_json_read_the_file(tmp_path):
    path = CheckpointFolder(tmp_path).save(ARRAYS, STATE)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["fortran"], ARRAYS["fortran"])
        assert json.loads(file["content.json"]) == {"arrays": list(ARRAYS), "state": STATE}


def test_numbers_rise_and_old_ones_go(tmp_path):
    assert CheckpointFolder(tmp_path).load() is None
    save_numbers(tmp_path, *range(11), keep=3)
    assert names(tmp_path) == [f"checkpoint-{i}.npz" for i in (10, 11, 9)]
    assert loaded_number(tmp_path) == 10
    save_numbers(tmp_path, 77, keep=1)
    assert names(tmp_path) == ["checkpoint-12.npz"]
    (tmp_path / "checkpoint-x.npz").write_text("not ours")
    (tmp_path / "vectors.npz").write_text("not ours")
    save_numbers(tmp_path, 78, keep=1)
    assert names(tmp_path) == ["checkpoint-13.npz", "checkpoint-x.npz", "vectors.npz"]


@pytest.mark.parametrize(
    ("message", "arrays", "state"),
    [
        (r"arrays\['a'\].*got object", {"a": np.array([{}])}, {}),
        (r"arrays\['a'\].*got list", {"a": [1]}, {}),
        (r"arrays\['a'\].*got MaskedArray", {"a": np.ma.array([1, 2], mask=[0, 1])}, {}),
        ("arrays: .*got 'a/b'", {"a/b": np.ones(1)}, {}),
        ("arrays: .*got 1", {1: np.ones(1)}, {}),
        ("state: .*got list", {}, [1]),
        ("state: .*set", {}, {"a": {1}}),
        ("state: .*Out of range", {}, {"a": float("nan")}),
        ("state: .*int64", {}, {"a": np.int64(1)}),
        ("state: .*reads back", {}, {"a": (1, 2)}),
        ("state: .*reads back", {}, {"a": {1: 2}}),
    ],
)
def test_what_cannot_be_stored_exactly(tmp_path, message, arrays, state):
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(ArgumentError, match=message):
        folder.save(arrays, state)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("message", "arguments"), [("keep", {"keep": 0}), ("path", {"path": 3})])
def test_bad_arguments(tmp_path, message, arguments):
    with pytest.raises(ArgumentError, match=message):
        CheckpointFolder(**{"path": tmp_path, **arguments})


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        folder = CheckpointFolder(path)
        assert folder.load() is None
        for save in (folder.claim, lambda folder=folder: folder.save({}, {})):
            with pytest.raises(OSError, match=r"can be written to, got .*file"):
                save()


def test_full_disk_is_noticed_at_once(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="can be written to, got") as caught:
        CheckpointFolder(tmp_path).claim()
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_require(tmp_path, monkeypatch):
    saved = save_numbers(tmp_path, 1, 2)
    CheckpointFolder(tmp_path / "new").require(1)
    assert (tmp_path / "new").is_dir()
    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    room = 1000 + sum(path.stat().st_size for path in saved)
    folder.require(room)
    with pytest.raises(OSError, match=f"expected room for {room + 1:,} bytes, got {room:,}") as caught:
        folder.require(room + 1)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(ArgumentError, match="num_bytes"):
        folder.require(-1)


def test_disk_full_while_saving(tmp_path):
    """A limit on the size of files fails the write itself, in the middle of an array."""
    resource = pytest.importorskip("resource")
    save_numbers(tmp_path, 1, 2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    folder = CheckpointFolder(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint-3.npz could not .*kept: .*-1.npz, .*-2.npz") as caught:
            folder.save({"a": np.ones(1_000_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert str(tmp_path) in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    folder.save({}, {"n": 3})
    assert folder.load().state == {"n": 3}


def test_interrupted_when_the_file_has_its_name(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync_folder", interrupt)
        with pytest.raises(KeyboardInterrupt):
            folder.save({}, {"n": 1})
    folder.save({}, {"n": 2})
    assert folder.load().state == {"n": 2}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failing_write(tmp_path, monkeypatch, error):
    save_numbers(tmp_path, 1)
    folder = CheckpointFolder(tmp_path)

    def write_half(file, *_):
        file.write(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "write_state", write_half)
    with pytest.raises(type(error)) as caught:
        folder.save({}, {})
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)
    assert names(tmp_path) == ["checkpoint-1.npz"]


def test_old_file_that_cannot_be_removed_stops_nothing(tmp_path, caplog):
    (tmp_path / "checkpoint-1.npz").mkdir()
    save_numbers(tmp_path, 2, 3)
    assert "could not be removed" in caplog.text
    assert loaded_number(tmp_path) == 3


def damage_cut(data):
    return data[: len(data) // 2]


def damage_tail(data):
    return data[:-1]


def damage_flip(data):
    at = data.index(np.full(50, 2).tobytes())
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def damage_all(data):
    return b""


DAMAGES = [damage_cut, damage_tail, damage_flip, damage_all]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest(tmp_path, caplog, damage):
    _, newest = save_numbers(tmp_path, 1, 2)
    newest.write_bytes(damage(newest.read_bytes()))
    assert loaded_number(tmp_path) == 1
    assert "checkpoint-2.npz" in caplog.text


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path, rng):
    """Also bits in the records of the zip itself, which have no checksum."""
    _, newest = save_numbers(tmp_path, 1, 2)
    folder, data = CheckpointFolder(tmp_path), newest.read_bytes()
    numbers = set()
    directory = 8 * data.index(b"PK\1\2")
    for bit in [
        *rng.choice(directory, 200, replace=False),
        *rng.choice(range(directory, 8 * len(data)), 200, replace=False),
    ]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(flipped)
        arrays, state, _ = folder.load()
        assert (arrays["a"] == state["n"]).all()
        assert (arrays["b"] == -state["n"]).all()
        numbers.add(state["n"])
    assert numbers == {1, 2}


def test_all_damaged(tmp_path):
    for path in save_numbers(tmp_path, 1, 2):
        path.write_bytes(b"PK")
    with pytest.raises(ArgumentError, match=r"readable checkpoint, got .*-2\.npz.*-1\.npz"):
        CheckpointFolder(tmp_path).load()


def test_damaged_ones_do_not_count_as_kept(tmp_path):
    *_, newest = save_numbers(tmp_path, 1, 2)
    newest.write_bytes(b"PK")
    folder = CheckpointFolder(tmp_path)
    assert folder.load().state == {"n": 1}
    folder.save({}, {"n": 3})
    assert names(tmp_path) == ["checkpoint-1.npz", "checkpoint-3.npz"]


def test_nothing_is_unpickled(tmp_path):
    (path,) = save_numbers(tmp_path, 1)
    np.savez(path, a=np.array([{}]), allow_pickle=True)
    with pytest.raises(ArgumentError, match="readable"):
        CheckpointFolder(tmp_path).load()


def test_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    save_numbers(tmp_path, 1)

    def no_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", no_memory)
    with pytest.raises(MemoryError):
        CheckpointFolder(tmp_path).load()


def test_looking_changes_nothing(tmp_path):
    """Another process is about to write a checkpoint, and one was killed."""
    assert CheckpointFolder(tmp_path / "absent").load() is None
    assert list(tmp_path.iterdir()) == []
    save_numbers(tmp_path, 1)
    partial = tmp_path / ".checkpoint-2.npz.0a1b2c3d.partial"
    partial.write_bytes(b"half")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()}
    stamp = tmp_path.stat().st_mtime_ns
    assert loaded_number(tmp_path) == 1
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.iterdir()} == before
    assert tmp_path.stat().st_mtime_ns == stamp
    CheckpointFolder(tmp_path).claim()
    assert not partial.exists()


HOLD = """
import sys
from numba_ss.io.checkpoint import CheckpointFolder
folder = CheckpointFolder(sys.argv[1])
folder.save({}, {"n": 1})
print("saved", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_at_once_and_clears_nothing(tmp_path):
    pytest.importorskip("fcntl")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"saved\n"
    partial = tmp_path / ".checkpoint-2.npz.0a1b2c3d.partial"
    partial.write_bytes(b"half")
    folder = CheckpointFolder(tmp_path)
    assert folder.load().state == {"n": 1}
    with pytest.raises(OSError, match=r"expected one that no other process saves into, got") as caught:
        folder.claim()
    assert caught.value.errno == errno.EBUSY
    assert partial.exists()
    process.kill()
    process.communicate()
    folder.claim()
    assert not partial.exists()
    assert folder.save({}, {"n": 2}).name == "checkpoint-2.npz"


def test_the_lock_goes_with_the_folder(tmp_path):
    """A process that has the lock can take it again, as after an error in a notebook."""
    pytest.importorskip("fcntl")
    first = CheckpointFolder(tmp_path)
    first.save({}, {"n": 1})
    again = CheckpointFolder(tmp_path)
    again.save({}, {"n": 2})
    del first
    done = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], input=b"", check=False, stderr=subprocess.PIPE)
    assert b"no other process" in done.stderr
    del again
    done = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], input=b"", check=False)
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_hold_the_lock(tmp_path):
    pytest.importorskip("fcntl")
    folder = CheckpointFolder(tmp_path)
    folder.claim()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    script = "import sys; from numba_ss import CheckpointFolder as F; F(sys.argv[1]).claim()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    try:
        assert subprocess.run(command, check=False, capture_output=True).returncode == 1
        del folder
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def test_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    partial = tmp_path / ".checkpoint-2.npz.0a1b2c3d.partial"
    partial.write_bytes(b"half")
    save_numbers(tmp_path, 1)
    assert loaded_number(tmp_path) == 1
    assert partial.exists()  # it may be at work


def test_two_processes_in_one_folder(tmp_path):
    first, second = CheckpointFolder(tmp_path), CheckpointFolder(tmp_path)
    first.save({}, {"n": 1})
    with pytest.raises(OSError, match=r"another process") as caught:
        second.save({}, {"n": 2})
    assert caught.value.errno == errno.EBUSY
    assert first.save({}, {"n": 3}).name == "checkpoint-2.npz"
    assert second.load().state == {"n": 3}
    assert second.save({}, {"n": 4}).name == "checkpoint-3.npz"


@pytest.mark.parametrize("order", ["C", "F"])
def test_saving_copies_no_array(tmp_path, order):
    array = np.ones((2000, 4000), order=order)
    folder = CheckpointFolder(tmp_path)
    tracemalloc.start()
    try:
        folder.save({"a": array}, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.7 * array.nbytes


def save_for_ever(path, ready):
    folder = CheckpointFolder(path)
    found = folder.load()
    n = found.state["n"] if found else 0
    ready.set()
    while True:
        n += 1
        array = np.full(100_000, n)
        folder.save({"first": array, "second": -array}, {"n": n})


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="starts many processes"
)
def test_killed_while_saving(tmp_path, rng):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numba_ss.io.checkpoint", __name__])
    last = killed_half_way = 0
    for _ in range(25):
        ready = context.Event()
        process = context.Process(target=save_for_ever, args=(tmp_path, ready))
        process.start()
        assert ready.wait(60)
        while last == 0 and not list(tmp_path.glob("checkpoint-*.npz")):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.04))
        process.kill()
        process.join()
        killed_half_way += any(name.endswith(".partial") for name in names(tmp_path))
        folder = CheckpointFolder(tmp_path)
        found = folder.load()
        folder.claim()
        assert not any(name.endswith(".partial") for name in names(tmp_path))
        del folder
        if found is None:
            assert last == 0
            continue
        arrays, state, path = found
        assert state["n"] == int(path.stem.split("-")[1]) >= last
        assert (arrays["first"] == state["n"]).all()
        assert (arrays["second"] == -state["n"]).all()
        last = state["n"]
    assert last > 0
    assert killed_half_way > 0


def crafted(path, content, members):
    """Write an archive with right checksums and any contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content.json", content)
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def npy(shape, data=b"", dtype="<f4"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue() + data


BOMBS = {
    "packed zeros": {"a": npy((2**26,), bytes(2**28))},
    "a shape without bytes": {"a": npy((2**40,))},
    "a negative shape": {"a": npy((-1,), bytes(4))},
    "too few bytes": {"a": npy((3,), bytes(8))},
    "no array": {"a": b"PK"},
}


@pytest.mark.parametrize("what", list(BOMBS))
def test_a_small_file_takes_little_memory(tmp_path, what):
    path = tmp_path / "checkpoint-1.npz"
    crafted(path, json.dumps({"arrays": ["a"], "state": {}}), BOMBS[what])
    tracemalloc.start()
    try:
        with pytest.raises(ArgumentError, match=r"expected a readable checkpoint, got checkpoint-1.npz"):
            CheckpointFolder(tmp_path).load()
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"arrays": [], "state": 3}', '{"arrays": [[]], "state": {}}', '{"arrays": 3}'])
def test_archives_with_other_contents(tmp_path, content):
    crafted(tmp_path / "checkpoint-1.npz", content, {})
    with pytest.raises(ArgumentError, match=r"expected a readable checkpoint, got checkpoint-1.npz"):
        CheckpointFolder(tmp_path).load()


def test_a_state_that_unfolds_takes_little_memory(tmp_path):
    crafted(tmp_path / "checkpoint-1.npz", '{"arrays": [], "state": {"a": [' + "1, " * 10**7 + "1]}}", {})
    with pytest.raises(ArgumentError, match=r"bytes that say they unfold to 30,000,0"):
        CheckpointFolder(tmp_path).load()


def test_lack_of_memory_names_the_file(tmp_path, monkeypatch):
    save_numbers(tmp_path, 1)

    def no_memory(*_, **__):
        raise MemoryError("too much")

    monkeypatch.setattr(np.lib.format, "read_array", no_memory)
    with pytest.raises(MemoryError, match=r"checkpoint-1.npz: too much"):
        CheckpointFolder(tmp_path).load()
    with pytest.raises(MemoryError, match=r"^file: too much"), reading("file", "a model"):
        no_memory()


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), ArgumentError("c"), zlib.error("d" * 999)])
def test_what_goes_wrong_with_a_file_is_the_file_s_fault(error):
    with pytest.raises(ArgumentError, match=r"^file: expected a model, got \w") as caught, reading("file", "a model"):
        raise error
    assert len(str(caught.value)) < 500
    with pytest.raises(KeyboardInterrupt), reading("file", "a model"):
        raise KeyboardInterrupt


def test_fields_of_a_state():
    checks = {"a": lambda name, value: _checks.integer(name, value, 0, 5), "b": checked_history}
    good = {"a": 3, "b": [{"loss": 0.5, "words": 3}, {}]}
    assert checked_fields("run", good, checks) == good
    for given, message in [
        (None, "run: expected the fields a, b, got NoneType"),
        ({"a": 1}, r"run: expected the fields a, b, got \['a'\]"),
        (good | {"c": 1}, r"run: expected the fields a, b, got \['a', 'b', 'c'\]"),
        (good | {"a": -(2**63)}, "run, a: expected at least 0, got -9223372036854775808"),
        (good | {"a": 1.0}, "run, a: expected an integer, got 1.0"),
        (good | {"b": {}}, "run, b: expected a list, got {}"),
        (good | {"b": [{}, 3]}, r"run, b\[1\]: expected a dict of numbers, got 3"),
        (good | {"b": [{"loss": float("nan")}]}, r"run, b\[0\], loss: expected a finite number, got nan"),
        (good | {"b": [{"loss": "x"}]}, r"run, b\[0\], loss: expected a finite number, got 'x'"),
    ]:
        with pytest.raises(ArgumentError, match=f"^{message}$"):
            checked_fields("run", given, checks)
