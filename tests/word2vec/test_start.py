"""start.py: runs that begin anew or go on, and what is refused as a beginning."""

from collections import Counter

import numpy as np
import pytest

from numba_ss import ArgumentError, CheckpointFolder, Word2Vec
from numba_ss.word2vec import run as word_run
from tests.conftest import JIT
from tests.word2vec.test_estimator import TEXT, bits, trained
from tests.word2vec.test_run import run, stopped


@pytest.fixture(autouse=True)
def _frequent_reports(monkeypatch):
    monkeypatch.setattr(word_run, "_WORDS_A_CALL", 32)


def test_partial_fit_first_is_fit():
    model = Word2Vec(8, min_count=1, subsample=0, epochs=2, batch_size=16)
    assert bits(model.partial_fit(TEXT, progress=False)) == bits(trained())


def test_partial_fit_grows_the_tables():
    model = trained(window=3)
    before, outputs, history = model.vectors_, model._outputs, model.history_
    frequent = before.index_to_key[-1]
    more = [["new", frequent, "newer", frequent, "rare"][: 5 if i == 0 else 4] for i in range(99 if JIT else 40)]
    seen = []
    model.set_params(learning_rate=0, min_count=2)
    assert model.partial_fit(more, progress=False, callbacks=seen.append) is model
    # At a rate of 0 all is as it was before, at the places of the new order.
    counts = Counter(word for sentence in [*TEXT, *more] for word in sentence if word != "rare")
    words = model.vectors_.index_to_key
    assert words == sorted(counts, key=lambda word: (-counts[word], word))
    assert words[0] == frequent
    assert model.vocabulary_.counts.tolist() == [counts[word] for word in words]
    np.testing.assert_array_equal(model.vectors_[before.index_to_key], before.vectors)
    rows = [model.vocabulary_.index[word] for word in before.index_to_key]
    np.testing.assert_array_equal(model._outputs[rows], outputs)
    assert not model._outputs[[model.vocabulary_.index["new"], model.vocabulary_.index["newer"]]].any()
    assert 0 < np.abs(model.vectors_["new"]).max() <= 1 / 16
    assert model.history_[:2] == history
    assert [(e["epoch"], e["words"]) for e in model.history_[2:]] == [(3, 4 * len(more)), (4, 4 * len(more))]
    assert seen[0].model is model
    # Then it learns, and a fit after it begins from nothing.
    model.set_params(learning_rate=0.1, min_count=1).partial_fit(more, progress=False)
    assert np.abs(model.vectors_["new"] - before[frequent]).max() > 0.01
    assert model.vectors_.counts[0] == 2 * 2 * len(more) + before.counts[-1]
    model.set_params(learning_rate=None).fit(TEXT, progress=False)
    assert bits(model) == bits(trained(window=3))


def test_partial_fit_learns_from_other_noise_each_time():
    """The draws go on: a second pass over the same text is not the first one again.

    Vectors that do not change have losses that differ by noise words and windows alone.
    """
    model = trained(learning_rate=0)
    for _ in range(2):
        model.partial_fit(TEXT, progress=False)
    assert len({entry["loss"] for entry in model.history_}) == 6
    model, words = trained(subsample=0.05, epochs=1), []
    for _ in range(4):
        model.partial_fit(TEXT, progress=False, callbacks=lambda event: words.append(event.examples))
    assert len({words[i] for i, later in enumerate(words[1:]) if later == 0} | {words[-1]}) > 1


@pytest.mark.parametrize(
    ("message", "options", "text"),
    [
        ("vector_size: expected 8, as before, got 9", {"vector_size": 9}, TEXT),
        ("corpus: expected two different words of the vocabulary at least, got 0", {}, [["?"]]),
        ("corpus: .*generator", {}, (sentence for sentence in TEXT)),
        ("epochs: expected at least 1, got 0", {"epochs": 0}, TEXT),
    ],
)
def test_bad_partial_fit_changes_nothing(message, options, text):
    model = trained()
    before = bits(model)
    with pytest.raises(ArgumentError, match=message):
        model.set_params(**{"min_count": 2, **options}).partial_fit(text, progress=False)
    assert bits(model) == before


OTHERS = {
    "vector_size": 9, "window": 2, "min_count": 2, "max_vocabulary": 7, "vocabulary": ["0_1", "0_2"],
    "architecture": "cbow", "loss": "nce", "num_sampled": 3, "sampler": "uniform", "distortion": 1.0,
    "subtract_log_q": True, "subsample": 0.2, "learning_rate": 0.1, "min_learning_rate": 0.01,
    "schedule": "constant", "batch_size": 32, "seed": 2,
}


def test_another_option_is_refused(tmp_path):
    stopped(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {*OTHERS, "num_threads", "epochs", "early_stopping"} == set(Word2Vec().get_params())
    for name, value in OTHERS.items():
        with pytest.raises(ArgumentError, match=rf"^{name}: expected .*, as in .*checkpoint-1.npz, got"):
            run(folder=tmp_path, resume=True, **{name: value})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_scheme_is_refused(tmp_path, monkeypatch):
    """A checkpoint of kernels that drew and learned in another way."""
    stopped(tmp_path)
    monkeypatch.setattr("numba_ss.word2vec.parameters.SCHEME", 0)
    with pytest.raises(ArgumentError, match=r"^scheme: expected \d+, as in .*, got 0"):
        run(folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position", -5), ("position", -(2**63)), ("position", 2**40), ("position", 7),
        ("position", None), ("epoch", -1), ("examples", "many"), ("seconds", -1.0), ("read", [1]),
        ("read", [-1, 0]), ("whole", [0, 2**40]), ("varies", 3), ("history", [1]), ("history", None),
        ("more", 1),
    ],
)
def test_a_state_that_is_no_state_is_refused(tmp_path, field, value):
    """Their checksums are right, but kernels never get their contents."""
    stopped(tmp_path / "old")
    arrays, state, _ = CheckpointFolder(tmp_path / "old").load()
    state["run"][field] = value
    CheckpointFolder(tmp_path / "new").save(arrays, state)
    with pytest.raises(ArgumentError, match=r"run|the same text"):
        run(folder=tmp_path / "new", resume=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("inputs", lambda a: a[:, :-1]), ("outputs", lambda a: a[:-1]), ("losses", lambda a: a[:0]),
        ("inputs", lambda a: a.astype(np.float64)), ("outputs", lambda a: a * np.float32(np.nan)),
        ("counts", lambda a: a[:-1]), ("offsets", lambda a: a[::-1]), ("rare_counts", None),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, change):
    stopped(tmp_path / "old")
    arrays, state, _ = CheckpointFolder(tmp_path / "old").load()
    arrays = dict(arrays)
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = np.ascontiguousarray(change(array))
    CheckpointFolder(tmp_path / "new").save(arrays, state)
    with pytest.raises(ArgumentError):
        run(folder=tmp_path / "new", resume=True)


def test_another_program_s_checkpoints(tmp_path):
    CheckpointFolder(tmp_path).save({"weights": np.ones(3)}, {"epoch": 1})
    with pytest.raises(ArgumentError, match=r"checkpoint-1.npz: expected a checkpoint of Word2Vec"):
        run(folder=tmp_path, resume=True)


def test_a_finished_run_goes_on(tmp_path):
    """With more epochs; the words known before are those of the first run."""
    run(folder=tmp_path, epochs=2)
    model = run(folder=tmp_path, epochs=3, resume=True)
    assert [entry["epoch"] for entry in model.history_] == [1, 2, 3]
    with pytest.raises(ArgumentError, match=r"^epochs: expected at least 3, which .* has done, got 2"):
        run(folder=tmp_path, epochs=2, resume=True)
