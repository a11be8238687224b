"""estimator.py: what scikit-learn asks of an estimator; its searches, pipelines and checks."""

import copy
import pickle
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from numba_ss import ArgumentError, Word2Vec, WordVectors
from numba_ss.io.checkpoint import read_state, write_state
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.training.estimator import Estimator, NotFittedError, integer_events
from tests.conftest import needs_jit

WORDS = ["one", "two"]
HAS_SKLEARN = find_spec("sklearn") is not None
needs_sklearn = pytest.mark.skipif(not HAS_SKLEARN, reason="needs scikit-learn")


def recommender(**params):
    """Return a small estimator of events."""
    return YouTubeDNN(**{"embedding_dim": 4, "hidden_units": (), "epochs": 2, **params})


def word_model(**params):
    """Return a small estimator of texts."""
    return Word2Vec(**{"vector_size": 4, "min_count": 1, "subsample": 0, "epochs": 2, **params})


@pytest.fixture
def pairs(rng):
    """Users who take items of their own group of five only, in an order without meaning."""
    users, items = np.nonzero(rng.random((30, 20)) < 0.9)
    return rng.permutation(np.stack([users, items], axis=1)[users % 4 == items // 5])


@pytest.fixture
def sentences(rng):
    """Sentences about one of two subjects, the words of which never meet."""
    subjects = np.array([["tea", "cup", "milk", "pot"], ["rain", "wind", "cloud", "sun"]])
    return [rng.choice(subjects[i % 2], 5).tolist() for i in range(24)]


def same_model(first, second):
    """Compare all bits that recommendations depend on."""
    return np.array_equal(first.item_vectors_, second.item_vectors_) and np.array_equal(
        first.user_vectors(), second.user_vectors()
    )


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
    assert repr(Word2Vec(distortion=float("0.75"), min_learning_rate=float("1e-4"))) == "Word2Vec()"
    assert repr(Shape(True)) == "Shape(size=True)"
    assert len(repr(Shape([str(i) for i in range(10**5)]))) < 100
    for model in (Word2Vec(), Word2Vec(50, loss="nce", vocabulary=WORDS, subtract_log_q=True, seed=2)):
        again = eval(repr(model))
        assert again.get_params() == model.get_params()


def test_parameters_are_kept_as_they_come():
    """They are checked when they are used, because scikit-learn copies them first."""
    model = Word2Vec("eight", vocabulary=WORDS, epochs=-1)
    assert model.vector_size == "eight"
    assert model.vocabulary is WORDS
    assert model.get_params()["epochs"] == -1


def test_without_scikit_learn(monkeypatch, pairs):
    for name in ("sklearn", "sklearn.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    model = recommender().fit(pairs, progress=False)
    assert model.n_features_in_ == 2
    assert eval(repr(model)).get_params() == model.get_params()
    with pytest.raises(ImportError):  # asked by scikit-learn alone
        model.__sklearn_tags__()


def test_whole_floats_are_integers(pairs):
    timed = np.column_stack([pairs, np.arange(len(pairs)) - 7])
    for events in (pairs, timed, timed - 2**52):
        for dtype in (np.float32, np.float64):
            floats = np.asfortranarray(events, dtype)
            kept = floats.copy()
            whole = integer_events("interactions", floats)
            assert whole.dtype == np.int64
            np.testing.assert_array_equal(whole, kept.astype(np.int64))
            np.testing.assert_array_equal(floats, kept)
        assert integer_events("interactions", events) is events
    assert integer_events("interactions", "log.parquet") == "log.parquet"
    model = recommender().fit(timed, progress=False)
    assert same_model(model, recommender().fit(timed.astype(float), progress=False))
    assert model.n_features_in_ == 3


WHOLE = r"integers, or floats that are whole numbers below 2\*\*53 and not NaN, got "


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros(6, int), r"shape \(n, 2 or 3\) = \(any, any\), got shape \(6,\)"),
        (np.zeros((2, 2, 2), int), r"got shape \(2, 2, 2\)"),
        (np.zeros((5, 4), int), r"users and items, .* got 5 sample\(s\) of 4 feature\(s\) \(shape=\(5, 4\)\)$"),
        (np.zeros((5, 1)), r"got 5 sample\(s\) of 1 feature\(s\) .* while a minimum of 2 is required"),
        (np.array([[1, 2], [3, 0.5]]), WHOLE + r"0\.5 at {name}\[1, 1\]"),
        (np.array([[1, 2], [np.nan, 4]]), WHOLE + r"nan at {name}\[1, 0\]"),
        (np.array([[1, -np.inf]]), WHOLE + r"-inf at {name}\[0, 1\]"),
        (np.array([[1, 2.0**53]]), WHOLE + r"9007199254740992\.0 at {name}\[0, 1\]"),
        (np.array([[-(2.0**53), 2, 3]]), WHOLE + r"-9007199254740992\.0 at {name}\[0, 0\]"),
        (np.array([[1, 2j]]), "integers of shape .* got complex128"),
        (np.array([[True, False]]), "integers of shape .* got bool"),
        (np.array([[1, None]]), "integers of shape .* got object"),
    ],
)
def test_other_arrays_are_refused(pairs, array, match):
    model = recommender().fit(pairs, progress=False)
    before = model.item_vectors_.copy(), model.log_
    for name, call in (
        ("interactions", model.fit), ("interactions", model.partial_fit), ("test", model.evaluate),
    ):
        named = match.replace("{name}", name)
        with pytest.raises(ArgumentError, match=rf"^({name}|source): expected .*{named}"):
            call(array)
    assert np.array_equal(model.item_vectors_, before[0])
    assert model.log_ is before[1]


def test_keys_may_be_negative(pairs):
    model = recommender().fit(pairs, progress=False)
    negative = recommender().fit(pairs - 100, progress=False)
    assert same_model(model, negative)
    assert set(negative.recommend([-100], 3).items[0]) <= set(range(-100, 0))


def test_what_was_not_learned_is_not_there(tmp_path, pairs):
    model, path = recommender(), tmp_path / "model"
    for call in (
        lambda: model.recommend([1]), model.user_vectors, lambda: model.evaluate(pairs),
        lambda: model.score(pairs), lambda: model.save(path), lambda: word_model().save(path),
    ):
        with pytest.raises(NotFittedError, match=r"^model: expected one that has learned, by fit, got none yet$") as caught:
            call()
        assert isinstance(caught.value, ArgumentError)
        assert isinstance(caught.value, AttributeError)
    assert not path.exists()
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("make", [recommender, word_model])
def test_a_model_of_version_0_3_is_refused(make, pairs, sentences, tmp_path):
    """Version 0.3 had other names of samplers; a later format is refused, too."""
    make().fit(pairs if make is recommender else sentences, progress=False).save(tmp_path / "new")
    with open(tmp_path / "new", "rb") as file:
        arrays, state = read_state(file)
    for change, message in (
        (lambda: state.pop("format"), "expected a model of numba_ss 0.4 or later, got one of 0.3: train again"),
        (lambda: state.update(format=99), "expected a model that .*save wrote, got .*format"),
    ):
        change()
        with open(tmp_path / "old", "wb") as file:
            write_state(file, arrays, state)
        with pytest.raises(ArgumentError, match=message):
            type(make()).load(tmp_path / "old")


@pytest.mark.parametrize("make", [recommender, word_model])
def test_a_checkpoint_and_a_file_of_vectors_are_told_from_a_model(make, pairs, sentences, tmp_path):
    make().fit(pairs if make is recommender else sentences, progress=False, checkpoint=tmp_path)
    with pytest.raises(ArgumentError, match=r"wrote, got a checkpoint, from which fit\("):
        type(make()).load(tmp_path / "checkpoint-1.npz")
    WordVectors(["a"], [[1.0]]).save(tmp_path / "v.npz")
    with pytest.raises(ArgumentError, match=r"wrote, got .*arrays alone, as in a file of vectors"):
        type(make()).load(tmp_path / "v.npz")


@pytest.mark.parametrize("make", [recommender, word_model])
def test_a_model_elsewhere_is_read_through_a_copy(make, pairs, sentences, tmp_path):
    """It is saved on this machine only, and a path with a scheme is refused before any work."""
    system = pytest.importorskip("fsspec").filesystem("memory")
    model = make().fit(pairs if make is recommender else sentences, progress=False)
    with pytest.raises(ArgumentError, match=r"a path of this machine, without a scheme \(copy the file"):
        model.save("memory://bucket/model")
    model.save(tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    system.pipe("/bucket/model", whole)
    system.pipe("/bucket/cut", whole[:-9])
    try:
        got = type(model).load("memory://bucket/model")
        (arrays, state), (copied, of_copy) = model._pack(), got._pack()
        assert of_copy == state
        assert {name: a.tobytes() for name, a in copied.items()} == {name: a.tobytes() for name, a in arrays.items()}
        with pytest.raises(ArgumentError, match=r"^memory://bucket/cut: expected a model that"):
            type(model).load("memory://bucket/cut")
    finally:
        system.store.clear()


def test_score_wants_something_new(pairs):
    model = recommender().fit(pairs, progress=False)
    with pytest.raises(ArgumentError, match="test: expected an event of an item that the user has not had"):
        model.score(pairs)
    # User 0 is of the first group, and may take everything.
    new = np.array([[0, item] for item in range(20) if [0, item] not in pairs.tolist()])
    assert model.score(new) == model.score(np.vstack([pairs, new])) == 1


@pytest.mark.parametrize("sampler", ["unigram", "learned_unigram", "in_batch", "mixed"])
def test_copies_are_alike_and_apart(pairs, sampler):
    """A copy in memory gives the same recommendations, and continues training by itself."""
    old, new = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :] + np.array([5, 2])  # new keys
    model = recommender(sampler=sampler, hidden_units=(5,)).fit(old, progress=False)
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    before = model.item_vectors_.copy()
    for twin in copies:
        assert same_model(twin, model)
        twin.partial_fit(new, progress=False)
    assert np.array_equal(model.item_vectors_, before)
    model.partial_fit(new, progress=False)
    assert not np.array_equal(model.item_vectors_[: len(before)], before)
    assert all(same_model(twin, model) for twin in copies)


def test_copies_of_words(sentences):
    model = word_model().fit(sentences, progress=False)
    twin = pickle.loads(pickle.dumps(model))
    for each in (model, twin):
        each.partial_fit([["tea", "and", "rain"]] * 3, progress=False)
    assert twin.vectors_.key_to_index == model.vectors_.key_to_index
    assert np.array_equal(twin.vectors_.vectors, model.vectors_.vectors)


@needs_sklearn
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("make", [recommender, word_model])
def test_scikit_learn_clones(make, fitted, pairs, sentences):
    from sklearn.base import clone

    model = make(seed=5, **({"hidden_units": (3,)} if make is recommender else {"vocabulary": WORDS}))
    if fitted:
        model.fit(pairs if make is recommender else [WORDS] * 3, progress=False)
    twin = clone(model)
    assert twin is not model
    assert twin.get_params() == model.get_params()
    assert hasattr(model, "history_") == fitted
    assert not hasattr(twin, "history_")


@needs_sklearn
@pytest.mark.parametrize("make", [recommender, word_model])
def test_scikit_learn_sees_whether_it_has_learned(make, pairs, sentences):
    from sklearn.exceptions import NotFittedError as Unfitted
    from sklearn.utils.validation import check_is_fitted

    model = make()
    with pytest.raises(Unfitted):
        check_is_fitted(model)
    model.fit(pairs if make is recommender else sentences, progress=False)
    check_is_fitted(model)


@needs_sklearn
def test_pipeline_of_events(pairs):
    """The previous step returns an array, also of floats, or a table."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_is_fitted

    def table(array):
        return {"who": array[:, 0].tolist(), "what": array[:, 1]}

    model = recommender(user="who", item="what", timestamp=None)
    expected = recommender(timestamp=None).fit(pairs, progress=False)
    for make in (None, table, lambda array: array.astype(float)):
        pipeline = Pipeline([("events", FunctionTransformer(make)), ("model", model)])
        pipeline.set_params(model__epochs=2).fit(pairs, model__progress=False)
        check_is_fitted(pipeline)
        assert same_model(pipeline[-1], expected)
        new = np.array([[0, item] for item in range(10)])
        assert pipeline.score(new) == expected.score(new)
        assert "YouTubeDNN" in repr(pipeline)
        assert "YouTubeDNN" in pipeline._repr_html_()


@needs_sklearn
def test_pipeline_of_texts(sentences):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    split = FunctionTransformer(lambda lines: [line.split() for line in lines])
    pipeline = make_pipeline(split, word_model())
    pipeline.fit([" ".join(words) for words in sentences])
    expected = word_model().fit(sentences, progress=False).vectors_
    assert np.array_equal(pipeline[-1].vectors_.vectors, expected.vectors)


@needs_sklearn
@pytest.mark.parametrize("timed", [False, True])
def test_grid_search_of_events(pairs, timed):
    from sklearn.model_selection import GridSearchCV, KFold

    events = np.column_stack([pairs, np.arange(len(pairs))]) if timed else pairs
    rates, folds = [0.001, 0.3], KFold(3)
    search = GridSearchCV(recommender(epochs=5), {"learning_rate": rates}, cv=folds, error_score="raise")
    search.fit(events)
    by_hand = [
        np.mean([
            recommender(epochs=5, learning_rate=rate).fit(events[train], progress=False).score(events[test])
            for train, test in folds.split(events)
        ])
        for rate in rates
    ]
    assert search.cv_results_["mean_test_score"].tolist() == by_hand
    assert by_hand[0] < by_hand[1]
    assert search.best_params_ == {"learning_rate": 0.3}
    best = recommender(epochs=5, learning_rate=0.3).fit(events, progress=False)
    assert same_model(search.best_estimator_, best)
    assert search.n_features_in_ == events.shape[1]


@needs_jit  # uninterpreted kernels warn, which only this process is told to overlook
@needs_sklearn
def test_grid_search_in_processes(pairs):
    from sklearn.model_selection import GridSearchCV

    found = [
        GridSearchCV(
            recommender(), {"temperature": [0.05, 1.0]}, cv=2, n_jobs=jobs, error_score="raise"
        ).fit(pairs)
        for jobs in (None, 2)
    ]
    scores = [search.cv_results_["mean_test_score"].tolist() for search in found]
    assert scores[0] == scores[1]
    assert len(set(scores[0])) == 2
    assert same_model(found[0].best_estimator_, found[1].best_estimator_)


def subjects_apart(model, sentences, y=None):
    """Score word vectors: the words of a sentence are alike, those of the next are not."""
    vectors = model.vectors_
    return float(np.mean([
        vectors.similarity(here[0], here[1]) - vectors.similarity(here[0], there[0])
        for here, there in pairwise(sentences)
    ]))


@needs_sklearn
def test_grid_search_of_texts(sentences):
    from sklearn.model_selection import GridSearchCV, KFold

    rates, folds = [0.0001, 0.05], KFold(2)
    search = GridSearchCV(
        word_model(epochs=5), {"learning_rate": rates}, scoring=subjects_apart, cv=folds,
        error_score="raise",
    ).fit(sentences)
    by_hand = []
    for rate in rates:
        scores = []
        for train, test in folds.split(sentences):
            model = word_model(epochs=5, learning_rate=rate)
            model.fit([sentences[i] for i in train], progress=False)
            scores.append(subjects_apart(model, [sentences[i] for i in test]))
        by_hand.append(np.mean(scores))
    assert search.cv_results_["mean_test_score"].tolist() == by_hand
    assert by_hand[0] < by_hand[1]
    assert search.best_params_ == {"learning_rate": 0.05}


@needs_sklearn
def test_tags():
    from sklearn.utils import get_tags

    def taken(model):
        return {name for name, takes in asdict(get_tags(model).input_tags).items() if takes}

    assert taken(recommender()) == {"two_d_array", "sparse", "categorical"}
    # So scikit-learn leaves its checks out, all of which make arrays of numbers.
    assert taken(word_model()) == {"string"}
    assert not get_tags(word_model()).target_tags.required


def checks(model, reasons):
    """Return all of scikit-learn's checks of an estimator; some are to fail, for a reason."""
    if not HAS_SKLEARN:
        return needs_sklearn
    from sklearn.utils.estimator_checks import parametrize_with_checks

    with warnings.catch_warnings():
        # Whoever has no need of scikit-learn cannot inherit from it.
        warnings.filterwarnings("ignore", ".* does not inherit from `sklearn.base.BaseEstimator`")
        mark = parametrize_with_checks([model], expected_failed_checks=lambda _: reasons)
        names, cases = mark.args
        return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


OTHER_COLUMNS = "its array has another number of columns than 2, users and items, or 3, with times"
ALL_KNOWN = "it scores what was learned from; a recommender is asked for what a user has not had"
EVENTS_REASONS = {
    "check_complex_data": "complex numbers are refused, but as an array of one column",
    "check_dtype_object": OTHER_COLUMNS,
    "check_estimators_dtypes": OTHER_COLUMNS,
    "check_fit_score_takes_y": ALL_KNOWN,
    "check_n_features_in_after_fitting": OTHER_COLUMNS,
    "check_pipeline_consistency": ALL_KNOWN,
    "check_positive_only_tag_during_fit": OTHER_COLUMNS + "; negative keys are tested above",
}


@checks(recommender(epochs=1), EVENTS_REASONS)
def test_scikit_learn_checks_events(estimator, check):
    """The numbers of its checks are rounded, because users and items are categories."""
    check(estimator)


def as_sentences(rows):
    """Return rows of numbers as lists of words, and anything else as it is."""
    rows = np.asarray(rows) if hasattr(rows, "__array__") else rows
    if isinstance(rows, (np.ndarray, list)) and np.ndim(rows) == 2:
        return [[str(number) for number in row] for row in rows]
    return rows


class NumbersAsWords(Word2Vec):
    """Takes rows of an array for sentences, which is all that scikit-learn's checks have."""

    _takes = ("two_d_array", "categorical")

    def _open(self, corpus, *how):
        return super()._open(as_sentences(corpus), *how)

    def transform(self, documents):
        return super().transform(as_sentences(documents))


NO_FEATURES = "a text has words, and no number of features"
ANY_WORD = "of anything there is a word; Word2Vec itself takes strings and integers only"
WORDS_REASONS = {
    "check_complex_data": ANY_WORD,
    "check_dtype_object": ANY_WORD,
    "check_estimators_empty_data_messages": NO_FEATURES,
    "check_estimators_nan_inf": ANY_WORD,
    "check_fit2d_predict1d": "one document is refused, but as such",
    "check_fit2d_1feature": "sentences of one word are refused, but as such",
    "check_n_features_in": NO_FEATURES,
    "check_n_features_in_after_fitting": NO_FEATURES,
    "check_transformer_general": NO_FEATURES,
}


@checks(NumbersAsWords(4, min_count=1, subsample=0, epochs=1), WORDS_REASONS)
def test_scikit_learn_checks_words(estimator, check):
    check(estimator)


@needs_sklearn
@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil"])
def test_sparse_matrices_are_users_by_items(pairs, layout):
    sparse = pytest.importorskip("scipy.sparse", reason="needs SciPy")
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    matrix = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(30, 20)).asformat(layout)
    model = recommender().fit(matrix, progress=False)
    assert model.log_.num_events == len(pairs)
    assert model.n_features_in_ == 2
    if layout in ("csr", "lil"):  # by rows, as the pairs are
        assert same_model(model, recommender().fit(pairs, progress=False))
