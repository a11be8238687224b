"""training_set.py: what of a log is learned from, what is held out, and a model of its size."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.logs.interactions import read_interactions
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.training_set import TrainingSet, saved_bytes

LOG = read_interactions(
    {"user": list("aaabbbcc"), "item": list("xyzxyxzy"), "timestamp": range(8), "kind": list("ppqppqqp")},
    user_features=["kind"], progress=False,
)


def options(**changes):
    return YouTubeDNN(**{"embedding_dim": 4, "user_features": ["kind"], **changes})._checked()


def test_without_validation_all_events_are_learned_from():
    data = TrainingSet.of(LOG, options())
    assert data.positions.tolist() == list(range(8))
    assert not data.held_out.any()
    assert data.counts.tolist() == np.bincount(LOG.items).tolist()


def test_the_last_new_item_of_some_users_is_held_out():
    """User b took x before, so only the last items of a and c can be held out."""
    data = TrainingSet.of(LOG, options(validation=1.0))
    assert data.held_out.tolist() == [True, False, True]
    assert data.positions.tolist() == [0, 1, 3, 4, 5, 6]
    assert data.counts.tolist() == np.bincount(LOG.items[data.positions]).tolist()
    np.testing.assert_array_equal(data.events.ends, LOG.offsets[1:] - [1, 0, 1])


def test_of_the_chosen_events_alone_is_learned():
    chosen = np.arange(8) >= 6
    data = TrainingSet.of(LOG, options(), chosen)
    assert data.positions.tolist() == [6, 7]
    assert data.counts.sum() == 8  # the old ones are still events of these items


def test_a_log_of_one_item_is_refused():
    log = read_interactions({"user": [1, 2], "item": [5, 5], "timestamp": [1, 2]}, progress=False)
    with pytest.raises(ArgumentError, match="two different items at least, got 1"):
        TrainingSet.of(log, options(user_features=()))


def test_a_model_has_the_rows_of_the_log():
    model = TrainingSet.of(LOG, options()).make_model(options(hidden_units=(6,)), 0)
    arrays = model.arrays()
    assert arrays["items"].shape == (3 + 1, 4)
    assert arrays["features"].shape == (1 + 2, 4)  # what is unknown has a row
    assert not arrays["features"][0].any()
    assert model.options.num_sampled == 1  # of three items, half at most


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
def test_what_a_file_takes_is_known_before_training(tmp_path, optimizer):
    given = {"embedding_dim": 40, "optimizer": optimizer, "hidden_units": (), "epochs": 1}
    model = YouTubeDNN(user_features=["kind"], **given).fit(LOG, progress=False)
    model.save(tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    assert 0 < saved_bytes(LOG, options(**given)) < size < saved_bytes(LOG, options(**given)) + 2**14
