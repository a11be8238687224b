"""What all commands share: results on standard output, files that are tried out early."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._files import PathLike, whole_file


def say(lines: Iterable[str]) -> None:
    """Write results where a pipe can take them, and a console that lacks their letters."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def require_writable(flag: str, path: PathLike, inputs: Sequence[PathLike] = ()) -> None:
    """Let a file that cannot be written, or is an input, fail now, not after hours of work."""
    path = Path(path)
    if path.exists() and any(Path(name).exists() and path.samefile(name) for name in inputs):
        _checks.fail(flag, "another file than what is read", path)
    if not path.parent.is_dir():
        _checks.fail(flag, "a file in a folder that exists", path)
    if path.is_dir():
        _checks.fail(flag, "a file", f"the folder {path}")
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def write_history(path: PathLike, history: list[dict[str, Any]]) -> None:
    """Write the figures of each epoch."""
    with whole_file(path) as file:
        file.write(json.dumps(history, indent=1).encode())
