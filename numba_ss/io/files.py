"""Outputs: files are written whole or not at all, and never over what is read."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
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

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PathLike = str | os.PathLike[str]
Paths = Mapping[str, object]  # by the name of the argument: a path, paths, or anything else

# A scheme has two letters or more: C:\ is a drive. In zip://name::archive.zip two are chained.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)
_LONGEST = 200  # bytes of a name that its temporary name takes over; most systems allow 255


def is_remote(path: object) -> bool:
    """Tell whether this is a path with a scheme, such as ``s3://bucket/text.txt``."""
    return isinstance(path, str) and _SCHEME.match(path) is not None


def without_scheme(path: PathLike) -> PathLike:
    """Return the plain path of ``file:///folder/text.txt``, and any other as it is."""
    is_file = isinstance(path, str) and path.lower().startswith("file:///")
    return unquote(urlsplit(str(path)).path) if is_file else path


def require_local(name: str, path: PathLike) -> None:
    """Require that a path to write to is one of this machine."""
    if is_remote(path):
        _checks.fail(name, "a path of this machine (copy what is there afterwards)", repr(path))


@contextmanager
def whole_file(path: PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, and give it that name when all is written.

    If the block fails, or the machine stops, an older file of that name is as it was. Links
    are followed, and an older file's owner and mode are kept. A device or a pipe stays what it
    is, and gets all bytes at the end. A folder is refused.

    The temporary name is ``.<name>.<random>.partial``. Only a killed process leaves one, and
    the next one that writes a file of that name removes it.
    """
    with _naming(path):
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
    """Let a file that cannot be written fail now, not after hours of work.

    `name` is the argument that the path is given as.
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
    """Require that what is written is none of what is read, and no two results are one file.

    Parameters
    ----------
    outputs : dict of str to path, list of paths or None
        By the name of the argument; files and folders. None stands for no output.
    inputs : dict of str to object
        Likewise: paths of files, patterns and folders with all that is in them. What is no
        path, such as a table, and "-" for standard input are passed over.

    Raises
    ------
    ArgumentError
        If two of them are one, by whatever name, link or hard link they are reached. Devices
        and pipes may be given twice.
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
    """The lock of a folder that this process has, until the object is gone."""

    def __init__(self, descriptor: int) -> None:
        self.release = weakref.finalize(self, os.close, descriptor)


_folder_locks: weakref.WeakValueDictionary[object, FolderLock] = weakref.WeakValueDictionary()


def lock_folder(path: PathLike) -> FolderLock | None:
    """Lock a folder for this process, also if it has the lock already.

    Nothing is left of it on the disk: the system lets it go when the process ends, however it
    ends. None stands for a file system without locks.

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
    """Leave the locks to the parent: a forked process would hold them beyond its end."""
    for lock in list(_folder_locks.values()):
        lock.release()
    _folder_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _listed(value: object) -> list[str]:
    """Return the paths among one path, several or anything else."""
    if isinstance(value, (str, os.PathLike)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return []
    paths = (path for path in value if isinstance(path, (str, os.PathLike)))
    return [os.fspath(without_scheme(path)) for path in paths]


def _found(path: str) -> Iterable[str]:
    """Return the files that are read where a path is given as an input."""
    if "\0" in path or path == "-":
        return []
    if os.path.isdir(path):
        inside = (os.path.join(top, name) for top, _, names in os.walk(path) for name in names)
        return [path, *inside]
    return [path] if os.path.lexists(path) else glob(path, recursive=True) or [path]


def _identity(path: str) -> object:
    """Return what two names of one file or folder share; None for a device or a pipe."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.normcase(os.path.realpath(path))
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return (status.st_dev, status.st_ino) if plain else None


@contextmanager
def _naming(path: PathLike) -> Iterator[None]:
    """Have the system's errors say which file they are about: a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _before(name: str, path: PathLike) -> os.stat_result | None:
    """Return what there is already, if that may be written; None if nothing is."""
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
    """Make an empty temporary file, locked while it is written; remove it if it is left.

    Its mode is what the system gives a new file, or, as long as it is not whole, not more
    than an older one has.
    """
    name = target.name.encode(errors="surrogateescape")
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + b"~%08x" % zlib.crc32(name)
    prefix = f".{name.decode(errors='ignore')}."
    _remove_abandoned(target.parent, prefix)
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o666 | 0o600
    while True:
        partial = target.parent / f"{prefix}{secrets.token_hex(4)}.partial"
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:  # of the name that was asked for
            raise OSError(error.errno, error.strerror, str(target)) from error
        _lock(descriptor, wait=True)
        # Another process may have found it before it had its lock, and removed it.
        if partial.exists():
            break
        os.close(descriptor)
    if fcntl is None:  # nothing is locked, and Windows renames no open file
        os.close(descriptor)
    try:
        yield partial
    finally:
        with suppress(OSError):  # it has its name
            os.unlink(partial)
        if fcntl is not None:
            os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock a file until it is closed or the process ends; tell whether it is locked."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process has the lock, or the file system has no locks
        return False
    return True


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporary files of killed processes: nobody holds their locks."""
    with suppress(OSError):  # a folder that cannot be listed may be written to
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
        with suppress(OSError):  # only the administrator may give files away
            os.chown(partial, before.st_uid, before.st_gid)
    os.chmod(partial, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Have the new name itself on the disk, not only the bytes behind it."""
    # Windows and some network file systems cannot, and keep names safe in their own way.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
