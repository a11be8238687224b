"""torch/tensors.py: what is taken as it is, what is converted, and what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from numba_ss import ArgumentError  # noqa: E402
from numba_ss.torch import tensors  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_is_shared_not_copied(dtype):
    table = torch.nn.Parameter(torch.zeros(4, 3, dtype=dtype))
    array = tensors.memory_of("table", table)
    array[2, 1] = 5
    assert table[2, 1] == 5


@pytest.mark.parametrize(("value", "message"), [
    ([1.0], "table: expected a torch.Tensor, got list"),
    (torch.zeros(2, device="meta"), "table: expected a tensor on the CPU.*, got one on meta"),
    (torch.zeros(2, dtype=torch.float16), "table: expected float32 or float64 numbers"),
    (torch.zeros(2, 3).T, "table: expected a contiguous tensor"),
])
def test_memory_that_kernels_cannot_use(value, message):
    with pytest.raises(ArgumentError, match=message):
        tensors.memory_of("table", value)


def test_hidden_states_are_copied_only_where_they_must():
    inputs = torch.zeros(2, 5, 3)
    assert tensors.hidden_states(inputs, 3, torch.float32).data_ptr() == inputs.data_ptr()
    turned = torch.arange(6.0).reshape(3, 2).T
    have = tensors.hidden_states(turned, 3, torch.float32)
    assert have.is_contiguous()
    assert torch.equal(have, turned)
    assert tensors.hidden_states(inputs.bfloat16(), 3, torch.float64).dtype == torch.float64


@pytest.mark.parametrize(("inputs", "message"), [
    (torch.zeros(2, 4), r"inputs: expected shape \(..., dim\) = \(..., 3\), got shape \(2, 4\)"),
    (torch.zeros(()), "inputs: expected shape"),
    (torch.zeros(2, 3, dtype=torch.float64), "inputs: expected torch.float32 as the weights"),
    (torch.zeros(2, 3, dtype=torch.int64), "inputs: expected torch.float32 as the weights"),
])
def test_hidden_states_that_do_not_fit(inputs, message):
    with pytest.raises(ArgumentError, match=message):
        tensors.hidden_states(inputs, 3, torch.float32)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_labels_of_any_integers(dtype):
    labels = torch.tensor([[3, 0], [1, 2]], dtype=dtype)
    ids, some = tensors.label_ids(labels, torch.Size([2]), 2, -100, 4)
    assert ids.dtype == np.int64
    assert ids.tolist() == [[3, 0], [1, 2]]
    assert some is None


@pytest.mark.parametrize("ignore", [-100, -1, 2])
def test_what_marks_an_absent_label_may_be_any_number(ignore):
    labels = torch.tensor([[3, ignore], [ignore, ignore], [1, 0]])
    ids, some = tensors.label_ids(labels, torch.Size([3]), 2, ignore, 4)
    assert ids.tolist() == [[3, -1], [-1, -1], [1, 0]]
    assert some.tolist() == [True, False, True]
    ids, some = tensors.label_ids(labels[::2], torch.Size([2]), 2, ignore, 4)
    assert some is None
    if ignore != -1:
        with pytest.raises(ArgumentError, match=r"labels: expected ids in .*got -1 at labels\[1, 0"):
            tensors.label_ids(torch.tensor([1, -1]), torch.Size([2]), 1, ignore, 4)


def test_a_function_is_called_as_it_is_outside_of_a_compiler():
    calls = []
    tensors.uncompiled(lambda *args: calls.append(args))(1, 2)
    assert calls == [(1, 2)]
