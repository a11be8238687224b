"""Local copies of inputs that can be read only once or are remote: pipes, s3://, https://.

What fsspec needs for a scheme, such as s3fs, is no part of the extra `all`, because such packages
demand exact versions of many others. The error names one that is missing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from glob import has_magic
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import unquote

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import PathLike
from numba_ss.io.files import is_remote, without_scheme
from numba_ss.io.inputs import is_hidden
from numba_ss.io.text_files import PIECE

_WEB = ("http://", "https://")
_PATIENCE = 60  # seconds without a byte after which a download fails


def is_stream(path: PathLike) -> bool:
    """Return whether a path is "-" or a pipe, which can be read only once."""
    if path == "-":
        return True
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


class Copies:
    """Copies in a temporary folder, which is removed when this object is closed or deleted.

    Used as a context, it also replaces paths of copies in error messages by the original ones.

    Attributes
    ----------
    names : dict of Path to str
        The original path of each copy.
    """

    def __init__(self) -> None:
        self.names: dict[Path, str] = {}
        self._folder: Path | None = None
        self._remove: Callable[[], object] = lambda: None

    def local(self, name: str, source: Any, suffix: str = ".txt") -> Any:
        """Return a path, or a list of paths, of local files that can be read several times.

        Pipes, "-" and paths with a scheme are copied. Anything that is not a path is returned
        unchanged.

        Parameters
        ----------
        name : str
            The name of the argument.
        source : object
            A path, a list of paths, or anything else.
        suffix : str
            The suffix of the copy if a pipe has none.
        """
        if isinstance(source, (list, tuple)):
            if not all(isinstance(path, (str, os.PathLike)) for path in source):
                return source
            return [self.local(f"{name}[{i}]", path, suffix) for i, path in enumerate(source)]
        if not isinstance(source, (str, os.PathLike)):
            return source
        if is_stream(source):
            return self._of_stream(source, suffix)
        path = without_scheme(source)
        return self._of_remote(name, str(path)) if is_remote(path) else path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _checks.ArgumentError):
            text = str(error)
            for copy, path in self.names.items():
                text = text.replace(str(copy), path)
            error.args = (text,)
        self.close()

    def close(self) -> None:
        """Remove the copies."""
        self._remove()

    def _place(self) -> Path:
        """Return a new folder for copies."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="numba_ss-", dir=_temporary()))
            self._remove = weakref.finalize(self, _remove_folder, self._folder, os.getpid())
        place = self._folder / str(len(os.listdir(self._folder)))
        place.mkdir()
        return place

    def _of_stream(self, path: PathLike, suffix: str) -> Path:
        shown = "standard input" if path == "-" else os.fspath(path)
        with _opened_stream(path) as stream, _with_room(shown):
            copy = self._place() / (Path(path).name if Path(path).suffix else f"stream{suffix}")
            with open(copy, "wb") as file:
                shutil.copyfileobj(stream, file, PIECE)
        self.names[copy] = shown
        return copy

    def _of_remote(self, name: str, path: str) -> Path:
        fsspec = import_optional("fsspec", f"reading {path.partition(':')[0]}:// paths")
        try:
            system, root = fsspec.core.url_to_fs(path, **_options(path))
            found = _found(system, root)
            sizes = [system.info(file).get("size") or 0 for file in found]
        except ImportError as error:  # the package for this scheme is missing
            raise ImportError(f"reading {path}: {error}") from error
        except Exception as error:  # each file system of fsspec has its own errors
            _refuse(name, path, error)
        if not found:
            _checks.fail(name, "a path that leads to files", path)
        place = self._place()
        with _with_room(path, sum(sizes)):
            copies = [self._copy(name, path, place, system, file) for file in found]
        if found == [root]:
            self.names[copies[0]] = path
            return copies[0]
        return place if has_magic(root) else place.joinpath(*_parts(root))

    def _copy(self, name: str, path: str, place: Path, system: Any, file: str) -> Path:
        is_web = file.lower().startswith(_WEB)
        parts = _parts(unquote(file.partition("?")[0]) if is_web else file)
        copy = place.joinpath(*parts[-1:] if is_web else parts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            system.get_file(file, str(copy))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            _refuse(name, path, error)
        except Exception as error:
            _refuse(name, path, error)
        self.names[copy] = system.unstrip_protocol(file)
        return copy


def _refuse(name: str, path: str, error: Exception) -> None:
    what = "not found" if isinstance(error, FileNotFoundError) else type(error).__name__
    _checks.fail(name, "a path that can be read", f"{path} ({what}: {error.__cause__ or error})")


def _options(path: str) -> dict[str, Any]:
    """Let downloads take any time; by default aiohttp ends them after five minutes."""
    if not path.lower().startswith(_WEB):
        return {}
    aiohttp = import_optional("aiohttp", "a path on the web")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_PATIENCE, sock_read=_PATIENCE)
    return {"client_kwargs": {"timeout": timeout}}


def remote_files(name: str, path: str) -> list[str]:
    """Return the remote paths of the files of a remote path; `name` is that of the argument."""
    fsspec = import_optional("fsspec", f"reading {path.partition(':')[0]}:// paths")
    try:
        system, root = fsspec.core.url_to_fs(path, **_options(path))
        found = _found(system, root)
        # In the order in which copies of them would be read.
        within = {file: _parts(file if has_magic(root) else file[len(root) :]) for file in found}
        inside = sorted((f for f in found if not is_hidden(*within[f])), key=within.__getitem__)
        files = [path] if found == [root] else list(map(system.unstrip_protocol, inside))
    except ImportError as error:  # the package for this scheme is missing
        raise ImportError(f"reading {path}: {error}") from error
    except Exception as error:  # each file system of fsspec has its own errors
        _refuse(name, path, error)
    if not files:
        _checks.fail(name, "a path that leads to files", path)
    return files


def _found(system: Any, root: str) -> list[str]:
    """Return the files of a path: the file itself, those in a folder, or those of a pattern."""
    if root.lower().startswith(_WEB) or system.isfile(root):
        return [root]
    matches = system.glob(root) if has_magic(root) else [root]
    return [file for match in matches for file in system.find(match)]


def _parts(file: str) -> list[str]:
    """Return the parts of a remote path that can safely be used in a local path."""
    return [part for part in file.split("/") if part not in ("", ".", "..")] or ["file"]


def _temporary() -> str:
    """Return the folder for temporary files."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        expected = "the name of a folder for copies of pipes and of remote files"
        _checks.fail("the variable TMPDIR", expected, "none that can be written to")


@contextmanager
def _with_room(path: str, size: int = 0) -> Iterator[None]:
    """Require room for a copy; the error names the folder of the copies."""
    folder = _temporary()
    expected = f"room for a copy in {folder} (the variable TMPDIR names another folder)"
    free = shutil.disk_usage(folder).free
    if size > free:
        _checks.fail(path, expected, f"{size / 1e6:.3g} MB, of which {free / 1e6:.3g} MB fit")
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _checks.fail(path, expected, "more than fits")


def _opened_stream(path: PathLike) -> AbstractContextManager[BinaryIO]:
    if path != "-":
        return open(path, "rb")
    if sys.stdin is None:
        _checks.fail("standard input", "an open one, for -", "a closed one")
    return nullcontext(sys.stdin.buffer)


def _remove_folder(folder: Path, process: int) -> None:
    """Remove the folder, unless this is a forked child of the process that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
