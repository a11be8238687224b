"""Candidate samplers: which classes a batch is trained against, and how often expected.

Each sampler draws `num_sampled` classes, shared by all examples of a batch, and
returns them with *expected counts*: how often a class is expected among the
candidates. The losses subtract their logarithm from the logits, which makes a
sampled softmax approach the full one.

With the same seeds the candidates and counts are those of TensorFlow, bit for bit.
A function draws what TensorFlow's first eager call draws; an object has a stream of
its own, and its n-th call draws what TensorFlow's n-th call on one kernel does. Unlike
TensorFlow's counter, the stream does not wrap at num_sampled >= 2**20.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers
from numba_ss.engine.seeds import MODULUS, ImplicitSeeds, stream_of
from numba_ss.kernels.core.rng import NUM_DOUBLES, STREAM_SIZE
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.softmax import sampling

Counts = NDArray[np.float32]
Accept = Callable[[], None]

# An expected count takes the time of so many multiplications.
_OPERATIONS = 700
# Classes for which log(1 - p) is kept: of candidates that are Zipf-distributed most.
_REMEMBERED = 2**16

# What the numbers of a state may be. Seeds are given one by one, so of those there are fewer.
_BITS = 0, 2**64 - 1
_STATE = {"global_seed": (-(2**63), 2**63 - 1), "implicit_seeds": (0, 2**32)}

_NO_IDS = np.empty(0, np.int64)
_NO_TREE = np.empty(0, np.int64)
_NO_TABLE = np.empty(0, np.float32)


class SampledCandidates(NamedTuple):
    """What a sampler returns; the fields are TensorFlow's.

    Attributes
    ----------
    sampled_candidates : ndarray of int64, shape (num_sampled,)
        Drawn classes, in the order of drawing. They may overlap with the labels.
    true_expected_count : ndarray of float32, shape (batch_size, num_true)
        Expected occurrences of each label among the candidates.
    sampled_expected_count : ndarray of float32, shape (num_sampled,)
        Expected occurrences of each candidate.

    Examples
    --------
    >>> drawn = UniformSampler(1000, seed=1).sample([[3], [5]], 4)
    >>> drawn.sampled_candidates.shape, drawn.true_expected_count.shape
    ((4,), (2, 1))
    """

    sampled_candidates: Integers
    true_expected_count: Counts
    sampled_expected_count: Counts


class CandidateSampler:
    r"""A stream of candidates; the base of the samplers below.

    With p(c) the probability of class c in one draw, the expected count is
    :math:`Q(c) = \mathrm{num\_sampled}\, p(c)` when drawing with replacement, and

    .. math:: Q(c) = 1 - (1 - p(c))^{\mathrm{num\_tries}}

    when drawing until `num_sampled` distinct classes have appeared, which took
    `num_tries` draws [1]_. Where these would be very many, millions, they are not all made: the
    rest is drawn in another way that has the same distribution.

    Parameters
    ----------
    range_max : int
        Number of classes; ids are in [0, range_max).
    seed : int, optional
        Op seed, as in TensorFlow. Without any seed the stream is random.
    global_seed : int, optional
        What `tf.random.set_seed` is given. Alone, each call is the first of a new
        stream, as TensorFlow's eager calls are.
    exclude_ids : sequence of int, optional
        Classes that are never drawn, padding for example. The probabilities of all
        others are divided by their sum; an excluded class has expected count 0.

    Raises
    ------
    ArgumentError
        If an argument is not as described. A failed call draws nothing.

    Notes
    -----
    Several Python threads can draw from one sampler; they wait for each other.

    References
    ----------
    .. [1] "Candidate Sampling Algorithms Reference",
       https://www.tensorflow.org/extras/candidate_sampling.pdf
    """

    _kind: int
    _fixed = True  # whether probabilities stay as they are
    _largest_range = 2**63 - 1

    def __init__(
        self,
        range_max: int,
        *,
        seed: int | None = None,
        global_seed: int | None = None,
        exclude_ids: ArrayLike = (),
    ) -> None:
        self.range_max = _checks.integer("range_max", range_max, 1, self._largest_range)
        seed = _checks.optional_integer("seed", seed)
        global_seed = _checks.optional_integer("global_seed", global_seed)
        self._exclude = _checks.unique_ids("exclude_ids", exclude_ids, self.range_max)
        self._key = self._high = np.uint64(0)
        self._block = 0
        # The last arguments of `propose` that were checked.
        self._asked: tuple[int, bool] | None = None
        self._implicit = None
        if seed is None and global_seed is not None:
            self._implicit = ImplicitSeeds(global_seed)
            self._global_seed = global_seed
        else:
            self._key, self._high = map(np.uint64, stream_of(seed, global_seed))
        self._stream = np.zeros(STREAM_SIZE, np.uint64)
        self._uniform = np.empty(NUM_DOUBLES)
        self._drawn = np.empty(NUM_DOUBLES, np.int64)
        self._keys = _NO_IDS
        self._log_range = float(np.log1p(np.float64(self.range_max)))
        self._tree, self._cut, self._alias = _NO_TREE, _NO_TABLE, _NO_TREE
        self._weights: NDArray[Any] = _NO_TABLE
        self._memo = _NO_TABLE

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is only remembered, and scratch."""
        return vars(self) | {"_memo": _NO_TABLE, "_keys": _NO_IDS}

    def sample(
        self, true_classes: ArrayLike, num_sampled: int, unique: bool = True
    ) -> SampledCandidates:
        """Draw candidates for a batch.

        Parameters
        ----------
        true_classes : array of integers, shape (batch_size, num_true)
            Labels, in [0, range_max). Only their expected counts depend on them: a
            label may well be drawn.
        num_sampled : int
            Number of candidates.
        unique : bool, default=True
            Whether all candidates of the batch are distinct.

        Returns
        -------
        SampledCandidates

        Examples
        --------
        >>> sampler = LogUniformSampler(1000, seed=1)
        >>> sampler.sample([[3], [5]], 4).sampled_candidates
        array([545,  15, 111, 129])
        """
        labels = _checks.true_classes(true_classes, None, self.range_max)
        return self._sample(labels, num_sampled, unique)

    @alone
    def _sample(self, labels: Integers, num_sampled: int | None, unique: bool) -> SampledCandidates:
        """As `sample`, for checked labels, of which negative ones are absent."""
        sampled, accept = self.propose(labels, num_sampled, unique)
        accept()
        return sampled

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """Draw for checked labels; the stream moves on only when `accept` is called.

        For a caller who may find the batch unusable after the draw, and who holds the
        sampler's guard until then. The labels lie together; negative ones are absent.
        """
        if (
            type(num_sampled) is not int
            or type(unique) is not bool
            or (num_sampled, unique) != self._asked
        ):
            num_sampled, unique = self._asked = self._check_asked(num_sampled, unique)
        count = num_sampled
        key, high = self._key, self._high
        if self._implicit is not None:
            key, high = map(np.uint64, stream_of(self._implicit.following, self._global_seed))
        if self._block and not self._memo.size and self._fixed:
            self._memo = np.full(min(self.range_max, _REMEMBERED), np.nan, np.float32)
        size = 1 << (4 * count).bit_length()
        if self._keys.size != size:
            self._keys = np.empty(size, np.int64)
        candidates = np.empty(count, np.int64)
        draw = sampling.Draw(
            key, high, self._block, unique, self._stream, self._uniform, self._drawn, self._keys
        )
        distribution = self._distribution(self._exclude, self._kept())
        true_count = np.empty(labels.shape, np.float32)
        sampled_count = np.empty(count, np.float32)
        threads = threads_for(_OPERATIONS * (labels.size + count))
        if threads == 1:
            num_tries = sampling.draw_and_count(
                distribution, draw, self._memo, labels, candidates, true_count, sampled_count
            )
        else:
            num_tries = sampling.draw_candidates(distribution, draw, candidates)
            sampling.expected_counts(
                distribution, labels.reshape(-1), candidates, num_tries, threads, self._memo,
                true_count.reshape(-1), sampled_count,
            )
        if candidates[-1] < 0:
            rng = np.random.default_rng((int(key), int(high), self._block))
            p = self._draw_rest(candidates, num_tries, unique, rng)
            true_count[:], sampled_count[:] = p[np.maximum(labels, 0)], p[candidates]

        def accept() -> None:
            if self._implicit is not None:
                self._implicit.advance()
            else:
                # TensorFlow reserves 2048 words a candidate, four to a block.
                self._block += 512 * count
            self._learn(labels)

        return SampledCandidates(candidates, true_count, sampled_count), accept

    def _draw_rest(
        self, candidates: Integers, num_tries: int, unique: bool, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Replace the -1 among candidates as endless drawing would; return expected counts.

        Those are of all classes. It takes time in proportion to their number, and what drawing
        finds has the same distribution: it stopped at a number of draws, whatever they were.
        """
        first = int(np.count_nonzero(candidates >= 0))
        p = self._probabilities(np.arange(self.range_max)).astype(np.float64)
        p[self._exclude] = 0
        p /= p.sum()
        rest = len(candidates) - first
        if not unique:
            shares = np.cumsum(p)
            candidates[first:] = np.searchsorted(shares, rng.random(rest) * shares[-1], "right")
            return len(candidates) * p
        left = p.copy()
        left[candidates[:first]] = 0
        with np.errstate(divide="ignore"):
            # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
            order = np.argsort(rng.exponential(size=len(p)) / left, kind="stable")
            candidates[first:] = order[:rest]
            # The chance of a new class, before each of them was drawn; waiting is geometric.
            chance = np.cumsum(left[order][::-1])[::-1][:rest]
            waits = rng.exponential(size=rest) / -np.log1p(-np.minimum(chance, 1))
            tries = num_tries + np.maximum(np.ceil(waits), 1).sum()
            counts: NDArray[np.float64] = -np.expm1(tries * np.log1p(-p))
        return counts if tries > len(candidates) else tries * p

    def _probabilities(self, rows: Integers) -> Counts:
        """Return the probabilities of classes in one draw, if none were excluded."""
        # With one candidate and one try the expected count is the probability.
        p = np.empty(len(rows), np.float32)
        sampling.expected_counts(
            self._distribution(_NO_IDS, 1.0), rows, rows[:1], 1, 1, _NO_TABLE, p,
            np.empty(1, np.float32),
        )
        return p

    def _check_asked(self, num_sampled: int | None, unique: bool) -> tuple[int, bool]:
        count = _checks.integer("num_sampled", num_sampled, 1)
        unique = _checks.flag("unique", unique)
        self.check_supply(count if unique else 1)
        return count, unique

    def check_supply(self, num_sampled: int) -> None:
        """Require that so many distinct classes can be drawn."""
        if num_sampled > self.range_max:
            _checks.fail(
                "num_sampled",
                f"at most range_max = {self.range_max} distinct classes "
                "(to train on all of them use softmax_loss)",
                num_sampled,
            )
        supply = self._supply()
        if num_sampled > supply:
            _checks.fail(
                "num_sampled",
                f"at most {supply}, the number of classes that can be drawn",
                num_sampled,
            )

    def _supply(self) -> int:
        return self.range_max - len(self._exclude)

    def _distribution(self, exclude: Integers, kept: float) -> sampling.Distribution:
        return sampling.Distribution(
            self._kind, self.range_max, self._log_range, self._total(), self._weights, self._tree,
            self._cut, self._alias, exclude, kept,
        )

    def _total(self) -> float:
        return 0.0

    def _kept(self) -> float:
        if not len(self._exclude):
            return 1.0
        return 1.0 - float(self._probabilities(self._exclude).sum(dtype=np.float64))

    def _learn(self, labels: Integers) -> None:
        """Take notice of a batch, after its candidates were drawn."""

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        state: dict[str, Any] = {"sampler": type(self).__name__, "range_max": self.range_max}
        if self._implicit is None:
            return state | {"key": int(self._key), "high": int(self._high), "block": self._block}
        return state | {"global_seed": self._global_seed, "implicit_seeds": self._implicit.given}

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the sampler stood whose state this is."""
        for name, want in (("sampler", type(self).__name__), ("range_max", self.range_max)):
            if state.get(name) != want:
                _checks.fail(f"state_dict[{name!r}]", repr(want), repr(state.get(name)))
        names = ("key", "high", "block") if "key" in state else ("global_seed", "implicit_seeds")
        values = [
            _checks.integer(f"state_dict[{name!r}]", state.get(name), *_STATE.get(name, _BITS))
            for name in names
        ]
        if "key" in state:
            self._implicit = None
            self._key, self._high = np.uint64(values[0]), np.uint64(values[1])
            self._block = values[2]
        else:
            self._global_seed = values[0]
            self._implicit = ImplicitSeeds(*values)


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

    This is close to Zipf's law: right for ids in the order of falling frequency, and
    for no others. See `CandidateSampler` for the parameters. `range_max` is at most
    2**52, as beyond that float64 gives probability 0.

    Examples
    --------
    >>> drawn = LogUniformSampler(1000, seed=1).sample([[0], [500]], 4)
    >>> drawn.sampled_candidates, drawn.true_expected_count.ravel()
    (array([545,  15, 111, 129]), array([0.40131527, 0.00115449], dtype=float32))
    """

    _kind = sampling.LOG_UNIFORM
    _largest_range = 2**52


class LearnedUnigramSampler(CandidateSampler):
    """Class c in proportion to 1 + the times it was a label in earlier calls.

    See `CandidateSampler` for the parameters. `range_max` is at most 2**28, for a class
    takes 12 bytes. The counts stop growing when their sum reaches 2**31 - 1, as TensorFlow's
    do.

    Examples
    --------
    >>> sampler = LearnedUnigramSampler(1000, seed=1)
    >>> labels = np.full((64, 1), 7)
    >>> for _ in range(100):
    ...     drawn = sampler.sample(labels, 4)
    >>> 7 in drawn.sampled_candidates  # which was a label 6,300 times before
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
        """Go on where the sampler stood whose state this is."""
        weights = np.asarray(state.get("weights"))
        if weights.dtype != np.int32 or weights.shape != (self.range_max,):
            _checks.fail(
                "state_dict['weights']", f"int32 numbers, ({self.range_max},)", weights.dtype
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
        Weights w, occurrence counts for example, one a class.
    vocab_file : path
        Instead of `unigrams`: lines of comma-separated fields, the last the weight.
    distortion : float, default=1.0
        Exponent; 0.75 in word2vec, and 0 makes the distribution uniform.
    num_reserved_ids : int, default=0
        Ids in front of the weights that are never drawn.
    num_shards, shard : int, default=1 and 0
        Keep every num_shards-th id from `shard` on, and number them anew.

    Notes
    -----
    Drawing takes the same time for any number of classes, by Walker's alias method.

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
        if bool(vocab_file) == bool(np.size(unigrams)):
            _checks.fail(
                "unigrams, vocab_file", "one of the two", "both" if vocab_file else "neither"
            )
        if vocab_file:
            unigrams = _read_weights(vocab_file)
        given = _checks.counts("unigrams", unigrams, None, "range_max")
        counts = _checks.cast("unigrams", given, np.float32)
        reserved = len(range(shard, num_reserved_ids, num_shards))
        # TensorFlow numbers the weights from the shard's own reserved ids on.
        kept = counts[(np.arange(counts.size) + reserved) % num_shards == shard]
        if reserved + kept.size != self.range_max:
            _checks.fail(
                "unigrams",
                f"weights for range_max = {self.range_max} ids",
                f"{reserved} reserved ids and {kept.size} weights",
            )
        weights = np.zeros(self.range_max, np.float32)
        total = sampling.distort(kept, np.float32(distortion), weights[reserved:])
        if len(self._exclude):
            weights[self._exclude] = 0
            total = weights.sum(dtype=np.float64)
            self._exclude = _NO_IDS
        if not (0 < total < np.inf):
            _checks.fail("unigrams", "weights of finite, positive sum", total)
        self._weights, self._sum = weights, np.float32(total)
        # A share that float32 takes for 0 has no expected count that could be corrected for.
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
    with open(path, encoding="utf-8") as lines:
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
