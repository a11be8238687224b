"""`RayCluster`: what a user says about the cluster to train on, and who may run it where."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.distributed.cluster import Cluster
from numba_ss.distributed.ray_runtime import RayRuntime
from numba_ss.io.files import require_local, require_writable

_ADDRESS = re.compile(r"auto|local|\S+:[0-9]{1,5}")


@dataclass(frozen=True)
class RayCluster:
    """Machines on which a trainer's ``fit`` trains, by Ray (the extra ``ray``).

    The tables lie in shards, each in a process of its own, and no process holds a whole table. A
    round of blocks is trained by the workers, all from the same rows, and then merged by the shards
    in the order of the blocks. So the result depends on `blocks_per_round`, but has the same bits
    for any number of workers and shards, and after any failure.

    Making this object starts nothing. Without an address, ``fit`` starts Ray on this machine, and
    ends it afterwards. If Ray is running in this process already, it is used, and left running.

    Parameters
    ----------
    num_workers : int, optional
        Blocks that are trained at once. By default as many as the cluster has processors for.
    num_shards : int, optional
        Shards; by default as many as workers. `numba_ss.distributed` says how many are enough.
    blocks_per_round : int, default=8
        Blocks of a round. More workers than this have nothing to do. Blocks of one round do not see
        what the others learn, so more of them learn less from a short text or log.
    block_size : int, optional
        Words, or events, of a block. By default so many words that an epoch has 40 rounds, at most
        500,000, and at most as many as have rows of 64 MB; or so many events that it has 20 rounds,
        at most 65,536.
    address : str, optional
        A running Ray cluster: its head node as ``"host:port"``, or ``"auto"``.
    resources_per_worker : dict of str to float, optional
        What Ray reserves for a block, by Ray's names: ``{"CPU": 1, "memory": 2e9}`` and others.
        By default one processor.
    tables : path, optional
        A folder of this machine for the tables of `Word2Vec`, as ``.npy`` files, which ``fit`` then
        maps from the disk: for tables that do not fit into the memory of this machine. It is made
        if it does not exist.
    max_retries : int, default=5
        How often a block is tried again after the process that trained it has died, and how often
        shards are made anew without having finished another round.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    ImportError
        In ``fit``, if Ray is not installed.
    ClusterError
        In ``fit``, if a node has another version of numba_ss, or processes died more often than
        `max_retries`. The message names the node.

    References
    ----------
    The partition of a text with noise words of their own for each part: S. Jean, K. Cho,
    R. Memisevic, Y. Bengio, "On Using Very Large Target Vocabulary for Neural Machine Translation",
    ACL 2015, arXiv:1412.2007, section 3.

    Examples
    --------
    >>> cluster = RayCluster(num_workers=2, blocks_per_round=16)
    >>> cluster.blocks_per_round
    16
    >>> RayCluster(num_workers=0)
    Traceback (most recent call last):
        ...
    numba_ss._checks.ArgumentError: num_workers: expected at least 1, got 0
    """

    num_workers: int | None = None
    num_shards: int | None = None
    blocks_per_round: int = 8
    block_size: int | None = None
    address: str | None = None
    resources_per_worker: Mapping[str, float] | None = None
    tables: PathLike | None = None
    max_retries: int = 5

    def __post_init__(self) -> None:
        for name in ("num_workers", "num_shards", "block_size"):
            if getattr(self, name) is not None:
                _checks.integer(name, getattr(self, name), 1)
        _checks.integer("blocks_per_round", self.blocks_per_round, 1)
        _checks.integer("max_retries", self.max_retries, 0)
        given = self.address
        if given is not None and not (isinstance(given, str) and _ADDRESS.fullmatch(given)):
            _checks.fail("address", "host:port, auto or None", repr(given))
        if not isinstance(self.resources_per_worker, (Mapping, type(None))):
            _checks.fail(
                "resources_per_worker", "a dict of numbers", repr(self.resources_per_worker)
            )
        if self.tables is not None:
            if not isinstance(self.tables, (str, os.PathLike)):
                _checks.fail("tables", "the path of a folder", repr(self.tables))
            require_local("tables", self.tables)
        for name, value in (self.resources_per_worker or {}).items():
            if not isinstance(name, str):
                _checks.fail("resources_per_worker", "names of resources", repr(name))
            _checks.number(f"resources_per_worker[{name!r}]", value, not_negative=True)

    def sizes(self) -> dict[str, Any]:
        """Return what changes the result."""
        return {"block_size": self.block_size, "blocks_per_round": self.blocks_per_round}

    @contextmanager
    def open(self) -> Iterator[Cluster]:
        """Connect to the cluster, or start it; end what was started with the block.

        The folder for the tables is made first, so that an error comes before any work.
        """
        if self.tables is not None:
            Path(self.tables).mkdir(parents=True, exist_ok=True)
            require_writable("tables", Path(self.tables, "inputs.npy"))
        runtime = RayRuntime(
            self.num_workers, self.num_shards, self.address,
            dict(self.resources_per_worker or {}), self.max_retries,
        )
        try:
            yield runtime
        finally:
            runtime.close()
