"""A toy that every order of additions and every stale row would give away."""

import zlib

import numpy as np

from numba_ss.distributed.work import Prepared, Table, Trained


class Given:
    """The `Rows` of a block that lie in one array."""

    def __init__(self, rows):
        self.rows = rows

    def collect(self):
        return self.rows.copy()

    def copy_to(self, target):
        target[: len(self.rows), : self.rows.shape[1]] = self.rows


class Toy:
    """Regresses two tables to planted answers that are noisy in each block.

    The sizes of the changes are spread over many powers of two. So the sum of the changes of a
    row depends on their order, in float32.
    """

    def __init__(self, num_blocks=12, blocks_per_round=4, num_rows=400, per_block=120, dim=7, seed=1):
        self.num_blocks, self.blocks_per_round, self.per_block = num_blocks, blocks_per_round, per_block
        self.seed = seed
        self.tables = {"inputs": Table(num_rows, dim), "outputs": Table(num_rows + 13, dim + 2)}

    def first_rows(self, table, start, stop):
        ids = np.arange(start, stop, dtype=np.float32)[:, None]
        return np.sin(ids + np.arange(self.tables[table].dim, dtype=np.float32))

    def answer(self, table, ids):
        return np.cos(np.asarray(ids)[:, None] * np.arange(1.0, self.tables[table].dim + 1)).astype(np.float32)

    def rounds(self, epoch):
        blocks = list(range(self.num_blocks))
        return [blocks[k : k + self.blocks_per_round] for k in range(0, self.num_blocks, self.blocks_per_round)]

    def prepare(self, epoch, block):
        rng = np.random.default_rng([self.seed, epoch, block])
        ids = {
            name: rng.permutation(table.num_rows)[: self.per_block].astype(np.int64)
            for name, table in self.tables.items() if (name, block % 5) != ("outputs", 4)
        }
        return Prepared(ids, {"scale": rng.standard_cauchy(self.per_block).astype(np.float32), "block": block})

    def train(self, prepared, rows, num_blocks):
        new, loss = {}, 0.0
        for name, ids in prepared.ids.items():
            before = rows[name].collect()
            gap = self.answer(name, ids) - before
            noise = 1e-3 * np.clip(prepared.payload["scale"], -50, 50)[:, None]
            new[name] = before + (gap * np.float32(0.5) + noise * gap) / np.float32(num_blocks)
            loss += float((gap * gap).sum())
        return Trained(new, {"loss": loss, "block": prepared.payload["block"]})


def checksum(rounds):
    """Return a number that depends on every bit of the tables."""
    total = 0
    for name, table in rounds.work.tables.items():
        total = zlib.crc32(rounds.rows(name, 0, table.num_rows).tobytes(), total)
    return total
