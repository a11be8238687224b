"""batch.py: the pass against the specification, for any number of chunks."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.engine import workspace
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.llvm import ROWS
from numba_ss.kernels.softmax.sampled_classes import BLOCK, STRIP, block_start, blocks_of
from tests.conftest import JIT, Problem, needs_jit


def repeat(problem, rng, num_inputs, by_class):
    """Let examples share inputs, and labels be candidates in half of the examples only.

    With `by_class` expected counts are a function of the class, as samplers' are.
    """
    batch_size, num_true = problem.labels.shape
    problem.inputs = problem.inputs[rng.integers(0, min(num_inputs, batch_size), batch_size)]
    others = np.setdiff1d(np.arange(len(problem.weights)), problem.sampled)
    hit = rng.random((batch_size, 1)) < 0.5
    hit = hit & (rng.random((batch_size, num_true)) < 0.7)
    labels = np.where(
        hit, rng.choice(problem.sampled, hit.shape), rng.choice(others, hit.shape)
    )
    problem.labels = np.where(problem.labels >= 0, labels, -1)
    if by_class:
        counts = rng.uniform(0.05, 2, len(problem.weights)).astype(np.float32)
        problem.true_count = counts[problem.labels]
        problem.sampled_count = counts[problem.sampled]
    return problem


def run(problem, hits, logistic, threads=2, subtract_log_q=True, backward=True):
    """Return all arrays of a pass; no hits are removed where `hits` has no columns."""
    batch = SampledPass(
        Workspace(), problem.inputs, np.arange(len(problem.inputs)), problem.weights,
        problem.biases, problem.columns(hits.shape[1] > 0, subtract_log_q), logistic, threads,
    )
    batch.forward()
    if backward:
        batch.backward(problem.grad_output)
    return SimpleNamespace(part=batch.buffers.part, **vars(batch.buffers.arrays))


def num_inputs(result):
    """Return how many inputs were worked on."""
    return result.inverse.max() + 1


def compare(problem, got, hits, logistic, tolerance, subtract_log_q=True):
    log_q = [
        np.log(count.astype(float)) if subtract_log_q else np.zeros(count.shape)
        for count in (problem.true_count, problem.sampled_count)
    ]
    ref = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, log_q[0],
        problem.labels.shape[1], problem.sampled, log_q[1], hits, problem.grad_output, logistic,
    )
    grad_rows, grad_biases = reference.grad_sampled(problem.inputs, ref.probabilities)
    (batch_size, dim), num_sampled = problem.inputs.shape, len(problem.sampled)
    for name, have, want in (
        ("loss", got.losses, ref.loss),
        ("grad_own_logits", got.grad_own_logits, ref.grad_own_logits),
        ("grad_inputs", got.grad_inputs[:batch_size, :dim], ref.grad_inputs),
        ("grad_rows", got.grad_sampled_rows[:num_sampled, :dim], grad_rows),
        ("grad_biases", got.grad_sampled_biases[:num_sampled], grad_biases),
        ("inputs", got.unique_inputs[got.inverse, :dim], problem.inputs),
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


@given(
    st.integers(0, 2**32), st.integers(1, 150), st.integers(1, 90), st.integers(1, 20),
    st.integers(1, 2 * STRIP + 3), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(),
    st.booleans(), st.sampled_from([np.float32, np.float64]),
)
def test_repeated_inputs(
    seed, batch_size, distinct, dim, num_sampled, num_true, logistic, by_class, subtract, ragged,
    dtype,
):
    rng = np.random.default_rng(seed)
    problem = Problem(
        rng, 300, dim, batch_size, num_true, num_sampled, dtype, ragged=ragged
    )
    repeat(problem, rng, distinct, by_class)
    hits = find_hits(problem.labels, problem.sampled)
    got = run(problem, hits, logistic, subtract_log_q=subtract)
    compare(problem, got, hits, logistic, 2e-5 if dtype == np.float32 else 1e-11, subtract)
    if by_class or not subtract:
        assert num_inputs(got) == len(np.unique(problem.inputs, axis=0))


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_true", [1, 2, 3])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("scale", [1, 30])
def test_many_examples_of_few_inputs(logistic, dtype, num_true, by_class, scale, rng):
    """Labels that are candidates are joined to them, or leave them out."""
    batch_size, distinct, dim = (400, 80, 9) if JIT else (40, 7, 4)
    problem = Problem(
        rng, 400, dim, batch_size, num_true, 2 * STRIP + 5, dtype, scale, ragged=num_true > 1
    )
    repeat(problem, rng, distinct, by_class)
    hits = find_hits(problem.labels, problem.sampled)
    got = run(problem, hits, logistic)
    assert (hits >= 0).any()
    assert num_inputs(got) < batch_size
    if by_class:
        assert num_inputs(got) <= distinct
        assert (got.member_hits >= -1).all()
        assert (got.member_hits >= 0).any()
    else:
        assert num_inputs(got) > distinct
        assert (got.member_hits < -1).any()
    compare(problem, got, hits, logistic, 2e-5 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("by_class", [True, False])
def test_by_id_or_by_content(logistic, by_class, rng):
    """The numbers are the same; rows that are equal are one input by content only."""
    problem = repeat(Problem(rng, batch_size=90, num_true=2, ragged=True), rng, 12, by_class)
    hits = find_hits(problem.labels, problem.sampled)
    table = np.concatenate([np.unique(problem.inputs, axis=0)] * 2)
    same = (table[None, :12] == problem.inputs[:, None]).all(axis=2)
    ids = same.argmax(axis=1) + 12 * rng.integers(0, 2, 90)
    found = []
    for by_id in (False, True):
        batch = SampledPass(
            Workspace(), table, ids, problem.weights, problem.biases, problem.columns(), logistic,
            2, by_id,
        )
        batch.forward_and_backward(problem.grad_output)
        got = batch.buffers.arrays
        compare(problem, got, hits, logistic, 2e-5)
        found.append(num_inputs(got))
    assert found[0] < found[1] <= 90
    if by_class:
        assert found == [12, len(np.unique(ids))]


@pytest.mark.parametrize("logistic", [False, True])
def test_rows_of_the_same_key(logistic, rng):
    """Two inputs that only their keys take for one."""
    problem = Problem(rng, dim=4, batch_size=20)
    first = np.array([1.5, 1, -2, 3], np.float32)
    second, place = first.copy(), np.uint32(0x803779B9)  # see test_inputs.colliding
    bits = first.view(np.uint32)
    swapped = bits[:2][::-1] + np.array([place, -int(place) % 2**32], np.uint32)
    second.view(np.uint32)[:2] = swapped
    problem.inputs = rng.choice(np.array([first, second]), 20)
    assert len(set(reference.row_keys(problem.inputs.view(np.uint32)))) == 1
    hits = find_hits(problem.labels, problem.sampled)
    compare(problem, run(problem, hits, logistic), hits, logistic, 2e-5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("distinct", [1, BLOCK + 6])
def test_a_candidate_that_all_hit_has_no_gradient(logistic, dtype, by_class, distinct, rng):
    """Not even a rounding error: nobody counts it."""
    problem = Problem(rng, 300, 9, BLOCK + 6, 2, STRIP + 9, dtype)
    repeat(problem, rng, distinct, by_class)
    places = 3, STRIP + 2
    problem.labels[:] = problem.sampled[list(places)]
    if by_class:
        problem.true_count[:] = problem.sampled_count[list(places)]
    hits = find_hits(problem.labels, problem.sampled)
    got = run(problem, hits, logistic)
    assert (got.member_hits >= 0).all() == by_class
    compare(problem, got, hits, logistic, 2e-5 if dtype == np.float32 else 1e-11)
    used = np.arange(STRIP + 9)
    np.testing.assert_array_equal(np.flatnonzero(got.grad_sampled_biases[used] == 0), places)
    np.testing.assert_array_equal(np.flatnonzero(~got.grad_sampled_rows[used, :9].any(axis=1)), places)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("label", ["apart", "joined", "no candidate"])
def test_an_infinite_logit_of_a_label_is_seen(logistic, sign, label, rng):
    """It is not taken for an absent column; the losses of other examples are sound."""
    problem = Problem(rng)
    row = np.setdiff1d(np.arange(60), problem.sampled)[0] if label == "no candidate" else problem.sampled[2]
    problem.labels[problem.labels == row] = problem.sampled[3]
    problem.labels[4] = row
    problem.inputs[4] = 10 * sign
    problem.inputs[[0, 1, 2, 3, 5, 6]] = rng.choice([-1e-38, 1e-38], (6, 9))
    problem.weights[row] = 1e38
    problem.true_count[4] = problem.sampled_count[2] * (2 if label == "apart" else 1)
    got = run(problem, find_hits(problem.labels, problem.sampled), logistic)
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(got.losses)), [4])


@pytest.mark.parametrize("logistic", [False, True])
def test_no_shared_candidates(logistic, rng):
    """Where each example has candidates of its own."""
    problem = repeat(Problem(rng, batch_size=BLOCK + 5, num_true=2), rng, 12, True)
    problem.sampled, problem.sampled_count = problem.sampled[:0], problem.sampled_count[:0]
    hits = np.empty((len(problem.labels), 0), np.int32)
    got = run(problem, hits, logistic)
    assert num_inputs(got) <= 12
    compare(problem, got, hits, logistic, 2e-5)


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("logistic", [False, True])
def test_parts_of_a_batch_give_the_same(logistic, repeated, rng, monkeypatch):
    """A small budget of probabilities cuts the batch into parts."""
    problem = Problem(rng, batch_size=5 * BLOCK + 3)
    if repeated:
        repeat(problem, rng, 3 * BLOCK, True)
    hits = find_hits(problem.labels, problem.sampled)
    monkeypatch.setattr(workspace, "EXPS", 2 * BLOCK * ROWS)
    got = run(problem, hits, logistic)
    assert got.part < blocks_of(num_inputs(got))
    compare(problem, got, hits, logistic, 2e-5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("by_class", [None, True, False])
def test_bits_do_not_depend_on_chunks(logistic, dtype, by_class, rng):
    problem = Problem(rng, batch_size=5 * BLOCK + 3, num_true=2, num_sampled=37, dtype=dtype)
    if by_class is not None:
        num_sampled = STRIP + 22 if JIT else STRIP + 2
        problem = Problem(rng, 200, 9, 5 * BLOCK + 3, 2, num_sampled, dtype, ragged=True)
        repeat(problem, rng, 2 * BLOCK, by_class)
    hits = find_hits(problem.labels, problem.sampled)
    first = run(problem, hits, logistic, 1)
    assert (num_inputs(first) < len(problem.inputs)) == (by_class is not None)
    for chunks in (2, 3, 8):
        other = run(problem, hits, logistic, chunks)
        for name in ("losses", "grad_own_logits", "grad_inputs", "grad_sampled_rows", "grad_sampled_biases"):
            a, b = getattr(first, name), getattr(other, name)
            np.testing.assert_array_equal(a[: len(problem.inputs)], b[: len(problem.inputs)], name)


@pytest.mark.parametrize("logistic", [False, True])
def test_forward_inputs(logistic, rng):
    """What `forward_inputs` leaves for `forward_examples`: more than a strip, several blocks."""
    problem = repeat(Problem(rng, 300, 9, 3 * BLOCK, 1, STRIP + 22), rng, 2 * BLOCK, True)
    got = run(problem, np.full((3 * BLOCK, 0), -1, np.int32), logistic, backward=False)
    distinct = np.unique(got.inverse, return_index=True)[1]
    log_q = np.log(problem.sampled_count)
    rows, biases = reference.pack_sampled(
        problem.weights, problem.biases, problem.sampled, log_q
    )
    ref = reference.forward_inputs(problem.inputs[distinct], rows, biases, logistic)
    probabilities, running_max, running_sum, weighted = ref
    count = len(distinct)
    np.testing.assert_allclose(got.running_sum[:count], running_sum, rtol=1e-5)
    np.testing.assert_allclose(got.weighted_rows[:count, :9], weighted, atol=1e-5 * np.abs(weighted).max())
    if not logistic:
        np.testing.assert_allclose(got.running_max[:count], running_max, rtol=1e-5)
    num_blocks, num_rows = blocks_of(count), len(got.sampled_rows)
    for block in range(num_blocks):
        start, stop = (block_start(b, num_blocks, count) for b in (block, block + 1))
        for first in range(0, STRIP + 22, STRIP):
            last = min(first + STRIP, STRIP + 22)
            have = got.probabilities[block * num_rows + first : block * num_rows + last, : stop - start]
            if not logistic:
                have = have * np.exp(got.strip_max[2 * block + first // STRIP, : stop - start] - running_max[start:stop])
            np.testing.assert_allclose(have.T, probabilities[start:stop, first:last], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_gradient_beside_a_large_one(dtype, rng):
    """Two examples of one input hit different candidates: nothing is taken from the large one."""
    problem = Problem(rng, batch_size=2, num_sampled=3, dtype=dtype)
    problem.inputs[1] = problem.inputs[0]
    problem.sampled[:] = 3, 1, 5
    problem.labels[:] = [[3], [5]]
    problem.true_count[:], problem.sampled_count[:] = 1, 1
    problem.grad_output[:] = 1e6, 1e-3
    hits = find_hits(problem.labels, problem.sampled)
    got = run(problem, hits, False)
    assert num_inputs(got) == 1
    zero = np.zeros((2, 1))
    ref = reference.forward_examples(
        problem.inputs, problem.weights, problem.biases, problem.labels, zero, 1,
        problem.sampled, np.zeros(3), hits, problem.grad_output, False,
    )
    grad_rows, grad_biases = reference.grad_sampled(problem.inputs, ref.probabilities)
    np.testing.assert_allclose(got.grad_sampled_rows[:3, :9], grad_rows, rtol=1e-5)
    np.testing.assert_allclose(got.grad_sampled_biases[:3], grad_biases, rtol=1e-5)


FRESH = """
import hashlib, numpy as np, numba_ss
rng = np.random.default_rng(1)
layer = numba_ss.SampledSoftmax(5000, 64, 100)
table = rng.standard_normal((5000, 64)).astype(np.float32)
for _ in range(10):
    ids, labels = (np.minimum(rng.zipf(1.3, 2048), 5000) - 1 for _ in range(2))
    layer.step_rows(table, ids, labels[:, None])
arrays = layer.weights, layer.biases, table
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


@needs_jit
def test_bits_do_not_depend_on_the_cache(tmp_path):
    """What one process compiles and what the next loads do the same."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    seen = {
        subprocess.run(
            [sys.executable, "-c", FRESH], env=environment, capture_output=True, text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(seen) == 1
