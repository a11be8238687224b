"""One training run: epochs over a corpus, progress, checkpoints, interrupts, exact resume.

A run goes on from `RunState` alone: draws are a function of the position in the text, so
a resumed run reads the text up to where it stopped and goes on with the same bits.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._training import TrainingDivergedError, announce, deferred_interrupt
from numba_ss._word_model import WordModel
from numba_ss.checkpoint import CheckpointFolder
from numba_ss.corpus import Corpus
from numba_ss.full_losses import softmax_loss
from numba_ss.kernels import skipgram
from numba_ss.progress import Progress
from numba_ss.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

_REPORT = 16  # batches between two looks at loss, bar and callbacks
# A mean loss so many times that of zero vectors is no learning any more.
_DIVERGED = 10.0
_TARGETS = 1000  # of the held-out text, for the full softmax loss
_PAIR = "a sentence with two words of the vocabulary that subsample does not leave out"
_HELD_OUT = 2**32 - 1  # the "epoch" whose random numbers thin the held-out text


@dataclass
class RunState:
    """How far a run is.

    `position` counts words and ends of sentences of the thinned text in this epoch;
    `passes` holds the length and checksum of the ids, read so far and at the end.
    """

    epoch: int = 0
    position: int = 0
    words: int = 0
    seconds: float = 0.0
    read: list[int] = field(default_factory=lambda: [0, 0])
    whole: list[int] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class TrainingRun:
    """Trains `model` on `corpus` until `epochs` are done.

    `save` writes a checkpoint's arrays and options with the state given; `tell` passes an
    event to the callbacks; `rate` gives the learning rate of a share of the work done.
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
        self._saved_at = time.monotonic()
        self._saved_words = state.words
        self._total = max(1.0, model.expected_words * epochs)
        self._seen = (0.0, 0)
        self._loss = float("nan")
        self._rate = self._rate_now()

    def _rate_now(self) -> float:
        return self.rate(min(self.state.words / self._total, 1.0))

    def run(self) -> None:
        """Train to the end, or raise KeyboardInterrupt after a step, with all saved."""
        if self.state.epoch == self.epochs:
            return
        announce(skipgram.learn_windows)
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
        stream, base = np.empty(0, np.int64), 0
        read, words, checksum = 0, 0, 0
        epoch = self.first_epoch + self.state.epoch
        resumed = list(self.state.read)
        for ids in self.corpus.encode(self.vocabulary):
            thinned = self.model.thin(ids, epoch, read)
            before, read = read, read + len(ids)
            words += int(np.count_nonzero(ids >= 0))
            checksum = zlib.crc32(ids.data, checksum)
            # The same text comes in the same arrays: one of them ends there.
            if before < resumed[0] <= read and [read, checksum] != resumed:
                self._changed("up to where the checkpoint was written")
            self.state.read = [read, checksum]
            stream = np.concatenate([stream, thinned])
            if read < resumed[0]:  # all learned, and not yet known to be the same text
                stream, base = self._drop_learned(stream, base)
            else:
                stream, base = self._learn_stream(stream, base, bar, final=False)
        whole, earlier = [read, checksum], self.state.whole
        # The count came first: it has to have seen as many words.
        complete = read >= resumed[0] and words == self.model.num_present
        if not complete or earlier not in (None, whole):
            self._changed("in every pass")
        self.state.whole = whole
        self._learn_stream(stream, base, bar, final=True)

    def _changed(self, where: str) -> None:
        _checks.fail(self.corpus.name, f"the same text {where}", "other words")

    def _learn_stream(
        self, stream: NDArray[np.int64], base: int, bar: Progress, *, final: bool
    ) -> tuple[NDArray[np.int64], int]:
        """Learn from the batches that are complete; return what is left, and its position."""
        model, state, size = self.model, self.state, self.model.batch_size
        # The last windows need the words after them.
        ready = len(stream) if final else len(stream) - model.window
        first = state.position - base
        if first < ready:
            model.copy_targets(stream, first)
        batches = 0
        while first < ready if final else first + size <= ready:
            last = min(first + size, ready)
            self._rate = self._rate_now()
            model.learn(stream, first, last, base, self._rate)
            state.words += int(np.count_nonzero(stream[first:last] != model.num_words))
            state.position = base + last
            first = last
            batches += 1
            if batches % _REPORT == 0 or self._asked():
                self._report(bar)
        if batches % _REPORT:
            self._report(bar)
        return self._drop_learned(stream, base)

    def _drop_learned(
        self, stream: NDArray[np.int64], base: int
    ) -> tuple[NDArray[np.int64], int]:
        """Keep what is still to be learned, and the words before it that its windows need."""
        done = min(self.state.position - base, len(stream))
        drop = max(0, done - self.model.window)
        return stream[drop:], base + drop

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
        return total / max(pairs, 1)

    def _check_vectors(self) -> None:
        if not np.isfinite(self.model.inputs).all() or not np.isfinite(self.model.outputs).all():
            self._diverged("a vector is NaN or infinite")

    def _diverged(self, how: str) -> NoReturn:
        kept = "no checkpoint was asked for"
        if self.folder is not None:
            kept = f"the last good checkpoint, if there is one, is in {self.folder.path}"
        raise TrainingDivergedError(
            f"training diverged in epoch {self.state.epoch + 1}: {how}; lower learning_rate or "
            f"num_sampled; {kept}"
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
        self._loss, self._rate = float(self.model.losses.sum()) / max(pairs, 1), self._rate_now()
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
