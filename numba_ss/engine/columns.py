"""The classes that the examples of a batch are compared with: labels and sampled classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numba_ss import _checks
from numba_ss._types import Floats, Integers
from numba_ss.engine.candidate_sampler import SampledCandidates


class Columns(NamedTuple):
    """The classes that the examples of a batch are compared with, and their expected counts.

    `own` (batch_size, num_own) holds the classes of each example alone: first its `num_true`
    labels, then candidates that were drawn only for this example. -1 means absent. `sampled`
    (num_sampled,) holds the candidates of the whole batch. With `subtract_log_q`, the log of the
    expected counts is subtracted from the logits. With `remove_hits`, an example ignores those of
    `sampled` that are its labels.
    """

    own: Integers
    own_counts: Floats
    num_true: int
    sampled: Integers
    sampled_counts: Floats
    remove_hits: bool
    subtract_log_q: bool

    def operations(self, dim: int) -> int:
        """Return the number of multiplications of the forward pass."""
        return (self.own.size + len(self.own) * len(self.sampled)) * dim

    def compact(self) -> tuple[Integers, Columns]:
        """Return the classes in use, ascending, and columns with their positions instead of ids."""
        present = self.own >= 0
        uses = np.concatenate([self.own[present], self.sampled])
        classes, positions = np.unique(uses, return_inverse=True)
        num_own = len(uses) - len(self.sampled)
        own = np.full_like(self.own, -1)
        own[present] = positions[:num_own]
        return classes, self._replace(own=own, sampled=positions[num_own:])


def check_counts(labels: Integers, sampled: SampledCandidates, subtract_log_q: bool) -> None:
    """Require positive expected counts if their logarithm is subtracted."""
    if subtract_log_q:
        candidates, true_count, sampled_count = sampled
        _checks.expected_counts("true_expected_count", true_count, labels)
        _checks.expected_counts("sampled_expected_count", sampled_count, candidates)


def make_columns(
    labels: Integers, sampled: SampledCandidates, dtype: DTypeLike, remove_hits: bool,
    subtract_log_q: bool,
) -> Columns:
    """Return the columns of checked labels and candidates.

    The candidates are those of the batch (num_sampled,) or of each example
    (batch_size, num_sampled).
    """
    candidates, true_count, sampled_count = sampled
    if true_count.dtype != dtype or sampled_count.dtype != dtype:
        true_count, sampled_count = true_count.astype(dtype), sampled_count.astype(dtype)
    num_true = labels.shape[1]
    if candidates.ndim == 1:
        return Columns(
            labels, true_count, num_true, candidates, sampled_count, remove_hits, subtract_log_q
        )
    if remove_hits:
        hit = (candidates[:, :, None] == labels[:, None, :]).any(axis=2)
        candidates = np.where(hit, -1, candidates)
    return Columns(
        np.concatenate([labels, candidates], axis=1),
        np.concatenate([true_count, sampled_count], axis=1),
        num_true,
        np.empty(0, np.int64),
        np.empty(0, sampled_count.dtype),
        False,
        subtract_log_q,
    )
