"""One training run: epochs over a corpus, progress, checkpoints, interrupts, exact resume.

A run goes on from `RunState` alone: draws are a function of the position in the text, so
a resumed run reads the text up to where it stopped and goes on with the same bits.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss.engine.full_losses import softmax_loss
from numba_ss.io.checkpoint import CheckpointFolder, checked_fields, checked_history
from numba_ss.io.progress import Progress
from numba_ss.io.text_files import read_ahead
from numba_ss.kernels.core.threads import get_num_threads, use_threads
from numba_ss.kernels.words import train_windows
from numba_ss.training.session import TrainingDivergedError, announce, deferred_interrupt
from numba_ss.word2vec.corpus import Corpus
from numba_ss.word2vec.model import WordModel
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

# Between two looks at loss, bar, callbacks and Ctrl-C: words at most, and multiplications.
_WORDS_A_CALL, _WORK_A_CALL = 2**16, 2**29
# A mean loss so many times that of zero vectors, or a vector so long, is no learning any more.
_DIVERGED, _LONGEST = 3.0, 100.0
_TARGETS = 1000  # of the held-out text, for the full softmax loss
_PAIR = "a sentence with two words of the vocabulary that subsample does not leave out"
_HELD_OUT = 2**32 - 1  # the "epoch" whose random numbers thin the held-out text
_THREADS_A_READER = 8  # that learn, for each thread that reads


@dataclass
class RunState:
    """How far a run is.

    `position` counts words and ends of sentences of the thinned text in this epoch; `read` and
    `whole` hold the length and checksum of the ids of the text, so far and of a whole pass;
    `varies` tells that two passes differed.
    """

    epoch: int = 0
    position: int = 0
    words: int = 0
    seconds: float = 0.0
    read: list[int] = field(default_factory=lambda: [0, 0])
    whole: list[int] | None = None
    varies: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def checked_state(name: str, given: Any) -> RunState:
    """Return the state that a file holds, which may be damaged or doctored."""
    c = _checks

    def count(field: str, value: Any) -> int:
        return c.integer(field, value, 0, 2**62)

    def read(field: str, value: Any) -> list[int]:
        if not isinstance(value, list) or len(value) != 2:
            c.fail(field, "a length and a checksum", str(value)[:200])
        return [count(field, value[0]), c.integer(field, value[1], 0, 2**32 - 1)]

    fields = checked_fields(name, given, {
        "epoch": count, "position": count, "words": count,
        "seconds": lambda field, value: c.number(field, value, positive=True),
        "read": read, "whole": lambda field, value: None if value is None else read(field, value),
        "varies": c.flag, "history": checked_history,
    })
    return RunState(**fields)


class Piece(NamedTuple):
    """A part of an epoch's thinned text: whole batches, and the words around them.

    Batches are those of stream[first:last]; stream[0] is the position-th number of the epoch.
    `words` are those of each batch. `read` is the length and checksum of the ids up to here.
    """

    stream: NDArray[np.int64]
    position: int
    first: int
    last: int
    words: NDArray[np.int64]
    read: list[int]


def reader_threads() -> int:
    """Return how many threads are worth using to read what all threads learn from."""
    return max(1, get_num_threads() // _THREADS_A_READER)


def read_pieces(
    model: WordModel, corpus: Corpus, vocabulary: Vocabulary, epoch: int, num_threads: int
) -> Generator[Piece, None, None]:
    """Read the text once, and leave out frequent words."""
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
            stream = np.concatenate([stream, model.thin(ids, epoch, read[0])])
            read = [read[0] + len(ids), zlib.crc32(ids.data, read[1])]
            # The last windows need the words after them.
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


class TrainingRun:
    """Trains `model` on `corpus` until `epochs` are done.

    `header` returns the arrays and options of a checkpoint; `tell` passes an event to the
    callbacks; `rate` gives the learning rate of a share of the work done.
    """

    def __init__(
        self, model: WordModel, corpus: Corpus, vocabulary: Vocabulary, *, epochs: int,
        first_epoch: int, rate: Callable[[float], float], state: RunState, show: bool | str,
        tell: Callable[..., None], folder: CheckpointFolder | None,
        header: Callable[[], tuple[dict[str, NDArray[Any]], dict[str, Any]]],
        minutes: float, words: int | None, held_out: NDArray[np.int64] | None,
    ) -> None:
        self.model, self.corpus, self.vocabulary = model, corpus, vocabulary
        self.epochs, self.first_epoch, self.rate = epochs, first_epoch, rate
        self.state, self.show, self.tell = state, show, tell
        self.folder, self.header = folder, header
        self.minutes, self.words = minutes, words
        self.held_out = held_out
        self._resumed = state.whole is not None
        self._saved_at = time.monotonic()
        self._saved_words = state.words
        words = min(_WORDS_A_CALL, _WORK_A_CALL // model.work_a_window)
        self._batches = max(1, words // model.batch_size)
        self._total = max(1.0, model.expected_words * epochs)
        self._seen = (0.0, 0)
        self._loss = float("nan")
        self._rate = self._rate_at(state.words)

    def _rate_at(self, words: int) -> float:
        return self.rate(min(words / self._total, 1.0))

    def run(self) -> None:
        """Train to the end, or raise KeyboardInterrupt after a step, with all saved."""
        if self.state.epoch == self.epochs:
            return
        if self.folder is not None and not self.state.varies:
            # What has not been read before an interruption must not have changed, either.
            whole = read_checksum(self.corpus, self.vocabulary)
            if self.state.whole not in (None, whole):
                self._changed()
            self.state.whole = whole
        announce(train_windows.train_windows)
        self._tell("begin")
        with deferred_interrupt() as self._asked:
            while self.state.epoch < self.epochs:
                self._epoch()
        self._save()
        self._tell("end")

    def _epoch(self) -> None:
        state, model = self.state, self.model
        model.start_epoch(self.first_epoch + state.epoch)
        if state.position == 0:
            model.losses[:], model.pairs[:] = 0, 0
        self._seen = (float(model.losses.sum()), int(model.pairs.sum()))
        self._loss = float("nan")
        self._began = time.monotonic() - state.seconds
        # What is learned from is what stays of the text; the bar counts the words read.
        in_text = max(1, model.num_present)
        self._scale = in_text / max(1.0, model.expected_words)
        done = int((state.words - state.epoch * model.expected_words) * self._scale)
        description = f"epoch {state.epoch + 1}/{self.epochs}"
        with Progress(
            in_text, "words", description, self.show, initial=min(max(done, 0), in_text)
        ) as bar:
            self._learn_text(bar)
        self._finish_epoch()

    def _learn_text(self, bar: Progress) -> None:
        """Go through the text once, from state.position on."""
        state, resumed = self.state, list(self.state.read)
        epoch = self.first_epoch + state.epoch
        pieces = read_pieces(self.model, self.corpus, self.vocabulary, epoch, reader_threads())
        before, read = 0, [0, 0]
        with closing(read_ahead(pieces)) as coming:
            for piece in coming:
                before, read = read[0], piece.read
                # The same text comes in the same arrays: one of them ends there.
                if before < resumed[0] <= read[0] and read != resumed:
                    self._changed()
                if read[0] < resumed[0]:  # all learned, and not yet known to be the same text
                    continue
                state.read = read
                self._learn_piece(piece, bar)
        if read[0] == 0:
            number = len(state.history) + 2  # the count came first
            _checks.fail(self.corpus.name, "words in every pass", f"none in pass {number}")
        # A state that fits no batch, or lies behind the end, is not of this text either.
        if read[0] < resumed[0] or state.position != piece.position + piece.last:
            self._changed()
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

    def _changed(self) -> None:
        _checks.fail(
            self.corpus.name, "the same text, in the same order, as before the interruption",
            "another; to begin anew, name another folder as checkpoint",
        )

    def _learn_piece(self, piece: Piece, bar: Progress) -> None:
        """Learn from the batches of a piece that are still to be learned from."""
        model, state, size = self.model, self.state, self.model.batch_size
        first = max(piece.first, state.position - piece.position)
        done, rest = divmod(first - piece.first, size)
        if rest and first < piece.last:
            self._changed()
        while first < piece.last:
            words = piece.words[done : done + self._batches]
            learned = state.words + np.cumsum(words)
            before = [state.words, *learned[:-1].tolist()]
            rates = [self._rate_at(count) for count in before]
            last = min(first + len(words) * size, piece.last)
            model.learn(
                piece.stream, first, last, piece.position, np.array(rates, np.float32)
            )
            state.words = int(learned[-1])
            state.position = piece.position + last
            self._rate = rates[-1]
            first, done = last, done + len(words)
            self._report(bar)

    def _report(self, bar: Progress) -> None:
        self._loss = self._check_loss()
        state = self.state
        done = int((state.words - state.epoch * self.model.expected_words) * self._scale)
        more = max(0, min(done, bar.total or 0) - bar.done)
        bar.update(more, loss=self._loss, learning_rate=self._rate)
        self._tell("step")
        due = time.monotonic() - self._saved_at > 60 * self.minutes
        if self.words is not None:
            due |= state.words - self._saved_words >= self.words
        if self._asked():
            self._save()
            raise KeyboardInterrupt
        if due:
            self._save()

    def _check_loss(self) -> float:
        """Return the mean loss of this epoch; raise if learning has gone astray."""
        total, pairs = float(self.model.losses.sum()), int(self.model.pairs.sum())
        lately = (total - self._seen[0]) / max(pairs - self._seen[1], 1)
        self._seen = (total, pairs)
        if not np.isfinite(total) or lately > _DIVERGED * self.model.loss_of_zeros:
            self._diverged(
                f"the mean loss of the last steps is {lately:.4g} (zero vectors have "
                f"{self.model.loss_of_zeros:.4g})"
            )
        self._check_vectors()
        return total / max(pairs, 1)

    def _check_vectors(self) -> None:
        longest = self.model.longest
        if not longest < _LONGEST:
            how = "NaN or infinite" if not math.isfinite(longest) else f"{longest:.4g} long"
            self._diverged(f"a vector is {how}")

    def _diverged(self, how: str) -> NoReturn:
        kept = "no checkpoint was asked for"
        if self.folder is not None:
            kept = f"the last good checkpoint, if there is one, is in {self.folder.path}"
        raise TrainingDivergedError(
            f"training diverged in epoch {self.state.epoch + 1}: {how}; lower learning_rate "
            f"({self.rate(0.0):g} at the start) or window; {kept}"
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        self._check_vectors()
        self.state.seconds = time.monotonic() - self._began
        arrays, options = self.header()
        path = self.folder.save(arrays, {**options, "run": asdict(self.state)})
        log.info("checkpoint: %s", path)
        self._saved_at, self._saved_words = time.monotonic(), self.state.words
        self._tell("checkpoint")

    def _finish_epoch(self) -> None:
        state = self.state
        self._check_vectors()
        pairs = int(self.model.pairs.sum())
        if pairs == 0 and state.epoch == 0:
            _checks.fail(self.corpus.name, _PAIR, "none")
        seconds = time.monotonic() - self._began
        words = self.model.num_present
        self._loss = float(self.model.losses.sum()) / max(pairs, 1)
        self._rate = self._rate_at(state.words)
        entry: dict[str, Any] = {
            "epoch": len(state.history) + 1,
            "loss": self._loss,
            "learning_rate": self._rate,
            "words": words,
            "seconds": round(seconds, 3),
            "words_per_second": round(words / max(seconds, 1e-9)),
        }
        if self.held_out is not None:
            entry["validation_loss"] = held_out_loss(self.model, self.held_out)
        state.history.append(entry)
        state.epoch, state.position, state.read, state.seconds = state.epoch + 1, 0, [0, 0], 0.0
        if "validation_loss" in entry:
            log.info("epoch %d: validation loss %.4g", state.epoch, entry["validation_loss"])
        self._tell("epoch")

    def _tell(self, kind: str) -> None:
        self.tell(kind, self.state.epoch, self.state.words, self._loss, self._rate)


def held_out_stream(
    corpus: Corpus, vocabulary: Vocabulary, model: WordModel
) -> NDArray[np.int64]:
    """Return the first million words of a held-out text, thinned as the training text is."""
    for ids in corpus.encode(vocabulary):
        stream = model.thin(ids, _HELD_OUT, 0)
        is_word = stream != model.num_words
        if np.any(is_word[1:] & is_word[:-1]):
            return stream
        break
    _checks.fail("validation", _PAIR, "none")


def held_out_loss(model: WordModel, stream: NDArray[np.int64]) -> float:
    """Return the mean full softmax loss over the windows of some targets of a text.

    Where the training loss has no log-Q correction, a score is learned relative to how
    often its word is drawn: log Q is added before the loss over all words is taken.
    """
    targets = np.flatnonzero(stream != model.num_words)
    targets = targets[np.linspace(0, len(targets) - 1, min(_TARGETS, len(targets))).astype(int)]
    inputs, labels = [], []
    for p in targets.tolist():
        rows = model.inputs[_context(stream, p, model.window, model.num_words)]
        if model.cbow and len(rows):
            rows = rows.mean(axis=0, keepdims=True)
        inputs.append(rows)
        labels += [int(stream[p])] * len(rows)
    biases = np.zeros_like(model.log_q) if model.corrected else model.log_q
    losses = softmax_loss(
        np.ascontiguousarray(model.outputs), biases, np.array(labels)[:, None],
        np.concatenate(inputs),
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
