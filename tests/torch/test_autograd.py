"""torch/autograd.py: a work with an answer that is known, in PyTorch's backward pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from numba_ss.torch import autograd  # noqa: E402


class Squares:
    """The losses inputs[i] . inputs[i] + table[i] for the first rows of a table."""

    def __init__(self, inputs):
        self.inputs = inputs.detach().numpy()
        self.losses = (self.inputs**2).sum(axis=1)
        self.total = self.losses.sum()

    def backward(self, grad_output):
        return 2 * grad_output[:, None] * self.inputs, [
            autograd.Rows(np.arange(len(grad_output)), grad_output.copy())
        ]


def problem():
    inputs = torch.arange(6.0).reshape(3, 2).requires_grad_()
    return inputs, torch.zeros(5, requires_grad=True)


@pytest.mark.parametrize("sparse", [True, False])
def test_losses_with_an_upstream_gradient(sparse):
    inputs, table = problem()
    losses = autograd.apply(Squares(inputs), None, sparse, inputs, table)
    assert losses.tolist() == [1, 13, 41]
    upstream = torch.tensor([1.0, 0.0, -2.0])
    losses.backward(upstream)
    torch.testing.assert_close(inputs.grad, 2 * upstream[:, None] * inputs.detach())
    assert table.grad.is_sparse == sparse
    assert table.grad.to_dense().tolist() == [1, 0, -2, 0, 0]


@pytest.mark.parametrize("sparse", [True, False])
def test_rows_that_repeat_add_up(sparse):
    rows = autograd.Rows(np.array([3, 1, 3]), np.float32([[1, 2], [3, 4], [5, 6]]))
    grad = autograd.table_gradient(torch.zeros(5, 2), rows, sparse)
    assert grad.is_sparse == sparse
    assert grad.to_dense().tolist() == [[0, 0], [3, 4], [0, 0], [6, 8], [0, 0]]


def test_an_upstream_gradient_of_any_layout():
    inputs, table = problem()
    autograd.apply(Squares(inputs), None, True, inputs, table).sum().backward()  # expanded
    assert table.grad.to_dense().tolist() == [1, 1, 1, 0, 0]


def test_a_scaled_sum():
    inputs, table = problem()
    loss = autograd.apply(Squares(inputs), 0.5, True, inputs, table)
    assert loss.shape == ()
    assert loss == 27.5
    (4 * loss).backward()
    torch.testing.assert_close(inputs.grad, 4 * inputs.detach())
    assert table.grad.to_dense().tolist() == [2, 2, 2, 0, 0]


def test_the_losses_are_a_copy():
    inputs, table = problem()
    work = Squares(inputs)
    losses = autograd.apply(work, None, True, inputs, table)
    work.losses[:] = 0
    assert losses.tolist() == [1, 13, 41]


def test_a_table_may_be_missing_or_frozen():
    inputs, table = problem()
    loss = autograd.apply(Squares(inputs), 1.0, True, inputs, None)
    loss.backward()
    assert inputs.grad is not None
    autograd.apply(Squares(inputs), 1.0, True, inputs, table.detach()).backward()
    loss = autograd.apply(Squares(inputs), 1.0, True, inputs.detach(), table)
    loss.backward()
    assert table.grad.to_dense().sum() == 3
