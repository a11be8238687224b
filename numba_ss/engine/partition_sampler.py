"""A sampler whose candidates come from a subset of the classes, kept for many batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Integers
from numba_ss.engine.batch_samplers import chance_among
from numba_ss.engine.candidate_sampler import Accept, CandidateSampler, SampledCandidates
from numba_ss.engine.samplers import FixedUnigramSampler, LogUniformSampler, UniformSampler

Proposal = UniformSampler | LogUniformSampler | FixedUnigramSampler

_NO_LABELS = np.empty((0, 1), np.int64)


class _Partition(NamedTuple):
    """A subset of the classes, and how many of them were candidates already."""

    classes: Integers  # in the order in which they become candidates
    chance: NDArray[np.float64]  # the chance of each class to be in such a subset
    num_draws: int  # draws that made the subset
    place: int  # position of the next batch's first candidate
    batches: int  # number of batches so far


class PartitionSampler(CandidateSampler):
    r"""Candidates from a subset of the classes, which is kept for a partition of the batches.

    Until the next partition begins, training uses only the rows of the subset and of the labels.
    So if the table is on another machine, only these rows have to be fetched; `subset` has their
    ids.

    The subset V' of a partition has the distinct classes among n draws from a proposal
    distribution p. The draws are made by the sampler, or they are the targets of the partition's
    batches, as in [1]_, which count as draws from p. The classes of the subset have a random
    order. The candidates of a batch are the next m classes in this order; after the last class
    comes the first again. m is `num_sampled`, or the size of the subset if that is smaller. The
    expected count of a class is

    .. math:: Q(c) = \frac{m}{|V'|} \left(1 - (1 - p(c))^n\right),

    It is the chance of a class of the subset to be a candidate, times the chance to be in the
    subset.

    Parameters
    ----------
    proposal : UniformSampler, LogUniformSampler or FixedUnigramSampler
        The distribution p over all classes. The subsets are drawn from its stream, so its
        seed is that of this sampler. Classes that it excludes are never candidates.
    num_draws : int, optional
        The number n of draws for a subset. Without it, call `begin_partition` with labels before
        each partition.
    steps : int, optional
        Number of batches in a partition. Without it, a subset is kept until `begin_partition` is
        called.

    Raises
    ------
    ArgumentError
        If an argument is not as described. A failed call draws nothing.

    Notes
    -----
    Let E be the logits, and :math:`\omega_k = \exp(E(y_k) - \log Q(y_k))` the weights of [1]_. The
    sum of the weights over the candidates has exactly the expectation
    :math:`\sum_{y \in V} \exp E(y)`, and the same holds for its gradient. This is an expectation
    over partitions: all batches of a partition share the error of its subset, which averages out
    over many partitions. So the longer a partition is, the smaller the learning rate should be.

    In [1]_, Q is 1 / |V'| for all classes of a subset, and cancels. This estimator is biased: a
    class counts in proportion to the number of subsets that contain it. It is what `UniformSampler`
    as proposal gives, if the targets are the subsets.

    If the targets are the subsets, p is the share of each class among all labels: use
    `FixedUnigramSampler` with their counts. Shuffle the batches, so that partitions are alike.

    References
    ----------
    .. [1] S. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine
       Translation", ACL 2015, section 3, arXiv:1412.2007.

    Examples
    --------
    Subsets of 20 draws, each for three batches:

    >>> sampler = PartitionSampler(LogUniformSampler(1000, seed=1), 20, steps=3)
    >>> for _ in range(4):
    ...     drawn = sampler.sample([[3], [5]], 4)
    ...     print(drawn.sampled_candidates, "of", len(sampler.subset))
    [ 15 303  13 111] of 19
    [639   7  58   0] of 19
    [ 8  1  3 65] of 19
    [511   3  90   0] of 14

    The targets of the coming batches as the subset:

    >>> from numba_ss import SampledSoftmax
    >>> counts = np.arange(1000, 0, -1)
    >>> sampler = PartitionSampler(FixedUnigramSampler(1000, unigrams=counts, seed=1))
    >>> layer = SampledSoftmax(1000, 8, None, sampler=sampler)  # None: the whole subset
    >>> labels = np.array([[[7], [2]], [[7], [3]], [[1], [2]]])  # targets of three batches
    >>> sampler.begin_partition(labels)
    >>> for batch in labels:
    ...     loss, _ = layer.step(np.ones((2, 8), np.float32), batch)
    >>> sampler.subset
    array([1, 2, 3, 7])
    """

    def __init__(
        self, proposal: Proposal, num_draws: int | None = None, steps: int | None = None
    ) -> None:
        if not isinstance(proposal, Proposal):
            _checks.fail(
                "proposal", "a UniformSampler, LogUniformSampler or FixedUnigramSampler",
                type(proposal).__name__,
            )
        super().__init__(proposal.range_max, seed=0)
        self.proposal = proposal
        self.num_draws = None if num_draws is None else _checks.integer("num_draws", num_draws, 1)
        self.steps = None if steps is None else _checks.integer("steps", steps, 1)
        self._partition: _Partition | None = None

    @property
    def _guarded_as(self) -> Proposal:
        """Others may draw from the proposal, too, so both share its guard."""
        return self.proposal

    @property
    def subset(self) -> Integers:
        """The classes of the current subset, ascending; none before the first partition."""
        partition = self._partition
        return np.empty(0, np.int64) if partition is None else np.sort(partition.classes)

    @alone
    def begin_partition(self, labels: ArrayLike | None = None) -> None:
        """Replace the subset.

        Parameters
        ----------
        labels : array of integers of any shape, optional
            Targets of the coming batches: they are the subset. -1, or a mask, marks an absent
            label. Without labels, the subset is drawn.

        Raises
        ------
        ArgumentError
            If a label is not a class, or if the proposal can draw none of them. Without labels,
            if the sampler has no `num_draws`.
        """
        draws = None
        if labels is not None:
            given = np.ma.filled(labels, -1) if isinstance(labels, np.ma.MaskedArray) else labels
            draws = _checks.ids("labels", given)
            draws = draws[draws != -1]
            _checks.in_range("labels", draws, self.range_max, "range_max")
        self._partition, move_on = self._begin(draws)
        move_on()

    def _begin(self, draws: Integers | None) -> tuple[_Partition, Accept]:
        """Return the next partition, and a function that moves the stream on."""
        # One draw is made for labels, too: the position in the stream decides a subset's order.
        stream = self.proposal.state_dict()
        number = self.num_draws if draws is None else 1
        if number is None:
            _checks.fail("num_draws", "a number, or begin_partition(labels) before a batch", None)
        drawn, move_on = self.proposal.propose(_NO_LABELS, number, False)
        draws = drawn.sampled_candidates if draws is None else draws
        classes = np.unique(draws)
        chance = self._chance(classes[:, None], draws.size)[:, 0]
        possible = chance > 0
        if not possible.any():
            _checks.fail("labels", "one at least that the proposal can draw", "none")
        numbers = [value % 2**64 for value in stream.values() if isinstance(value, int)]
        order = np.random.default_rng(numbers).permutation(np.flatnonzero(possible))
        return _Partition(classes[order], chance[order], draws.size, 0, 0), move_on

    def _chance(self, rows: Integers, num_draws: int) -> NDArray[np.float64]:
        """Return the chances of classes to be among `num_draws` draws."""
        # The expected count of a class in one draw is its probability; the draw is not accepted.
        one, _ = self.proposal.propose(rows, 1, False)
        return chance_among(one.true_expected_count.astype(np.float64), num_draws)

    def propose(
        self, labels: Integers, num_sampled: int | None, unique: bool
    ) -> tuple[SampledCandidates, Accept]:
        """See `CandidateSampler.propose`; without `num_sampled` take the whole subset."""
        if num_sampled is not None:
            num_sampled = _checks.integer("num_sampled", num_sampled, 1)
        if not _checks.flag("unique", unique):
            _checks.fail("unique", "True: each candidate is taken once", unique)
        partition, begins = self._partition, None
        if partition is None or partition.batches == self.steps:
            partition, begins = self._begin(None)
        classes, chance, num_draws, place, batches = partition
        size = len(classes)
        count = size if num_sampled is None else min(num_sampled, size)
        taken = (place + np.arange(count)) % size
        true_count = count / size * self._chance(labels, num_draws)
        sampled_count = count / size * chance[taken]

        def accept() -> None:
            if begins is not None:
                begins()
            self._partition = partition._replace(place=(place + count) % size, batches=batches + 1)

        counts = true_count.astype(np.float32), sampled_count.astype(np.float32)
        return SampledCandidates(classes[taken], *counts), accept

    def sample(
        self, true_classes: ArrayLike, num_sampled: int | None = None, unique: bool = True
    ) -> SampledCandidates:
        """Return the next candidates of the subset, or all; see `CandidateSampler`.

        There are `num_sampled` of them, or fewer if the subset is smaller.
        """
        labels = _checks.true_classes(true_classes, None, self.range_max)
        return self._sample(labels, num_sampled, unique)

    @alone
    def state_dict(self) -> dict[str, Any]:
        """Return what makes a run resume exactly: numbers and arrays, copied."""
        state = self.proposal.state_dict()
        state |= {"sampler": type(self).__name__, "proposal": state["sampler"]}
        if self._partition is not None:
            classes, _, num_draws, place, batches = self._partition
            state |= {
                "subset": classes.copy(), "draws": num_draws, "place": place, "batches": batches
            }
        return state

    @alone
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another sampler."""
        state, proposal = _checks.state(state), type(self.proposal).__name__
        for name, want in (("sampler", type(self).__name__), ("proposal", proposal)):
            if state.get(name) != want:
                _checks.fail(f"state_dict[{name!r}]", repr(want), repr(state.get(name)))
        partition = self._loaded(state) if "subset" in state else None
        self.proposal.load_state_dict(state | {"sampler": proposal})
        self._partition = partition

    def _loaded(self, state: dict[str, Any]) -> _Partition:
        """Return the partition of a state."""
        name = "state_dict['subset']"
        classes = _checks.ids(name, state["subset"]).copy()
        _checks.shaped(name, classes, (classes.size,), "size,")
        _checks.in_range(name, classes, self.range_max, "range_max")
        highest = {"draws": None, "place": classes.size - 1, "batches": None}
        draws, place, batches = (
            _checks.integer(f"state_dict[{key!r}]", state.get(key), int(key == "draws"), high)
            for key, high in highest.items()
        )
        chance = self._chance(classes[:, None], draws)[:, 0]
        if len(np.unique(classes)) < classes.size or not (chance > 0).all():
            _checks.fail(name, "distinct classes that the proposal can draw", classes)
        return _Partition(classes, chance, draws, place, batches)
