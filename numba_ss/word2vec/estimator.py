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
from numba_ss.distributed.cluster import Cluster
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.distributed.run import checkpoints_of
from numba_ss.engine.by_name import SampledLoss, WordSampler
from numba_ss.io.checkpoint import checked_history
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.kernels.core.threads import use_threads
from numba_ss.training.estimator import Estimator
from numba_ss.training.events import TrainingEvent
from numba_ss.training.session import FitSession
from numba_ss.word2vec.choice import Rare, rare_of
from numba_ss.word2vec.cluster import Source, begin_on_cluster, go_on_cluster
from numba_ss.word2vec.corpus import Corpus, open_corpus, open_validation
from numba_ss.word2vec.gensim_names import answer_attribute, answering_parameters
from numba_ss.word2vec.parameters import checked_parameters, given_words
from numba_ss.word2vec.parts import parts_of
from numba_ss.word2vec.start import begin, go_on
from numba_ss.word2vec.vectors import WordVectors
from numba_ss.word2vec.vocabulary import Vocabulary


class Word2Vec(Estimator):
    r"""Word vectors, trained to tell the words near a word from random ones.

    In skip-gram, a target o is a word of the text. Its context are the words at most b places away.
    A word that is d <= `window` places away is in the context with probability 1 / d: the nearer a
    word, the more it tells. Each word w of the context has the loss

    .. math:: -\log \frac{e^{s(w, o)}}{e^{s(w, o)} + \sum_{k \in N} e^{s(w, k)}},
       \qquad s(w, o) = v_w^\top u_o - [\log Q(o)],

    with `num_sampled` negative samples N, which 32 consecutive windows share. The vectors v are
    the result. In CBOW, a context reaches b words to each side, where each b in 1 .. `window` is
    as likely. The mean of the context vectors replaces :math:`v_w`, and each of the m words of the
    context gets 1/m of the gradient. A word that is several times in N counts once. The target of
    a window does not count as a sample, except with the loss "nce".

    All gradients of a batch of windows are computed with the same vectors, and then added up. The
    update of a word that repeats in a batch is limited, see Notes. Every result is the same, bit
    for bit, for any number of threads.

    Parameters
    ----------
    vector_size : int, default=100
        Length of a vector.
    window : int, default=5
        The largest number of context words on each side.
    min_count : int, optional
        Words with a smaller count are left out, because too little can be learned about them.
        By default 5, and less for a text of fewer than 100,000 words.
    max_vocabulary : int, optional
        Keep the most frequent words only; not together with `vocabulary`.
    vocabulary : list of str or Vocabulary, optional
        Learn these words instead of the frequent ones. Words that are not in the text are left
        out, and the log names them.
    architecture : {"skipgram", "cbow"}, default="skipgram"
        Skip-gram gives better vectors; CBOW takes somewhat less time.
    loss : {"sampled_softmax", "negative_sampling", "sampled_logistic", "nce"}
        "sampled_softmax" is the default: it is as good as negative sampling, takes the same time,
        and its loss estimates that of the full softmax.
    num_sampled : int, default=24
        Number of negative samples. Since 32 windows share them, there should be more than the five
        that each word has in word2vec. More give better vectors: 48 take a third more time than 24.
    sampler : {"unigram", "log_uniform", "uniform"}, default="unigram"
        How negative samples are drawn: in proportion to a power of the counts, by rank as in
        TensorFlow's log-uniform sampler, or with equal probability.
    distortion : float, default=0.75
        Exponent of the counts for the sampler "unigram"; 0.75 is word2vec's.
    subtract_log_q : bool, optional
        Whether the log of the expected count is subtracted from each score. The default is True
        for the losses "sampled_logistic" and "nce", and False for the others. With False, scores
        are learned relative to log Q, which suits similarity.
    subsample : float, optional
        Drop some occurrences of frequent words: a word that is the share f of the text is kept
        with probability sqrt(subsample / f) + subsample / f, if that is less than 1. 0 keeps
        all. By default 3e-4 for skip-gram and 1e-4 for CBOW. In a vocabulary of fewer than about
        2,000 (5,000) words every word is frequent, so there the default is half of the mean share
        of a word.
    learning_rate : float, optional
        The rate at the start. By default 0.03 for skip-gram, and 0.09 for CBOW, in which the
        words of a context share one gradient.
    min_learning_rate : float, default=0.0001
        The rate at the end, if it is less than `learning_rate`.
    schedule : {"linear", "constant"}, default="linear"
        How the learning rate changes from `learning_rate` to `min_learning_rate`. With "constant"
        it stays at `learning_rate`, for streams without an end.
    epochs : int, optional
        Passes over the text. By default 5; for a text of fewer than 20,000 words more, up to 50.
    early_stopping : int, optional
        Training ends when the loss of a held-out text has not improved for this number of epochs.
        The text is the argument `validation` of `fit`. The result has the vectors of the best
        epoch.
    batch_size : int, optional
        Number of targets in a batch. By default up to 2048; less if one word makes up a large
        part of the text. Larger batches keep more threads busy.
    num_threads : int, optional
        Threads; by default Numba's setting.
    seed : int, default=1
        Seed of the initial vectors and of all random draws.

    Attributes
    ----------
    vectors_ : WordVectors
        The words and their vectors.
    vocabulary_ : Vocabulary
        Words and counts, the most frequent first.
    history_ : list of dict
        For each epoch: mean loss, learning rate, words, seconds, words per second; and the full
        softmax loss of a held-out text, if there is one.

    See Also
    --------
    SampledSoftmax : the same idea as a layer for your own model

    Notes
    -----
    T. Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", NIPS 2013. Contexts that count 1 / d: J. Pennington et al., "GloVe: Global
    Vectors for Word Representation", EMNLP 2014, section 4.2. Sharing the samples of a window: S.
    Ji et al., "Parallelizing Word2Vec in Shared and Distributed Memory", arXiv:1604.04661. The
    gradient of CBOW: O. Irsoy et al., "Corrected CBOW Performs as well as Skip-gram",
    arXiv:2012.15332. The loss is the mean over all pairs of context and target during training.

    Scores begin where the loss is lowest for somebody who knows nothing of the words: at 0 with
    softmax, whose loss is log(1 + N) then, and at -log N with a logistic loss; where log Q is
    subtracted, log Q is added. Unless they begin at 0, the first number of each input vector is
    about 0.5 at the start.

    If a word repeats in a batch, the plain sum of its gradients may be too large. Single steps
    would become smaller near the optimum, but the sum goes far beyond it. So the sum is scaled by
    min(1, 1 / x), where x is the learning rate times the curvature of the loss of the batch in the
    direction of the sum. Then a batch changes the scores of a vector by at most 1 on average. If a
    word repeats little, its vector gets the plain sum.

    In case an epoch fails, both tables as the epoch before has left them are kept in a temporary
    file (the variable TMPDIR names its folder), or in memory if it cannot be written.

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
        num_sampled: int = 24, sampler: WordSampler = "unigram", distortion: float = 0.75,
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
        resume: bool = False, cluster: RayCluster | None = None,
    ) -> Self:
        """Learn vectors for the words of a text.

        Parameters
        ----------
        corpus
            What `open_corpus` takes: files, lists of words, tables, packed ids. Words are
            counted in a first pass. Later passes may come in another order, or have other
            sentences of the same words, such as new walks over a graph.
        y : optional
            Not used; scikit-learn's pipelines pass it.
        validation : optional
            A held-out text, in any form that `corpus` may have. After each epoch its full
            softmax loss is computed, for a thousand targets near its beginning.
        column : str, optional
            The column of a table; also that of `validation`, if it is a table or files.
        encoding : str, optional
            The encoding of the files of both texts, such as "cp1252"; see `open_corpus`.
        callbacks : callable or list of callables
            Each is called with a `TrainingEvent`. If one raises `StopTraining`, training ends as
            if all epochs were done. After any other exception, the vectors are those of the last
            epoch that this call has finished, or, if there is none, what they were before. A
            cluster keeps such an epoch only with `checkpoint`.
        progress : {"auto", True, False}
            Whether a bar is shown; see `Progress`.
        checkpoint : path, optional
            A folder for checkpoints; it keeps the last two.
        checkpoint_minutes, checkpoint_words : float, int
            How often a checkpoint is written: after this many minutes or, if given, words,
            whichever comes first; and at the end.
        resume : bool, default=False
            Continue from the newest checkpoint of the folder, if it has one. The result has the
            same bits as that of a run without interruption. A finished run continues if
            `epochs` is larger now.
        cluster : RayCluster, optional
            Machines to train on, see `RayCluster`. The corpus may then be a ``ray.data.Dataset``,
            too; all machines must see files, and the folder for checkpoints, under the same path.

        Returns
        -------
        Word2Vec
            Itself.

        Raises
        ------
        ArgumentError
            If a parameter or the corpus cannot be used, or if a run is resumed on another text.
            The vectors are then as after any other exception, see `callbacks`.
        TrainingDivergedError
            If the loss or a vector becomes NaN, infinite or absurdly large.
        KeyboardInterrupt
            After Ctrl-C, when the current step is finished and a checkpoint is written.
            `vectors_` then has what was learned up to this step, if there was one.
        """
        every = None
        if checkpoint_words is not None:
            every = _checks.integer("checkpoint_words", checkpoint_words, 1)
        options = self._checked(validation)
        session = FitSession(
            self, options, callbacks, progress, checkpoint, checkpoint_minutes, every,
            checkpoints_of(cluster),
        )
        if cluster is not None:
            held_out = open_validation(validation, column, encoding)
            with cluster.open() as machines:
                source = self._source(corpus, column, encoding, machines)
                begin_on_cluster(
                    session, source, held_out, machines, cluster, resume
                ).run()
            return self
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column, encoding)
            held_out = open_validation(validation, column, encoding)
            begin(session, opened, held_out, resume).run()
        return self

    @alone
    def partial_fit(
        self, corpus: Any, y: Any = None, *, validation: Any = None, column: str | None = None,
        encoding: str | None = None,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto", cluster: RayCluster | None = None,
    ) -> Self:
        """Continue training on a further text; words that are now frequent join the vocabulary.

        The counts of all texts are added up, also those of words that were too rare so far (of the
        most frequent 2**20 of them). Ids
        may change, because words are ordered by count. With `max_vocabulary`, the most frequent
        words are kept. The schedule of the learning rate starts again. `loss` and `subtract_log_q`
        should be those of before, because scores mean something else with others.

        Parameters
        ----------
        corpus, y, validation, column, encoding, callbacks, progress, cluster
            As in `fit`.

        Returns
        -------
        Word2Vec
            Itself.
        """
        if not hasattr(self, "vectors_"):
            return self.fit(
                corpus, validation=validation, column=column, encoding=encoding,
                callbacks=callbacks, progress=progress, cluster=cluster,
            )
        options = self._checked(validation)
        if options["vector_size"] != self.vectors_.vector_size:
            _checks.fail("vector_size", f"{self.vectors_.vector_size}, as before", self.vector_size)
        session = FitSession(
            self, options, callbacks, progress, folder=checkpoints_of(cluster)
        )
        if cluster is not None:
            held_out = open_validation(validation, column, encoding)
            with cluster.open() as machines:
                source = self._source(corpus, column, encoding, machines)
                go_on_cluster(session, source, held_out, machines, cluster).run()
            return self
        with use_threads(options["num_threads"]):
            opened = self._open(corpus, column, encoding)
            held_out = open_validation(validation, column, encoding)
            go_on(session, opened, held_out).run()
        return self

    def transform(self, documents: Iterable[Sequence[str]]) -> NDArray[np.float32]:
        """Return the mean vector of each document, see `WordVectors.transform`.

        So a fitted model can be a step of scikit-learn's pipelines.

        Parameters
        ----------
        documents : iterable of n lists of words
            As in `fit`.

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
            A list, or another object that can be read several times.
        y : optional
            Not used.
        options
            Further arguments of `fit`.

        Returns
        -------
        ndarray of float32, shape (n, vector_size)
        """
        return self.fit(documents, y, **options).transform(documents)

    if not TYPE_CHECKING:  # type checkers should report attributes that do not exist

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
        return self.get_params() | {"vocabulary": given_words(self.vocabulary)}

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

    def _source(
        self, corpus: Any, column: str | None, encoding: str | None, machines: Cluster
    ) -> Source:
        """Return the parts of a corpus that workers can read, or the corpus opened here."""
        parts = parts_of(corpus, column, encoding, machines)
        return self._open(corpus, column, encoding) if parts is None else parts

    def _checked(self, validation: Any = None) -> dict[str, Any]:
        """Return the parameters, checked and with their defaults."""
        options = checked_parameters(self.get_params())
        if options["early_stopping"] is not None and validation is None:
            _checks.fail("early_stopping", "None, without validation", self.early_stopping)
        return options
