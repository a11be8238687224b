"""Item retrieval in the manner of YouTubeDNN: from who took what to what they take next."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone, of_a_moment
from numba_ss.engine.by_name import ITEM_SAMPLERS
from numba_ss.engine.top_k import TopK, top_k
from numba_ss.io.checkpoint import checked_history, read_state, reading, write_state
from numba_ss.io.files import PathLike, require_distinct, whole_file
from numba_ss.kernels.core.threads import use_threads
from numba_ss.logs.columns import Place, as_array, named_columns, named_rows
from numba_ss.logs.interactions import Interactions, column_names, read_interactions
from numba_ss.logs.keys import GrowingKeys, Keys
from numba_ss.retrieval.growth import (
    FeatureRows,
    pack_log,
    require_growth,
    require_tables,
    unknown_keys,
    unpack_log,
)
from numba_ss.retrieval.id_vectors import save_vectors
from numba_ss.retrieval.metrics import ranking_metrics
from numba_ss.retrieval.model import Events, Integers, RetrievalModel
from numba_ss.retrieval.nearest import Index
from numba_ss.retrieval.run import MONITORED
from numba_ss.retrieval.samplers import continued, packed_state, unpacked_state
from numba_ss.retrieval.session import JUDGED, LONGEST, Session
from numba_ss.training.estimator import Estimator, integer_events
from numba_ss.training.session import TrainingEvent

log = logging.getLogger("numba_ss")

OPTIMIZERS = {"adagrad": 0.1, "sgd": 10.0}  # with the learning rate that each takes
# Parameters that say which numbers a model has.
_SHAPE = (
    "embedding_dim", "hidden_units", "optimizer", "user", "user_features", "item_features"
)


class Recommendations(NamedTuple):
    """Items for users, best first, in the caller's own keys.

    Attributes
    ----------
    users : ndarray, shape (n,)
        Keys of users, or of histories that were given their names, or else 0, 1, ...
    items : ndarray, shape (n, k)
        Keys of items. Where there are no more items it is None, or -2**63 among integers.
    scores : ndarray of float32, shape (n, k)
        Inner products of the vectors, falling; -inf where there are no more items.
    """

    users: NDArray[Any]
    items: NDArray[Any]
    scores: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return one row a recommendation: user, item, rank from 1 on, score.

        Returns
        -------
        dict of ndarray
            Which pyarrow, pandas and polars make a table of.
        """
        there = np.isfinite(self.scores)
        rank = np.broadcast_to(np.arange(1, self.scores.shape[1] + 1), self.scores.shape)
        return {
            "user": np.repeat(self.users, there.sum(axis=1)), "item": self.items[there],
            "rank": rank[there], "score": self.scores[there],
        }


class YouTubeDNN(Estimator):
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

    log_: Interactions
    item_vectors_: NDArray[np.float32]
    history_: list[dict[str, Any]]
    _model: RetrievalModel
    _options: dict[str, Any]
    _rows: FeatureRows
    _item_rows: Integers
    _stream: dict[str, Any]

    def __init__(
        self, embedding_dim: int = 32, *, hidden_units: Sequence[int] = (64,),
        history_length: int = 50, num_sampled: int = 255, sampler: str = "unigram",
        distortion: float = 1.0, subtract_log_q: bool = True, normalize: bool = True,
        temperature: float = 0.05, optimizer: str = "adagrad",
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
        progress: bool | str = "auto", checkpoint: str | os.PathLike[str] | None = None,
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
            Each is called with a `TrainingEvent`; what it raises ends the training, and the
            model is that of the last finished epoch, if one is.
        progress : {"auto", True, False}
            Whether a bar is shown; see `Progress`.
        checkpoint : path, optional
            A folder for checkpoints; it keeps the last two.
        checkpoint_minutes : float
            How often one is written; there is one at the end as well.
        resume : bool, default=False
            Go on from the newest checkpoint of the folder, if it has one, and end with the
            bits of a run that was not interrupted.

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
        session = Session(self, options, callbacks, progress, checkpoint, checkpoint_minutes)
        with use_threads(options["num_threads"]):
            events = self._read(interactions, None, progress)
            session.start(events, resume)
            session.train()
        return self

    @alone
    def partial_fit(
        self, interactions: Any, y: Any = None, *,
        callbacks: Callable[[TrainingEvent], object] | Sequence[Any] = (),
        progress: bool | str = "auto",
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
        session = Session(self, options, callbacks, progress, None, 1.0)
        with use_threads(options["num_threads"]):
            events = self._read(interactions, self.log_, progress)
            session.go_on(events)
            session.train()
        return self

    @of_a_moment
    def user_vectors(
        self, users: ArrayLike | None = None, *, histories: Any = None, features: Any = None
    ) -> NDArray[np.float32]:
        """Return the vectors of users, after all their events.

        Parameters
        ----------
        users : array of keys, shape (n,), optional
            Users; by default all, in the order of ``log_.user_keys``. One that is not known
            has an empty history, and no known features.
        histories : sequence of n sequences of keys, or dict of such, optional
            Instead of `users`: items of anybody, in order of time; a column of lists of any
            library will do, and a dict has them by name. Unknown ones do not count.
        features : dict of str to array of shape (n,), data frame or table, optional
            With `histories`: values of `user_features`.

        Returns
        -------
        ndarray of float32, shape (n, embedding_dim)
            Of unit length with `normalize`.
        """
        return self._vectors(self._queries(users, histories, features)[1])

    @of_a_moment
    def recommend(
        self, users: ArrayLike | None = None, k: int = 10, *,
        histories: Any = None, features: Any = None, exclude_seen: bool = True,
        index: Index | None = None,
    ) -> Recommendations:
        """Return the items that users take next.

        Parameters
        ----------
        users, histories, features : optional
            See `user_vectors`.
        k : int, default=10
            Items for each.
        exclude_seen : bool, default=True
            Whether items of the user's events, or of the history given, are left out.
        index : Index, optional
            Where to search, such as a `FaissIndex` that `fill_index` filled. By default all
            items are compared, which is exact.

        Returns
        -------
        Recommendations
        """
        keys, events = self._queries(users, histories, features)
        found = self._search(events, k, exclude_seen, index)
        items = self.log_.item_keys.take(np.maximum(found.ids, 0))
        items[found.ids < 0] = None if items.dtype == object else np.iinfo(np.int64).min
        return Recommendations(keys, items, found.scores)

    @of_a_moment
    def fill_index(self, index: Index) -> Index:
        """Add all items to an index, by code, and return it.

        Parameters
        ----------
        index : Index
            An empty one.
        """
        self._require_fit()
        index.add(np.arange(len(self.item_vectors_)), self.item_vectors_)
        return index

    @of_a_moment
    def evaluate(
        self, test: Any, k: int | Sequence[int] = (10, 50), *, exclude_seen: bool = True,
        index: Index | None = None,
    ) -> dict[str, Any]:
        """Judge recommendations by events that came later.

        Parameters
        ----------
        test
            The second part of `leave_one_out` or `split_by_time`, or any log, of which no
            columns but those of users and items are needed.
        k : int or sequence of int
            Ranks to cut at.
        exclude_seen : bool, default=True
            Whether items that a user has had are neither recommended nor asked for.
        index : Index, optional
            See `recommend`.

        Returns
        -------
        dict
            What `ranking_metrics` gives, and as "protocol" what was asked for, in words, and
            how many users and items are not known; if most are not, a warning is logged.
        """
        self._require_fit()
        test = self._read_test(test)
        users = np.flatnonzero(np.diff(test.offsets))
        events = self._events_of(np.where(users < self.log_.num_users, users, -1))
        cuts = [_checks.integer("k", cut, 1) for cut in np.atleast_1d(np.asarray(k))]
        if not cuts:
            _checks.fail("k", "a rank to cut at, or several", "none")
        found = self._search(events, max(cuts), exclude_seen, index)
        owners = np.repeat(np.arange(len(users)), np.diff(test.offsets)[users])
        asked = np.unique(np.stack([owners, test.items.astype(np.int64)], axis=1), axis=0)
        if exclude_seen:
            span = max(test.num_items, self.log_.num_items)
            seen, offsets = _seen(events)
            seen += np.repeat(np.arange(len(users)), np.diff(offsets)) * span
            asked = asked[~np.isin(asked[:, 0] * span + asked[:, 1], seen)]
        if not len(asked):
            _checks.fail("test", "an event of an item that the user has not had", "none")
        figures: dict[str, Any] = dict(
            ranking_metrics(
                found.ids, asked[:, 1], np.searchsorted(asked[:, 0], np.arange(len(users) + 1)),
                cuts, num_items=self.log_.num_items,
            )
        )
        removed = "left out" if exclude_seen else "not left out"
        figures["protocol"] = (
            f"{test.split or 'events of another log'}: all {self.log_.num_items} items ranked, "
            f"seen items {removed}, {len(asked)} events of {figures['users']} users asked for"
        )
        unknown = unknown_keys(self.log_, test)
        if unknown:
            figures["protocol"] += f", {unknown}"
        return figures

    def score(self, interactions: Any, y: Any = None) -> float:
        """Return NDCG@50 of a further log, seen items left out; for scikit-learn's searches.

        Parameters
        ----------
        interactions
            As `test` in `evaluate`.
        y : optional
            Not used.
        """
        return float(self.evaluate(interactions, JUDGED)[MONITORED])

    @of_a_moment
    def save(self, path: PathLike) -> None:
        """Write the whole model, log and keys included, to one file.

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
        arrays, layout = pack_log(self.log_)
        stream, sampler = packed_state(self._stream)
        state = {
            "params": {name: _plain(value) for name, value in self.get_params().items()},
            "options": self._options, "history": self.history_, "log": layout, "sampler": sampler,
        }
        with whole_file(path) as file:
            write_state(file, {**self._model.arrays(), **arrays, **stream}, state)

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
        with open(path, "rb") as file, reading(str(path), "a model that YouTubeDNN.save wrote"):
            arrays, state = read_state(file)
            model = cls._of_parameters(state["params"])
            # What the file says it was trained with is checked as what a caller says.
            given = state["options"]
            options = cls._of_parameters(given)._checked()
            if options != given:
                _checks.fail("options", f"{options}", f"{given}")
            # Nothing is held out now, and so there is nobody to wait for.
            now = options | {"validation": None, "early_stopping": None}
            session = Session(model, now, (), False, None, 1.0)
            log = unpack_log(str(path), arrays, state["log"])
            require_tables(arrays, options, log)
            session.prepare(log, None)
            session.options = given
            session.model.load(arrays)
            session.stream = unpacked_state(arrays, state["sampler"])
            size = options["batch_size"]  # what a further fit goes on from is to be sound as well
            continued(
                session.model.sampler, options["sampler"], session.stream, log.counts(), size, size
            )
            session.state.history = checked_history("history", state["history"])
        session.hand_over()
        return model

    @classmethod
    def _of_parameters(cls, params: dict[str, Any]) -> Self:
        """Return a model with parameters as JSON holds them."""
        plain: Any = {n: tuple(v) if isinstance(v, list) else v for n, v in params.items()}
        return cls(**plain)

    @of_a_moment
    def save_items(self, path: PathLike) -> None:
        """Write the vectors of all items under their keys; `load_vectors` reads them.

        Parameters
        ----------
        path : str or path
            The file, written whole or not at all: ``.npz``, ``.safetensors`` or ``.parquet``
            (columns ``id`` and ``vector``).

        Raises
        ------
        ArgumentError
            If nothing has been learned yet, or the suffix is another one.
        """
        self._require_fit()
        keys = self.log_.item_keys
        save_vectors(path, keys.take(np.arange(len(keys))), self.item_vectors_)

    @of_a_moment
    def save_users(self, path: PathLike) -> None:
        """Write the vectors of all users, after all their events, as `save_items` does.

        Parameters
        ----------
        path : str or path
            The file.
        """
        self._require_fit()
        keys = self.log_.user_keys
        save_vectors(path, keys.take(np.arange(len(keys))), self.user_vectors())

    @property
    def n_features_in_(self) -> int:
        """Columns of these events as an array: 2, or 3 with times; for scikit-learn."""
        return 2 if self.log_.timestamps is None else 3

    def _read(self, source: Any, known: Interactions | None, progress: bool | str) -> Interactions:
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

    def _read_test(self, source: Any) -> Interactions:
        # The order of events and features are of no account.
        known = replace(self.log_, user_features={}, item_features={})
        test = source if isinstance(source, Interactions) else read_interactions(
            integer_events("test", source), user=self.user, item=self.item,
            timestamp=None, known=known, progress=False,
        )
        for name in ("user_keys", "item_keys"):
            require_growth("test", name, getattr(self.log_, name), getattr(test, name))
        return test

    def _queries(
        self, users: ArrayLike | None, histories: Any, features: Any
    ) -> tuple[NDArray[Any], Events]:
        """Return whom is asked about, and their events."""
        self._require_fit()
        if histories is None:
            if features is not None:
                _checks.fail("features", "None, where no histories are given", "some")
            if users is None:
                codes = np.arange(self.log_.num_users)
                return self.log_.user_keys.take(codes), self._events_of(codes)
            keys = as_array("users", users)
            codes = _codes("users", self.log_.user_keys, keys)
            kind = np.int64 if self.log_.user_keys.kind == "integer" else object
            return keys.astype(kind), self._events_of(codes)
        if users is not None:
            _checks.fail("users, histories", "one of the two", "both")
        keys, given = named_rows("histories", histories)
        found = [self._item_codes(f"histories[{i}]", items) for i, items in enumerate(given)]
        offsets = np.cumsum([0, *map(len, found)])
        items = np.concatenate([np.empty(0, np.int32), *found]).astype(np.int32)
        rows = self._rows.of_users(self.log_, np.full(len(found), -1))
        if features is not None:
            self._set_features(rows, named_columns("features", features))
        events = Events(items, offsets[:-1], offsets[1:], rows, self._item_rows)
        return keys, events

    def _item_codes(self, name: str, items: ArrayLike | None) -> Integers:
        if items is None or not np.size(items):
            return np.empty(0, np.int64)
        codes = _codes(name, self.log_.item_keys, items)
        return codes[codes >= 0]

    def _set_features(self, rows: Integers, features: dict[str, Any]) -> None:
        """Put given values of user features in the place of unknown ones."""
        names = list(self.log_.user_features)
        for name, values in features.items():
            if name not in names:
                _checks.fail("features", f"names among {', '.join(names) or 'none'}", repr(name))
            place, keys = Place(f"features[{name!r}]"), self.log_.user_features[name].keys
            codes = GrowingKeys(keys).encode(as_array(place.name, values), place, feature=True)
            codes[codes >= len(keys)] = -1
            if len(codes) != len(rows):
                _checks.fail(place.name, f"{len(rows)} values", len(codes))
            column = names.index(name) + self._rows.by_id
            rows[:, column] = self._rows.user[column] + 1 + codes

    def _events_of(self, codes: Integers) -> Events:
        """Return all events of users; -1 is one that is not known, and has none."""
        begins, known = self.log_.offsets, codes >= 0
        starts = np.where(known, begins[codes], 0)
        ends = np.where(known, begins[1:][codes], 0)
        return Events(
            self.log_.items, starts, ends, self._rows.of_users(self.log_, codes), self._item_rows
        )

    def _vectors(self, events: Events) -> NDArray[np.float32]:
        o = self._model.options
        with use_threads(_checks.threads(self.num_threads)):
            return self._model.user_vectors(events, LONGEST if o.unordered else o.history_length)

    def _search(self, events: Events, k: int, exclude_seen: bool, index: Index | None) -> TopK:
        k = _checks.integer("k", k, 1)
        vectors = self._vectors(events)
        exclude = None
        if _checks.flag("exclude_seen", exclude_seen):
            exclude = _seen(events)
        if index is not None:
            return index.search(vectors, k, exclude)
        with use_threads(_checks.threads(self.num_threads)):
            found = top_k(
                self.item_vectors_, np.zeros(len(self.item_vectors_), np.float32), vectors,
                min(k, len(self.item_vectors_)), exclude,
            )
        missing = ((0, 0), (0, k - found.ids.shape[1]))
        return TopK(
            np.pad(found.scores, missing, constant_values=-np.inf),
            np.pad(found.ids, missing, constant_values=-1),
        )

    def _checked(self) -> dict[str, Any]:
        """Return the parameters, checked and with their defaults, as JSON holds them."""
        c = _checks
        optimizer = c.choice("optimizer", self.optimizer, OPTIMIZERS)
        rate = OPTIMIZERS[optimizer] if self.learning_rate is None else self.learning_rate
        share = self.validation
        if share is not None:
            share = c.number("validation", share)
            if not 0 < share <= 1:
                c.fail("validation", "a share in (0, 1], or None", share)
        patience = self.early_stopping
        if patience is not None:
            patience = c.integer("early_stopping", patience, 1)
            if share is None:
                c.fail("early_stopping", "None, without validation", patience)
        names = {
            kind: list(column_names(kind, getattr(self, kind)))
            for kind in ("user_features", "item_features")
        }
        return {
            "embedding_dim": c.integer("embedding_dim", self.embedding_dim, 1, 2**16),
            "hidden_units": _check_units(self.hidden_units),
            "history_length": c.integer("history_length", self.history_length, 1, LONGEST),
            "num_sampled": c.integer("num_sampled", self.num_sampled, 1),
            "sampler": c.choice("sampler", self.sampler, ITEM_SAMPLERS),
            "distortion": _checks.bounded("distortion", self.distortion, -2, 2),
            "subtract_log_q": c.flag("subtract_log_q", self.subtract_log_q),
            "normalize": c.flag("normalize", self.normalize),
            "temperature": _checks.bounded("temperature", self.temperature, 1e-6, 1e6),
            "optimizer": optimizer,
            "learning_rate": _checks.bounded("learning_rate", rate, 0, 1e6),
            "l2": _checks.bounded("l2", self.l2, 0, 1e6),
            "batch_size": c.integer("batch_size", self.batch_size, 1, 2**20),
            "epochs": c.integer("epochs", self.epochs, 1),
            "user": self.user,
            "item": self.item,
            "timestamp": self.timestamp,
            "validation": share,
            "early_stopping": patience,
            "num_threads": _checks.threads(self.num_threads),
            "seed": c.integer("seed", self.seed, 0, 2**31 - 1),
            **names,
        }


def _seen(events: Events) -> tuple[Integers, Integers]:
    """Return the items of users, one user's after the other's, and their offsets."""
    sizes = events.ends - events.offsets
    offsets = np.append(0, np.cumsum(sizes))
    places = np.arange(offsets[-1]) + np.repeat(events.offsets - offsets[:-1], sizes)
    return events.items[places].astype(np.int64), offsets


def _codes(name: str, keys: Keys, values: ArrayLike) -> Integers:
    try:
        return keys.codes(values)
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(name + str(error).removeprefix("values")) from None


def _check_units(value: Any) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        _checks.fail("hidden_units", "a sequence of widths", repr(value))
    return [
        _checks.integer(f"hidden_units[{i}]", units, 1, 2**16) for i, units in enumerate(value)
    ]


def _plain(value: Any) -> Any:
    """Return a parameter without NumPy's types, which JSON does not hold."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value
