"""torch/functional.py: TensorFlow's golden numbers, the engine's bits, and gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

import numba_ss  # noqa: E402
import numba_ss.torch  # noqa: E402
from numba_ss import ArgumentError  # noqa: E402
from numba_ss.torch import functional  # noqa: E402
from tests.conftest import Problem, densify  # noqa: E402

NAMES = ["sampled_softmax_loss", "nce_loss"]


def tensors(values, grad=True):
    """Return arrays, or lists of them, as tensors."""
    if isinstance(values, (list, tuple)):
        return [tensors(value) for value in values]
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.requires_grad_(grad and tensor.is_floating_point())


def dense(tensor):
    return (tensor.grad.to_dense() if tensor.grad.is_sparse else tensor.grad).numpy()


@pytest.mark.parametrize("sparse", [True, False])
def test_golden_losses_and_gradients(golden, sparse):
    """Twelve cases of TensorFlow 2.21, loss and all gradients within 1e-5."""
    classes, dim, batch_size = 20, 6, 4
    for case in golden["losses"]:
        weights = tensors(np.sin(0.37 * np.arange(classes * dim)).reshape(classes, dim))
        biases = tensors(np.cos(0.71 * np.arange(classes)))
        inputs = tensors(np.sin(0.53 * np.arange(batch_size * dim) + 1).reshape(batch_size, dim))
        num_true, num_sampled = case["num_true"], len(case["sampled"])
        true_count = (0.05 + 0.1 * np.arange(batch_size * num_true)).reshape(batch_size, num_true)
        sampled = (np.array(case["sampled"]), true_count, 0.07 + 0.13 * np.arange(num_sampled))
        for name in NAMES:
            losses = getattr(numba_ss.torch, name)(
                weights, biases, torch.tensor(case["labels"]), inputs, num_sampled, classes,
                num_true, [torch.from_numpy(part) for part in sampled],
                case["remove_accidental_hits"], sparse=sparse,
            )
            losses.sum().backward()
            want = case[name.removesuffix("_loss")]
            np.testing.assert_allclose(losses.detach(), want["loss"], atol=1e-5)
            grad_inputs = want.get("grad_x", want.get("grad_inputs"))
            for tensor, value in ((weights, want["grad_w"]), (biases, want["grad_b"]), (inputs, grad_inputs)):
                np.testing.assert_allclose(dense(tensor), value, atol=1e-5)
                tensor.grad = None


@pytest.mark.parametrize("strategy", [None, "div", "mod"])
@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_the_engine_s(name, ragged, strategy, rng):
    problem = Problem(rng, num_true=3, ragged=ragged)
    arguments = list(problem.arguments)
    labels = arguments[2]
    if ragged:
        labels[2] = -1
    options = {}
    if strategy is not None:
        options["partition_strategy"] = strategy
        for i in (0, 1):
            table = arguments[i]
            arguments[i] = (
                [table[k::4].copy() for k in range(4)] if strategy == "mod"
                else [part.copy() for part in np.array_split(table, 4)]
            )
    want = getattr(numba_ss, f"{name}_and_grad")(*arguments, grad_output=problem.grad_output, **options)
    given = [*tensors(arguments[:2]), torch.from_numpy(labels), tensors(arguments[3])]
    sampled = [torch.from_numpy(part) for part in arguments[7]]
    losses = getattr(numba_ss.torch, name)(*given, *arguments[4:7], sampled, **options)
    losses.backward(torch.from_numpy(problem.grad_output))
    np.testing.assert_array_equal(losses.detach().numpy(), want.loss)
    np.testing.assert_array_equal(given[3].grad.numpy(), want.grad_inputs)
    shards = range(4) if strategy else [None]
    for shard in shards:
        def part(value, shard=shard):
            return value if shard is None else value[shard]

        for tensor, values in ((part(given[0]), want.grad_weights), (part(given[1]), want.grad_biases)):
            total = densify(part(want.rows), part(values), len(tensor))
            np.testing.assert_allclose(dense(tensor), total, atol=1e-5)


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name, remove, rng):
    problem = Problem(rng, num_true=2, dtype=np.float64, ragged=True, batch_size=4)
    weights, biases, labels, inputs, *rest, sampled = problem.arguments
    sampled = [torch.from_numpy(part) for part in sampled]

    def function(weights, biases, inputs):
        return getattr(numba_ss.torch, name)(
            weights, biases, torch.from_numpy(labels), inputs, *rest, sampled, remove, sparse=False
        )

    assert torch.autograd.gradcheck(function, tensors([weights, biases, inputs]))


def test_candidates_of_an_example_s_own(rng):
    problem = Problem(rng)
    problem.sampled = rng.integers(0, 60, (7, 5))
    problem.sampled_count = rng.uniform(0.1, 1, (7, 5)).astype(np.float32)
    weights, biases, labels, inputs, *rest, sampled = problem.arguments
    want = numba_ss.sampled_softmax_loss_and_grad(*problem.arguments)
    given = tensors([weights, biases, inputs])
    losses = numba_ss.torch.sampled_softmax_loss(
        given[0], given[1], torch.from_numpy(labels), given[2], *rest, list(map(torch.from_numpy, sampled))
    )
    losses.sum().backward()
    np.testing.assert_array_equal(losses.detach().numpy(), want.loss)
    total = densify(want.rows, want.grad_weights, 60)
    np.testing.assert_allclose(dense(given[0]), total, atol=1e-5)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(half, rng):
    problem = Problem(rng)
    inputs = torch.from_numpy(problem.inputs).to(half).requires_grad_()
    weights = tensors(problem.weights)
    losses = numba_ss.torch.sampled_softmax_loss(
        weights, None, torch.from_numpy(problem.labels), inputs, 5, 60, seed=1
    )
    want = numba_ss.sampled_softmax_loss_and_grad(
        problem.weights, None, problem.labels, inputs.detach().float().numpy(), 5, 60, seed=1
    )
    assert losses.dtype == half
    torch.testing.assert_close(losses, torch.from_numpy(want.loss).to(half))
    losses.sum().backward()
    assert inputs.grad.dtype == half
    assert weights.grad.dtype == torch.float32


def test_no_biases_and_drawn_candidates():
    """What TensorFlow's default sampler draws for a seed."""
    weights = torch.zeros(1000, 4, requires_grad=True)
    labels, inputs = torch.tensor([[3], [5]]), torch.ones(2, 4)
    want = numba_ss.sampled_softmax_loss(
        np.zeros((1000, 4), np.float32), None, labels.numpy(), inputs.numpy(), 8, 1000, seed=1
    )
    have = numba_ss.torch.sampled_softmax_loss(weights, None, labels, inputs, 8, 1000, seed=1)
    np.testing.assert_array_equal(have.detach().numpy(), want)
    with torch.no_grad():
        have = numba_ss.torch.sampled_softmax_loss(weights, None, labels, inputs, 8, 1000, seed=1)
    assert not have.requires_grad


def test_weights_that_are_computed_need_dense_gradients(rng):
    problem = Problem(rng, dtype=np.float64)
    raw = tensors(problem.weights)
    _, biases, labels, inputs, *rest, sampled = problem.arguments
    given = [torch.from_numpy(x) for x in (biases, labels, inputs)]
    sampled = list(map(torch.from_numpy, sampled))
    weights = torch.nn.functional.normalize(raw)
    losses = numba_ss.torch.sampled_softmax_loss(weights, *given, *rest, sampled, sparse=False)
    losses.sum().backward()
    grad = densify(*[
        getattr(numba_ss.sampled_softmax_loss_and_grad(
            weights.detach().numpy(), *problem.arguments[1:]), name)
        for name in ("rows", "grad_weights")
    ], 60)
    want, = torch.autograd.grad(torch.nn.functional.normalize(raw), raw, torch.from_numpy(grad))
    torch.testing.assert_close(raw.grad, want)


@pytest.mark.parametrize("name", NAMES)
def test_candidates_come_as_the_engine_s_samplers_return_them(name):
    weights, labels, inputs = torch.ones(50, 4), torch.tensor([[3], [5]]), torch.ones(2, 4)
    sampled = numba_ss.UniformSampler(50, seed=1).sample(labels, 6)
    one, given = getattr(numba_ss.torch, name), (weights, None, labels, inputs, 6, 50, 1)
    assert torch.equal(one(*given, sampled), one(*given, tensors(sampled, grad=False)))


@pytest.mark.parametrize(("change", "message"), [
    ({0: "weights"}, "weights: expected a torch.Tensor, got str"),
    ({0: torch.zeros(60, 9, dtype=torch.bfloat16)}, "weights: expected float32 or float64"),
    ({0: [torch.zeros(30, 9), torch.zeros(9, 30).T]}, r"weights\[1\]: expected a contiguous"),
    ({2: torch.full((7, 1), 60)}, "labels: expected ids in"),
    ({3: torch.full((7, 9), torch.nan)}, "inputs: expected finite numbers"),
    ({3: torch.zeros(7, 9, device="meta")}, "inputs: expected a tensor on the CPU"),
    ({7: [torch.zeros(5)]}, "sampled_values: expected"),
])
def test_bad_input(change, message, rng):
    arguments = list(Problem(rng).arguments)
    arguments = tensors(arguments[:4], grad=False) + arguments[4:7] + [None]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises(ArgumentError, match=message):
        numba_ss.torch.sampled_softmax_loss(*arguments)


def test_the_memory_of_many_losses_at_once_is_given_back():
    weights, inputs = torch.zeros(50, 4, requires_grad=True), torch.ones(3, 4)
    labels = torch.tensor([[1], [2], [3]])
    losses = [
        numba_ss.torch.sampled_softmax_loss(weights, None, labels, inputs, 8, 50, seed=i).sum()
        for i in range(5)
    ]
    sum(losses).backward()
    assert len(functional._spare) == 2
