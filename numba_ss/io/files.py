"""Output files: written whole or not at all, and never over an input."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from numba_ss import _checks
from numba_ss._types import PathLike

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Paths = Mapping[str, object]  # name of an argument -> a path, several paths, or anything else

# A scheme has at least two letters, because C:\ is a drive. zip://name::archive.zip chains two.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)
_LONGEST = 200  # bytes of a name that are used in its temporary name; most systems allow 255


def is_remote(path: object) -> bool:
    """Return whether a path has a scheme, such as ``s3://bucket/text.txt``."""
    return isinstance(path, str) and _SCHEME.match(path) is not None


def without_scheme(path: PathLike) -> PathLike:
    """Return the plain path of ``file:///folder/text.txt``, and any other as it is."""
    is_file = isinstance(path, str) and path.lower().startswith("file:///")
    return unquote(urlsplit(str(path)).path) if is_file else path


def require_local(name: str, path: PathLike) -> None:
    """Require that a path to write to is one of this machine."""
    if is_remote(path):
        expected = "a path of this machine, without a scheme (copy the file afterwards)"
        _checks.fail(name, expected, repr(path))


@contextmanager
def whole_file(path: PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, and rename it when it is completely written.

    If the block fails, or the machine stops, an older file of that name is unchanged. Links are
    followed, and the owner and the mode of an older file are kept. If `path` is a device or a
    pipe, all bytes are copied to it at the end. A folder is refused.

    The temporary name is ``.<name>.<random>.partial``. Only a killed process leaves such a file;
    the next process that writes a file of that name removes it.
    """
    with naming(path):
        before = _before(str(path), path)
        if before is not None and not stat.S_ISREG(before.st_mode):
            with tempfile.NamedTemporaryFile() as spool:
                yield spool  # type: ignore[misc]
                spool.seek(0)
                with open(path, "wb") as special:
                    shutil.copyfileobj(spool, special)
            return
        target = Path(os.path.realpath(path))
        with _partial_file(target, before) as partial:
            with open(partial, "r+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _keep_owner_and_mode(partial, before)
            os.replace(partial, target)
        _sync_folder(target.parent)


def require_writable(name: str, path: PathLike) -> None:
    """Require that a file can be written, so that the error comes now and not after hours of work.

    `name` is the argument that holds the path.
    """
    before = _before(name, path)
    if before is not None and not stat.S_ISREG(before.st_mode):
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        _checks.fail(name, "a file in a folder that exists", path)
    try:
        with _partial_file(target, before):
            pass
    except OSError as error:
        expected = "a file in a folder that can be written to"
        _checks.fail(name, expected, f"{path} ({error.strerror or error})")


def require_distinct(outputs: Paths, inputs: Paths) -> None:
    """Require that no output is also an input, and that all outputs are different files.

    Parameters
    ----------
    outputs : dict of str to path, list of paths or None
        Files and folders, by the name of the argument. None stands for no output.
    inputs : dict of str to object
        Paths of files, patterns, and folders with all files in them, by the name of the
        argument. Other objects, such as tables, and "-" for standard input are ignored.

    Raises
    ------
    ArgumentError
        If two of them are the same file, also through links and hard links. Devices and pipes
        may be given twice.
    """
    if not any(_listed(value) for value in outputs.values()):
        return
    taken: dict[object, tuple[str, str]] = {}
    for name, value in inputs.items():
        for path in _listed(value):
            for file in _found(path):
                taken.setdefault(_identity(file), (name, file))
    for name, value in outputs.items():
        for path in _listed(value):
            identity = _identity(path)
            if identity is None:
                continue
            if identity in taken:
                other, file = taken[identity]
                same = "" if file == path else f", which is {file}"
                _checks.fail(name, f"another file than {other}", f"{path}{same}")
            taken[identity] = name, path


class FolderLock:
    """A lock of a folder by this process; it ends with the object."""

    def __init__(self, descriptor: int) -> None:
        self.release = weakref.finalize(self, os.close, descriptor)


_folder_locks: weakref.WeakValueDictionary[object, FolderLock] = weakref.WeakValueDictionary()


def lock_folder(path: PathLike) -> FolderLock | None:
    """Lock a folder for this process, also if this process has locked it already.

    The lock leaves no file on the disk: the system releases it when the process ends, also if it
    is killed. Returns None if the file system has no locks.

    Raises
    ------
    BlockingIOError
        If another process has the lock.
    """
    if fcntl is None:
        return None
    identity = _identity(os.fspath(path))
    lock = _folder_locks.get(identity)
    if lock is None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise
            return None
        lock = _folder_locks[identity] = FolderLock(descriptor)
    return lock


def _forget_locks() -> None:
    """Give up all locks in a forked child, which would otherwise keep them if its parent ends."""
    for lock in list(_folder_locks.values()):
        lock.release()
    _folder_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _listed(value: object) -> list[str]:
    """Return the paths in a value, which may be a path, several paths or anything else."""
    if isinstance(value, (str, os.PathLike)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return []
    paths = (path for path in value if isinstance(path, (str, os.PathLike)))
    return [os.fspath(without_scheme(path)) for path in paths]


def _found(path: str) -> Iterable[str]:
    """Return the files that are read if a path is an input."""
    if "\0" in path or path == "-":
        return []
    if os.path.isdir(path):
        inside = (os.path.join(top, name) for top, _, names in os.walk(path) for name in names)
        return [path, *inside]
    return [path] if os.path.lexists(path) else glob(path, recursive=True) or [path]


def _identity(path: str) -> object:
    """Return what is equal for all names of a file or folder; None for a device or a pipe."""
    try:
        status = os.stat(path)
    except OSError:  # it is not there, or leads nowhere
        return os.path.normcase(os.path.realpath(path))
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return (status.st_dev, status.st_ino) if plain else None


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Add the name of the file to errors of the system that lack it, such as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _before(name: str, path: PathLike) -> os.stat_result | None:
    """Return the status of an existing file that may be written, or None if there is no file."""
    require_local(name, path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(status.st_mode):
        _checks.fail(name, "a file", f"the folder {path}")
    if not os.access(path, os.W_OK):
        _checks.fail(name, "a file that may be written", path)
    return status


@contextmanager
def _partial_file(target: Path, before: os.stat_result | None) -> Iterator[Path]:
    """Make an empty temporary file that is locked while it is written, and remove it at the end.

    Its mode is that of a new file. If it replaces an older file, it is, until then, readable by
    nobody who cannot read the older one.
    """
    name, raw = target.name, os.fsencode(target.name)
    if len(raw) > _LONGEST:
        begin = raw[:_LONGEST].decode(sys.getfilesystemencoding(), "ignore")
        name = f"{begin}~{zlib.crc32(raw):08x}"
    prefix = f".{name}."
    _remove_abandoned(target.parent, prefix)
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o666 | 0o600
    while True:
        partial = target.parent / f"{prefix}{secrets.token_hex(4)}.partial"
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:  # the message should name the output, not the temporary file
            raise OSError(error.errno, error.strerror, str(target)) from error
        _lock(descriptor, wait=True)
        # Another process may have removed the file before it was locked.
        if partial.exists():
            break
        os.close(descriptor)
    if fcntl is None:  # there is no lock to keep, and Windows cannot rename an open file
        os.close(descriptor)
    try:
        yield partial
    finally:
        with suppress(OSError):  # usually the file was renamed and no longer exists
            os.unlink(partial)
        if fcntl is not None:
            os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock a file until it is closed or the process ends; return whether this succeeded."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process has the lock, or the file system has no locks
        return False
    return True


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporary files of killed processes, which nobody has locked."""
    with suppress(OSError):  # some folders can be written to but not listed
        for name in os.listdir(folder):
            if re.fullmatch(re.escape(prefix) + r"\w{8}\.partial", name):
                with suppress(OSError):
                    _remove_if_unlocked(folder / name)


def _remove_if_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if _lock(descriptor, wait=False):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _keep_owner_and_mode(partial: Path, before: os.stat_result | None) -> None:
    if before is None:
        return
    status = os.stat(partial)
    if (status.st_uid, status.st_gid) != (before.st_uid, before.st_gid):
        with suppress(OSError):  # only root may change the owner of a file
            os.chown(partial, before.st_uid, before.st_gid)
    os.chmod(partial, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make sure that the new name is on the disk, too, not only the content of the file."""
    # Windows and some network file systems cannot do this; they protect names in their own way.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
