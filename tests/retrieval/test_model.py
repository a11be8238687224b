"""model.py: a step of learning against the loss itself, in float64."""

from functools import partial
from itertools import chain

import numpy as np
import pytest

from numba_ss import AllSampler, InBatchSampler, LogUniformSampler, MixedSampler, reference
from numba_ss.kernels.core.threads import max_num_threads, threads_for, use_threads
from numba_ss.retrieval import learner as learner_module
from numba_ss.retrieval import model as model_module
from numba_ss.retrieval.examples import Events
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.model import RetrievalModel
from tests.conftest import JIT
from tests.kernels.retrieval.test_tower import plain_network, used_numbers

NUM_ITEMS, NUM_ROWS, KEY = 14, 6, np.uint64(7)
OPTIONS = Options(
    dim=5, hidden_units=(7,), history_length=3, unordered=False, num_features=1, num_sampled=6,
    subtract_log_q=True, normalize=True, temperature=0.4, adaptive=False, l2=0.0, seed=3,
)
COUNTS = np.arange(1, NUM_ITEMS + 1)
CASES = {
    "plain": {},
    "no layer": {"hidden_units": ()},
    "no layer, features": {"hidden_units": (), "num_features": 3},
    "three layers": {"hidden_units": (9, 6, 5), "num_features": 3},
    "no features": {"num_features": 0, "num_rows": 0},
    "features of items": {"num_features": 0},
    "not normalized": {"normalize": False},
    "unordered": {"unordered": True},
    "no log Q": {"subtract_log_q": False},
    "all items": {"num_sampled": None, "sampler": AllSampler},
    "in batch": {"num_sampled": None, "sampler": partial(InBatchSampler, counts=COUNTS)},
    "in batch and drawn": {"sampler": partial(MixedSampler, counts=COUNTS, seed=1)},
    "decay": {"l2": 0.1},
    "two blocks": {"dim": 3, "hidden_units": (4,), "batch_size": 65},
}


class Case:
    """A model with biases, events of its users, and a batch of them."""

    def __init__(
        self, seed=1, num_items=NUM_ITEMS, num_rows=NUM_ROWS, batch_size=9, num_users=9,
        sampler=None, **changes,
    ):
        rng = np.random.default_rng(seed)
        self.options = o = OPTIONS._replace(**changes)
        self.sampler = (sampler or partial(LogUniformSampler, seed=11))(num_items)
        self.model = RetrievalModel(num_items, num_rows, o, self.sampler)
        self.used = used_numbers(o.dim, o.hidden_units, o.num_features)
        tower = self.model.tower
        for (_, _, _, start), mask in zip(tower.layers, self.used[1:], strict=False):
            tower.dense[start : start + mask.sum()] = rng.standard_normal(mask.sum()) / 4
        sizes = rng.integers(1, 8, num_users)
        sizes[:2] = 0, 7
        offsets = np.cumsum([0, *(sizes + rng.integers(1, 3, num_users))])  # some are held out
        self.events = Events(
            # Of few items, so that histories hold one twice; some occur nowhere.
            rng.integers(0, num_items // 2, offsets[-1]).astype(np.int32),
            offsets,
            offsets[:-1] + sizes,
            rng.integers(0, max(num_rows, 1), (num_users, o.num_features)),
            rng.integers(0, max(num_rows, 1), (num_items + 1, 2 if num_rows else 0)),
        )
        self.users = rng.integers(1, num_users, batch_size)
        self.users[0] = 1
        self.positions = rng.integers(offsets[self.users], self.events.ends[self.users])
        self.positions[0] = offsets[1]  # before it there is nothing

    def learn(self, rate=1.0):
        return self.model.learn(self.events, self.users, self.positions, rate, KEY)

    def arrays(self, squares=False):
        """Return items, features, weights and biases, without padding, in float64."""
        arrays, kind = self.model.arrays(), "_squares" if squares else ""
        tables = arrays["item" + (kind or "s")], arrays["feature" + (kind or "s")]
        network = plain_network(self.model.tower, self.used, arrays["dense" + kind])
        return [a.astype(float) for a in (*tables, *chain(*network))]

    def draw(self):
        """Return the histories of the batch, and the candidates that it will get."""
        e, o = self.events, self.options
        histories = reference.fill_histories(
            e.items, e.offsets[self.users], self.positions, e.ends[self.users], o.unordered,
            int(KEY), o.history_length, self.model.num_items,
        )
        labels = e.items[self.positions].astype(np.int64)[:, None]
        sampled, _ = self.sampler.propose(labels, o.num_sampled, True)
        return histories, labels[:, 0], sampled

    def touched(self, histories, labels, sampled):
        """Return the rows of items and of features that the batch has to do with."""
        rows = np.unique(np.concatenate([labels, sampled.sampled_candidates, *histories]))
        codes = [self.events.item_rows[rows], self.events.user_rows[self.users]]
        return rows, np.unique(np.concatenate([code.reshape(-1) for code in codes]))


def user_vector(arrays, history, features, o):
    """Return the vector of a user; `history` and `features` are rows of numbers."""
    mean = np.mean(history, axis=0)
    if not o.hidden_units:
        h = mean + features.sum(axis=0)
    else:
        h = np.concatenate([mean, *features])
        *hidden, last = zip(arrays[2::2], arrays[3::2], strict=True)
        for weights, biases in hidden:
            h = np.maximum(h @ weights + biases, 0)
        h = h @ last[0] + last[1]
    return h / np.linalg.norm(h) if o.normalize else h


def item_vectors(arrays, events):
    return arrays[0] + arrays[1][events.item_rows].sum(axis=1)


def losses_of(arrays, case, histories, labels, sampled):
    """Return the sampled softmax loss of each example."""
    o, losses = case.options, []
    vectors = item_vectors(arrays, case.events)
    compared = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if o.normalize else vectors
    for i, label in enumerate(labels):
        features = arrays[1][case.events.user_rows[case.users[i]]]
        user = user_vector(arrays, vectors[histories[i]], features, o)
        others = sampled.sampled_candidates != label
        rows = np.concatenate([[label], sampled.sampled_candidates[others]])
        logits = compared[rows] @ user / o.temperature
        if o.subtract_log_q:
            own, common = sampled.true_expected_count[i], sampled.sampled_expected_count[others]
            logits -= np.log(np.concatenate([own, common], dtype=float))
        losses.append(np.log(np.sum(np.exp(logits))) - logits[0])
    return np.array(losses)


def gradients(arrays, case, *batch):
    """Return central differences of the mean loss."""
    out = [np.zeros_like(array) for array in arrays]
    for array, grad in zip(arrays, out, strict=True):
        for place in np.ndindex(array.shape):
            before, means = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = before + step
                means.append(losses_of(arrays, case, *batch).mean())
            array[place] = before
            grad[place] = (means[0] - means[1]) / 2e-5
    return out


@pytest.mark.parametrize("name", CASES)
def test_plain_step_is_the_gradient(name):
    case = Case(**CASES[name])
    o, (histories, labels, sampled) = case.options, case.draw()
    rows, codes = case.touched(histories, labels, sampled)
    assert np.isin(labels, sampled.sampled_candidates).any()
    assert o.unordered or histories[0] == [NUM_ITEMS]
    before = case.arrays()
    loss = case.learn()
    expected = losses_of(before, case, histories, labels, sampled)
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-5)
    grads = gradients(before, case, histories, labels, sampled)
    grads[0][rows] += o.l2 * before[0][rows]
    grads[1][codes] += o.l2 * before[1][codes]
    after = case.arrays()
    for old, new, grad in zip(before, after, grads, strict=True):
        limit = 2e-5 * max(np.abs(grad).max(initial=0), 0.1)
        np.testing.assert_allclose(old - new, grad, rtol=0, atol=limit)
    for table, of_table in ((0, rows), (1, codes)):
        others = np.setdiff1d(np.arange(len(before[table])), of_table)
        np.testing.assert_array_equal(after[table][others], before[table][others])


@pytest.mark.parametrize("name", ["plain", "no layer, features", "three layers", "unordered", "decay"])
def test_adaptive_steps(name):
    """A row has one sum of mean squared gradients; the network has a sum for each number."""
    case, rate, arrays, squares = Case(adaptive=True, **CASES[name]), 0.1, None, None
    o = case.options
    for _ in range(2):
        batch = case.draw()
        rows, codes = case.touched(*batch)
        arrays = case.arrays() if arrays is None else arrays
        squares = case.arrays(squares=True) if squares is None else squares
        grads = gradients(arrays, case, *batch)
        case.learn(rate)
        for table, of_table in ((0, rows), (1, codes)):
            for row in of_table:
                slope = grads[table][row] + o.l2 * arrays[table][row]
                squares[table][row] += np.mean(slope**2)
                if squares[table][row] > 0:
                    arrays[table][row] -= rate * slope / np.sqrt(squares[table][row])
        for array, total, grad in zip(arrays[2:], squares[2:], grads[2:], strict=True):
            total += grad**2
            array -= rate * np.divide(
                grad, np.sqrt(total), out=np.zeros_like(grad), where=total > 0
            )
        for got, want in zip(case.arrays(), arrays, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
        for got, want in zip(case.arrays(squares=True), squares, strict=True):
            limit = 1e-4 * want.max(initial=1e-3)
            np.testing.assert_allclose(got, want, rtol=0, atol=limit)


LARGE = {
    "num_items": 300, "num_rows": 40, "num_users": 80, "dim": 20, "hidden_units": (40, 24),
    "history_length": 5, "num_features": 3, "num_sampled": 100, "adaptive": True, "l2": 1e-4,
    "batch_size": 200 if JIT else 65,
}


def learn_long(**changes):
    """Return all that a run has learned, batch after batch, and its losses."""
    case, losses = Case(**{**LARGE, **changes}), []
    rng = np.random.default_rng(9)
    for _ in range(30 if JIT else 2):
        case.users = rng.integers(1, 80, len(case.users))
        events = case.events
        case.positions = rng.integers(events.offsets[case.users], events.ends[case.users])
        losses.append(case.learn(0.05))
    return {**case.model.arrays(), "losses": np.array(losses)}


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, array in got.items():
        np.testing.assert_array_equal(array, expected[name], name)


@pytest.mark.skipif(max_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize("unordered", [False, True])
def test_bits_do_not_depend_on_threads(unordered, monkeypatch):
    asked = set()

    def counted(operations):
        asked.add(threads_for(operations))
        return threads_for(operations)

    monkeypatch.setattr(learner_module, "threads_for", counted)
    runs = []
    for num_threads in (1, 2):
        asked.clear()
        with use_threads(num_threads):
            runs.append(learn_long(unordered=unordered))
        assert max(asked) == num_threads or not JIT
    assert_same(runs[1], runs[0])


@pytest.mark.parametrize("normalize", [True, False])
def test_bits_do_not_depend_on_chunks(normalize, monkeypatch):
    runs = []
    for num_chunks in (1, 3, 8):
        monkeypatch.setattr(learner_module, "threads_for", lambda _, n=num_chunks: n)
        runs.append(learn_long(normalize=normalize))
    assert np.isfinite(runs[0]["losses"]).all()
    for run in runs[1:]:
        assert_same(run, runs[0])


@pytest.mark.parametrize("name", ["plain", "no layer, features", "three layers", "not normalized"])
def test_padding_stays_zero(name):
    case = Case(adaptive=True, **{**CASES[name], "l2": 0.01})
    m, dim = case.model, case.options.dim
    inner = np.zeros(len(m.tower.dense), bool)
    for layer, (_, _, start, biases) in enumerate(m.tower.layers[:-1]):
        inner[start:biases] = np.outer(case.used[layer], case.used[layer + 1]).reshape(-1)
        inner[biases:][: len(case.used[layer + 1])] = case.used[layer + 1]
    for _ in range(3):
        case.learn(0.1)
        assert m.items[:, :dim].all()
        for table in (m.items, m.features):
            assert table.shape[1] == 16
            assert not table[:, dim:].any()
        for numbers in (m.tower.dense, m.tower.squares):
            assert not numbers[~inner].any()
    transposed = m.tower.transposed.copy()
    m.tower.transpose()
    np.testing.assert_array_equal(transposed, m.tower.transposed)


@pytest.mark.parametrize("where", ["items", "features", "dense"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_changes_nothing(where, bad):
    case = Case(adaptive=True)
    case.learn(0.1)
    place = case.events.items[case.positions[1]] if where == "items" else 0
    if where == "features":
        place = case.events.user_rows[case.users[1]]
    case.model.arrays()[where][place] = bad
    before = {name: array.copy() for name, array in case.model.arrays().items()}
    transposed, draw = case.model.tower.transposed.copy(), case.draw()[2]
    assert not np.isfinite(case.learn(0.1))
    assert_same(case.model.arrays(), before)
    np.testing.assert_array_equal(case.model.tower.transposed, transposed)
    np.testing.assert_array_equal(case.draw()[2][0], draw[0])


def test_a_step_takes_up_its_draw():
    case = Case()
    before = case.draw()[2].sampled_candidates
    case.learn()
    assert (case.draw()[2].sampled_candidates != before).any()


def test_load_goes_on_where_arrays_was_taken():
    case, other = Case(adaptive=True), Case(seed=2, adaptive=True)
    other.events, other.users, other.positions = case.events, case.users, case.positions
    case.learn(0.1)
    other.sampler.load_state_dict(case.sampler.state_dict())
    other.model.load({name: array.copy() for name, array in case.model.arrays().items()})
    assert case.learn(0.1) == other.learn(0.1)
    assert_same(other.model.arrays(), case.model.arrays())


def test_a_new_model():
    first, same, other = (
        RetrievalModel(500, 80, OPTIONS._replace(dim=20, seed=seed), LogUniformSampler(500))
        for seed in (1, 1, 2)
    )
    assert_same(same.arrays(), first.arrays())
    assert (first.items[:, :20] != other.items[:, :20]).all()
    for name, rows in (("items", 501), ("features", 80)):
        table = first.arrays()[name]
        assert table.shape == (rows, 20)
        # The mean square of n normal numbers is 1 within 5 sqrt(2 / n).
        assert abs(20 * np.mean(table**2) - 1) < 5 * np.sqrt(2 / table.size)


@pytest.mark.parametrize("name", ["plain", "no layer, features", "three layers", "not normalized", "unordered"])
@pytest.mark.parametrize("length", [1, 3, 50])
def test_vectors(name, length, monkeypatch):
    """Also in parts: a vector does not depend on other users in the same pass."""
    case = Case(**CASES[name])
    o, m, e = case.options, case.model, case.events
    arrays = case.arrays()
    vectors = item_vectors(arrays, e)
    expected = []
    for begin, end, rows in zip(e.offsets, e.ends, e.user_rows, strict=False):
        history = e.items[begin:end][-length:] if end > begin else [m.num_items]
        expected.append(user_vector(arrays, vectors[history], arrays[1][rows], o))
    got = m.user_vectors(e, length)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-6)
    items = m.item_vectors(e.item_rows)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) if o.normalize else 1
    np.testing.assert_allclose(items, (vectors / lengths)[:-1], rtol=1e-5, atol=1e-6)
    for size in (1, 4):
        monkeypatch.setattr(model_module, "_USERS", size)
        monkeypatch.setattr(model_module, "_ITEMS", size)
        np.testing.assert_array_equal(m.user_vectors(e, length), got)
        np.testing.assert_array_equal(m.item_vectors(e.item_rows), items)
    order = np.array([5, 1, 8, 5, 0])
    among = e._replace(offsets=e.offsets[order], ends=e.ends[order], user_rows=e.user_rows[order])
    np.testing.assert_array_equal(m.user_vectors(among, length), got[order])


def test_unknown_rows_stay_zero():
    case = Case(hidden_units=(), num_features=3)
    model = RetrievalModel(NUM_ITEMS, NUM_ROWS, case.options, case.sampler, (0, 3))
    for _ in range(3):
        model.learn(case.events, case.users, case.positions, 0.1, np.uint64(0))
    changed = model.features.any(axis=1)
    assert not changed[[0, 3]].any()
    assert changed[[1, 2]].any()


def test_vectors_change_nothing():
    """The next step is the same, whatever was computed before it."""
    case, other = Case(), Case()
    other.model.user_vectors(other.events, 40)
    other.model.item_vectors(other.events.item_rows)
    assert case.learn() == other.learn()
    assert_same(other.model.arrays(), case.model.arrays())


def test_a_query_with_long_histories_is_not_cut_by_one_with_short_ones():
    """Both need 1 / n at once; the other query leaves fewer numbers than this one needs."""
    case = Case()
    want = case.model.user_vectors(case.events, 40)

    class Raced(model_module.RetrievalModel):
        """Whatever is written, another thread has written the shortest since."""

        _shares = property(lambda self: learner_module._inverses(1), lambda self, value: None)

    del case.model._shares
    case.model.__class__ = Raced
    np.testing.assert_array_equal(case.model.user_vectors(case.events, 40), want)
