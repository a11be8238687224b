"""The command line of word vectors: the arguments of training."""

from __future__ import annotations

import argparse

from numba_ss.cli.cluster_parser import add_cluster

_RATES = "0.03 for skip-gram, 0.09 for cbow"
_SHARES = "0.0003 for skip-gram, 0.0001 for cbow, more in a small vocabulary"
_TEXT = "the text stands without a flag"
_NOTHING = "is nothing like it; leave it out"
# Flags of word2vec.c, fastText and gensim, with the advice that the error gives.
ELSEWHERE = {
    "train": _TEXT, "input": _TEXT, "sentences": _TEXT, "corpus-file": _TEXT,
    "output": "-o FILE", "size": "--vector-size N", "dim": "--vector-size N",
    "vector-size": "--vector-size N", "window": "--window N", "ws": "--window N",
    "sample": "--subsample SHARE", "t": "--subsample SHARE",
    "negative": "--num-sampled N (24 for 5), with --loss negative_sampling",
    "neg": "--num-sampled N (24 for 5), with --loss negative_sampling",
    "hs": "--loss chooses, without a tree", "threads": "--num-threads N",
    "thread": "--num-threads N", "num-threads": "--num-threads N",
    "iter": "--epochs N", "epoch": "--epochs N", "epochs": "--epochs N",
    "min-count": "--min-count N", "mincount": "--min-count N", "alpha": "--learning-rate RATE",
    "lr": "--learning-rate RATE", "min-alpha": "--min-learning-rate RATE",
    "cbow": "--architecture cbow or skipgram", "sg": "--architecture skipgram or cbow",
    "binary": "-o NAME.bin or NAME.txt", "save-vocab": "-o NAME.npz, which keeps the counts",
    "read-vocab": "--vocabulary FILE", "max-final-vocab": "--max-vocabulary N",
    "ns-exponent": "--distortion N", "classes": _NOTHING, "debug": _NOTHING,
}


def _add_training(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "word2vec",
        help="train word vectors on text",
        description="Train word vectors on text, by default on a bundled sample of Wikipedia.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    files = _add_texts(parser, "*")
    files.add_argument("--vocabulary", metavar="FILE", help="exactly these words, one a line")
    files.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints")
    files.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    for flag, kind, default, text in (
        ("--checkpoint-minutes", float, 10.0, "minutes between checkpoints"),
        ("--checkpoint-words", int, None, "words learned from between checkpoints"),
    ):
        files.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    model = parser.add_argument_group("model")
    model.add_argument(
        "--architecture", choices=["skipgram", "cbow"], default="skipgram",
        help="predict the words around a word, or a word from those around it",
    )
    model.add_argument(
        "--loss", default="sampled_softmax",
        choices=["sampled_softmax", "negative_sampling", "sampled_logistic", "nce"],
        help="loss that tells words of the text from negative samples",
    )
    model.add_argument(
        "--sampler", choices=["unigram", "log_uniform", "uniform"], default="unigram",
        help="distribution of negative samples",
    )
    model.add_argument(
        "--subtract-log-q", action=argparse.BooleanOptionalAction, default=None,
        help="correct scores for how often a word is drawn; None: as is usual for the loss",
    )
    model.add_argument(
        "--schedule", choices=["linear", "constant"], default="linear",
        help="how the learning rate falls",
    )
    for flag, kind, default, text in (
        ("--vector-size", int, 100, "length of a vector"),
        ("--window", int, 5, "words to either side"),
        ("--min-count", int, None, "occurrences that a word needs; 5, fewer in a short text"),
        ("--max-vocabulary", int, None, "most words to keep"),
        ("--num-sampled", int, 24, "negative samples, which 32 windows share"),
        ("--distortion", float, 0.75, "exponent of the noise probabilities"),
        ("--subsample", float, None,
         f"share of the text above which words are subsampled, 0: never; None: {_SHARES}"),
        ("--learning-rate", float, None, f"at the start; None: {_RATES}"),
        ("--min-learning-rate", float, 1e-4, "at the end"),
        ("--epochs", int, None,
         "passes over the text; None: 5, more for a short text, 20 without a text"),
        ("--early-stopping", int, None, "epochs without a better validation loss to end after"),
        ("--batch-size", int, None, "words between two updates; None: up to 2048"),
        ("--seed", int, 1, "seed of all random numbers"),
    ):
        model.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    _add_rest(parser, model)
    add_cluster(parser)


def _add_update(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "update",
        help="learn on from a further text",
        description="Learn on from a further text, with a model that word2vec --model wrote. "
        "Words that are frequent by now join. What is not given here is as it was in training.",
    )
    parser.add_argument("before", metavar="MODEL", help="what --model wrote")
    _add_texts(parser, "+")
    for flag, kind, text in (
        ("--learning-rate", float, "at the start"), ("--epochs", int, "passes over the text"),
        ("--early-stopping", int, "epochs without a better validation loss to end after"),
    ):
        parser.add_argument(flag, type=kind, metavar="N", help=text)
    _add_rest(parser, parser)


def _add_texts(parser: argparse.ArgumentParser, nargs: str) -> argparse._ArgumentGroup:
    """Add the arguments for files."""
    parser.add_argument(
        "corpus", nargs=nargs,
        help="text files, also .gz, .bz2, .xz or .zst, folders, patterns, Parquet or Arrow files, "
        "CSV or JSON lines with --column, or - for standard input; a line is a sentence",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "-o", "--output", default="vectors.npz",
        help="where the vectors go: .npz, .bin or .txt (word2vec, also .gz), .safetensors, "
        ".parquet, .tsv (%(default)s)",
    )
    files.add_argument(
        "--model", metavar="FILE",
        help="where the whole model goes, for numba-ss update and partial_fit",
    )
    files.add_argument(
        "--column", help="column of a Parquet, Arrow or CSV file, or key of JSON lines"
    )
    files.add_argument(
        "--encoding", metavar="NAME",
        help="of text files, such as cp1252 or gb18030; None: that of their BOM, or UTF-8",
    )
    files.add_argument("--validation", metavar="FILE", help="held-out text for the full loss")
    files.add_argument("--history", metavar="FILE", help="write figures of each epoch as JSON")
    files.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    return files


def _add_rest(
    parser: argparse.ArgumentParser, model: argparse.ArgumentParser | argparse._ArgumentGroup
) -> None:
    model.add_argument(
        "--num-threads", "--threads", type=int, metavar="N", help="threads; None: all"
    )
    parser.add_argument("--words", nargs="+", help="words to show the neighbours of")


def add_word2vec(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands ``word2vec`` and ``update``."""
    _add_training(commands)
    _add_update(commands)
