"""Training steps: what they cost, and what they are worth."""

from __future__ import annotations

import itertools

import numba
import numpy as np

import numba_ss

BATCHES = 32


def zipf_batches(rng, num_classes, num_ids, batch_size):
    """Return an endless cycle of input ids and labels, so that no batch stays in cache."""

    def draw(count):
        return np.minimum(rng.zipf(1.3, batch_size), count) - 1

    return itertools.cycle([(draw(num_ids), draw(num_classes)[:, None]) for _ in range(BATCHES)])


class Step:
    """A step over shapes (num_classes, dim, batch_size, num_sampled)."""

    params = (
        [
            (3_000, 32, 256, 100),
            (71_000, 300, 4096, 25),
            (100_000, 100, 1024, 64),
            (1_000_000, 128, 512, 64),
            (1_000_000, 128, 512, 1024),
            (1_000_000, 128, 128, 8192),
        ],
        [1, 2],
    )
    param_names = ("shape", "num_threads")
    timeout = 600

    def setup(self, shape, num_threads):
        if num_threads > numba.config.NUMBA_NUM_THREADS:
            raise NotImplementedError
        num_classes, dim, batch_size, num_sampled = shape
        rng = np.random.default_rng(0)
        self.layer = numba_ss.SampledSoftmax(num_classes, dim, num_sampled, num_threads=num_threads)
        self.table = rng.standard_normal((num_classes, dim), np.float32)
        self.inputs = rng.standard_normal((batch_size, dim), np.float32)
        self.batches = zipf_batches(rng, num_classes, num_classes, batch_size)
        self.time_step(shape, num_threads)  # compile
        self.time_step_rows(shape, num_threads)  # compile

    def time_step(self, shape, num_threads):
        _, labels = next(self.batches)
        self.layer.step(self.inputs, labels)

    def time_step_rows(self, shape, num_threads):
        ids, labels = next(self.batches)
        self.layer.step_rows(self.table, ids, labels)

    def peakmem_step_rows(self, shape, num_threads):
        self.time_step_rows(shape, num_threads)


class NumClasses:
    """A step of 512 examples and 256 candidates, for more and more classes."""

    params = ([10_000, 100_000, 1_000_000, 10_000_000],)
    param_names = ("num_classes",)
    timeout = 600

    def setup(self, num_classes):
        dim, batch_size, num_sampled, num_ids = 64, 512, 256, 10_000
        # Filled, as pages that were never written are all one and the same.
        self.layer = numba_ss.SampledSoftmax(
            num_classes, dim, num_sampled,
            weights=np.full((num_classes, dim), 0.01, np.float32),
            biases=np.full(num_classes, 0.01, np.float32),
        )
        self.table = np.full((num_ids, dim), 0.01, np.float32)
        self.batches = zipf_batches(np.random.default_rng(0), num_classes, num_ids, batch_size)
        self.time_step_rows(num_classes)  # compile

    def time_step_rows(self, num_classes):
        ids, labels = next(self.batches)
        self.layer.step_rows(self.table, ids, labels)


class PlantedPairs:
    """Speed beside quality: so many steps on pairs whose lowest loss is known.

    Labels are log-uniform; the input of label c is any id of the same remainder modulo
    `num_groups`. Whoever knows the input has a loss of 2.91 nats at best, whoever does not
    5.83 nats.
    """

    params = ([20, 200],)
    param_names = ("num_sampled",)
    timeout = 600
    num_classes, num_groups, dim, batch_size, num_steps = 2_000, 20, 16, 256, 2_000

    def setup(self, num_sampled):
        rng = np.random.default_rng(0)
        self.layer = numba_ss.SampledSoftmax(
            self.num_classes, self.dim, num_sampled,
            learning_rate=numba_ss.LinearDecay(20.0, 0.1, self.num_steps),
        )
        self.table = rng.standard_normal((self.num_classes, self.dim), np.float32)
        self.train = [self._pairs(rng, self.batch_size) for _ in range(self.num_steps)]
        self.held_out = self._pairs(rng, 10_000)
        self.layer.step_rows(self.table, *self.train[0])  # compile

    def _pairs(self, rng, count):
        # Class c has the share log((c + 2) / (c + 1)) of log(num_classes + 1).
        labels = np.expm1(rng.random(count) * np.log1p(self.num_classes)).astype(np.int64)
        members = rng.integers(0, self.num_classes // self.num_groups, count)
        ids = labels % self.num_groups + self.num_groups * members
        return ids, labels[:, None]

    def time_fit(self, num_sampled):
        for ids, labels in self.train:
            self.layer.step_rows(self.table, ids, labels)

    def track_final_loss(self, num_sampled):
        self.time_fit(num_sampled)
        ids, labels = self.held_out
        return self.layer.evaluate(self.table[ids], labels)

    track_final_loss.unit = "nats"
