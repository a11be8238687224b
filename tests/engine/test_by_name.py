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
    check_num_sampled,
    make_sampler,
    options_of,
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


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_name_makes_its_sampler(name):
    sampler = make_sampler(name, 9, seed=1)
    assert type(sampler) is SAMPLERS[name]
    assert sampler.range_max == 9
    again = make_sampler(name, 9, seed=1)
    assert repr(sampler.state_dict()) == repr(again.state_dict())


def test_a_sampler_of_one_s_own_is_taken_as_it_is():
    sampler = numba_ss.UniformSampler(9)
    assert make_sampler(sampler, 9, None) is sampler
    with pytest.raises(ArgumentError, match="sampler: expected range_max = num_classes = 8, got 9"):
        make_sampler(sampler, 8, None)


@pytest.mark.parametrize(("sampler", "num_sampled", "result"), [
    ("uniform", 9, 9), ("in_batch", None, None), ("all", 9, 9),
    ("uniform", 10, "num_sampled: expected at most"), ("uniform", None, "num_sampled: expected an"),
    ("in_batch", 3, "num_sampled: expected None"), ("all", 0, "num_sampled: expected at least 1"),
    ("all", 10, "num_sampled: expected at most"),
])
def test_num_sampled_fits_the_sampler(sampler, num_sampled, result):
    made = make_sampler(sampler, 9, None)
    if isinstance(result, str):
        with pytest.raises(ArgumentError, match=result):
            check_num_sampled(num_sampled, made)
    else:
        assert check_num_sampled(num_sampled, made) == result


def test_a_subset_may_be_taken_whole():
    subset = numba_ss.PartitionSampler(numba_ss.UniformSampler(9), 5)
    assert [check_num_sampled(number, subset) for number in (None, 3)] == [None, 3]
    with pytest.raises(ArgumentError, match="num_sampled: expected at most range_max = 9"):
        check_num_sampled(10, subset)


def test_options_of_the_losses():
    """The table in `losses`: hits removed, log Q subtracted."""
    for asked in (True, False):
        have = {name: options_of(name, asked, asked) for name in SAMPLED_LOSSES}
        assert have == {
            "sampled_softmax": (asked, asked), "nce": (False, asked),
            "sampled_logistic": (True, asked), "negative_sampling": (False, False),
        }
    with pytest.raises(ArgumentError, match="subtract_log_q: expected True or False"):
        options_of("nce", True, 1)
