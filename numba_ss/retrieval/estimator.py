"""Item retrieval as in YouTubeDNN: learn from who took what, and predict what they take next."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers, Show
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.distributed.run import checkpoints_of
from numba_ss.engine.by_name import ItemSampler
from numba_ss.io.checkpoint import checked_history
from numba_ss.io.files import require_distinct
from numba_ss.kernels.core.threads import use_threads
from numba_ss.logs.interactions import Interactions, read_interactions
from numba_ss.retrieval.cluster import begin_on_cluster, go_on_cluster, require_able
from numba_ss.retrieval.growth import (
    FeatureRows,
    feature_columns,
    pack_log,
    require_tables,
    unpack_log,
)
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.parameters import checked_parameters
from numba_ss.retrieval.queries import Queries
from numba_ss.retrieval.samplers import packed_state, resume_sampler, unpacked_state
from numba_ss.retrieval.start import begin, go_on
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.estimator import integer_events
from numba_ss.training.events import TrainingEvent
from numba_ss.training.session import FitSession

# Parameters that decide the shapes of a model's arrays.
_SHAPE = (
    "embedding_dim", "hidden_units", "optimizer", "user", "user_features", "item_features"
)


class YouTubeDNN(Queries):
    r"""Vectors of users and items, trained so that the items a user takes next are near the user.

    The vector u of a user is the output of a ReLU network. Its inputs are the mean of the vectors
    of the items in the user's history, and the vectors of categorical features. The vector v of an
    item, also in histories, is the sum of a row of its own and the rows of its features. For an
    event, in which a user took the item i, and `num_sampled` random items N, the loss is

    .. math:: -\log \frac{e^{s(i)}}{e^{s(i)} + \sum_{j \in N} e^{s(j)}}, \qquad
       s(j) = \frac{1}{\tau} \frac{u^\top v_j}{\|u\| \|v_j\|} - [\log Q(j)],

    with the temperature :math:`\tau` and the expected count Q(j) of j in N. A step takes the same
    time for any number of items. Every result is the same, bit for bit, for any number of threads.

    Parameters
    ----------
    embedding_dim : int, default=32
        Length of a vector.
    hidden_units : sequence of int, default=(64,)
        Widths of the ReLU layers; a linear layer to `embedding_dim` follows. With (), the vector
        of a user is the sum of the mean history and the features: plain matrix factorisation.
    history_length : int, default=50
        The most events before an event that are its history. An empty history has a vector of
        its own. If events have no time, the history is this many other events of the user, drawn
        again in each epoch; queries use all events.
    num_sampled : int, default=255
        Number of items drawn for a batch. It is at most half of all items, and less with
        "unigram" if a few items have nearly all events. With "in_batch" none are drawn.
    sampler : {"unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed"}
        "unigram", the default, draws items by their number of events to the power of
        `distortion`; "log_uniform" by their rank; "learned_unigram" by the events learned from so
        far; "uniform" with equal probability. "in_batch" takes the items of the batch, "mixed"
        these and `num_sampled` uniform ones.
    distortion : float, default=1.0
        The exponent of the sampler "unigram", in [-2, 2].
    subtract_log_q : bool, default=True
        Whether the log of the expected count is subtracted from each score. Without it, popular
        items get lower scores.
    normalize : bool, default=True
        Whether vectors are scaled to length 1 before they are compared.
    temperature : float, default=0.05
        Inner products are divided by it.
    optimizer : {"adagrad", "sgd"}, default="adagrad"
        Adagrad, with one sum of squares for each row of the tables, or plain gradient descent.
    learning_rate : float, optional
        The rate; by default 0.1 for "adagrad" and 10 for "sgd".
    l2 : float, default=0.0
        Weight decay: l2 / 2 times the squares of the rows that a batch uses is added to its loss.
    batch_size : int, default=512
        Number of events in a step.
    epochs : int, default=20
        Passes over the events.
    user, item, timestamp : str, default="user", "item", "timestamp"
        Columns of the log; ``timestamp=None`` says that events have no time. See
        `read_interactions`.
    user_features, item_features : sequence of str, optional
        Columns of categorical features. `user_features` may contain the column `user` itself:
        then each user has a vector of its own, besides the history.
    validation : float, optional
        The share of users whose last event is held out, for metrics after each epoch. Only
        users to whom the item of this event is new can be chosen. A user's features are those
        of the last event, even if it is held out. So features that change from event to event
        reveal something about it.
    early_stopping : int, optional
        Training ends after this number of epochs in which NDCG@50 of the held-out events did
        not improve. The result is the model of the best epoch.
    num_threads : int, optional
        Threads; by default Numba's setting.
    seed : int, default=1
        Seed of all random draws.

    Attributes
    ----------
    log_ : Interactions
        The events of the log, with all keys.
    item_vectors_ : ndarray of float32, shape (num_items, embedding_dim)
        Vectors of the items, in the order of ``log_.item_keys``; with `normalize`, of length 1.
    history_ : list of dict
        For each epoch: mean loss, learning rate, events, seconds, events per second, and metrics
        of the held-out events.

    See Also
    --------
    read_interactions : what logs can be, and how they are read
    SampledSoftmax : the same idea as a layer for your own model

    Notes
    -----
    Several Python threads can use one model. `fit` and `partial_fit` wait for each other. Queries
    run at the same time. While a model learns, queries use the result of the previous fit.

    P. Covington, J. Adams, E. Sargin, "Deep Neural Networks for YouTube Recommendations",
    RecSys 2016, section 3. Log Q: X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for
    Large Corpus Item Recommendations", RecSys 2019, section 4; its streaming estimate serves
    `partial_fit` with "in_batch" and "mixed". Adagrad: J. Duchi et al., JMLR 12 (2011).

    Examples
    --------
    >>> log = {"user": ["ann"] * 3 + ["bob"] * 3, "item": list("abcabd"),
    ...        "timestamp": [1, 2, 3, 1, 2, 3]}
    >>> model = YouTubeDNN(8, epochs=2).fit(log, progress=False)
    >>> found = model.recommend(["ann"], k=2)
    >>> found.users, found.items.shape, bool("a" in found.items)
    (array(['ann'], dtype=object), (1, 2), False)
    """

    _takes = ("two_d_array", "sparse", "categorical")

    def __init__(
        self, embedding_dim: int = 32, *, hidden_units: Sequence[int] = (64,),
        history_length: int = 50, num_sampled: int = 255, sampler: ItemSampler = "unigram",
        distortion: float = 1.0, subtract_log_q: bool = True, normalize: bool = True,
        temperature: float = 0.05, optimizer: Literal["adagrad", "sgd"] = "adagrad",
        learning_rate: float | None = None, l2: float = 0.0, batch_size: int = 512,
        epochs: int = 20, user: str = "user", item: str = "item",
        timestamp: str | None = "timestamp", user_features: Sequence[str] = (),
        item_features: Sequence[str] = (), validation: float | None = None,
        early_stopping: int | None = None, num_threads: int | None = None, seed: int = 1,
    ) -> None:
        self.embedding_dim = embedding_dim
        self.hidden_units = hidden_units
        self.history_length = history_length
        self.num_sampled = num_sampled
        self.sampler = sampler
        self.distortion = distortion
        self.subtract_log_q = subtract_log_q
        self.normalize = normalize
        self.temperature = temperature
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.l2 = l2
        self.batch_size = batch_size
        self.epochs = epochs
        self.user = user
        self.item = item
        self.timestamp = timestamp
        self.user_features = user_features
        self.item_features = item_features
        self.validation = validation
        self.early_stopping = early_stopping
        self.num_threads = num_threads
        self.seed = seed

    @alone
    def fit(
        self, interactions: Any, y: Any = None, *,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto", checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_minutes: float = 10.0, resume: bool = False,
        cluster: RayCluster | None = None,
    ) -> Self:
        """Learn from a log of events.

        Parameters
        ----------
        interactions
            An `Interactions`, or what `read_interactions` takes: tables, Parquet and CSV
            files, arrays, sparse matrices. An array may also hold floats, which steps of a
            pipeline may pass, if all of them are whole numbers below 2**53.
        y : optional
            Not used; scikit-learn's pipelines pass it.
        callbacks : callable or list of callables
            Each is called with a `TrainingEvent`. If one raises `StopTraining`, training ends as
            if all epochs were done. After any other exception, the model is that of the last
            finished epoch, if there is one.
        progress : {"auto", True, False}
            Whether a bar is shown; see `Progress`.
        checkpoint : path, optional
            A folder for checkpoints; it keeps the last two.
        checkpoint_minutes : float
            How often a checkpoint is written; one is also written at the end.
        resume : bool, default=False
            Continue from the newest checkpoint of the folder, if it has one. The result has the
            same bits as that of a run without interruption. A finished run continues if
            `epochs` is larger now.
        cluster : RayCluster, optional
            Machines to train on; see `RayCluster`. All of them must see the folder for checkpoints
            under the same path. Samplers that learn from batch to batch are not possible:
            "learned_unigram", and in `partial_fit` also "in_batch" and "mixed". Take Adagrad:
            with "sgd", rows become the mean of what the blocks of a round made of them.

        Returns
        -------
        YouTubeDNN
            Itself.

        Raises
        ------
        ArgumentError
            If a parameter or the log cannot be used; the model is then the one before the call.
        TrainingDivergedError
            If the loss becomes NaN or infinite. The model is that of the last finished epoch,
            if there is one.
        KeyboardInterrupt
            After Ctrl-C, when the current step is finished and a checkpoint is written. The
            model has learned up to this step, if there was one. A second Ctrl-C ends at once: the
            model is then that of the last finished epoch, or the one before the call. SIGTERM,
            SIGHUP and SIGUSR1 have the same effect. If nobody catches the exception, the process
            ends with the exit status of the signal.
        """
        options = self._checked()
        require_distinct({"checkpoint": checkpoint}, {"interactions": interactions})
        session = FitSession(
            self, options, callbacks, progress, checkpoint, checkpoint_minutes,
            folder=checkpoints_of(cluster),
        )
        if cluster is not None:
            require_able(session, cluster)
        found = session.newest(resume)  # what it refuses is told before the log is read
        with use_threads(options["num_threads"]):
            events = self._read(interactions, None, progress)
            if cluster is None:
                run = begin(session, events, found)
                del found  # it is as large as the model, and no longer needed
                run.run()
            else:
                with cluster.open() as machines:
                    begin_on_cluster(session, events, machines, cluster.sizes(), found).run()
        return self

    @alone
    def partial_fit(
        self, interactions: Any, y: Any = None, *,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto", cluster: RayCluster | None = None,
    ) -> Self:
        """Continue training on further events; new users, items and values of features are added.

        Old events remain in the histories, but the model learns from new events only.

        Parameters
        ----------
        interactions, y, callbacks, progress, cluster
            As in `fit`. An `Interactions` must have been read with ``known=model.log_``.

        Returns
        -------
        YouTubeDNN
            Itself.
        """
        if not hasattr(self, "log_"):
            return self.fit(
                interactions, callbacks=callbacks, progress=progress, cluster=cluster
            )
        options = self._checked()
        for name in _SHAPE:
            if options[name] != self._options[name]:
                _checks.fail(name, f"{self._options[name]!r}, as before", repr(options[name]))
        session = FitSession(
            self, options, callbacks, progress, folder=checkpoints_of(cluster)
        )
        if cluster is not None:
            require_able(session, cluster)
        with use_threads(options["num_threads"]):
            events = self._read(interactions, self.log_, progress)
            if cluster is None:
                go_on(session, events).run()
            else:
                with cluster.open() as machines:
                    go_on_cluster(session, events, machines, cluster.sizes()).run()
        return self

    def _publish(
        self, log: Interactions, model: RetrievalModel, options: dict[str, Any],
        rows: FeatureRows, item_rows: Integers, stream: dict[str, Any],
        history: list[dict[str, Any]],
    ) -> None:
        """Set the result of a run, or of a file."""
        vectors = model.item_vectors(item_rows)
        # In one call, so that a query in another thread finds the log and the model of one run.
        vars(self).update(
            log_=log, history_=history, item_vectors_=vectors, _model=model, _options=options,
            _rows=rows, _item_rows=item_rows, _stream=stream,
        )

    def _pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, layout = pack_log(self.log_)
        stream, sampler = packed_state(self._stream)
        state = {
            "options": self._options, "history": self.history_, "log": layout, "sampler": sampler
        }
        return {**self._model.arrays(), **arrays, **stream}, state

    def _unpack(self, name: str, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        # What the file says it was trained with is checked as what a caller says.
        given = state["options"]
        options = self._of_parameters(given)._checked()
        if options != given:
            _checks.fail("options", f"{options}", f"{given}")
        log = unpack_log(name, arrays, state["log"])
        require_tables(arrays, options, log)
        data = TrainingSet.of(log, options | {"validation": None})
        model = data.make_model(options, 0)
        model.load(arrays)
        stream = unpacked_state(arrays, state["sampler"])
        size = options["batch_size"]  # what a further fit goes on from is to be sound as well
        resume_sampler(model.sampler, options["sampler"], stream, log.counts(), size, size)
        history = checked_history("history", state["history"])
        self._publish(log, model, given, data.rows, data.events.item_rows, stream, history)

    def _read(self, source: Any, known: Interactions | None, progress: Show) -> Interactions:
        if isinstance(source, Interactions):
            return self._check_columns(source)
        return read_interactions(
            integer_events("interactions", source), user=self.user, item=self.item,
            timestamp=self.timestamp,
            **feature_columns(self.get_params()), known=known, progress=progress,
        )

    def _check_columns(self, source: Interactions) -> Interactions:
        """Return the log with the features that the model is to know, and no others."""
        chosen: dict[str, Any] = {}
        for kind, wanted in feature_columns(self.get_params()).items():
            there = getattr(source, kind)
            for name in wanted:
                if name not in there:
                    _checks.fail(kind, f"features of the log: {', '.join(there) or 'none'}", name)
            chosen[kind] = {name: there[name] for name in wanted}
        return replace(source, **chosen)

    def _checked(self) -> dict[str, Any]:
        """Return the checked parameters with their defaults, as JSON values."""
        return checked_parameters(self.get_params())
