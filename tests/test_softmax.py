"""kernels/softmax.py: the losses of a block against the specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels import softmax

SIZE = 5


def make_block(rng, dtype, num_private=3, num_shared=6, scale=1.0):
    private = rng.integers(0, 50, (SIZE, num_private))
    private[1, 1] = private[3, 2] = -1
    logits = scale * rng.standard_normal((SIZE, num_private + num_shared))
    logits[:, :num_private][private < 0] = -np.inf
    logits[2, -1] = -np.inf
    return private, logits.astype(dtype), rng.standard_normal(SIZE).astype(dtype)


TWINS = {
    "softmax": (softmax.softmax_block, reference.softmax_block),
    "logistic": (softmax.logistic_block, reference.logistic_block),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", TWINS)
@pytest.mark.parametrize("num_true", [1, 2, 3])
@pytest.mark.parametrize("scale", [1, 30])
def test_block(dtype, loss, num_true, scale, rng):
    private, logits, grad_loss = make_block(rng, dtype, scale=scale)
    private[private[:, 0] < 0, 0] = 7
    offsets = rng.standard_normal(6).astype(dtype)
    shared = np.ascontiguousarray(logits[:, 3:].T - offsets[:, None])
    shared[np.isneginf(logits[:, 3:].T)] = -np.inf
    coefficients, losses = logits[:, :3].copy(), np.empty(SIZE, dtype)
    arguments = (0, SIZE, private, num_true, grad_loss, offsets, shared, 0, coefficients, losses)
    kernel, twin = TWINS[loss]
    kernel(*arguments, np.empty((3, SIZE), dtype))
    ref = twin(logits.astype(float), private, num_true, grad_loss)
    tolerance = 3e-6 * scale if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(losses, ref[0], atol=tolerance)
    got = np.concatenate([coefficients, shared.T], axis=1)
    np.testing.assert_allclose(got, ref[1] + 0.0, atol=tolerance)
    assert not got[2, -1], "a masked column has a gradient"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes(dtype, rng):
    logits = rng.standard_normal((SIZE, 8)).astype(dtype)
    grad_loss = rng.standard_normal(SIZE).astype(dtype)
    offsets = np.zeros(8, dtype)
    normalizer = reference.normalize(logits, False).astype(dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    got = np.ascontiguousarray(logits.T)
    softmax.softmax_classes(0, SIZE, normalizer, grad_loss, offsets, got, 0)
    ref = reference.softmax_classes(logits, normalizer, grad_loss)
    np.testing.assert_allclose(got.T, ref, atol=tolerance)
    got = np.ascontiguousarray(logits.T)
    softmax.logistic_classes(0, SIZE, grad_loss, offsets, got, 0)
    np.testing.assert_allclose(got.T, reference.logistic_classes(logits, grad_loss), atol=tolerance)
