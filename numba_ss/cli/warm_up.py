"""The command ``warm-up``: compile ahead of time, for example while a container is built."""

from __future__ import annotations

import logging
import tempfile
import time
from argparse import Namespace
from itertools import product
from pathlib import Path

import numpy as np

from numba_ss.engine.layer import SampledSoftmax
from numba_ss.kernels.core.threads import get_num_threads
from numba_ss.logs.interactions import read_interactions
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.word2vec.estimator import Word2Vec
from numba_ss.word2vec.parameters import ARCHITECTURES

log = logging.getLogger("numba_ss")


def _word2vec(num_threads: int) -> None:
    words = np.random.default_rng(0).integers(500, size=(300, 20)).astype(str)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text("\n".join(map(" ".join, words.tolist())))
        # Logistic losses have code of their own, which is the same for all of them.
        for architecture, loss in product(ARCHITECTURES, ("sampled_softmax", "negative_sampling")):
            model = Word2Vec(16, min_count=1, subsample=0, epochs=1, num_threads=num_threads)
            model.set_params(architecture=architecture, loss=loss)
            model.fit(path, progress=False).vectors_.most_similar("1", topn=3)


def _retrieve(num_threads: int) -> None:
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(300), 20), rng.integers(500, size=6000)
    events = read_interactions({"user": users, "item": items, "timestamp": np.arange(6000)})
    model = YouTubeDNN(epochs=1, num_threads=num_threads).fit(events, progress=False)
    model.recommend(k=50)  # so many that several threads sort them


def _layer(num_threads: int) -> None:
    rng = np.random.default_rng(0)
    layer = SampledSoftmax(10_000, 64, 1024, num_threads=num_threads)
    inputs = rng.standard_normal((512, 64)).astype(np.float32)
    labels = rng.integers(10_000, size=(512, 1))
    layer.step(inputs, labels)
    layer.evaluate(inputs, labels)
    layer.top_k(inputs, 3)


_ALL = {"word2vec": _word2vec, "retrieve": _retrieve, "layer": _layer}


def run(args: Namespace) -> None:
    """Run each job that was asked for once on one thread, and once on all."""
    for name in args.what or _ALL:
        start = time.monotonic()
        for num_threads in sorted({1, get_num_threads()}):
            _ALL[name](num_threads)
        log.info("%s: compiled, %.0f seconds", name, time.monotonic() - start)
