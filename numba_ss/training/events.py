"""The events that callbacks receive, and the exceptions that end a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from numba_ss import _checks


class TrainingEvent(NamedTuple):
    """The argument of callbacks.

    Attributes
    ----------
    kind : {"begin", "step", "epoch", "checkpoint", "end"}
        What happened. A "step" comes every few batches.
    epoch : int
        Number of finished epochs.
    examples : int
        Number of words or events learned from so far, in all epochs.
    loss : float
        Mean loss of the current epoch so far, or of the epoch that has just finished. NaN before
        the first step.
    learning_rate : float
        The current rate.
    model : Word2Vec or YouTubeDNN
        The estimator. At the events "epoch" and "end" it can be used and saved; at the others
        its tables are being changed.

    Examples
    --------
    >>> from numba_ss import Word2Vec
    >>> text = [["king", "rules", "land"], ["queen", "rules", "land"]] * 50
    >>> model, seen = Word2Vec(8, min_count=1, epochs=2, subsample=0), []
    >>> _ = model.fit(text, progress=False, callbacks=seen.append)
    >>> [event.epoch for event in seen if event.kind == "epoch"]
    [1, 2]
    """

    kind: str
    epoch: int
    examples: int
    loss: float
    learning_rate: float
    model: Any


class StopTraining(Exception):
    """A callback raises this to end the training early, without an error.

    A checkpoint is written if a folder was given, and `fit` returns. The model is the one after
    the last step or, with early stopping, after the best epoch.

    Examples
    --------
    >>> from numba_ss import Word2Vec
    >>> def enough(event):
    ...     if event.kind == "epoch" and event.loss < 5:
    ...         raise StopTraining
    >>> text = [["king", "rules", "land"], ["queen", "rules", "land"]] * 50
    >>> model = Word2Vec(8, min_count=1, epochs=9, subsample=0)
    >>> len(model.fit(text, progress=False, callbacks=enough).history_)
    1
    """


class TrainingDivergedError(FloatingPointError):
    """The loss became NaN, infinite or absurdly large; no checkpoint was written after that.

    Examples
    --------
    >>> from numba_ss import YouTubeDNN
    >>> log = {"user": ["ann"] * 3 + ["bob"] * 3, "item": list("abcabd"),
    ...        "timestamp": [1, 2, 3, 1, 2, 3]}
    >>> model = YouTubeDNN(8, epochs=9, optimizer="sgd", learning_rate=1e6, normalize=False)
    >>> try:
    ...     _ = model.fit(log, progress=False)
    ... except TrainingDivergedError as error:
    ...     print(str(error).partition(" in epoch")[0])
    training diverged
    """


def check_callbacks(callbacks: Any) -> Sequence[Callable[[TrainingEvent], object]]:
    """Return callbacks as a list of callables."""
    if not callable(callbacks) and not isinstance(callbacks, Iterable):
        _checks.fail("callbacks", "a function of one event, or a list of them", repr(callbacks))
    listed = [callbacks] if callable(callbacks) else list(callbacks)
    for i, callback in enumerate(listed):
        if not callable(callback):
            _checks.fail(f"callbacks[{i}]", "a function of one event", repr(callback))
    return listed
