"""items.py: rows of items and features, forward and back."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.memory import round_up, widen
from numba_ss.kernels.retrieval import items
from numba_ss.kernels.retrieval.histories import Histories
from tests.conftest import JIT

CHUNKS = [1, 2, 3, 8]
SIZES = [1, 64, 65, 200] if JIT else [1, 65]
DIMS = [1, 5, 16, 33]


def table(rng, num_rows, dim):
    return widen(rng.standard_normal((num_rows, dim)).astype(np.float32), num_rows)


def same_bits(run):
    """Return the arrays of `run` with one chunk; more chunks must give the same."""
    first = run(1)
    for num_chunks in CHUNKS[1:]:
        for got, expected in zip(run(num_chunks), first, strict=True):
            np.testing.assert_array_equal(got, expected)
    return first


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num_features", [0, 1, 3])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("num_rows", SIZES)
def test_gather_items(normalize, num_features, dim, num_rows, rng):
    num_items, num_scored = 90, (2 * num_rows + 1) // 3
    own, features = table(rng, num_items, dim), table(rng, 7, dim)
    codes = rng.integers(0, 7, (num_items, num_features))
    rows = rng.integers(0, num_items, num_rows)

    def run(num_chunks):
        out = np.full((num_rows, own.shape[1]), 7, np.float32)
        unit, inverse = np.full((num_scored, own.shape[1]), 7, np.float32), np.empty(num_scored, np.float32)
        items.gather_items(
            items.ItemTables(own, features, codes), rows, items.Scored(normalize, unit, inverse),
            num_chunks, out,
        )
        return out, unit, inverse

    out, unit, inverse = same_bits(run)
    ref = reference.gather_items(
        own[:, :dim], features[:, :dim], codes, rows, num_scored, normalize
    )
    np.testing.assert_allclose(out[:, :dim], ref[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(unit[:, :dim], ref[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inverse, ref[2], rtol=1e-4)
    assert not out[:, dim:].any()
    assert not unit[:, dim:].any()
    if normalize:
        np.testing.assert_allclose(np.sum(unit.astype(float) ** 2, axis=1), 1, rtol=1e-6)
    else:
        np.testing.assert_array_equal(unit, out[:num_scored])


def test_a_zero_vector_stays_zero():
    own, features = np.zeros((1, 16), np.float32), np.zeros((0, 16), np.float32)
    out, unit = np.ones((2, 1, 16), np.float32)
    inverse = np.ones(1, np.float32)
    codes = np.zeros((1, 0), np.int64)
    items.gather_items(
        items.ItemTables(own, features, codes), np.zeros(1, np.int64),
        items.Scored(True, unit, inverse), 1, out,
    )
    assert not unit.any()
    assert inverse[0] == 0


def random_histories(rng, num_rows, batch_size):
    """Return histories of 1 to 9 rows, some twice in one, one row in all of them."""
    made = [rng.integers(0, num_rows, rng.integers(1, 10)) for _ in range(batch_size)]
    for history in made:
        history[0] = num_rows - 1
    made[0] = np.repeat(made[0], 2)
    return made


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("batch_size", SIZES)
def test_backward_items(normalize, dim, batch_size, rng):
    num_rows, num_scored, width = 60, 25, round_up(dim)
    histories = random_histories(rng, num_rows, batch_size)
    slots = np.concatenate(histories)
    offsets = np.cumsum([0, *map(len, histories)])
    shares = 1 / np.maximum(np.arange(20, dtype=np.float32), 1)
    inverse = rng.uniform(0.5, 2, num_scored).astype(np.float32)
    unit = table(rng, num_scored, dim)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    tower_width = 3 * width  # of which the first third is the mean
    tower_grads = table(rng, batch_size, tower_width)
    tower_grads[:, dim:width] = 0
    start = np.zeros((num_rows, width), np.float32)
    start[:num_scored] = table(rng, num_scored, dim)

    def run(num_chunks):
        grads = start.copy()
        items.backward_items(
            items.Scored(normalize, unit, inverse),
            Histories(offsets, slots, slots * width, shares),
            items.InputGrads(tower_grads.reshape(-1), tower_width, width), num_chunks, grads,
        )
        return (grads,)

    (grads,) = same_bits(run)
    ref = reference.backward_items(
        unit[:, :dim], inverse, normalize, histories, tower_grads[:, :dim], start[:, :dim]
    )
    np.testing.assert_allclose(grads[:, :dim], ref, rtol=1e-5, atol=2e-5)
    assert not grads[:, dim:].any()


def test_length_has_no_gradient(rng):
    """Through unit vectors, by central differences of `gather_items` in float64."""
    own, weights = rng.standard_normal((2, 1, 6))
    features, codes = np.empty((0, 6)), np.empty((1, 0), int)

    def score(vector):
        return np.sum(weights * reference.gather_items(vector, features, codes, [0], 1, True)[1])

    steps = 1e-5 * np.eye(6)
    slopes = [(score(own + step) - score(own - step)) / 2e-5 for step in steps]
    _, unit, inverse = (
        widen(a.reshape(1, -1).astype(np.float32), 1)
        for a in reference.gather_items(own, features, codes, [0], 1, True)
    )
    grads, none = widen(weights.astype(np.float32), 1), np.empty(0, np.int64)
    items.backward_items(
        items.Scored(True, unit, inverse[0]),
        Histories(np.zeros(1, np.int64), none, none, np.ones(2, np.float32)),
        items.InputGrads(np.empty(0, np.float32), 16, 16), 1, grads,
    )
    np.testing.assert_allclose(grads[0, :6], slopes, atol=1e-6)


@pytest.mark.parametrize(("num_user", "num_item"), [(0, 1), (1, 0), (1, 1), (3, 2)])
@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("batch_size", SIZES)
def test_feature_grads(num_user, num_item, side_by_side, dim, batch_size, rng):
    num_rows, num_items, width = 19, 40, round_up(dim)
    user_slots = rng.integers(0, num_rows, (batch_size, num_user))
    item_slots = rng.integers(0, num_rows, (num_items, num_item))
    step = width if side_by_side else 0
    tower_width = (1 + num_user) * width if side_by_side else width
    parts = table(rng, batch_size * tower_width // width, dim)
    tower_grads = parts.reshape(batch_size, -1)
    item_grads = table(rng, num_items, dim)

    def run(num_chunks):
        grads = np.full((num_rows, width), 7, np.float32)
        items.feature_grads(
            user_slots, items.InputGrads(tower_grads.reshape(-1), tower_width, step), item_slots,
            item_grads, num_chunks, grads,
        )
        return (grads,)

    (grads,) = same_bits(run)
    parts = parts.reshape(batch_size, -1, width)[:, :, :dim]
    parts = parts[:, 1:] if side_by_side else np.repeat(parts, num_user, axis=1)
    ref = reference.feature_grads(
        user_slots, parts, item_slots, item_grads[:, :dim], num_rows
    )
    np.testing.assert_allclose(grads[:, :dim], ref, rtol=1e-5, atol=2e-5)
    assert not grads[:, dim:].any()
