"""kernels/ranking.py: walks over all classes against dense NumPy."""

import numpy as np
import pytest

from numba_ss import _passes, reference, top_k
from numba_ss.kernels import ranking
from numba_ss.kernels.batch import STRIDE
from numba_ss.kernels.candidates import BLOCK


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("num_classes", [1, 5, 129, 700])
def test_normalize(dtype, logistic, num_classes, rng):
    weights = rng.standard_normal((num_classes, 7)).astype(dtype)
    biases = rng.standard_normal(num_classes).astype(dtype)
    inputs = 3 * rng.standard_normal((BLOCK + 9, 7)).astype(dtype)
    ref = reference.normalize(inputs.astype(float) @ weights.T + biases, logistic)
    got = _passes.normalizers(weights, biases, inputs, logistic)
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
