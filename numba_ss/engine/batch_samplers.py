"""Samplers that use the labels of the batch as candidates, alone or with random ones."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers
from numba_ss.engine.candidate_sampler import Accept, CandidateSampler, Counts, SampledCandidates
from numba_ss.kernels.softmax import sampling

# The smallest chance that is used: no run has enough batches to measure a smaller one.
_SMALLEST = 2.0**-40
_MANY = 2**30  # counts of batches that hold a class stop here


class _LabelSampler(CandidateSampler):
    """The base of both samplers: the chance that a class is among the labels of a batch."""

    _largest_range = 2**28  # a class takes 16 bytes

    def __init__(
        self,
        range_max: int,
        *,
        counts: ArrayLike | None = None,
        decay: float = 0.05,
        seed: int | None = None,
        global_seed: int | None = None,
        exclude_ids: ArrayLike = (),
    ) -> None:
        super().__init__(range_max, seed=seed, global_seed=global_seed, exclude_ids=exclude_ids)
        self._decay = _checks.number("decay", decay)
        if not 0 < self._decay <= 1:
            _checks.fail("decay", "a number in (0, 1]", decay)
        self._share: NDArray[np.float64] | None = None
        if counts is None:
            self._step = 0
            # A class that was never seen: -1 is the step before the first.
            self._last_step = np.full(self.range_max, -1, np.int64)
            self._gap = np.ones(self.range_max, np.float32)
            self._seen = np.zeros(self.range_max, np.int32)
        else:
            counts = _checks.counts("counts", counts, self.range_max, "range_max")
            self._share = counts / counts.sum()

    @classmethod
    def streaming(
        cls, range_max: int, counts: ArrayLike, batch_size: int, **options: Any
    ) -> Self:
        """Return a sampler that starts from the counts of a log, and keeps estimating.

        With Q the chance of a class according to `counts`, its mean gap starts at 1 / Q, and it
        counts as last seen one gap ago. Classes with count 0 start as never seen.

        Parameters
        ----------
        range_max : int
            Number of classes.
        counts : ndarray, shape (range_max,)
            How often each class occurred as a label.
        batch_size : int
            Number of labels in each coming batch.
        options
            Other arguments of the sampler.
        """
        sampler = cls(range_max, **options)
        counts = _checks.counts("counts", counts, sampler.range_max, "range_max")
        batch_size = _checks.integer("batch_size", batch_size, 1)
        seen = np.flatnonzero(counts)
        chance = chance_among(counts[seen] / counts.sum(), batch_size)
        gap = 1 / np.maximum(chance, _SMALLEST)
        passed = np.rint(gap).astype(np.int64)
        sampler._step = int(passed.max())
        sampler._last_step[:] = sampler._step - 1
        sampler._last_step[seen] = sampler._step - passed
        sampler._gap[seen] = gap
        sampler._seen[seen] = np.clip(counts[seen], 1, _MANY)
        return sampler

    def grown(self, range_max: int) -> Self:
        """Return a sampler in the same state over more classes; the new ones were never seen.

        Parameters
        ----------
        range_max : int
            Number of classes of the new sampler.
        """
        range_max = _checks.integer("range_max", range_max, self.range_max)
        extra = range_max - self.range_max
        sampler = type(self)(range_max, decay=self._decay, exclude_ids=self._exclude)
        state = self.state_dict() | {"range_max": range_max}
        if self._share is not None:
            sampler._share = np.pad(self._share, (0, extra))
        else:
            new = self._step - 1
            state["last_step"] = np.pad(self._last_step, (0, extra), constant_values=new)
            state["gap"] = np.pad(self._gap, (0, extra), constant_values=1)
            state["seen"] = np.pad(self._seen, (0, extra))
        sampler.load_state_dict(state)
        return sampler

    def _present(self, labels: Integers) -> tuple[Integers, Counts, Accept]:
        """Return the distinct labels, ascending, their chances, and a function that records them.

        The chances already count this batch.
        """
        rows = np.unique(labels[labels >= 0])
        if self._share is not None:
            return rows, self._chance(rows, labels), lambda: None
        gap = self._new_gap(rows)

        def accept() -> None:
            self._gap[rows] = gap
            self._last_step[rows] = self._step
            self._seen[rows] = np.minimum(self._seen[rows], _MANY - 1) + 1
            self._step += 1

        return rows, (1 / gap).astype(np.float32), accept

    def _chance(self, rows: Integers, labels: Integers) -> Counts:
        """Return the chances of classes to be labels of a batch, without counting this one."""
        if self._share is None:
            # The current gap of a class is not over: it will be at least as long as it is now.
            gap = np.maximum(self._gap[rows], self._step - self._last_step[rows])
            chance: Counts = ((self._seen[rows] > 0) / gap).astype(np.float32)
            return chance
        num_labels = int(np.count_nonzero(labels >= 0))
        return chance_among(self._share[rows], num_labels).astype(np.float32)

    def _new_gap(self, rows: Integers) -> Counts:
        gap = (self._step - self._last_step[rows]).astype(np.float32)
        mean = self._gap[rows]
        # The plain mean of the first gaps, while a gap's weight in it is more than `decay`.
        weight = np.maximum(np.float32(self._decay), 1 / (self._seen[rows] + np.float32(1)))
        updated: Counts = mean + weight * (gap - mean)
        return updated

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        state = super().state_dict()
        if self._share is None:
            state |= {
                "step": self._step,
                "last_step": self._last_step.copy(),
                "gap": self._gap.copy(),
                "seen": self._seen.copy(),
            }
        return state

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another sampler."""
        if self._share is not None:
            super().load_state_dict(state)
            return
        state = _checks.state(state)
        step = _checks.integer("state_dict['step']", state.get("step"), 0, 2**62)
        for name, kinds, lowest, highest in (
            ("last_step", "iu", -(2**62), step - 1), ("gap", "f", 0.5, np.finfo(np.float32).max),
            ("seen", "iu", 0, _MANY),
        ):
            array = np.asarray(state.get(name))
            label = f"state_dict[{name!r}]"
            if array.shape != (self.range_max,) or array.dtype.kind not in kinds:
                expected = f"numbers of shape ({self.range_max},)"
                _checks.fail(label, expected, f"{array.dtype} of shape {array.shape}")
            # Also true of NaN.
            bad = np.flatnonzero(~((array >= lowest) & (array <= highest)))
            if bad.size:
                expected = f"numbers in [{lowest}, {highest}]"
                _checks.fail(label, expected, f"{array[bad[0]]} at [{bad[0]}]")
        super().load_state_dict(state)
        self._step = step
        self._last_step = np.array(state["last_step"], np.int64)
        self._gap = np.array(state["gap"], np.float32)
        self._seen = np.array(state["seen"], np.int32)


def chance_among(share: NDArray[np.float64], num_draws: int) -> NDArray[np.float64]:
    """Return the chance of being among `num_draws` draws; small chances are exact, too."""
    chance: NDArray[np.float64] = np.expm1(num_draws * np.log1p(-np.minimum(share, 1 - 1e-16)))
    return -chance


class InBatchSampler(_LabelSampler):
    r"""The batch's own labels, each once, as candidates.

    A class is then among the candidates with probability
    :math:`1 - (1 - p)^n`, where p is its share of all labels and n the number of labels of the
    batch. Without `counts`, this probability is estimated from the batches seen so far, as
    1 / b(c): b(c) is a running mean of the number of batches from one that holds c to the
    next [1]_. The first gaps of a class have the weight of a plain mean, so the estimate for a new
    class is soon near its frequency.

    Parameters
    ----------
    range_max : int
        Number of classes, at most 2**28; ids are in [0, range_max).
    counts : ndarray, shape (range_max,), optional
        How often each class occurs as a label.
    decay : float, default=0.05
        Weight of the newest gap in the running mean, in (0, 1].
    exclude_ids : sequence of int, optional
        Classes that are never candidates. As labels they have the same expected count as
        without the exclusion.

    References
    ----------
    .. [1] X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
       Recommendations", RecSys 2019, section 4, algorithm 2.

    Examples
    --------
    >>> sampler = InBatchSampler(4, counts=[5, 3, 1, 1])
    >>> sampled = sampler.sample([[1], [0], [1]])
    >>> sampled.sampled_candidates, sampled.sampled_expected_count
    (array([0, 1]), array([0.875, 0.657], dtype=float32))
    """

    def __init__(
        self,
        range_max: int,
        *,
        counts: ArrayLike | None = None,
        decay: float = 0.05,
        exclude_ids: ArrayLike = (),
    ) -> None:
        super().__init__(range_max, counts=counts, decay=decay, seed=0, exclude_ids=exclude_ids)

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """See `CandidateSampler.propose`."""
        if num_sampled is not None:
            _checks.fail("num_sampled", "None: the batch's own labels are taken", num_sampled)
        if not _checks.flag("unique", unique):
            _checks.fail("unique", "True: each label is taken once", unique)
        rows, chance, accept = self._present(labels)
        drawn = ~np.isin(rows, self._exclude)
        # Every label is among the rows; absent ones get the count of the first.
        true_count = chance[np.searchsorted(rows, labels)]
        return SampledCandidates(rows[drawn], true_count, chance[drawn]), accept

    def sample(
        self, true_classes: ArrayLike, num_sampled: int | None = None, unique: bool = True
    ) -> SampledCandidates:
        """Return the labels of the batch as candidates, ascending; see `CandidateSampler`."""
        labels = _checks.true_classes(true_classes, None, self.range_max)
        return self._sample(labels, num_sampled, unique)


class MixedSampler(_LabelSampler):
    r"""The batch's own labels, and `num_sampled` distinct classes that are drawn uniformly.

    If only labels were candidates, a model would seldom see classes that are seldom labels, and
    never those that are never labels [1]_. The candidates are the union of both parts, ascending.
    The parts are independent, so a class is among the candidates with probability

    .. math:: Q(c) = 1 - (1 - Q_{batch}(c)) (1 - Q_{uniform}(c)).

    :math:`Q_{batch}` is the probability of `InBatchSampler`, 0 for a class that was never seen.
    :math:`Q_{uniform}` is `num_sampled` divided by the number of classes that can be drawn.

    Parameters
    ----------
    range_max, counts, decay, exclude_ids
        See `InBatchSampler`.
    seed, global_seed
        See `CandidateSampler`.

    References
    ----------
    .. [1] J. Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in
       Recommendations", WWW 2020 companion.

    Examples
    --------
    >>> sampler = MixedSampler(100, counts=np.ones(100), seed=1)
    >>> sampler.sample([[40], [40], [7]], 3).sampled_candidates
    array([ 1,  5,  7, 40, 91])
    """

    _kind = sampling.UNIFORM

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """See `CandidateSampler.propose`."""
        if not _checks.flag("unique", unique):
            _checks.fail("unique", "True: each candidate is taken once", unique)
        uniform, move_on = super().propose(labels, num_sampled, True)
        rows, chance, take_notice = self._present(labels)
        candidates = np.union1d(rows, uniform.sampled_candidates)
        count = self._chance(candidates, labels)
        count[np.searchsorted(candidates, rows)] = chance
        count += np.float32(len(uniform.sampled_candidates) / self._supply()) * (1 - count)
        true_count = count[np.searchsorted(candidates, labels)]
        drawn = ~np.isin(candidates, self._exclude)

        def accept() -> None:
            move_on()
            take_notice()

        return SampledCandidates(candidates[drawn], true_count, count[drawn]), accept
