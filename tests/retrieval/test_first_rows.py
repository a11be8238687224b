"""first_rows.py: the tables of a new model, in pieces."""

import numpy as np
import pytest

from numba_ss import LogUniformSampler
from numba_ss.retrieval.first_rows import FirstRows
from numba_ss.retrieval.learner import Options
from numba_ss.retrieval.model import RetrievalModel

OPTIONS = Options(
    dim=5, hidden_units=(7,), history_length=3, unordered=False, num_features=2, num_sampled=6,
    subtract_log_q=True, normalize=True, temperature=0.4, adaptive=True, l2=0.0, seed=3,
)
NUM_ITEMS, NUM_ROWS, UNKNOWN = 40, 13, (0, 6)


def model_of(options):
    return RetrievalModel(NUM_ITEMS, NUM_ROWS, options, LogUniformSampler(NUM_ITEMS), UNKNOWN)


@pytest.mark.parametrize("order", ["as they come", "backwards"])
@pytest.mark.parametrize("changes", [{}, {"hidden_units": ()}, {"adaptive": False}])
def test_pieces_are_the_tables_of_a_model(order, changes, monkeypatch):
    monkeypatch.setattr("numba_ss.retrieval.first_rows._PIECE", 4)
    options = OPTIONS._replace(**changes)
    first, want = FirstRows(NUM_ITEMS, NUM_ROWS, options, UNKNOWN), model_of(options).arrays()
    pieces = [
        (name, start, min(start + 7, rows))
        for name, (rows, _) in first.shapes.items() for start in range(0, rows, 7)
    ]
    for name, start, stop in pieces if order == "as they come" else pieces[::-1]:
        got = first.rows(name, start, stop)
        assert got.dtype == np.float32
        assert got.shape == (stop - start, first.shapes[name][1])
        whole = want[name].reshape(first.shapes[name])
        np.testing.assert_array_equal(got, whole[start:stop], name)
    assert not first.rows("features", 6, 7).any()


def test_what_was_learned_is_there_again():
    model = model_of(OPTIONS)
    for array in model.arrays().values():
        array += 1
    first = FirstRows(NUM_ITEMS, NUM_ROWS, OPTIONS, UNKNOWN, model.arrays())
    for name, array in model.arrays().items():
        whole = array.reshape(first.shapes[name])
        np.testing.assert_array_equal(first.rows(name, 0, len(whole)), whole)
        np.testing.assert_array_equal(first.rows(name, 1, 9), whole[1:9])
