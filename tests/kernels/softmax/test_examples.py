"""examples.py: what distinguishes examples of the same input; see also test_batch."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.engine.sampled_pass import SampledPass, batch_of
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.softmax import examples
from numba_ss.kernels.softmax.buffers import NUM_LEFT_OUT
from tests.conftest import Problem

CHUNKS = [1, 2, 3, 8]


def given_of(problem, ids, table):
    return batch_of(table, ids, problem.weights, problem.biases, problem.columns())


def forward(problem, ids, table, logistic=False, threads=2):
    """Return a pass over rows of a table, and its twin, without a gradient yet."""
    batch = SampledPass(
        Workspace(), table, ids, problem.weights, problem.biases, problem.columns(), logistic,
        threads, train_table=True,
    )
    batch.forward()
    ref = reference.forward_examples(
        table[ids], problem.weights, problem.biases, problem.labels, np.log(problem.true_count),
        problem.labels.shape[1], problem.sampled, np.log(problem.sampled_count),
        find_hits(problem.labels, problem.sampled), problem.grad_output, logistic,
    )
    return batch, ref


def make(rng, by_class, num_true=2):
    problem = Problem(rng, batch_size=150, num_true=num_true, ragged=True, num_sampled=20)
    if by_class:
        counts = rng.uniform(0.05, 2, len(problem.weights)).astype(np.float32)
        problem.true_count = counts[problem.labels]
        problem.sampled_count = counts[problem.sampled]
    table = rng.standard_normal((30, 9)).astype(np.float32)
    return problem, np.minimum(rng.zipf(1.5, 150), 30) - 1, table


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("by_class", [True, False])
def test_forward_examples(logistic, by_class, rng):
    batch, ref = forward(*make(rng, by_class), logistic)
    np.testing.assert_allclose(batch.buffers.arrays.losses, ref.loss, atol=2e-5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("num_chunks", CHUNKS)
def test_scale_examples(logistic, by_class, num_chunks, rng):
    """The upstream gradient multiplies probability less target, of each example by its own."""
    problem, ids, table = make(rng, by_class)
    batch, ref = forward(problem, ids, table, logistic, num_chunks)
    ones = np.ones_like(problem.grad_output)
    plain = batch.backward(ones).own_logits.copy()
    np.testing.assert_array_equal(plain, batch.backward().own_logits)
    got = batch.backward(problem.grad_output).own_logits
    np.testing.assert_allclose(got, ref.grad_own_logits, atol=2e-5)
    want = reference.scale_examples(plain, np.zeros_like(plain), problem.grad_output)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("num_chunks", CHUNKS)
@pytest.mark.parametrize("by_class", [True, False])
def test_rows_take_their_gradients_one_by_one(num_chunks, by_class, rng):
    """Bit for bit as the gradients that are kept, whether or not a row's examples are together."""
    problem, ids, table = make(rng, by_class)
    batch, ref = forward(problem, ids, table, threads=num_chunks)
    grads = batch.backward(problem.grad_output).inputs
    np.testing.assert_allclose(grads, ref.grad_inputs, atol=2e-5)
    assert (batch.buffers.arrays.sizes[NUM_LEFT_OUT] > 0) != by_class
    step, got = np.float32(0.3), table.copy()
    want = reference.scatter_rows(table, ids, grads, step)
    if by_class:
        for chunk in range(num_chunks):
            examples.grad_examples(
                chunk, num_chunks, False, given_of(problem, ids, table), step, got,
                batch.buffers.all,
            )
        np.testing.assert_array_equal(got, want)
    batch.update(step)
    np.testing.assert_array_equal(table, want)


@pytest.mark.parametrize("num_chunks", CHUNKS)
def test_grad_examples(num_chunks, rng):
    """Each chunk has whole inputs, and all chunks have all of them."""
    problem, ids, table = make(rng, True)
    batch, ref = forward(problem, ids, table, threads=num_chunks)
    batch.backward(problem.grad_output)
    batch.buffers.arrays.grad_inputs[:] = np.nan
    for chunk in range(num_chunks):
        examples.grad_examples(
            chunk, num_chunks, True, given_of(problem, ids, table), np.float32(0),
            problem.weights, batch.buffers.all,
        )
    np.testing.assert_allclose(batch.buffers.arrays.grad_inputs[:, :9], ref.grad_inputs, atol=2e-5)


def test_rows_that_no_example_reaches_do_not_matter(rng):
    """An absent label is no row, though it stands for the first one in some places."""
    problem, ids, table = make(rng, True, num_true=3)
    problem.labels[problem.labels == 0] = 1
    problem.sampled = np.arange(1, 1 + len(problem.sampled))
    problem.weights[0], problem.biases[0] = np.nan, np.nan
    batch, _ = forward(problem, ids, table)
    for name, grad in batch.backward()._asdict().items():
        assert np.isfinite(grad).all(), name
    assert np.isfinite(batch.buffers.arrays.losses).all()
