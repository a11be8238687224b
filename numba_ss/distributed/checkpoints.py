"""A folder of checkpoints: of each the files of all shards, and a JSON state, written last."""

from __future__ import annotations

import json
import logging
import re
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.distributed.shards import Saved
from numba_ss.io.checkpoint import HELD, SHARD, claim_folder, reading
from numba_ss.io.files import FolderLock, require_local, whole_file

log = logging.getLogger("numba_ss")

_NAME = re.compile(r"checkpoint-([0-9]+)")
_STATE = "state.json"
# All that a checkpoint consists of, also while it is written.
_FILE = re.compile(rf"state\.json|{SHARD.pattern}|\..+\.partial")


class Found(NamedTuple):
    """A checkpoint: the files of the shards, and the caller's state."""

    saved: Saved
    state: dict[str, Any]


class RoundFolder:
    """A folder that holds the last few checkpoints of a run on a cluster.

    All machines see it under the same path. Each checkpoint is a folder, ``checkpoint-<number>``,
    which counts only when it has its ``state.json``. One process at a time saves into the folder.
    """

    def __init__(self, path: PathLike, *, keep: int = 2) -> None:
        require_local("checkpoint", path)
        self.path, self.keep = Path(path).absolute(), keep
        self._lock: FolderLock | None = None
        self._damaged: set[Path] = set()

    def claim(self) -> None:
        """Make the folder, lock it for this process, and remove what killed processes left.

        Raises
        ------
        OSError
            If it cannot be made or written to, or another process saves here.
        """
        self._lock = claim_folder(self.path, "checkpoint-*.npz", "a run on one machine")
        for folder in self._folders():
            if not (folder / _STATE).exists():
                self._remove(folder)

    def load(self) -> Found | None:
        """Return the newest checkpoint that can be read, or None if there is no checkpoint.

        One with a damaged state or a truncated file is skipped with a warning in the log, and the
        next checkpoint removes it.

        Raises
        ------
        ArgumentError
            If there are checkpoints, but all are damaged.
        """
        damaged = []
        for folder in reversed(self._whole()):
            try:
                return _read(folder)
            except _checks.ArgumentError as error:
                damaged.append(error)
                self._damaged.add(folder)
                log.warning("skipped a damaged checkpoint: %s", error)
        if damaged:
            raise damaged[0]
        return None

    def held(self) -> Found | None:
        """Return the checkpoint that is held, or None if there is none."""
        folder = self._held()
        return None if folder is None else _read(folder)

    def hold(self, saved: Saved) -> None:
        """Keep a checkpoint until another one is held, however old it becomes."""
        with whole_file(self.path / HELD) as file:
            file.write(Path(saved.folder).name.encode())

    def begin(self, num_shards: int, rounds: int, epoch: int, index: int) -> Saved:
        """Make a folder for the files of the shards; the arguments are those of `Saved`."""
        if self._lock is None:
            self.claim()
        number = 1 + max(map(_number, self._folders()), default=0)
        folder = self.path / f"checkpoint-{number}"
        folder.mkdir()
        return Saved(str(folder), num_shards, rounds, epoch, index)

    def finish(self, saved: Saved, state: dict[str, Any]) -> None:
        """Write the state when all files are there, then remove old checkpoints."""
        missing = [
            file for file in map(saved.file, range(saved.num_shards)) if not file.exists()
        ]
        if missing:
            _checks.fail(
                "checkpoint", "a folder that all machines see under the same path",
                f"{self.path}, where {missing[0].name} of another machine is missing",
            )
        content = {**asdict(saved), "state": state}
        del content["folder"]  # it may be moved
        with whole_file(Path(saved.folder, _STATE)) as file:
            file.write(json.dumps(content, allow_nan=False).encode())
        sound = [folder for folder in self._whole() if folder not in self._damaged]
        for folder in self._folders():
            if folder not in (*sound[-self.keep :], self._held()):
                self._remove(folder)

    def _held(self) -> Path | None:
        try:
            return self.path / (self.path / HELD).read_text()
        except FileNotFoundError:
            return None

    def _folders(self) -> list[Path]:
        """Return the folders of all checkpoints, oldest first."""
        try:
            inside = list(self.path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((path for path in inside if _NAME.fullmatch(path.name)), key=_number)

    def _whole(self) -> list[Path]:
        """Return the folders with all files, oldest first."""
        return [folder for folder in self._folders() if (folder / _STATE).exists()]

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint; other programs' folders, which may have such a name, stay."""
        try:
            if not all(_FILE.fullmatch(file.name) for file in folder.iterdir()):
                return
            (folder / _STATE).unlink(missing_ok=True)  # first: half a checkpoint is none
            shutil.rmtree(folder)
        except OSError as error:  # no reason to stop training
            log.warning("an old checkpoint could not be removed: %s", error)


def _read(folder: Path) -> Found:
    path = folder / _STATE
    with reading(str(path), "the state of a run on a cluster"):
        found = json.loads(path.read_text())
        state = found.pop("state")
        if not isinstance(state, dict):
            raise ValueError("state is not a dict")
        numbers = {name: _checks.integer(name, value, 0) for name, value in found.items()}
        saved = Saved(str(folder), **numbers)
    for file in map(saved.file, range(saved.num_shards)):
        with reading(str(file), "the whole file of a shard"):
            zipfile.ZipFile(file).close()  # its directory stands at its end
    return Found(saved, state)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0
