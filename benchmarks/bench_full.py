"""All classes: the full softmax and the exact top k."""

from __future__ import annotations

import time

import numpy as np

import numba_ss

BATCH_SIZE, DIM, K, SQUARE = 256, 128, 100, 1024


def seconds(work):
    """Return the median wall time of a call, of those that half a second takes.

    A single call may share the cores with threads that still spin for work of before.
    """
    times = []
    while len(times) < 3 or sum(times) < 0.5:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return np.median(times)


class _Model:
    """A model with random weights, and a batch for it."""

    params = ([10_000, 1_000_000],)
    param_names = ("num_classes",)
    timeout = 600

    def setup(self, num_classes):
        rng = np.random.default_rng(0)
        self.weights = rng.standard_normal((num_classes, DIM), np.float32)
        self.weights *= np.float32(DIM**-0.5)
        self.biases = rng.standard_normal(num_classes, np.float32)
        self.inputs = rng.standard_normal((BATCH_SIZE, DIM), np.float32)
        self.labels = rng.integers(0, num_classes, (BATCH_SIZE, 1))
        self.work()  # compile


class SoftmaxLoss(_Model):
    """The loss of 256 examples with 128 dimensions."""

    def work(self):
        numba_ss.softmax_loss(self.weights, self.biases, self.labels, self.inputs)

    def time_softmax_loss(self, num_classes):
        self.work()

    def peakmem_softmax_loss(self, num_classes):
        self.work()

    def track_share_of_sgemm(self, num_classes):
        """Return the loss's rate over that of `np.dot`, the two measured in turns."""
        square = np.random.default_rng(0).standard_normal((SQUARE, SQUARE), np.float32)
        works = self.work, lambda: np.dot(square, square)
        loss, dot = np.median([[seconds(work) for work in works] for _ in range(3)], axis=0)
        return (BATCH_SIZE * num_classes * DIM / loss) / (SQUARE**3 / dot)

    track_share_of_sgemm.unit = "share"


class TopK(_Model):
    """The best 100 classes of 256 examples with 128 dimensions."""

    def work(self):
        numba_ss.top_k(self.weights, self.biases, self.inputs, K)

    def time_top_k(self, num_classes):
        self.work()

    def peakmem_top_k(self, num_classes):
        self.work()
