"""cli.py: run as a user would, and its output read."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import JIT

from numba_ss import cli


def test_demo(tmp_path, caplog):
    """Words that only occur in each other's company become neighbours."""
    rng = np.random.default_rng(0)
    topics = ["red green blue cyan teal", "one two three four five", "cat dog cow hen pig"]
    lines = [" ".join(rng.choice(topics[i % 3].split(), 30)) + "\n" for i in range(300 if JIT else 9)]
    text, vectors = tmp_path / "text.txt", tmp_path / "vectors.npz"
    text.write_text("".join(lines))
    caplog.set_level("INFO", "numba_ss")
    cli.main(
        ["demo", str(text), "--dim", "8", "--window", "2", "--num-sampled", "8", "--subsample",
         "1", "--epochs", "4" if JIT else "1", "--batch-size", "16", "--words", "red", "dog", "unheard", "-o", str(vectors)]
    )
    lines = [record.getMessage() for record in caplog.records]
    near = {line.split(":")[0]: line for line in lines if ":" in line}
    for word, topic in (("red", topics[0]), ("dog", topics[2])) if JIT else ():
        neighbours = [part.split()[0] for part in near[word].split(": ")[1].split(", ")][:4]
        assert set(neighbours) == set(topic.split()) - {word}
    assert "not among the words" in near["unheard"]
    assert any("million pairs a second" in line for line in lines)
    saved = np.load(vectors)
    assert saved["vectors"].shape == (15, 8)
    assert "red" in saved["words"].tolist()


def test_bad_arguments(tmp_path, capsys):
    text = tmp_path / "empty.txt"
    text.write_text("1 2 3")
    for arguments, message in (
        ([str(text)], "text: expected two words"),
        ([str(tmp_path / "none.txt")], "No such file"),
        (["--num-threads", "1000000"], "num_threads: expected at most"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["demo", *arguments])
        assert message in capsys.readouterr().err


def test_words_of_the_default_text():
    words = cli.read_words(None)
    assert len(words) > 10_000
    assert "yield" in words


def test_pairs():
    inputs, labels = cli.make_pairs(np.array([7, 8, 9]), 1)
    assert sorted(zip(inputs.tolist(), labels.tolist(), strict=True)) == [(7, 8), (8, 7), (8, 9), (9, 8)]


def test_help_runs_as_a_module():
    out = subprocess.run(
        [sys.executable, "-m", "numba_ss", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "demo" in out
