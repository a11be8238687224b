"""kernels/batch.py: the pass against the specification, for any number of chunks."""

import numpy as np
import pytest
from conftest import Problem
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import _passes, reference
from numba_ss.kernels.batch import BLOCK, pack_candidates
from numba_ss.kernels.tile import ROWS
from numba_ss.samplers import find_hits


def run(problem, hits, logistic, threads=2, subtract_log_q=True):
    return _passes.sampled_pass(
        _passes.Workspace(), problem.inputs, np.arange(len(problem.inputs)), problem.weights,
        problem.biases, problem.columns(hits, subtract_log_q), problem.grad_loss, logistic,
        threads,
    )


def compare(problem, got, hits, logistic, tolerance, subtract_log_q=True):
    log_q = [
        np.log(count.astype(float)) if subtract_log_q else np.zeros(count.shape)
        for count in (problem.true_count, problem.sampled_count)
    ]
    ref = reference.forward(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0],
        problem.labels.shape[1], problem.sampled, log_q[1], hits, problem.grad_loss, logistic,
    )
    grad_rows, grad_offsets = reference.grad_candidates(problem.inputs, ref.probabilities)
    (batch_size, dim), num_sampled = problem.inputs.shape, len(problem.sampled)
    for name, have, want in (
        ("loss", got.loss, ref.loss),
        ("coefficients", got.coefficients, ref.coefficients),
        ("grad_inputs", got.grad_inputs[:batch_size, :dim], ref.grad_inputs),
        ("grad_rows", got.grad_rows[:num_sampled, :dim], grad_rows),
        ("grad_offsets", got.grad_offsets[:num_sampled], grad_offsets),
        ("x", got.x[:batch_size, :dim], problem.inputs),
    ):
        limit = tolerance * max(1, np.abs(want).max(initial=0))
        np.testing.assert_allclose(have, want, atol=limit, rtol=0, err_msg=name)


@given(
    st.integers(0, 2**32), st.integers(1, 150), st.integers(1, 40), st.integers(1, 60),
    st.integers(1, 5), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)
def test_pass(seed, batch_size, dim, num_sampled, num_true, logistic, remove, ragged, dtype):
    problem = Problem(
        np.random.default_rng(seed), 60, dim, batch_size, num_true, num_sampled, dtype,
        ragged=ragged,
    )
    hits = find_hits(problem.labels, problem.sampled)
    hits = hits if remove else hits[:, :0].copy()
    tolerance = 2e-5 if dtype == np.float32 else 1e-11
    compare(problem, run(problem, hits, logistic), hits, logistic, tolerance)


@pytest.mark.parametrize("logistic", [False, True])
def test_extreme_logits(logistic, rng):
    problem = Problem(rng, dim=4, batch_size=70, scale=60)
    hits = find_hits(problem.labels, problem.sampled)
    compare(problem, run(problem, hits, logistic), hits, logistic, 2e-6)


@pytest.mark.parametrize("logistic", [False, True])
def test_parts_of_a_batch_give_the_same(logistic, rng, monkeypatch):
    """A small budget of probabilities cuts the batch into parts."""
    problem = Problem(rng, batch_size=5 * BLOCK + 3)
    hits = find_hits(problem.labels, problem.sampled)
    monkeypatch.setattr(_passes, "_PROBABILITIES", 2 * BLOCK * ROWS)
    compare(problem, run(problem, hits, logistic), hits, logistic, 2e-5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_chunks(logistic, dtype, rng):
    problem = Problem(rng, batch_size=5 * BLOCK + 3, num_true=2, num_sampled=37, dtype=dtype)
    hits = find_hits(problem.labels, problem.sampled)
    first = run(problem, hits, logistic, 1)
    for chunks in (2, 3, 8):
        other = run(problem, hits, logistic, chunks)
        for name in ("loss", "coefficients", "grad_inputs", "grad_rows", "grad_offsets"):
            a, b = getattr(first, name), getattr(other, name)
            np.testing.assert_array_equal(a[: len(problem.inputs)], b[: len(problem.inputs)], name)


def test_pack_candidates(rng):
    problem = Problem(rng, num_sampled=5)
    log_q = np.log(problem.sampled_count)
    for subtract in (True, False):
        rows, offsets = np.ones((2 * ROWS, 16), np.float32), np.empty(2 * ROWS, np.float32)
        pack_candidates(
            problem.weights, problem.biases, problem.sampled, problem.sampled_count, subtract, 3,
            rows, offsets,
        )
        ref = reference.pack_candidates(
            problem.weights, problem.biases, problem.sampled, log_q * subtract
        )
        np.testing.assert_array_equal(rows[:5, :9], ref[0])
        np.testing.assert_allclose(offsets[:5], ref[1], atol=1e-6)
        assert np.isneginf(offsets[5:]).all()


@pytest.mark.parametrize("logistic", [False, True])
def test_forward_classes(logistic, rng):
    problem = Problem(rng, num_classes=300, batch_size=BLOCK + 5)
    inputs = problem.inputs
    normalizer = _passes.normalizers(problem.weights, problem.biases, inputs, logistic)
    grad_inputs = np.zeros_like(_passes.padded_inputs(inputs))
    got = np.zeros((300, 9))
    for block in _passes.full_pass(
        _passes.Workspace(), problem.weights, problem.biases, _passes.padded_inputs(inputs),
        normalizer.astype(np.float32), problem.grad_loss, logistic, grad_inputs,
    ):
        count = block.classes.stop - block.classes.start
        got[block.classes] = block.grad_rows[:count, :9]
    probs, ref = reference.forward_classes(
        inputs.astype(float), problem.weights.astype(float), problem.biases, problem.grad_loss,
        logistic,
    )
    np.testing.assert_allclose(grad_inputs[: len(inputs), :9], ref, atol=1e-4)
    np.testing.assert_allclose(got, reference.grad_candidates(inputs, probs)[0], atol=1e-4)
