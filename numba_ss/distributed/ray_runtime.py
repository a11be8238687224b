"""Workers and shards on Ray: blocks are tasks that Ray retries, shards are actors.

A task may run anywhere and several times; its values lie in Ray's object store, and whoever needs
them gets them from there. An actor that dies takes its rows along, so Ray does not restart it:
`wait` raises `Lost`, and all shards are made anew.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numba_ss import __version__, _checks
from numba_ss._optional import import_optional
from numba_ss.distributed.cluster import ClusterError, Lost, Reference, Stored
from numba_ss.distributed.shards import Saved, Shard
from numba_ss.distributed.work import Work
from numba_ss.kernels.core.threads import use_threads

log = logging.getLogger("numba_ss")

# Of a Ray that is started here. Each process pays for each page of the store that it sees for the
# first time, much more than for copying: so the store is only as large as rounds need.
_STORE_BYTES = 2 * 10**9

# Settings of Linux's C library, which keeps the memory of large arrays for the next ones. Otherwise
# the system gives each array new pages, and fills them with zeros.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}

_PATIENCE = 20  # seconds until the head node of a cluster has answered

# The work that this process has got, by its token: it is sent once to each process.
_works: dict[str, Work] = {}


def import_ray() -> Any:
    """Import Ray; errors of values that nobody waits for any more are not to be logged."""
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    return import_optional("ray", "training on a cluster")


class RayRuntime:
    """Runs tasks and holds shards on a Ray cluster.

    `resources` are those of a worker, by Ray's names: "CPU", "memory" in bytes, and others. Without
    an address, Ray is started on this machine, and ended by `close`.
    """

    def __init__(
        self, num_workers: int | None, num_shards: int | None, address: str | None,
        resources: dict[str, float], max_losses: int,
    ) -> None:
        self.ray = ray = import_ray()
        self.max_losses = max_losses
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _connect(ray, num_workers, address, resources)
        per_worker = resources.get("CPU", 1)
        cpus = ray.cluster_resources().get("CPU", 1)
        self.num_workers = num_workers or max(1, int(cpus // per_worker if per_worker else cpus))
        self.num_shards = num_shards or self.num_workers
        self._shards: list[Any] = []
        self._sent: Work | None = None  # the work that `_work` refers to
        self._work: tuple[str, list[Any]] = ("", [])
        others = {name: n for name, n in resources.items() if name not in ("CPU", "GPU", "memory")}
        self._options = {
            "num_cpus": per_worker, "num_gpus": resources.get("GPU"),
            "memory": resources.get("memory"), "resources": others,
            "max_retries": max_losses, "scheduling_strategy": "SPREAD",
        }
        self._run, self._map = ray.remote(_run), ray.remote(_map)
        try:
            _require_version(ray)
            _require_resources(
                ray, {"CPU": per_worker, **resources}, self._is_own and address in (None, "local")
            )
        except BaseException:
            self.close()
            raise

    def start_shards(self, work: Work, saved: Saved | None) -> list[Reference]:
        """Make all shards, in place of those before."""
        self._end_shards()
        if self._sent is not work:
            reference = self.ray.put(work)
            # In a list, Ray does not fetch it for each task.
            self._sent, self._work = work, (reference.hex(), [reference])
        actor = self.ray.remote(_Actor).options(
            num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._shards = [
            actor.remote(self._work, number, self.num_shards, saved)
            for number in range(self.num_shards)
        ]
        return [shard.call.remote("ready", None) for shard in self._shards]

    def run(
        self, function: Callable[..., Sequence[Any]], *arguments: Any, results: int
    ) -> list[Reference]:
        """Call a function of the work and the arguments on a worker."""
        options = {**self._options, "num_returns": results, "name": function.__name__}
        return list(self._run.options(**options).remote(self._work, function, *arguments))

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return function(item) for each item, in their order."""
        sent = self.ray.put(function)
        task = self._map.options(**self._options)
        return self.wait([task.remote(sent, item) for item in items])

    def store(
        self, function: Callable[[Any], tuple[Any, Any]], items: Sequence[Any]
    ) -> list[tuple[Stored, Any]]:
        """Do as `map` for a function that returns a pair, and leave its first part where it is."""
        sent = self.ray.put(function)
        task = self._map.options(**self._options, num_returns=2)
        pairs = [task.remote(sent, item) for item in items]
        rests = self.wait([rest for _, rest in pairs])
        return [(RayStored(value), rest) for (value, _), rest in zip(pairs, rests, strict=True)]

    def put(self, value: Any) -> Stored:
        """Store an array or a table of this process."""
        return RayStored(self.ray.put(value))

    def tables_of(self, dataset: Any) -> list[Stored]:
        """Return the blocks of a ``ray.data.Dataset`` as tables of Arrow, in their order."""
        dataset.context.execution_options.preserve_order = True
        return [RayStored(reference) for reference in dataset.to_arrow_refs()]

    def ask(
        self, shard: int, method: str, *arguments: Any, results: int | None = None
    ) -> list[Reference]:
        """Call a method of a shard."""
        call = self._shards[shard].call.options(num_returns=results or 1, name=method)
        references = call.remote(method, results, *arguments)
        return references if isinstance(references, list) else [references]

    def wait(self, references: Sequence[Reference]) -> list[Any]:
        """Return the values; see `Cluster.wait` for the errors."""
        errors = self.ray.exceptions
        try:
            return list(self.ray.get(list(references)))
        except errors.RayError as error:
            cause: BaseException = error
            while isinstance(cause, errors.RayTaskError):
                cause = cause.cause
            if isinstance(cause, (errors.RayActorError, errors.ObjectLostError)):
                raise Lost(_first_lines(cause)) from None
            if isinstance(cause, errors.WorkerCrashedError):  # Ray does not say here where it was
                raise ClusterError(
                    f"the process of a worker died {self.max_losses + 1} times at the same blocks; "
                    "lines of Ray above this, \"A worker died\", have its node and its number"
                ) from None
            if isinstance(cause, errors.RayError):
                raise ClusterError(f"{type(cause).__name__}: {_first_lines(cause)}") from None
            raise cause from None

    def close(self) -> None:
        """End the shards, and Ray if it was started here."""
        self._end_shards()
        if self._is_own:
            self.ray.shutdown()

    def _end_shards(self) -> None:
        for shard in self._shards:
            self.ray.kill(shard)
        self._shards = []


class RayStored(Stored):
    """What lies in Ray's object store, under a reference."""

    def read(self) -> Any:
        """Return it; an array is read-only and is not copied from the store of this machine."""
        return import_ray().get(self._value)


class _Actor:
    """A `Shard` in a process of its own."""

    def __init__(
        self, work: tuple[str, list[Any]], number: int, num_shards: int, saved: Saved | None
    ) -> None:
        with _naming_node(), use_threads(1):
            self._shard = Shard(_get(work), number, num_shards, saved)
        _works.clear()

    def call(self, method: str, results: int | None, *arguments: Any) -> Any:
        """Call a method of the shard."""
        with _naming_node(), use_threads(1):
            result = getattr(self._shard, method)(*arguments)
        return result[0] if results == 1 else result


def _run(work: tuple[str, list[Any]], function: Callable[..., Any], *arguments: Any) -> Any:
    with _naming_node(), use_threads(1):
        return function(_get(work), *arguments)


def _map(function: Callable[[Any], Any], item: Any) -> Any:
    with _naming_node(), use_threads(1):
        return function(item)


def _get(work: tuple[str, list[Any]]) -> Work:
    """Return the work, fetched once by each process."""
    token, (reference,) = work
    if token not in _works:
        _works.clear()
        _works[token] = import_ray().get(reference)
    return _works[token]


@contextlib.contextmanager
def _naming_node() -> Iterator[None]:
    """Add the name of this machine to errors."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This happened on the node {platform.node()}.")
        raise


def _connect(
    ray: Any, num_workers: int | None, address: str | None, resources: dict[str, float]
) -> None:
    """Connect to a Ray cluster, or start Ray on this machine."""
    own: dict[str, Any] = {}
    if address is None:
        each = max(resources.get("CPU", 1), 1)
        num_cpus = None if num_workers is None else math.ceil(num_workers * each)
        own = {
            "num_cpus": num_cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES
        }
    elif ":" in address and "://" not in address:
        _require_answer(address)
    # Ray would end the process at this signal, and the run could not save.
    before = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=address or "local", logging_level=logging.ERROR, log_to_driver=False,
        runtime_env={"env_vars": _KEEP_MEMORY}, **own,
    )
    with contextlib.suppress(ValueError):  # raised outside of the main thread
        signal.signal(signal.SIGTERM, before)


def _require_answer(address: str) -> None:
    """Require a cluster at an address; Ray itself would ask again and again for many minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"address: expected the head node of a running Ray cluster, got {address} ({error})"
        ) from None


def _require_version(ray: Any) -> None:
    """Require the same numba_ss on all nodes."""

    def version() -> str:  # sent by value, so that it runs whatever the node has
        try:
            import numba_ss

            return numba_ss.__version__
        except ImportError as error:
            return f"none ({error})"

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node for node in ray.nodes() if node["Alive"]]
    found = ray.get([
        ray.remote(version).options(
            num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ])
    for node, other in zip(nodes, found, strict=True):
        if other != __version__:
            raise ClusterError(
                f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}): expected "
                f"numba_ss {__version__}, as here, got {other}"
            )


def _require_resources(ray: Any, wanted: dict[str, float], is_here: bool) -> None:
    """Require a node that has what a worker needs: Ray would wait for one without a word.

    A node may join a cluster later, but not a Ray that was started on this machine.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= n for name, n in wanted.items()) for node in nodes):
        return
    needed = ", ".join(f"{name}: {n:g}" for name, n in wanted.items())
    if is_here:
        there = ", ".join(f"{name}: {nodes[0].get(name, 0):g}" for name in wanted)
        _checks.fail("resources_per_worker", f"what this machine has ({there})", needed)
    log.warning("no node has what a worker needs (%s): training waits until one joins", needed)


def _first_lines(error: BaseException) -> str:
    """Return the beginning of Ray's long messages in one line."""
    return " ".join(str(error).split())[:400]
