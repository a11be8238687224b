"""nearest.py: items of highest inner product against dense NumPy, exact and by faiss."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.retrieval import nearest
from numba_ss.retrieval.nearest import ExactIndex, FaissIndex


def faiss_index(*args, **kwargs):
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    return FaissIndex(*args, **kwargs)


MAKERS = {
    "exact": ExactIndex,
    "flat": lambda: faiss_index("Flat"),
    "all lists": lambda: faiss_index("IVF4,Flat", {"nprobe": 4}),
    # An untroubled graph search of 300 items keeps as many candidates as there are items.
    "graph": lambda: faiss_index("HNSW16", {"efSearch": 300, "efConstruction": 300}),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def expected(ids, vectors, queries, k, exclude):
    """Return scores and ids by a dense product and a full sort."""
    scores = queries.astype(float) @ vectors.astype(float).T
    for row, out in zip(exclude, scores, strict=True):
        out[np.isin(ids, row)] = -np.inf
    order = np.argsort(-scores, axis=1)[:, :k]
    best = np.take_along_axis(scores, order, 1)
    return best, np.where(np.isneginf(best), -1, ids[order])


@pytest.fixture
def problem(rng):
    """Return ids that are not positions, vectors, queries, and what each leaves out."""
    ids = rng.choice(2**40, 300, replace=False)
    vectors = rng.standard_normal((300, 12)).astype(np.float32)
    queries = rng.standard_normal((40, 12)).astype(np.float32)
    sizes = [*rng.integers(0, 60, 36), 0, 299, 300, 1]
    exclude = [rng.permutation(ids)[:size] for size in sizes]
    exclude[5] = np.concatenate([exclude[5], exclude[5][::-1], [7, -1]])  # repeated, and unknown
    return ids, vectors, queries, exclude


def assert_found(found, reference, k):
    scores, ids = reference
    assert found.scores.shape == found.ids.shape == (len(ids), k)
    assert found.scores.dtype == np.float32
    assert found.ids.dtype == np.int64
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["lists", "packed", "none"])
def test_search(make, form, problem, monkeypatch):
    monkeypatch.setattr(nearest, "_ANSWER", 300)
    ids, vectors, queries, lists = problem
    index = make()
    index.add(ids, vectors)
    exclude = {
        "lists": lists, "none": None,
        "packed": (np.concatenate(lists), np.cumsum([0, *map(len, lists)])),
    }[form]
    found = index.search(queries, 10, exclude)
    assert len(index) == 300
    reference = expected(ids, vectors, queries, 10, [[]] * 40 if exclude is None else lists)
    assert_found(found, reference, 10)


def test_more_than_there_is(make, problem):
    ids, vectors, queries, exclude = problem
    index = make()
    index.add(ids[:200], vectors[:200])
    reference = expected(ids[:200], vectors[:200], queries, 200, exclude)
    found = index.search(queries, 230, exclude)
    assert_found(found, [np.pad(a, ((0, 0), (0, 30)), constant_values=c) for a, c in zip(reference, (-np.inf, -1), strict=True)], 230)


def test_adding_twice_is_adding_all(make, problem):
    ids, vectors, queries, exclude = problem
    index = make()
    index.add(ids[:150], vectors[:150])
    index.add(ids[150:], vectors[150:].astype(np.float64))
    assert len(index) == 300
    found = index.search(queries.astype(np.float64), 9, exclude)
    assert_found(found, expected(ids, vectors, queries, 9, exclude), 9)


def test_vectors_are_copied(make, problem):
    ids, vectors, queries, _ = problem
    index = make()
    mine, my_ids = vectors.copy(), ids.copy()
    index.add(my_ids, mine)
    mine[:], my_ids[:] = 0, 0
    assert_found(index.search(queries, 3), expected(ids, vectors, queries, 3, [[]] * 40), 3)


def test_read_only_and_strided(make, problem):
    ids, vectors, queries, _ = problem
    index = make()
    vectors.flags.writeable = queries.flags.writeable = False
    index.add(ids[::2], vectors[::2])
    found = index.search(queries[:, ::-1][:, ::-1], 3)
    assert_found(found, expected(ids[::2], vectors[::2], queries, 3, [[]] * 40), 3)


@pytest.mark.parametrize("maker", ["exact", "flat"])
def test_empty(maker):
    index = MAKERS[maker]()
    for _ in range(2):
        found = index.search(np.ones((2, 3)), 2, [[5], []])
        assert len(index) == 0
        assert found.ids.tolist() == [[-1, -1]] * 2
        assert found.scores.tolist() == [[-np.inf] * 2] * 2
        index.add([], np.empty((0, 3)))
    index.add([4], np.ones((1, 3)))
    assert index.search(np.ones((1, 3)), 1).ids.tolist() == [[4]]
    assert index.search(np.ones((0, 3)), 2).ids.shape == (0, 2)


def test_equal_scores_come_in_order():
    index = ExactIndex()
    index.add([9, 3, 5], np.ones((3, 2)))
    index.add([1], np.ones((1, 2)))
    assert index.search(np.ones((1, 2)), 3).ids.tolist() == [[9, 3, 5]]


def test_few_lists_hold_few_items(problem):
    """An approximate index may find fewer; it never finds what is excluded."""
    ids, vectors, queries, exclude = problem
    index = faiss_index("IVF4,Flat", {"nprobe": 1})
    index.add(ids, vectors)
    found = index.search(queries, 200, exclude)
    kept = found.ids != -1
    assert 0 < kept.sum() < kept.size
    assert not kept[38].any()
    assert (np.diff(kept.astype(int), axis=1) <= 0).all()
    assert (np.isneginf(found.scores) == ~kept).all()
    for row, left_out in zip(found.ids, exclude, strict=True):
        assert not np.isin(row[row >= 0], left_out).any()


@pytest.mark.parametrize("maker", ["exact", "flat"])
@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("ids: .*distinct.*got 8 again", {"ids": [8, 8]}),
        ("ids: .*none of them added before, got 2 again", {"ids": [9, 2]}),
        ("ids: expected ids >= 0, got -1", {"ids": [-1, 5]}),
        ("ids: expected shape", {"ids": [7]}),
        ("ids: expected integers", {"ids": [7.0, 8.0]}),
        ("vectors: .*dim", {"vectors": np.ones((2, 4))}),
        ("vectors: expected shape", {"vectors": np.ones(2)}),
        (r"vectors: .*finite.*nan at vectors\[1, 2\]", {"vectors": np.array([[1, 2, 3], [1, 2, np.nan]])}),
        ("vectors: .*finite.*inf", {"vectors": np.full((2, 3), 1e300)}),
        ("vectors: .*float32 or float64", {"vectors": np.ones((2, 3), int)}),
    ],
)
def test_bad_items_change_nothing(maker, message, changes):
    index = MAKERS[maker]()
    index.add([1, 2], np.eye(3)[:2])
    sound = {"ids": [7, 8], "vectors": np.ones((2, 3))}
    with pytest.raises(ArgumentError, match=message):
        index.add(**(sound | changes))
    assert len(index) == 2
    assert index.search(np.ones((1, 3)), 3).ids.tolist() in ([[1, 2, -1]], [[2, 1, -1]])
    index.add(**sound)
    assert set(index.search(np.ones((1, 3)), 4).ids[0]) == {1, 2, 7, 8}


@pytest.mark.parametrize("maker", ["exact", "flat"])
@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("k: expected at least 1", {"k": 0}),
        ("queries: expected shape", {"queries": np.ones(3)}),
        ("queries: expected dim >= 1", {"queries": np.ones((1, 0))}),
        ("queries: .*finite.*nan", {"queries": np.array([[1.0, np.nan, 1.0]])}),
        ("exclude: expected batch_size = 1", {"exclude": [[1], [2]]}),
        ("exclude: expected a list of rows, or", {"exclude": (np.array([1]), np.array([0]))}),
        (r"exclude\[0\]: expected integers", {"exclude": [["a"]]}),
    ],
)
def test_bad_queries(maker, filled, message, changes):
    index = MAKERS[maker]()
    if filled:
        index.add([1, 2], np.eye(3)[:2])
        message = message.replace("dim >= 1", "shape")
    sound = {"queries": np.ones((1, 3)), "k": 1, "exclude": [[1]]}
    with pytest.raises(ArgumentError, match=message):
        index.search(**(sound | changes))


@pytest.mark.parametrize(
    ("message", "arguments", "error"),
    [
        ("factory: .*dim = 3.*got 'nonsense'", ["nonsense"], ArgumentError),
        ("parameters: .*'Flat', got 'nprobe'", ["Flat", {"nprobe": 3}], ArgumentError),
        ("vectors: .*train 'IVF4,Flat', got 2", ["IVF4,Flat"], ArgumentError),
    ],
)
def test_index_that_cannot_be_built(message, arguments, error):
    index = faiss_index(*arguments)
    for _ in range(2):
        with pytest.raises(error, match=message):
            index.add([1, 2], np.eye(3)[:2])
        assert len(index) == 0


def test_bad_parameters():
    with pytest.raises(ArgumentError, match="factory: expected a string"):
        faiss_index(3)
    with pytest.raises(ArgumentError, match="parameters: expected a finite number, got 'many'"):
        faiss_index("IVF4,Flat", {"nprobe": "many"})


def test_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'FaissIndex needs faiss: pip install "numba-ss\[all\]"'):
        FaissIndex()


def test_warnings_of_the_wrapper_are_not_the_user_s(tmp_path, monkeypatch):
    (tmp_path / "faiss.py").write_text("import warnings; warnings.warn('Swig', DeprecationWarning)\n")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    FaissIndex()
    monkeypatch.delitem(sys.modules, "faiss")


@pytest.mark.parametrize("maker", ["exact", "flat"])
def test_threads_that_add_and_search_at_once_lose_nothing(maker, monkeypatch):
    """A search sees the items of one moment; at the end, all items are found."""
    index, rounds, extended = MAKERS[maker](), 8, nearest._Ids.extended
    index.add([0], np.ones((1, 4)))

    def extended_late(*given):
        result = extended(*given)
        time.sleep(0.005)  # in which others come
        return result

    monkeypatch.setattr(nearest._Ids, "extended", extended_late)

    def add(part):
        for i in range(rounds):
            index.add([1 + 2 * i + part], np.full((1, 4), 2.0 + i))

    def search():
        found = index.search(np.ones((1, 4)), 2 * rounds + 1)
        there = found.ids[0] >= 0
        # The score tells which item it is.
        np.testing.assert_array_equal((found.ids[0][there] + 1) // 2, found.scores[0][there] / 4 - 1)
        return found.ids[0][there]

    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(add, part) for part in range(2)]
        while not all(task.done() for task in tasks):
            assert 0 in pool.submit(search).result()
        for task in tasks:
            task.result()
    assert sorted(search()) == list(range(2 * rounds + 1))
