"""tower.py: the network of users, forward, back and a step."""

from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.memory import round_up, widen
from numba_ss.kernels.retrieval import tower as kernels
from numba_ss.kernels.retrieval.histories import Histories
from numba_ss.retrieval.tower import Tower
from tests.conftest import JIT

SCALE, RATE = np.float32(2.5), np.float32(0.3)
# dim, hidden units, features of a user
SHAPES = [(5, (), 0), (16, (), 3), (20, (7,), 1), (9, (24, 16, 5), 3), (33, (40, 18, 33), 0)]
SIZES = [1, 64, 65, 200] if JIT else [1, 65]


def used_numbers(dim, hidden_units, num_features):
    """Return, for each layer's inputs and the output, which numbers are no padding."""
    units = [*hidden_units, dim] if hidden_units else []
    parts = 1 + num_features if hidden_units else 1
    used = [np.arange(round_up(dim) * parts) % round_up(dim) < dim]
    return used + [np.arange(round_up(count)) < count for count in units]


def plain_network(tower, used, dense):
    """Return the weights and biases of each layer, without padding, from flat numbers."""
    network = []
    for layer, (width, _, start, biases) in enumerate(tower.layers[:-1]):
        weights = dense[start:biases].reshape(width, -1)[used[layer]][:, used[layer + 1]]
        network.append((weights, dense[biases : biases + len(used[layer + 1])][used[layer + 1]]))
    return network


def make_case(rng, shape, batch_size, adaptive=True):
    """Return a tower with biases, and a batch for it."""
    dim, hidden_units, num_features = shape
    tower = Tower(dim, hidden_units, num_features, adaptive, rng)
    used = used_numbers(*shape)
    for layer, (_, _, _, biases) in enumerate(tower.layers[:-1]):
        count = int(used[layer + 1].sum())
        tower.dense[biases : biases + count] = rng.standard_normal(count) / 5
    if adaptive:
        tower.squares[:] = rng.random(len(tower.dense)).astype(np.float32) * (tower.dense != 0)

    def table(num_rows):
        return widen(rng.standard_normal((num_rows, dim)).astype(np.float32), num_rows)

    return SimpleNamespace(
        dim=dim, tower=tower, used=used, vectors=table(40), features=table(11),
        histories=[rng.integers(0, 40, rng.integers(1, 9)) for _ in range(batch_size)],
        user_rows=rng.integers(0, 11, (batch_size, num_features)),
        grad_x=table(batch_size),
    )


def placed(case):
    """Return the layers for the examples of a case, and the size of their inputs."""
    return case.tower.place(-(-len(case.grad_x) // kernels.EXAMPLES) * kernels.EXAMPLES)


def forward(case, normalize, num_chunks, filler=7.0):
    """Run the pass forward; what is not of the batch holds `filler`."""
    batch_size, width = case.grad_x.shape
    offsets = np.cumsum([0, *map(len, case.histories)])
    places = np.concatenate(case.histories) * width
    shares = 1 / np.maximum(np.arange(12, dtype=np.float32), 1)
    layers, size = placed(case)
    activations = np.full(size, filler, np.float32)
    users = kernels.UserVectors(
        SCALE, normalize, np.full((batch_size, width), filler, np.float32),
        np.empty(batch_size, np.float32),
    )
    kernels.forward_tower(
        case.vectors, Histories(offsets, places // width, places, shares),
        kernels.Features(case.features, case.user_rows * case.features.shape[1], case.tower.step),
        kernels.Network(layers, case.tower.dense, case.tower.transposed), users, num_chunks,
        activations,
    )
    return activations, users


def run(case, normalize, num_chunks):
    """Return all that a step computes, the tower's arrays as copies."""
    t, batch_size = case.tower, len(case.grad_x)
    layers, _ = placed(case)
    t.transpose()
    activations, users = forward(case, normalize, num_chunks)
    grads, squares = np.full_like(activations, 7), t.squares.copy()
    network = kernels.Network(layers, t.dense.copy(), t.transposed.copy())
    kernels.backward_tower(users, case.grad_x, network, activations, num_chunks, grads)
    kernels.update_tower(
        network, batch_size, activations, grads,
        kernels.Update(RATE, np.full_like(t.dense, 7), squares), num_chunks,
    )
    rows = [
        [
            flat[start:][: batch_size * width].reshape(batch_size, width)
            for width, start, *_ in layers
        ]
        for flat in (activations, grads)
    ]
    return SimpleNamespace(
        values=rows[0], grads=rows[1], x=users.vectors, inverse=users.inverse,
        dense=network.dense, transposed=network.transposed, squares=squares,
    )


def assert_close(got, expected, name):
    limit = 2e-5 * max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=limit, err_msg=name)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", SIZES)
def test_step(normalize, adaptive, shape, batch_size, rng):
    """forward_tower, backward_tower and update_tower against their twins."""
    case = make_case(rng, shape, batch_size, adaptive)
    dim, used, t = case.dim, case.used, case.tower
    got = run(case, normalize, 1)
    network = plain_network(t, used, t.dense.astype(float))
    squares = plain_network(t, used, t.squares.astype(float)) if adaptive else []
    values, x, inverse = reference.forward_tower(
        case.vectors[:, :dim], case.histories, case.features[:, :dim], case.user_rows, network,
        SCALE, normalize,
    )
    assert_close(got.x[:, :dim], x, "x")
    assert_close(got.inverse, inverse, "inverse")
    grads = reference.backward_tower(
        x, case.grad_x[:, :dim], inverse, SCALE, normalize, network, values
    )
    assert len(values) == len(grads) == len(used) == len(t.layers)
    for layer, mask in enumerate(used):
        assert_close(got.values[layer][:, mask], values[layer], f"inputs of layer {layer}")
        assert_close(got.grads[layer][:, mask], grads[layer], f"gradients of layer {layer}")
        assert not got.values[layer][:, ~mask].any()
        assert not got.grads[layer][:, ~mask].any()
    changed, sums = reference.update_tower(values, grads, RATE, network, squares)
    for name, flat, ref in (("dense", got.dense, changed), ("squares", got.squares, sums)):
        if len(flat):
            for have, want in zip(plain_network(t, used, flat), ref, strict=True):
                assert_close(have[0], want[0], f"weights of {name}")
                assert_close(have[1], want[1], f"biases of {name}")


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("batch_size", [65, 200] if JIT else [65])
def test_bits_do_not_depend_on_chunks(shape, batch_size, rng):
    case = make_case(rng, shape, batch_size)
    first = vars(run(case, True, 1))
    for num_chunks in (2, 3, 8):
        for name, got in vars(run(case, True, num_chunks)).items():
            for have, want in zip(got, first[name], strict=True):
                np.testing.assert_array_equal(have, want, name)


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_stays_zero(shape, rng):
    case = make_case(rng, shape, 65)
    t, used = case.tower, case.used
    inner = np.zeros(len(t.dense), bool)
    for layer, (_, _, start, biases) in enumerate(t.layers[:-1]):
        inner[start:biases] = np.outer(used[layer], used[layer + 1]).reshape(-1)
        inner[biases : biases + len(used[layer + 1])] = used[layer + 1]
    assert not t.dense[~inner].any()
    for _ in range(3):
        got = run(case, True, 2)
        t.dense[:], t.squares[:] = got.dense, got.squares
        assert not got.dense[~inner].any()
        assert not got.squares[~inner].any()
        assert not got.x[:, case.dim :].any()
        t.transpose()
        np.testing.assert_array_equal(got.transposed, t.transposed)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_of_x_is_its_example_s_alone(shape, rng):
    """Neither the others nor what the buffers held before can change it."""
    case = make_case(rng, shape, 130 if JIT else 66)
    x = forward(case, True, 1)[1].vectors
    for i in (0, 63, 64, len(x) - 1):
        alone = SimpleNamespace(**{
            **vars(case), "histories": case.histories[i : i + 1],
            "user_rows": case.user_rows[i : i + 1], "grad_x": case.grad_x[i : i + 1],
        })
        one = forward(alone, True, 1, filler=np.inf)[1].vectors
        np.testing.assert_array_equal(one[0], x[i])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(shape, bad, rng):
    case = make_case(rng, shape, 3)
    case.histories[1][0] = 39
    case.histories[0][:], case.histories[2][:] = 0, 1
    case.vectors[39, 2] = bad
    x = forward(case, True, 1)[1].vectors
    assert not np.isfinite(x[1]).all()
    assert np.isfinite(x[[0, 2]]).all()


def test_a_zero_vector_stays_zero(rng):
    case = make_case(rng, (5, (), 0), 2)
    case.vectors[:] = 0
    got = run(case, True, 1)
    assert not got.x.any()
    assert not got.grads[0].any()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", [(3, (), 2), (4, (5,), 1), (3, (6, 4, 5), 2)])
def test_gradient_is_that_of_the_loss(normalize, shape, rng):
    """The twin's, by central differences of sums of x times weights."""
    case = make_case(rng, shape, 4)
    dim, weights = case.dim, case.grad_x[:, : case.dim].astype(float)
    network = plain_network(case.tower, case.used, case.tower.dense.astype(float))
    vectors, features = (a[:, :dim].astype(float) for a in (case.vectors, case.features))

    def pass_forward():
        return reference.forward_tower(
            vectors, case.histories, features, case.user_rows, network, float(SCALE), normalize
        )

    values, x, inverse = pass_forward()
    grads = reference.backward_tower(
        x, weights, inverse, float(SCALE), normalize, network, values
    )
    changed, _ = reference.update_tower(values, grads, 1.0, network, [])
    for arrays, after in zip(network, changed, strict=True):
        for array, other in zip(arrays, after, strict=True):
            for place in np.ndindex(array.shape):
                before, scores = array[place], []
                for step in (1e-6, -1e-6):
                    array[place] = before + step
                    scores.append(np.sum(weights * pass_forward()[1]))
                array[place] = before
                slope = (scores[0] - scores[1]) / 2e-6
                assert abs(before - other[place] - slope) < 1e-6 * max(1, abs(slope))
