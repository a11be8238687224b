"""What is tried on Ray, in a process and a network of its own; prints what came of it as JSON."""

import json
import os
import signal
import sys
import time
import zlib

import numpy as np
import ray

from numba_ss.distributed import ray_runtime
from numba_ss.distributed.checkpoints import RoundFolder
from numba_ss.distributed.local import LocalCluster
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.distributed.rounds import Rounds
from tests.distributed.toy import Toy, checksum

LONG = {"num_blocks": 120, "num_rows": 50_000, "per_block": 15_000}  # more than Ray keeps in messages


class Watched(Toy):
    """Reports which process trains a block."""

    def train(self, prepared, rows, num_blocks):
        trained = super().train(prepared, rows, num_blocks)
        return trained._replace(figures=trained.figures | {"process": os.getpid()})


class Wrong(Toy):
    """Fails in one block: `how` is the error, or ends the process."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def train(self, prepared, rows, num_blocks):
        if prepared.payload["block"] == 6:
            if self.how == "exit":
                os._exit(7)
            raise FileNotFoundError(2, "no such text", "text.txt")
        return super().train(prepared, rows, num_blocks)


def train(rounds, epochs=2):
    """Train to the end; return the checksum and all losses."""
    losses = [
        figures["loss"]
        for epoch in range(rounds.place.epoch, epochs)
        for done in rounds.epoch(epoch) for figures in done.figures
    ]
    return checksum(rounds), losses


def bits(cluster):
    """Train with several numbers of workers and shards."""
    found = {"local": train(Rounds(LocalCluster(), Toy()))}
    for num_workers, num_shards in [(1, 1), (3, 5), (2, 1), (2, 2)]:
        cluster.num_workers, cluster.num_shards = num_workers, num_shards
        found[f"{num_workers} workers, {num_shards} shards"] = train(Rounds(cluster, Toy()))
    return found


def pieces(cluster):
    """Do what trainers do besides rounds."""
    (array, length), (_, other) = cluster.store(lambda n: (np.arange(n), n), [100_000, 3])
    error = ""
    try:
        cluster.map(lambda item: 1 // item, [1, 0])
    except ZeroDivisionError as caught:
        error = " ".join(caught.__notes__)
    return {
        "map": cluster.map(lambda item: item + 1, [1, 2, 3]),
        "store": [length, other],
        "read": cluster.map(lambda stored: int(stored.read().sum()), [array]),
        "put": cluster.map(lambda stored: stored.read(), [cluster.put("text")]),
        "error": error,
    }


def tables(cluster):
    """Read a data set of Ray, twice."""
    import pyarrow as pa

    dataset = ray.data.from_arrow([pa.table({"text": [f"{part} {line}" for line in range(3)]}) for part in range(4)])
    once, twice = cluster.tables_of(dataset), cluster.tables_of(dataset)
    return [[line for table in read for line in table.read()["text"].to_pylist()] for read in (once, twice)]


def errors(cluster):
    """Return what is said when a block fails, when its process dies, and about other versions."""
    found = {}
    for how in ("raise", "exit"):
        try:
            train(Rounds(cluster, Wrong(how)))
        except Exception as error:
            found[how] = [type(error).__name__, str(error), *getattr(error, "__notes__", [])]
    own = ray_runtime.__version__
    ray_runtime.__version__ = "0.0.1"
    try:
        with RayCluster().open():
            pass
    except Exception as error:
        found["version"] = [type(error).__name__, str(error)]
    ray_runtime.__version__ = own
    with RayCluster(resources_per_worker={"GPU": 0}).open() as other:
        found["without"] = other.map(lambda item: item + 1, [1])
    return found


def kills(cluster, folder):
    """Kill workers and shards while they work."""
    rounds, checkpoints = Rounds(cluster, Watched(**LONG)), RoundFolder(folder)
    rng, killed = np.random.default_rng(0), []
    kinds = iter(["worker", "shard"] * 4)
    moments = set(rng.choice(np.arange(1, 59), 8, replace=False).tolist())
    for epoch in range(2):
        for done in rounds.epoch(epoch):
            if done.index % 7 == 6:
                rounds.save(checkpoints, {})
            if rounds.place.rounds in moments:  # the next round is being trained
                kind = next(kinds)
                process = int(done.figures[-1]["process"])
                if kind == "shard":
                    process = ray.get(cluster._shards[-1].__ray_call__.remote(lambda shard: os.getpid()))
                time.sleep(rng.uniform(0, 0.05))
                os.kill(process, signal.SIGKILL)
                killed.append(kind)
    expected = train(Rounds(LocalCluster(2, 2), Toy(**LONG)))[0]
    return {"killed": killed, "bits": checksum(rounds), "local": expected}


def all_cases(folder):
    """Try everything that one driver can try."""
    with RayCluster(num_workers=2, num_shards=2, max_retries=2).open() as cluster:
        found = {"bits": bits(cluster), "pieces": pieces(cluster), "errors": errors(cluster)}
        found["kills"] = kills(cluster, folder)
        found["tables"] = tables(cluster)
    return found | {"still there": ray.is_initialized()}


def killed(folder):
    """Kill the driver after some rounds, of which not all were saved."""
    with RayCluster(num_workers=2, num_shards=2).open() as cluster:
        rounds, checkpoints = Rounds(cluster, Toy()), RoundFolder(folder)
        for done in rounds.epoch(0):
            if done.index == 0:
                rounds.save(checkpoints, {"seen": 1})
            else:
                os.kill(os.getpid(), signal.SIGKILL)


def resumed(folder):
    """Go on from the checkpoint of `killed`, with other numbers of workers and shards."""
    with RayCluster(num_workers=1, num_shards=3, resources_per_worker={"CPU": 1.5}).open() as cluster:
        found = RoundFolder(folder).load()
        return {"state": found.state, "bits": train(Rounds(cluster, Toy(), found.saved))[0]}


def items():
    """Fit `YouTubeDNN` within this process and on Ray; return checksums of what they learned."""
    from tests.retrieval.test_cluster import Rehearsal, fit

    sizes = {"block_size": 40, "blocks_per_round": 3}
    found = {}
    for name, cluster in (
        ("local", Rehearsal(**sizes)), ("ray", RayCluster(num_workers=2, num_shards=3, **sizes)),
    ):
        model = fit(cluster, batch_size=20, validation=0.5)
        total = 0
        for array in model._model.arrays().values():
            total = zlib.crc32(array.tobytes(), total)
        found[name] = total, [entry["validation_NDCG@50"] for entry in model.history_]
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
