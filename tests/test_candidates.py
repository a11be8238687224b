"""kernels/candidates.py: rows in, gradients out, and how the work is cut."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import Problem

from numba_ss import reference
from numba_ss.kernels.buffers import describe
from numba_ss.kernels.candidates import (
    BLOCK,
    STRIP,
    UNIT,
    block_start,
    blocks_of,
    grad_candidates,
    pack_candidates,
    subtract_logs,
)
from numba_ss.kernels.tile import LANES, ROWS


def test_blocks_are_as_few_as_fit():
    """But of more than half a block an even number, for two threads."""
    for num_inputs in range(5 * BLOCK):
        count = blocks_of(num_inputs)
        assert count == reference.blocks_of(num_inputs, BLOCK)
        fewest = -(-num_inputs // BLOCK)
        if num_inputs <= BLOCK // 2:
            assert count == fewest
        else:
            assert count % 2 == 0
            assert fewest <= count <= fewest + 1


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 8])
def test_block_start(num_blocks):
    """Blocks are one after the other, and of whole vectors, as many in each."""
    for size in range(1, num_blocks * BLOCK + 1):
        starts = [block_start(block, num_blocks, size) for block in range(num_blocks + 1)]
        ref = [reference.block_start(b, num_blocks, size, UNIT) for b in range(num_blocks + 1)]
        assert starts == ref
        assert (starts[0], starts[-1]) == (0, size)
        vectors = [-(-(stop - start) // LANES) for start, stop in pairwise(starts)]
        assert max(vectors) - min(vectors) <= 1
        assert max(vectors) * LANES <= BLOCK
        assert not any(start % LANES for start in starts[:-1] if start < size)


def test_subtract_logs(rng):
    counts, logits = rng.uniform(1e-9, 30, (2, 37)).astype(np.float32)
    ref = reference.subtract_logs(counts, logits)
    subtract_logs(counts, logits)
    np.testing.assert_allclose(logits, ref, rtol=1e-6, atol=1e-6)


def test_pack_candidates(rng):
    problem = Problem(rng, num_sampled=5)
    log_q = np.log(problem.sampled_count)
    for subtract in (True, False):
        rows, offsets = np.ones((2 * ROWS, 16), np.float32), np.empty(2 * ROWS, np.float32)
        for start, stop in pairwise([0, 2, 4, 2 * ROWS]):
            pack_candidates(
                start, stop, problem.weights, problem.biases, problem.sampled,
                problem.sampled_count, subtract, describe(rows=rows, offsets=offsets),
            )
        ref = reference.pack_candidates(
            problem.weights, problem.biases, problem.sampled, log_q * subtract
        )
        np.testing.assert_array_equal(rows[:5, :9], ref[0])
        np.testing.assert_allclose(offsets[:5], ref[1], atol=1e-6)
        assert np.isneginf(offsets[5:]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_grad_candidates(dtype, relative, num_chunks, rng):
    """Two blocks and two strips; labels of two inputs are candidates, those of one alike."""
    num_inputs, num_rows, dim, stride = BLOCK + UNIT + 3, STRIP + 2 * ROWS, 5, 16
    members_of = rng.integers(1, 3, num_inputs)
    members_of[:2] = 2
    offsets = np.concatenate([[0], np.cumsum(members_of)])
    size = int(offsets[-1])
    starts = [block_start(b, 2, num_inputs) for b in range(3)]
    probs = rng.random((num_inputs, num_rows)).astype(dtype)
    exps = np.zeros((2 * num_rows, BLOCK), dtype)
    for b, (start, stop) in enumerate(pairwise(starts)):
        exps[b * num_rows : (b + 1) * num_rows, : stop - start] = probs[start:stop].T
    peak = rng.standard_normal(num_inputs if relative else 0).astype(dtype)
    below = -rng.random((2, 2, BLOCK)).astype(dtype)  # by strip and place, less the peak
    factor = np.ones((num_inputs, num_rows))
    peaks = below.copy()
    if relative:
        for b, (start, stop) in enumerate(pairwise(starts)):
            peaks[b, :, : stop - start] += peak[start:stop]
            for s in range(2):
                strip = factor[start:stop, s * STRIP : (s + 1) * STRIP]
                strip *= np.exp(below[b, s, : stop - start, None])
    parts = rng.random(size).astype(dtype)
    share = np.add.reduceat(parts.astype(float), offsets[:-1])
    joined = np.full((1, size), -1, np.int32)
    joined[0, [0, 2, 3]] = STRIP + 1, 3, 3
    entries = np.array([[0, 2, 3], [0, 0, 0], [STRIP + 1, 3, 3]], np.int32)
    entry_offsets = np.full(num_inputs + 1, 3)
    entry_offsets[:2] = 0, 1
    kept = np.array([0.7, 0.8, 0], dtype)
    x = rng.standard_normal((num_inputs + UNIT, stride)).astype(dtype)
    grad_rows, grad_offsets = np.ones((num_rows, stride), dtype), np.ones(num_rows, dtype)
    scratch, others = np.empty((num_chunks, 1, BLOCK), dtype), np.empty((num_chunks, size), dtype)
    peaks = peaks.reshape(4, BLOCK)
    before = exps.copy()
    buffers = describe(
        x=x, exps=exps, peaks=peaks, peak=peak, parts=parts, kept=kept, others=others,
        scratch=scratch, grad_rows=grad_rows, grad_offsets=grad_offsets, member_offsets=offsets,
        joined=joined, entries=entries, entry_offsets=entry_offsets,
    )
    ref_rows, ref_offsets = reference.grad_candidates(
        x[:num_inputs, :dim], probs * factor * share[:, None]
    )
    # The other example of the first input has a gradient there; of the second no example has.
    share = 0.7 * factor[0, STRIP + 1] * parts[1]
    ref_rows[STRIP + 1] += share * x[0, :dim]
    ref_offsets[STRIP + 1] += share
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for accumulate in (False, True):
        exps[:] = before
        for chunk in range(num_chunks):
            grad_candidates(
                chunk, num_chunks, 0, 2, 2, num_inputs, dim, relative, accumulate, x, buffers
            )
        times = 2 if accumulate else 1
        np.testing.assert_allclose(grad_rows[:, :dim], times * ref_rows, atol=tolerance)
        np.testing.assert_allclose(grad_offsets, times * ref_offsets, atol=tolerance)
