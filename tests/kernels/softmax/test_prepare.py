"""prepare.py: groups and rows, whoever makes them."""

from itertools import pairwise

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import passes
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.kernels.softmax.prepare import _EXAMPLES, first_row, prepare
from tests.conftest import Problem


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
@pytest.mark.parametrize("num_rows", [0, 8, 104])
@pytest.mark.parametrize("num_examples", [0, 7, 256, 4096])
def test_first_row(num_chunks, num_rows, num_examples):
    """The first chunk has fewer rows, or none; all others as many as each other."""
    sizes = num_chunks, num_rows, num_examples
    starts = [first_row(chunk, *sizes) for chunk in range(num_chunks + 1)]
    assert starts == [
        reference.first_row(chunk, *sizes, _EXAMPLES) for chunk in range(num_chunks + 1)
    ]
    assert (starts[0], starts[-1]) == (0, num_rows)
    counts = [stop - start for start, stop in pairwise(starts)]
    assert counts[0] <= max(counts[1:], default=num_rows)


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 8])
def test_prepare(num_chunks, rng):
    problem = Problem(rng, batch_size=70)
    counts = rng.uniform(0.05, 2, len(problem.weights)).astype(np.float32)
    problem.true_count, problem.sampled_count = counts[problem.labels], counts[problem.sampled]
    ids, num_sampled = rng.integers(0, 9, 70), len(problem.sampled)
    out = passes.Workspace().batch(70, 1, num_sampled, 1, 9, 2, np.float32)
    prepare(
        np.empty((0, 0), np.uint32), ids, problem.labels, problem.sampled, problem.true_count,
        problem.sampled_count, True, problem.weights, problem.biases, len(out.grad_rows),
        num_chunks, out.all,
    )
    hits = find_hits(problem.labels, problem.sampled)
    slots, members, rows, offsets = reference.prepare(
        ids.tolist(), hits.tolist(), problem.weights, problem.biases, problem.sampled,
        np.log(problem.sampled_count),
    )
    assert out.slots.tolist() == slots
    assert out.sizes.tolist() == [len(members), 0]
    np.testing.assert_array_equal(out.arrays["rows"][:num_sampled, :9], rows)
    np.testing.assert_allclose(out.arrays["offsets"][:num_sampled], offsets, atol=1e-6)
    assert np.isneginf(out.arrays["offsets"][num_sampled:]).all()
