"""Losses and samplers by name, alike for the layers and both trainers."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from numba_ss import _checks
from numba_ss.engine.batch_samplers import InBatchSampler, MixedSampler
from numba_ss.engine.candidate_sampler import CandidateSampler
from numba_ss.engine.partition_sampler import PartitionSampler
from numba_ss.engine.samplers import (
    AllSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    UniformSampler,
)


class Loss(NamedTuple):
    """What a loss means.

    Attributes
    ----------
    logistic : bool
        Whether the loss is a sigmoid of each score by itself, and not a softmax over all.
    sampled : bool
        Whether candidates are drawn; if not, all classes are scored.
    remove_accidental_hits, subtract_log_q : bool or None
        Whether the layer removes candidates that are labels, and subtracts the log of the
        expected counts; None if the caller decides.
    """

    logistic: bool
    sampled: bool
    remove_accidental_hits: bool | None
    subtract_log_q: bool | None


LOSSES = {
    "sampled_softmax": Loss(False, True, None, None),
    "nce": Loss(True, True, False, None),
    "sampled_logistic": Loss(True, True, True, None),
    "negative_sampling": Loss(True, True, False, False),
    "softmax": Loss(False, False, None, None),
    "logistic": Loss(True, False, None, None),
}
SampledLoss = Literal["sampled_softmax", "nce", "sampled_logistic", "negative_sampling"]
FullLoss = Literal["softmax", "logistic"]
SAMPLED_LOSSES: tuple[str, ...] = get_args(SampledLoss)

# Samplers that need to know no more than the number of classes.
LayerSampler = Literal["all", "in_batch", "learned_unigram", "log_uniform", "mixed", "uniform"]
SAMPLERS: dict[str, type[CandidateSampler]] = {
    "all": AllSampler,
    "in_batch": InBatchSampler,
    "learned_unigram": LearnedUnigramSampler,
    "log_uniform": LogUniformSampler,
    "mixed": MixedSampler,
    "uniform": UniformSampler,
}
# The samplers of the trainers. They count words or items, so they can draw by counts, too.
WordSampler = Literal["unigram", "log_uniform", "uniform"]
ItemSampler = Literal[
    "unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed"
]
WORD_SAMPLERS: tuple[str, ...] = get_args(WordSampler)
ITEM_SAMPLERS: tuple[str, ...] = get_args(ItemSampler)


def make_sampler(sampler: Any, num_classes: int, seed: int | None) -> CandidateSampler:
    """Return a sampler over `num_classes` classes, by its name or as the caller made it."""
    if isinstance(sampler, CandidateSampler):
        if sampler.range_max != num_classes:
            _checks.fail("sampler", f"range_max = num_classes = {num_classes}", sampler.range_max)
        return sampler
    kind = SAMPLERS[_checks.choice("sampler", sampler, tuple(SAMPLERS))]
    return kind(num_classes) if kind is InBatchSampler else kind(num_classes, seed=seed)


def check_num_sampled(num_sampled: Any, sampler: CandidateSampler) -> int | None:
    """Return the number of classes to draw, or None if the sampler itself decides it."""
    if isinstance(sampler, InBatchSampler):
        if num_sampled is not None:
            _checks.fail("num_sampled", "None, for the batch's own labels", num_sampled)
        return None
    if num_sampled is None and isinstance(sampler, PartitionSampler):
        return None
    count = _checks.integer("num_sampled", num_sampled, 1)
    sampler.check_supply(count)
    return count


def options_of(loss: str, remove_hits: Any, subtract_log_q: Any) -> tuple[bool, bool]:
    """Return whether a loss removes accidental hits, and whether it subtracts log Q.

    The arguments are what the caller asked for; some losses allow one choice only.
    """
    removes = _checks.flag("remove_accidental_hits", remove_hits)
    subtracts = _checks.flag("subtract_log_q", subtract_log_q)
    always = LOSSES[loss]
    return (
        removes if always.remove_accidental_hits is None else always.remove_accidental_hits,
        subtracts if always.subtract_log_q is None else always.subtract_log_q,
    )
