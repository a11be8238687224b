"""The command line of item retrieval: its arguments."""

from __future__ import annotations

import argparse

from numba_ss.cli.cluster_parser import add_cluster


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, _names(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected widths such as 128,64, got {text!r}") from None


def _add_train(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "train",
        help="learn from logs of events",
        description="Learn from logs: who took which item when. A row is an event.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "logs", nargs="+", metavar="LOG",
        help="files, folders or patterns: Parquet, CSV or TSV, also compressed (.csv.gz); "
        "without a header, columns are called 0, 1 ...",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "-o", "--output", required=True, metavar="MODEL", help="where the model goes"
    )
    files.add_argument("--history", metavar="FILE", help="write figures of each epoch as JSON")
    files.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints")
    files.add_argument(
        "--checkpoint-minutes", type=float, default=10.0, metavar="N",
        help="minutes between checkpoints",
    )
    files.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    files.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    columns = parser.add_argument_group("columns of the logs")
    for name in ("user", "item", "timestamp"):
        columns.add_argument(
            f"--{name}-column", dest=name, default=name, metavar="NAME", help=f"the {name}s"
        )
    columns.add_argument(
        "--no-timestamp", dest="timestamp", action="store_const", const=None,
        default=argparse.SUPPRESS, help="events have no time: those of a user are a set",
    )
    for kind in ("user", "item"):
        columns.add_argument(
            f"--{kind}-features", type=_names, default=(), metavar="A,B",
            help=f"columns of categories that {kind}s belong to",
        )
    _add_model(parser.add_argument_group("model"))
    add_cluster(parser)


def _add_model(model: argparse._ArgumentGroup) -> None:
    model.add_argument(
        "--hidden-units", type=_widths, default="64", metavar="N,N",
        help="widths of the ReLU layers of users; '' for none",
    )
    model.add_argument(
        "--sampler", default="unigram",
        choices=["unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed"],
        help="distribution of the sampled items",
    )
    for flag, text in (
        ("--subtract-log-q", "correct scores for how often an item is drawn"),
        ("--normalize", "bring vectors to unit length"),
    ):
        model.add_argument(flag, action=argparse.BooleanOptionalAction, default=True, help=text)
    model.add_argument(
        "--optimizer", choices=["adagrad", "sgd"], default="adagrad", help="how rows are updated"
    )
    for flag, kind, default, text in (
        ("--embedding-dim", int, 32, "length of a vector"),
        ("--history-length", int, 50, "events before an event that are its history, at most"),
        ("--num-sampled", int, 255, "sampled items of a batch"),
        ("--distortion", float, 1.0, "exponent of the frequencies"),
        ("--temperature", float, 0.05, "divisor of the inner products"),
        ("--learning-rate", float, None, "None: 0.1 for adagrad, 10 for sgd"),
        ("--l2", float, 0.0, "decay of the rows that a batch touches"),
        ("--batch-size", int, 512, "events a step"),
        ("--epochs", int, 20, "passes over the events"),
        ("--validation", float, None, "share of the users whose last event is held out"),
        ("--early-stopping", int, None, "end after so many epochs without better validation"),
        ("--num-threads", int, None, "threads; None: all"),
        ("--seed", int, 1, "seed of all random numbers"),
    ):
        model.add_argument(flag, type=kind, default=default, metavar="N", help=text)


def _add_update(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "update", help="learn on from further logs",
        description="Learn on from further logs; new users and items join. What is not given "
        "here is as it was in training.",
    )
    parser.add_argument("model", metavar="MODEL", help="what train or update wrote")
    parser.add_argument("logs", nargs="+", metavar="LOG", help="logs of further events")
    parser.add_argument(
        "-o", "--output", required=True, metavar="NEW", help="where the new model goes"
    )
    parser.add_argument("--history", metavar="FILE", help="write figures of each epoch as JSON")
    parser.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    parser.add_argument(
        "--no-validation", action="store_true",
        help="learn from all further events, also if some were held out in training",
    )
    for flag, kind, text in (
        ("--epochs", int, "passes over the further events"),
        ("--learning-rate", float, "step size"), ("--num-threads", int, "threads (all)"),
    ):
        parser.add_argument(flag, type=kind, metavar="N", help=text)


def _add_uses(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recommend = actions.add_parser("recommend", help="write the items that users take next")
    judge = actions.add_parser("evaluate", help="score a model on a later log")
    export = actions.add_parser("export", help="write the vectors of items or users")
    for parser in (recommend, judge, export):
        parser.add_argument("model", metavar="MODEL", help="what train or update wrote")
    asked = recommend.add_mutually_exclusive_group()
    asked.add_argument("--users", nargs="+", metavar="KEY", help="users (all of the model)")
    asked.add_argument(
        "--users-from", metavar="FILE",
        help="users, one a line, or in a column of a file as LOG of train is",
    )
    recommend.add_argument(
        "--user-column", metavar="NAME",
        help="that column (the one of the model's logs); a .txt has columns if it is given",
    )
    recommend.add_argument("-k", type=int, default=10, metavar="N", help="items for each (10)")
    recommend.add_argument(
        "-o", "--output", metavar="FILE",
        help="columns user, item, rank, score: .parquet, .csv or .jsonl (standard output, "
        "separated by tabs, without a header)",
    )
    judge.add_argument(
        "logs", nargs="+", metavar="TEST_LOG", help="events after those of the training logs"
    )
    judge.add_argument(
        "-k", type=int, nargs="+", default=[10, 50], metavar="N", help="ranks to cut at (10 50)"
    )
    judge.add_argument("--json", action="store_true", help="write the figures as JSON")
    for parser in (recommend, judge):
        parser.add_argument(
            "--include-seen", action="store_true", help="also items that the user has had"
        )
    export.add_argument(
        "-o", "--output", required=True, metavar="FILE",
        help="where keys and vectors go: .parquet (columns id and vector), .npz, .safetensors",
    )
    export.add_argument(
        "--what", choices=["items", "users"], default="items", help="whose vectors (items)"
    )


def add_retrieve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``retrieve`` with its actions."""
    retrieve = commands.add_parser(
        "retrieve",
        help="recommend items to users",
        description="Learn users and items as vectors from logs of events, and recommend items.",
    )
    actions = retrieve.add_subparsers(dest="action", required=True)
    _add_train(actions)
    _add_update(actions)
    _add_uses(actions)
