"""What all commands share: results on standard output, and files that cannot be written."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.io.files import whole_file

log = logging.getLogger("numba_ss")

_MMAP_THRESHOLD, _LARGE = -3, 2**19  # of glibc's malloc.h; bytes


def give_memory_back() -> None:
    """Let the memory of a large array go back to the system as soon as the array is freed.

    Otherwise glibc keeps it, once a first such array has been freed: ten megabytes at the peak of a
    run on a text of 100 MB.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE)


def say(lines: Iterable[str]) -> None:
    """Write results to standard output, also to a console that lacks some of their characters."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, "standard output") from error


def save_or_keep(
    path: PathLike, save: Callable[[PathLike], None], name: str, command: str = "mv"
) -> None:
    """Save a result; if that fails, save it elsewhere, and say where.

    Parameters
    ----------
    path : path
        The file to write.
    save : callable
        Writes the result to a path.
    name : str
        The name of the file that is written elsewhere if `path` cannot be.
    command : str
        The command that makes `path` of that file; the error appends the two names.

    Raises
    ------
    OSError
        If `path` cannot be written; the message says where the result is.
    """
    try:
        save(path)
    except Exception as error:
        kept = _keep(save, name)
        if kept is None:
            raise OSError(f"{error}; nor could what was learned be kept elsewhere") from error
        finish = " ".join([command, shlex.quote(str(kept)), shlex.quote(str(path))])
        text = f"{error}; what was learned is kept, and goes there with: {finish}"
        raise OSError(text) from error


def save_all(*saves: Callable[[], None]) -> None:
    """Save several results, also those after one that cannot be saved; raise all their errors."""
    errors = []
    for save in saves:
        try:
            save()
        except OSError as error:
            errors.append(error)
    if errors:
        raise OSError("\n".join(map(str, errors))) from errors[0]


def _keep(save: Callable[[PathLike], None], name: str) -> Path | None:
    """Save to a new folder, in the first place where one can be made."""
    places: list[Callable[[], PathLike]] = [tempfile.gettempdir, os.getcwd, Path.home]
    for place in places:
        with suppress(Exception):  # there may be no such place
            folder = Path(tempfile.mkdtemp(prefix="numba_ss-kept-", dir=place()))
            try:
                save(folder / name)
                return folder / name
            except Exception:
                shutil.rmtree(folder, ignore_errors=True)
    return None


@contextmanager
def saving(model: Any, save: Callable[[], None], where: str) -> Iterator[None]:
    """Save a model after it was trained inside; after an error, save its last finished epoch.

    Parameters
    ----------
    model : Word2Vec or YouTubeDNN
        The model that is trained.
    save : callable
        Saves the model.
    where : str
        The name of the file in the message.
    """
    before = getattr(model, "history_", None)
    try:
        yield
    except Exception:
        history = getattr(model, "history_", None)
        if history is not before and history is not None:
            save()
            log.warning("the model of epoch %d saved to %s", len(history), where)
        raise
    save()


def require_room(flag: str, path: PathLike, num_bytes: int, what: str) -> None:
    """Require enough room on the disk for a file, before the training begins."""
    free = shutil.disk_usage(Path(path).resolve().parent).free
    if num_bytes > free:
        room = f"room for {what}, {num_bytes / 1e6:.3g} MB"
        _checks.fail(flag, room, f"{free / 1e6:.3g} MB at {path}")


def save_history(path: PathLike | None, history: list[dict[str, Any]]) -> None:
    """Save the figures of each epoch, if a file for them was given."""

    def save(path: PathLike) -> None:
        with whole_file(path) as file:
            file.write(json.dumps(history, indent=1).encode())

    if path is not None:
        save_or_keep(path, save, "history.json")
