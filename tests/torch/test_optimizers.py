"""torch/optimizers.py: touched rows against PyTorch's own optimizers, and what else they do."""

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from torch.optim.optimizer import (  # noqa: E402
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import numba_ss  # noqa: E402
from numba_ss import ArgumentError  # noqa: E402
from numba_ss.torch import RowOptimizer, SampledSoftmax  # noqa: E402

NUM_ROWS, DIM = 40, 7
THEIRS = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "adam": lambda parameters, lr: torch.optim.SparseAdam(parameters, lr=lr),
}


def make(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Embedding(NUM_ROWS, DIM, sparse=True, dtype=dtype)


def backward(table, step, times=1):
    """Leave gradients of rows below 30, among them repeated ones."""
    generator = torch.Generator().manual_seed(step)
    for _ in range(times):
        ids = torch.randint(0, 30, (12,), generator=generator)
        factors = torch.randn(12, DIM, generator=generator, dtype=table.weight.dtype)
        (table(ids) * factors).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("name", THEIRS)
def test_twenty_steps_are_those_of_pytorch_s_optimizer(name, times, dtype):
    ours, theirs = make(dtype), make(dtype)
    one = RowOptimizer(ours.parameters(), name, lr=0.1)
    other = THEIRS[name](theirs.parameters(), 0.1)
    for step in range(20):
        for table, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            backward(table, step, times)
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    start = make(dtype).weight
    assert torch.equal(ours.weight[30:], start[30:])
    assert not torch.equal(ours.weight[:30], start[:30])


def test_adagrad_is_row_wise():
    """Against the rule, one number a row, over dense gradients."""
    table = make()
    optimizer = RowOptimizer(table.parameters(), "adagrad", lr=0.1)
    weight, squares = table.weight.detach().clone(), torch.zeros(NUM_ROWS, dtype=torch.float64)
    for step in range(20):
        optimizer.zero_grad()
        backward(table, step)
        grad = table.weight.grad.to_dense()
        squares += (grad**2).mean(dim=1)
        weight -= torch.where(squares > 0, 0.1 * squares.rsqrt(), 0)[:, None] * grad
        optimizer.step()
    torch.testing.assert_close(table.weight.detach(), weight)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_dense_gradients_are_taken_too(name):
    sparse, dense = make(), make()
    for step in range(3):
        for table in (sparse, dense):
            table.zero_grad()
            backward(table, step)
        dense.weight.grad = dense.weight.grad.to_dense()
        if step == 0:
            one = RowOptimizer(sparse.parameters(), name, lr=0.1)
            other = RowOptimizer(dense.parameters(), name, lr=0.1)
        one.step()
        other.step()
    if name == "adam":  # the means of a row without a gradient fade where it is there, but 0
        assert not torch.equal(sparse.weight, dense.weight)
    else:
        torch.testing.assert_close(sparse.weight, dense.weight)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_biases_are_rows_of_one_number(name):
    bias = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    column = torch.nn.Parameter(torch.zeros(5, 1, dtype=torch.float64))
    for parameter in (bias, column):
        values = torch.tensor([3.0, -2.0], dtype=torch.float64).reshape(2, *parameter.shape[1:])
        parameter.grad = torch.sparse_coo_tensor(
            [[1, 4]], values, parameter.shape, check_invariants=True
        )
        RowOptimizer([parameter], name, lr=0.5).step()
    torch.testing.assert_close(bias, column[:, 0])
    assert bias.nonzero()[:, 0].tolist() == [1, 4]


def test_clipping_counts_sparse_gradients():
    """PyTorch's own refuses them; with this room imported it does not."""
    layer = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=0)
    body = torch.nn.Linear(DIM, DIM)
    parameters = [*body.parameters(), *layer.parameters()]
    for _ in range(2):  # accumulated, so there are repeated rows
        layer(body(torch.ones(4, DIM)), torch.arange(4)).backward()
    dense = [p.grad.to_dense().clone() for p in parameters]
    norm = math.sqrt(sum((grad**2).sum() for grad in dense))
    assert torch.nn.utils.clip_grad_norm_(parameters, norm / 4).item() == pytest.approx(norm)
    for parameter, grad in zip(parameters, dense, strict=True):
        torch.testing.assert_close(parameter.grad.to_dense(), grad / 4)
    values = layer.weight.grad.coalesce().values()
    for order in (1, torch.inf):
        have = torch.linalg.vector_norm(layer.weight.grad, order)
        torch.testing.assert_close(have, torch.linalg.vector_norm(values, order))
    with pytest.raises(NotImplementedError, match="of all its numbers"):
        torch.linalg.vector_norm(layer.weight.grad, dim=0)
    layer.zero_grad()
    layer(torch.ones(4, DIM), torch.full((4,), -100)).backward()  # touches no row
    assert torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0, torch.inf) == 0


def test_grad_scaler_skips_a_step_of_infinite_gradients():
    layer = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=0)
    optimizer = layer.optimizer("adagrad", lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    before = layer.weight.detach().clone()
    scaler.scale(layer(torch.ones(4, DIM), torch.arange(4))).backward()
    layer.weight.grad._values()[0, 0] = torch.inf
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(layer.weight, before)
    assert scaler.get_scale() == 2.0**15
    optimizer.zero_grad()
    plain = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=0)
    plain.load_state_dict(layer.state_dict())
    other = plain.optimizer("adagrad", lr=0.1)
    scaler.scale(layer(torch.ones(4, DIM), torch.arange(4))).backward()
    scaler.step(optimizer)
    plain(torch.ones(4, DIM), torch.arange(4)).backward()
    other.step()
    torch.testing.assert_close(layer.weight, plain.weight)
    assert not torch.equal(layer.weight, before)


def test_a_scheduler_changes_the_rate():
    table = make()
    optimizer = RowOptimizer(table.parameters(), "sgd", lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for step in range(3):
        optimizer.zero_grad()
        backward(table, step)
        want = table.weight.detach() - 0.5**step * table.weight.grad.to_dense()
        optimizer.step()
        scheduler.step()
        torch.testing.assert_close(table.weight.detach(), want)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("shape", [(), (4, 3, 2), (4, 3, 2, 5), (0, 3, 2)])
def test_parameters_of_any_shape_are_tables(shape, name):
    """Twenty steps are those on the same numbers as rows."""
    parameter = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    size = shape[0] if shape else 1
    rows = torch.nn.Parameter(torch.zeros(size, math.prod(shape[1:]), dtype=torch.float64))
    optimizers = [RowOptimizer([one], name, lr=0.1) for one in (parameter, rows)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        grad = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        parameter.grad, rows.grad = grad.reshape(shape), grad
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(parameter.reshape(rows.shape), rows)
    assert torch.all(parameter != 0)


def test_sparse_gradients_of_single_numbers_are_taken():
    table = torch.nn.Parameter(torch.zeros(4, 3))
    table.grad = torch.eye(4, 3).to_sparse()
    RowOptimizer([table], "sgd", lr=1.0).step()
    assert torch.equal(table, -torch.eye(4, 3))


def test_groups_have_options_of_their_own():
    layer = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=0)
    optimizer = RowOptimizer(
        [
            {"params": [layer.weight], "rule": "adagrad", "name": "sgd"},  # a label
            {"params": [layer.bias], "lr": 0.0},
        ],
        "sgd", lr=0.1,
    )
    layer(torch.ones(4, DIM), torch.arange(4)).backward()
    optimizer.step()
    assert set(optimizer.state[layer.weight]) == {"squares"}
    assert not layer.bias.any()


@pytest.mark.parametrize("of", ["one", "all"])
def test_hooks_are_called_around_a_step(of):
    table, seen = make(), []
    rows = RowOptimizer(table.parameters(), "sgd", lr=0.1)
    backward(table, 0)

    def note(optimizer, args, kwargs):
        seen.append((optimizer, table.weight._version))

    if of == "one":
        handles = rows.register_step_pre_hook(note), rows.register_step_post_hook(note)
    else:
        handles = (
            register_optimizer_step_pre_hook(note), register_optimizer_step_post_hook(note),
        )
    try:
        rows.step()
    finally:
        for handle in handles:
            handle.remove()
    rows.step()
    (before, first), (after, second) = seen
    assert before is after is rows
    assert second == first + 1


def test_a_profiler_sees_steps():
    table = make()
    rows = RowOptimizer(table.parameters(), "sgd", lr=0.1)
    backward(table, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        rows.step()
    assert any("Optimizer.step#RowOptimizer" in event.key for event in profile.key_averages())


def test_gradients_become_none_or_zeros():
    table = make()
    rows = RowOptimizer(table.parameters(), "sgd", lr=0.1)
    backward(table, 0)
    rows.zero_grad(set_to_none=False)
    assert not table.weight.grad.to_dense().any()
    rows.zero_grad()
    assert table.weight.grad is None


def test_a_closure_is_called():
    table = make()
    optimizer = RowOptimizer(table.parameters(), "sgd", lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = table(torch.tensor([3])).sum()
        loss.backward()
        return loss

    want = table.weight[3].sum().item()
    assert optimizer.step(closure).item() == want
    assert table.weight[3].sum().item() == pytest.approx(want - 0.1 * DIM)


def test_the_state_of_an_optimizer_is_saved():
    for name in ("adagrad", "adam"):
        first, second = make(), make()
        one = RowOptimizer(first.parameters(), name, lr=0.1)
        backward(first, 0)
        one.step()
        other = RowOptimizer(second.parameters(), name, lr=0.9)
        other.load_state_dict(copy.deepcopy(one.state_dict()))
        second.load_state_dict(first.state_dict())
        for table, optimizer in ((first, one), (second, other)):
            optimizer.zero_grad()
            backward(table, 1)
            optimizer.step()
        assert torch.equal(first.weight, second.weight)


def test_a_state_of_another_rule_is_refused():
    sgd, adam = (RowOptimizer(make().parameters(), name, lr=0.1) for name in ("sgd", "adam"))
    with pytest.raises(ArgumentError, match=r"\[0\]\['rule'\]: expected 'adam', got 'sgd'"):
        adam.load_state_dict(sgd.state_dict())
    assert adam.param_groups[0]["rule"] == "adam"


@pytest.mark.parametrize(("name", "kept"), [("adagrad", "squares"), ("adam", "means")])
def test_a_state_of_a_smaller_table_changes_nothing(name, kept):
    """Kernels would write beyond its end."""
    small, large = make(), torch.nn.Embedding(NUM_ROWS + 1, DIM, sparse=True, dtype=torch.float64)
    first = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    one, other = (RowOptimizer([first, t.weight], name, lr=0.1) for t in (small, large))
    for table, optimizer in ((small, one), (large, other)):
        backward(table, 0)
        first.grad = torch.ones_like(first)
        if table is small:
            optimizer.step()
    other.load_state_dict(one.state_dict())
    before = [first.detach().clone(), large.weight.detach().clone()]
    with pytest.raises(ArgumentError, match=rf"state\['{kept}'\]: .*\({NUM_ROWS + 1}"):
        other.step()
    assert torch.equal(first, before[0])
    assert torch.equal(large.weight, before[1])


def test_a_gradient_that_is_not_finite_changes_nothing():
    layer = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=0)
    for name in THEIRS:
        optimizer = layer.optimizer(name, lr=0.1)
        layer.zero_grad()
        layer(torch.ones(4, DIM), torch.arange(4)).backward()
        layer.bias.grad._values()[2] = torch.nan
        before = layer.weight.detach().clone()
        with pytest.raises(ArgumentError, match="gradient: expected finite numbers"):
            optimizer.step()
        assert torch.equal(layer.weight, before)
        assert not optimizer.state


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_gradients_whose_squares_are_too_large_change_nothing(name):
    tables = [torch.nn.Parameter(torch.zeros(4, 2)) for _ in range(2)]
    optimizer = RowOptimizer(tables, name, lr=0.1)
    values = torch.full((2, 2), 1e20)
    dense = torch.full((4, 2), 1e20)
    sparse = torch.sparse_coo_tensor([[1, 3]], values, (4, 2), check_invariants=True)
    for grad in (dense, sparse):
        tables[0].grad, tables[1].grad = torch.ones(4, 2), grad
        with pytest.raises(ArgumentError, match="a gradient: expected a sum of squares"):
            optimizer.step()
        assert not tables[0].any()
        assert not optimizer.state


def test_large_finite_gradients_are_taken():
    parameter = torch.nn.Parameter(torch.zeros(4, 2))
    parameter.grad = torch.full((4, 2), 1e38)  # their sum is not finite
    RowOptimizer([parameter], "sgd", lr=1e-38).step()
    torch.testing.assert_close(parameter.detach(), torch.full((4, 2), -1.0))


@pytest.mark.parametrize(("arguments", "message"), [
    (("rmsprop", 0.1), "rule: expected one of 'sgd', 'adagrad', 'adam'"),
    (("sgd", -0.1), "lr: expected"),
    (("sgd", math.nan), "lr: expected"),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RowOptimizer(make().parameters(), *arguments)


@pytest.mark.parametrize(("options", "message"), [
    ({"betas": (0.9, 1.0)}, r"betas\[1\]: expected a number in \[0, 1\)"),
    ({"betas": (0.9,)}, "betas: expected two numbers"),
    ({"eps": 0.0}, "eps: expected a number > 0"),
    ({"eps": 1e-60}, "eps: expected a number > 0"),
    ({"lr": math.nan}, "lr: expected"),
    ({"rule": "adagrda"}, "rule: expected one of"),
])
def test_bad_options(options, message):
    """For all groups, for one, in a state, and set afterwards: nothing is changed."""
    sound = {"rule": "adam", "lr": 0.1}
    with pytest.raises(ArgumentError, match=message):
        RowOptimizer(make().parameters(), **(sound | options))
    first, second = make(), make()
    optimizer = RowOptimizer(first.parameters(), **sound)
    with pytest.raises(ArgumentError, match=message):
        optimizer.add_param_group({"params": second.parameters(), **options})
    assert len(optimizer.param_groups) == 1
    if "rule" not in options:
        state = optimizer.state_dict()
        state["param_groups"][0] |= options
        with pytest.raises(ArgumentError, match=message):
            optimizer.load_state_dict(state)
    optimizer.add_param_group({"params": second.parameters()})
    optimizer.param_groups[1] |= options
    before = first.weight.detach().clone()
    for table in (first, second):
        backward(table, 0)
    with pytest.raises(ArgumentError, match=message):
        optimizer.step()
    assert torch.equal(first.weight, before)
    assert not optimizer.state


# PyTorch's own, once in a process: its Adagrad makes a sparse tensor without saying how.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", ["SGD", "SparseAdam", "Adagrad"])
def test_pytorch_s_optimizers_take_the_layer_s_gradients(name):
    """Twenty steps, against the same with the gradients made dense, on the touched rows."""
    sparse, dense = (
        SampledSoftmax(DIM, 100, num_sampled=9, seed=0, dtype=torch.float64, sparse=kind)
        for kind in (True, False)
    )
    dense.load_state_dict(sparse.state_dict())
    kind = getattr(torch.optim, name)
    one = kind(sparse.parameters(), lr=0.1)
    # Of rows without a gradient SparseAdam keeps the means, so Adam is not its dense form.
    other = None if name == "SparseAdam" else kind(dense.parameters(), lr=0.1)
    rule = RowOptimizer(dense.parameters(), "adam", lr=0.1) if other is None else other
    touched = set()
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(6, DIM, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 30, (6,), generator=generator)
        for layer, optimizer in ((sparse, one), (dense, rule)):
            optimizer.zero_grad()
            layer(inputs, labels).backward()
        touched |= set(sparse.weight.grad._indices()[0].tolist())
        if other is None:
            for parameter, like in zip(dense.parameters(), sparse.parameters(), strict=True):
                ids = like.grad.coalesce().indices()[0]
                parameter.grad = torch.sparse_coo_tensor(
                    ids[None], parameter.grad[ids], parameter.shape, check_invariants=True
                )
        one.step()
        rule.step()
    rows = sorted(touched)
    torch.testing.assert_close(sparse.weight[rows], dense.weight[rows])
    torch.testing.assert_close(sparse.bias, dense.bias)


@pytest.mark.parametrize("inputs", ["given", "table", "tied"])
def test_adam_of_the_engine_is_pytorch_s_sparse_adam(inputs):
    """Twenty steps of the engine's layer, and of this one by PyTorch's optimizer."""
    torch.manual_seed(0)
    layer = SampledSoftmax(DIM, NUM_ROWS, num_sampled=9, seed=3)
    table = torch.nn.Embedding(NUM_ROWS, DIM, sparse=True)
    if inputs == "tied":
        table.weight = layer.weight
    engine = numba_ss.SampledSoftmax(
        NUM_ROWS, DIM, 9, seed=3, optimizer="adam", learning_rate=0.01,
        weights=layer.weight.detach().numpy().copy(), biases=layer.bias.detach().numpy().copy(),
    )
    rows = engine.weights if inputs == "tied" else table.weight.detach().numpy().copy()
    parameters = {*layer.parameters(), *(table.parameters() if inputs != "given" else ())}
    optimizer = torch.optim.SparseAdam(list(parameters), lr=0.01)
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        ids, labels = torch.randint(0, 30, (2, 12), generator=generator)
        optimizer.zero_grad()
        hidden = table(ids)
        loss = layer(hidden.detach() if inputs == "given" else hidden, labels)
        loss.backward()
        optimizer.step()
        if inputs == "given":
            have, _ = engine.step(rows[ids], labels[:, None].numpy())
        else:
            have = engine.step_rows(rows, ids.numpy(), labels[:, None].numpy())
        assert have == pytest.approx(loss.item(), rel=1e-4)
    for array, tensor in ((engine.weights, layer.weight), (engine.biases, layer.bias), (rows, table.weight)):
        torch.testing.assert_close(torch.from_numpy(array), tensor.detach(), rtol=0, atol=1e-4)
