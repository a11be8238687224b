"""Word2Vec on a cluster: the same bits as on one machine, and for any number of machines."""

import contextlib
import json
import logging

import numpy as np
import pytest

from numba_ss import ArgumentError, StopTraining, TrainingDivergedError, Word2Vec
from numba_ss.distributed.local import LocalCluster
from numba_ss.word2vec.parts import Encoder
from numba_ss.word2vec.work import WordWork
from tests.conftest import needs_jit


class Rehearsal:
    """A cluster within this process."""

    def __init__(self, num_workers=1, num_shards=1, *, block_size=400, blocks_per_round=1, tables=None):
        self.shape, self.tables = (num_workers, num_shards), tables
        self._sizes = {"block_size": block_size, "blocks_per_round": blocks_per_round}

    def sizes(self):
        return self._sizes

    @contextlib.contextmanager
    def open(self):
        yield LocalCluster(*self.shape)


def make_text(path, seed=1, num_sentences=600, num_topics=5):
    """Write sentences of a few topics; words of a topic are neighbours."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(num_sentences):
        topic = rng.integers(num_topics)
        words = [f"t{topic}w{min(rng.zipf(1.5), 30)}" for _ in range(rng.integers(1, 20))]
        lines.append(" ".join(words) + "\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture
def text(tmp_path):
    return make_text(tmp_path / "text.txt")


def same(one, two):
    np.testing.assert_array_equal(one.vectors_.vectors, two.vectors_.vectors)
    np.testing.assert_array_equal(one._outputs, two._outputs)
    assert one.vocabulary_.words == two.vocabulary_.words
    for name, array in one._rare.items():
        np.testing.assert_array_equal(array, two._rare[name])


def model(**options):
    return Word2Vec(**{"vector_size": 7, "epochs": 2, "min_count": 2, **options})


OPTIONS = {
    "skipgram": {}, "cbow": {"architecture": "cbow"}, "nce": {"loss": "nce"},
    "logistic": {"loss": "sampled_logistic", "vector_size": 16},
    "negative": {"loss": "negative_sampling", "sampler": "uniform", "window": 2},
    "batches": {"batch_size": 50, "num_sampled": 30}, "subsampled": {"subsample": 1e-2},
    "constant": {"schedule": "constant", "max_vocabulary": 40},
    "words": {"vocabulary": ["t1w1", "t1w2", "t2w1", "none"]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_one_block_a_round_gives_the_bits_of_one_machine(options, text):
    here = model(**options).fit(text, progress=False)
    there = model(**options).fit(text, progress=False, cluster=Rehearsal())
    same(here, there)
    for one, two in zip(here.history_, there.history_, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-12)
        assert one["learning_rate"] == two["learning_rate"]


def test_bits_do_not_depend_on_workers_and_shards(text):
    fitted = [
        model().fit(text, progress=False, cluster=Rehearsal(*shape, blocks_per_round=5))
        for shape in ((1, 1), (3, 1), (2, 5), (7, 2))
    ]
    for other in fitted[1:]:
        same(fitted[0], other)


@needs_jit
def test_lists_of_words_are_read_here(text):
    sentences = [line.split() for line in text.read_text().splitlines()]
    same(
        model().fit(sentences, progress=False),
        model().fit(sentences, progress=False, cluster=Rehearsal(2, 2)),
    )


@needs_jit
def test_topics_are_learned_in_rounds(tmp_path):
    text = make_text(tmp_path / "text.txt", num_sentences=4000)
    fitted = Word2Vec(20, epochs=5).fit(
        text, progress=False, cluster=Rehearsal(block_size=2000, blocks_per_round=8)
    )
    words = [f"t{topic}w{rank}" for topic in range(5) for rank in (1, 2, 3, 4)]
    right = [
        near[1] == word[1]
        for word in words for near, _ in fitted.vectors_.most_similar(word, topn=4)
    ]
    assert np.mean(right) > 0.9


@needs_jit
@pytest.mark.parametrize("options", [{}, {"architecture": "cbow"}, {"loss": "negative_sampling"}])
def test_rounds_of_bursts_do_not_diverge(options, tmp_path):
    """Two words that repeat without end, in all blocks of a round."""
    path = tmp_path / "text.txt"
    path.write_text("one two one two\n" * 5000 + "three four five\n" * 200)
    fitted = Word2Vec(10, min_count=1, subsample=0, epochs=5, **options).fit(
        path, progress=False, cluster=Rehearsal(block_size=500, blocks_per_round=32)
    )
    alone = Word2Vec(10, min_count=1, subsample=0, epochs=5, **options).fit(path, progress=False)
    longest = [np.linalg.norm(m.vectors_.vectors, axis=1).max() for m in (fitted, alone)]
    assert longest[0] < 2 * longest[1]


def test_a_run_that_was_stopped_resumes_with_the_same_bits(text, tmp_path):
    whole = model(epochs=3).fit(
        text, progress=False, cluster=Rehearsal(2, 3, blocks_per_round=4)
    )

    def stop(event):
        if event.kind == "step" and event.examples > 3000:
            raise KeyboardInterrupt

    folder, cluster = tmp_path / "checkpoints", Rehearsal(1, 2, blocks_per_round=4)
    with pytest.raises(KeyboardInterrupt):
        model(epochs=3).fit(
            text, progress=False, cluster=cluster, checkpoint=folder, checkpoint_words=500,
            callbacks=stop,
        )
    with pytest.raises(ArgumentError, match="blocks_per_round"):
        model(epochs=3).fit(
            text, progress=False, cluster=Rehearsal(1, 2, blocks_per_round=3), checkpoint=folder,
            resume=True,
        )
    resumed = model(epochs=3).fit(
        text, progress=False, cluster=Rehearsal(3, 1, blocks_per_round=4), checkpoint=folder,
        resume=True,
    )
    same(whole, resumed)
    assert [entry["loss"] for entry in whole.history_] == [
        entry["loss"] for entry in resumed.history_
    ]


@needs_jit
def test_a_run_is_not_resumed_on_another_text(text, tmp_path):
    folder = tmp_path / "checkpoints"
    model().fit(text, progress=False, cluster=Rehearsal(), checkpoint=folder)
    with pytest.raises(ArgumentError, match="resume"):
        model().fit(text, progress=False, cluster=Rehearsal(), checkpoint=folder)
    make_text(text, seed=2)
    match = r"text: expected '[\d,]+ words with checksum \w{8}', as in .*checkpoint-\d+, got '[\d,]+ words"
    with pytest.raises(ArgumentError, match=match):
        model().fit(text, progress=False, cluster=Rehearsal(), checkpoint=folder, resume=True)


@needs_jit
def test_other_parameters_are_refused_before_the_text_is_read(text, tmp_path):
    cluster, folder = Rehearsal(), tmp_path / "checkpoints"
    model().fit(text, progress=False, cluster=cluster, checkpoint=folder)
    none = tmp_path / "none.txt"
    none.touch()
    for message, options, other in (
        ("vector_size: expected 7, as in", {"vector_size": 8}, cluster),
        ("blocks_per_round: expected 1, as in", {}, Rehearsal(blocks_per_round=2)),
    ):
        with pytest.raises(ArgumentError, match=message):
            model(**options).fit(none, progress=False, cluster=other, checkpoint=folder, resume=True)


@needs_jit
@pytest.mark.parametrize("options", [{"embedding_dim": 8}, None])
def test_a_checkpoint_of_another_trainer_is_refused(options, text, tmp_path):
    model().fit(text, progress=False, cluster=Rehearsal(), checkpoint=tmp_path / "checkpoints")
    for path in tmp_path.glob("checkpoints/*/state.json"):
        content = json.loads(path.read_text())
        content["state"]["options"] = options
        path.write_text(json.dumps(content))
    with pytest.raises(ArgumentError, match=r"checkpoint-\d+: expected a checkpoint of Word2Vec, got another one"):
        model().fit(
            text, progress=False, cluster=Rehearsal(), checkpoint=tmp_path / "checkpoints", resume=True
        )


@needs_jit
def test_a_run_on_one_machine_is_not_resumed_on_a_cluster_nor_the_other_way(text, tmp_path):
    for first, second in ((None, Rehearsal()), (Rehearsal(), None)):
        folder = tmp_path / f"{first is None}"
        model().fit(text, progress=False, cluster=first, checkpoint=folder)
        before = sorted(folder.rglob("*"))
        with pytest.raises(ArgumentError, match="checkpoint: expected a folder without checkpoints of a run on"):
            model().fit(text, progress=False, cluster=second, checkpoint=folder, resume=True)
        assert sorted(folder.rglob("*")) == before


@needs_jit
def test_a_fitted_model_learns_on(text, tmp_path):
    further = make_text(tmp_path / "further.txt", seed=5, num_topics=7)
    here, there = (model().fit(text, progress=False) for _ in range(2))
    here.partial_fit(further, progress=False)
    there.partial_fit(further, progress=False, cluster=Rehearsal(2, 2))
    same(here, there)


@needs_jit
def test_the_held_out_loss_and_the_events_are_those_of_one_machine(text, tmp_path):
    held_out = make_text(tmp_path / "held_out.txt", seed=9)
    seen = {}
    for name, cluster in (("here", None), ("there", Rehearsal(2, 2))):
        events = []
        fitted = model(epochs=3).fit(
            text, progress=False, validation=held_out, cluster=cluster, callbacks=events.append
        )
        seen[name] = [entry["validation_loss"] for entry in fitted.history_]
        assert [e.kind for e in events if e.kind != "step"] == ["begin", *["epoch"] * 3, "end"]
    assert seen["here"] == pytest.approx(seen["there"], rel=1e-6)


@needs_jit
def test_tables_are_mapped_from_files_if_a_folder_is_given(text, tmp_path):
    here = model().fit(text, progress=False, cluster=Rehearsal(2, 3))
    there = model().fit(text, progress=False, cluster=Rehearsal(2, 3, tables=tmp_path))
    same(here, there)
    for name, table in (("inputs", there.vectors_.vectors), ("outputs", there._outputs)):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), table)
        while isinstance(table.base, np.ndarray):
            table = table.base
        assert isinstance(table, np.memmap)
    there.vectors_.most_similar("t1w1")


@needs_jit
def test_early_stopping_takes_the_best_epoch(text, tmp_path):
    held_out = make_text(tmp_path / "held_out.txt", seed=9)
    options = {"epochs": 8, "early_stopping": 1, "learning_rate": 0.5, "schedule": "constant"}
    here = model(**options).fit(text, progress=False, validation=held_out)
    there = model(**options).fit(
        text, progress=False, validation=held_out, cluster=Rehearsal(),
        checkpoint=tmp_path / "checkpoints",
    )
    assert len(here.history_) == len(there.history_)
    same(here, there)
    with pytest.raises(ArgumentError, match="early_stopping"):
        model(**options).fit(text, progress=False, validation=held_out, cluster=Rehearsal())


def test_a_callback_stops_the_run(text):
    def stop(event):
        if event.kind == "epoch":
            raise StopTraining

    fitted = model(epochs=9).fit(text, progress=False, cluster=Rehearsal(), callbacks=stop)
    assert len(fitted.history_) == 1


@pytest.mark.parametrize("loss", [np.nan, 1e9])
def test_divergence_is_told(loss, text, monkeypatch):
    train = WordWork.train

    def absurd(work, prepared, rows, num_blocks):
        trained = train(work, prepared, rows, num_blocks)
        return trained._replace(figures=trained.figures | {"loss": loss})

    monkeypatch.setattr(WordWork, "train", absurd)
    with pytest.raises(TrainingDivergedError, match="blocks_per_round"):
        model().fit(text, progress=False, cluster=Rehearsal(blocks_per_round=4))


def test_a_text_that_changes_between_the_passes_is_refused(text, monkeypatch):
    def changed(self, part):
        text.write_text(text.read_text() + "t1w1 t1w2")
        return call(self, part)

    call = Encoder.__call__
    monkeypatch.setattr(Encoder, "__call__", changed)
    with pytest.raises(ArgumentError, match=r"text\.txt: .*a changed one"):
        model().fit(text, progress=False, cluster=Rehearsal())


class Fleeting:
    """Sentences that are there in the first pass only."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return iter([["one", "two"]] * 9 if self.passes == 1 else [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([["one"], ["two"]] * 9, "corpus: expected a sentence with two words"),
        (Fleeting(), "corpus: expected the same words in every pass over the text, got 0 instead of 18"),
    ],
)
def test_a_text_without_anything_to_learn_is_refused(text, message):
    fitted = Word2Vec(5, min_count=1, subsample=0)
    with pytest.raises(ArgumentError, match=message):
        fitted.fit(text, progress=False, cluster=Rehearsal())
    assert not hasattr(fitted, "vectors_")


@pytest.mark.parametrize("cluster", [Rehearsal(), Rehearsal(3, 2, blocks_per_round=4)])
def test_a_small_text(cluster, caplog):
    caplog.set_level(logging.INFO, "numba_ss")
    fitted = Word2Vec(5, min_count=1).fit(
        [["one", "two"], ["three"]], progress=False, cluster=cluster
    )
    assert np.isfinite(fitted.vectors_.vectors).all()
    assert "blocks" in caplog.text
