"""gensim_names.py: what people type who come from gensim is answered with our names."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from numba_ss import ArgumentError, Word2Vec
from numba_ss.word2vec import gensim_names

TEXT = [["a", "b"], ["b", "c"]]


def test_parameters_of_gensim_are_answered():
    for name, value, ours in (
        ("sentences", TEXT, "fit"), ("workers", 4, "num_threads"), ("sg", 1, "architecture"),
        ("size", 100, "vector_size"), ("iter", 5, "epochs"), ("negative", 5, "num_sampled"),
    ):
        with pytest.raises(ArgumentError, match=rf"^{name}: expected .*{ours}"):
            Word2Vec(**{name: value})
    assert not set(gensim_names._PARAMETERS) & set(Word2Vec().get_params())


@pytest.mark.parametrize("text", [TEXT, tuple(TEXT), iter(TEXT)])
def test_a_text_in_the_place_of_the_size(text):
    with pytest.raises(ArgumentError, match="vector_size: expected an integer; a text goes to fit, got"):
        Word2Vec(text)


def test_attributes_of_gensim_are_answered():
    model = Word2Vec(4, min_count=1, subsample=0, epochs=1)
    with pytest.raises(AttributeError, match="no attribute 'wv'; what gensim calls so is vectors_ here"):
        model.wv  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        model.nonsense  # noqa: B018
    assert not hasattr(model, "vectors_")
    model.fit(TEXT * 9, progress=False)
    for name, ours in gensim_names._ATTRIBUTES.items():
        assert not hasattr(model, name)
        assert callable(getattr(model, ours.partition(".")[0], None)) or hasattr(model, ours.partition(".")[0])


def test_signature_and_copies_are_those_of_any_estimator():
    assert list(inspect.signature(Word2Vec).parameters)[:2] == ["vector_size", "window"]
    with pytest.raises(TypeError, match="nonsense"):
        Word2Vec(nonsense=1)
    model = Word2Vec(np.int64(4), min_count=1, subsample=0, epochs=1).fit(TEXT * 9, progress=False)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.vectors_.vectors, model.vectors_.vectors)
