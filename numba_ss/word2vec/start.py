"""The start of a `Word2Vec` run: random tables, a checkpoint, or a fitted estimator."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, Float32s, Show
from numba_ss.engine.by_name import LOSSES
from numba_ss.io.checkpoint import Checkpoint, checked_fields, reading
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.io.progress import Progress
from numba_ss.training.run import best_arrays
from numba_ss.training.session import FitSession, require_epochs, require_same
from numba_ss.word2vec.choice import (
    Rare,
    choose_words,
    merge_words,
    rare_of,
    rare_words,
    require_two_words,
)
from numba_ss.word2vec.corpus import Corpus
from numba_ss.word2vec.model import Tables, WordModel, subtracts_log_q
from numba_ss.word2vec.noise import Draws, Noise
from numba_ss.word2vec.parameters import SETTLED, fixed_options, given_words
from numba_ss.word2vec.run import (
    WordRun,
    WordState,
    checked_word_state,
    held_out_stream,
    judged_by,
)
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

# Where scores do not begin at zero, the first number of all input vectors at the start, and the
# lowest score. An output vector is as long as its score divided by that number.
_SHARED, _LOWEST = np.float32(0.5), np.float32(-20)


def begin(
    session: FitSession, corpus: Corpus, validation: Corpus | None, resume: bool
) -> WordRun:
    """Return a new run, or one that is resumed from the newest checkpoint."""
    found: Checkpoint | None = session.newest(resume)
    if found is not None:
        return _resumed(session, corpus, validation, *found)
    settled = dict(session.options)
    chosen, rare = _count_words(session, corpus, settled)
    # The words were packed and are now new strings, so that the memory of all others is free.
    words = unpack_words("", chosen["words"], chosen["offsets"])
    vocabulary = Vocabulary(words, chosen["counts"])
    noise = make_noise(vocabulary.counts, settled)
    model = make_model(_first_tables(noise, settled), noise, settled)
    return _run(session, settled, model, corpus, vocabulary, rare, validation)


def _count_words(
    session: FitSession, corpus: Corpus, settled: dict[str, Any]
) -> tuple[Arrays, Rare]:
    """Count the words of a text; return the words to train on, packed, and the rare ones."""
    words, counts = _counted(corpus, session.show)
    vocabulary = choose_words(words, counts, given_words(session.estimator.vocabulary), settled)
    packed = pack_words(vocabulary.words) | {"counts": vocabulary.counts}
    return packed, rare_words(words, counts, vocabulary)


class Grown(NamedTuple):
    """A fitted estimator before it learns a further text, and the random draws of that text."""

    vocabulary: Vocabulary
    rare: Rare
    noise: Noise
    tables: Iterator[Float32s]


def grow(
    session: FitSession, words: list[str], counts: NDArray[np.int64], settled: dict[str, Any]
) -> Grown:
    """Add the words of a further text to the vocabulary and the tables of an estimator."""
    before = session.estimator
    vocabulary, old_ids, rare = merge_words(
        before.vocabulary_, before._rare, words, counts, given_words(before.vocabulary), settled
    )
    present = np.zeros(len(vocabulary), np.int64)
    for word, count in zip(words, counts.tolist(), strict=True):
        if (position := vocabulary.index.get(word)) is not None:
            present[position] = count
    require_two_words(present, settled["min_count"] if before.vocabulary is None else None)
    noise = make_noise(vocabulary.counts, settled, present)
    return Grown(vocabulary, rare, noise, _grown_tables(before, old_ids, noise, settled))


def go_on(session: FitSession, corpus: Corpus, validation: Corpus | None) -> WordRun:
    """Return a run that trains a fitted estimator on a further text."""
    settled = dict(session.options)
    grown = grow(session, *_counted(corpus, session.show), settled)
    vocabulary = grown.vocabulary
    model = make_model(grown.tables, grown.noise, settled)
    history = list(session.estimator.history_)
    return _run(session, settled, model, corpus, vocabulary, grown.rare, validation, history)


def _resumed(
    session: FitSession, corpus: Corpus, validation: Corpus | None, arrays: Arrays,
    state: dict[str, Any], path: Any,
) -> WordRun:
    options, settled = state.get("options"), dict(session.options)
    if not isinstance(options, dict) or "vector_size" not in options:
        _checks.fail(str(path), "a checkpoint of Word2Vec", "another one")
    require_same(fixed_options(session), options, path)
    best = best_arrays(arrays)
    run = checked_word_state(f"{path}, run", state.get("run"), best)
    chosen = checked_fields(f"{path}, settled", state.get("settled"), SETTLED)
    settled |= {name: value for name, value in chosen.items() if settled[name] is None}
    require_epochs(settled["epochs"], run.epoch, path)
    with reading(str(path), "a checkpoint of Word2Vec"):
        rare = rare_of(path, arrays)
        words = unpack_words(path, arrays["words"], arrays["offsets"])
        vocabulary = Vocabulary(words, arrays["counts"])
        for tables in filter(None, (best, arrays)):
            _require_tables(tables, (len(vocabulary), settled["vector_size"]))
    saved = (arrays.pop(name) for name in ("inputs", "outputs"))
    model = make_model(saved, make_noise(vocabulary.counts, settled), settled)
    for name, own in (("losses", model.losses), ("pairs", model.pairs)):
        _checks.shaped(name, arrays[name], own.shape, "chunks,")
        own[:] = arrays[name]
    held_out = held_out_stream(validation, vocabulary, model.noise)
    require_same(judged_by(settled, held_out), options, path)
    log.info("resuming from %s", path)
    resumed = WordRun(
        session, settled, model, corpus, vocabulary, rare, run, best, held_out=held_out,
        first_epoch=0,
    )
    if resumed.is_finished:  # it gives its result without being prepared
        resumed.look_at_text()
    return resumed


def _require_tables(tables: Arrays, shape: tuple[int, int]) -> None:
    for name in ("inputs", "outputs"):
        _checks.shaped(name, tables[name], shape, "num_words, vector_size")
        if tables[name].dtype != np.float32 or not np.isfinite(tables[name]).all():
            _checks.fail(name, "finite numbers in float32", tables[name].dtype)


def _run(
    session: FitSession, settled: dict[str, Any], model: WordModel, corpus: Corpus,
    vocabulary: Vocabulary, rare: Rare, validation: Corpus | None,
    history: list[dict[str, Any]] | None = None,
) -> WordRun:
    """Return a run that begins with its first epoch; `history` has the epochs before it."""
    state = WordState(history=history or [])
    return WordRun(
        session, settled, model, corpus, vocabulary, rare, state, {},
        held_out=held_out_stream(validation, vocabulary, model.noise),
        first_epoch=len(state.history),
    )


def make_noise(
    counts: NDArray[np.int64], settled: dict[str, Any], present: NDArray[np.int64] | None = None
) -> Noise:
    """Return the random draws of a model; see `Noise`."""
    names = "sampler", "distortion", "num_sampled", "subsample", "seed"
    return Noise(counts, present=present, **{name: settled[name] for name in names})


def make_model(tables: Iterable[Float32s], noise: Noise, settled: dict[str, Any]) -> WordModel:
    """Return a model with the given input and output vectors; see `Tables`."""
    names = "window", "architecture", "loss", "subtract_log_q"
    return WordModel(
        Tables(tables, settled["vector_size"]), noise,
        batch_size=settled["batch_size"] or noise.batch_size,
        **{name: settled[name] for name in names},
    )


def first_inputs(num_words: int, options: dict[str, Any], start: int, stop: int) -> Float32s:
    """Return the rows of some words of the initial input vectors: small random numbers."""
    rng, dim = np.random.default_rng([options["seed"], num_words]), options["vector_size"]
    # Two numbers come from one draw of the generator, which can jump to any draw.
    rng.bit_generator.advance(start * dim // 2)  # type: ignore[attr-defined]
    skipped = start * dim % 2
    rows = rng.random((stop - start) * dim + skipped, np.float32)[skipped:]
    rows -= np.float32(0.5)
    rows /= np.float32(dim)
    inputs = np.asarray(rows.reshape(-1, dim))
    if any(_beginning(options)):
        inputs[:, 0] += _SHARED
    return inputs


def first_outputs(noise: Draws, options: dict[str, Any], start: int, stop: int) -> Float32s:
    """Return the rows of some words of the initial output vectors.

    They are zeros but for their first numbers, which give each output the score at which the loss
    is lowest for somebody who knows nothing of the words: with a logistic loss one of N + 1
    outputs is the target, so its logit is -log N; and where log Q is subtracted, it is added. From
    zeros, the first steps would have to lower all scores by up to 15, and the inputs would grow
    long, and alike, and stay so.
    """
    outputs = np.zeros((stop - start, options["vector_size"]), np.float32)
    is_logistic, is_corrected = _beginning(options)
    if is_logistic or is_corrected:  # otherwise their memory is not even touched
        scores = noise.log_q[start:stop] if is_corrected else outputs[:, 0]
        scores = scores - np.float32(np.log(noise.num_sampled) if is_logistic else 0)
        outputs[:, 0] = np.maximum(scores, _LOWEST) / _SHARED
    return outputs


def _beginning(options: dict[str, Any]) -> tuple[bool, bool]:
    """Return what decides where scores begin: a logistic loss, and log Q that is subtracted."""
    loss = options["loss"]
    return LOSSES[loss].logistic, subtracts_log_q(loss, options["subtract_log_q"])


def _first_tables(noise: Noise, options: dict[str, Any]) -> Iterator[Float32s]:
    """Yield the initial input vectors, then the output vectors."""
    yield first_inputs(noise.num_words, options, 0, noise.num_words)
    yield first_outputs(noise, options, 0, noise.num_words)


def _grown_tables(
    before: Any, old_ids: NDArray[np.int64], noise: Noise, options: dict[str, Any]
) -> Iterator[Float32s]:
    """Yield both tables for a changed vocabulary; known words keep their rows."""
    old = old_ids >= 0
    known = before.vectors_.vectors, before._outputs
    for fresh, rows in zip(_first_tables(noise, options), known, strict=True):
        fresh[old] = rows[old_ids[old]]
        yield fresh


def _counted(corpus: Corpus, show: Show) -> tuple[list[str], NDArray[np.int64]]:
    """Count the words of a corpus behind a progress bar."""
    bars: list[Progress] = []

    def update(done: int, total: int | None) -> None:
        if not bars:
            bars.append(Progress(total, "units", "reading", show).__enter__())
        bars[0].update(done - bars[0].done)

    try:
        return corpus.count(update)
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)
