"""What all candidate samplers do: draw the classes that a batch is trained against.

A sampler draws `num_sampled` classes, shared by all examples of a batch. It returns them with
*expected counts*: how often each class is expected among the candidates. The losses subtract
the logarithm of these counts from the logits. This makes a sampled softmax approach the full one.

With the same seeds, candidates and counts are those of TensorFlow, bit for bit. A sampler object
has a stream of random numbers: its n-th call draws what TensorFlow's n-th call on one kernel draws.
Unlike TensorFlow's counter, the stream does not wrap around if num_sampled >= 2**20.

A new sampler is a subclass. One with another distribution sets `_kind`, a constant of
`kernels.softmax.sampling`, which draws. One that draws in another way overrides `propose`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers
from numba_ss.engine.remaining_draws import draw_remaining
from numba_ss.engine.seeds import ImplicitSeeds, stream_of
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.softmax import sampling

Counts = NDArray[np.float32]
Accept = Callable[[], None]

# TensorFlow reserves 2048 words of the stream for a candidate, four in a block.
_BLOCKS = 512
# An expected count takes as long as this many multiplications, if most of log(1 - p) is kept.
_OPERATIONS = 200
# Classes for which log(1 - p) is kept. Most Zipf-distributed candidates are among them.
_REMEMBERED = 2**18

# The range of each number of a state. Implicit seeds are given one by one, so they are fewer.
_BITS = 0, 2**64 - 1
_STATE = {"global_seed": (-(2**63), 2**63 - 1), "implicit_seeds": (0, 2**32)}

_SCRATCH = ("_scratch", "_keys", "_memo", "_drawn_from")
NO_IDS = np.empty(0, np.int64)
_NO_TREE = np.empty(0, np.int64)
_NO_TABLE = np.empty(0, np.float32)


class SampledCandidates(NamedTuple):
    """What a sampler returns; the fields are TensorFlow's.

    Attributes
    ----------
    sampled_candidates : ndarray of int64, shape (num_sampled,)
        Drawn classes, in the order of drawing. Some of them may be labels.
    true_expected_count : ndarray of float32, shape (batch_size, num_true)
        Expected occurrences of each label among the candidates.
    sampled_expected_count : ndarray of float32, shape (num_sampled,)
        Expected occurrences of each candidate.

    Examples
    --------
    >>> from numba_ss import UniformSampler
    >>> drawn = UniformSampler(1000, seed=1).sample([[3], [5]], 4)
    >>> drawn.sampled_candidates.shape, drawn.true_expected_count.shape
    ((4,), (2, 1))
    """

    sampled_candidates: Integers
    true_expected_count: Counts
    sampled_expected_count: Counts


class CandidateSampler:
    r"""A stream of candidates; the base class of all samplers.

    Let p(c) be the probability of class c in one draw. When drawing with replacement, the
    expected count is :math:`Q(c) = \mathrm{num\_sampled}\, p(c)`. When drawing until there are
    `num_sampled` distinct classes, which takes `num_tries` draws, it is [1]_

    .. math:: Q(c) = 1 - (1 - p(c))^{\mathrm{num\_tries}}.

    If this would take millions of draws, the last candidates are drawn in another way that has
    the same distribution.

    Parameters
    ----------
    range_max : int
        Number of classes; ids are in [0, range_max).
    seed : int, optional
        Op seed, as in TensorFlow. Without any seed the stream is random.
    global_seed : int, optional
        The argument of `tf.random.set_seed`. Without `seed`, each call is the first of a new
        stream, as TensorFlow's eager calls are.
    exclude_ids : sequence of int, optional
        Classes that are never drawn, such as padding. The probabilities of all others are
        divided by their sum. An excluded class has expected count 0.

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
    _fixed = True  # whether the probabilities never change
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
        self._make_scratch()
        self._log_range = float(np.log1p(np.float64(self.range_max)))
        self._tree, self._cut, self._alias = _NO_TREE, _NO_TABLE, _NO_TREE
        self._weights: NDArray[Any] = _NO_TABLE

    def _make_scratch(self) -> None:
        self._scratch = np.zeros(sampling.SCRATCH_SIZE, np.uint64)
        self._keys = NO_IDS
        # Caches; probabilities that never change are found once.
        self._memo = _NO_TABLE
        self._drawn_from: sampling.Distribution | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out caches and scratch memory, which may come back as read-only arrays."""
        return {name: value for name, value in vars(self).items() if name not in _SCRATCH}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make new scratch memory."""
        vars(self).update(state)
        self._make_scratch()

    def sample(
        self, true_classes: ArrayLike, num_sampled: int, unique: bool = True
    ) -> SampledCandidates:
        """Draw candidates for a batch.

        Parameters
        ----------
        true_classes : array of integers, shape (batch_size, num_true)
            Labels, in [0, range_max). They decide only of which classes the expected counts
            are returned; a label may be drawn, too.
        num_sampled : int
            Number of candidates.
        unique : bool, default=True
            Whether all candidates of the batch are distinct.

        Returns
        -------
        SampledCandidates

        Examples
        --------
        >>> from numba_ss import LogUniformSampler
        >>> sampler = LogUniformSampler(1000, seed=1)
        >>> sampler.sample([[3], [5]], 4).sampled_candidates
        array([545,  15, 111, 129])
        """
        labels = _checks.true_classes(true_classes, None, self.range_max)
        return self._sample(labels, num_sampled, unique)

    @alone
    def _sample(self, labels: Integers, num_sampled: int | None, unique: bool) -> SampledCandidates:
        """Do what `sample` does, with checked labels; negative labels are absent."""
        sampled, accept = self.propose(labels, num_sampled, unique)
        accept()
        return sampled

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """Draw for checked labels; return candidates and a function `accept`.

        The stream moves on only when `accept` is called. So a caller that cannot use the batch
        after all has drawn nothing. The caller holds the sampler's guard until then. The labels
        are contiguous; negative ones are absent.
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
        draw = key, high, self._block, unique, self._scratch, self._keys
        distribution = self._drawn_from
        if distribution is None or not self._fixed:
            distribution = self._drawn_from = self._distribution(self._exclude, self._kept())
        true_count = np.empty(labels.shape, np.float32)
        sampled_count = np.empty(count, np.float32)
        threads = threads_for(_OPERATIONS * (labels.size + count))
        if threads == 1:
            num_tries = sampling.draw_and_count(
                distribution, *draw, self._memo, labels, candidates, true_count, sampled_count
            )
        else:
            num_tries = sampling.draw_candidates(distribution, *draw, candidates)
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
                self._block += _BLOCKS * count
            self._learn(labels)

        return SampledCandidates(candidates, true_count, sampled_count), accept

    def seek(self, calls: int, num_sampled: int | None) -> None:
        """Move to where a new sampler that does not learn is after some calls of `sample`.

        Parameters
        ----------
        calls : int
            Number of calls.
        num_sampled : int or None
            Candidates of each.
        """
        self._block = _BLOCKS * calls * (num_sampled or 0)

    def _draw_rest(
        self, candidates: Integers, num_tries: int, unique: bool, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Replace the -1 among candidates; return the expected counts of all classes."""
        p = self._probabilities(np.arange(self.range_max)).astype(np.float64)
        p[self._exclude] = 0
        return draw_remaining(p / p.sum(), candidates, num_tries, unique, rng)

    def _probabilities(self, rows: Integers) -> Counts:
        """Return the probabilities of classes in one draw, if none were excluded."""
        # With one candidate and one try the expected count is the probability.
        p = np.empty(len(rows), np.float32)
        sampling.expected_counts(
            self._distribution(NO_IDS, 1.0), rows, rows[:1], 1, 1, _NO_TABLE, p,
            np.empty(1, np.float32),
        )
        return p

    def _check_asked(self, num_sampled: int | None, unique: bool) -> tuple[int, bool]:
        count = _checks.integer("num_sampled", num_sampled, 1)
        unique = _checks.flag("unique", unique)
        self.check_supply(count if unique else 1)
        return count, unique

    def check_supply(self, num_sampled: int) -> None:
        """Require that `num_sampled` distinct classes can be drawn."""
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
        """Return the probability of all classes that are not excluded."""
        if len(self._exclude) <= self.range_max // 2:
            return 1.0 - float(self._probabilities(self._exclude).sum(dtype=np.float64))
        # What little is left of 1 would have the rounding errors of all excluded ones.
        left = np.delete(np.arange(self.range_max), self._exclude)
        return float(self._probabilities(left).sum(dtype=np.float64))

    def _learn(self, labels: Integers) -> None:
        """Learn from the labels of a batch, after its candidates were drawn."""

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        state: dict[str, Any] = {"sampler": type(self).__name__, "range_max": self.range_max}
        if self._implicit is None:
            return state | {"key": int(self._key), "high": int(self._high), "block": self._block}
        return state | {"global_seed": self._global_seed, "implicit_seeds": self._implicit.given}

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another sampler."""
        state = _checks.state(state)
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
