"""The files of a path: the file itself, those in a folder, or those of a pattern."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.io.checkpoint import without_checkpoints

log = logging.getLogger("numba_ss")

# Prefixes of hidden files, and of markers that Spark and Databricks write beside results.
_MARK = re.compile(r"\.|_SUCCESS$|_committed_|_started_|_metadata$|_common_metadata$")


def is_hidden(*parts: str) -> bool:
    """Return whether a file in a folder is hidden there, or a marker of a job.

    `parts` are the names of the folders that lead to it, and its own.
    """
    *folders, name = parts
    return any(part[0] == "." for part in folders) or _MARK.match(name) is not None


def walk(folder: PathLike) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as ``os.walk`` does; follow links, but visit each folder once.

    Checkpoints are left out: a run may save them beside what it reads. A Delta table is refused,
    because only its log says which of its files are valid.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if "_delta_log" in folders:
            got = "a Delta table; deltalake.DeltaTable(path).to_pyarrow_table() makes a table of it"
            _checks.fail(place, "a folder of files that are all in force", got)
        # A link may lead back to a folder that contains it.
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield place, folders, without_checkpoints(names)


def _inside(folder: str) -> list[Path]:
    """Return the files in a folder and its subfolders in sorted order, without hidden ones."""
    found: list[Path] = []
    for place, folders, names in walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [Path(place, name) for name in names if not is_hidden(name)]
    return _files_among(sorted(found))


def _files_among(paths: Sequence[Path]) -> list[Path]:
    """Return those paths that are files; warn of links to files that are not there.

    Such are left by git-annex and DVC for what was not fetched, and by folders that have moved.
    """
    lacking = [path for path in paths if not os.path.exists(path)]
    if lacking:
        log.warning(
            "%s is a link that leads nowhere; such links are left out, %d in all",
            lacking[0], len(lacking),
        )
    return [path for path in paths if path.is_file()]


def find_files(name: str, value: PathLike) -> list[Path]:
    """Return the files of a path: the file itself, those in a folder, or those of a pattern."""
    text = os.fspath(value)
    if os.path.isfile(text):
        return [Path(text)]
    if os.path.isdir(text):
        inside = _inside(text)
        if text.lower().rstrip("/" + os.sep).endswith(".parquet"):
            inside = [path for path in inside if path.suffix.lower() == ".parquet"]
        if not inside:
            _checks.fail(name, "a folder with files", repr(text))
        return inside
    if os.path.exists(text):
        _checks.fail(name, 'a file or a folder ("-" for standard input)', repr(text))
    found = sorted(glob.glob(text, recursive=True)) if "\0" not in text else []
    files = _files_among([Path(path) for path in found])
    if not files:
        shown = repr(text) if len(text) < 80 else f"{text[:60]!r}..."
        _checks.fail(
            name,
            "a file, a folder or a pattern that matches files (sentences are lists of words, not "
            "strings)",
            f"{shown}, which does not exist",
        )
    return files


def warn_of_repeated(files: Sequence[Path]) -> None:
    """Warn if a file is given several times, for it is also read several times."""
    counts = Counter(map(os.path.realpath, files))
    file, count = max(counts.items(), key=lambda item: item[1])
    if count > 1:
        log.warning("%s is given %d times, and is read as often", file, count)
