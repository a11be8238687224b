"""Losses and samplers by name, alike for the layer and both trainers."""

from __future__ import annotations

from typing import NamedTuple

from numba_ss.engine.batch_samplers import InBatchSampler, MixedSampler
from numba_ss.engine.samplers import (
    AllSampler,
    CandidateSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    UniformSampler,
)


class Loss(NamedTuple):
    """What a loss means.

    Attributes
    ----------
    logistic : bool
        Whether each score is judged by itself, by a sigmoid, and not by a softmax over all.
    sampled : bool
        Whether candidates are drawn, or all classes are scored.
    remove_accidental_hits, subtract_log_q : bool or None
        Whether the layer removes candidates that are labels, and subtracts the log of the
        expected counts; None where the caller decides.
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
SAMPLED_LOSSES = tuple(name for name, loss in LOSSES.items() if loss.sampled)

# Samplers that need to know no more than the number of classes.
SAMPLERS: dict[str, type[CandidateSampler]] = {
    "all": AllSampler,
    "in_batch": InBatchSampler,
    "learned_unigram": LearnedUnigramSampler,
    "log_uniform": LogUniformSampler,
    "mixed": MixedSampler,
    "uniform": UniformSampler,
}
# Those that a trainer offers: it counts, so it can draw by the counts, too.
WORD_SAMPLERS = ("unigram", "log_uniform", "uniform")
ITEM_SAMPLERS = ("unigram", "uniform", "log_uniform", "learned_unigram", "in_batch", "mixed")
