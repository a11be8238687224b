"""word2vec_commands.py: what each command reads, writes and says."""

import gzip
import io
import json
import os
import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import RayCluster, UnknownWordError, Word2Vec, WordVectors
from numba_ss.cli import main, word2vec_commands
from tests.conftest import JIT
from tests.word2vec.test_estimator import as_flags, bits, topic_text, trained

TEXT = topic_text(2, 4, 60 if JIT else 8, 10)
OPTIONS = {
    "vector_size": 12, "min_count": 1, "subsample": 0, "epochs": 2, "batch_size": 16, "window": 2,
    "num_threads": 1,
}
FLAGS = as_flags(OPTIONS)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, caplog):
    """A folder of its own, with a text; the log read aloud."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "numba_ss")
    (tmp_path / "text.txt").write_text("".join(f"{' '.join(s)}\n" for s in TEXT))


@pytest.fixture
def run(capsys):
    """Run a command line; return what it writes to standard output, as lines."""

    def run(*arguments):
        main.main(list(arguments))
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refused(capsys):
    """Run a command line that fails; return its message."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as end:
            main.main(list(arguments))
        assert end.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"numba-ss {arguments[0]}: ")
        return err

    return refused


# Angles at which words are told apart by hand.
ANGLES = {"east": 0, "near": 20, "north": 80, "far": 100, "west": 160}


@pytest.fixture
def vectors(tmp_path):
    radians = np.radians(list(ANGLES.values()))
    table = np.stack([np.cos(radians), np.sin(radians)], axis=1) * [[1], [3], [1], [2], [1]]
    made = WordVectors(list(ANGLES), table.astype(np.float32), [9, 7, 5, 3, 1])
    made.save(tmp_path / "v.npz")
    return made


def cosine(degrees):
    return float(np.cos(np.radians(degrees)))


def test_word2vec(run, caplog, tmp_path):
    out = run("word2vec", "text.txt", *FLAGS, "--history", "h.json", "--validation", "text.txt")
    want = trained(TEXT, fit={"validation": TEXT}, **OPTIONS)
    got = WordVectors.load("vectors.npz")
    assert got.index_to_key == want.vectors_.index_to_key
    assert got.vectors.tobytes() == want.vectors_.vectors.tobytes()
    assert got.counts.tolist() == want.vectors_.counts.tolist()
    history = json.loads((tmp_path / "h.json").read_text())
    for name in ("epoch", "loss", "words", "learning_rate", "validation_loss"):
        assert [entry[name] for entry in history] == [entry[name] for entry in want.history_]
    # Without being asked, it shows the neighbours of some word: all words but six are nearer.
    (line,) = out
    word = line.split(":")[0]
    near = [part.split() for part in line.split(": ")[1].split(", ")]
    assert near == [[w, f"{c:.2f}"] for w, c in want.vectors_.most_similar(word, topn=6)]
    assert "8 vectors of length 12 saved to vectors.npz" in caplog.messages


def test_every_option_arrives(run, monkeypatch):
    seen = []

    def opened(corpus, **arguments):
        return SimpleNamespace(name=None, opened=(corpus, arguments))

    def fit(self, corpus, **arguments):
        seen.append((self.get_params(), corpus._corpus.opened, arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(word2vec_commands, "open_corpus", opened)
    monkeypatch.setattr(word2vec_commands, "open_validation", lambda *arguments: arguments)
    monkeypatch.setattr(Word2Vec, "fit", fit)
    parameters = {
        "vector_size": 7, "window": 3, "min_count": 2, "max_vocabulary": 9, "architecture": "cbow",
        "loss": "nce", "num_sampled": 4, "sampler": "uniform", "distortion": 0.5, "subsample": 0.1,
        "learning_rate": 0.2, "min_learning_rate": 0.1, "schedule": "constant", "epochs": 3,
        "early_stopping": 2, "batch_size": 32, "num_threads": 1, "seed": 8,
    }
    arguments = {"checkpoint": "folder", "checkpoint_minutes": 2.5, "checkpoint_words": 70}
    reading = {"column": "text", "encoding": "cp1252"}
    flags = as_flags(parameters | arguments | reading | {"validation": "held_out"})
    with pytest.raises(SystemExit):
        run("word2vec", "a", "b", *flags, "--subtract-log-q", "--resume", "--quiet")
    with pytest.raises(SystemExit):
        run("word2vec", "a")
    params, corpus, got = seen[0]
    assert params == parameters | {"subtract_log_q": True, "vocabulary": None}
    assert corpus == (["a", "b"], reading)
    held_out = "held_out", "text", "cp1252"
    assert got == arguments | {
        "resume": True, "progress": False, "validation": held_out, "cluster": None,
    }
    params, corpus, got = seen[1]
    assert params == Word2Vec().get_params()
    assert corpus == ("a", {"column": None, "encoding": None})
    assert (got["resume"], got["progress"], got["checkpoint"]) == (False, "auto", None)


def test_workers_get_the_paths_themselves(run, monkeypatch):
    seen = []

    def fit(self, corpus, **arguments):
        seen.append((corpus, arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(Word2Vec, "fit", fit)
    with pytest.raises(SystemExit):
        run("word2vec", "a", "b", "--ray", "auto", "--workers", "3", "--encoding", "cp1252")
    (corpus, got), = seen
    assert corpus == ["a", "b"]
    assert got["cluster"] == RayCluster(3, address="auto")
    assert (got["column"], got["encoding"]) == (None, "cp1252")


def test_a_saved_model_learns_on(run, caplog, tmp_path):
    """The result is that of Python; options that are not given keep their old values."""
    more = topic_text(2, 5, 20, 10, seed=4)
    (tmp_path / "more.txt").write_text("".join(f"{' '.join(s)}\n" for s in more))
    run("word2vec", "text.txt", *FLAGS, "--model", "model.npz")
    want = trained(TEXT, **OPTIONS)
    assert bits(Word2Vec.load("model.npz")) == bits(want)
    run("update", "model.npz", "more.txt", "--model", "new.npz", "-o", "new.txt", "--epochs", "3", "--threads", "1", "--history", "h.json")
    want.set_params(epochs=3).partial_fit(more, progress=False)
    assert bits(Word2Vec.load("new.npz")) == bits(want)
    assert WordVectors.load("new.txt").index_to_key == want.vectors_.index_to_key
    assert len(json.loads((tmp_path / "h.json").read_text())) == 2 + 3


def test_an_update_keeps_what_it_is_not_told(run):
    run(
        "word2vec", "text.txt", *FLAGS, "--model", "model.npz", "--validation", "text.txt",
        "--early-stopping", "3",
    )
    run("update", "model.npz", "text.txt", "--model", "new.npz")
    assert Word2Vec.load("new.npz").get_params() == Word2Vec.load("model.npz").get_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.npz", "text.txt", "--model", "model.npz"], "--model: expected another file than MODEL"),
        (["model.npz", "text.txt", "-o", "text.txt"], "--output: expected"),
        (["model.npz", "text.txt", "--model", "absent/m"], "--model: expected a file in a folder that exists"),
        (["model.npz", "text.txt", "--early-stopping", "0", "--validation", "text.txt"], "early_stopping: expected at least 1"),
        (["text.txt", "text.txt"], "text.txt: expected a model that Word2Vec.save wrote"),
    ],
)
def test_bad_updates(run, refused, tmp_path, arguments, message):
    run("word2vec", "text.txt", *FLAGS, "--model", "model.npz")
    before = (tmp_path / "model.npz").read_bytes()
    assert message in refused("update", *arguments)
    assert (tmp_path / "model.npz").read_bytes() == before


def test_the_last_finished_epoch_of_a_failed_training_is_saved(run, caplog, monkeypatch):
    fit = Word2Vec.fit

    def failing(self, *arguments, **keywords):
        def fail(event):
            if event.kind == "step" and event.epoch == done:
                raise FloatingPointError("it broke")

        return fit(self, *arguments, **keywords, callbacks=fail)

    monkeypatch.setattr(Word2Vec, "fit", failing)
    flags = [*FLAGS, "--epochs", "9", "--schedule", "constant"]
    for done in (0, OPTIONS["epochs"]):
        with pytest.raises(SystemExit) as end:
            run("word2vec", "text.txt", *flags, "-o", f"{done}.npz", "--model", f"{done}-model.npz")
        assert end.value.code == 2
    assert not os.path.exists("0.npz")
    assert caplog.messages[-1] == f"the model of epoch {done} saved to {done}.npz"
    want = trained(TEXT, **OPTIONS | {"schedule": "constant"})
    assert bits(Word2Vec.load(f"{done}-model.npz")) == bits(want)
    assert WordVectors.load(f"{done}.npz").vectors.tobytes() == want.vectors_.vectors.tobytes()


def test_early_stopping(run):
    flags = ["--validation", "text.txt", "--early-stopping", "1", "--epochs", "40", "--learning-rate", "0.9", "--schedule", "constant"]
    run("word2vec", "text.txt", *FLAGS, *flags, "--history", "h.json")
    with open("h.json") as file:
        losses = [entry["validation_loss"] for entry in json.load(file)]
    assert len(losses) == int(np.argmin(losses)) + 2 < 40


def test_words_to_show(run, caplog):
    out = run("word2vec", "text.txt", *FLAGS, "--words", "1_3", "unheard", "0_0")
    assert [line.split(":")[0] for line in out] == ["1_3", "0_0"]
    assert "unheard: not in the vocabulary" in caplog.messages
    assert run("word2vec", "text.txt", *FLAGS, "--words", "unheard") == []


def test_quiet_shows_what_is_asked_for_and_nothing_else(run):
    assert run("word2vec", "text.txt", *FLAGS, "--quiet", "--model", "m.npz") == []
    assert run("update", "m.npz", "text.txt", "--quiet") == []
    (line,) = run("update", "m.npz", "text.txt", "--quiet", "--words", "0_0")
    assert line.startswith("0_0: ")


def test_the_bundled_sample_is_the_default(run, monkeypatch, tmp_path, caplog):
    (tmp_path / "sample.txt.gz").write_bytes(gzip.compress(b"water three king\n" * 7))
    monkeypatch.setattr(word2vec_commands, "sample_path", lambda: tmp_path / "sample.txt.gz")
    flags = as_flags({name: value for name, value in OPTIONS.items() if name != "epochs"})
    out = run("word2vec", *flags, "--history", "h.json")
    assert [line.split(":")[0] for line in out] == ["water", "king", "three"]
    assert len(json.loads((tmp_path / "h.json").read_text())) == 20
    assert any("bundled sample" in message for message in caplog.messages)


def test_texts_from_several_places(run, monkeypatch, tmp_path):
    want = bits(trained(TEXT, **OPTIONS))[1]
    (tmp_path / "folder").mkdir()
    lines = (tmp_path / "text.txt").read_text().splitlines(keepends=True)
    for name, part in (("1.txt", lines[:3]), ("2.txt", lines[3:])):
        (tmp_path / "folder" / name).write_text("".join(part))
    data = (tmp_path / "text.txt").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    for corpus in (["folder"], ["folder/1.txt", "folder/2.txt"], ["folder/?.txt"], ["-"]):
        run("word2vec", *corpus, *FLAGS)
        assert WordVectors.load("vectors.npz").vectors.tobytes() == want


def test_a_column_of_a_table(run, refused):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"title": ["x"] * len(TEXT), "text": [" ".join(s) for s in TEXT]})
    parquet.write_table(table, "t.parquet")
    run("word2vec", "t.parquet", "--column", "text", *FLAGS)
    assert WordVectors.load("vectors.npz").vectors.tobytes() == bits(trained(TEXT, **OPTIONS))[1]
    assert "column: " in refused("word2vec", "t.parquet", *FLAGS)


@pytest.mark.parametrize("data", [b"0_2\n1_1\n0_0\n", b"\xef\xbb\xbf0_2\r\n\r\n 1_1 \r\n0_0"])
def test_a_vocabulary_file(run, tmp_path, data):
    (tmp_path / "words.txt").write_bytes(data)
    run("word2vec", "text.txt", "--vocabulary", "words.txt", *FLAGS)
    assert set(WordVectors.load("vectors.npz").index_to_key) == {"0_0", "0_2", "1_1"}


BAD_FILES = [
    (["-o", "v.xyz"], "file name that ends in .npz, .bin"),
    (["-o", "absent/v.npz"], "--output: expected a file in a folder that exists, got absent/v.npz"),
    (["-o", "folder.npz"], "--output: expected a file, got the folder folder.npz"),
    (["--history", "absent/h.json"], "--history: expected a file in a folder that exists"),
    (["--history", "folder.npz"], "--history: expected a file, got the folder folder.npz"),
    (["--vocabulary", "absent.txt"], "No such file or directory: 'absent.txt'"),
    (["--vocabulary", "binary"], "binary: expected text in utf-8"),
    (["--vocabulary", "empty"], "vocabulary: words: expected at least one word, got none"),
    (["--vocabulary", "twice"], "vocabulary: words: .* all different, got 'a' 2 times"),
    (["--column", "tags"], "text.txt: expected a column or key 'tags'"),
    (["--encoding", "latin-17"], "encoding: expected None or the name of an encoding"),
    (["-o", "x" * 252 + ".npz"], "File name too long"),
    (["-o", "text.txt"], "--output: expected another file than the text, got text.txt"),
    (["-o", "./folder.npz/../text.txt"], "another file than the text, .* which is text.txt"),
    (["--history", "text.txt"], "--history: expected another file than the text"),
    (["-o", "one.npz", "--history", "one.npz"], "--history: expected another file than --output"),
    (["-o", "p.tsv", "--history", "p_metadata.tsv"], "--history: expected another file than --output"),
    (["-o", "words.txt", "--vocabulary", "words.txt"], "--output: expected another file than --vocabulary"),
    (["-o", "words.txt", "--validation", "words.txt"], "--output: expected another file than --validation"),
    (["-o", "v.npz", "--checkpoint", "v.npz"], "--checkpoint: expected another file than --output"),
    (
        ["-o", "folder.npz/checkpoint-1.npz", "--checkpoint", "folder.npz", "--resume"],
        "--output: expected another file than --checkpoint",
    ),
    (["--vocabulary", "blanks", "-o", "v.txt"], "words without whitespace, for word2vec's formats"),
    (["--validation", "absent.txt"], "validation: .*'absent.txt', which does not exist"),
    (["--checkpoint", "binary"], "checkpoint folder: .*got binary"),
    (["--resume"], "resume: expected a folder as checkpoint=, got none"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_FILES)
def test_what_would_fail_late_fails_early(arguments, message, refused, tmp_path, monkeypatch, caplog):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "folder.npz" / "checkpoint-1.npz").write_bytes(b"older")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "twice").write_text("a\nb\na\n")
    (tmp_path / "blanks").write_text("new york\ncity\n")
    (tmp_path / "words.txt").write_text("0_0\n0_1\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert re.search(message, refused("word2vec", "text.txt", *FLAGS, *arguments))
    # Not even the words were counted.
    assert not [text for text in caplog.messages if "different" in text]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_format_whose_library_is_missing_fails_early(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert 'pip install "numba-ss[all]"' in refused("word2vec", "text.txt", "-o", "v.safetensors")


def test_words_that_swallow_the_text(refused):
    message = refused("word2vec", "--words", "king", "text.txt")
    assert "--words: expected words, after the files, got the file text.txt, and no corpus" in message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "odd: expected at least one word, got none"),
        (b" \r\n\n", "odd: expected at least one word, got none"),
        (b"alone\n" * 9, "odd: expected two different words|corpus: expected two different words"),
        (b"each\nalone\n" * 9, "odd: expected a sentence with two words"),
    ],
)
def test_odd_texts(data, message, refused, tmp_path):
    (tmp_path / "odd").write_bytes(data)
    assert re.search(message, refused("word2vec", "odd", *FLAGS))
    (tmp_path / "empty").mkdir()
    assert "a folder with files, got 'empty'" in refused("word2vec", "empty", *FLAGS)
    assert not (tmp_path / "vectors.npz").exists()


def test_words_that_the_format_cannot_hold_are_found_before_training(refused, caplog):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": [["new york", "city"]] * 9 + [["a b"]]}), "t.parquet")
    flags = as_flags(OPTIONS | {"min_count": 2})
    assert "another format), got 'new york'" in refused("word2vec", "t.parquet", "-o", "v.bin", *flags)
    assert not [text for text in caplog.messages if "epoch" in text]


def test_a_disk_that_is_too_small_is_found_before_training(refused, caplog, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=8 * 12 * 4 - 1))
    message = refused("word2vec", "text.txt", *FLAGS)
    assert "--output: expected room for 8 vectors, 0.000384 MB, got 0.000383 MB" in message
    assert not [text for text in caplog.messages if "epoch" in text]


def test_vectors_that_cannot_be_written_are_kept(refused, run, monkeypatch, tmp_path, capsys):
    """The disk is full for one name only; the last line of the error says what to do."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save = WordVectors.save

    def full(self, path, format=None):
        if str(path) == "the vectors.npz":
            raise OSError(28, "No space left on device", path)
        save(self, path, format)

    monkeypatch.setattr(WordVectors, "save", full)
    with pytest.raises(SystemExit) as end:
        run("word2vec", "text.txt", "-o", "the vectors.npz", *FLAGS)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device: 'the vectors.npz'; what was learned is kept" in last
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(last.partition("with: ")[2])
    assert program == "numba-ss"
    run(*arguments)
    want = trained(TEXT, **OPTIONS).vectors_
    assert WordVectors.load("the vectors.npz").vectors.tobytes() == want.vectors.tobytes()


def test_vectors_that_can_be_kept_nowhere(refused, monkeypatch):
    def full(self, path, format=None):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(WordVectors, "save", full)
    message = refused("word2vec", "text.txt", *FLAGS)
    assert "No space left on device: 'vectors.npz'; nor could what was learned be kept" in message


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_text_in_another_encoding(run, refused, tmp_path, encoding):
    text = "".join(f"{' '.join(s)}\n" for s in TEXT).replace("_", "é")
    (tmp_path / "other.txt").write_bytes(text.encode(encoding))
    (tmp_path / "words.txt").write_bytes("0é0\n0é1\n".encode(encoding))
    assert "other.txt: expected text in utf-8" in refused("word2vec", "other.txt", *FLAGS)
    words = ("--vocabulary", "words.txt", "--validation", "other.txt", "--encoding", encoding)
    run("word2vec", "other.txt", *FLAGS, *words)
    assert set(WordVectors.load("vectors.npz").index_to_key) == {"0é0", "0é1"}


def test_a_vocabulary_file_of_word2vec_c(run, tmp_path):
    (tmp_path / "words.txt").write_text("0_2 1200\n1_1 800\n0_0 5\n")
    run("word2vec", "text.txt", "--vocabulary", "words.txt", *FLAGS)
    assert set(WordVectors.load("vectors.npz").index_to_key) == {"0_0", "0_2", "1_1"}


def test_convert_and_plot_spare_their_sources(refused, vectors, tmp_path):
    before = (tmp_path / "v.npz").read_bytes()
    (tmp_path / "link.npz").symlink_to("v.npz")
    (tmp_path / "v_metadata.tsv").write_bytes(before)
    for target in ("v.npz", "./v.npz", "link.npz"):
        assert "the target: expected another file than the source" in refused("convert", "v.npz", target)
    (tmp_path / "a.svg").symlink_to("v.npz")
    assert "--output: expected another file than the source" in refused("plot", "v.npz", "-o", "a.svg")
    assert "the target: expected another file" in refused("convert", "v_metadata.tsv", "v.tsv")
    assert (tmp_path / "v.npz").read_bytes() == before


def test_limit_and_errors(run, refused, vectors, tmp_path):
    rows = "".join(f"{word} {i} 1\n" for i, word in enumerate(ANGLES))
    (tmp_path / "g.txt").write_bytes(b"\xff" + rows.encode())
    for command in (["neighbors", "g.txt", "near"], ["convert", "g.txt", "g.bin"]):
        assert 'errors="replace" (--errors)' in refused(*command)
    run("convert", "g.txt", "g.bin", "--errors", "replace", "--limit", "3")
    assert WordVectors.load("g.bin").index_to_key == ["\ufffdeast", "near", "north"]
    (line,) = run("neighbors", "g.txt", "near", "--errors", "ignore", "--limit", "2")
    assert line.startswith("near: east")
    assert "'west' has no vector" in refused("neighbors", "v.npz", "west", "--limit", "2")
    (tmp_path / "p").write_text("near north 1\neast near 2\n")
    assert run("evaluate", "g.txt", "--errors", "ignore", "--similarity", "p")[1].endswith("have unknown words)")


def test_files_of_the_user_stay(run, tmp_path):
    """Checking whether the folder can be written to leaves no files."""
    (tmp_path / "vectors.npz.trial").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    run("word2vec", "text.txt", *FLAGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "vectors.npz"])
    assert (tmp_path / "vectors.npz.trial").read_text() == "mine"


def test_neighbors(run, vectors):
    assert run("neighbors", "v.npz", "east", "west", "--topn", "2") == [
        f"east: near {cosine(20):.2f}, north {cosine(80):.2f}",
        f"west: far {cosine(60):.2f}, north {cosine(80):.2f}",
    ]
    # The sum of east and north points to 40 degrees, north without west to 30.
    assert run("neighbors", "v.npz", "east", "north", "--sum", "--topn", "2") == [
        f"near\t{cosine(20):.4f}", f"far\t{cosine(60):.4f}",
    ]
    assert run("neighbors", "v.npz", "north", "--negative", "west", "--topn", "1") == [
        f"near\t{cosine(10):.4f}"
    ]
    assert len(run("neighbors", "v.npz", "north", "--sum")) == 4


def test_analogy(run, refused, vectors):
    """East is to near as north is to the word 20 degrees further."""
    vector = sum(sign * np.exp(1j * np.radians(angle)) for sign, angle in ((1, 20), (-1, 0), (1, 80)))
    want = [("far", 100), ("west", 160)]
    assert run("analogy", "v.npz", "east", "near", "north") == [
        f"{word}\t{cosine(angle - np.degrees(np.angle(vector))):.4f}" for word, angle in want
    ]
    assert len(run("analogy", "v.npz", "east", "near", "north", "--topn", "1")) == 1
    message = refused("analogy", "v.npz", "east", "neer", "north")
    assert "'neer' has no vector; close to it: 'near'" in message


def test_unknown_words_and_files(refused, vectors, tmp_path):
    assert str(UnknownWordError("wst", list(ANGLES))) in refused("neighbors", "v.npz", "wst")
    assert "topn: expected at least 1, got 0" in refused("neighbors", "v.npz", "west", "--topn", "0")
    assert "text.txt, line 1: expected a word and 9 numbers" in refused("neighbors", "text.txt", "a")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:-30])
    assert "cut.npz: expected an .npz file" in refused("neighbors", "cut.npz", "west")
    assert "ends in .npz, .bin" in refused("neighbors", "v.xyz", "west")


def test_evaluate(run, refused, vectors, tmp_path):
    vectors.save("v.txt")
    (tmp_path / "q.txt").write_text(
        ": turns\neast near north far\neast near north west\nEAST NEAR NORTH FAR\neast near north up\n"
    )
    # By people's scores the first two and the last two change places: 1 - 6 * 4 / (4 * 15).
    (tmp_path / "people.tsv").write_text(
        "# two words and a score\neast\tnear\t9\nnear\tnorth\t9.5\neast\tnorth\t1\neast\twest\t3\na\tb\t5\n"
    )
    said = [
        "  analogies 66.7% of 3 (1 skipped), among 30000 words",
        "  people Spearman 0.600 on 4 pairs (20.0% have unknown words)",
    ]
    assert run("evaluate", "v.npz", "v.txt", "--analogies", "q.txt", "--similarity", "people.tsv") == [
        "v.npz: 5 words of 2 numbers", *said, "v.txt: 5 words of 2 numbers", *said,
    ]
    assert run("evaluate", "v.npz", "--analogies", "q.txt", "--restrict-vocabulary", "1")[1:] == [
        "  analogies none of 0 (4 skipped), among 1 words"
    ]
    both = run("evaluate", "v.npz", "--similarity", "people.tsv", "people.tsv")
    assert both[1:] == [said[1], said[1]]
    for arguments, message in (
        ([], "--analogies, --similarity: expected a file for one of them at least, got none"),
        (["--analogies", "text.txt"], "text.txt, line 1: expected four words"),
        (["--similarity", "text.txt"], "text.txt, line 1: expected word, word, number"),
        (["--similarity", "absent.tsv"], "No such file or directory: 'absent.tsv'"),
        (["--analogies", "q.txt", "--restrict-vocabulary", "0"], "restrict_vocab: expected at least 1"),
    ):
        assert message in refused("evaluate", "v.npz", *arguments)


@pytest.mark.parametrize("suffix", ["npz", "txt", "vec", "bin", "safetensors", "parquet"])
def test_convert_there_and_back(run, caplog, vectors, suffix):
    pytest.importorskip({"parquet": "pyarrow"}.get(suffix, suffix) if len(suffix) > 3 else "numpy")
    assert run("convert", "v.npz", f"there.{suffix}") == []
    run("convert", f"there.{suffix}", "back.npz")
    back = WordVectors.load("back.npz")
    assert back.index_to_key == vectors.index_to_key
    np.testing.assert_array_equal(back.vectors, vectors.vectors)
    assert caplog.messages == [f"saved to there.{suffix}", "saved to back.npz"]


def test_convert_to_the_projector_s_files(run, refused, vectors, tmp_path):
    run("convert", "v.npz", "v.tsv")
    rows = [list(map(float, line.split("\t"))) for line in (tmp_path / "v.tsv").read_text().splitlines()]
    np.testing.assert_allclose(rows, vectors.vectors, rtol=1e-6)
    assert (tmp_path / "v_metadata.tsv").read_text().splitlines()[1] == "east\t9"
    assert "ends in .npz" in refused("convert", "v.tsv", "x.npz")
    assert "ends in .npz" in refused("convert", "v.npz", "v.xyz")
    assert "in a folder that exists, got absent/v.npz" in refused("convert", "v.npz", "absent/v.npz")


def test_plot(run, caplog, vectors, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    (tmp_path / "h.json").write_text('[{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5}]')
    run("plot", "h.json", "-o", "loss.svg")
    run("plot", "v.npz", "-o", "all.svg")
    run("plot", "v.npz", "-o", "two.svg", "--words", "east", "far")
    run("plot", "v.npz", "-o", "first.svg", "--top", "3")
    assert caplog.messages == [f"saved to {name}.svg" for name in ("loss", "all", "two", "first")]
    shown = {name: (tmp_path / f"{name}.svg").read_text() for name in ("loss", "all", "two", "first")}
    assert "<!-- epoch -->" in shown["loss"]
    for name, words in (("all", set(ANGLES)), ("two", {"east", "far"}), ("first", {"east", "near", "north"})):
        assert {word for word in ANGLES if f"<!-- {word} -->" in shown[name]} == words


def test_what_is_elsewhere_is_read_through_a_copy(run, refused, vectors, tmp_path):
    """What can be read by a path with a scheme in Python can be so by all commands."""
    system = pytest.importorskip("fsspec").filesystem("memory")
    run("word2vec", "text.txt", *FLAGS, "--model", "m.npz", "--history", "h.json")
    for name in ("v.npz", "m.npz", "h.json"):
        system.pipe(f"/bucket/{name}", (tmp_path / name).read_bytes())
    try:
        for command in (["neighbors", "{}v.npz", "east"], ["analogy", "{}v.npz", *ANGLES]):
            here, there = ([part.format(place) for part in command[:5]] for place in ("", "memory://bucket/"))
            assert run(*there) == run(*here) != []
        run("convert", "memory://bucket/v.npz", "v.txt")
        assert WordVectors.load("v.txt").index_to_key == list(ANGLES)
        run("update", "memory://bucket/m.npz", "text.txt", "--epochs", "1", "--model", "new.npz")
        assert len(Word2Vec.load("new.npz").history_) == OPTIONS["epochs"] + 1
        for flag in ("--output", "--model", "--history", "--checkpoint"):
            expected = "a path of this machine, without a scheme"
            assert expected in refused("word2vec", "text.txt", flag, "memory://bucket/new.npz")
        if find_spec("matplotlib"):
            run("plot", "memory://bucket/h.json", "-o", "loss.svg")
            assert (tmp_path / "loss.svg").exists()
    finally:
        system.store.clear()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("not json", "h.json: expected what --history wrote, in JSON"),
        ("5", "h.json: expected what --history wrote, a list of epochs"),
        ('{"epoch": 1}', "h.json: expected what --history wrote, a list of epochs"),
        ("[1, 2]", "h.json: expected what --history wrote, a list of epochs"),
        ("[]", "history: expected at least one epoch"),
        ('[{"epoch": 1}]', r"history[0]['loss']: expected a finite number"),
    ],
)
def test_plot_of_no_history(data, message, refused, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    (tmp_path / "h.json").write_text(data)
    assert message in refused("plot", "h.json", "-o", "loss.svg")


def test_bad_plots(refused, vectors):
    assert "ends in .png or .svg, got 'w.pdf'" in refused("plot", "v.npz", "-o", "w.pdf")
    assert "words: expected at least two words" in refused("plot", "v.npz", "-o", "w.svg", "--words", "east")
    assert "top: expected at least 2" in refused("plot", "v.npz", "-o", "w.svg", "--top", "1")


def test_a_console_that_lacks_letters(monkeypatch):
    WordVectors(["Ähre", "日本"], [[1.0, 0.0], [0.6, 0.8]]).save("v.npz")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    main.main(["neighbors", "v.npz", "Ähre"])
    assert written.getvalue().decode("latin-1") == "Ähre: \\u65e5\\u672c 0.60\n"
