"""tower.py: the places and first weights of a network of users."""

from itertools import pairwise

import numpy as np
import pytest

from numba_ss.engine.memory import round_up
from numba_ss.kernels.retrieval.tower import WIDTH
from numba_ss.retrieval.tower import Tower
from tests.kernels.retrieval.test_tower import SHAPES, plain_network, used_numbers


@pytest.mark.parametrize("shape", SHAPES)
def test_a_new_tower(shape, rng):
    dim, hidden_units, num_features = shape
    tower = Tower(dim, hidden_units, num_features, True, rng)
    used = used_numbers(*shape)
    assert tower.layers[:, 0].tolist() == list(map(len, used))
    assert (tower.layers[:, 0] % WIDTH == 0).all()
    assert tower.step == (round_up(dim) if hidden_units else 0)
    sizes = [(a.size + 1) * b.size for a, b in pairwise(used)]
    for array in (tower.dense, tower.transposed, tower.squares, tower.grads):
        assert array.shape == (sum(sizes),)
    assert Tower(dim, hidden_units, num_features, False, rng).squares.shape == (0,)
    assert not tower.squares.any()
    for layer, (weights, biases) in enumerate(plain_network(tower, used, tower.dense)):
        limit = np.sqrt(6 / sum(weights.shape))
        assert not biases.any()
        assert np.abs(weights).max() <= limit
        # A number of a uniform distribution is above half its limit half of the time.
        share = np.mean(np.abs(weights) > limit / 2)
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(weights.size)
        inside = tower.weights(layer)[used[layer]][:, used[layer + 1]]
        np.testing.assert_array_equal(inside, weights)
        _, _, start, stop = tower.layers[layer]
        turned = tower.transposed[start:stop].reshape(len(used[layer + 1]), -1)
        np.testing.assert_array_equal(turned, tower.weights(layer).T)


def test_place():
    tower = Tower(20, (7,), 1, False, np.random.default_rng(0))
    layers, size = tower.place(64)
    assert size == 64 * (64 + 16 + 32)
    assert layers[:, 1].tolist() == [0, 64 * 64, 64 * (64 + 16)]
    np.testing.assert_array_equal(layers[:, [0, 2, 3]], tower.layers[:, [0, 2, 3]])
    assert not tower.layers[:, 1].any()
