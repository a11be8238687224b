"""Word2Vec: from a text to word vectors, by sampled softmax."""

from __future__ import annotations

import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._guards import alone, of_a_moment
from numba_ss.engine.by_name import SAMPLED_LOSSES, WORD_SAMPLERS
from numba_ss.io.checkpoint import checked_fields, read_state, reading, write_state
from numba_ss.io.files import PathLike, whole_file
from numba_ss.io.progress import Progress
from numba_ss.io.vector_files import pack_words, unpack_words
from numba_ss.kernels.core.threads import use_threads
from numba_ss.kernels.words.train_windows import SCHEME
from numba_ss.training.estimator import Estimator
from numba_ss.training.session import FitSession, TrainingEvent
from numba_ss.word2vec.corpus import Corpus, open_corpus
from numba_ss.word2vec.model import WordModel
from numba_ss.word2vec.run import RunState, TrainingRun, checked_state, held_out_stream
from numba_ss.word2vec.vectors import WordVectors
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

ARCHITECTURES = ("skipgram", "cbow")
SCHEDULES = ("linear", "constant")
_LEARNING_RATES = {"skipgram": 0.035, "cbow": 0.09}
NUM_SAMPLED = {"skipgram": 6, "cbow": 16}
# What a fit leaves behind.
_FITTED = ("vocabulary_", "vectors_", "history_", "_outputs", "_rare")
# Defaults of short texts: min_count rises by 1 with so many words of the text; so many words
# are learned from at least; and so many in the vocabulary have the subsample of a long text.
_FREQUENT, _LONG, _AVERAGE = 25_000, 100_000, 5_000
_MOST_EPOCHS = 50
_SETTLED = {
    "min_count": lambda name, value: _checks.integer(name, value, 0),
    "subsample": lambda name, value: _checks.number(name, value, positive=True),
    "epochs": lambda name, value: _checks.integer(name, value, 1),
}
_MOST_RARE = 2**20  # words outside the vocabulary whose counts are kept


class Word2Vec(Estimator):
    r"""Word vectors that tell a word from noise by its neighbours.

    Skip-gram: each word w of the context of a target o, at most b places away with b
    drawn from 1 .. `window`, gives the loss

    .. math:: -\log \frac{e^{s(w, o)}}{e^{s(w, o)} + \sum_{k \in N} e^{s(w, k)}},
       \qquad s(w, o) = v_w^\top u_o - [\log Q(o)],

    with `num_sampled` noise words N for each window; v are the vectors that are kept. CBOW: the
    mean of the context takes the place of :math:`v_w`, and each of its m words gets a share 1/m
    of the gradient; up to eight windows that follow each other have the same N. Repetitions in N
    do not count and, except with NCE, nor does the target.

    Gradients of a batch of windows are taken at the same vectors and then added up. However
    often a word repeats, its vector moves no further than its scores bear: see Notes. Every
    result is the same, bit for bit, for any number of threads.

    Parameters
    ----------
    vector_size : int, default=100
        Length of a vector.
    window : int, default=5
        Words to either side at most.
    min_count : int, optional
        Rarer words are left out: nothing can be learned from them. By default 5, less for a
        text of fewer than 100,000 words.
    max_vocabulary : int, optional
        Keep the most frequent words only.
    vocabulary : list of str or Vocabulary, optional
        These words instead of the frequent ones. Those that the text lacks are left out, and
        named in the log.
    architecture : {"skipgram", "cbow"}, default="skipgram"
        Skip-gram gives the better vectors, CBOW costs half the time.
    loss : {"sampled_softmax", "negative_sampling", "sampled_logistic", "nce"}
        The first is the default: as good as negative sampling at the same cost, and its
        loss estimates that of the full softmax.
    num_sampled : int, optional
        Noise words; by default 6 for skip-gram and 16 for CBOW. More give better vectors, for
        a twentieth more time each with skip-gram, a fortieth with CBOW. They are chosen from a
        pool of words that is drawn for some windows that follow each other.
    sampler : {"unigram", "log_uniform", "uniform"}, default="unigram"
        Whether noise is drawn by the words' counts, by their rank as TensorFlow's
        log-uniform sampler does, or evenly.
    distortion : float, default=0.75
        Exponent of the noise probabilities, word2vec's.
    subtract_log_q : bool, optional
        Whether the log of the expected count is subtracted from each score. By default
        as `loss` says: not for the first two. Without it, scores are learned relative to
        the words' frequency, which is what similarity wants.
    subsample : float, optional
        Words of a larger share f of the text stay with probability
        sqrt(subsample / f) + subsample / f. 0 keeps all. By default 1e-4, or with fewer than
        5,000 words in the vocabulary half of the share of an average one: in a small
        vocabulary every word is frequent.
    learning_rate : float, optional
        At the start; by default 0.035 for skip-gram and 0.09 for CBOW,
        whose inputs share one gradient.
    min_learning_rate : float, default=0.0001
        At the end.
    schedule : {"linear", "constant"}, default="linear"
        How the learning rate goes from one to the other; constant for endless streams.
    epochs : int, optional
        Passes over the text. By default 5, more, up to 50, for a text of fewer than 20,000
        words.
    batch_size : int, optional
        Words whose windows are learned from at the same vectors. By default up to 2048, less
        where one word fills a large part of a small vocabulary's text. Larger batches keep
        more threads busy.
    num_threads : int, optional
        Threads; by default Numba's setting.
    seed : int, default=1
        Of initial vectors and of all that is drawn.

    Attributes
    ----------
    vectors_ : WordVectors
        The words and their vectors.
    vocabulary_ : Vocabulary
        Words and counts, the most frequent first.
    history_ : list of dict
        For each epoch its mean loss, learning rate, words, seconds, words a second, and
        with a held-out text its full softmax loss.

    See Also
    --------
    SampledSoftmax : the same idea as a layer for other people's models

    Notes
    -----
    T. Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", NIPS 2013. The shared noise of a window: S. Ji et al.,
    "Parallelizing Word2Vec in Shared and Distributed Memory", arXiv:1604.04661. The
    gradient of CBOW: O. Irsoy et al., "Corrected CBOW Performs as well as Skip-gram",
    arXiv:2012.15332. The loss is the mean over all pairs of context and target, as they
    come in training; of zero vectors it is log(1 + num_sampled).

    The summed gradient of a vector is scaled by min(1, 1 / x), where x is the learning rate times
    the curvature of the loss of its batch in the direction of the sum. So its scores change by 1
    at most in a batch, in the mean over those it has met, as those of single steps would, which
    saturate. A vector whose word does not repeat much moves by the plain sum.

    Examples
    --------
    >>> text = [["king", "rules", "land"], ["queen", "rules", "land"]] * 50
    >>> model = Word2Vec(8, min_count=1, epochs=3, subsample=0).fit(text, progress=False)
    >>> model.vectors_["king"].shape, len(model.history_)
    ((8,), 3)
    """

    _takes = ("string",)

    vectors_: WordVectors
    vocabulary_: Vocabulary
    history_: list[dict[str, Any]]
    _outputs: NDArray[np.float32]
    _rare: dict[str, NDArray[Any]]

    def __init__(
        self, vector_size: int = 100, *, window: int = 5, min_count: int | None = None,
        max_vocabulary: int | None = None, vocabulary: Sequence[str] | Vocabulary | None = None,
        architecture: str = "skipgram", loss: str = "sampled_softmax",
        num_sampled: int | None = None, sampler: str = "unigram", distortion: float = 0.75,
        subtract_log_q: bool | None = None,
        subsample: float | None = None, learning_rate: float | None = None,
        min_learning_rate: float = 1e-4, schedule: str = "linear", epochs: int | None = None,
        batch_size: int | None = None, num_threads: int | None = None, seed: int = 1,
    ) -> None:
        self.vector_size = vector_size
        self.window = window
        self.min_count = min_count
        self.max_vocabulary = max_vocabulary
        self.vocabulary = vocabulary
        self.architecture = architecture
        self.loss = loss
        self.num_sampled = num_sampled
        self.sampler = sampler
        self.distortion = distortion
        self.subtract_log_q = subtract_log_q
        self.subsample = subsample
        self.learning_rate = learning_rate
        self.min_learning_rate = min_learning_rate
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.num_threads = num_threads
        self.seed = seed

    @alone
    def fit(
        self, corpus: Any, y: Any = None, *, validation: Any = None, column: str | None = None,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: bool | str = "auto", checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_minutes: float = 10.0, checkpoint_words: int | None = None,
        resume: bool = False,
    ) -> Self:
        """Learn vectors for the words of a text.

        Parameters
        ----------
        corpus
            What `open_corpus` takes: files, lists of words, tables, packed ids. Its words and
            counts are those of a first pass; the passes after it may have another order, or
            other sentences of these words, such as new walks over a graph.
        y : optional
            Not used; for the sake of scikit-learn's pipelines.
        validation : optional
            A held-out text of the same forms; its full softmax loss is taken after each
            epoch, over the windows of a thousand of its first million words.
        column : str, optional
            The column of a table.
        callbacks : callable or list of callables
            Each is called with a `TrainingEvent`; what it raises ends the training.
        progress : {"auto", True, False}
            Whether a bar is shown; see `Progress`.
        checkpoint : path, optional
            A folder for checkpoints; it keeps the last two.
        checkpoint_minutes, checkpoint_words : float, int
            How often one is written: after so many minutes or, if given, words learned
            from, whichever is first; and at the end.
        resume : bool, default=False
            Go on from the newest checkpoint of the folder, if it has one, and end with
            the bits of a run that was not interrupted. A finished run goes on if `epochs` is
            larger now.

        Returns
        -------
        Word2Vec
            Itself.

        Raises
        ------
        ArgumentError
            If a parameter or the corpus cannot be used, or a run is resumed on another text;
            vectors learned before stay.
        TrainingDivergedError
            If the loss or a vector becomes NaN, infinite or absurdly large.
        KeyboardInterrupt
            After Ctrl-C, when the step is finished and a checkpoint written; `vectors_`
            is as far as it got.
        """
        options = self._checked()
        session = _Session(
            self, options, callbacks, progress, checkpoint, checkpoint_minutes, checkpoint_words
        )
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column)
            held_out = None if validation is None else _open_validation(validation)
            found = session.find(resume)
            if found is None:
                words, counts = _counted(opened, progress)
                vocabulary = self._choose_words(words, counts, session)
                session.rare = _rare_words(words, counts, vocabulary)
                tables = list(self._first_tables(len(vocabulary), options))
                state = RunState()
            else:
                vocabulary, tables, state = found
            session.train(opened, vocabulary, tables, state, held_out, first_epoch=0)
        return self

    @alone
    def partial_fit(
        self, corpus: Any, y: Any = None, *, column: str | None = None,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: bool | str = "auto",
    ) -> Self:
        """Learn on from a further text; words that are frequent by now join the vocabulary.

        Counts of all texts add up, also those of words that are too rare so far, so ids change:
        they stay ordered by count. With `max_vocabulary` the most frequent words stay. The
        learning rate goes through its schedule once more.

        Parameters
        ----------
        corpus, y, column, callbacks, progress
            As in `fit`.

        Returns
        -------
        Word2Vec
            Itself.
        """
        if not hasattr(self, "vectors_"):
            return self.fit(corpus, column=column, callbacks=callbacks, progress=progress)
        options = self._checked()
        if options["vector_size"] != self.vectors_.vector_size:
            _checks.fail("vector_size", f"{self.vectors_.vector_size}, as before", self.vector_size)
        session = _Session(self, options, callbacks, progress, None, 1.0, None)
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column)
            words, counts = _counted(opened, progress)
            vocabulary, old_ids = self._merge_words(words, counts, session)
            present = np.zeros(len(vocabulary), np.int64)
            for word, count in zip(words, counts.tolist(), strict=True):
                if (position := vocabulary.index.get(word)) is not None:
                    present[position] = count
            _require_two_words(present, session.settled["min_count"])
            inputs, outputs = self._first_tables(len(vocabulary), options)
            old = old_ids >= 0
            inputs[old] = self.vectors_.vectors[old_ids[old]]
            outputs[old] = self._outputs[old_ids[old]]
            tables = [inputs, outputs]
            del inputs, outputs
            session.train(
                opened, vocabulary, tables, RunState(history=list(self.history_)), None,
                first_epoch=len(self.history_), present=present,
            )
        return self

    @of_a_moment
    def save(self, path: PathLike) -> None:
        """Write the whole model, with which `partial_fit` can go on, to one file.

        Vectors alone, in many formats, are written by ``vectors_.save``.

        Parameters
        ----------
        path : str or path
            The file; it is written whole or not at all.

        Raises
        ------
        ArgumentError
            If nothing has been learned yet.
        """
        self._require_fit()
        params = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params().items()
        }
        if params["vocabulary"] is not None:
            params["vocabulary"] = list(self.vocabulary_.words)
        arrays: dict[str, NDArray[Any]] = {
            "inputs": self.vectors_.vectors, "outputs": self._outputs,
            "counts": self.vocabulary_.counts, **pack_words(self.vocabulary_.words),
            **self._rare,
        }
        with whole_file(path) as file:
            write_state(file, arrays, {"params": params, "history": self.history_})

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Return a model that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        ArgumentError
            If the file is damaged or of another kind.
        """
        with open(path, "rb") as file:
            try:
                arrays, state = read_state(file)
                words = unpack_words(path, arrays["words"], arrays["offsets"])
                model = cls(**state["params"])
                model.vocabulary_ = Vocabulary(words, arrays["counts"])
                model.vectors_ = WordVectors(words, arrays["inputs"], arrays["counts"])
                model._outputs, model.history_ = arrays["outputs"], state["history"]
                model._rare = {name: arrays[name] for name in _RARE}
                unpack_words(path, model._rare["rare_words"], model._rare["rare_offsets"])
            except MemoryError:
                raise
            except Exception as error:  # a flipped bit comes as any error of zipfile, zlib ...
                _checks.fail(str(path), "a model that Word2Vec.save wrote", repr(error))
        if model._outputs.shape != model.vectors_.vectors.shape:
            _checks.fail(str(path), "two tables of one shape", model._outputs.shape)
        return model

    def _open(self, corpus: Any, column: str | None) -> Corpus:
        return open_corpus(corpus, passes=1 + (self.epochs or 1), column=column)

    def _checked(self) -> dict[str, Any]:
        """Return the parameters, checked and with their defaults."""
        c = _checks
        seed = c.integer("seed", self.seed, 0, 2**63 - 1)
        architecture = c.choice("architecture", self.architecture, ARCHITECTURES)
        rate = self.learning_rate
        rate = _LEARNING_RATES[architecture] if rate is None else rate
        drawn = NUM_SAMPLED[architecture] if self.num_sampled is None else self.num_sampled
        subtract = self.subtract_log_q
        subsample = self.subsample

        def optional_integer(name: str, value: Any, low: int, high: int | None = None) -> Any:
            return None if value is None else c.integer(name, value, low, high)

        return {
            "vector_size": c.integer("vector_size", self.vector_size, 1, 2**20),
            "window": c.integer("window", self.window, 1, 2**10),
            "min_count": optional_integer("min_count", self.min_count, 0),
            "max_vocabulary": optional_integer("max_vocabulary", self.max_vocabulary, 2),
            "vocabulary": self._describe_vocabulary(),
            "architecture": architecture,
            "loss": c.choice("loss", self.loss, SAMPLED_LOSSES),
            "num_sampled": c.integer("num_sampled", drawn, 1, 2**12),
            "sampler": c.choice("sampler", self.sampler, WORD_SAMPLERS),
            "distortion": _checks.bounded("distortion", self.distortion, -10, 10),
            "subtract_log_q": None if subtract is None else c.flag("subtract_log_q", subtract),
            "subsample": (
                None if subsample is None else c.number("subsample", subsample, positive=True)
            ),
            "learning_rate": _checks.bounded("learning_rate", rate, 0, 1e6),
            "min_learning_rate": c.number(
                "min_learning_rate", self.min_learning_rate, positive=True
            ),
            "schedule": c.choice("schedule", self.schedule, SCHEDULES),
            "epochs": optional_integer("epochs", self.epochs, 1),
            "batch_size": optional_integer("batch_size", self.batch_size, 16, 2**20),
            "num_threads": _checks.threads(self.num_threads),
            "seed": seed,
        }

    def _describe_vocabulary(self) -> str | None:
        """Return what tells the words that were asked for from others; check them."""
        given = self.vocabulary
        if given is None:
            return None
        listed = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Iterator))
        if not listed and not isinstance(given, Vocabulary):
            _checks.fail("vocabulary", "a list of words or a Vocabulary", repr(given)[:60])
        try:
            words = (given if isinstance(given, Vocabulary) else Vocabulary.from_words(given)).words
        except _checks.ArgumentError as error:
            raise _checks.ArgumentError(f"vocabulary: {error}") from None
        data = "\n".join(words).encode("utf-8", "surrogatepass")
        return f"{len(words)} words with checksum {zlib.crc32(data):08x}"

    def _given_words(self) -> list[str] | None:
        """Return the words that were asked for."""
        if self.vocabulary is None or isinstance(self.vocabulary, Vocabulary):
            return None if self.vocabulary is None else self.vocabulary.words
        return Vocabulary.from_words(self.vocabulary).words

    def _choose_words(
        self, words: list[str], counts: NDArray[np.int64], session: _Session
    ) -> Vocabulary:
        """Return the words of a text to learn from, and settle what depends on the text."""
        given, total = self._given_words(), int(counts.sum())
        min_count = session.settle_min_count(total)
        if given is None:
            vocabulary = Vocabulary.from_counts(
                words, counts, min_count=min_count, max_size=session.options["max_vocabulary"]
            )
        else:
            seen = dict(zip(words, counts.tolist(), strict=True))
            present = [word for word in given if seen.get(word, 0) > 0]
            if len(present) < len(given):
                lacking = [word for word in given if seen.get(word, 0) == 0]
                log.warning(
                    "%s of %s words of vocabulary= are not in the text and get no vector: %s",
                    f"{len(lacking):,}", f"{len(given):,}", ", ".join(lacking)[:200],
                )
            if not present:
                _checks.fail("vocabulary", "words that the text has", "none of them")
            vocabulary = Vocabulary.from_words(present, [seen[word] for word in present])
        log.info(
            "%s words, %s different; %s in the vocabulary, %s words of the text",
            f"{total:,}", f"{len(words):,}", f"{len(vocabulary):,}",
            f"{vocabulary.counts.sum():,}",
        )
        _require_two_words(vocabulary.counts, min_count)
        session.settle(total, len(vocabulary))
        return vocabulary

    def _merge_words(
        self, words: list[str], counts: NDArray[np.int64], session: _Session
    ) -> tuple[Vocabulary, NDArray[np.int64]]:
        """Return the vocabulary with a further text, and the id that each word had, or -1."""
        old, given = self.vocabulary_, self._given_words()
        rare = Counter(dict(_unpacked(self._rare)))
        known, known_counts = [], []
        for word, count in zip(words, counts.tolist(), strict=True):
            if word in old.index:
                known.append(word)
                known_counts.append(count)
            else:
                rare[word] += count
        total = int(old.counts.sum()) + rare.total() + sum(known_counts)
        min_count = session.settle_min_count(total)
        new = [word for word in words if word not in old.index]
        if given is not None:
            allowed, min_count = set(given), 1
            new = [word for word in new if word in allowed]
        vocabulary, old_ids = old.merge(
            [*known, *new], [*known_counts, *(rare[word] for word in new)], min_count=min_count,
            max_size=session.options["max_vocabulary"],
        )
        rest = Counter(rare)
        kept = set(old_ids.tolist())
        gone = [word for i, word in enumerate(old.words) if i not in kept]
        if gone:
            log.info("%s words left the vocabulary for more frequent ones", f"{len(gone):,}")
            more = dict(zip(known, known_counts, strict=True))
            rest.update({w: int(old.counts[old.index[w]]) + more.get(w, 0) for w in gone})
        session.rare = _rare_words(list(rest), np.fromiter(rest.values(), np.int64), vocabulary)
        session.settle(total, len(vocabulary))
        return vocabulary, old_ids

    def _first_tables(
        self, num_words: int, options: dict[str, Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return word2vec's start: small random input vectors, output vectors of zeros."""
        rng = np.random.default_rng([options["seed"], num_words])
        shape = num_words, options["vector_size"]
        inputs = rng.random(shape, np.float32)
        inputs -= np.float32(0.5)
        inputs /= np.float32(options["vector_size"])
        return inputs, np.zeros(shape, np.float32)


def default_min_count(num_words: int) -> int:
    """Return the count from which on the words of a text of so many are learned."""
    return min(5, 1 + num_words // _FREQUENT)


_RARE = ("rare_words", "rare_offsets", "rare_counts")


def _rare_words(
    words: list[str], counts: NDArray[np.int64], vocabulary: Vocabulary
) -> dict[str, NDArray[Any]]:
    """Return the most frequent words that are not in the vocabulary, packed, and their counts."""
    outside = np.array([word not in vocabulary.index for word in words], bool)
    places = np.flatnonzero(outside)
    places = np.sort(places[np.argsort(-counts[places], kind="stable")[:_MOST_RARE]])
    packed = pack_words([words[i] for i in places.tolist()])
    return dict(zip(_RARE, (packed["words"], packed["offsets"], counts[places]), strict=True))


def _unpacked(rare: dict[str, NDArray[Any]]) -> Iterator[tuple[str, int]]:
    words = unpack_words("rare words", rare["rare_words"], rare["rare_offsets"])
    return zip(words, rare["rare_counts"].tolist(), strict=True)


def _require_two_words(counts: NDArray[np.int64], min_count: int) -> None:
    present = np.count_nonzero(counts)
    if present < 2:
        got = f"{present}, with min_count={min_count}"
        _checks.fail("corpus", "two different words of the vocabulary at least", got)


def _open_validation(validation: Any) -> Corpus:
    try:
        return open_corpus(validation, passes=1)
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(f"validation: {error}") from None


def _counted(corpus: Corpus, show: bool | str) -> tuple[list[str], NDArray[np.int64]]:
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


class _Session(FitSession):
    """One call of `Word2Vec.fit`."""

    def __init__(
        self, estimator: Word2Vec, options: dict[str, Any], callbacks: Any, show: bool | str,
        checkpoint: Any, minutes: float, words: int | None,
    ) -> None:
        self.words = None if words is None else _checks.integer("checkpoint_words", words, 1)
        super().__init__(estimator, options, callbacks, show, checkpoint, minutes)
        # The options, with what depends on the text where the user left it open.
        self.settled = dict(options)
        self.rare: dict[str, NDArray[Any]] = {}
        self._resumed: dict[str, NDArray[Any]] = {}

    def kept_options(self) -> dict[str, Any]:
        """Return the parameters that change what a run gives, and the kernels' scheme.

        Epochs are none of them: a finished run may go on.
        """
        kept = super().kept_options() | {"scheme": SCHEME}
        del kept["epochs"]
        return kept

    def settle_min_count(self, total: int) -> int:
        """Return the count from which on words are learned, for a text of so many words."""
        if self.settled["min_count"] is None:
            self.settled["min_count"] = default_min_count(total)
        return int(self.settled["min_count"])

    def settle(self, total: int, num_words: int) -> None:
        """Choose what the user left open, for a text and its vocabulary."""
        if self.settled["subsample"] is None:
            self.settled["subsample"] = 1e-4 * max(1.0, _AVERAGE / num_words)
        if self.settled["epochs"] is None:
            self.settled["epochs"] = int(np.clip(-(-_LONG // total), 5, _MOST_EPOCHS))

    def find(
        self, resume: bool
    ) -> tuple[Vocabulary, list[NDArray[Any]], RunState] | None:
        """Return vocabulary, tables and state of the newest checkpoint, if there is one."""
        found = self.newest(resume)
        if found is None:
            return None
        arrays, state, path = found
        options = state.get("options")
        if options is None:
            _checks.fail(str(path), "a checkpoint of Word2Vec", "another one")
        self.require_same_options(options, path)
        run = checked_state(f"{path}, run", state.get("run"))
        chosen = checked_fields(f"{path}, settled", state.get("settled"), _SETTLED)
        for name, value in chosen.items():
            if self.settled[name] is None:
                self.settled[name] = value
        if self.settled["epochs"] < run.epoch:
            got = self.settled["epochs"]
            _checks.fail("epochs", f"at least {run.epoch}, which {path} has done", got)
        with reading(str(path), "a checkpoint of Word2Vec"):
            self.rare = {name: arrays[name] for name in _RARE}
            vocabulary = Vocabulary(
                unpack_words(path, arrays["words"], arrays["offsets"]), arrays["counts"]
            )
            shape = len(vocabulary), self.options["vector_size"]
            for name in ("inputs", "outputs"):
                table = arrays[name]
                _checks.shaped(name, table, shape, "num_words, vector_size")
                if table.dtype != np.float32 or not np.isfinite(table).all():
                    _checks.fail(name, "finite numbers in float32", table.dtype)
        self._resumed = {name: arrays[name] for name in ("losses", "pairs")}
        log.info("resuming from %s", path)
        return vocabulary, [arrays["inputs"], arrays["outputs"]], run

    def train(
        self, corpus: Corpus, vocabulary: Vocabulary, tables: list[NDArray[Any]],
        state: RunState, validation: Corpus | None, *, first_epoch: int,
        present: NDArray[np.int64] | None = None,
    ) -> None:
        """Train and hand the result to the estimator, also if it is interrupted.

        `tables`, where inputs and outputs start, is emptied when the model has copied them:
        while it learns there are to be no others than its own.
        """
        o = self.settled
        model = WordModel(
            tables[0], tables[1], vocabulary.counts, present=present, window=o["window"],
            architecture=o["architecture"], loss=o["loss"], num_sampled=o["num_sampled"],
            sampler=o["sampler"], distortion=o["distortion"], subtract_log_q=o["subtract_log_q"],
            subsample=o["subsample"], batch_size=o["batch_size"], seed=o["seed"],
        )
        tables.clear()
        log.info(
            "min_count %d, subsample %.4g, epochs %d, batches of %d words",
            o["min_count"], o["subsample"], o["epochs"], model.batch_size,
        )
        if self._resumed:
            for name, own in (("losses", model.losses), ("pairs", model.pairs)):
                _checks.shaped(name, self._resumed[name], own.shape, "chunks,")
                own[:] = self._resumed[name]
        packed = pack_words(vocabulary.words)

        def header() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
            arrays: dict[str, NDArray[Any]] = {
                "inputs": model.inputs, "outputs": model.outputs, "losses": model.losses,
                "pairs": model.pairs, "counts": vocabulary.counts, **packed, **self.rare,
            }
            chosen = {name: o[name] for name in _SETTLED}
            return arrays, {"options": self.kept_options(), "settled": chosen}

        if self.folder is not None:
            size = sum(array.nbytes for array in header()[0].values())
            self.folder.require((self.folder.keep + 1) * (size + 2**16))
        held_out = None
        if validation is not None:
            held_out = held_out_stream(validation, vocabulary, model)

        def tell(kind: str, epoch: int, examples: int, loss: float, rate: float) -> None:
            if self.callbacks:
                if kind in ("epoch", "end"):
                    outputs = model.outputs.copy()
                    self._hand_over(vocabulary, model.inputs.copy(), outputs, state)
                event = TrainingEvent(kind, epoch, examples, loss, rate, self.estimator)
                for callback in self.callbacks:
                    callback(event)

        top, low = o["learning_rate"], min(o["learning_rate"], o["min_learning_rate"])
        falls = o["schedule"] == "linear"
        run = TrainingRun(
            model, corpus, vocabulary, epochs=o["epochs"], first_epoch=first_epoch,
            rate=lambda share: top + (low - top) * share if falls else top, state=state,
            show=self.show, tell=tell, folder=self.folder, header=header, minutes=self.minutes,
            words=self.words, held_out=held_out,
        )
        fitted = vars(self.estimator)
        before = {name: fitted[name] for name in _FITTED if name in fitted}
        try:
            run.run()
        except KeyboardInterrupt:
            self._hand_over(vocabulary, *model.release(), state)
            raise
        except BaseException:  # callbacks may have seen vectors that were on their way
            fitted.update(before)
            for name in set(_FITTED) - set(before):
                fitted.pop(name, None)
            raise
        self._hand_over(vocabulary, *model.release(), state)

    def _hand_over(
        self, vocabulary: Vocabulary, inputs: NDArray[np.float32], outputs: NDArray[np.float32],
        state: RunState,
    ) -> None:
        vectors = WordVectors(vocabulary.words, inputs, vocabulary.counts)
        history = [dict(entry) for entry in state.history]
        # All at once: an interrupt must not leave words of one run and vectors of another.
        vars(self.estimator).update(
            vocabulary_=vocabulary, vectors_=vectors, history_=history, _outputs=outputs,
            _rare=self.rare,
        )
