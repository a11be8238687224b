"""retrieve_parser.py: options, their defaults and mistakes; Ctrl-C and going on."""

import inspect
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from numba_ss.cli import main
from numba_ss.engine.by_name import ITEM_SAMPLERS as SAMPLERS
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.parameters import OPTIMIZERS
from tests.cli.test_main import start
from tests.cli.test_retrieve_commands import FLAGS, OPTIONS, write_log
from tests.conftest import JIT
from tests.word2vec.test_estimator import as_flags


def parsed(*arguments):
    return vars(main.build_parser().parse_args(["retrieve", *arguments]))


def test_help_lists_what_it_can_do():
    done = subprocess.run(
        [sys.executable, "-m", "numba_ss", "retrieve", "--help"], capture_output=True, text=True,
        check=True,
    )
    for line in ("train learn", "update learn on", "recommend write", "evaluate score", "export write"):
        assert line in " ".join(done.stdout.split())


def test_defaults_are_those_of_the_library():
    args = parsed("train", "log.csv", "-o", "model")
    for name, parameter in inspect.signature(YouTubeDNN).parameters.items():
        assert args[name] == parameter.default, name
    fit = inspect.signature(YouTubeDNN.fit).parameters
    for name in ("checkpoint", "checkpoint_minutes", "resume"):
        assert args[name] == fit[name].default, name
    for method in (YouTubeDNN.recommend, YouTubeDNN.evaluate):
        signature = inspect.signature(method).parameters
        args = parsed(method.__name__, "model", *["log.csv"] * (method.__name__ == "evaluate"))
        assert np.array_equal(args["k"], signature["k"].default)
        assert args["include_seen"] is not signature["exclude_seen"].default


def test_choices_are_those_of_the_library():
    for name, choices in (("sampler", SAMPLERS), ("optimizer", OPTIMIZERS)):
        for choice in choices:
            assert parsed("train", "a", "-o", "m", f"--{name}", choice)[name] == choice


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--hidden-units", "128,64"], "hidden_units", (128, 64)),
        (["--hidden-units", ""], "hidden_units", ()),
        (["--user-features", "country,age"], "user_features", ("country", "age")),
        (["--item-features", "kind"], "item_features", ("kind",)),
        (["--timestamp-column", "when"], "timestamp", "when"),
        (["--no-timestamp"], "timestamp", None),
        (["--no-normalize"], "normalize", False),
        (["--no-subtract-log-q"], "subtract_log_q", False),
    ],
)
def test_values(arguments, name, value):
    assert parsed("train", "a", "b", "-o", "m", *arguments)[name] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: action"),
        (["learn"], "invalid choice: 'learn'"),
        (["train", "-o", "m"], "required: LOG"),
        (["train", "log.csv"], "required: -o/--output"),
        (["train", "log.csv", "-o", "m", "--hidden-units", "64,x"], "expected widths such as 128,64, got '64,x'"),
        (["train", "log.csv", "-o", "m", "--sampler", "best"], "--sampler: invalid choice: 'best'"),
        (["train", "log.csv", "-o", "m", "--epochs", "0"], "numba-ss retrieve train: epochs: expected at least 1, got 0\n"),
        (["train", "log.csv", "-o", "m", "--resume"], "resume: expected a folder as checkpoint=, got none"),
        (["train", "log.csv", "-o", "absent/m"], "--output: expected a file in a folder that exists, got absent/m"),
        (["train", "log.csv", "-o", "m", "--history", "absent/h"], "--history: expected a file in a folder that exists"),
        (["train", "absent.csv", "-o", "m"], "a pattern that matches files, got 'absent.csv'"),
        (["train", "log.csv", "-o", "m", "--user-column", "who"], "log.csv: expected a column 'who', got none among"),
        (["train", "log.csv", "-o", "m", "--item-features", "kind"], "log.csv: expected a column 'kind'"),
        (["recommend", "absent"], "numba-ss retrieve recommend: [Errno 2] No such file or directory: 'absent'\n"),
        (["recommend", "log.csv"], "log.csv: expected a model that YouTubeDNN.save wrote"),
        (["recommend", "m", "--users", "a", "--users-from", "b"], "not allowed with argument --users"),
        (["recommend", "m", "-k", "0"], "k: expected at least 1, got 0"),
        (["recommend", "m", "-o", "r.txt"], "--output: expected a file name that ends in .parquet, .csv, .jsonl, got 'r.txt'"),
        (["recommend", "m", "-o", "absent/r.csv"], "--output: expected a file in a folder that exists"),
        (["evaluate", "absent", "log.csv"], "numba-ss retrieve evaluate: [Errno 2]"),
        (["evaluate", "m"], "required: TEST_LOG"),
        (["export", "absent", "-o", "v.npz"], "numba-ss retrieve export: [Errno 2]"),
        (["export", "absent", "-o", "v.txt"], "ends in .npz, .safetensors, .parquet, got 'v.txt'"),
        (["export", "m", "-o", "v.npz", "--what", "words"], "--what: invalid choice: 'words'"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    monkeypatch.chdir(tmp_path)
    write_log("log.csv")
    with pytest.raises(SystemExit) as end:
        main.main(["retrieve", *arguments])
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("signals", [["INT"], ["TERM"], ["HUP"], ["USR1"], 5 * ["INT"], ["TERM", "INT", "TERM"]])
def test_signals_and_resume(tmp_path, signals):
    """The signal is sent when the first of hundreds of checkpoints is written."""
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log(tmp_path / "log.csv")
    options = {**OPTIONS, "epochs": 400 if JIT else 8}
    folder, output = tmp_path / "folder", tmp_path / "got.npz"
    command = ["retrieve", "train", tmp_path / "log.csv", "-o", output, *as_flags(options)]
    command += ["--quiet", "--checkpoint", folder, "--checkpoint-minutes", "0"]
    process = start(*command)
    while process.poll() is None and not list(folder.glob("checkpoint-*.npz")):
        time.sleep(0.002)
    sent = [getattr(signal, f"SIG{name}") for name in signals]
    for number in sent:
        process.send_signal(number)
        time.sleep(0.002)
    out, err = (part.decode() for part in process.communicate())
    assert err.splitlines()[-1] == (
        "interrupted; the same command with --resume goes on from the checkpoint"
    )
    assert "Traceback" not in err
    assert (process.returncode - 128, out) in [(number, "") for number in set(sent)]
    assert not output.exists()
    if signals != ["INT"]:
        return
    with pytest.raises(SystemExit):
        main.main(list(map(str, command)))
    main.main([*map(str, command), "--resume", "--checkpoint-minutes", "9"])
    want = YouTubeDNN(**options).fit([str(tmp_path / "log.csv")], progress=False)
    got = YouTubeDNN.load(output)
    assert got.item_vectors_.tobytes() == want.item_vectors_.tobytes()


def test_the_shell_s_flags_are_understood():
    """With the flags of the other tests."""
    args = parsed("train", "log.csv", "-o", "m", *FLAGS)
    assert {name: args[name] for name in OPTIONS} == OPTIONS
