"""Crash-safe checkpoints: arrays and a JSON state, resumed exactly.

A checkpoint is one ``.npz`` file that NumPy can open. It gets its name only when it is completely
on the disk. So if a process is killed at any moment, the previous checkpoint is intact.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, PathLike
from numba_ss.io.files import FolderLock, lock_folder, require_local, whole_file

log = logging.getLogger("numba_ss")


_NAME = re.compile(r"checkpoint-([0-9]+)\.npz")
# What a cluster writes, see `distributed.checkpoints`.
SHARD, HELD = re.compile(r"shard-[0-9]+-of-[0-9]+\.npz"), "checkpoint-held"
_CONTENT = "content.json"


class Checkpoint(NamedTuple):
    """What `CheckpointFolder.load` found.

    Attributes
    ----------
    arrays : dict of str to ndarray
        New arrays, with the types, shapes and bits that were saved.
    state : dict
        The state, equal to the one that was saved.
    path : Path
        The file it was read from.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = CheckpointFolder(path)
    ...     _ = folder.save({"weights": np.ones(2, np.float32)}, {"epoch": 1})
    ...     found = folder.load()
    >>> found.arrays, found.state
    ({'weights': array([1., 1.], dtype=float32)}, {'epoch': 1})
    """

    arrays: Arrays
    state: dict[str, Any]
    path: Path


class CheckpointFolder:
    """A folder that holds the last few checkpoints of one training run.

    Reading changes nothing. One process at a time saves into a folder: it holds a lock, which the
    system releases when the process ends, even if it is killed. If the file system has no locks,
    `save` refuses to work if a checkpoint newer than its own has appeared.

    Parameters
    ----------
    path : str or path
        The folder.
    keep : int, default=2
        Checkpoints to keep; older ones are removed after a new one is on the disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = CheckpointFolder(path)
    ...     assert folder.load() is None
    ...     _ = folder.save({"weights": np.ones(3, np.float32)}, {"epoch": 1})
    ...     arrays, state, file = CheckpointFolder(path).load()
    >>> arrays["weights"], state, file.name
    (array([1., 1., 1.], dtype=float32), {'epoch': 1}, 'checkpoint-1.npz')
    """

    def __init__(self, path: PathLike, *, keep: int = 2) -> None:
        if not isinstance(path, (str, os.PathLike)):
            _checks.fail("path", "the path of a folder", repr(path))
        require_local("path", path)
        self.keep = _checks.integer("keep", keep, 1)
        self.path = Path(path)
        self._damaged: set[Path] = set()
        self._claimed = False
        self._lock: FolderLock | None = None
        self._newest = self._last_number()

    def claim(self) -> None:
        """Lock the folder for this process, as long as this object lives; `save` does so, too.

        The folder is made if it does not exist, and a file is written as a trial, so that errors
        come now and not after hours of work. Incomplete files of killed processes are removed.

        Raises
        ------
        OSError
            If the folder cannot be made or written to, or another process saves here.
        """
        self._lock = claim_folder(self.path, "checkpoint-*/state.json", "a run on a cluster")
        if self._lock is not None:
            for partial in self.path.glob(".checkpoint-*.partial"):
                partial.unlink(missing_ok=True)
        self._claimed = True

    def require(self, num_bytes: int) -> None:
        """Require enough room on the disk before the work starts.

        The checkpoints in the folder count as room, because new ones will replace them.

        Parameters
        ----------
        num_bytes : int
            The largest size of the folder: one checkpoint more than are kept.

        Raises
        ------
        OSError
            If the file system has less (`errno.ENOSPC`).
        """
        wanted = _checks.integer("num_bytes", num_bytes, 0)
        if not self._claimed:
            self.claim()
        present = sum(path.stat().st_size for path in self._paths())
        room = shutil.disk_usage(self.path).free + present
        if room < wanted:
            raise OSError(
                errno.ENOSPC,
                f"checkpoint folder: expected room for {wanted:,} bytes, "
                f"got {room:,} in {self.path}",
            )

    def save(self, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> Path:
        """Write the next checkpoint, then remove old ones beyond `keep`.

        The arrays are streamed to the disk, never copied whole.

        Parameters
        ----------
        arrays : dict of str to ndarray
            Arrays without Python objects; the names must be identifiers.
        state : dict
            Anything that JSON stores exactly: dicts with string keys, lists, strings, integers,
            finite floats, booleans and None.

        Returns
        -------
        Path
            The new file.

        Raises
        ------
        ArgumentError
            If something cannot be stored exactly; nothing is written.
        OSError
            If the disk is full or fails, or another process saves here; earlier checkpoints are
            not changed.
        """
        for name, array in arrays.items():
            _check_array(name, array)
        _check_state(state)
        if not self._claimed:
            self.claim()
        newest = self._last_number()
        if newest > self._newest:
            raise OSError(
                errno.EBUSY,
                f"checkpoint folder: expected numbers up to {self._newest}, got "
                f"checkpoint-{newest}.npz; does another process save into {self.path}?",
            )
        self._newest += 1  # first: an interrupt may come when the file has its name already
        path = self.path / f"checkpoint-{self._newest}.npz"
        try:
            with whole_file(path) as file:
                write_state(file, arrays, state)
        except OSError as error:
            kept = ", ".join(path.name for path in self._paths()) or "none"
            text = f"{path.name} could not be written to {self.path}; kept: {kept}"
            raise _worded(error, text) from error
        self._remove_old()
        return path

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be read, or None if there is no checkpoint.

        Damaged checkpoints are skipped with a warning in the log, and the next `save` removes
        them.

        Raises
        ------
        ArgumentError
            If there are checkpoints, but all are damaged.
        OSError
            If a checkpoint cannot be opened.
        """
        self._newest = self._last_number()
        reasons = []
        for path in reversed(self._paths()):
            with path.open("rb") as file:
                try:
                    return Checkpoint(*read_state(file), path)
                except MemoryError as error:
                    raise MemoryError(f"{path}: {error}") from error
                except Exception as error:  # a flipped bit comes as any error of zipfile, zlib ...
                    reasons.append(f"{path.name} ({error!r})")
            self._damaged.add(path)
            log.warning("%s: skipped a damaged checkpoint: %s", self.path, reasons[-1])
        if reasons:
            _checks.fail(str(self.path), "a readable checkpoint", ", ".join(reasons))
        return None

    def _paths(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        try:
            inside = list(self.path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((p for p in inside if _NAME.fullmatch(p.name)), key=_number)

    def _last_number(self) -> int:
        return max(map(_number, self._paths()), default=0)

    def _remove_old(self) -> None:
        sound = [path for path in self._paths() if path not in self._damaged]
        for path in {*sound[: -self.keep], *self._damaged}:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # no reason to stop training
                log.warning("an old checkpoint could not be removed: %s", error)


def _worded(error: OSError, text: str) -> OSError:
    return OSError(error.errno, f"checkpoint folder: {text} ({error.strerror or error})")


def claim_folder(path: Path, others: str, whose: str) -> FolderLock | None:
    """Make a folder for checkpoints and lock it; None if the file system has no locks.

    A file without a name is written as a trial: nothing in the folder changes. `others` is the
    pattern of checkpoints that this kind of run cannot read, and `whose` says what wrote them.

    Raises
    ------
    ArgumentError
        If such checkpoints are there: the run would begin anew without a word.
    OSError
        If the folder cannot be made or written to, or another process saves here.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(path)
        with tempfile.TemporaryFile(dir=path) as trial:
            trial.write(b"writable")
            trial.flush()
            os.fsync(trial.fileno())
    except BlockingIOError as error:
        expected = f"one that no other process saves into, got {path}"
        raise OSError(errno.EBUSY, f"checkpoint folder: expected {expected}") from error
    except OSError as error:
        raise _worded(error, f"expected one that can be written to, got {path}") from error
    if other := next(path.glob(others), None):
        _checks.fail("checkpoint", f"a folder without checkpoints of {whose}", str(other))
    return lock


def without_checkpoints(names: Sequence[str]) -> list[str]:
    """Return the names of the files in a folder, without those of checkpoints.

    A folder that has the file of a shard is a checkpoint of a cluster, with all that is in it.
    """
    if any(map(SHARD.fullmatch, names)):
        return []
    return [name for name in names if not _NAME.fullmatch(name) and name != HELD]


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _check_array(name: Any, array: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        _checks.fail("arrays", "names that are identifiers", repr(name))
    is_plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not is_plain or array.dtype.hasobject:
        got = array.dtype if is_plain else type(array).__name__
        _checks.fail(f"arrays[{name!r}]", "an ndarray without Python objects", got)


def _check_state(state: Any) -> None:
    """Require that JSON stores the state exactly."""
    if not isinstance(state, Mapping):
        _checks.fail("state", "a dict", type(state).__name__)
    try:
        text = json.dumps(dict(state), allow_nan=False)
    except (TypeError, ValueError) as error:
        _checks.fail("state", "what JSON holds exactly", error)
    if json.loads(text) != state:
        _checks.fail("state", "what JSON holds exactly", f"{state}, which reads back as {text}")


def write_state(
    file: BinaryIO, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]
) -> None:
    """Write arrays and a JSON state as a zip of .npy files."""
    # The names are stored as well, because no checksum protects the list of members of a zip file.
    content = {"arrays": list(arrays), "state": dict(state)}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_CONTENT, json.dumps(content))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_state(file: BinaryIO) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_state` wrote; a damaged file raises any error of zipfile or NumPy.

    Memory is allocated for no more bytes than the file has, whatever its headers say.
    """
    with zipfile.ZipFile(file) as archive:
        _require_bounded(archive)
        # All checksums are compared before any byte is used as a shape or a type.
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        if _CONTENT not in archive.namelist():
            raise zipfile.BadZipFile("arrays alone, as in a file of vectors")
        content = json.loads(archive.read(_CONTENT))
        arrays = {}
        for name in content["arrays"]:
            with archive.open(f"{name}.npy") as member:
                _require_shape(name, member, archive.getinfo(f"{name}.npy").file_size)
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        state = content["state"]
        if not isinstance(state, dict):
            raise ValueError(f"a state of type {type(state).__name__}")
        return arrays, state


def _require_bounded(archive: zipfile.ZipFile) -> None:
    """Require that an archive decompresses to no more bytes than it has itself."""
    unfolded = sum(info.file_size for info in archive.infolist())
    file = archive.fp
    size = 0 if file is None else file.seek(0, os.SEEK_END)
    if unfolded > size:
        raise zipfile.BadZipFile(f"{size:,} bytes that say they unfold to {unfolded:,}")


def _require_shape(name: str, member: IO[bytes], size: int) -> None:
    """Require that an array has the number of bytes that its shape says."""
    major, _ = np.lib.format.read_magic(member)
    headers = np.lib.format
    read = headers.read_array_header_1_0 if major == 1 else headers.read_array_header_2_0
    shape, _, dtype = read(member)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - member.tell():
        raise ValueError(f"{name} of shape {shape} in {size - member.tell()} bytes")


@contextmanager
def reading(name: str, expected: str) -> Iterator[None]:
    """Turn errors about a file's contents into an `ArgumentError` that names the file.

    A flipped bit or a manipulated state can cause any error of zipfile, zlib, NumPy or of the
    code that uses the contents.
    """
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except Exception as error:
        _checks.fail(name, expected, repr(error)[:400])


def checked_fields(
    name: str, given: Any, checks: Mapping[str, Callable[[str, Any], Any]]
) -> dict[str, Any]:
    """Check the state of a run from a file, which may be wrong although its checksums are right.

    Parameters
    ----------
    name : str
        The name of the state in messages.
    given : object
        The state, which should be a dict of exactly these fields.
    checks : dict of str to callable
        For each field a function of its name and value that returns the value or raises.
    """
    if not isinstance(given, dict) or set(given) != set(checks):
        got = sorted(given) if isinstance(given, dict) else type(given).__name__
        _checks.fail(name, f"the fields {', '.join(checks)}", str(got)[:200])
    return {field: check(f"{name}, {field}", given[field]) for field, check in checks.items()}


def checked_history(name: str, value: Any) -> list[dict[str, Any]]:
    """Return the figures of all epochs, after checking that they are a list of dicts of numbers."""
    if not isinstance(value, list):
        _checks.fail(name, "a list", str(value)[:200])
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            _checks.fail(f"{name}[{i}]", "a dict of numbers", str(entry)[:200])
        for key, number in entry.items():
            _checks.number(f"{name}[{i}], {key}", number)
    return value
