"""The command line: its arguments and its errors.

The commands themselves are in `word2vec_commands`, `retrieve_commands` and `warm_up`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from numba_ss import __version__
from numba_ss.cli.retrieve_parser import add_retrieve
from numba_ss.training.signals import RaisesOnce, exit_status

# Nothing here imports numpy or numba, so --help answers at once.

_RATES = "0.035 for skip-gram, 0.09 for cbow"
_TEXT = "the text stands without a flag"
_NOTHING = "is nothing like it; leave it out"
# Flags of word2vec.c, fastText and gensim, with the advice that the error gives.
_ELSEWHERE = {
    "train": _TEXT, "input": _TEXT, "sentences": _TEXT, "corpus-file": _TEXT,
    "output": "-o FILE", "size": "--vector-size N", "dim": "--vector-size N",
    "vector-size": "--vector-size N", "window": "--window N", "ws": "--window N",
    "sample": "--subsample SHARE", "t": "--subsample SHARE",
    "negative": "--num-sampled N, with --loss negative_sampling",
    "neg": "--num-sampled N, with --loss negative_sampling",
    "hs": "--loss chooses, without a tree", "threads": "--num-threads N",
    "thread": "--num-threads N", "workers": "--num-threads N", "num-threads": "--num-threads N",
    "iter": "--epochs N", "epoch": "--epochs N", "epochs": "--epochs N",
    "min-count": "--min-count N", "mincount": "--min-count N", "alpha": "--learning-rate RATE",
    "lr": "--learning-rate RATE", "min-alpha": "--min-learning-rate RATE",
    "cbow": "--architecture cbow or skipgram", "sg": "--architecture skipgram or cbow",
    "binary": "-o NAME.bin or NAME.txt", "save-vocab": "-o NAME.npz, which keeps the counts",
    "read-vocab": "--vocabulary FILE", "max-final-vocab": "--max-vocabulary N",
    "ns-exponent": "--distortion N", "classes": _NOTHING, "debug": _NOTHING,
}


def _add_word2vec(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "word2vec",
        help="train word vectors on text",
        description="Train word vectors on text, by default on a bundled sample of Wikipedia.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "corpus", nargs="*",
        help="text files, also .gz, .bz2, .xz or .zst, folders, patterns, Parquet or Arrow files, "
        "or - for standard input; a line is a sentence",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "-o", "--output", default="vectors.npz",
        help="where the vectors go: .npz, .bin or .txt (word2vec, also .gz), .safetensors, "
        ".parquet, .tsv",
    )
    files.add_argument(
        "--column", help="column of a Parquet, Arrow or CSV file, or key of JSON lines"
    )
    files.add_argument(
        "--encoding", metavar="NAME",
        help="of text files, such as cp1252 or gb18030; None: that of their BOM, or UTF-8",
    )
    files.add_argument("--vocabulary", metavar="FILE", help="exactly these words, one a line")
    files.add_argument("--validation", metavar="FILE", help="held-out text for the full loss")
    files.add_argument("--history", metavar="FILE", help="write figures of each epoch as JSON")
    files.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints")
    files.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    files.add_argument("--quiet", action="store_true", help="show warnings and errors only")
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
        help="loss that separates words of the text from noise words",
    )
    model.add_argument(
        "--sampler", choices=["unigram", "log_uniform", "uniform"], default="unigram",
        help="distribution of noise words",
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
        ("--num-sampled", int, None, "noise words; None: 6 a window, with cbow 16 for 8 windows"),
        ("--distortion", float, 0.75, "exponent of the noise probabilities"),
        ("--subsample", float, None,
         "share of the text above which words are subsampled, 0: never; None: 1e-4, or more"),
        ("--learning-rate", float, None, f"at the start; None: {_RATES}"),
        ("--min-learning-rate", float, 1e-4, "at the end"),
        ("--epochs", int, None, "passes over the text; None: 5, more for a short text"),
        ("--batch-size", int, None, "words between two updates; None: up to 2048"),
        ("--seed", int, 1, "seed of all random numbers"),
    ):
        model.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    model.add_argument(
        "--num-threads", "--threads", type=int, metavar="N", help="threads; None: all"
    )
    parser.add_argument("--words", nargs="+", help="words to show the neighbours of")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="read the first N vectors only")
    parser.add_argument(
        "--errors", choices=["strict", "replace", "ignore"], default="strict",
        help="how to treat bytes of words that are not UTF-8 (strict)",
    )


def _add_queries(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    near = commands.add_parser("neighbors", help="the words nearest to a word, or to a sum")
    near.add_argument("vectors", help="file of vectors")
    near.add_argument("words", nargs="+", help="words")
    near.add_argument("--sum", action="store_true", help="one query: the sum of the words")
    near.add_argument("--negative", nargs="+", default=[], help="words to subtract from it")
    near.add_argument("--topn", type=int, default=10, help="how many to show (10)")
    analogy = commands.add_parser("analogy", help="A is to B as C is to ...?")
    analogy.add_argument("vectors", help="file of vectors")
    for name in ("a", "b", "c"):
        analogy.add_argument(name, metavar=name.upper(), help="a word")
    analogy.add_argument("--topn", type=int, default=10, help="how many to show (10)")
    for parser in (near, analogy):
        _add_reading(parser)


def _add_files(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    judge = commands.add_parser("evaluate", help="score vectors on analogies and similarity")
    judge.add_argument("vectors", nargs="+", help="files of vectors")
    judge.add_argument("--analogies", metavar="FILE", help="questions, as in questions-words.txt")
    judge.add_argument(
        "--similarity", metavar="FILE", nargs="+", default=[],
        help="pairs of words with people's scores, separated by tabs",
    )
    judge.add_argument(
        "--restrict-vocabulary", type=int, default=30_000, metavar="N",
        help="analogies: answers are among the N most frequent words (30000)",
    )
    convert = commands.add_parser("convert", help="read vectors in one format, write another")
    convert.add_argument("source", help="file to read")
    convert.add_argument("target", help="file to write; its suffix says the format")
    plot = commands.add_parser("plot", help="draw a loss curve or a map of words")
    plot.add_argument("source", help="a history (.json) or a file of vectors")
    plot.add_argument("-o", "--output", required=True, help="picture: .png or .svg")
    plot.add_argument("--words", nargs="+", help="words on the map; by default frequent ones")
    plot.add_argument("--top", type=int, default=200, help="how many words, by frequency (200)")
    for parser in (judge, convert, plot):
        _add_reading(parser)


def _add_warm_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "warm-up", help="compile now what is needed later, such as when an image is built"
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", choices=[[], "word2vec", "retrieve", "layer"],
        help="word2vec, retrieve or layer; by default all three",
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="numba-ss", description="Word vectors and item retrieval by sampled softmax, on CPUs."
    )
    parser.add_argument("--version", action="version", version=f"numba-ss {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_word2vec(commands)
    _add_queries(commands)
    _add_files(commands)
    add_retrieve(commands)
    _add_warm_up(commands)
    return parser


def _after_interrupt(args: argparse.Namespace) -> str:
    if not hasattr(args, "checkpoint"):
        return "interrupted"
    if args.checkpoint is None:
        return "interrupted; nothing was saved (--checkpoint DIR would have)"
    return "interrupted; the same command with --resume goes on from the checkpoint"


def _chosen(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the command that was given."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return _chosen(action.choices[getattr(args, action.dest)], args)
    return parser


def _parse(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the arguments; for a flag of word2vec.c or gensim, the error names ours."""
    parser = build_parser()
    if argv[:1] == ["word2vec"]:
        word2vec = _chosen(parser, argparse.Namespace(command="word2vec"))
        for argument in argv[1:]:
            flag = argument.partition("=")[0]
            ours = _ELSEWHERE.get(flag.lower().lstrip("-").replace("_", "-"))
            known = flag in word2vec._option_string_actions
            if flag[:1] == "-" and ours is not None and not known:
                word2vec.error(f"{flag} is another program's: here {ours}")
    args, unknown = parser.parse_known_args(argv)
    chosen = _chosen(parser, args)
    if unknown:
        chosen.error(f"unrecognized arguments: {' '.join(unknown)}")
    return chosen, args


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    # A daemon may have no standard streams; its output is dropped.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    parser, args = _parse(sys.argv[1:] if argv is None else argv)
    quiet = getattr(args, "quiet", False)
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(message)s")
    # If this call is the whole process, signals are ignored until it ends.
    with RaisesOnce(restore=argv is not None) as handler:
        try:
            _run(parser, args, handler)
        except KeyboardInterrupt as error:  # a second one, while the first was reported
            sys.exit(exit_status(error))


def _run(
    parser: argparse.ArgumentParser, args: argparse.Namespace, handler: RaisesOnce
) -> None:
    name = " ".join(["numba-ss", args.command, *filter(None, [getattr(args, "action", None)])])
    try:
        os.getcwd()
    except OSError:
        parser.exit(2, f"{name}: the current folder does not exist any more; go to another\n")
    try:
        if args.command == "retrieve":
            from numba_ss.cli import retrieve_commands

            retrieve_commands.run(args)
        elif args.command == "warm-up":
            from numba_ss.cli import warm_up

            warm_up.run(args)
        else:
            from numba_ss.cli import word2vec_commands

            word2vec_commands.run(args)
    except KeyboardInterrupt as error:
        handler.raised = True
        logging.getLogger("numba_ss").warning("%s", _after_interrupt(args))
        sys.exit(exit_status(error))
    except BrokenPipeError:  # the reader of our output has closed the pipe
        sys.stderr.close()
    except MemoryError as error:
        parser.exit(2, f"{name}: not enough memory: {error}\n")
    except (OSError, ValueError, KeyError, ImportError, FloatingPointError) as error:
        parser.exit(2, f"{name}: {error}\n")
