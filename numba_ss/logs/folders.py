"""Find the files of a log: a file, a pattern, or a folder as Spark, Dask and Hive write it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from numba_ss import _checks
from numba_ss.io.inputs import walk

_NULL = "__HIVE_DEFAULT_PARTITION__"


def find_logs(name: str, path: Any) -> list[Path]:
    """Return the files of a path: the file itself, those in a folder, or those of a pattern.

    Folders are read with their subfolders; from a folder ``name.parquet``, only files ``.parquet``.
    Names that begin with a dot or an underscore are left out, because such files hold no data: they
    mark, for example, that a job has ended. A name such as ``_day=1`` is kept. Of the folders that
    a pattern matches, only ``name=value`` and ``name.parquet`` are read.
    """
    text = os.fspath(path)
    if os.path.isdir(text):
        files = list(_inside(text))
        if not files:
            _checks.fail(name, "a folder with files", repr(text))
        return files
    if os.path.exists(text):
        return [Path(text)]
    found = sorted(glob.glob(text, recursive=True)) if "\0" not in text else []
    files = []
    for match in map(Path, found):
        if match.is_file() and not _is_mark(match.name):
            files.append(match)
        elif match.is_dir() and ("=" in match.name or match.suffix.lower() == ".parquet"):
            files += _inside(match)
    if not files:
        _checks.fail(name, "a file, a folder or a pattern that matches files", repr(text))
    return list(dict.fromkeys(files))


def partitions_of(path: Path) -> dict[str, str | None]:
    """Return the columns in the names of folders, as in ``day=2024-01-01/part-0.parquet``.

    Each of these columns has one value for all rows of the file.
    """
    pairs = (part.partition("=") for part in path.parts[:-1] if "=" in part)
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs}


def _is_mark(name: str) -> bool:
    return name[0] == "." or (name[0] == "_" and "=" not in name)


def _inside(folder: str | Path) -> Iterator[Path]:
    only = ".parquet" if str(folder).rstrip("/" + os.sep).lower().endswith(".parquet") else ""
    for top, folders, names in walk(folder):
        folders[:] = sorted(name for name in folders if not _is_mark(name))
        for name in sorted(names):
            if not _is_mark(name) and name.lower().endswith(only):
                yield Path(top, name)
