"""The samplers with TensorFlow's distributions, a class for each.

The samplers that use the labels of the batch are in `batch_samplers`.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers
from numba_ss.engine.candidate_sampler import NO_IDS, Accept, CandidateSampler, SampledCandidates
from numba_ss.engine.seeds import MODULUS
from numba_ss.kernels.softmax import sampling

_ROUNDING = 1e-3  # the largest share of the sum of weights that may be lost to rounding


class UniformSampler(CandidateSampler):
    """Every class with the same probability, 1 / range_max.

    See `CandidateSampler` for the parameters.

    Examples
    --------
    >>> drawn = UniformSampler(1000, seed=1).sample([[3], [5]], 4)
    >>> drawn.sampled_candidates, drawn.true_expected_count.ravel()
    (array([791, 905, 701, 154]), array([0.004, 0.004], dtype=float32))
    """

    _kind = sampling.UNIFORM


class LogUniformSampler(CandidateSampler):
    r"""Class c with probability :math:`\log((c + 2) / (c + 1)) / \log(V + 1)`.

    This is close to Zipf's law. It fits ids in the order of falling frequency, and no others. See
    `CandidateSampler` for the parameters. `range_max` is at most 2**52: with more classes, some
    probabilities would be 0 in float64.

    Examples
    --------
    >>> drawn = LogUniformSampler(1000, seed=1).sample([[0], [500]], 4)
    >>> drawn.sampled_candidates, drawn.true_expected_count.ravel()
    (array([545,  15, 111, 129]), array([0.40131527, 0.00115449], dtype=float32))
    """

    _kind = sampling.LOG_UNIFORM
    _largest_range = 2**52


class LearnedUnigramSampler(CandidateSampler):
    """Class c in proportion to 1 + the number of times it was a label in earlier calls.

    See `CandidateSampler` for the parameters. `range_max` is at most 2**28, because each class
    takes 12 bytes. As in TensorFlow, the counts stop growing when their sum reaches 2**31 - 1.

    Examples
    --------
    >>> sampler = LearnedUnigramSampler(1000, seed=1)
    >>> labels = np.full((64, 1), 7)
    >>> for _ in range(100):
    ...     drawn = sampler.sample(labels, 4)
    >>> 7 in drawn.sampled_candidates  # 7 was a label 6,336 times before
    True
    """

    _kind = sampling.LEARNED_UNIGRAM
    _fixed = False
    _largest_range = 2**28

    def __init__(
        self,
        range_max: int,
        *,
        seed: int | None = None,
        global_seed: int | None = None,
        exclude_ids: ArrayLike = (),
    ) -> None:
        super().__init__(range_max, seed=seed, global_seed=global_seed, exclude_ids=exclude_ids)
        self._set_weights(np.ones(self.range_max, np.int32))

    def _set_weights(self, weights: NDArray[np.int32]) -> None:
        self._weights = weights
        self._tree = np.empty(self.range_max + 1, np.int64)
        sampling.fill_tree(weights, self._tree)
        self._sum = int(weights.sum(dtype=np.int64))

    def _total(self) -> float:
        return float(self._sum)

    def _kept(self) -> float:
        """Return the probability of all classes that are not excluded, which changes each call."""
        return 1 - int(self._weights[self._exclude].sum(dtype=np.int64)) / self._sum

    def _learn(self, labels: Integers) -> None:
        present = labels[labels >= 0]
        budget = min(MODULUS - self._sum, present.size)
        sampling.learn_labels(present, self._weights, self._tree, budget)
        self._sum += budget

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        return super().state_dict() | {"weights": self._weights.copy()}

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another sampler."""
        weights = np.asarray(_checks.state(state).get("weights"))
        if weights.dtype != np.int32 or weights.shape != (self.range_max,):
            _checks.fail(
                "state_dict['weights']", f"int32 numbers of shape ({self.range_max},)",
                f"{weights.dtype} of shape {weights.shape}",
            )
        total = int(weights.sum(dtype=np.int64))
        if weights.min() < 1 or total > MODULUS:
            _checks.fail(
                "state_dict['weights']", f"numbers >= 1 with a sum of at most {MODULUS}",
                f"{weights.min()} among them, and a sum of {total}",
            )
        super().load_state_dict(state)
        self._set_weights(weights.copy())


class FixedUnigramSampler(CandidateSampler):
    r"""Class c with a probability in proportion to :math:`w_c^{\mathrm{distortion}}`.

    Parameters
    ----------
    range_max, seed, global_seed, exclude_ids
        See `CandidateSampler`.
    unigrams : sequence or ndarray of numbers
        A weight w for each class, such as its count.
    vocab_file : path
        A file instead of `unigrams`: a line for each class, with fields separated by commas. The
        last field is the weight.
    distortion : float, default=1.0
        Exponent; 0.75 in word2vec, and 0 makes the distribution uniform.
    num_reserved_ids : int, default=0
        Number of first ids that have no weight and are never drawn.
    num_shards, shard : int, default=1 and 0
        Keep every num_shards-th id, beginning with `shard`, and number them from 0.

    Notes
    -----
    Drawing takes the same time for any number of classes, by Walker's alias method. The expected
    counts divide by the sum of the weights. As in TensorFlow they are added up in float32, one
    after the other, unless that misses more than a thousandth of the sum: small weights do not
    count there once the sum is large.

    Examples
    --------
    >>> sampler = FixedUnigramSampler(3, unigrams=[90, 9, 1], distortion=0.5, seed=1)
    >>> sampler.sample([[0], [2]], 2, unique=False).true_expected_count.ravel()
    array([1.4068289 , 0.14829278], dtype=float32)
    """

    _kind = sampling.FIXED_UNIGRAM
    _largest_range = MODULUS

    def __init__(
        self,
        range_max: int,
        *,
        unigrams: ArrayLike = (),
        vocab_file: str | PathLike[str] = "",
        distortion: float = 1.0,
        num_reserved_ids: int = 0,
        num_shards: int = 1,
        shard: int = 0,
        seed: int | None = None,
        global_seed: int | None = None,
        exclude_ids: ArrayLike = (),
    ) -> None:
        super().__init__(range_max, seed=seed, global_seed=global_seed, exclude_ids=exclude_ids)
        distortion = _checks.number("distortion", distortion)
        num_shards = _checks.integer("num_shards", num_shards, 1)
        shard = _checks.integer("shard", shard, 0, num_shards - 1)
        num_reserved_ids = _checks.integer("num_reserved_ids", num_reserved_ids, 0)
        given = _checks.as_array("unigrams", unigrams, "numbers")
        if bool(vocab_file) == bool(given.size):
            _checks.fail(
                "unigrams, vocab_file", "one of the two", "both" if vocab_file else "neither"
            )
        if vocab_file:
            given = np.array(_read_weights(vocab_file))
        given = _checks.counts("unigrams", given, None, "range_max")
        counts = _checks.cast("unigrams", given, np.float32)
        reserved = len(range(shard, num_reserved_ids, num_shards))
        # As in TensorFlow, the first weight belongs to the id after the shard's reserved ids.
        kept = counts[(np.arange(counts.size) + reserved) % num_shards == shard]
        if reserved + kept.size != self.range_max:
            _checks.fail(
                "unigrams",
                f"weights for range_max = {self.range_max} ids",
                f"{reserved} reserved ids and {kept.size} weights",
            )
        weights = np.zeros(self.range_max, np.float32)
        total = float(sampling.distort(kept, np.float32(distortion), weights[reserved:]))
        weights[self._exclude] = 0
        exact = float(weights.sum(dtype=np.float64))
        if len(self._exclude) or not abs(total - exact) < _ROUNDING * exact:
            total = exact
        self._exclude = NO_IDS
        if not 0 < total <= np.finfo(np.float32).max:
            _checks.fail("unigrams", "weights of finite, positive sum", total)
        self._weights, self._sum = weights, np.float32(total)
        # A probability that is 0 in float32 has no expected count with a logarithm.
        self._positive = int(np.count_nonzero(weights / self._sum))
        self._cut = np.empty(self.range_max, np.float32)
        self._alias = np.empty(self.range_max, np.int64)
        scratch = np.empty((2, self.range_max), np.int64)
        share = np.empty(self.range_max, np.float64)
        sampling.fill_alias(weights, self._cut, self._alias, share, *scratch)

    def _supply(self) -> int:
        return self._positive

    def _total(self) -> float:
        return float(self._sum)


def _read_weights(path: str | PathLike[str]) -> list[float]:
    weights = []
    # Only the numbers are used, so words in any encoding will do.
    with open(path, encoding="utf-8", errors="replace") as lines:
        for count, line in enumerate(lines, 1):
            if not line.strip():
                continue
            fields = line.split(",")
            try:
                weights.append(float(fields[-1]))
            except ValueError:
                _checks.fail(
                    "vocab_file",
                    "lines of comma-separated fields, the last a number",
                    f"{line.rstrip()!r} at {path}, line {count}",
                )
    return weights


class AllSampler(CandidateSampler):
    """The first `num_sampled` classes, each with expected count 1; nothing is drawn.

    See `CandidateSampler` for the parameters; the seeds are not used.

    Examples
    --------
    >>> AllSampler(3).sample([[0]], 3).sampled_candidates
    array([0, 1, 2])
    """

    def _supply(self) -> int:
        return self.range_max  # the first classes are counted with those that are excluded

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """See `CandidateSampler.propose`."""
        if num_sampled is None:
            num_sampled = self.range_max
        num_sampled = _checks.integer("num_sampled", num_sampled, 1, self.range_max)
        _checks.flag("unique", unique)
        candidates = np.setdiff1d(np.arange(num_sampled), self._exclude, assume_unique=True)
        ones = np.ones(labels.shape, np.float32), np.ones(candidates.size, np.float32)
        return SampledCandidates(candidates, *ones), lambda: None
