"""learner.py: a step on rows that are numbered anew; `test_model` has the step itself."""

import numpy as np
import pytest

from numba_ss.engine.memory import aligned_zeros
from numba_ss.retrieval.learner import Learner
from numba_ss.retrieval.model import draw
from numba_ss.retrieval.tower import Tower
from tests.retrieval.test_model import KEY, LARGE, Case


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_step_does_not_depend_on_the_numbers_of_rows(adaptive, rng):
    case = Case(**{**LARGE, "adaptive": adaptive, "batch_size": 9})
    model, o = case.model, case.options
    for name, array in model.arrays().items():  # as if learned before
        array += rng.random(array.shape) * (name.endswith("squares"))
    examples, sampled, _ = draw(
        model._scratch, o, case.sampler, case.events, case.users, case.positions, KEY
    )
    items, features = rng.permutation(len(model.items)), rng.permutation(len(model.features))
    tables = [aligned_zeros(*array.shape) for array in (
        model.items, model.item_squares, model.features, model.feature_squares
    )]
    for table, source, places in zip(
        tables, (model.items, model.item_squares, model.features, model.feature_squares),
        (items, items, features, features), strict=True,
    ):
        if len(source):
            table[places] = source
    network = Tower(o.dim, o.hidden_units, o.num_features, adaptive)
    network.dense[:], network.squares[:] = model.tower.dense, model.tower.squares
    network.transpose()
    other = Learner(o, *tables, network, model._unknown)
    item_rows = np.empty_like(case.events.item_rows)
    item_rows[items] = features[case.events.item_rows]
    renumbered = examples._replace(
        rows=items[examples.rows], user_rows=features[examples.user_rows]
    )
    loss = other.step(renumbered, *sampled[1:], item_rows, 0.1)
    assert loss == case.learn(0.1)
    arrays = other.arrays()
    for name, array in model.arrays().items():
        places = {"i": items, "f": features, "d": slice(None)}[name[0]]
        got = arrays[name][places] if len(array) else arrays[name]
        np.testing.assert_array_equal(got, array, name)
