"""cache.py: compiled code is found again, and what is wrong with it ends no program."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest

from numba_ss.kernels import _cache
from numba_ss.kernels._jit import exact_kernel, parallel_kernel
from tests.conftest import needs_jit


def triple(x):
    return x * 3


def double(x):
    return x * 2


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The only folder of compiled code, and nothing told yet."""
    folder = tmp_path / "version"
    monkeypatch.setattr(_cache, "_folders", lambda: [folder])
    monkeypatch.setattr(_cache, "_untold", ["that there is no cache"])
    monkeypatch.setattr(_cache, "_make_private", lambda: None)
    return folder


def compile_again(function=triple):
    """Call a function as a new process would; return how often that was spared compiling."""
    compiled = exact_kernel(function)
    assert compiled(2.5) == function(2.5)
    return sum(compiled.stats.cache_hits.values())


def refuse(code):
    def fail(path, content):
        path.touch()
        raise OSError(code, os.strerror(code))

    return fail


@needs_jit
def test_what_one_process_compiled_the_next_one_loads(folder):
    assert compile_again() == 0
    assert compile_again() == 1
    assert compile_again(double) == 0  # of another kernel
    assert len(list(folder.iterdir())) == 2


def test_the_user_s_folder_comes_first_and_needs_no_home(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    roots = [path.parent for path in _cache._folders()]
    package = Path(_cache.__file__).parent / "__pycache__"
    assert roots == [tmp_path / "mine", package, tmp_path / "home" / "numba_ss"]
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    assert [path.parent for path in _cache._folders()] == roots[1:]
    # A user that no file knows, as in a container.
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(_cache.os.path, "expanduser", lambda path: path)
    assert [path.parent for path in _cache._folders()] == [package]
    # Where anybody could have laid something down.
    temporary = Path(tempfile.gettempdir())
    assert not any(path.is_relative_to(temporary / "numba_ss") for path in _cache._folders())


DAMAGES = {
    "empty": lambda content: b"",
    "cut in the checksum": lambda content: content[:20],
    "cut": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "a bit of the checksum": lambda content: flipped(content, 3),
    "a bit of the code": lambda content: flipped(content, len(content) // 2),
    "the last bit": lambda content: flipped(content, -1),
}


def flipped(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


@needs_jit
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_compiled_again(damage, folder, caplog):
    compile_again()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert compile_again() == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{path} is damaged" in caplog.text
    assert compile_again() == 1


@needs_jit
def test_files_of_other_people_are_not_run(folder, monkeypatch, caplog):
    compile_again()
    monkeypatch.setattr(_cache, "_trusted_owners", lambda: {4242})
    assert compile_again() == 0
    assert "belongs to another user" in caplog.text


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_who_is_trusted(monkeypatch):
    assert _cache._trusted_owners() == {os.getuid(), 0, os.stat(_cache.__file__).st_uid}


@pytest.fixture
def full(monkeypatch, tmp_path):
    """The only folder of compiled code, which cannot be written to; and a place for others."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(_cache, "_HERE", tmp_path / "file" / "_cache.py")
    monkeypatch.setattr(_cache, "_version", lambda: "version")
    monkeypatch.setattr(_cache, "_trusted_owners", lambda: {os.stat(tmp_path).st_uid})
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(_cache, "_untold", ["that there is no cache"])
    monkeypatch.setenv(_cache._PRIVATE, "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    removals = []
    monkeypatch.setattr(_cache, "Finalize", lambda _, *call, exitpriority: removals.append(call))
    yield tmp_path
    for function, arguments in removals:
        function(*arguments)
    assert not list(tmp_path.glob("numba_ss-*"))


@needs_jit
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_where_nothing_can_be_written_a_private_folder_serves_until_the_end(full, caplog):
    assert compile_again() == 0
    assert compile_again(double) == 0
    assert compile_again() == compile_again(double) == 1
    (folder,) = full.glob("numba_ss-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    (message,) = caplog.messages
    assert message.startswith(f"compiled code is kept in {folder} until this process ends: set NUMBA_CACHE_DIR")
    assert os.environ[_cache._PRIVATE] == str(folder)  # which children inherit


@needs_jit
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
@pytest.mark.parametrize("change", [
    lambda folder, monkeypatch: folder.chmod(0o770),
    lambda folder, monkeypatch: monkeypatch.setattr(_cache, "_user", lambda: 4242),
    lambda folder, monkeypatch: monkeypatch.setenv(_cache._PRIVATE, str(folder.parent / "file")),
    lambda folder, monkeypatch: monkeypatch.setenv(_cache._PRIVATE, str(folder.parent / "gone")),
], ids=["others may write", "another owner", "a file", "gone"])
def test_a_folder_that_is_not_private_is_not_used(change, full, monkeypatch):
    compile_again()
    (folder,) = full.glob("numba_ss-*")
    files = list(folder.rglob("*"))
    change(folder, monkeypatch)
    assert compile_again() == 0
    assert list(folder.rglob("*")) == files
    assert not (full / "gone").exists()


def test_a_process_removes_its_private_folder_and_a_child_uses_it(tmp_path):
    """Also a child that ends first, or that is forked, leaves it there."""
    code = f"""
import multiprocessing, os, sys
sys.path.insert(0, {str(Path(_cache.__file__).parents[2])!r})
from numba_ss.kernels import _cache
_cache._make_private()
folder = os.environ[_cache._PRIVATE]
print(folder)
def child():
    assert _cache._folders()[-1].parent == _cache.Path(folder)
for method in multiprocessing.get_all_start_methods():
    if method == "fork":
        process = multiprocessing.get_context(method).Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 0
        if not (pid := os.fork()):
            sys.exit()
        os.waitpid(pid, 0)
assert os.path.isdir(folder)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    # Newer versions of Python warn of a fork beside threads, such as those of NumPy.
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


@needs_jit
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_nothing_is_kept_and_that_is_said_once(
    code, folder, monkeypatch, caplog
):
    compile_again()
    before = sorted(folder.iterdir())
    monkeypatch.setattr(Path, "write_bytes", refuse(code))
    assert compile_again() == 1  # what is there is used
    for _ in range(2):
        assert compile_again(double) == 0
    assert sorted(folder.iterdir()) == before
    (message,) = caplog.messages
    assert os.strerror(code) in message
    assert "NUMBA_CACHE_DIR" in message


@needs_jit
def test_a_folder_that_can_only_be_read_is_read_and_the_next_one_written(monkeypatch, tmp_path):
    folders = [tmp_path / "image", tmp_path / "mine"]
    monkeypatch.setattr(_cache, "_folders", lambda: folders)
    compile_again()
    write = Path.write_bytes

    def refuse_the_first(path, content):
        if path.parent == folders[0]:
            raise OSError(errno.EROFS, "read-only")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", refuse_the_first)
    assert compile_again() == 1
    assert compile_again(double) == 0
    assert compile_again(double) == 1
    assert [len(list(folder.iterdir())) for folder in folders] == [1, 1]


@needs_jit
def test_what_root_compiles_others_can_read(folder):
    before = os.umask(0o022)
    try:
        compile_again()
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_version_covers_sources_in_subfolders(monkeypatch, tmp_path):
    (tmp_path / "core").mkdir()
    monkeypatch.setattr(_cache, "_HERE", tmp_path / "_cache.py")
    seen = set()
    for text in ("x = 1", "x = 2"):
        (tmp_path / "core" / "tile.py").write_text(text)
        seen.add(_cache._version.__wrapped__())
    monkeypatch.setattr(_cache.numba, "__version__", "0")
    seen.add(_cache._version.__wrapped__())
    assert len(seen) == 3


@needs_jit
def test_both_forms_of_a_kernel_are_kept_apart(folder):
    def add_one(x, num_chunks):
        for chunk in numba.prange(num_chunks):
            x[chunk] += 1

    for hits in (0, 1):
        kernel, x = parallel_kernel(add_one), np.zeros(2)
        kernel.serial(x, 2)
        kernel.parallel(x, 2)
        assert x.tolist() == [2, 2]
        for form in (kernel.serial, kernel.parallel):
            assert sum(form.stats.cache_hits.values()) == hits
    kernel.serial._cache.flush()
    assert not list(folder.iterdir())
