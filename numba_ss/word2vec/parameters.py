"""The parameters of `Word2Vec`: checks, defaults, and defaults that depend on the text."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss.engine.by_name import SAMPLED_LOSSES, WORD_SAMPLERS
from numba_ss.kernels.words.train_windows import SCHEME
from numba_ss.training.session import FitSession
from numba_ss.word2vec.vocabulary import Vocabulary

ARCHITECTURES = ("skipgram", "cbow")
SCHEDULES = ("linear", "constant")
_LEARNING_RATES = {"skipgram": 0.03, "cbow": 0.09}
SUBSAMPLES = {"skipgram": 3e-4, "cbow": 1e-4}
# Defaults for short texts. min_count rises by 1 for every _FREQUENT words of the text. There are
# enough epochs to learn from _LONG words. subsample is at least _HALF of the mean share of a word.
_FREQUENT, _LONG, _HALF = 25_000, 100_000, 0.5
_MOST_EPOCHS = 50
# Parameters whose default depends on the text, with the checks of their values in a file.
SETTLED = {
    "min_count": lambda name, value: _checks.integer(name, value, 0),
    "subsample": lambda name, value: _checks.number(name, value, not_negative=True),
    "epochs": lambda name, value: _checks.integer(name, value, 1),
}


def checked_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters of a `Word2Vec`; return them with defaults, as JSON values."""
    c = _checks

    def optional_integer(name: str, low: int, high: int | None = None) -> Any:
        value = given[name]
        return None if value is None else c.integer(name, value, low, high)

    seed = c.integer("seed", given["seed"], 0, 2**63 - 1)
    architecture = c.choice("architecture", given["architecture"], ARCHITECTURES)
    rate = given["learning_rate"]
    rate = _LEARNING_RATES[architecture] if rate is None else rate
    subtract, subsample = given["subtract_log_q"], given["subsample"]
    if given["vocabulary"] is not None and given["max_vocabulary"] is not None:
        c.fail("max_vocabulary", "None with vocabulary", given["max_vocabulary"])
    return {
        "vector_size": c.integer("vector_size", given["vector_size"], 1, 2**20),
        "window": c.integer("window", given["window"], 1, 2**10),
        "min_count": optional_integer("min_count", 0),
        "max_vocabulary": optional_integer("max_vocabulary", 2),
        "vocabulary": _description(given["vocabulary"]),
        "architecture": architecture,
        "loss": c.choice("loss", given["loss"], SAMPLED_LOSSES),
        "num_sampled": c.integer("num_sampled", given["num_sampled"], 1, 2**12),
        "sampler": c.choice("sampler", given["sampler"], WORD_SAMPLERS),
        "distortion": c.bounded("distortion", given["distortion"], -10, 10),
        "subtract_log_q": None if subtract is None else c.flag("subtract_log_q", subtract),
        "subsample": (
            None if subsample is None else c.number("subsample", subsample, not_negative=True)
        ),
        "learning_rate": c.bounded("learning_rate", rate, 0, 1e6),
        "min_learning_rate": c.number(
            "min_learning_rate", given["min_learning_rate"], not_negative=True
        ),
        "schedule": c.choice("schedule", given["schedule"], SCHEDULES),
        "epochs": optional_integer("epochs", 1),
        "early_stopping": optional_integer("early_stopping", 1),
        "batch_size": optional_integer("batch_size", 16, 2**20),
        "num_threads": c.threads(given["num_threads"]),
        "seed": seed,
    }


def _description(given: Any) -> str | None:
    """Check the given words; return a text that identifies them."""
    if given is None:
        return None
    wrong = (str, bytes, Iterator, Set)  # the order of a set is another in every process
    listed = isinstance(given, Iterable) and not isinstance(given, wrong)
    if not listed and not isinstance(given, Vocabulary):
        _checks.fail("vocabulary", "a list of words or a Vocabulary", repr(given)[:60])
    try:
        words = given_words(given) or []
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(f"vocabulary: {error}") from None
    data = "\n".join(words).encode("utf-8", "surrogatepass")
    return f"{len(words)} words with checksum {zlib.crc32(data):08x}"


def given_words(vocabulary: Any) -> list[str] | None:
    """Return the words that the user asked for, or None for the frequent words of the text."""
    if vocabulary is None or isinstance(vocabulary, Vocabulary):
        return None if vocabulary is None else vocabulary.words
    return Vocabulary.from_words(vocabulary).words


def fixed_options(session: FitSession) -> dict[str, Any]:
    """Return what must be the same when a run is resumed: parameters, and the kernels' scheme."""
    return session.fixed_options() | {"scheme": SCHEME}


def default_min_count(num_words: int) -> int:
    """Return the default of min_count for a text of `num_words` words."""
    return min(5, 1 + num_words // _FREQUENT)


def settle_min_count(options: dict[str, Any], total: int) -> int:
    """Set min_count if it is None, for a text of `total` words, and return it."""
    if options["min_count"] is None:
        options["min_count"] = default_min_count(total)
    return int(options["min_count"])


def settle(options: dict[str, Any], total: int, num_words: int) -> None:
    """Set subsample and epochs if they are None, from the sizes of text and vocabulary."""
    if options["subsample"] is None:
        options["subsample"] = max(SUBSAMPLES[options["architecture"]], _HALF / num_words)
    if options["epochs"] is None:
        options["epochs"] = int(np.clip(-(-_LONG // total), 5, _MOST_EPOCHS))


def rate_at(options: dict[str, Any], total: float, words: int) -> float:
    """Return the learning rate after so many of `total` words, as the schedule says."""
    top, low = options["learning_rate"], options["min_learning_rate"]
    if options["schedule"] == "constant":
        return float(top)
    return float(top + (min(top, low) - top) * min(words / total, 1.0))
