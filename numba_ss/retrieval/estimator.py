"""Item retrieval in the manner of YouTubeDNN: from who took what to what they take next."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers, Show
from numba_ss.engine.by_name import ItemSampler
from numba_ss.io.checkpoint import checked_history
from numba_ss.io.files import require_distinct
from numba_ss.kernels.core.threads import use_threads
from numba_ss.logs.interactions import Interactions, read_interactions
from numba_ss.retrieval.growth import FeatureRows, pack_log, require_tables, unpack_log
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.parameters import checked_parameters
from numba_ss.retrieval.queries import Queries
from numba_ss.retrieval.samplers import continued, packed_state, unpacked_state
from numba_ss.retrieval.start import begin, go_on
from numba_ss.retrieval.training_set import TrainingSet
from numba_ss.training.estimator import integer_events
from numba_ss.training.events import TrainingEvent
from numba_ss.training.session import FitSession

# Parameters that say which numbers a model has.
_SHAPE = (
    "embedding_dim", "hidden_units", "optimizer", "user", "user_features", "item_features"
)


class YouTubeDNN(Queries):
    r"""Users and items as vectors, such that what a user takes next is near the user.

    A user is the output u of a ReLU network, whose inputs are the mean of the items of the
    user's history and the vectors of categorical features; an item v is the sum of a row of
    its own and those of its features. The same items stand in histories. Each event, an item
    i that a user took, is told from `num_sampled` items N by

    .. math:: -\log \frac{e^{s(i)}}{e^{s(i)} + \sum_{j \in N} e^{s(j)}}, \qquad
       s(j) = \frac{1}{\tau} \frac{u^\top v_j}{\|u\| \|v_j\|} - [\log Q(j)],

    with the temperature :math:`\tau` and Q(j), how often j is expected in N. A step costs the
    same for any number of items. Every result is the same, bit for bit, for any number of
    threads.

    Parameters
    ----------
    embedding_dim : int, default=32
        Length of a vector.
    hidden_units : sequence of int, default=(64,)
        Widths of the ReLU layers; a linear one to `embedding_dim` follows. Without any, a user
        is the sum of the mean history and the features: plain matrix factorisation.
    history_length : int, default=50
        Events before an event that are its history, at most. The history of a user's first
        event is a vector of its own. Where events have no time, so many of the user's others
        are, drawn anew in each epoch; queries take all.
    num_sampled : int, default=255
        Items that are drawn for a batch, at most half of all, and fewer with "unigram" where
        a few items have nearly all events. With "in_batch" none are drawn.
    sampler : {"unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed"}
        "unigram", the default, draws by an item's events to the power of `distortion`;
        "log_uniform" by its rank; "learned_unigram" by the events learned from so far; "in_batch"
        takes the items of the batch, "mixed" those and `num_sampled` uniform ones.
    distortion : float, default=1.0
        Of the sampler "unigram", in [-2, 2].
    subtract_log_q : bool, default=True
        Whether scores are corrected for how often an item is drawn. Without it popular items
        are held down.
    normalize : bool, default=True
        Whether vectors are brought to unit length before they are compared.
    temperature : float, default=0.05
        What inner products are divided by.
    optimizer : {"adagrad", "sgd"}, default="adagrad"
        Adagrad, one number a row of the tables, or plain gradient descent.
    learning_rate : float, optional
        By default 0.1 for "adagrad" and 10 for "sgd".
    l2 : float, default=0.0
        Decay of the rows that a batch touches: the loss has l2 / 2 times their squares.
    batch_size : int, default=512
        Events a step.
    epochs : int, default=20
        Passes over the events.
    user, item, timestamp : str, default="user", "item", "timestamp"
        Columns of the log; ``timestamp=None`` says that events have no time. See
        `read_interactions`.
    user_features, item_features : sequence of str, optional
        Columns of categorical features. The column `user` itself may be among the first: then
        each user has a vector of its own besides the history.
    validation : float, optional
        Share of the users whose last event is held out and asked for after each epoch, of
        those to whom its item is new. A user's features are those of the last event, held out
        or not: where they change from event to event, they tell of it.
    early_stopping : int, optional
        Epochs without a better NDCG@50 of the held-out events after which training ends; the
        model is then that of the best epoch.
    num_threads : int, optional
        Threads; by default Numba's setting.
    seed : int, default=1
        Of all that is drawn.

    Attributes
    ----------
    log_ : Interactions
        The events learned from, with all keys.
    item_vectors_ : ndarray of float32, shape (num_items, embedding_dim)
        Vectors of the items, in the order of ``log_.item_keys``; of unit length with
        `normalize`.
    history_ : list of dict
        For each epoch its mean loss, learning rate, events, seconds, events a second, and
        figures of the held-out events.

    See Also
    --------
    read_interactions : what logs can be, and how they are read
    SampledSoftmax : the same idea as a layer for other people's models

    Notes
    -----
    Several Python threads can use one model. `fit` and `partial_fit` wait for each other; what
    asks the model runs side by side, and while it learns is answered by what it had learned
    before.

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
    ) -> Self:
        """Learn from a log of events.

        Parameters
        ----------
        interactions
            An `Interactions`, or what `read_interactions` takes: tables, Parquet and CSV
            files, arrays, sparse matrices. An array may also be one of floats, as steps of a
            pipeline hand them on, if all are whole numbers below 2**53.
        y : optional
            Not used; for the sake of scikit-learn's pipelines.
        callbacks : callable or list of callables
            Each is called with a `TrainingEvent`. `StopTraining` ends the training as if all
            epochs were done; after any other exception the model is that of the last finished
            epoch, if one is.
        progress : {"auto", True, False}
            Whether a bar is shown; see `Progress`.
        checkpoint : path, optional
            A folder for checkpoints; it keeps the last two.
        checkpoint_minutes : float
            How often one is written; there is one at the end as well.
        resume : bool, default=False
            Go on from the newest checkpoint of the folder, if it has one, and end with the
            bits of a run that was not interrupted. A finished run goes on if `epochs` is
            larger now.

        Returns
        -------
        YouTubeDNN
            Itself.

        Raises
        ------
        ArgumentError
            If a parameter or the log cannot be used; what was learned before stays.
        TrainingDivergedError
            If the loss becomes NaN or infinite; the model is that of the last finished epoch,
            if one is.
        KeyboardInterrupt
            After Ctrl-C, when the step is finished and a checkpoint written; the model is as
            far as it got. A second Ctrl-C ends at once, and the last finished epoch or what was
            learned before stays. SIGTERM, SIGHUP and SIGUSR1 do as Ctrl-C does, and the
            exception then ends a process that does not catch it with their exit status.
        """
        options = self._checked()
        require_distinct({"checkpoint": checkpoint}, {"interactions": interactions})
        session = FitSession(self, options, callbacks, progress, checkpoint, checkpoint_minutes)
        with use_threads(options["num_threads"]):
            begin(session, self._read(interactions, None, progress), resume).run()
        return self

    @alone
    def partial_fit(
        self, interactions: Any, y: Any = None, *,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: Show = "auto",
    ) -> Self:
        """Learn on from further events; new users, items and values of features join.

        Old events stay in the histories, but only new ones are learned from.

        Parameters
        ----------
        interactions, y, callbacks, progress
            As in `fit`; an `Interactions` is one that was read with ``known=model.log_``.

        Returns
        -------
        YouTubeDNN
            Itself.
        """
        if not hasattr(self, "log_"):
            return self.fit(interactions, callbacks=callbacks, progress=progress)
        options = self._checked()
        for name in _SHAPE:
            if options[name] != self._options[name]:
                _checks.fail(name, f"{self._options[name]!r}, as before", repr(options[name]))
        session = FitSession(self, options, callbacks, progress)
        with use_threads(options["num_threads"]):
            go_on(session, self._read(interactions, self.log_, progress)).run()
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
        continued(model.sampler, options["sampler"], stream, log.counts(), size, size)
        history = checked_history("history", state["history"])
        self._publish(log, model, given, data.rows, data.events.item_rows, stream, history)

    def _read(self, source: Any, known: Interactions | None, progress: Show) -> Interactions:
        if isinstance(source, Interactions):
            return self._check_columns(source)
        return read_interactions(
            integer_events("interactions", source), user=self.user, item=self.item,
            timestamp=self.timestamp,
            user_features=[name for name in self.user_features if name != self.user],
            item_features=list(self.item_features), known=known, progress=progress,
        )

    def _check_columns(self, source: Interactions) -> Interactions:
        """Return the log with the features that the model is to know, and no others."""
        chosen: dict[str, Any] = {}
        for kind in ("user_features", "item_features"):
            there = getattr(source, kind)
            wanted = [name for name in getattr(self, kind) if name != self.user]
            for name in wanted:
                if name not in there:
                    _checks.fail(kind, f"features of the log: {', '.join(there) or 'none'}", name)
            chosen[kind] = {name: there[name] for name in wanted}
        return replace(source, **chosen)

    def _checked(self) -> dict[str, Any]:
        """Return the parameters, checked and with their defaults, as JSON holds them."""
        return checked_parameters(self.get_params())
