"""The command line: its arguments and its errors.

The commands themselves are in `word2vec_commands`, `retrieve_commands` and `warm_up`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from numba_ss import __version__
from numba_ss.cli.retrieve_parser import add_retrieve
from numba_ss.cli.word2vec_parser import ELSEWHERE, add_word2vec
from numba_ss.distributed.cluster import ClusterError
from numba_ss.training.signals import RaisesOnce, exit_status

# Nothing here imports numpy or numba, so --help answers at once.


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
    add_word2vec(commands)
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
    if not any(Path(args.checkpoint).glob("checkpoint-*")):
        return "interrupted before the first checkpoint; nothing was saved"
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
            ours = ELSEWHERE.get(flag.lower().lstrip("-").replace("_", "-"))
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
    except (
        OSError, ValueError, KeyError, ImportError, FloatingPointError, ClusterError
    ) as error:
        parser.exit(2, f"{name}: {error}\n")
