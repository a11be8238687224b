"""Search for the items with the highest inner product with a query: exactly, or by faiss."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone, reading
from numba_ss._optional import import_optional
from numba_ss._types import Integers
from numba_ss.engine.top_k import TopK, packed_exclusions, sorted_exclusions, top_k
from numba_ss.retrieval.metrics import find

Vectors = NDArray[np.float32]
Exclusions = ArrayLike | Sequence[ArrayLike] | tuple[Integers, Integers] | None

# Ids that faiss returns in one call before excluded ones are removed: 8 MB.
_ANSWER = 2**20


class Index(Protocol):
    """The protocol of an index: items with vectors, and a search by inner product.

    Functions that take an index take any object with these two methods.

    Examples
    --------
    >>> index: Index = ExactIndex()
    >>> index.add([10, 20], [[1.0, 0.0], [0.0, 1.0]])
    >>> index.search([[2.0, 1.0]], k=1).ids
    array([[10]])
    """

    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add items.

        Parameters
        ----------
        ids : array of integers, shape (n,)
            Their ids, at least 0; distinct, and none of them added before.
        vectors : array, shape (n, dim)
            Their vectors, as float32.
        """

    def search(self, queries: ArrayLike, k: int, exclude: Exclusions = None) -> TopK:
        """Find the items of highest inner product with each query.

        Parameters
        ----------
        queries : array, shape (batch_size, dim)
            Vectors.
        k : int
            Number of items.
        exclude : sequence of sequences of int, or tuple of two arrays, optional
            Ids that are not returned, for each query: sequences, or packed with offsets, as in
            `top_k`. Ids that the index does not have are ignored.

        Returns
        -------
        TopK
            Scores and ids, best first; if fewer than k items were found, the rest is -inf and -1.
        """


def _vectors(name: str, value: ArrayLike, dim: int | None) -> Vectors:
    """Return finite vectors as float32; the caller's own array if it is float32 already."""
    array = _checks.real(name, value)
    _checks.shaped(name, array, (None, dim), f"{'n' if name == 'vectors' else 'batch_size'}, dim")
    with np.errstate(over="ignore"):  # the check below reports infinities
        array = array.astype(np.float32, copy=False)
    if not array.shape[1]:
        _checks.fail(name, "dim >= 1", "0")
    _checks.finite([(name, array, None)])
    return array


class _Ids:
    """The map between the rows of an index and their ids; row -1 has the id -1."""

    def __init__(self) -> None:
        self._ascending = np.empty(0, np.int64)
        # Both end with -1, so that position -1 can be read as well.
        self._ids = self._rows = np.full(1, -1)

    def __len__(self) -> int:
        return len(self._ascending)

    def extended(self, value: ArrayLike, vectors: Vectors) -> _Ids:
        """Return these ids, followed by those of more rows."""
        ids = _checks.ids("ids", value)
        _checks.shaped("ids", ids, (len(vectors),), "n,")
        if ids.size and ids.min() < 0:
            _checks.fail("ids", "ids >= 0", ids.min())
        result, all_ids = _Ids(), np.concatenate([self._ids[:-1], ids])
        order = np.argsort(all_ids, kind="stable")
        result._ascending = ascending = all_ids[order]
        result._ids, result._rows = np.append(all_ids, -1), np.append(order, -1)
        twice = np.flatnonzero(ascending[1:] == ascending[:-1])
        if twice.size:
            again = f"{ascending[twice[0]]} again"
            _checks.fail("ids", "distinct ids, none of them added before", again)
        return result

    def exclusions(self, exclude: Exclusions, batch_size: int) -> tuple[Integers, Integers]:
        """Return the rows to exclude and their offsets; an id without a row becomes -1."""
        ids, offsets = packed_exclusions(exclude, batch_size)
        return self._rows[find(self._ascending, ids)], offsets

    def answer(self, found: TopK, k: int) -> TopK:
        """Return found rows as ids, filled up to k columns."""
        missing = ((0, 0), (0, k - found.ids.shape[1]))
        return TopK(
            np.pad(found.scores, missing, constant_values=-np.inf),
            np.pad(self._ids[found.ids], missing, constant_values=-1),
        )


def _nothing(batch_size: int, k: int) -> TopK:
    """Return an answer without any item."""
    scores = np.full((batch_size, k), -np.inf, np.float32)
    return TopK(scores, np.full((batch_size, k), -1, np.int64))


class ExactIndex:
    """The default index: it compares a query with all items, a block of them at a time.

    Of items with equal scores, the one that was added first comes first.

    Notes
    -----
    Every call of `add` copies all vectors, so add many at a time. A search copies none.

    Examples
    --------
    >>> index = ExactIndex()
    >>> index.add([10, 20, 30], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> index.search([[2.0, 1.0]], k=2, exclude=[[30]])
    TopK(scores=array([[2., 1.]], dtype=float32), ids=array([[10, 20]]))
    """

    def __init__(self) -> None:
        self._ids = _Ids()
        self._table: Vectors | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @alone
    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add items; see `Index.add`."""
        table = self._table
        new = _vectors("vectors", vectors, None if table is None else table.shape[1])
        extended = self._ids.extended(ids, new)
        self._table = new.copy() if table is None else np.concatenate([table, new])
        self._ids = extended

    @reading
    def search(self, queries: ArrayLike, k: int, exclude: Exclusions = None) -> TopK:
        """Find the items of highest inner product with each query; see `Index.search`."""
        table = self._table
        q = _vectors("queries", queries, None if table is None else table.shape[1])
        k = _checks.integer("k", k, 1)
        leave_out = self._ids.exclusions(exclude, len(q))
        if table is None or not len(table):
            return _nothing(len(q), k)
        biases = np.zeros(len(table), np.float32)
        found = top_k(table, biases, q, min(k, len(table)), leave_out)
        return self._ids.answer(found, k)


def _import_faiss() -> Any:
    """Import faiss without the warnings that its wrapper causes in newer versions of Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_optional("faiss", "FaissIndex")


class FaissIndex:
    """An index of faiss by inner product; most kinds are approximate.

    If its kind needs training, it is trained on the vectors of the first call of `add`.

    Parameters
    ----------
    factory : str
        The argument of ``faiss.index_factory``: "Flat" compares all items, "IVF256,Flat" those
        in the nearest of 256 lists, "HNSW32" walks a graph of 32 neighbours an item.
    parameters : dict, optional
        Numbers that ``faiss.ParameterSpace`` sets by name when the index is built. Examples are
        ``{"nprobe": 16}`` for IVF, the number of lists that a search looks into, and
        ``{"efSearch": 64, "efConstruction": 200}`` for HNSW.

    Raises
    ------
    ImportError
        If faiss is not installed.

    Notes
    -----
    faiss cannot exclude different items for each query. So a query that excludes n items asks
    for k more than n, with n rounded up to a power of two, and drops the excluded items from the
    answer. They are never returned. "Flat" always returns k items, if there are so many. An
    approximate index may find fewer, for example if the ``nprobe`` lists of IVF hold fewer; the
    rest of the answer is then -1.

    faiss uses threads of its own, see ``faiss.omp_set_num_threads``, and decides itself in which
    order items with equal scores come.

    Examples
    --------
    >>> index = FaissIndex("Flat")
    >>> index.add([10, 20, 30], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> index.search([[2.0, 1.0]], k=2, exclude=[[30]]).ids
    array([[10, 20]])
    """

    def __init__(
        self, factory: str = "Flat", parameters: Mapping[str, float] | None = None
    ) -> None:
        _import_faiss()
        if not isinstance(factory, str):
            _checks.fail("factory", "a string for faiss.index_factory", repr(factory))
        numbers = dict(parameters or {})
        self.factory = factory
        self.parameters = {key: _checks.number("parameters", v) for key, v in numbers.items()}
        self._ids = _Ids()
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._ids)

    def _build(self, vectors: Vectors) -> Any:
        """Return an empty index of this kind, trained if necessary."""
        faiss = _import_faiss()
        dim = vectors.shape[1]
        try:
            index = faiss.index_factory(dim, self.factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError:
            expected = f"what faiss.index_factory can build for dim = {dim} and inner product"
            _checks.fail("factory", expected, repr(self.factory))
        for name, value in self.parameters.items():
            try:
                faiss.ParameterSpace().set_index_parameter(index, name, value)
            except RuntimeError:
                expected = f"parameters of a faiss index {self.factory!r}"
                _checks.fail("parameters", expected, repr(name))
        if not index.is_trained:
            try:
                index.train(vectors)
            except RuntimeError:
                _checks.fail("vectors", f"enough of them to train {self.factory!r}", len(vectors))
        return index

    @alone
    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add items; the first ones also train the index. See `Index.add`."""
        new = _vectors("vectors", vectors, None if self._index is None else self._index.d)
        extended = self._ids.extended(ids, new)
        index = self._build(new) if self._index is None else self._index
        index.add(new)
        self._ids, self._index = extended, index

    @reading
    def search(self, queries: ArrayLike, k: int, exclude: Exclusions = None) -> TopK:
        """Find items of high inner product with each query; see `Index.search`."""
        q = _vectors("queries", queries, None if self._index is None else self._index.d)
        k = _checks.integer("k", k, 1)
        leave_out, offsets = self._ids.exclusions(exclude, len(q))
        result = _nothing(len(q), k)
        if not len(self):
            return result
        rows, offsets = sorted_exclusions(leave_out, offsets, len(self))
        counts = np.diff(offsets)
        excluded = np.repeat(np.arange(len(q)), counts) * len(self) + rows
        more = np.where(counts, 2 ** np.ceil(np.log2(np.maximum(counts, 1))), 0)
        for extra in np.unique(more):
            width = min(k + int(extra), len(self))
            alike, step = np.flatnonzero(more == extra), max(1, _ANSWER // width)
            for start in range(0, len(alike), step):
                part = alike[start : start + step]
                answer = self._ids.answer(self._search(q, part, k, width, excluded), k)
                result.scores[part], result.ids[part] = answer
        return result

    def _search(
        self, queries: Vectors, part: Integers, k: int, width: int, excluded: Integers
    ) -> TopK:
        """Return the k best rows for the queries `part`, out of the `width` best of faiss.

        `excluded` holds the numbers query * (rows of the index) + row, in ascending order.
        """
        scores, rows = self._index.search(queries[part], width)
        dropped = (rows < 0) | (find(excluded, part[:, None] * len(self) + rows) >= 0)
        scores[dropped], rows[dropped] = -np.inf, -1
        best = np.argsort(dropped, axis=1, kind="stable")[:, :k]
        return TopK(np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1))
