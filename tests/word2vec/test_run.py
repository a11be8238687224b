"""run.py: events, checkpoints, interrupts; a run that goes on ends with the same bits."""

import errno
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError, CheckpointFolder, StopTraining, TrainingDivergedError, Word2Vec
from numba_ss.training import run as training_run
from numba_ss.word2vec import corpus
from numba_ss.word2vec import run as word_run
from numba_ss.word2vec.run import WordRun, held_out_loss, held_out_stream
from tests.conftest import JIT, names, needs_jit
from tests.training.stops import at_event, in_epoch, interrupt, send_interrupt
from tests.word2vec.test_estimator import (
    ARCHITECTURES,
    HELD_OUT,
    as_flags,
    bits,
    environment,
    share_of_own_topic,
    topic_text,
    trained,
)

TEXT = topic_text(2, 4, 40 if JIT else 12, 10)
WORDS = sum(map(len, TEXT))
OPTIONS = {"subsample": 0.3, "window": 3, "learning_rate": 0.05}


@pytest.fixture(autouse=True)
def _frequent_reports(monkeypatch):
    monkeypatch.setattr(word_run, "_WORDS_A_CALL", 32)


def run(text=TEXT, folder=None, *, callbacks=(), resume=False, **options):
    fit = {"callbacks": callbacks, "checkpoint": folder, "checkpoint_words": 1, "resume": resume}
    return trained(text, fit=fit, **OPTIONS | options)


@pytest.fixture(scope="module")
def whole():
    """What runs give that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_run, "_WORDS_A_CALL", 32)
        with np.errstate(all="ignore"):
            return {name: bits(run(architecture=name)) for name in ARCHITECTURES}


def stopped(folder, kind="step", number=2, **options):
    """Leave the checkpoints of a run that stopped."""
    with pytest.raises(KeyboardInterrupt):
        run(folder=folder, callbacks=at_event(kind, number, interrupt), **options)
    return folder


def test_events(tmp_path):
    seen, vectors = [], []

    def note(event):
        seen.append(event)
        vectors.append(getattr(event.model, "vectors_", None))

    order = []
    model = run(
        folder=tmp_path, epochs=3,
        callbacks=[note, lambda event: order.append((event, len(seen)))],
    )
    assert order == [(event, i) for i, event in enumerate(seen, 1)]
    assert all(event.model is model for event in seen)
    kinds = [event.kind for event in seen]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert set(kinds[1:-1]) == {"step", "checkpoint", "epoch"}
    steps = len(TEXT) * 10 * 0.3 // 32
    finished = 0
    for i, event in enumerate(seen):
        finished += event.kind == "epoch"
        assert event.epoch == finished
        assert event.examples >= seen[i - 1].examples if i else event.examples == 0
        assert np.isnan(event.loss) == (event.kind == "begin")
        assert 0 < event.learning_rate <= 0.05
        if event.kind == "epoch":
            assert kinds[:i].count("step") >= finished * steps
            assert event.loss == model.history_[finished - 1]["loss"]
            assert event.learning_rate == model.history_[finished - 1]["learning_rate"]
        # The vectors are those of the last event "epoch" or "end".
        is_new = vectors[i] is not (vectors[i - 1] if i else None)
        assert is_new == (event.kind in ("epoch", "end"))
    assert finished == 3
    assert seen[-1].loss == seen[-2].loss == model.history_[-1]["loss"]
    assert 0.1 * WORDS < seen[-1].examples / 3 <= WORDS
    np.testing.assert_array_equal(vectors[-1].vectors, model.vectors_.vectors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("kind", "number"),
    [("begin", 1), ("step", 1), ("step", 4), ("checkpoint", 2), ("epoch", 1), ("epoch", 2), ("end", 1)],
)
def test_interrupted_and_resumed(whole, tmp_path, architecture, kind, number):
    seen = []
    callbacks = [seen.append, at_event(kind, number, interrupt)]
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, callbacks=callbacks, architecture=architecture)
    # The estimator holds what was learned, as far as it got.
    left = seen[0].model
    assert hasattr(left, "vectors_") == (kind != "begin")
    if kind != "begin":
        assert len(left.history_) == seen[-1].epoch
        assert len(left.vectors_) == len(left.vocabulary_) == 8
    if kind == "end":
        assert bits(left) == whole[architecture]
    resumed = run(folder=tmp_path, resume=True, architecture=architecture)
    assert bits(resumed) == whole[architecture]


@pytest.mark.parametrize("number", [1, 3, 7])
def test_resumed_in_a_later_block(whole, tmp_path, monkeypatch, number):
    monkeypatch.setattr(corpus, "STREAM_SIZE", 24)
    stopped(tmp_path, "step", number)
    # What is read again must not be learned again, nor kept.
    kept = []
    learn = WordRun._learn_piece
    monkeypatch.setattr(
        WordRun, "_learn_piece",
        lambda self, piece: kept.append(len(piece.stream)) or learn(self, piece),
    )
    assert bits(run(folder=tmp_path, resume=True)) == whole["skipgram"]
    assert max(kept) < 24 + 16 + 2 * OPTIONS["window"]


def test_interrupted_again_and_again(whole, tmp_path):
    for number in (1, 2, 1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(folder=tmp_path, callbacks=at_event("checkpoint", number, interrupt), resume=True)
    assert bits(run(folder=tmp_path, resume=True, num_threads=None)) == whole["skipgram"]


def test_ctrl_c_ends_the_step_and_saves(whole, tmp_path, caplog):
    handler, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        trained(
            TEXT, **OPTIONS,
            fit={"checkpoint": tmp_path, "callbacks": [seen.append, at_event("step", 3, send_interrupt)]},
        )
    assert signal.getsignal(signal.SIGINT) is handler
    assert "once more to stop at once" in caplog.text
    assert [event.kind for event in seen].count("step") == 3
    assert seen[-1].kind == "checkpoint"
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert state["run"]["examples"] == seen[-1].examples
    np.testing.assert_array_equal(arrays["inputs"], seen[-1].model.vectors_.vectors)
    assert bits(run(folder=tmp_path, resume=True)) == whole["skipgram"]


def test_ctrl_c_without_checkpoints():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[seen.append, at_event("step", 2, send_interrupt)])
    assert seen[-1].kind == "step"
    assert seen[-1].model.vectors_.vectors.any()


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice():
        send_interrupt()
        send_interrupt()
        pytest.fail("the second one did nothing")

    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, callbacks=at_event("step", 1, twice))
    assert names(tmp_path) == []


def test_who_ignores_ctrl_c_goes_on(whole):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert bits(run(callbacks=at_event("step", 1, send_interrupt))) == whole["skipgram"]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread(whole):
    """Signals cannot be caught there."""
    with ThreadPoolExecutor(1, initializer=np.seterr, initargs=(None if JIT else "ignore",)) as pool:
        assert pool.submit(lambda: bits(run())).result() == whole["skipgram"]


def test_refused_arguments_leave_no_folder(tmp_path):
    with pytest.raises(ArgumentError, match="checkpoint_words"):
        Word2Vec(8, min_count=1).fit(TEXT, checkpoint=tmp_path / "new", checkpoint_words=0)
    assert not (tmp_path / "new").exists()


def swapped(place):
    text = [list(sentence) for sentence in TEXT]
    text[place][4] = "0_0" if text[place][4] != "0_0" else "0_1"
    return text


def reordered():
    """The last sentences, which nobody has read when the first are learned, change places."""
    return [*TEXT[:-4], *TEXT[:-5:-1]]


@pytest.mark.parametrize("stop", [("checkpoint", 1), ("step", 2), ("epoch", 1)])
@pytest.mark.parametrize(
    "text", [swapped(0), swapped(-1), TEXT[:-1], TEXT[:3], [*TEXT, ["0_1"]], TEXT + TEXT, TEXT[::-1], reordered()],
    ids=["first word", "last word", "shorter", "much shorter", "longer", "twice", "order", "end"],
)
def test_another_text_is_refused(tmp_path, stop, text):
    stopped(tmp_path, *stop)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    model = Word2Vec()
    with pytest.raises(ArgumentError, match="expected the same text, in the same order"):
        model = run(text, folder=tmp_path, resume=True)
    assert not hasattr(model, "vectors_")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_checkpoints_are_not_overwritten(tmp_path):
    stopped(tmp_path)
    before = names(tmp_path)
    with pytest.raises(ArgumentError, match=r"checkpoint: .*resume=True"):
        run(folder=tmp_path)
    assert names(tmp_path) == before


def test_a_finished_run_gives_its_result(whole, tmp_path):
    finished, seen = run(folder=tmp_path), []
    before = names(tmp_path)
    again = run(folder=tmp_path, resume=True, callbacks=seen.append)
    assert bits(again) == bits(finished) == whole["skipgram"]
    assert again.history_ == finished.history_
    assert seen == []
    assert names(tmp_path) == before


def test_a_finished_run_is_that_of_its_text(tmp_path):
    run(folder=tmp_path)
    with pytest.raises(ArgumentError, match="expected the same text, in the same order"):
        run(swapped(-1), folder=tmp_path, resume=True)
    changing = tmp_path / "changing"
    run(Shuffled(), folder=changing)
    assert run(folder=changing, resume=True).history_


def test_resuming_in_an_empty_folder_begins(whole, tmp_path):
    assert bits(run(folder=tmp_path / "new", resume=True)) == whole["skipgram"]


class Watched:
    """A text that counts its passes."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(TEXT)


def test_a_folder_that_cannot_be_written_fails_first(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    text = Watched()
    with pytest.raises(OSError, match="can be written to"):
        run(text, folder=tmp_path / "file")
    assert text.passes == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match="expected room for") as caught:
        run(text, folder=tmp_path / "folder", callbacks=lambda event: pytest.fail("it began"))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("minutes", "words"), [(0, None), (1e9, None), (1e9, 70), (1e9, 10**9)])
def test_how_often_checkpoints_come(tmp_path, minutes, words):
    seen = []
    fit = {"checkpoint": tmp_path, "checkpoint_minutes": minutes, "checkpoint_words": words}
    trained(TEXT, fit={**fit, "callbacks": seen.append})
    steps = [event.examples for event in seen if event.kind == "step"]
    saved = [event.examples for event in seen if event.kind == "checkpoint"]
    last = saved.pop()
    assert last == 2 * WORDS
    if words == 70:
        # A step is two batches of 16 numbers, a tenth of them ends of sentences.
        assert len(saved) >= 2
        assert all(70 <= gap <= 70 + 32 for gap in np.diff([0, *saved]))
    else:
        assert saved == (steps if minutes == 0 else [])
    count = len(saved) + 1
    assert names(tmp_path) == [f"checkpoint-{i}.npz" for i in sorted({max(count - 1, 1), count}, key=str)]


def test_divergence_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    """No text makes vectors grow too long, so the test sets the limit very low."""
    model, seen = trained(), []
    before = bits(model)
    options = {"learning_rate": 0.1, "epochs": 30}
    monkeypatch.setattr(word_run, "LONGEST", 0.8)
    with pytest.raises(TrainingDivergedError) as caught:
        run(folder=tmp_path, callbacks=seen.append, **options)
    how = r"training diverged in epoch \d+: a vector is \d\.\d+ long; lower learning_rate \(0.1 at "
    assert re.match(how, str(caught.value))
    assert f"the last good checkpoint, if there is one, is in {tmp_path}" in str(caught.value)
    arrays, state, _ = CheckpointFolder(tmp_path).load()
    assert 0 < state["run"]["examples"] <= seen[-1].examples
    assert np.linalg.norm(arrays["inputs"], axis=1).max() < 0.8
    model.set_params(**options)
    with pytest.raises(TrainingDivergedError, match="no checkpoint was asked for"):
        model.fit(TEXT, progress=False)
    assert bits(model) == before


@pytest.mark.parametrize(
    ("loss", "longest", "how"),
    [
        (6.1, 1.0, r"the mean loss of the last steps is 6.1 \(at the start 2\)"),
        (np.nan, 1.0, "the mean loss of the last steps is nan"),
        (1.0, np.nan, "a vector is NaN or infinite"),
        (1.0, np.inf, "a vector is NaN or infinite"),
        (1.0, 100.0, "a vector is 100 long"),
    ],
)
def test_what_counts_as_divergence(loss, longest, how):
    torn = run_with(10_000, loss, longest)
    with pytest.raises(TrainingDivergedError, match=f"epoch 1: {how}.*lower learning_rate"):
        WordRun._check_loss(torn)


def test_a_few_pairs_of_high_loss_are_no_divergence():
    """They are averaged with the pairs after them."""
    run = run_with(9_999, 6.1)
    WordRun._check_loss(run)
    assert run._seen == (5.0, 7)
    run.model.pairs[1] += 10_000
    run.model.losses[1] += 10_000 * 0.5
    WordRun._check_loss(run)
    assert run._seen[1] == 7 + 19_999


def run_with(pairs, loss, longest=1.0):
    """Return what `_check_loss` looks at, after so many pairs of a mean loss."""
    run = SimpleNamespace(
        model=SimpleNamespace(
            losses=np.array([5.0, pairs * loss]), pairs=np.array([7, pairs]), loss_at_start=2.0,
            tables=SimpleNamespace(longest=longest),
        ),
        session=SimpleNamespace(folder=None), state=SimpleNamespace(history=[]),
        _has_epoch=lambda: False, _seen=(5.0, 7), remedy="lower learning_rate",
        diverged=lambda how: WordRun.diverged(run, how),
        check_arrays=lambda: WordRun.check_arrays(run),
        _loss_is_absurd=lambda what, loss: WordRun._loss_is_absurd(run, what, loss),
    )
    return run


class Shuffled:
    """Another order in every pass."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __iter__(self):
        return (TEXT[i] for i in self.rng.permutation(len(TEXT)))


def test_a_text_that_changes_in_every_pass_is_learned(tmp_path, caplog):
    model = run(Shuffled(), folder=tmp_path, epochs=4)
    assert caplog.text.count("is not the same in every pass") == 1
    assert len(model.history_) == 4
    assert share_of_own_topic(run(Shuffled(), epochs=40).vectors_) > 0.9
    # After whole epochs it can go on, within one it cannot.
    assert len(run(Shuffled(), folder=tmp_path, epochs=5, resume=True).history_) == 5
    stopped(tmp_path / "within", "step", 2, text=Shuffled())
    with pytest.raises(ArgumentError, match="the same text, in the same order"):
        run([*TEXT[::-1]], folder=tmp_path / "within", resume=True)


@pytest.mark.parametrize("kind", ["begin", "step", "checkpoint"])
def test_an_exception_in_the_first_epoch_leaves_the_estimator_alone(tmp_path, kind):
    def fail():
        raise ZeroDivisionError

    new, seen = trained(), []
    before = bits(new)
    fit = {"callbacks": at_event(kind, 1, fail), "checkpoint": tmp_path / "old", "checkpoint_words": 1}
    with pytest.raises(ZeroDivisionError):
        new.set_params(**OPTIONS).fit(TEXT, progress=False, **fit)
    assert bits(new) == before
    with pytest.raises(ZeroDivisionError):
        run(folder=tmp_path / "new", callbacks=[seen.append, at_event(kind, 1, fail)])
    assert set(vars(seen[0].model)) == set(Word2Vec().get_params())


@pytest.mark.parametrize(("kind", "epochs"), [("step", 1), ("step", 2), ("epoch", 2), ("end", 3)])
@pytest.mark.parametrize("form", ["fit", "partial_fit"])
def test_after_an_exception_the_last_finished_epoch_stays(kind, epochs, form):
    """It stays with everything that later epochs need, compared at a constant rate."""
    model, want = (trained(schedule="constant", epochs=1) for _ in "ab")
    model.set_params(epochs=3)
    want.set_params(epochs=epochs)
    with pytest.raises(ZeroDivisionError) as caught:
        getattr(model, form)(TEXT, progress=False, callbacks=in_epoch(kind, epochs, ZeroDivisionError))
    getattr(want, form)(TEXT, progress=False)
    assert bits(model) == bits(want)
    assert caught.value.__notes__ == [f"The model is that of epoch {len(want.history_)}."]
    for one in (model, want):
        one.set_params(epochs=1).partial_fit(TEXT, progress=False)
    assert bits(model) == bits(want)


class Failing:
    """A text that cannot be read in some pass: the first one counts, the others learn."""

    def __init__(self, last):
        self.last, self.passes = last, 0

    def __iter__(self):
        self.passes += 1
        for i, sentence in enumerate(TEXT):
            if self.passes > self.last and i == len(TEXT) // 2:
                raise OSError("the disk is gone")
            yield sentence


def test_what_was_learned_before_the_text_fails_stays():
    with pytest.raises(OSError, match="the disk is gone") as caught:
        (model := Word2Vec(8, min_count=1, subsample=0, epochs=5, batch_size=16, num_threads=1)).fit(
            Failing(3), progress=False
        )
    assert len(model.history_) == 2
    assert caught.value.__notes__ == ["The model is that of epoch 2."]
    with pytest.raises(OSError, match="the disk is gone"):
        (model := Word2Vec(8, min_count=1, subsample=0)).fit(Failing(1), progress=False)
    assert not hasattr(model, "vectors_")


def test_what_was_learned_before_a_divergence_stays(monkeypatch):
    def diverge(event):
        if event.kind == "epoch" and event.epoch == 2:
            monkeypatch.setattr(word_run, "LONGEST", 1e-9)

    options = {"schedule": "constant", "batch_size": 16}
    want = trained(epochs=2, **options)
    model = Word2Vec(8, min_count=1, subsample=0, epochs=9, num_threads=1, **options)
    with pytest.raises(TrainingDivergedError, match=r"in epoch 3: .* long; .*; the model is that of epoch 2, and"):
        model.fit(topic_text(2, 4, 60 if JIT else 8, 10), progress=False, callbacks=diverge)
    assert bits(model) == bits(want)


@pytest.mark.parametrize("moment", [("step", 1), ("epoch", 1), ("epoch", 2)])
def test_a_run_that_a_callback_stops_can_be_resumed(whole, tmp_path, moment):
    model = run(folder=tmp_path, callbacks=in_epoch(*moment, StopTraining))
    assert len(model.history_) == moment[1]
    assert bits(run(folder=tmp_path, resume=True)) == whole["skipgram"]


STOPPING = {"epochs": 30, "early_stopping": 2, "learning_rate": 0.3, "schedule": "constant", "num_sampled": 1}


def stopping(folder=None, callbacks=(), resume=False, **options):
    fit = {
        "callbacks": callbacks, "checkpoint": folder, "checkpoint_words": 1, "resume": resume,
        "validation": HELD_OUT,
    }
    return trained(TEXT, fit=fit, **STOPPING | options)


def test_training_stops_when_held_out_text_gets_no_likelier(tmp_path):
    """The vectors are then those of the best epoch."""
    at = {}

    def note(event):
        if event.kind == "epoch":
            at[event.epoch] = event.model.vectors_.vectors

    model = stopping(tmp_path, note)
    losses = [entry["validation_loss"] for entry in model.history_]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 30
    np.testing.assert_array_equal(model.vectors_.vectors, at[best])
    assert not np.array_equal(at[best], at[best + 2])
    assert bits(stopping(tmp_path, resume=True)) == bits(model)
    with pytest.raises(KeyboardInterrupt):
        stopping(tmp_path / "again", in_epoch("step", 1, KeyboardInterrupt))
    assert bits(stopping(tmp_path / "again", resume=True)) == bits(model)


def test_early_stopping_goes_on_with_the_same_held_out_text(tmp_path):
    def fitted(held_out, early_stopping, epochs, folder):
        model = Word2Vec(4, min_count=1, early_stopping=early_stopping, epochs=epochs, num_threads=1)
        return model.fit(TEXT, validation=held_out, checkpoint=tmp_path / folder, resume=True, progress=False)

    fitted(HELD_OUT, 3, 2, "stopping")
    with pytest.raises(ArgumentError, match=r"^validation: expected .* ids with checksum .*, as in"):
        fitted(HELD_OUT[1:], 3, 3, "stopping")
    assert len(fitted(HELD_OUT, 3, 3, "stopping").history_) == 3
    fitted(HELD_OUT, None, 2, "free")
    assert len(fitted(HELD_OUT[1:], None, 3, "free").history_) == 3


def test_held_out_words_without_a_neighbour_are_passed_over():
    alone = [["0_1"]] * 3000
    held_out = [*alone, ["0_1", "0_2"], *alone]
    given = {"fit": {"validation": held_out}, "epochs": 1}
    assert trained(**given).history_[0]["validation_loss"] > 0
    with pytest.raises(ArgumentError, match="validation: expected a sentence with two words"):
        trained(epochs=1, fit={"validation": alone})


def test_early_stopping_needs_a_held_out_text():
    for method in ("fit", "partial_fit"):
        with pytest.raises(ArgumentError, match="early_stopping: expected None, without validation, got 2"):
            getattr(Word2Vec(early_stopping=2), method)(TEXT)


def test_the_bar_goes_on_where_it_was(tmp_path, monkeypatch):
    bars = []

    class Bar(training_run.Progress):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            bars.append(self)

    monkeypatch.setattr(training_run, "Progress", Bar)
    stopped(tmp_path, "checkpoint", 2, subsample=0)
    run(folder=tmp_path, resume=True, subsample=0)
    assert [bar.total for bar in bars] == [2 * WORDS] * 2
    assert [bar.initial for bar in bars] == [0, bars[0].done]
    assert 0 < bars[0].done < WORDS < bars[1].done == 2 * WORDS


@needs_jit
def test_held_out_targets_are_spread_over_the_text(monkeypatch):
    """A long text has more targets than are used: their mean loss is close to that of all."""
    model = trained(learning_rate=0.1, fit={"validation": HELD_OUT})
    separator = len(model.vectors_)
    ids = [np.array([model.vocabulary_.index.get(w, 0) for w in s] + [-1], np.int32) for s in HELD_OUT]
    given = (
        model.vectors_.vectors.__getitem__, model._outputs,
        {"window": 5, "architecture": "skipgram", "loss": "nce", "subtract_log_q": True},
        np.zeros(separator, np.float32),
    )
    noise = SimpleNamespace(
        num_words=separator,
        thin=lambda ids, epoch, position: np.where(ids < 0, separator, ids).astype(np.int64),
    )
    text = SimpleNamespace(encode=lambda _: iter([np.concatenate(ids * 20)]))
    stream = held_out_stream(text, model.vocabulary_, noise)
    assert np.count_nonzero(stream != separator) > 1000
    some = held_out_loss(stream, *given)
    monkeypatch.setattr(word_run, "_TARGETS", 10**6)
    everything = held_out_loss(stream, *given)
    assert some != everything
    assert some == pytest.approx(everything, rel=0.05)


def wait_for_checkpoint(process, folder, newest):
    """Return when a newer checkpoint is there, or the process at its end."""
    while process.poll() is None:
        numbers = [int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.npz")]
        if max(numbers, default=0) > newest:
            return
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that nobody catches")
def test_killed_at_random_moments(tmp_path, monkeypatch):
    """As users start it; the moments are those of a generator with seed 9."""
    monkeypatch.undo()
    rng = np.random.default_rng(9)
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{' '.join(s)}\n" for s in topic_text(2, 20, 1500 if JIT else 15, 10)))
    options = {"vector_size": 30, "min_count": 1, "epochs": 12 if JIT else 4, "subsample": 0.02}
    options |= {"batch_size": 64, "window": 3, "num_threads": 1}
    trained(text, **options).vectors_.save(tmp_path / "want.npz")
    folder, output = tmp_path / "folder", tmp_path / "got.npz"
    command = [
        sys.executable, "-m", "numba_ss", "word2vec", str(text), "-o", str(output), *as_flags(options),
        "--quiet", "--checkpoint", str(folder), "--checkpoint-words", "2000" if JIT else "1", "--resume",
    ]
    killed = 0
    while not output.exists():
        newest = CheckpointFolder(folder)._last_number()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
        )
        if killed < 3:
            wait_for_checkpoint(process, folder, newest)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        assert process.communicate()[1] == b""
        assert process.returncode in (0, -signal.SIGKILL)
        killed += process.returncode != 0
        assert killed < 5
    assert killed >= 2
    assert output.read_bytes() == (tmp_path / "want.npz").read_bytes()
