"""word2vec_parser.py: options of training, their defaults, and other programs' flags."""

import inspect

import numpy as np
import pytest

from numba_ss import Word2Vec
from numba_ss.cli import main
from numba_ss.word2vec.parameters import SCHEDULES, checked_parameters, settle
from tests.word2vec.test_estimator import ARCHITECTURES, LOSSES, SAMPLERS


def test_defaults_and_choices_are_those_of_the_library():
    args = vars(main.build_parser().parse_args(["word2vec"]))
    for name, parameter in inspect.signature(Word2Vec).parameters.items():
        assert args[name] == parameter.default, name
    fit = inspect.signature(Word2Vec.fit).parameters
    for name in ("checkpoint", "checkpoint_minutes", "checkpoint_words", "resume", "column", "validation"):
        assert args[name] == fit[name].default, name
    for name, choices in (
        ("architecture", ARCHITECTURES), ("loss", LOSSES), ("sampler", SAMPLERS), ("schedule", SCHEDULES),
    ):
        for choice in choices:
            assert vars(main.build_parser().parse_args(["word2vec", f"--{name}", choice]))[name] == choice
    assert vars(main.build_parser().parse_args(["word2vec", "--no-subtract-log-q"]))["subtract_log_q"] is False


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_help_names_the_defaults_of_the_architecture(architecture, capsys):
    settled = checked_parameters(Word2Vec(architecture=architecture).get_params())
    settle(settled, 17_000_000, 68_000)
    with pytest.raises(SystemExit):
        main.build_parser().parse_args(["word2vec", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    title = {"skipgram": "skip-gram"}.get(architecture, architecture)
    for name in ("learning_rate", "subsample"):
        value = np.format_float_positional(settled[name])
        assert f"{value} for {title}" in text.rpartition(f" --{name.replace('_', '-')} N ")[2][:200]


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["-train", "text8", "-output", "v.bin"], "-train is another program's: here the text stands"),
        (["text8", "-output", "v.bin"], "-output is another program's: here -o FILE"),
        (["text8", "--size", "100"], "here --vector-size N"),
        (["text8", "-cbow", "1"], "here --architecture cbow or skipgram"),
        (["text8", "--sample", "1e-4"], "here --subsample SHARE"),
        (["text8", "-minCount", "3"], "here --min-count N"),
        (["text8", "--vector_size", "3"], "here --vector-size N"),
        (["text8", "-hs", "1"], "here --loss chooses"),
        (["text8", "--whatever", "1"], "unrecognized arguments: --whatever 1"),
    ],
)
def test_flags_of_other_programs_are_answered_with_ours(flags, answer, capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["word2vec", *flags])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert answer in err
    assert err.startswith("usage: numba-ss word2vec [-h]")


def test_threads_are_num_threads():
    args = main.build_parser().parse_args(["word2vec", "--threads", "3"])
    assert args.num_threads == 3


def test_update_changes_what_is_given_and_nothing_else():
    args = vars(main.build_parser().parse_args(["update", "model", "text", "--epochs", "3"]))
    assert (args["before"], args["corpus"], args["epochs"]) == ("model", ["text"], 3)
    assert {args[name] for name in ("learning_rate", "early_stopping", "model")} == {None}
    train = vars(main.build_parser().parse_args(["word2vec", "text"]))
    for name in ("output", "column", "encoding", "validation", "history", "quiet", "num_threads", "words"):
        assert args[name] == train[name], name
