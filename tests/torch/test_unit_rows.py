"""torch/unit_rows.py: against PyTorch's own, and its backward pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from numba_ss.torch.unit_rows import unit_rows  # noqa: E402


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_and_gradients_are_pytorch_s(dtype, rng):
    rows = rng.standard_normal((6, 5)).astype(dtype)
    rows[2] *= 1e-6
    ids, grads = np.array([3, 1, 3, 2, 5]), rng.standard_normal((5, 5)).astype(dtype)
    tensor = torch.from_numpy(rows).requires_grad_()
    want = torch.nn.functional.normalize(tensor)
    have = unit_rows(rows)
    assert have.rows.dtype == have.lengths.dtype == dtype
    np.testing.assert_allclose(have.rows, want.detach(), rtol=1e-5)
    want[ids].backward(torch.from_numpy(grads))
    total = np.zeros_like(rows)
    np.add.at(total, ids, have.gradients(ids, grads))
    np.testing.assert_allclose(total, tensor.grad, rtol=1e-4, atol=1e-4)


def test_zeros_stay_zeros():
    have = unit_rows(np.zeros((2, 3), np.float32))
    assert not have.rows.any()
