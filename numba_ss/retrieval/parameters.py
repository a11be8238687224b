"""The parameters of `YouTubeDNN`: their checks and defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss.engine.by_name import ITEM_SAMPLERS
from numba_ss.logs.interactions import column_names
from numba_ss.retrieval.held_out import LONGEST

OPTIMIZERS = {"adagrad": 0.1, "sgd": 10.0}  # with the learning rate that each takes


def checked_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters of a `YouTubeDNN`; return them with defaults, as JSON values."""
    c = _checks
    optimizer = c.choice("optimizer", given["optimizer"], OPTIMIZERS)
    rate = OPTIMIZERS[optimizer] if given["learning_rate"] is None else given["learning_rate"]
    share = given["validation"]
    if share is not None:
        share = c.number("validation", share)
        if not 0 < share <= 1:
            c.fail("validation", "a share in (0, 1], or None", share)
    patience = given["early_stopping"]
    if patience is not None:
        patience = c.integer("early_stopping", patience, 1)
        if share is None:
            c.fail("early_stopping", "None, without validation", patience)
    names = {
        kind: list(column_names(kind, given[kind]))
        for kind in ("user_features", "item_features")
    }
    return {
        "embedding_dim": c.integer("embedding_dim", given["embedding_dim"], 1, 2**16),
        "hidden_units": _check_units(given["hidden_units"]),
        "history_length": c.integer("history_length", given["history_length"], 1, LONGEST),
        "num_sampled": c.integer("num_sampled", given["num_sampled"], 1),
        "sampler": c.choice("sampler", given["sampler"], ITEM_SAMPLERS),
        "distortion": c.bounded("distortion", given["distortion"], -2, 2),
        "subtract_log_q": c.flag("subtract_log_q", given["subtract_log_q"]),
        "normalize": c.flag("normalize", given["normalize"]),
        "temperature": c.bounded("temperature", given["temperature"], 1e-6, 1e6),
        "optimizer": optimizer,
        "learning_rate": c.bounded("learning_rate", rate, 0, 1e6),
        "l2": c.bounded("l2", given["l2"], 0, 1e6),
        "batch_size": c.integer("batch_size", given["batch_size"], 1, 2**20),
        "epochs": c.integer("epochs", given["epochs"], 1),
        "user": given["user"],
        "item": given["item"],
        "timestamp": given["timestamp"],
        "validation": share,
        "early_stopping": patience,
        "num_threads": c.threads(given["num_threads"]),
        "seed": c.integer("seed", given["seed"], 0, 2**31 - 1),
        **names,
    }


def _check_units(value: Any) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        _checks.fail("hidden_units", "a sequence of widths", repr(value))
    return [
        _checks.integer(f"hidden_units[{i}]", units, 1, 2**16) for i, units in enumerate(value)
    ]
