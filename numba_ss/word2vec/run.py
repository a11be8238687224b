"""An epoch of words: one pass over a text, subsampled and cut into batches.

Random draws are a function of the position in the text. So a resumed run reads the text up to the
position where it stopped, and continues with the same bits.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, Float32s
from numba_ss.engine.autotune import ThreadTuner
from numba_ss.engine.full_losses import softmax_loss
from numba_ss.io.packed_words import pack_words
from numba_ss.io.text_files import read_ahead
from numba_ss.kernels.core.threads import get_num_threads, use_threads
from numba_ss.training.run import RunState, TrainingRun, checked_state
from numba_ss.training.session import FitSession
from numba_ss.word2vec.corpus import Corpus
from numba_ss.word2vec.model import WordModel, subtracts_log_q
from numba_ss.word2vec.noise import Draws, Noise
from numba_ss.word2vec.parameters import SETTLED, fixed_options, rate_at
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

# The most words and multiplications of one call of the kernel. Between calls, the loss is checked,
# the bar and callbacks are called, and Ctrl-C is noticed.
_WORDS_A_CALL, _WORK_A_CALL = 2**16, 2**29
_BATCHES_A_TRIAL = 2  # batches of a call that measures another number of threads
# A run has diverged if its mean loss is this many times the one at the start, or a vector so long.
DIVERGED, LONGEST = 3.0, 100.0
# The loss is checked after at least this many pairs, because the mean of fewer pairs says little.
# The number of pairs in a call depends on measured times.
_PAIRS_A_LOOK = 10_000
_TARGETS = 1000  # targets of the held-out text whose full softmax loss is computed
PAIR = "a sentence with two words of the vocabulary that subsample does not leave out"
_HELD_OUT = 2**32 - 1  # the "epoch" whose random numbers subsample the held-out text
_THREADS_A_READER = 8  # training threads for each reading thread


@dataclass
class WordState(RunState):
    """How far a run is; `position` counts words and ends of sentences of the subsampled text.

    `read` has the length and the checksum of all ids read so far in this pass, `whole` those of a
    whole pass. `varies` says that two passes were different.
    """

    read: list[int] = field(default_factory=lambda: [0, 0])
    whole: list[int] | None = None
    varies: bool = False


def checked_word_state(name: str, given: Any, best: Arrays) -> WordState:
    """Check the state in a file, which may be damaged or manipulated, and return it."""

    def read(field: str, value: Any) -> list[int]:
        if not isinstance(value, list) or len(value) != 2:
            _checks.fail(field, "a length and a checksum", str(value)[:200])
        length = _checks.integer(field, value[0], 0, 2**62)
        return [length, _checks.integer(field, value[1], 0, 2**32 - 1)]

    own = {
        "read": read, "whole": lambda field, value: None if value is None else read(field, value),
        "varies": _checks.flag,
    }
    return checked_state(WordState, name, given, own, best)


class Piece(NamedTuple):
    """A part of an epoch's subsampled text: whole batches, and the words around them.

    The batches are stream[first:last], and stream[0] has the position `position` in the epoch.
    `words` has the number of words in each batch, `read` the length and the checksum of the ids
    read so far.
    """

    stream: NDArray[np.int64]
    position: int
    first: int
    last: int
    words: NDArray[np.int64]
    read: list[int]


def reader_threads() -> int:
    """Return the number of threads for reading the text."""
    return max(1, get_num_threads() // _THREADS_A_READER)


def read_pieces(
    model: WordModel, corpus: Corpus, vocabulary: Vocabulary, epoch: int, num_threads: int
) -> Generator[Piece, None, None]:
    """Read the text once; yield it subsampled, in pieces."""
    size, window, separator = model.batch_size, model.window, model.num_words
    stream, position, first = np.empty(0, np.int64), 0, 0
    read = [0, 0]

    def piece(last: int) -> Piece:
        is_word = stream[first:last] != separator
        starts = np.arange(0, last - first, size)
        words = np.add.reduceat(is_word, starts, dtype=np.int64) if len(starts) else starts
        return Piece(stream, position, first, last, words, list(read))

    with use_threads(num_threads):
        for ids in corpus.encode(vocabulary):
            stream = np.concatenate([stream, model.noise.thin(ids, epoch, read[0])])
            read = [read[0] + len(ids), zlib.crc32(ids.data, read[1])]
            # The windows of the last words need words that are not read yet.
            last = first + max(0, len(stream) - window - first) // size * size
            yield piece(last)
            drop = max(0, last - window)
            stream, position, first = stream[drop:], position + drop, last - drop
        yield piece(len(stream))


def read_checksum(corpus: Corpus, vocabulary: Vocabulary) -> list[int]:
    """Return the length and checksum of the ids of a whole pass over the text."""
    length = checksum = 0
    for ids in corpus.encode(vocabulary):
        length, checksum = length + len(ids), zlib.crc32(ids.data, checksum)
    return [length, checksum]


class WordRun(TrainingRun):
    """Trains a `WordModel` on the words of a corpus.

    `settled` has the parameters of `Word2Vec`, with values also for those whose default depends on
    the text. `rare` has the counts of words outside the vocabulary, for `partial_fit`. `held_out`
    is the text whose full softmax loss is computed after each epoch.
    """

    unit, monitored, grows = "words", "validation_loss", False

    def __init__(
        self, session: FitSession, settled: dict[str, Any], model: WordModel, corpus: Corpus,
        vocabulary: Vocabulary, rare: Arrays, state: WordState, best: Arrays, *,
        held_out: NDArray[np.int64] | None, first_epoch: int,
    ) -> None:
        assert isinstance(model.noise, Noise)
        self.noise = noise = model.noise
        self._total = max(1.0, noise.expected_words * settled["epochs"])
        self._settled = settled
        super().__init__(
            session, model, state, best, epochs=settled["epochs"],
            patience=settled["early_stopping"], first_epoch=first_epoch,
            epoch_size=max(1, noise.num_present), rate=self._rate_at(state.examples),
        )
        self.model: WordModel = model
        self.state: WordState = state
        self.corpus, self.vocabulary, self.rare = corpus, vocabulary, rare
        self.held_out = held_out
        self.remedy = f"lower learning_rate ({settled['learning_rate']:g} at the start) or window"
        self._packed = pack_words(vocabulary.words)
        self._resumed = state.whole is not None
        words = min(_WORDS_A_CALL, _WORK_A_CALL // model.work_a_window)
        self._batches = max(1, words // model.batch_size)
        # The model learns from the subsampled text, but the bar counts words of the whole text.
        self._scale = self.epoch_size / max(1.0, noise.expected_words)
        self._seen = (0.0, 0)
        self._tuner = ThreadTuner()

    def _rate_at(self, words: int) -> float:
        """Return the learning rate after so many words, as the schedule says."""
        return rate_at(self._settled, self._total, words)

    def prepare(self) -> None:
        """Log the parameters; if there is a folder for checkpoints, look at the whole text."""
        super().prepare()
        o = self._settled
        log.info(
            "min_count %d, subsample %.4g, epochs %d, batches of %d words",
            o["min_count"], o["subsample"], o["epochs"], self.model.batch_size,
        )
        if self.session.folder is not None:
            self.look_at_text()

    def look_at_text(self) -> None:
        """Compute the checksum of the text; a resumed run must have the one before.

        So a run is not resumed if any part of the text has changed, also a part not yet read.
        """
        if self.state.varies:
            return
        whole = read_checksum(self.corpus, self.vocabulary)
        if self.state.whole not in (None, whole):
            self._changed()
        self.state.whole = whole

    def learn_epoch(self) -> Generator[None, None, None]:
        """Train on the text from state.position to its end."""
        state, model, resumed = self.state, self.model, list(self.state.read)
        epoch = self.first_epoch + state.epoch
        model.start_epoch(epoch)
        if state.position == 0:
            model.losses[:], model.pairs[:] = 0, 0
        self._seen = (float(model.losses.sum()), int(model.pairs.sum()))
        pieces = read_pieces(model, self.corpus, self.vocabulary, epoch, reader_threads())
        before, read = 0, [0, 0]
        with closing(read_ahead(pieces)) as coming:
            for piece in coming:
                before, read = read[0], piece.read
                # The same text comes in the same arrays, so one of them ends at the old position.
                if before < resumed[0] <= read[0] and read != resumed:
                    self._changed()
                if read[0] < resumed[0]:  # learned before; the checksum is compared at its end
                    continue
                state.read = read
                yield from self._learn_piece(piece)
        if read[0] == 0:
            number = state.epoch + 2  # pass 1 counted the words
            _checks.fail(self.corpus.name, "words in every pass", f"none in pass {number}")
        # A position between two batches' starts, or after the end, is one of another text.
        if read[0] < resumed[0] or state.position != piece.position + piece.last:
            self._changed()
        self._note_pass(read)
        if state.epoch == 0 and not model.pairs.any():
            _checks.fail(self.corpus.name, PAIR, "none")
        if self.mean_loss() > DIVERGED * model.loss_at_start:
            self._loss_is_absurd("the epoch", self.mean_loss())
        self.rate = self._rate_at(state.examples)

    def _note_pass(self, read: list[int]) -> None:
        """Compare the checksum of a whole pass with that of the pass before."""
        state = self.state
        if state.whole not in (None, read) and not state.varies:
            if self._resumed:
                self._changed()
            state.varies = True
            log.warning(
                "%s is not the same in every pass: if the run is interrupted within an epoch, it "
                "cannot be resumed",
                self.corpus.name,
            )
        state.whole, self._resumed = read, False

    def _changed(self) -> NoReturn:
        _checks.fail(
            self.corpus.name, "the same text, in the same order, as before the interruption",
            "another; to begin anew, name another folder as checkpoint",
        )

    def _learn_piece(self, piece: Piece) -> Generator[None, None, None]:
        """Learn from those batches of a piece that are not learned from yet."""
        model, state, size = self.model, self.state, self.model.batch_size
        first = max(piece.first, state.position - piece.position)
        done, rest = divmod(first - piece.first, size)
        if rest and first < piece.last:
            self._changed()
        while first < piece.last:
            # A few batches are enough to measure another number of threads.
            batches = _BATCHES_A_TRIAL if self._tuner.is_trial else self._batches
            words = piece.words[done : done + batches]
            learned = state.examples + np.cumsum(words)
            before = [state.examples, *learned[:-1].tolist()]
            rates = [self._rate_at(count) for count in before]
            last = min(first + len(words) * size, piece.last)
            with self.step(), self._tuner.timed(last - first):
                model.learn(
                    piece.stream, first, last, piece.position, np.array(rates, np.float32)
                )
            state.examples = int(learned[-1])
            state.position = piece.position + last
            self.rate = rates[-1]
            first, done = last, done + len(words)
            self._check_loss()
            yield

    def done(self) -> int:
        """Return about how many words of the text have been read in this epoch."""
        state = self.state
        learned = state.examples - state.epoch * self.noise.expected_words
        return int(learned * self._scale)

    def mean_loss(self) -> float:
        """Return the mean loss of this epoch so far."""
        return float(self.model.losses.sum()) / max(int(self.model.pairs.sum()), 1)

    def _check_loss(self) -> None:
        """Call `diverged` if the loss or a vector is not finite, or absurdly large."""
        total, pairs = float(self.model.losses.sum()), int(self.model.pairs.sum())
        since = pairs - self._seen[1]
        lately = (total - self._seen[0]) / max(since, 1)
        is_enough = since >= _PAIRS_A_LOOK
        if not np.isfinite(total) or (is_enough and lately > DIVERGED * self.model.loss_at_start):
            self._loss_is_absurd("the last steps", lately)
        if is_enough:
            self._seen = (total, pairs)
        self.check_arrays()

    def _loss_is_absurd(self, what: str, loss: float) -> NoReturn:
        first = self.model.loss_at_start
        self.diverged(f"the mean loss of {what} is {loss:.4g} (at the start {first:.4g})")

    def check_arrays(self) -> None:
        """Call `diverged` if a vector is not finite, or absurdly long."""
        longest = self.model.tables.longest
        if not longest < LONGEST:
            how = "NaN or infinite" if not math.isfinite(longest) else f"{longest:.4g} long"
            self.diverged(f"a vector is {how}")

    def next_epoch(self) -> None:
        """Move the state to the start of the next epoch."""
        super().next_epoch()
        self.state.read = [0, 0]

    def validate(self) -> dict[str, float]:
        """Return the full softmax loss of the held-out text."""
        if self.held_out is None:
            return {}
        tables = self.model.tables
        loss = held_out_loss(
            self.held_out, tables.inputs.__getitem__, np.ascontiguousarray(tables.outputs),
            self._settled, self.model.noise.log_q,
        )
        return {"validation_loss": loss}

    def contents(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what a checkpoint needs besides the vectors and the state."""
        arrays = {
            "losses": self.model.losses, "pairs": self.model.pairs,
            "counts": self.vocabulary.counts, **self._packed, **self.rare,
        }
        settled = {name: self._settled[name] for name in SETTLED}
        options = fixed_options(self.session) | judged_by(self._settled, self.held_out)
        return arrays, {"options": options, "settled": settled}

    def publish(self, *, last: bool) -> None:
        """Give the estimator the vocabulary and both tables."""
        if last:
            inputs, outputs = self.model.release()
        else:
            inputs, outputs = (table.copy() for table in self.model.arrays().values())
        history = [dict(entry) for entry in self.state.history]
        self.session.estimator._publish(self.vocabulary, inputs, outputs, self.rare, history)


def held_out_stream(
    corpus: Corpus | None, vocabulary: Vocabulary, noise: Draws
) -> NDArray[np.int64] | None:
    """Return the first words of a held-out text, if there is one, subsampled like the other text.

    It is an array of ids of which two are neighbours.
    """
    if corpus is None:
        return None
    for ids in corpus.encode(vocabulary):
        stream = noise.thin(ids, _HELD_OUT, 0)
        if _has_context(stream, noise.num_words).any():
            return stream
    _checks.fail("validation", PAIR, "none")


def judged_by(settled: dict[str, Any], held_out: NDArray[np.int64] | None) -> dict[str, str]:
    """Return what must be the same in a resumed run because early stopping compares losses."""
    if settled["early_stopping"] is None or held_out is None:
        return {}
    return {"validation": f"{len(held_out):,} ids with checksum {zlib.crc32(held_out.data):08x}"}


def _has_context(stream: NDArray[np.int64], separator: int) -> NDArray[np.bool_]:
    """Return for each position of a text whether it has a word, and a word beside it."""
    is_word = np.concatenate([[False], stream != separator, [False]])
    return np.asarray(is_word[1:-1] & (is_word[:-2] | is_word[2:]))


def held_out_loss(
    stream: NDArray[np.int64], inputs: Callable[[NDArray[np.int64]], Float32s],
    outputs: Float32s, settled: dict[str, Any], log_q: Float32s,
) -> float:
    """Return the mean full softmax loss for some targets of a text and their contexts.

    `inputs` returns the input vectors of some words. Without log-Q correction, scores are learned
    relative to the expected counts of the words. Then log Q is added to the scores before the loss
    is computed.
    """
    separator = len(log_q)
    targets = np.flatnonzero(_has_context(stream, separator))
    targets = targets[np.linspace(0, len(targets) - 1, min(_TARGETS, len(targets))).astype(int)]
    contexts = [_context(stream, p, settled["window"], separator) for p in targets.tolist()]
    rows = inputs(np.concatenate(contexts))
    ends = np.cumsum([len(context) for context in contexts])
    vectors, labels = [], []
    for p, part in zip(targets.tolist(), np.split(rows, ends[:-1]), strict=True):
        if settled["architecture"] == "cbow":
            part = part.mean(axis=0, keepdims=True)
        vectors.append(part)
        labels += [int(stream[p])] * len(part)
    corrected = subtracts_log_q(settled["loss"], settled["subtract_log_q"])
    losses = softmax_loss(
        outputs, np.zeros_like(log_q) if corrected else log_q, np.array(labels)[:, None],
        np.concatenate(vectors),
    )
    return float(np.mean(losses))


def _context(
    stream: NDArray[np.int64], p: int, window: int, separator: int
) -> NDArray[np.int64]:
    """Return the words up to `window` places away in the sentence of stream[p]."""
    before = stream[max(p - window, 0) : p]
    after = stream[p + 1 : p + 1 + window]
    ends = np.flatnonzero(before == separator)
    before = before[ends[-1] + 1 :] if ends.size else before
    ends = np.flatnonzero(after == separator)
    return np.concatenate([before, after[: ends[0]] if ends.size else after])
