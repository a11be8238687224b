"""sampled_classes.py: rows in, gradients out, and how the work is cut."""

from itertools import pairwise

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.softmax.arguments import Blocks
from numba_ss.kernels.softmax.buffers import describe
from numba_ss.kernels.softmax.phases import grad_sampled
from numba_ss.kernels.softmax.sampled_classes import (
    BLOCK,
    STRIP,
    UNIT,
    block_start,
    blocks_of,
    grad_logits,
    pack_sampled,
    subtract_logs,
)
from tests.conftest import Problem


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


def test_pack_sampled(rng):
    problem = Problem(rng, num_sampled=5)
    log_q = np.log(problem.sampled_count)
    for subtract in (True, False):
        rows, biases = np.ones((2 * ROWS, 16), np.float32), np.empty(2 * ROWS, np.float32)
        for start, stop in pairwise([0, 2, 4, 2 * ROWS]):
            pack_sampled(
                start, stop, problem.weights, problem.biases, problem.sampled,
                problem.sampled_count, subtract, describe(sampled_rows=rows, adjusted_biases=biases),
            )
        ref = reference.pack_sampled(
            problem.weights, problem.biases, problem.sampled, log_q * subtract
        )
        np.testing.assert_array_equal(rows[:5, :9], ref[0])
        np.testing.assert_allclose(biases[:5], ref[1], atol=1e-6)
        assert np.isneginf(biases[5:]).all()


@pytest.mark.parametrize("subtract", [True, False])
def test_what_is_infinite_is_seen_but_for_a_bias_that_says_no_column(subtract, rng):
    problem = Problem(rng, num_classes=8, num_sampled=7)
    problem.sampled = np.arange(7)
    problem.biases[[0, 1]] = -np.inf
    problem.weights[1, 3] = problem.weights[2, 8] = -np.inf
    problem.biases[[3, 4]] = np.inf, np.nan
    problem.sampled_count[5] = np.inf  # has no meaning where it is not subtracted
    rows, biases = np.empty((ROWS * 8, 16), np.float32), np.empty(ROWS * 8, np.float32)
    pack_sampled(
        0, 7, problem.weights, problem.biases, problem.sampled, problem.sampled_count, subtract,
        describe(sampled_rows=rows, adjusted_biases=biases),
    )
    assert biases[0] == -np.inf
    assert np.isnan(biases[1:5]).all()
    assert np.isnan(biases[5]) == subtract
    assert np.isfinite(biases[6])


def in_blocks(values, starts):
    """Return (num_inputs, num_rows) values as `probabilities` holds them, and where each block is."""
    num_rows = values.shape[1]
    probabilities = np.zeros(((len(starts) - 1) * num_rows, BLOCK), values.dtype)
    places = [
        (slice(start, stop), probabilities[b * num_rows : (b + 1) * num_rows, : stop - start])
        for b, (start, stop) in enumerate(pairwise(starts))
    ]
    for part, place in places:
        place[:] = values[part].T
    return probabilities, places


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_grad_logits(dtype, relative, num_chunks, rng):
    """Two blocks and two strips; labels of some examples are sampled classes."""
    num_inputs, num_rows = BLOCK + UNIT + 3, STRIP + 2 * ROWS
    members_of = rng.integers(1, 4, num_inputs)
    members_of[:4] = 2, 2, 11, 1
    indptr = np.concatenate([[0], np.cumsum(members_of)])
    inverse, size = np.repeat(np.arange(num_inputs), members_of), int(indptr[-1])
    starts = [block_start(b, 2, num_inputs) for b in range(3)]
    probs = rng.random((num_inputs, num_rows)).astype(dtype)
    running_max = rng.standard_normal(num_inputs if relative else 0).astype(dtype)
    strip_max = np.zeros((4, BLOCK), dtype)  # by block and strip
    factor = np.ones((num_inputs, num_rows))
    if relative:
        below = -rng.random((2, num_inputs)).astype(dtype)
        factor = np.exp(below.T.astype(float)).repeat([STRIP, 2 * ROWS], axis=1)
        for strip in range(2):
            for b, (start, stop) in enumerate(pairwise(starts)):
                strip_max[2 * b + strip, : stop - start] = below[strip, start:stop] + running_max[start:stop]
    row_scales = rng.random(size + LANES).astype(dtype)  # whole vectors are read
    # Of the first input one example is member_hits, of the second both, with the same; of the third
    # two with the same and one with two; and the fourth has one example only.
    first = indptr[2]
    labels = [(0, 0, STRIP + 1), (2, 0, 3), (3, 0, 3), (first + 4, 0, 5), (first + 8, 0, 5)]
    labels += [(first + 10, 0, 7), (first + 10, 1, STRIP + 1), (indptr[3], 0, 9)]
    member_hits = np.full((2, size + LANES), -1, np.int32)
    gradients = row_scales[:size, None].astype(float) * (probs * factor)[inverse]
    probabilities, places = in_blocks(probs, starts)
    kept = np.zeros(len(labels), dtype)
    for e, (m, t, hit) in enumerate(labels):
        member_hits[t, m] = hit
        gradients[m, hit] = 0
        place = probabilities[hit : hit + 1, inverse[m]]  # all in the first block
        kept[e], place[:] = place[0], 0
    hit_list = np.array(labels, np.int32).T.copy()
    hit_indptr = np.searchsorted(inverse[hit_list[0]], np.arange(num_inputs + 1))
    scratch, grad_rows = np.empty((num_chunks, 2, BLOCK), dtype), np.empty((num_rows, 16), dtype)
    buffers = describe(
        probabilities=probabilities, strip_max=strip_max, running_max=running_max, row_scales=row_scales,
        hit_probabilities=kept, member_hits=member_hits, block_scratch=scratch,
        grad_sampled_rows=grad_rows, member_indptr=indptr, hit_list=hit_list,
        hit_indptr=hit_indptr,
    )
    for chunk in range(num_chunks):
        grad_logits(chunk, num_chunks, Blocks(0, 2, 2, num_inputs), relative, probabilities, buffers)
    want = reference.grad_logits(gradients, inverse)
    for part, place in places:
        np.testing.assert_allclose(place.T, want[part], rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_grad_sampled(dtype, num_chunks, rng):
    """Two blocks and two strips; the blocks together, or one after the other."""
    num_inputs, num_rows, dim, stride = BLOCK + UNIT + 3, STRIP + 2 * ROWS, 5, 16
    probs = rng.random((num_inputs, num_rows)).astype(dtype)
    all_probabilities, _ = in_blocks(probs, [block_start(b, 2, num_inputs) for b in range(3)])
    inputs = rng.standard_normal((num_inputs + UNIT, stride)).astype(dtype)
    grad_rows, grad_biases = np.ones((num_rows, stride), dtype), np.ones(num_rows, dtype)
    scratch = np.empty((num_chunks, 2, BLOCK), dtype)
    arrays = {
        "unique_inputs": inputs, "block_scratch": scratch, "grad_sampled_rows": grad_rows,
        "grad_sampled_biases": grad_biases,
    }
    ref_rows, ref_biases = reference.grad_sampled(inputs[:num_inputs, :dim], probs)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for cuts in ([0, 2], [0, 1, 2]):
        for first, stop in pairwise(cuts):
            probabilities = all_probabilities[first * num_rows : stop * num_rows]
            buffers = describe(probabilities=probabilities, **arrays)
            grad_sampled(Blocks(first, stop, 2, num_inputs), dim, num_chunks, inputs, buffers)
        np.testing.assert_allclose(grad_rows[:, :dim], ref_rows, atol=tolerance)
        np.testing.assert_allclose(grad_biases, ref_biases, atol=tolerance)
