"""The cluster that the arguments of a command name."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from numba_ss import _checks
from numba_ss.distributed.ray_cluster import RayCluster


def cluster_of(args: Namespace) -> RayCluster | None:
    """Return the cluster that the options name, or None."""
    given = {
        "num_workers": args.workers, "num_shards": args.shards,
        "blocks_per_round": args.blocks_per_round, "block_size": args.block_size,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.ray is None:
        if given:
            got = ", ".join(given)
            expected = "that it is given, for a cluster (--num-threads is for threads)"
            _checks.fail("--ray", expected, f"only {got}")
        return None
    if Path(args.ray).is_file():
        _checks.fail("--ray", "an address, after the files", f"the file {args.ray}")
    return RayCluster(address=args.ray or None, **given)
