"""scatter.py: bit for bit the loop, for any number of chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels.softmax import phases, scatter
from numba_ss.kernels.softmax.buffers import describe

CHUNKS = [1, 2, 3, 8]


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 20), st.sampled_from([1, 13, 40]))
def test_scatter_rows(seed, num_updates, num_rows, dim):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((num_rows, dim)).astype(np.float32)
    rows = rng.integers(0, num_rows, num_updates)
    grads = rng.standard_normal((num_updates, dim)).astype(np.float32)
    learning_rate = np.float32(0.3)
    ref = reference.scatter_rows(table, rows, grads, learning_rate)
    for num_chunks in CHUNKS:
        got = table.copy()
        phases.scatter_rows(rows, grads, learning_rate, num_chunks, got)
        np.testing.assert_array_equal(got, ref)


@pytest.mark.parametrize("num_chunks", CHUNKS)
@pytest.mark.parametrize("dim", [1, 16, 45, 128, 300])
def test_first_column(num_chunks, dim):
    """Chunks have whole cache lines, as many as each other, or none."""
    starts = [scatter.first_column(chunk, num_chunks, dim) for chunk in range(num_chunks + 1)]
    assert starts == [reference.first_column(k, num_chunks, dim) for k in range(num_chunks + 1)]
    assert (starts[0], starts[-1]) == (0, dim)
    assert not any(start % 16 for start in starts if start < dim)


@pytest.mark.parametrize("num_chunks", CHUNKS)
@pytest.mark.parametrize("dim", [13, 45])
def test_scatter_classes(num_chunks, dim, rng):
    batch_size, num_classes = 30, 9
    weights = rng.standard_normal((num_classes, dim)).astype(np.float32)
    biases = rng.standard_normal(num_classes).astype(np.float32)
    own = rng.integers(-1, num_classes, (batch_size, 2))
    grad_own_logits = rng.standard_normal(own.shape).astype(np.float32)
    inputs = rng.standard_normal((batch_size, 48)).astype(np.float32)
    inverse = rng.integers(0, batch_size // 3, batch_size)  # some inputs are of many examples
    sampled = rng.permutation(num_classes)[:5]
    grad_rows = rng.standard_normal((8, 48)).astype(np.float32)
    grad_biases = rng.standard_normal(8).astype(np.float32)
    learning_rate = np.float32(0.3)
    ref_weights = reference.scatter_classes(
        weights, own, grad_own_logits, inputs[:, :dim], inverse, sampled, grad_rows[:5, :dim], learning_rate
    )
    ref_biases = reference.scatter_classes(
        biases[:, None], own, grad_own_logits, np.ones((batch_size, 1), np.float32),
        inverse, sampled, grad_biases[:5, None], learning_rate,
    )[:, 0]
    buffers = describe(
        grad_own_logits=grad_own_logits, unique_inputs=inputs, inverse=inverse,
        grad_sampled_rows=grad_rows, grad_sampled_biases=grad_biases,
    )
    before = weights.copy(), biases.copy()
    phases.scatter_classes(own, sampled, learning_rate, num_chunks, weights, biases, buffers)
    np.testing.assert_array_equal(weights, ref_weights)
    np.testing.assert_array_equal(biases, ref_biases)
    weights, biases = before[0].copy(), before[1].copy()
    for chunk in range(num_chunks):
        scatter.scatter_own(chunk, num_chunks, own, learning_rate, weights, biases, buffers)
    ref = reference.scatter_own(before[0], own, grad_own_logits, inputs[:, :dim], inverse, learning_rate)
    np.testing.assert_array_equal(weights, ref)
    for chunk in range(num_chunks):
        scatter.scatter_sampled(chunk, num_chunks, sampled, learning_rate, weights, biases, buffers)
    ref = reference.scatter_sampled(ref, sampled, grad_rows[:5, :dim], learning_rate)
    np.testing.assert_array_equal(weights, ref)
    np.testing.assert_array_equal(biases, ref_biases)
