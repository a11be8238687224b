"""Candidates: drawing them, and finding labels among them."""

from __future__ import annotations

import numpy as np

import numba_ss
from numba_ss.engine import candidate_sampling


def zipf_labels(num_classes, batch_size):
    """Return a column of Zipf-distributed labels."""
    rng = np.random.default_rng(0)
    return np.minimum(rng.zipf(1.3, (batch_size, 1)), num_classes) - 1


class _Sampler:
    """A draw with its expected counts, for 512 labels."""

    params = ([(1_000_000, 1_024), (1_000_000, 64), (10_000, 1_024)], [True, False])
    param_names = ("(num_classes, num_sampled)", "unique")
    timeout = 600

    def make(self, num_classes):
        return self.kind(num_classes, seed=0)

    def setup(self, size, unique):
        self.sampler = self.make(size[0])
        self.labels = zipf_labels(size[0], 512)
        self.time_sample(size, unique)  # compile

    def time_sample(self, size, unique):
        self.sampler.sample(self.labels, size[1], unique)


class LogUniform(_Sampler):
    """Draws by falling frequency, by a formula."""

    kind = numba_ss.LogUniformSampler


class Uniform(_Sampler):
    """Draws of classes of the same probability."""

    kind = numba_ss.UniformSampler


class LearnedUnigram(_Sampler):
    """Draws from a tree of counts, which then takes in the labels."""

    kind = numba_ss.LearnedUnigramSampler


class FixedUnigram(_Sampler):
    """Draws with the weights of word2vec: Zipf's counts to the power 0.75."""

    def make(self, num_classes):
        counts = 1e9 / np.arange(1, num_classes + 1)
        return numba_ss.FixedUnigramSampler(num_classes, unigrams=counts, distortion=0.75, seed=0)


class All(_Sampler):
    """No draws: the first classes."""

    kind = numba_ss.AllSampler


class InBatch:
    """The labels of a batch, of 1,000,000 classes."""

    params = ([512, 4_096],)
    param_names = ("batch_size",)
    timeout = 600

    def setup(self, batch_size):
        self.sampler = numba_ss.InBatchSampler(1_000_000)
        self.labels = zipf_labels(1_000_000, batch_size)
        self.time_sample(batch_size)  # compile

    def time_sample(self, batch_size):
        self.sampler.sample(self.labels)


class Partition:
    """Candidates of a subset of 10,000 draws, which is kept, of 1,000,000 classes."""

    params = ([64, 1_024],)
    param_names = ("num_sampled",)
    timeout = 600

    def setup(self, num_sampled):
        proposal = numba_ss.LogUniformSampler(1_000_000, seed=0)
        self.sampler = numba_ss.PartitionSampler(proposal, 10_000)
        self.labels = zipf_labels(1_000_000, 512)
        self.time_sample(num_sampled)  # compile

    def time_sample(self, num_sampled):
        self.sampler.sample(self.labels, num_sampled)

    def time_begin_partition(self, num_sampled):
        self.sampler.begin_partition()


class Hits:
    """Labels looked up among candidates, of 1,000,000 classes."""

    params = ([(512, 1_024), (4_096, 25), (128, 8_192)],)
    param_names = ("(batch_size, num_sampled)",)
    timeout = 600

    def setup(self, size):
        batch_size, num_sampled = size
        self.labels = zipf_labels(1_000_000, batch_size)
        sampler = numba_ss.LogUniformSampler(1_000_000, seed=0)
        self.candidates = sampler.sample(self.labels, num_sampled).sampled_candidates
        self.time_find_hits(size)  # compile

    def time_find_hits(self, size):
        candidate_sampling.find_hits(self.labels, self.candidates)

    def time_compute_accidental_hits(self, size):
        numba_ss.compute_accidental_hits(self.labels, self.candidates, 1)
