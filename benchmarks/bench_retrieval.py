"""Item retrieval: reading a log, learning from it, recommending; quality beside speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import numba_ss

USERS, EVENTS, NUM_ITEMS, GROUP = 2_000, 30, 1_000, 20


def planted_log(seed=0):
    """Return events of users who take seven of ten items from a group of their own."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, NUM_ITEMS // GROUP, (USERS, 1))
    own = group * GROUP + rng.integers(0, GROUP, (USERS, EVENTS))
    other = rng.integers(0, NUM_ITEMS, (USERS, EVENTS))
    items = np.where(rng.random((USERS, EVENTS)) < 0.7, own, other)
    users = np.repeat(np.arange(USERS), EVENTS)
    return np.stack([users, items.reshape(-1), np.arange(users.size)], axis=1)


class PlantedGroups:
    """Speed beside quality: a held-out event is of the user's group seven times in ten."""

    params = (
        ["unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed"],
        [(), (64,)],
    )
    param_names = ("sampler", "hidden_units")
    timeout = 600

    def setup(self, sampler, hidden_units):
        log = numba_ss.read_interactions(planted_log(), progress=False)
        self.train, self.test = numba_ss.leave_one_out(log)
        self.model = numba_ss.YouTubeDNN(
            32, hidden_units=hidden_units, sampler=sampler, num_sampled=100, epochs=5
        )
        self.time_fit(sampler, hidden_units)  # compile

    def time_fit(self, sampler, hidden_units):
        self.model.fit(self.train, progress=False)

    def track_hit_rate(self, sampler, hidden_units):
        self.time_fit(sampler, hidden_units)
        return self.model.evaluate(self.test, 10, exclude_seen=False)["HR@10"]

    def track_events_per_second(self, sampler, hidden_units):
        self.time_fit(sampler, hidden_units)
        rates = [entry["events_per_second"] for entry in self.model.history_]
        return float(np.median(rates))

    track_hit_rate.unit = "HR@10"
    track_events_per_second.unit = "events/s"


class Catalogue:
    """What follows training, by the number of items."""

    params = ([10_000, 1_000_000],)
    param_names = ("num_items",)
    timeout = 600

    def setup(self, num_items):
        rng = np.random.default_rng(0)
        self.index = numba_ss.ExactIndex()
        self.index.add(np.arange(num_items), rng.standard_normal((num_items, 32), np.float32))
        self.queries = rng.standard_normal((256, 32), np.float32)
        self.seen = rng.integers(0, num_items, (256, 50))
        self.time_search(num_items)  # compile

    def time_search(self, num_items):
        self.index.search(self.queries, 50, self.seen)


class Reading:
    """A log of 200,000 events with string keys, from Parquet and from arrays."""

    timeout = 600

    def setup(self):
        import pyarrow as pa
        import pyarrow.parquet as pq

        rng = np.random.default_rng(0)
        users, items = rng.integers(0, 20_000, 200_000), rng.zipf(1.3, 200_000) % 50_000
        self.pairs = np.stack([users, items, np.arange(200_000)], axis=1)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "log.parquet")
        columns = {
            "user": [f"user {i}" for i in users], "item": [f"item {i}" for i in items],
            "timestamp": np.arange(200_000),
        }
        pq.write_table(pa.table(columns), self.path)

    def teardown(self):
        self.folder.cleanup()

    def time_parquet(self):
        numba_ss.read_interactions(self.path, progress=False)

    def time_arrays(self):
        numba_ss.read_interactions(self.pairs, progress=False)

    def peakmem_parquet(self):
        self.time_parquet()
