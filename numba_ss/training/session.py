"""One call of ``fit``: its parameters, its callbacks and its folder of checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._types import Show
from numba_ss.io.checkpoint import CheckpointFolder
from numba_ss.io.progress import check_show
from numba_ss.training.events import TrainingEvent, check_callbacks

# Parameters that may differ when a run is resumed: they do not change what an epoch computes.
_FREE = ("num_threads", "epochs")


class FitSession:
    """One call of ``fit`` of an estimator with checked parameters.

    The arguments are those of ``fit``. They are checked, and the folder of checkpoints is made,
    before any data is read. A checkpoint is due after `minutes` or, if given, `examples`. `folder`
    makes the folder from its path.
    """

    def __init__(
        self, estimator: Any, options: dict[str, Any], callbacks: Any, show: Show,
        checkpoint: Any = None, minutes: float = 1.0, examples: int | None = None,
        folder: Callable[[Any], Any] = CheckpointFolder,
    ) -> None:
        self.estimator, self.options, self.show = estimator, options, show
        check_show("progress", show)
        self.callbacks = check_callbacks(callbacks)
        self.minutes = _checks.number("checkpoint_minutes", minutes, not_negative=True)
        self.examples = examples
        if not isinstance(checkpoint, (str, os.PathLike, type(None))):
            _checks.fail("checkpoint", "the path of a folder", repr(checkpoint))
        self.folder = None if checkpoint is None else folder(checkpoint)
        if self.folder is not None:
            self.folder.claim()

    def fixed_options(self) -> dict[str, Any]:
        """Return the parameters that must be the same when a run is resumed."""
        return {name: value for name, value in self.options.items() if name not in _FREE}

    def newest(self, resume: bool) -> Any:
        """Return the newest checkpoint as the folder loads it, or None if there is none."""
        resume = _checks.flag("resume", resume)
        if self.folder is None:
            if resume:
                _checks.fail("resume", "a folder as checkpoint=", "none")
            return None
        found = self.folder.load()
        if found is not None and not resume:
            _checks.fail(
                "checkpoint", "a folder without checkpoints, or resume=True", str(self.folder.path)
            )
        return found

    def notify(self, event: TrainingEvent) -> None:
        """Call the callbacks."""
        for callback in self.callbacks:
            callback(event)


def require_same(options: dict[str, Any], before: dict[str, Any], path: Path) -> None:
    """Require that a checkpoint was written with the same parameters."""
    for name, value in options.items():
        if before.get(name) != value:
            _checks.fail(name, f"{before.get(name)!r}, as in {path}", repr(value))


def require_epochs(epochs: int, done: int, path: Path) -> None:
    """Require at least as many epochs as a checkpoint has done."""
    if epochs < done:
        _checks.fail("epochs", f"at least {done}, which {path} has done", epochs)
