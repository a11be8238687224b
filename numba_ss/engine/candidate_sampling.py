"""TensorFlow's functions that draw candidates, and the one that finds accidental hits.

A function draws what TensorFlow's first eager call with the same seed draws. For a stream of
draws use a sampler object, see `samplers`.
"""

from __future__ import annotations

from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._types import Integers
from numba_ss.engine.candidate_sampler import CandidateSampler, Counts, SampledCandidates
from numba_ss.engine.samplers import (
    AllSampler,
    FixedUnigramSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    UniformSampler,
)
from numba_ss.kernels.softmax import sampling


def _sample_once(
    sampler: CandidateSampler, true_classes: ArrayLike, num_true: int, num_sampled: int,
    unique: bool,
) -> SampledCandidates:
    num_true = _checks.integer("num_true", num_true, 1)
    labels = _checks.true_classes(true_classes, num_true, sampler.range_max)
    return sampler._sample(labels, num_sampled, unique)


def uniform_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int,
    seed: int | None = None, name: str | None = None, *, exclude_ids: ArrayLike = (),
) -> SampledCandidates:
    """Draw from a uniform distribution, as `tf.random.uniform_candidate_sampler`.

    Parameters
    ----------
    true_classes : array of integers, shape (batch_size, num_true)
        Labels, in [0, range_max).
    num_true : int
        Labels of an example.
    num_sampled : int
        Number of candidates.
    unique : bool
        Whether all candidates of the batch are distinct.
    range_max : int
        Number of classes.
    seed : int, optional
        Op seed; without it the draw is random.
    name : str, optional
        Accepted because TensorFlow has it; not used.
    exclude_ids : sequence of int, optional
        Classes that are never drawn.

    Returns
    -------
    SampledCandidates

    See Also
    --------
    UniformSampler : A stream of such draws.

    Examples
    --------
    >>> uniform_candidate_sampler([[3], [5]], 1, 4, True, 1000, seed=1).sampled_candidates
    array([791, 905, 701, 154])
    """
    sampler = UniformSampler(range_max, seed=seed, exclude_ids=exclude_ids)
    return _sample_once(sampler, true_classes, num_true, num_sampled, unique)


def log_uniform_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int,
    seed: int | None = None, name: str | None = None, *, exclude_ids: ArrayLike = (),
) -> SampledCandidates:
    """Draw from a log-uniform distribution, as `tf.random.log_uniform_candidate_sampler`.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name, exclude_ids
        See `uniform_candidate_sampler`.

    Returns
    -------
    SampledCandidates

    See Also
    --------
    LogUniformSampler : A stream of such draws, and the distribution.

    Examples
    --------
    >>> log_uniform_candidate_sampler([[3], [5]], 1, 4, True, 1000, seed=1).sampled_candidates
    array([545,  15, 111, 129])
    """
    sampler = LogUniformSampler(range_max, seed=seed, exclude_ids=exclude_ids)
    return _sample_once(sampler, true_classes, num_true, num_sampled, unique)


def learned_unigram_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int,
    seed: int | None = None, name: str | None = None, *, exclude_ids: ArrayLike = (),
) -> SampledCandidates:
    """Draw as the first call of `tf.random.learned_unigram_candidate_sampler` does.

    A function remembers nothing between calls, so all classes are equally likely. Use a
    `LearnedUnigramSampler` to learn from call to call.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name, exclude_ids
        See `uniform_candidate_sampler`.

    Returns
    -------
    SampledCandidates

    Examples
    --------
    >>> learned_unigram_candidate_sampler([[3]], 1, 4, True, 1000, seed=1).sampled_candidates
    array([127, 759, 393,  22])
    """
    sampler = LearnedUnigramSampler(range_max, seed=seed, exclude_ids=exclude_ids)
    return _sample_once(sampler, true_classes, num_true, num_sampled, unique)


def fixed_unigram_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int,
    vocab_file: str | PathLike[str] = "", distortion: float = 1.0, num_reserved_ids: int = 0,
    num_shards: int = 1, shard: int = 0, unigrams: ArrayLike = (), seed: int | None = None,
    name: str | None = None, *, exclude_ids: ArrayLike = (),
) -> SampledCandidates:
    """Draw in proportion to given weights, as `tf.random.fixed_unigram_candidate_sampler`.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name, exclude_ids
        See `uniform_candidate_sampler`.
    vocab_file, distortion, num_reserved_ids, num_shards, shard, unigrams
        See `FixedUnigramSampler`. It prepares the distribution once for many calls.

    Returns
    -------
    SampledCandidates

    Examples
    --------
    >>> fixed_unigram_candidate_sampler(
    ...     [[3]], 1, 2, True, 4, unigrams=[1, 2, 3, 4], seed=1
    ... ).sampled_candidates
    array([3, 2])
    """
    sampler = FixedUnigramSampler(
        range_max, vocab_file=vocab_file, distortion=distortion,
        num_reserved_ids=num_reserved_ids, num_shards=num_shards, shard=shard,
        unigrams=unigrams, seed=seed, exclude_ids=exclude_ids,
    )
    return _sample_once(sampler, true_classes, num_true, num_sampled, unique)


def all_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool,
    seed: int | None = None, name: str | None = None,
) -> SampledCandidates:
    """Take the classes 0 .. num_sampled - 1, as `tf.random.all_candidate_sampler`.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, seed, name
        See `uniform_candidate_sampler`; the labels are in [0, num_sampled).

    Returns
    -------
    SampledCandidates

    Examples
    --------
    >>> all_candidate_sampler([[3]], 1, 4, True).sampled_candidates
    array([0, 1, 2, 3])
    """
    num_sampled = _checks.integer("num_sampled", num_sampled, 1)
    return _sample_once(AllSampler(num_sampled), true_classes, num_true, num_sampled, unique)


class AccidentalHits(NamedTuple):
    """Where labels are among the candidates; the fields are TensorFlow's.

    Attributes
    ----------
    indices : ndarray of int32, shape (num_hits,)
        Rows of the labels.
    ids : ndarray of int64, shape (num_hits,)
        Positions among the candidates.
    weights : ndarray of float32, shape (num_hits,)
        The lowest float32, to be added to a logit.

    Examples
    --------
    >>> hits = compute_accidental_hits([[2], [7]], [7, 1, 2], 1)
    >>> logits = np.zeros((2, 3), np.float32)
    >>> logits[hits.indices, hits.ids] += hits.weights  # a softmax no longer sees them
    >>> logits > -1
    array([[ True,  True, False],
           [False,  True,  True]])
    """

    indices: NDArray[np.int32]
    ids: Integers
    weights: Counts


def find_hits(labels: Integers, candidates: Integers) -> NDArray[np.int32]:
    """Return each label's last position among the candidates, or -1."""
    hits = np.empty(labels.shape, np.int32)
    slots = np.empty(1 << (2 * candidates.size).bit_length(), np.int32)
    sampling.find_hits(labels.reshape(-1), candidates, slots, hits.reshape(-1))
    return hits


def compute_accidental_hits(
    true_classes: ArrayLike, sampled_candidates: ArrayLike, num_true: int,
    seed: int | None = None, name: str | None = None,
) -> AccidentalHits:
    """Find the candidates that are labels, as `tf.nn.compute_accidental_hits`.

    Of a candidate that was drawn several times, the last position is reported.

    Parameters
    ----------
    true_classes : array of integers, shape (batch_size, num_true)
        Labels.
    sampled_candidates : array of integers, shape (num_sampled,)
        Candidates.
    num_true : int
        Labels of an example.
    seed, name : optional
        Accepted because TensorFlow has it; not used.

    Returns
    -------
    AccidentalHits

    Examples
    --------
    >>> hits = compute_accidental_hits([[2], [7]], [7, 1, 2], 1)
    >>> hits.indices, hits.ids
    (array([0, 1], dtype=int32), array([2, 0]))
    """
    num_true = _checks.integer("num_true", num_true, 1)
    labels = _checks.ids("true_classes", true_classes)
    _checks.shaped("true_classes", labels, (None, num_true), "batch_size, num_true")
    candidates = _checks.ids("sampled_candidates", sampled_candidates)
    _checks.shaped("sampled_candidates", candidates, (None,), "num_sampled")
    hits = find_hits(labels, candidates)
    rows, columns = np.nonzero(hits >= 0)
    lowest = np.full(rows.size, np.finfo(np.float32).min, np.float32)
    return AccidentalHits(rows.astype(np.int32), hits[rows, columns].astype(np.int64), lowest)
