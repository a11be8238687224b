"""What all commands share: results on standard output, and in files that cannot be written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba_ss.io.files import PathLike, whole_file


def say(lines: Iterable[str]) -> None:
    """Write results where a pipe can take them, and a console that lacks their letters."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def save_or_keep(
    path: PathLike, save: Callable[[PathLike], None], name: str, command: str = "mv"
) -> None:
    """Save what was learned; if that fails, keep it elsewhere, and say where.

    Parameters
    ----------
    path : path
        Where it is to go.
    save : callable
        Writes it to a path.
    name : str
        What the file is called that it is kept in.
    command : str
        What makes `path` of that file, as the two are given to it.

    Raises
    ------
    OSError
        With all of this in its message.
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


def _keep(save: Callable[[PathLike], None], name: str) -> Path | None:
    """Save to a new folder, wherever one can be made."""
    for place in (tempfile.gettempdir(), os.getcwd(), os.path.expanduser("~")):
        with suppress(Exception):
            folder = Path(tempfile.mkdtemp(prefix="numba_ss-kept-", dir=place))
            try:
                save(folder / name)
                return folder / name
            except Exception:
                shutil.rmtree(folder, ignore_errors=True)
    return None


def write_history(path: PathLike, history: list[dict[str, Any]]) -> None:
    """Write the figures of each epoch."""
    with whole_file(path) as file:
        file.write(json.dumps(history, indent=1).encode())
