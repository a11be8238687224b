"""Queries of a fitted retrieval model: vectors, recommendations and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import of_a_moment
from numba_ss._types import Integers, PathLike
from numba_ss.engine.top_k import TopK, top_k
from numba_ss.kernels.core.threads import use_threads
from numba_ss.logs.columns import Place, as_array, named_columns, named_rows
from numba_ss.logs.interactions import Interactions, read_interactions
from numba_ss.logs.keys import GrowingKeys, Keys
from numba_ss.retrieval.examples import Events
from numba_ss.retrieval.growth import FeatureRows, require_growth, unknown_keys
from numba_ss.retrieval.held_out import JUDGED, LONGEST, MONITORED
from numba_ss.retrieval.id_vectors import save_vectors
from numba_ss.retrieval.metrics import ranking_metrics
from numba_ss.retrieval.model import RetrievalModel
from numba_ss.retrieval.nearest import Index
from numba_ss.training.estimator import Estimator, integer_events

_MOST = 2**20  # items for a user, if there are fewer


class Recommendations(NamedTuple):
    """Items for users, best first, in the caller's own keys.

    Attributes
    ----------
    users : ndarray, shape (n,)
        Keys of users, or names of histories; without names, 0, 1, ...
    items : ndarray, shape (n, k)
        Keys of items. If there are fewer than k items, the rest is None, or -2**63 among integers.
    scores : ndarray of float32, shape (n, k)
        Inner products of the vectors, in descending order; -inf if there are no more items.

    Examples
    --------
    >>> from numba_ss import YouTubeDNN
    >>> log = {"user": ["ann"] * 3 + ["bob"] * 3, "item": list("abcabd"),
    ...        "timestamp": [1, 2, 3, 1, 2, 3]}
    >>> found = YouTubeDNN(8, epochs=2).fit(log, progress=False).recommend(["ann"], k=2)
    >>> list(found.columns())
    ['user', 'item', 'rank', 'score']
    """

    users: NDArray[Any]
    items: NDArray[Any]
    scores: NDArray[np.float32]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of a table with a row for each recommendation.

        Returns
        -------
        dict of ndarray
            "user", "item", "rank" (1 is the best) and "score". pyarrow, pandas and polars make a
            table of it.
        """
        there = np.isfinite(self.scores)
        rank = np.broadcast_to(np.arange(1, self.scores.shape[1] + 1), self.scores.shape)
        return {
            "user": np.repeat(self.users, there.sum(axis=1)), "item": self.items[there],
            "rank": rank[there], "score": self.scores[there],
        }


class Queries(Estimator):
    """The methods of `YouTubeDNN` that query a fitted model.

    They do not change the model, so several Python threads may call them at once.
    """

    user: str
    item: str
    num_threads: int | None
    log_: Interactions
    item_vectors_: NDArray[np.float32]
    history_: list[dict[str, Any]]
    _model: RetrievalModel
    _options: dict[str, Any]
    _rows: FeatureRows
    _item_rows: Integers
    _stream: dict[str, Any]

    @of_a_moment
    def user_vectors(
        self, users: ArrayLike | None = None, *, histories: Any = None, features: Any = None
    ) -> NDArray[np.float32]:
        """Return the vectors of users, after all their events.

        Parameters
        ----------
        users : array of keys, shape (n,), optional
            Users; by default all, in the order of ``log_.user_keys``. An unknown user has an
            empty history and unknown features.
        histories : sequence of n sequences of keys, or dict of such, optional
            Instead of `users`: the items of anybody, in order of time. It may be a column of
            lists of any library, or a dict of lists by name. Unknown items are ignored.
        features : dict of str to array of shape (n,), data frame or table, optional
            For `histories`: the values of `user_features`.

        Returns
        -------
        ndarray of float32, shape (n, embedding_dim)
            With `normalize`, vectors of length 1.
        """
        return self._vectors(self._queries(users, histories, features)[1])

    @of_a_moment
    def recommend(
        self, users: ArrayLike | None = None, k: int = 10, *,
        histories: Any = None, features: Any = None, exclude_seen: bool = True,
        index: Index | None = None,
    ) -> Recommendations:
        """Recommend the items that users probably take next.

        Parameters
        ----------
        users, histories, features : optional
            See `user_vectors`.
        k : int, default=10
            Number of items for each user.
        exclude_seen : bool, default=True
            Whether to leave out items of the user's events, or of the given history.
        index : Index, optional
            Searches for the items, such as a `FaissIndex` filled by `fill_index`. By default all
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
        """Compute metrics of recommendations from events that came later.

        Parameters
        ----------
        test
            The second part of `leave_one_out` or `split_by_time`, or any other log. Only the
            columns of users and items are used.
        k : int or sequence of int
            Ranks to cut at.
        exclude_seen : bool, default=True
            Whether items of the user's earlier events are neither recommended nor count as
            relevant.
        index : Index, optional
            See `recommend`.

        Returns
        -------
        dict
            The metrics of `ranking_metrics`, and "protocol", a text that says what was
            evaluated and how many users and items are unknown. If most are unknown, a warning
            is logged.
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
            seen, offsets = events.seen()
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
        """Return NDCG@50 of a further log without seen items, for scikit-learn's searches.

        Parameters
        ----------
        interactions
            See `test` of `evaluate`.
        y : optional
            Not used.
        """
        return float(self.evaluate(interactions, JUDGED)[MONITORED])

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
        """The number of columns of the log as an array, for scikit-learn: 2, or 3 with times."""
        return 2 if self.log_.timestamps is None else 3

    def _read_test(self, source: Any) -> Interactions:
        # The order of events and their features are not used.
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
        """Return the keys of the users or names of the histories, and their events."""
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
        """Replace unknown user features by the given values."""
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
        """Return all events of users; -1 stands for an unknown user, who has none."""
        begins, known = self.log_.offsets, codes >= 0
        starts = np.where(known, begins[codes], 0)
        ends = np.where(known, begins[1:][codes], 0)
        return Events(
            self.log_.items, starts, ends, self._rows.of_users(self.log_, codes), self._item_rows
        )

    def _vectors(self, events: Events) -> NDArray[np.float32]:
        options = self._model.options
        length = LONGEST if options.unordered else options.history_length
        with use_threads(_checks.threads(self.num_threads)):
            return self._model.user_vectors(events, length)

    def _search(self, events: Events, k: int, exclude_seen: bool, index: Index | None) -> TopK:
        k = _checks.integer("k", k, 1, max(_MOST, len(self.item_vectors_)))
        vectors = self._vectors(events)
        exclude = None
        if _checks.flag("exclude_seen", exclude_seen):
            exclude = events.seen()
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


def _codes(name: str, keys: Keys, values: ArrayLike) -> Integers:
    try:
        return keys.codes(values)
    except _checks.ArgumentError as error:
        raise _checks.ArgumentError(name + str(error).removeprefix("values")) from None
