"""The tables of a retrieval model before it learns, by pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numba_ss._types import Arrays, Float32s
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.tower import Tower

_PIECE = 2**16  # rows that are drawn at a time on the way to others


class FirstRows:
    """Random tables, or those that a model has learned.

    All random numbers are one stream: items, then features, then the network. It is cheapest to
    ask for pieces in this order. The row after the last item stands for an empty history, and the
    `unknown` rows of features are zero. `learned` are the arrays of a model, if there is one.
    """

    def __init__(
        self, num_items: int, num_feature_rows: int, options: Options,
        unknown: Sequence[int] = (), learned: Arrays | None = None,
    ) -> None:
        self.options, self.unknown = options, np.array(unknown, np.int64)
        self._learned = learned
        self._seed = [options.seed, num_items, num_feature_rows]
        self._starts = {"items": 0, "features": num_items + 1}
        self._total = num_items + 1 + num_feature_rows
        self._restart()
        squares, network = int(options.adaptive), self._tower(np.random.default_rng(0))
        self.shapes = {
            "items": (num_items + 1, options.dim), "item_squares": (num_items + 1, squares),
            "features": (num_feature_rows, options.dim),
            "feature_squares": (num_feature_rows, squares),
            "dense": (1, len(network.dense)), "dense_squares": (1, len(network.squares)),
        }

    def rows(self, table: str, start: int, stop: int) -> Float32s:
        """Return the rows from `start` to `stop` of a table of `shapes`."""
        shape = self.shapes[table]
        if self._learned is not None:
            return self._learned[table].reshape(shape)[start:stop]
        if table in self._starts:
            rows = self._random(self._starts[table] + start, stop - start)
            if table == "features":
                unknown = self.unknown[(self.unknown >= start) & (self.unknown < stop)]
                rows[unknown - start] = 0
            return rows
        if table == "dense":
            return self.network().dense[None][start:stop]
        return np.zeros((stop - start, shape[1]), np.float32)

    def network(self) -> Tower:
        """Return the random network."""
        self._skip_to(self._total)
        self._at = self._total + 1
        return self._tower(self._rng)

    def _tower(self, rng: np.random.Generator) -> Tower:
        o = self.options
        return Tower(o.dim, o.hidden_units, o.num_features, o.adaptive, rng)

    def _random(self, start: int, count: int) -> Float32s:
        """Return rows of about unit length."""
        self._skip_to(start)
        self._at = start + count
        rows = self._rng.standard_normal((count, self.options.dim), np.float32)
        rows *= np.float32(self.options.dim**-0.5)
        return rows

    def _skip_to(self, row: int) -> None:
        if row < self._at:
            self._restart()
        while self._at < row:
            count = min(_PIECE, row - self._at)
            self._rng.standard_normal((count, self.options.dim), np.float32)
            self._at += count

    def _restart(self) -> None:
        self._rng, self._at = np.random.default_rng(self._seed), 0
