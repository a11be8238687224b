"""A `Word2Vec` run on a cluster: words are counted and encoded in parts, and learned in rounds."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, Float32s, PathLike
from numba_ss.distributed.checkpoints import Found
from numba_ss.distributed.cluster import Cluster
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.distributed.rounds import Round, Rounds
from numba_ss.distributed.run import ClusterRun, require_folder
from numba_ss.io.packed_words import pack_words
from numba_ss.training.run import RunState, checked_state
from numba_ss.training.session import FitSession, require_epochs, require_same
from numba_ss.word2vec.choice import Rare, choose_words, rare_words
from numba_ss.word2vec.corpus import Corpus, WordCounts
from numba_ss.word2vec.model import loss_at_start
from numba_ss.word2vec.noise import Noise
from numba_ss.word2vec.parameters import fixed_options, given_words, rate_at
from numba_ss.word2vec.parts import Encoder, Part, add_counts, count_part, summary_of
from numba_ss.word2vec.run import (
    DIVERGED,
    LONGEST,
    PAIR,
    held_out_loss,
    held_out_stream,
    judged_by,
)
from numba_ss.word2vec.start import Grown, grow, make_noise
from numba_ss.word2vec.vocabulary import Vocabulary
from numba_ss.word2vec.work import Text, WordWork, measure

log = logging.getLogger("numba_ss")


@dataclass
class ClusterState(RunState):
    """How far a run is; `loss` and `pairs` are sums of the present epoch."""

    loss: float = 0.0
    pairs: int = 0


Source = Corpus | list[Part]  # a corpus that this process reads, or parts that the workers read


def begin_on_cluster(
    session: FitSession, source: Source, validation: Corpus | None, cluster: Cluster,
    described: RayCluster, resume: bool,
) -> WordClusterRun:
    """Return a new run on a cluster, or one that is resumed from the newest checkpoint.

    `cluster` are the machines that `described` stands for.
    """
    settled = dict(session.options)
    require_folder(session)
    found: Found | None = session.newest(resume)
    if found is not None:  # other parameters are told before the text is read
        _require_same({**fixed_options(session), **described.sizes()}, found)
    words, counts = _counted(source, cluster)
    vocabulary = choose_words(words, counts, given_words(session.estimator.vocabulary), settled)
    data = _Data(vocabulary, rare_words(words, counts, vocabulary), settled, None)
    return _run(session, source, validation, cluster, described, data, ClusterState(), found)


def go_on_cluster(
    session: FitSession, source: Source, validation: Corpus | None, cluster: Cluster,
    described: RayCluster,
) -> WordClusterRun:
    """Return a run that trains a fitted estimator on a further text."""
    require_folder(session)
    settled = dict(session.options)
    grown = grow(session, *_counted(source, cluster), settled)
    data = _Data(grown.vocabulary, grown.rare, settled, grown)
    state = ClusterState(history=list(session.estimator.history_))
    return _run(session, source, validation, cluster, described, data, state, None)


class _Data(NamedTuple):
    """What is to be learned, and from where: `grown` has the tables of a fitted estimator."""

    vocabulary: Vocabulary
    rare: Rare
    settled: dict[str, Any]
    grown: Grown | None


def _run(
    session: FitSession, source: Source, validation: Corpus | None, cluster: Cluster,
    described: RayCluster, data: _Data, state: ClusterState, found: Found | None,
) -> WordClusterRun:
    (vocabulary, _, settled, grown), sizes = data, described.sizes()
    noise = grown.noise if grown else make_noise(vocabulary.counts, settled)
    text, checksum = _encoded(source, vocabulary, noise.num_present, cluster)
    first_epoch = len(state.history)
    epochs = range(first_epoch, first_epoch + settled["epochs"])
    work = WordWork(
        settled, noise, text, measure(text, noise.draws(), epochs, cluster), first_epoch,
        tuple(map(cluster.put, grown.tables)) if grown else None, **sizes,
    )
    held_out = held_out_stream(validation, vocabulary, noise)
    same = {**fixed_options(session), **sizes, "text": checksum, **judged_by(settled, held_out)}
    if found is not None:
        _require_same(same, found)
        path = found.saved.folder
        own: dict[str, Callable[[str, Any], Any]] = {
            "loss": _checks.number,
            "pairs": lambda name, value: _checks.integer(name, value, 0, 2**62),
        }
        state = checked_state(ClusterState, f"{path}, run", found.state.get("run"), own, None)
        require_epochs(settled["epochs"], state.epoch, Path(path))
        log.info("resuming from %s", path)
    return WordClusterRun(
        session, data, Rounds(cluster, work, found.saved if found else None), state, noise, same,
        work, held_out=held_out, first_epoch=first_epoch, tables=described.tables,
    )


def _require_same(options: dict[str, Any], found: Found) -> None:
    """Require that a checkpoint is of a run of Word2Vec with these options."""
    path, kept = found.saved.folder, found.state.get("options")
    if not isinstance(kept, dict) or "vector_size" not in kept:
        _checks.fail(path, "a checkpoint of Word2Vec", "another one")
    require_same(options, kept, Path(path))


def _counted(source: Source, cluster: Cluster) -> WordCounts:
    """Count the words of a corpus, in parallel if it has parts."""
    if isinstance(source, Corpus):
        return source.count()
    return add_counts(cluster.map(count_part, source))


def _encoded(
    source: Source, vocabulary: Vocabulary, num_words: int, cluster: Cluster
) -> tuple[Text, str]:
    """Return the encoded text in the memory of the cluster, and what tells it from others.

    It has to have `num_words` words of the vocabulary, as the counts say.
    """
    if isinstance(source, Corpus):
        ids = list(source.encode(vocabulary))
        stored = [(cluster.put(one), summary_of(one)) for one in ids]
    else:
        packed = pack_words(vocabulary.words)
        encoder = Encoder(cluster.put(packed["words"]), cluster.put(packed["offsets"]))
        stored = cluster.store(encoder, source)
    summaries = np.array([summary for _, summary in stored], np.int64).reshape(-1, 3)
    lengths, checksums, words = summaries.T
    if words.sum() != num_words:
        got = f"{words.sum():,} instead of {num_words:,}"
        _checks.fail("corpus", "the same words in every pass over the text", got)
    total = zlib.crc32(checksums.tobytes())
    stored_text = Text.of([part for part, _ in stored], lengths.tolist())
    return stored_text, f"{words.sum():,} words with checksum {total:08x}"


class WordClusterRun(ClusterRun):
    """Trains the vectors of `Word2Vec` on a cluster."""

    unit, monitored, grows = "words", "validation_loss", False

    def __init__(
        self, session: FitSession, data: _Data, rounds: Rounds, state: ClusterState,
        noise: Noise, same: dict[str, Any], work: WordWork, *,
        held_out: NDArray[np.int64] | None, first_epoch: int, tables: PathLike | None,
    ) -> None:
        settled = data.settled
        self._settled, self._total = settled, max(1.0, noise.expected_words * settled["epochs"])
        super().__init__(
            session, rounds, state, epochs=settled["epochs"], patience=settled["early_stopping"],
            first_epoch=first_epoch, epoch_size=max(1, noise.num_present),
            rate=rate_at(settled, self._total, state.examples),
        )
        self.state: ClusterState = state
        self.vocabulary, self.rare, self.held_out = data.vocabulary, data.rare, held_out
        self.noise, self.work, self._same, self._tables = noise, work, same, tables
        self._loss_at_start = loss_at_start(settled["loss"], settled["num_sampled"])
        self._scale = self.epoch_size / max(1.0, noise.expected_words)
        self.remedy = (
            f"lower learning_rate ({settled['learning_rate']:g} at the start), window or "
            f"blocks_per_round"
        )

    def prepare(self) -> None:
        """Log the parameters."""
        o = self._settled
        log.info(
            "min_count %d, subsample %.4g, epochs %d, rounds of %d blocks of %d batches",
            o["min_count"], o["subsample"], o["epochs"], self._same["blocks_per_round"],
            self.work.size // self.work.batch_size,
        )

    def take(self, done: Round) -> None:
        """Add the words and the loss of a round."""
        state = self.state
        if done.index == 0:
            state.loss, state.pairs = 0.0, 0
        loss = pairs = 0.0
        for figures in done.figures:
            loss, pairs = loss + figures["loss"], pairs + figures["pairs"]
            state.examples += int(figures["words"])
        state.loss, state.pairs = state.loss + loss, state.pairs + int(pairs)
        self.rate = rate_at(self._settled, self._total, state.examples)
        mean = loss / max(pairs, 1)
        if not np.isfinite(mean) or (pairs and mean > DIVERGED * self._loss_at_start):
            first = self._loss_at_start
            self.diverged(f"the mean loss of a round is {mean:.4g} (at the start {first:.4g})")

    def learn_epoch(self) -> Generator[None, None, None]:
        """Train the rest of an epoch; the first one must have something to learn."""
        yield from super().learn_epoch()
        if self.state.epoch == 0 and not self.state.pairs:
            _checks.fail("corpus", PAIR, "none")

    def check_arrays(self) -> None:
        """Call `diverged` if a vector is not finite, or absurdly long."""
        super().check_arrays()
        longest = max(self.lengths.values(), default=0.0)
        if longest > LONGEST:
            self.diverged(f"a vector is {longest:.4g} long")

    def done(self) -> int:
        """Return about how many words of the text have been read in this epoch."""
        state = self.state
        return int((state.examples - state.epoch * self.noise.expected_words) * self._scale)

    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""
        return self.state.loss / max(self.state.pairs, 1)

    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what must be the same when the run is resumed."""
        return {}, {"options": self._same}

    def validate(self) -> dict[str, float]:
        """Return what an epoch has moved, and the full softmax loss of the held-out text."""
        moved = self.moved()
        if self.held_out is None:
            return moved
        outputs = self.rounds.rows("outputs", 0, len(self.vocabulary))
        loss = held_out_loss(
            self.held_out, lambda ids: self.rounds.look_up("inputs", ids), outputs,
            self._settled, self.noise.log_q,
        )
        return moved | {"validation_loss": loss}

    def _table(self, name: str) -> Float32s:
        """Return a table in memory, or as a file that is mapped."""
        if self._tables is None:
            return self.rounds.rows(name, 0, len(self.vocabulary))
        return self.rounds.write(name, Path(self._tables, f"{name}.npy"))

    def publish(self, *, last: bool) -> None:
        """Give the estimator the vocabulary and both tables."""
        inputs, outputs = map(self._table, ("inputs", "outputs"))
        history = [dict(entry) for entry in self.state.history]
        self.session.estimator._publish(self.vocabulary, inputs, outputs, self.rare, history)
