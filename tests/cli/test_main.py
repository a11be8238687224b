"""main.py: run as a user would; help that is quick, errors without a traceback, Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from numba_ss import ArgumentError, WordVectors
from numba_ss.cli import main, retrieve_commands, word2vec_commands
from numba_ss.distributed.cluster import ClusterError
from tests.conftest import JIT
from tests.word2vec.test_estimator import (
    as_flags,
    environment,
    topic_text,
    trained,
)

COMMANDS = (
    "word2vec", "neighbors", "analogy", "evaluate", "convert", "plot", "retrieve",
    "retrieve train", "retrieve recommend", "retrieve evaluate", "retrieve export",
)
OPTIONS = {
    "vector_size": 12, "min_count": 1, "subsample": 0, "epochs": 2, "batch_size": 16, "window": 2,
    "num_threads": 1,
}
FLAGS = as_flags(OPTIONS)


def start(*arguments, **options):
    """Start the command line in a process of its own, which Ctrl-C reaches."""

    def heed_interrupts():
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, "-m", "numba_ss", *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=heed_interrupts if os.name == "posix" else None,
        env=environment(), **options,
    )


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{' '.join(s)}\n" for s in topic_text(2, 4, 60 if JIT else 8, 10)))
    return path


HELP = """
import sys
from numba_ss.cli import main
for command in sys.argv[1:]:
    try:
        main.main([*command.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0
assert not {"numpy", "numba", "matplotlib"} & set(sys.modules)
"""


def test_help_imports_neither_numpy_nor_numba():
    done = subprocess.run(
        [sys.executable, "-c", HELP, "", *COMMANDS], capture_output=True, text=True, check=True
    )
    parts = ("Word vectors and item retrieval by sampled softmax", "--restrict-vocabulary")
    for part in (*parts, *COMMANDS, "--subtract-log-q", "--include-seen", "--timestamp-column"):
        assert part in done.stdout
    assert done.stderr == ""


def described(parser):
    """Yield whatever a parser and those within it take, and what is said about it."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            assert {choice.dest for choice in action._choices_actions} == set(action.choices)
            yield from ((choice.dest, choice.help) for choice in action._choices_actions)
            for inner in action.choices.values():
                yield from described(inner)
        else:
            yield action.dest, action.help


def test_everything_is_described():
    found = dict(described(main.build_parser()))
    assert {"architecture", "retrieve", "export", "what", "timestamp", "logs"} <= set(found)
    assert [name for name, text in described(main.build_parser()) if not text] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["glove"], "invalid choice: 'glove'"),
        (["word2vec", "--loss", "mse"], "--loss: invalid choice: 'mse'"),
        (["word2vec", "--epochs", "two"], "--epochs: invalid int value: 'two'"),
        (["word2vec", "--epochs", "0"], "numba-ss word2vec: epochs: expected at least 1, got 0\n"),
        (["word2vec", "--learning-rate", "nan"], "learning_rate: expected a finite number"),
        (["word2vec", "--resume"], "resume: expected a folder as checkpoint=, got none"),
        (["word2vec", "absent.txt"], "got 'absent.txt', which does not exist"),
        (["neighbors", "absent.npz", "word"], "numba-ss neighbors: [Errno 2] No such file or directory: 'absent.npz'"),
        (["neighbors", "absent.npz"], "required: words"),
        (["analogy", "absent.npz", "a", "b"], "required: C"),
        (["plot", "absent.npz"], "required: -o/--output"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArgumentError("seed: expected ..."), "seed: expected ..."),
        (KeyError("word"), "'word'"),
        (ImportError("this needs pyarrow"), "this needs pyarrow"),
        (FloatingPointError("training diverged"), "training diverged"),
        (ClusterError("node a: no answer"), "node a: no answer"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (MemoryError("7 TiB"), "not enough memory: 7 TiB"),
    ],
)
def test_errors_of_the_library(error, message, capsys, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr(word2vec_commands, "run", fail)
    monkeypatch.setattr(retrieve_commands, "run", fail)
    for name, arguments in (
        ("convert", ["a.npz", "b.npz"]), ("retrieve export", ["model", "-o", "v.npz"]),
    ):
        with pytest.raises(SystemExit) as end:
            main.main([*name.split(), *arguments])
        assert end.value.code == 2
        assert capsys.readouterr().err == f"numba-ss {name}: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "a.npz", "b.npz"], "interrupted"),
        (["word2vec"], "interrupted; nothing was saved (--checkpoint DIR would have)"),
        (
            ["word2vec", "--checkpoint", "folder"],
            "interrupted; the same command with --resume goes on from the checkpoint",
        ),
        (
            ["word2vec", "--checkpoint", "new"],
            "interrupted before the first checkpoint; nothing was saved",
        ),
        (["retrieve", "recommend", "model"], "interrupted"),
        (["update", "model", "text"], "interrupted"),
        (
            ["retrieve", "train", "log.csv", "-o", "model"],
            "interrupted; nothing was saved (--checkpoint DIR would have)",
        ),
        (
            ["retrieve", "train", "log.csv", "-o", "model", "--checkpoint", "folder"],
            "interrupted; the same command with --resume goes on from the checkpoint",
        ),
    ],
)
def test_interrupts(arguments, message, caplog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "checkpoint-1.npz").touch()

    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(word2vec_commands, "run", interrupt)
    monkeypatch.setattr(retrieve_commands, "run", interrupt)
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 130
    assert caplog.messages == [message]


def test_a_mistake_of_ours_is_shown_in_full(monkeypatch):
    monkeypatch.setattr(word2vec_commands, "run", lambda args: {}[0] if args is None else [][1])
    with pytest.raises(IndexError):
        main.main(["convert", "a.npz", "b.npz"])


def test_usage_is_that_of_the_command(capsys):
    for command in (["neighbors", "v", "w"], ["retrieve", "evaluate", "m", "log"]):
        with pytest.raises(SystemExit):
            main.main([*command, "--whatever"])
        assert capsys.readouterr().err.startswith(f"usage: numba-ss {' '.join(command[:-2])} [-h]")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_closed_standard_streams(text, tmp_path):
    """Cron and daemons start processes in this way."""
    command = shlex.join([sys.executable, "-m", "numba_ss", "word2vec", str(text), "-o", "v.npz", *map(str, FLAGS)])
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            f"{command} {closed}", shell=True, cwd=tmp_path, capture_output=True, check=False,
            env=environment(),
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr
        (tmp_path / "v.npz").unlink()
    done = subprocess.run(
        f"{command.replace(str(text), '-')} <&-", shell=True, cwd=tmp_path, capture_output=True,
        check=False, env=environment(),
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"numba-ss word2vec: standard input: expected an open one" in done.stderr


def test_from_text_to_neighbours(text, tmp_path):
    process = start("word2vec", text, "-o", "v.txt", *FLAGS, "--words", "0_1", "1_2", cwd=tmp_path)
    out, err = (part.decode().splitlines() for part in process.communicate())
    assert process.returncode == 0
    want = trained(text, **OPTIONS).vectors_
    got = WordVectors.load(tmp_path / "v.txt")
    assert got.index_to_key == want.index_to_key
    assert got.vectors.tobytes() == want.vectors.tobytes()
    assert [line.split(":")[0] for line in out] == ["0_1", "1_2"]
    assert [part.split() for part in out[0].split(": ")[1].split(", ")] == [
        [word, f"{cosine:.2f}"] for word, cosine in want.most_similar("0_1", topn=6)
    ]
    assert any("8 different" in line for line in err)
    for stage in ("epoch 1/2: 50%", "epoch 2/2: 100%"):
        assert any(line.startswith(stage) for line in err)
    assert err[-1] == "8 vectors of length 12 saved to v.txt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "v.txt"]


def test_a_reader_who_has_seen_enough(tmp_path):
    WordVectors(["a", "b"], [[1.0, 0.0], [0.6, 0.8]]).save(tmp_path / "v.npz")
    process = start("neighbors", tmp_path / "v.npz", *["a"] * 50)
    process.stdout.close()
    told = process.stderr.read().replace(
        b"compiling for this machine, once: this takes up to a minute\n", b""
    )
    assert told == b""
    assert process.wait() == 0
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_and_resume(tmp_path, text):
    """The signal is sent when the first of two hundred checkpoints is written."""
    options = {**OPTIONS, "epochs": 200 if JIT else 12}
    folder, output = tmp_path / "folder", tmp_path / "got.npz"
    command = ["word2vec", text, "-o", output, *as_flags(options), "--quiet", "--checkpoint", folder]
    command += ["--checkpoint-words", "600" if JIT else "1"]
    process = start(*command)
    while process.poll() is None and not list(folder.glob("checkpoint-*.npz")):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = (part.decode() for part in process.communicate())
    assert err.splitlines() == [
        "interrupted: finishing the step; once more to stop at once",
        "interrupted; the same command with --resume goes on from the checkpoint",
    ]
    assert (process.returncode, out) == (130, "")
    assert not output.exists()
    with pytest.raises(SystemExit):
        main.main(list(map(str, command)))
    main.main([*map(str, command), "--resume"])
    trained(text, **options).vectors_.save(tmp_path / "want.npz")
    assert output.read_bytes() == (tmp_path / "want.npz").read_bytes()


def test_a_folder_that_is_gone(monkeypatch, capsys):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    with pytest.raises(SystemExit) as exit:
        main.main(["neighbors", "vectors.npz", "word"])
    assert exit.value.code == 2
    assert "numba-ss neighbors: the current folder does not exist any more" in capsys.readouterr().err
