"""_estimator.py: parameters kept, set and shown as scikit-learn does it."""

import pytest

from numba_ss import ArgumentError, Word2Vec
from numba_ss._estimator import Estimator

WORDS = ["one", "two"]


class Shape(Estimator):
    """An estimator of two parameters."""

    def __init__(self, size=3, *, colour=None):
        self.size = size
        self.colour = colour


def test_parameters_are_the_keywords():
    shape = Shape(5)
    shape.fitted_ = 1
    assert shape.get_params() == shape.get_params(deep=False) == {"size": 5, "colour": None}
    assert shape.set_params(colour="red", size=2) is shape
    assert (shape.size, shape.colour) == (2, "red")
    assert shape.set_params() is shape


def test_an_unknown_parameter_changes_nothing():
    shape = Shape()
    with pytest.raises(ArgumentError, match="weight: expected one of the parameters size, colour, got"):
        shape.set_params(size=9, weight=1)
    assert shape.get_params() == {"size": 3, "colour": None}


def test_what_is_shown_makes_the_same_again():
    assert repr(Shape()) == "Shape()"
    assert repr(Shape(1000, colour="red")) == "Shape(size=1000, colour='red')"
    # Equal is enough: a number read from a file is another object.
    assert repr(Shape(int("3"), colour=None)) == "Shape()"
    assert repr(Word2Vec(subsample=float("1e-4"), min_learning_rate=float("1e-4"))) == "Word2Vec()"
    assert repr(Shape(True)) == "Shape(size=True)"
    assert len(repr(Shape([str(i) for i in range(10**5)]))) < 100
    for model in (Word2Vec(), Word2Vec(50, loss="nce", vocabulary=WORDS, subtract_log_q=True, seed=2)):
        again = eval(repr(model))
        assert again.get_params() == model.get_params()


def test_parameters_are_kept_as_they_come():
    """Checked when they are used, or scikit-learn could not copy them."""
    model = Word2Vec("eight", vocabulary=WORDS, epochs=-1)
    assert model.vector_size == "eight"
    assert model.vocabulary is WORDS
    assert model.get_params()["epochs"] == -1


@pytest.mark.parametrize("fitted", [False, True])
def test_scikit_learn_clones(fitted):
    clone = pytest.importorskip("sklearn.base", reason="needs scikit-learn").clone
    model = Word2Vec(4, min_count=1, subsample=0, epochs=1, vocabulary=WORDS, seed=5)
    if fitted:
        model.fit([WORDS] * 3, progress=False)
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "vectors_")
