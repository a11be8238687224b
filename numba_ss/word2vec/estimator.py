"""Word2Vec: from a text to word vectors, by sampled softmax."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Show
from numba_ss.engine.by_name import SampledLoss, WordSampler
from numba_ss.io.checkpoint import checked_history
from numba_ss.io.vector_files import pack_words, unpack_words
from numba_ss.kernels.core.threads import use_threads
from numba_ss.training.estimator import Estimator
from numba_ss.training.events import TrainingEvent
from numba_ss.training.session import FitSession
from numba_ss.word2vec.choice import Rare, rare_of
from numba_ss.word2vec.corpus import Corpus, open_corpus
from numba_ss.word2vec.gensim_names import answer_attribute, answering_parameters
from numba_ss.word2vec.parameters import checked_parameters
from numba_ss.word2vec.start import begin, go_on
from numba_ss.word2vec.vectors import WordVectors
from numba_ss.word2vec.vocabulary import Vocabulary


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
    early_stopping : int, optional
        Epochs without a better loss of the held-out text after which training ends; the
        vectors are then those of the best epoch. See `fit`, `validation`.
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

    Training takes the memory of both tables twice: a copy of the last finished epoch is kept, in
    case the next one fails.

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

    @answering_parameters
    def __init__(
        self, vector_size: int = 100, *, window: int = 5, min_count: int | None = None,
        max_vocabulary: int | None = None, vocabulary: Sequence[str] | Vocabulary | None = None,
        architecture: Literal["skipgram", "cbow"] = "skipgram",
        loss: SampledLoss = "sampled_softmax",
        num_sampled: int | None = None, sampler: WordSampler = "unigram", distortion: float = 0.75,
        subtract_log_q: bool | None = None,
        subsample: float | None = None, learning_rate: float | None = None,
        min_learning_rate: float = 1e-4, schedule: Literal["linear", "constant"] = "linear",
        epochs: int | None = None, early_stopping: int | None = None,
        batch_size: int | None = None,
        num_threads: int | None = None, seed: int = 1,
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
        self.early_stopping = early_stopping
        self.batch_size = batch_size
        self.num_threads = num_threads
        self.seed = seed

    @alone
    def fit(
        self, corpus: Any, y: Any = None, *, validation: Any = None, column: str | None = None,
        encoding: str | None = None,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto", checkpoint: str | os.PathLike[str] | None = None,
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
        encoding : str, optional
            Of the files of both texts, such as "cp1252"; see `open_corpus`.
        callbacks : callable or list of callables
            Each is called with a `TrainingEvent`. `StopTraining` ends the training as if all
            epochs were done; after any other exception the vectors are those of the last
            finished epoch, if one is.
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
            vectors learned before stay, or those of the last finished epoch, if one is.
        TrainingDivergedError
            If the loss or a vector becomes NaN, infinite or absurdly large; the vectors are
            those of the last finished epoch, if one is.
        KeyboardInterrupt
            After Ctrl-C, when the step is finished and a checkpoint written; `vectors_`
            is as far as it got.
        """
        every = None
        if checkpoint_words is not None:
            every = _checks.integer("checkpoint_words", checkpoint_words, 1)
        options = self._checked(validation)
        session = FitSession(
            self, options, callbacks, progress, checkpoint, checkpoint_minutes, every
        )
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column, encoding)
            held_out = _open_validation(validation, encoding)
            begin(session, opened, held_out, resume).run()
        return self

    @alone
    def partial_fit(
        self, corpus: Any, y: Any = None, *, validation: Any = None, column: str | None = None,
        encoding: str | None = None,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto",
    ) -> Self:
        """Learn on from a further text; words that are frequent by now join the vocabulary.

        Counts of all texts add up, also those of words that are too rare so far, so ids change:
        they stay ordered by count. With `max_vocabulary` the most frequent words stay. The
        learning rate goes through its schedule once more.

        Parameters
        ----------
        corpus, y, validation, column, encoding, callbacks, progress
            As in `fit`.

        Returns
        -------
        Word2Vec
            Itself.
        """
        if not hasattr(self, "vectors_"):
            return self.fit(
                corpus, validation=validation, column=column, encoding=encoding,
                callbacks=callbacks, progress=progress,
            )
        options = self._checked(validation)
        if options["vector_size"] != self.vectors_.vector_size:
            _checks.fail("vector_size", f"{self.vectors_.vector_size}, as before", self.vector_size)
        session = FitSession(self, options, callbacks, progress)
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column, encoding)
            held_out = _open_validation(validation, encoding)
            go_on(session, opened, held_out).run()
        return self

    def transform(self, documents: Iterable[Sequence[str]]) -> NDArray[np.float32]:
        """Return the mean vector of each document: see `WordVectors.transform`.

        With it a fitted model is a step of scikit-learn's pipelines.

        Parameters
        ----------
        documents : iterable of n lists of words
            As `fit` takes them.

        Returns
        -------
        ndarray of float32, shape (n, vector_size)
        """
        self._require_fit()
        return self.vectors_.transform(documents)

    def fit_transform(
        self, documents: Any, y: Any = None, **options: Any
    ) -> NDArray[np.float32]:
        """Learn vectors from documents, and return the mean vector of each.

        Parameters
        ----------
        documents : iterable of n lists of words
            A list or the like, which can be read again and again.
        y : optional
            Not used.
        options
            Further arguments of `fit`.

        Returns
        -------
        ndarray of float32, shape (n, vector_size)
        """
        return self.fit(documents, y, **options).transform(documents)

    if not TYPE_CHECKING:  # type checkers are to refuse what is not there

        def __getattr__(self, name: str) -> NoReturn:
            answer_attribute(type(self).__name__, name)

    def _publish(
        self, vocabulary: Vocabulary, inputs: NDArray[np.float32], outputs: NDArray[np.float32],
        rare: Rare, history: list[dict[str, Any]],
    ) -> None:
        """Set the result of a run, or of a file."""
        vectors = WordVectors(vocabulary.words, inputs, vocabulary.counts)
        # In one call, so that an interrupt cannot leave words of one run and vectors of another.
        vars(self).update(
            vocabulary_=vocabulary, vectors_=vectors, history_=history, _outputs=outputs,
            _rare=rare,
        )

    def _parameters_to_save(self) -> dict[str, Any]:
        given = self.vocabulary is not None
        return self.get_params() | ({"vocabulary": self.vocabulary_.words} if given else {})

    def _pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "inputs": self.vectors_.vectors, "outputs": self._outputs,
            "counts": self.vocabulary_.counts, **pack_words(self.vocabulary_.words), **self._rare,
        }
        return arrays, {"history": self.history_}

    def _unpack(self, name: str, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        vocabulary = Vocabulary(
            unpack_words(name, arrays["words"], arrays["offsets"]), arrays["counts"]
        )
        outputs = arrays["outputs"]
        _checks.shaped("outputs", outputs, arrays["inputs"].shape, "num_words, vector_size")
        self._publish(
            vocabulary, arrays["inputs"], outputs, rare_of(name, arrays),
            checked_history("history", state["history"]),
        )

    def _open(self, corpus: Any, column: str | None, encoding: str | None) -> Corpus:
        passes = 1 + (self.epochs or 1)
        return open_corpus(corpus, passes=passes, column=column, encoding=encoding)

    def _checked(self, validation: Any = None) -> dict[str, Any]:
        """Return the parameters, checked and with their defaults."""
        options = checked_parameters(self.get_params())
        if options["early_stopping"] is not None and validation is None:
            _checks.fail("early_stopping", "None, without validation", self.early_stopping)
        return options


def _open_validation(validation: Any, encoding: str | None) -> Corpus | None:
    if validation is None:
        return None
    try:
        return open_corpus(validation, passes=1, encoding=encoding)
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(f"validation: {error}") from None
