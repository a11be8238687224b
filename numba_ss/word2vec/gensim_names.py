"""Names of gensim's ``Word2Vec``; the errors say which name to use instead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec

from numba_ss import _checks

P = ParamSpec("P")

_TEXT = "fit(text)"
_NONE = "nothing like it; leave it out"
_PARAMETERS = {
    "sentences": _TEXT, "corpus_file": "fit(path)", "size": "vector_size",
    "workers": "num_threads", "alpha": "learning_rate", "min_alpha": "min_learning_rate",
    "sg": 'architecture="skipgram" (sg=1) or "cbow" (sg=0)', "iter": "epochs",
    "sample": "subsample", "max_final_vocab": "max_vocabulary", "max_vocab_size": "max_vocabulary",
    "negative": 'num_sampled (24 for 5: 32 windows share them), loss="negative_sampling"',
    "ns_exponent": "distortion",
    "hs": "loss, none of which needs a tree", "cbow_mean": "nothing like it: it is the mean",
    "batch_words": "batch_size", "callbacks": "fit(text, callbacks=...)",
    "compute_loss": "history_, which always has the loss", "comment": _NONE, "hashfxn": _NONE,
    "null_word": _NONE, "trim_rule": "vocabulary", "sorted_vocab": _NONE,
    "shrink_windows": _NONE,
}
_ATTRIBUTES = {
    "wv": "vectors_", "train": "partial_fit", "build_vocab": "fit", "init_sims": "vectors_",
    "most_similar": "vectors_.most_similar", "similarity": "vectors_.similarity",
    "predict_output_word": "vectors_.most_similar", "vocab": "vocabulary_",
    "index2word": "vocabulary_.words", "get_latest_training_loss": "history_",
    "save_word2vec_format": "vectors_.save",
}


def answering_parameters(method: Callable[P, None]) -> Callable[P, None]:
    """Refuse parameters of gensim, and a text as the first argument, with advice."""

    @functools.wraps(method)
    def answering(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if name in _PARAMETERS:
                _checks.fail(name, f"{_PARAMETERS[name]} in its place", f"{name}=")
        # args[0] is the model. Strings and arrays of one number are judged when they are used.
        if len(args) > 1 and isinstance(args[1], (list, tuple, Iterator)):
            _checks.fail("vector_size", "an integer; a text goes to fit", repr(args[1])[:60])
        method(*args, **kwargs)

    return answering


def answer_attribute(kind: str, name: str) -> NoReturn:
    """Raise AttributeError; for an attribute of gensim, say which one to use instead."""
    ours = f"; what gensim calls so is {_ATTRIBUTES[name]} here" if name in _ATTRIBUTES else ""
    raise AttributeError(f"{kind!r} object has no attribute {name!r}{ours}")
