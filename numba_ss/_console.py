"""What all commands share: results on standard output, files that are tried out early."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from numba_ss import _files
from numba_ss._files import PathLike, whole_file


def say(lines: Iterable[str]) -> None:
    """Write results where a pipe can take them, and a console that lacks their letters."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def require_writable(flag: str, path: PathLike, inputs: Sequence[PathLike] = ()) -> None:
    """Let a file that cannot be written, or is an input, fail now, not after hours of work."""
    _files.require_distinct({flag: path}, {"what is read": inputs})
    _files.require_writable(flag, path)


def write_history(path: PathLike, history: list[dict[str, Any]]) -> None:
    """Write the figures of each epoch."""
    with whole_file(path) as file:
        file.write(json.dumps(history, indent=1).encode())
