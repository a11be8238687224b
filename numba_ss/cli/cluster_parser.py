"""The command line of training on a cluster: the arguments that both trainers have."""

from __future__ import annotations

import argparse


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray`` and what belongs to it."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS",
        help="train on the Ray cluster at this address; without one, on processes of this machine",
    )
    for flag, text in (
        ("--workers", "processes that train; None: one for each core of the cluster"),
        ("--shards", "processes that hold the tables; None: as many as workers"),
        ("--blocks-per-round", "blocks that are trained from the same rows; 8"),
        ("--block-size", "words or events of a block; None: so that an epoch has 20 or 40 rounds"),
    ):
        group.add_argument(flag, type=int, metavar="N", help=text)
