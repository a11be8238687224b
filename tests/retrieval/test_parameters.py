"""parameters.py: each one is checked before anything is read."""

import json

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.retrieval.estimator import YouTubeDNN
from tests.retrieval.test_estimator import FORMS, trained

NUMBERS = [
    ("embedding_dim", (0, 1.5, "8", True)), ("hidden_units", ("8", 8, (0,), (8, 1.5), None)),
    ("history_length", (0, 2.0, None)), ("num_sampled", (0, 1.5)), ("sampler", ("all", None)),
    ("distortion", ("x", np.nan, 1e4)), ("subtract_log_q", (1, "yes")), ("normalize", (1, None)),
    ("temperature", (0, -1, np.inf, 1e-40)), ("optimizer", ("adam", None)), ("learning_rate", (-0.1, np.nan, "x", 1e30)),
    ("l2", (-0.1, None, 1e39)), ("batch_size", (0, 2**21, 1.5)), ("epochs", (0, 1.5)),
    ("user", (5, None)), ("item", (5, "user")), ("timestamp", (5, "item")),
    ("user_features", ("abc", 5, [5], ["a", "a"])), ("item_features", ("abc", [None])),
    ("validation", (0, -0.5, 1.5, "x", np.nan)), ("early_stopping", (0, 1.5)), ("num_threads", (0, 1.5)),
    ("seed", (-1, 2**31, None)),
]


def test_every_parameter_is_checked():
    assert {name for name, _ in NUMBERS} == set(YouTubeDNN().get_params())


@pytest.mark.parametrize(("name", "value"), [(n, value) for n, values in NUMBERS for value in values])
def test_bad_parameter(name, value):
    """The log would fail, too, but is not read."""
    model = YouTubeDNN(validation=0.5).set_params(**{name: value})
    # Those that are compared with each other are named together.
    start = r"user, item, timestamp" if value in ("user", "item") else rf"{name}\b"
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ArgumentError, match=rf"^{start}"):
            fit(None, progress=False)
    assert not hasattr(model, "log_")


def test_parameters_are_what_json_holds():
    """Checkpoints and files keep them."""
    for _, options in FORMS.values():
        checked = YouTubeDNN(**options)._checked()
        assert json.loads(json.dumps(checked)) == checked


def test_early_stopping_needs_validation():
    with pytest.raises(ArgumentError, match="early_stopping: expected None, without validation, got 3"):
        trained(early_stopping=3)
