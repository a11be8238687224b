"""kernels/scatter.py: bit for bit the loop, for any number of chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels import scatter

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
        scatter.scatter_rows(rows, grads, step, num_chunks, got)
        np.testing.assert_array_equal(got, ref)


@pytest.mark.parametrize("num_chunks", CHUNKS)
@pytest.mark.parametrize("kind", ["no table", "own table", "tied", "as if tied"])
def test_scatter_step(num_chunks, kind, rng):
    """A table of its own gives the same whether or not chunks are set aside for it."""
    batch_size, dim, num_classes = 30, 13, 9
    weights, table = rng.standard_normal((2, num_classes, dim)).astype(np.float32)
    biases = rng.standard_normal(num_classes).astype(np.float32)
    private = rng.integers(-1, num_classes, (batch_size, 2))
    coefficients = rng.standard_normal(private.shape).astype(np.float32)
    x, grad_inputs = rng.standard_normal((2, batch_size, 16)).astype(np.float32)
    slots = rng.integers(0, batch_size // 3, batch_size)  # some inputs are of many examples
    candidates = rng.permutation(num_classes)[:5]
    grad_rows = rng.standard_normal((8, 16)).astype(np.float32)
    grad_offsets = rng.standard_normal(8).astype(np.float32)
    ids = rng.integers(0, num_classes, batch_size)
    step = np.float32(0.3)
    ref_weights = reference.scatter_step(
        weights, private, coefficients, x[:, :dim], slots, candidates, grad_rows[:5, :dim], step
    )
    ref_biases = reference.scatter_step(
        biases[:, None], private, coefficients, np.ones((batch_size, 1), np.float32),
        slots, candidates, grad_offsets[:5, None], step,
    )[:, 0]
    if kind == "tied":
        table = weights
        ref_table = ref_weights = reference.scatter_rows(ref_weights, ids, grad_inputs[:, :dim], step)
    elif kind == "no table":
        ref_table = table.copy()
    else:
        ref_table = reference.scatter_rows(table, ids, grad_inputs[:, :dim], step)
    scatter.scatter_step(
        private, coefficients, x, slots, candidates, grad_rows, grad_offsets, ids, grad_inputs,
        step, kind in ("tied", "as if tied"), num_chunks, weights, biases,
        table[:0] if kind == "no table" else table,
    )
    np.testing.assert_array_equal(weights, ref_weights)
    np.testing.assert_array_equal(biases, ref_biases)
    np.testing.assert_array_equal(table, ref_table)
