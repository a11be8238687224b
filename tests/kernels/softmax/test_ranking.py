"""ranking.py: walks over all classes against dense NumPy."""

import numpy as np
import pytest

from numba_ss import reference, top_k
from numba_ss.engine import full_pass
from numba_ss.kernels.softmax import ranking
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.sampled_classes import BLOCK


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("num_classes", [1, 5, 129, 700])
def test_normalize(dtype, logistic, num_classes, rng):
    weights = rng.standard_normal((num_classes, 7)).astype(dtype)
    biases = rng.standard_normal(num_classes).astype(dtype)
    inputs = 3 * rng.standard_normal((BLOCK + 9, 7)).astype(dtype)
    ref = reference.normalize(inputs.astype(float) @ weights.T + biases, logistic)
    got = full_pass.normalizers(weights, biases, inputs, logistic)
    np.testing.assert_allclose(got, ref, **({"rtol": 2e-6, "atol": 5e-6} if dtype == np.float32 else {"rtol": 1e-11}))


@pytest.mark.parametrize("k", [1, 4, 150])
def test_select(k, rng):
    """Scores of few values: the order among equals is part of the answer."""
    weights = rng.integers(-2, 3, (150, 3)).astype(np.float32)
    inputs = rng.integers(-2, 3, (BLOCK + 9, 3)).astype(np.float32)
    biases = np.zeros(150, np.float32)
    exclude = [rng.integers(0, 150, rng.integers(0, 6)) for _ in inputs]
    ref = reference.select(inputs @ weights.T, k, exclude)
    got = top_k(weights, biases, inputs, k, exclude)
    np.testing.assert_array_equal(got.ids, ref[1])
    np.testing.assert_array_equal(got.scores, ref[0])


def test_transpose_inputs(rng):
    x = rng.standard_normal((2 * BLOCK, 16)).astype(np.float32)
    out = np.empty((2, 16, STRIDE), np.float32)
    ranking.transpose_inputs(x, 16, 2, out)
    np.testing.assert_array_equal(out[:, :, :BLOCK], reference.transpose_inputs(x, BLOCK))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [slice(0, 90), slice(50, 140), slice(1, 139)])
def test_normalize_without_classes_of_minus_infinity(dtype, masked, rng):
    weights = rng.standard_normal((140, 7)).astype(dtype)
    biases = np.full(140, -800.0, dtype)  # below what exp of a difference to 0 could hold
    biases[masked] = -np.inf
    inputs = rng.standard_normal((9, 7)).astype(dtype)
    for logistic in (False, True):
        ref = reference.normalize(inputs.astype(float) @ weights.T + biases, logistic)
        np.testing.assert_allclose(full_pass.normalizers(weights, biases, inputs, logistic), ref, rtol=1e-6)


@pytest.mark.parametrize("num_chunks", [1, 3])
@pytest.mark.parametrize(("parts", "k"), [(1, 5), (4, 1), (7, 9)])
def test_merge_best(num_chunks, parts, k, rng):
    """Scores of few values, ids of a part in any order, and parts that are not full."""
    size = 20
    counts = rng.integers(0, k + 1, (parts, size))
    there = np.arange(k) < counts[:, :, None]
    scores = np.where(there, rng.integers(0, 3, (parts, size, k)), -np.inf).astype(np.float32)
    ids = np.where(there, rng.permuted(np.arange(parts * size * k)).reshape(parts, size, k), -1)
    got = np.empty((size, k), np.float32), np.empty((size, k), np.int64)
    ranking.merge_best(scores, ids, counts, num_chunks, *got)
    ref = reference.merge_best(scores, ids)
    np.testing.assert_array_equal(got[0], ref[0])
    np.testing.assert_array_equal(got[1], ref[1])
