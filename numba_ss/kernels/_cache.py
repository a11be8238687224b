"""Compiled code on disk.

One file holds one compiled form of one kernel, behind a checksum; a damaged file is ignored and
its kernel compiled again. The code in a file is run, so files of other users are not read.
All folders are read, also those that cannot be written to. If none can be written to, a private
folder serves this process and those that it starts, and is removed when this process ends.
Nothing here ends a program: if no file can be read or written, every process compiles its
kernels itself.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import secrets
import shutil
import stat
import sys
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import numba
from numba import config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

log = logging.getLogger("numba_ss")

_HERE = Path(__file__)
_DIGEST = hashlib.sha256().digest_size
# The variable that names the private folder to children. Numba would read its settings anew if a
# variable changed whose name begins with NUMBA.
_PRIVATE = "PRIVATE_CACHE_OF_NUMBA_SS"
_untold = ["that there is no cache"]


@functools.cache
def _version() -> str:
    """Return a name that changes with the source of any kernel, with Numba and with Python.

    A kernel is compiled together with functions of other files, so the name covers all files.
    """
    digest = hashlib.sha256(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    for path in sorted(_HERE.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return f"numba_ss-{digest.hexdigest()[:12]}"


def _folders() -> list[Path]:
    """Return the folders that may hold compiled code, the user's choice first."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    roots = [config.CACHE_DIR] if config.CACHE_DIR else []
    roots.append(_HERE.parent / "__pycache__")
    if os.path.isabs(home):  # without a home directory it is "~/.cache"
        roots.append(os.path.join(home, "numba_ss"))
    if _is_private(os.environ.get(_PRIVATE, "")):
        roots.append(os.environ[_PRIVATE])
    return [Path(root).absolute() / _version() for root in roots]


def _is_private(folder: str) -> bool:
    """Return whether a folder is there, and nobody but this user can change what is in it."""
    try:
        status = os.lstat(folder)
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == _user() and not status.st_mode & 0o077


def _make_private() -> None:
    """Make the private folder, which goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="numba_ss-")  # nobody else can read or write it
    os.environ[_PRIVATE] = folder
    # Unlike atexit, this also works in a forked worker, and not in the children of this process.
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _trusted_owners() -> set[int]:
    """Return the users whose code we run anyway: this one, root, and the package's owner."""
    return {_user(), 0, os.stat(_HERE).st_uid}


def _read(path):
    """Return what `_write` wrote; None if there is no file, or it is damaged or untrusted."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_uid not in _trusted_owners():
                log.warning("%s belongs to another user and is not used", path)
                return None
            content = file.read()
    except OSError:
        return None
    if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
        return pickle.loads(content[_DIGEST:])
    log.warning("%s is damaged: compiling again what it held", path)
    return None


def _write(name, data) -> None:
    """Write a file to the first folder that can be written, or else to a private one."""
    content = dumps(data)
    content = hashlib.sha256(content).digest() + content
    errors = _written(name, content)
    if errors and _untold:
        _untold.clear()
        kept = "not kept, and every process compiles anew"
        with contextlib.suppress(OSError):
            _make_private()
            if not _written(name, content):
                kept = f"kept in {os.environ[_PRIVATE]} until this process ends"
        log.warning(
            "compiled code is %s: set NUMBA_CACHE_DIR to a folder that can be written to (%s)",
            kept, "; ".join(errors),
        )


def _written(name, content) -> list[str]:
    """Write a file, whole or not at all; return the reasons if no folder can be written."""
    errors = []
    for folder in _folders():
        temporary = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(folder / name)
            return []
        except OSError as error:
            errors.append(f"{folder.parent}: {error.strerror}")
            with contextlib.suppress(OSError):
                temporary.unlink()
    return errors


class KernelCache:
    """The cache of one kernel, with the methods that Numba's dispatcher calls."""

    def __init__(self, function, form=""):
        self._function, self._form = function, form

    @property
    def cache_path(self):
        """Return the folder that comes first."""
        return str(_folders()[0])

    def _name(self, signature, codegen):
        code = self._function.__code__
        key = (str(signature), codegen.magic_tuple(), self._form, code.co_firstlineno, code.co_code)
        return prefix_of(self._function) + hashlib.sha256(repr(key).encode()).hexdigest()[:20]

    def load_overload(self, signature, target_context):
        """Return the code compiled for a signature, or None."""
        target_context.refresh()
        name = self._name(signature, target_context.codegen())
        for folder in _folders():
            data = _read(folder / name)
            if data is not None:
                return CompileResult._rebuild(target_context, *data)
        return None

    def save_overload(self, signature, result):
        """Write compiled code, unless it holds addresses of this process."""
        if not result.library.has_dynamic_globals:
            _write(self._name(signature, result.codegen), result._reduce())

    def flush(self):
        """Forget all of this kernel."""
        for folder in _folders():
            for path in folder.glob(f"{prefix_of(self._function)}*"):
                path.unlink(missing_ok=True)


def prefix_of(function) -> str:
    """Return how the names of a kernel's files begin."""
    name = function.__qualname__.replace("<", "").replace(">", "")
    return f"{function.__module__.rpartition('.')[2]}.{name}-"
