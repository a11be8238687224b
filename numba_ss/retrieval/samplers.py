"""The candidate samplers of a retrieval model, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_ss._types import Integers
from numba_ss.engine.batch_samplers import InBatchSampler, MixedSampler
from numba_ss.engine.candidate_sampler import CandidateSampler
from numba_ss.engine.samplers import (
    FixedUnigramSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    UniformSampler,
)

# The smoothing factor of the streaming estimate; Yi et al. (2019), section 4, take 0.01.
_DECAY = 0.01

_TRIES = 16  # draws that a distinct candidate may take on average


def make_sampler(
    kind: str, counts: Integers, *, distortion: float, seed: int, number: int
) -> CandidateSampler:
    """Return a sampler of items with these counts; `number` is that of earlier fits.

    "unigram" draws an item without an event as if it had one.
    """
    num_items = len(counts)
    seeds: dict[str, Any] = {"seed": seed, "global_seed": number}
    seen: Any = np.maximum(counts, 1)
    if kind == "unigram":
        return FixedUnigramSampler(num_items, unigrams=seen, distortion=distortion, **seeds)
    if kind == "log_uniform":
        return LogUniformSampler(num_items, **seeds)
    if kind == "learned_unigram":
        return LearnedUnigramSampler(num_items, **seeds)
    if kind == "in_batch":  # an item without an event is never in a batch
        return InBatchSampler(num_items, counts=counts)
    if kind == "mixed":
        return MixedSampler(num_items, counts=counts, **seeds)
    return UniformSampler(num_items, **seeds)


def draws(kind: str, num_sampled: int, counts: Integers, distortion: float) -> int | None:
    """Return how many distinct candidates are drawn, at most `num_sampled`.

    It is at most half of all items, and less if a few items have nearly all events: each
    candidate should take no more than `_TRIES` draws on average.
    """
    if kind == "in_batch":
        return None
    most = min(num_sampled, max(1, len(counts) // 2))
    if kind != "unigram":
        return most
    weights = np.maximum(counts, 1).astype(np.float64) ** distortion
    rates = np.log1p(-np.minimum(weights / weights.sum(), 1 - 1e-16))
    while most > 1 and -np.expm1(_TRIES * most * rates).sum() < most:
        most = most * 3 // 4
    return most


def resume_sampler(
    fresh: CandidateSampler, kind: str, before: dict[str, Any], counts: Integers,
    batch_size: int, batch_size_before: int,
) -> CandidateSampler:
    """Return the sampler of a further fit, which continues the one before.

    `fresh` is a sampler of the current items, `before` the state of the earlier sampler, and
    `counts` are those of the earlier events. If the batch's own items are candidates, their
    expected counts are from now on estimated from the stream of batches. That estimate starts
    from `counts`, unless batches had the same size before.
    """
    num_items, num_known = fresh.range_max, len(counts)
    is_same = before["sampler"] == type(fresh).__name__
    if kind == "learned_unigram" and is_same:
        state = fresh.state_dict()
        state["weights"][:num_known] = before["weights"]
        fresh.load_state_dict(state)
        return fresh
    if kind not in ("in_batch", "mixed"):
        return fresh
    streaming = InBatchSampler if kind == "in_batch" else MixedSampler
    if not is_same or "last_step" not in before or batch_size != batch_size_before:
        known = np.pad(counts, (0, num_items - num_known))
        sampler = streaming.streaming(num_items, known, batch_size, decay=_DECAY)
        # The uniform draws, besides the labels, are those of the fresh sampler.
        sampler.load_state_dict(sampler.state_dict() | fresh.state_dict())
        return sampler
    sampler = streaming(num_known, decay=_DECAY)
    sampler.load_state_dict(before)
    return sampler.grown(num_items)


def packed_state(state: dict[str, Any], prefix: str = "sampler") -> tuple[dict[str, Any], Any]:
    """Return a sampler's state as arrays and a JSON object; `unpacked_state` reverts this."""
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            arrays[f"{prefix}_{name}"] = value
        elif isinstance(value, dict):
            inner, plain[name] = packed_state(value, f"{prefix}_{name}")
            arrays |= inner
        else:
            plain[name] = value
    return arrays, plain


def unpacked_state(
    arrays: dict[str, Any], plain: dict[str, Any], prefix: str = "sampler"
) -> dict[str, Any]:
    """Return the sampler's state from what `packed_state` returned."""
    state: dict[str, Any] = {}
    nested = [name for name, value in plain.items() if isinstance(value, dict)]
    for name, value in plain.items():
        if name in nested:
            state[name] = unpacked_state(arrays, value, f"{prefix}_{name}")
        else:
            state[name] = value
    for name, array in arrays.items():
        rest = name.removeprefix(f"{prefix}_")
        if rest != name and not any(rest.startswith(f"{inner}_") for inner in nested):
            state[rest] = array
    return state
