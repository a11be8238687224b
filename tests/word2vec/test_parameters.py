"""parameters.py: checks before the text is read, and defaults that depend on it."""

import numpy as np
import pytest

from numba_ss import ArgumentError, Word2Vec
from numba_ss.word2vec.parameters import checked_parameters, settle, settle_min_count
from tests.conftest import needs_jit
from tests.word2vec.test_estimator import share_of_own_topic


@pytest.mark.parametrize(
    ("architecture", "subsample", "rate"), [("skipgram", 3e-4, 0.03), ("cbow", 1e-4, 0.09)]
)
def test_defaults_of_a_long_text(architecture, subsample, rate):
    settled = checked_parameters(Word2Vec(architecture=architecture).get_params())
    assert (settled["learning_rate"], settled["num_sampled"]) == (rate, 24)
    assert settle_min_count(settled, 17_000_000) == 5
    settle(settled, 17_000_000, 68_000)
    assert (settled["subsample"], settled["epochs"]) == (subsample, 5)


@needs_jit
def test_defaults_learn_what_is_planted_in_a_short_text(caplog):
    """2,000 sentences of ten topics, and a tutorial's nine: no parameter is set."""
    rng = np.random.default_rng(0)
    text = [[f"{t}_{w}" for w in rng.integers(20, size=8)] for t in rng.integers(10, size=2000)]
    with caplog.at_level("INFO", "numba_ss"):
        model = Word2Vec(num_threads=1).fit(text, progress=False)
    assert share_of_own_topic(model.vectors_) > 0.9
    assert "min_count 1, subsample 0.0025, epochs 7, batches of" in caplog.text
    assert model.get_params()["subsample"] is model.get_params()["epochs"] is None
    few = [["one", "two", "three"], ["two", "four"], ["five", "one", "six", "two"]] * 3
    tiny = Word2Vec(num_threads=1).fit(few, progress=False)
    assert len(tiny.vectors_) == 6
    assert tiny.history_[-1]["loss"] < tiny.history_[0]["loss"]


NUMBERS = [
    ("vector_size", (0, 1.5, "8", True)), ("window", (0, 2.0, None)), ("min_count", (-1, 1.5)),
    ("max_vocabulary", (0, 1, False, "")), ("num_sampled", (0, 2**13, 1.5)),
    ("distortion", ("x", np.nan, 1e4)), ("subsample", (-1e-4, np.nan, "x")),
    ("learning_rate", (-0.1, np.nan, 1e30)), ("min_learning_rate", (-0.1, None)),
    ("epochs", (0, 1.5)), ("batch_size", (0, 15, 1.5)), ("num_threads", (0, 1.5)),
    ("seed", (-1, 2**63, None)), ("subtract_log_q", (1, "yes")),
    ("architecture", ("glove", None)), ("loss", ("mse", 1)), ("sampler", ("all", None)),
    ("schedule", ("cosine",)), ("early_stopping", (0, 1.5, True)),
    ("vocabulary", ("abc", 5, [], [1, 2], ["a", "a"], (w for w in "abc"), {"a", "b"})),
]


@pytest.mark.parametrize(("name", "value"), [(n, value) for n, values in NUMBERS for value in values])
def test_bad_parameter(name, value):
    """The text would fail, too, but is not read."""
    model = Word2Vec().set_params(**{name: value})
    with pytest.raises(ArgumentError, match=rf"^{name}\b"):
        model.fit(iter([]), progress=False)
    with pytest.raises(ArgumentError, match=rf"^{name}\b"):
        model.partial_fit(iter([]), progress=False)
