"""kernels/scatter.py: bit for bit the loop, for any number of chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels import scatter
from numba_ss.kernels.buffers import describe

CHUNKS = [1, 2, 3, 8]


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 20), st.sampled_from([1, 8, 13]))
def test_scatter_rows(seed, num_updates, num_rows, dim):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((num_rows, dim)).astype(np.float32)
    rows = rng.integers(0, num_rows, num_updates)
    grads = rng.standard_normal((num_updates, dim)).astype(np.float32)
    step = np.float32(0.3)
    ref = reference.scatter_rows(table, rows, grads, step)
    for num_chunks in CHUNKS:
        got = table.copy()
        uses = np.full((num_chunks, num_updates + 1), -7)
        scatter.scatter_rows(rows, grads, step, num_chunks, uses, got)
        np.testing.assert_array_equal(got, ref)


@pytest.mark.parametrize("num_chunks", CHUNKS)
def test_scatter_classes(num_chunks, rng):
    batch_size, dim, num_classes = 30, 13, 9
    weights = rng.standard_normal((num_classes, dim)).astype(np.float32)
    biases = rng.standard_normal(num_classes).astype(np.float32)
    private = rng.integers(-1, num_classes, (batch_size, 2))
    coefficients = rng.standard_normal(private.shape).astype(np.float32)
    x = rng.standard_normal((batch_size, 16)).astype(np.float32)
    slots = rng.integers(0, batch_size // 3, batch_size)  # some inputs are of many examples
    candidates = rng.permutation(num_classes)[:5]
    grad_rows = rng.standard_normal((8, 16)).astype(np.float32)
    grad_offsets = rng.standard_normal(8).astype(np.float32)
    step = np.float32(0.3)
    ref_weights = reference.scatter_classes(
        weights, private, coefficients, x[:, :dim], slots, candidates, grad_rows[:5, :dim], step
    )
    ref_biases = reference.scatter_classes(
        biases[:, None], private, coefficients, np.ones((batch_size, 1), np.float32),
        slots, candidates, grad_offsets[:5, None], step,
    )[:, 0]
    uses = np.full((num_chunks, private.size + 1), -7)
    buffers = describe(
        coefficients=coefficients, x=x, slots=slots, grad_rows=grad_rows,
        grad_offsets=grad_offsets, uses=uses,
    )
    scatter.scatter_classes(private, candidates, step, num_chunks, weights, biases, buffers)
    np.testing.assert_array_equal(weights, ref_weights)
    np.testing.assert_array_equal(biases, ref_biases)
