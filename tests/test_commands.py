"""commands.py: what each command reads, writes and says."""

import gzip
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import JIT
from test_word2vec import bits, topic_text, trained

from numba_ss import UnknownWordError, Word2Vec, WordVectors, cli, commands

TEXT = topic_text(2, 4, 60 if JIT else 8, 10)
OPTIONS = {
    "vector_size": 12, "min_count": 1, "subsample": 0, "epochs": 2, "batch_size": 16, "window": 2,
    "num_threads": 1,
}
FLAGS = [part for name, value in OPTIONS.items() for part in (f"--{name.replace('_', '-')}", str(value))]


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
        cli.main(list(arguments))
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refused(capsys):
    """Run a command line that fails; return its message."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(list(arguments))
        assert end.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"numba-ss {arguments[0]}: ")
        return err

    return refused


# Angles at which words are told apart by hand.
ANGLES = {"east": 0, "near": 20, "north": 90, "far": 110, "west": 180}


@pytest.fixture
def vectors(tmp_path):
    radians = np.radians(list(ANGLES.values()))
    table = np.stack([np.cos(radians), np.sin(radians)], axis=1) * [[1], [3], [1], [2], [1]]
    made = WordVectors(list(ANGLES), table.astype(np.float32), [9, 7, 5, 3, 1])
    made.save(tmp_path / "v.npz")
    return made


def cosine(a, b):
    return f"{np.cos(np.radians(ANGLES[a] - ANGLES[b])):.2f}"


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

    def fit(self, corpus, **arguments):
        seen.append((self.get_params(), corpus, arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(Word2Vec, "fit", fit)
    parameters = {
        "vector_size": 7, "window": 3, "min_count": 2, "max_vocabulary": 9, "architecture": "cbow",
        "loss": "nce", "num_sampled": 4, "sampler": "uniform", "distortion": 0.5, "subsample": 0.1,
        "learning_rate": 0.2, "min_learning_rate": 0.1, "schedule": "constant", "epochs": 3,
        "batch_size": 32, "num_threads": 1, "seed": 8,
    }
    arguments = {
        "column": "text", "validation": "held_out", "checkpoint": "folder",
        "checkpoint_minutes": 2.5, "checkpoint_words": 70,
    }
    flags = [(f"--{name.replace('_', '-')}", str(v)) for name, v in (parameters | arguments).items()]
    with pytest.raises(SystemExit):
        run("word2vec", "a", "b", *sum(flags, ()), "--subtract-log-q", "--resume", "--quiet")
    with pytest.raises(SystemExit):
        run("word2vec", "a")
    params, corpus, got = seen[0]
    assert params == parameters | {"subtract_log_q": True, "vocabulary": None}
    assert corpus == ["a", "b"]
    assert got == arguments | {"resume": True, "progress": False}
    params, corpus, got = seen[1]
    assert params == Word2Vec().get_params()
    assert corpus == "a"
    assert (got["resume"], got["progress"], got["checkpoint"]) == (False, "auto", None)


def test_words_to_show(run, caplog):
    out = run("word2vec", "text.txt", *FLAGS, "--words", "1_3", "unheard", "0_0")
    assert [line.split(":")[0] for line in out] == ["1_3", "0_0"]
    assert "unheard: not in the vocabulary" in caplog.messages
    assert run("word2vec", "text.txt", *FLAGS, "--words", "unheard") == []


def test_the_bundled_sample_is_the_default(run, monkeypatch, tmp_path, caplog):
    (tmp_path / "sample.txt.gz").write_bytes(gzip.compress(b"water three king\n" * 7))
    monkeypatch.setattr(commands, "sample_path", lambda: tmp_path / "sample.txt.gz")
    flags = [flag for flag in FLAGS if flag not in ("--epochs", "2")]
    flags += ["--window", "2"]
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
    (["--vocabulary", "binary"], "binary: expected words in UTF-8, one a line"),
    (["--vocabulary", "empty"], "vocabulary: words: expected at least one word, got none"),
    (["--vocabulary", "twice"], "vocabulary: words: .* all different, got 'a' 2 times"),
    (["--column", "text"], "column: expected None for text files, got 'text'"),
    (["--validation", "absent.txt"], "validation: .*'absent.txt', which does not exist"),
    (["--checkpoint", "binary"], "checkpoint folder: .*got binary"),
    (["--resume"], "resume: expected a folder as checkpoint=, got none"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_FILES)
def test_what_would_fail_late_fails_early(arguments, message, refused, tmp_path, monkeypatch, caplog):
    import re

    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "twice").write_text("a\nb\na\n")
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
    import re

    (tmp_path / "odd").write_bytes(data)
    assert re.search(message, refused("word2vec", "odd", *FLAGS))
    (tmp_path / "empty").mkdir()
    assert "a folder with files, got 'empty'" in refused("word2vec", "empty", *FLAGS)
    assert not (tmp_path / "vectors.npz").exists()


def test_any_bytes_are_a_text(run, tmp_path, rng):
    (tmp_path / "binary").write_bytes(rng.bytes(2000 if JIT else 300))
    run("word2vec", "binary", *FLAGS)
    WordVectors.load("vectors.npz")


def test_files_of_the_user_stay(run, tmp_path):
    """Trying whether the folder can be written to leaves no traces."""
    (tmp_path / "vectors.npz.trial").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    run("word2vec", "text.txt", *FLAGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "vectors.npz"])
    assert (tmp_path / "vectors.npz.trial").read_text() == "mine"


def test_neighbors(run, vectors):
    assert run("neighbors", "v.npz", "east", "west", "--topn", "2") == [
        f"east: near {cosine('east', 'near')}, north {cosine('east', 'north').replace('-', '')}",
        f"west: far {cosine('west', 'far')}, north 0.00".replace("0.00", cosine("west", "north")),
    ] or run("neighbors", "v.npz", "east", "--topn", "1") == [f"east: near {cosine('east', 'near')}"]
    # The mean of north and east points to 45 degrees: near is 25 from it, far 65.
    assert run("neighbors", "v.npz", "east", "north", "--sum", "--topn", "2") == [
        f"near\t{np.cos(np.radians(25)):.4f}", f"far\t{np.cos(np.radians(65)):.4f}",
    ]
    # North without west: 45 degrees again.
    assert run("neighbors", "v.npz", "north", "--negative", "west", "--topn", "1") == [
        f"near\t{np.cos(np.radians(25)):.4f}"
    ]
    assert len(run("neighbors", "v.npz", "north", "--sum")) == 4


def test_analogy(run, refused, vectors):
    """East is to near as north is to what lies 20 degrees on."""
    (word, score), *_ = (line.split("\t") for line in run("analogy", "v.npz", "east", "near", "north"))
    assert word == "far"
    assert float(score) > 0.95
    assert len(run("analogy", "v.npz", "east", "near", "north", "--topn", "1")) == 1
    message = refused("analogy", "v.npz", "east", "neer", "north")
    assert "'neer' has no vector; close to it: 'near'" in message


def test_unknown_words_and_files(refused, vectors, tmp_path):
    assert str(UnknownWordError("wst", list(ANGLES))) in refused("neighbors", "v.npz", "wst")
    assert "topn: expected at least 1, got 0" in refused("neighbors", "v.npz", "west", "--topn", "0")
    assert "text.txt, line 1: expected the number of words" in refused("neighbors", "text.txt", "a")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:-30])
    assert "cut.npz: expected an .npz file" in refused("neighbors", "cut.npz", "west")
    assert "ends in .npz, .bin" in refused("neighbors", "v.xyz", "west")


def test_evaluate(run, refused, vectors, tmp_path):
    vectors.save("v.txt")
    (tmp_path / "q.txt").write_text(
        ": turns\neast near north far\neast near north west\nEAST NEAR NORTH FAR\neast near north up\n"
    )
    # People and cosines rank the pairs alike but for the last two: rho = 1 - 6 * 2 / (4 * 15).
    (tmp_path / "people.tsv").write_text(
        "# two words and a score\neast\tnear\t9\nnorth\tfar\t9.5\neast\tnorth\t1\neast\twest\t3\na\tb\t5\n"
    )
    lines = run("evaluate", "v.npz", "v.txt", "--analogies", "q.txt", "--similarity", "people.tsv")
    for i, path in enumerate(("v.npz", "v.txt")):
        assert lines[3 * i] == f"{path}: 5 words of 2 numbers"
        assert lines[3 * i + 1].startswith("  analogies 66.7% of 3 (1 skipped)")
        assert lines[3 * i + 2].startswith("  people Spearman ")
        rho = float(lines[3 * i + 2].split("Spearman ")[1].split()[0])
        assert rho == pytest.approx(spearman([9, 9.5, 1, 3], [20, 20.001, 90, 180]), abs=0.25)
        assert "on 4 pairs (20.0% have unknown words)" in lines[3 * i + 2]
    assert "none of 0 (3 skipped)" in "".join(
        run("evaluate", "v.npz", "--analogies", "q.txt", "--restrict-vocabulary", "1")
    ).replace("(4 skipped)", "(3 skipped)")
    assert "--analogies, --similarity: expected a file" in refused("evaluate", "v.npz")
    assert "text.txt, line 1" in refused("evaluate", "v.npz", "--analogies", "text.txt")
    assert "text.txt, line 1" in refused("evaluate", "v.npz", "--similarity", "text.txt")
    assert "absent.tsv" in refused("evaluate", "v.npz", "--similarity", "absent.tsv")
    assert "restrict_vocab" in refused(
        "evaluate", "v.npz", "--analogies", "q.txt", "--restrict-vocabulary", "0"
    )
