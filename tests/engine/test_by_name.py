"""by_name.py: one name means the same for the layer, the functions and both trainers."""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, SampledSoftmax, Word2Vec, YouTubeDNN
from numba_ss.engine.by_name import (
    ITEM_SAMPLERS,
    LOSSES,
    SAMPLED_LOSSES,
    SAMPLERS,
    WORD_SAMPLERS,
)


def test_every_sampled_loss_is_a_function_and_a_loss_of_the_layer():
    assert set(SAMPLED_LOSSES) < set(LOSSES)
    for name in SAMPLED_LOSSES:
        assert callable(getattr(numba_ss, f"{name}_loss"))
        assert SampledSoftmax(9, 4, 3, loss=name).loss == name


@pytest.mark.parametrize("name", SAMPLED_LOSSES)
def test_the_layer_s_loss_is_the_function_s(name, rng):
    """With all classes as candidates nothing is random: both must give the same numbers."""
    layer = SampledSoftmax(9, 4, 9, loss=name, sampler="uniform", reduction="none")
    inputs, labels = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(9, size=(6, 1))
    sampled = numba_ss.uniform_candidate_sampler(labels, 1, 9, True, 9, seed=0)
    function = getattr(numba_ss, f"{name}_loss")
    weights = layer.weights.copy(), layer.biases.copy()
    want = function(*weights, labels, inputs, 9, 9, sampled_values=sampled)
    np.testing.assert_allclose(layer.step(inputs, labels)[0], want, rtol=1e-5)


def test_the_samplers_of_all_three_have_common_names():
    assert {"uniform", "log_uniform"} <= set(SAMPLERS) & set(WORD_SAMPLERS) & set(ITEM_SAMPLERS)
    assert set(ITEM_SAMPLERS) - set(SAMPLERS) == {"unigram"}
    assert set(WORD_SAMPLERS) <= set(ITEM_SAMPLERS)


@pytest.mark.parametrize(
    "make",
    [lambda: SampledSoftmax(9, 4, 3, sampler="frequency"),
     lambda: Word2Vec(sampler="frequency").fit([["a", "b"]]),
     lambda: YouTubeDNN(sampler="frequency").fit({"user": [1], "item": [1], "timestamp": [1]})],
)
def test_an_unknown_name_is_refused_with_the_known_ones(make):
    with pytest.raises(ArgumentError, match=r"sampler: expected one of .*uniform"):
        make()
