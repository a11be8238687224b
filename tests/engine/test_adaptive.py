"""adaptive.py: what is kept of a layer's tables; its numbers are tested by test_layer.py."""

import pickle

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.engine.adaptive import RULES, AdaptiveOptimizer
from numba_ss.engine.columns import make_columns
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.samplers import SampledCandidates
from numba_ss.engine.workspace import Workspace

RATE = np.float32(0.1)


def make(rng, name):
    weights = rng.standard_normal((9, 4)).astype(np.float32)
    return AdaptiveOptimizer(name, weights, np.zeros(9, np.float32)), weights


def step(optimizer, weights, table, ids, update_table=True):
    """Take a step of examples whose labels are 5, without candidates."""
    labels = np.full((len(ids), 1), 5)
    ones = np.ones((len(ids), 1), np.float32)
    sampled = SampledCandidates(np.array([7]), ones, np.ones(1, np.float32))
    columns = make_columns(labels, sampled, np.float32, True, True)
    biases = optimizer._biases
    batch = SampledPass(Workspace(), table, ids, weights, biases, columns, False, 1)
    batch.forward_and_backward(np.ones(len(ids), np.float32))
    optimizer.step_touched(batch, table if update_table else None, ids, RATE)


def touched(array, before):
    return np.flatnonzero((array != before).any(axis=1)).tolist()


@pytest.mark.parametrize("name", RULES)
def test_touched_rows_move_and_no_others(name, rng):
    optimizer, weights = make(rng, name)
    table = rng.standard_normal((6, 4)).astype(np.float32)
    for update_table in (False, True):
        before = weights.copy(), table.copy()
        step(optimizer, weights, table, np.array([1, 3, 1]), update_table)
        assert touched(weights, before[0]) == [5, 7]
        assert touched(table, before[1]) == ([1, 3] if update_table else [])


@pytest.mark.parametrize("name", RULES)
def test_a_row_of_a_tied_table_takes_one_step_for_both_uses(name, rng):
    optimizer, weights = make(rng, name)
    before = weights.copy()
    step(optimizer, weights, weights, np.array([1, 5]))
    assert touched(weights, before) == [1, 5, 7]
    if name == "adam":  # the first step of a number is the rate
        np.testing.assert_allclose(abs(weights - before)[[1, 5, 7]], RATE, rtol=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_another_table_starts_anew(name, rng):
    optimizer, weights = make(rng, name)
    table = rng.standard_normal((6, 4)).astype(np.float32)

    def kept():
        return [state["table"] for state in optimizer.state_dict().values()]

    step(optimizer, weights, table, np.array([1]))
    first = kept()
    step(optimizer, weights, table[:], np.array([1]))  # a new view of the same
    assert not any(map(np.array_equal, first, kept()))
    step(optimizer, weights, table.copy(), np.array([2]))
    assert not kept()[0][1].any()


@pytest.mark.parametrize("name", RULES)
def test_a_state_belongs_to_the_next_table_as_long(name, rng):
    optimizer, weights = make(rng, name)
    table = rng.standard_normal((6, 4)).astype(np.float32)
    step(optimizer, weights, table, np.array([1, 2]))
    other = AdaptiveOptimizer(name, weights.copy(), optimizer._biases.copy())
    state = optimizer.state_dict()
    other.check_state(state)
    other.load_state_dict(state)
    copy = table.copy()
    step(optimizer, weights, table, np.array([1, 4]))
    step(other, other._weights, copy, np.array([1, 4]))
    np.testing.assert_array_equal(copy, table)
    np.testing.assert_array_equal(other._weights, weights)


@pytest.mark.parametrize("name", RULES)
def test_a_copy_goes_on_with_another_table(name, rng):
    optimizer, weights = make(rng, name)
    table = rng.standard_normal((6, 4)).astype(np.float32)
    step(optimizer, weights, table, np.array([1, 2]))
    other, copy = pickle.loads(pickle.dumps(optimizer)), table.copy()
    assert other._table is None
    step(optimizer, weights, table, np.array([1, 4]))
    step(other, other._weights, copy, np.array([1, 4]))
    np.testing.assert_array_equal(copy, table)
    np.testing.assert_array_equal(other._weights, weights)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("place", ["weights", "biases", "table"])
def test_a_state_that_does_not_fit_is_refused(name, place, rng):
    optimizer, _ = make(rng, name)
    for field in RULES[name].FIELDS:
        for value in (None, "x", np.zeros((2, 2, 2), np.float32)):
            state = optimizer.state_dict()
            state[field][place] = value
            with pytest.raises(ArgumentError, match=rf"state_dict\['{field}'\]\['{place}'\]: expected"):
                optimizer.check_state(state)
    with pytest.raises(ArgumentError, match="state_dict"):
        optimizer.check_state({})
