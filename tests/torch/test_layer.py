"""torch/layer.py: the layer in other people's models, against a dense one in plain PyTorch."""

import copy
import io
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

import numba_ss  # noqa: E402
from numba_ss import ArgumentError  # noqa: E402
from numba_ss.torch import SampledSoftmax, autograd  # noqa: E402
from tests.conftest import needs_jit  # noqa: E402
from tests.torch import dense  # noqa: E402

LOSSES = ["sampled_softmax", "nce", "sampled_logistic", "negative_sampling"]
NUM_CLASSES, DIM, NUM_SAMPLED = 60, 9, 11


def make(dtype=torch.float64, **options):
    """Return a small layer with biases that are not zeros."""
    torch.manual_seed(1)
    arguments = {"num_sampled": NUM_SAMPLED, "seed": 3, "dtype": dtype} | options
    layer = SampledSoftmax(DIM, NUM_CLASSES, **arguments)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


def batch(shape=(7,), num_true=None, absent=0.0, dtype=torch.float64):
    """Return hidden states and labels."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(*shape, DIM, generator=generator, dtype=dtype, requires_grad=True)
    label_shape = shape if num_true is None else (*shape, num_true)
    # Small ids: among them are accidental hits, and several of one class.
    labels = torch.randint(0, 20, label_shape, generator=generator)
    labels[torch.rand(label_shape, generator=generator) < absent] = -100
    return inputs, labels


def flat(layer, labels):
    """Return labels as the engine has them, (batch_size, num_true), -1 where absent."""
    labels = labels.reshape(-1, layer.num_true)
    return torch.where(labels == layer.ignore_index, -1, labels)


def expected(layer, inputs, labels, sample_weight=None):
    """Return what the next call should, differentiable in the layer's own parameters."""
    y = flat(layer, labels)
    # Only examples that have a label are drawn for.
    some = (y >= 0).any(dim=1)
    candidates, true_count, sampled_count = dense.next_candidates(layer, y[some])
    counts = torch.ones(y.shape, dtype=true_count.dtype)
    counts[some] = true_count
    h, weight = inputs.reshape(-1, DIM).to(layer.weight.dtype), layer.weight
    if layer.normalize:
        h, weight = torch.nn.functional.normalize(h), torch.nn.functional.normalize(weight)
    h = h / layer.temperature
    values = dense.losses(
        weight, layer.bias, h, y, (candidates, counts, sampled_count), layer.loss,
        layer._remove_hits, layer._subtract_log_q,
    )
    weight = None if sample_weight is None else sample_weight.reshape(-1)
    result = dense.reduced(values, y, layer.reduction, weight)
    return result.reshape(inputs.shape[:-1]) if layer.reduction == "none" else result


def gradients(loss, layer, *others):
    """Return dense gradients of the sum of cubes, an upstream gradient that is not even."""
    tensors = [p for p in (layer.weight, layer.bias, *others) if p is not None and p.requires_grad]
    grads = torch.autograd.grad((loss**3).sum(), tensors)
    return [g.to_dense() if g.is_sparse else g for g in grads]


FORMS = {
    "one label": {},
    "one label in a column": {"num_true": 1},
    "several, with padding": {"num_true": 3, "absent": 0.4},
    "time steps, with padding": {"shape": (4, 5), "absent": 0.3},
    "time steps and several": {"shape": (2, 3), "num_true": 2, "absent": 0.4},
    "a single example": {"shape": ()},
    "nothing but padding": {"absent": 1.0},
    "no examples": {"shape": (0,)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_are_those_of_a_dense_layer(loss, reduction, form):
    inputs, labels = batch(**FORMS[form])
    layer = make(loss=loss, reduction=reduction, num_true=FORMS[form].get("num_true", 1))
    want = expected(layer, inputs, labels)
    have = layer(inputs, labels)
    assert have.dtype == torch.float64
    torch.testing.assert_close(have, want)
    wanted = gradients(want, layer, inputs)
    for grad, right in zip(gradients(have, layer, inputs), wanted, strict=True):
        torch.testing.assert_close(grad, right)


@pytest.mark.parametrize("options", [
    {"remove_accidental_hits": False}, {"subtract_log_q": False}, {"bias": False},
    {"temperature": 0.2}, {"sampler": "uniform"}, {"sampler": "learned_unigram"},
    {"sampler": "in_batch", "num_sampled": None}, {"sampler": "mixed"},
    {"sampler": "all", "num_sampled": NUM_CLASSES}, {"ignore_index": 3}, {"sparse": False},
    {"normalize": True, "temperature": 0.1}, {"normalize": True, "loss": "nce", "bias": False},
], ids=str)
def test_options_are_those_of_the_engine(options):
    layer = make(**options)
    inputs, labels = batch((12,))
    for _ in range(2):  # the samplers that learn have learned something
        want = expected(layer, inputs, labels)
        have = layer(inputs, labels)
        torch.testing.assert_close(have, want)
        grads = gradients(have, layer, inputs)
        for grad, right in zip(grads, gradients(want, layer, inputs), strict=True):
            torch.testing.assert_close(grad, right)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("sampler", ["uniform", "in_batch"])
def test_nothing_but_padding_is_nothing_to_learn(sampler, normalize):
    number = None if sampler == "in_batch" else 9
    layer = make(sampler=sampler, num_sampled=number, normalize=normalize)
    optimizer = layer.optimizer("adam", lr=0.1)
    inputs, labels = batch()
    for absent in (False, True):
        before, state = layer.weight.detach().clone(), layer.state_dict()["_extra_state"]
        optimizer.zero_grad()
        layer(inputs, torch.full_like(labels, -100) if absent else labels).backward()
        optimizer.step()
        assert torch.equal(layer.weight, before) == absent
        assert torch.equal(layer.state_dict()["_extra_state"], state) == absent


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_examples_have_weights(reduction):
    layer = make(reduction=reduction)
    inputs, labels = batch((4, 5), absent=0.3)
    weight = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
    want = expected(layer, inputs, labels, weight)
    have = layer(inputs, labels, weight)
    torch.testing.assert_close(have, want)
    wanted = gradients(want, layer, inputs, weight)
    for grad, right in zip(gradients(have, layer, inputs, weight), wanted, strict=True):
        torch.testing.assert_close(grad, right)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("loss", "normalize"), [
    *((loss, False) for loss in LOSSES), ("sampled_softmax", True), ("nce", True),
])
def test_gradcheck(loss, normalize, training):
    layer = make(loss=loss, num_true=2, reduction="none", sparse=False, normalize=normalize)
    layer.train(training)
    inputs, labels = batch((3,), num_true=2)
    state = layer.get_extra_state()

    def function(weight, bias, hidden):
        layer.set_extra_state(state)  # the same candidates each time
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (hidden, labels))

    assert torch.autograd.gradcheck(function, (layer.weight, layer.bias, inputs))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_numbers_are_the_engine_s_bit_for_bit(reduction):
    inputs, labels = batch((33,), dtype=torch.float32)
    layer = make(torch.float32, reduction=reduction)
    engine = numba_ss.SampledSoftmax(
        NUM_CLASSES, DIM, NUM_SAMPLED, seed=3, reduction=reduction, learning_rate=0.5,
        weights=layer.weight.detach().clone().numpy(), biases=layer.bias.detach().clone().numpy(),
    )
    optimizer = layer.optimizer("sgd", lr=0.5)
    for _ in range(3):
        loss, grad_inputs = engine.step(inputs.detach().numpy(), labels[:, None].numpy())
        inputs.grad = None
        optimizer.zero_grad()
        have = layer(inputs, labels)
        have.sum().backward()
        optimizer.step()
        np.testing.assert_array_equal(have.detach().numpy(), np.float32(loss))
        np.testing.assert_array_equal(inputs.grad.numpy(), grad_inputs)
        np.testing.assert_array_equal(layer.weight.detach(), engine.weights)
        np.testing.assert_array_equal(layer.bias.detach(), engine.biases)


def test_candidates_are_those_of_the_engine_s_sampler():
    layer = make(seed=11)
    labels = torch.tensor([[3], [5]])
    want = numba_ss.LogUniformSampler(NUM_CLASSES, seed=11).sample(labels.numpy(), NUM_SAMPLED)
    have = dense.next_candidates(layer, labels)
    np.testing.assert_array_equal(have[0], want.sampled_candidates)


@pytest.mark.parametrize("loss", LOSSES)
def test_evaluation_is_exact(loss):
    layer = make(loss=loss, reduction="none").eval()
    inputs, labels = batch((2, 6), absent=0.3)
    logits = inputs @ layer.weight.T + layer.bias
    flat_logits, y = logits.reshape(12, -1), labels.reshape(-1)
    if loss == "sampled_softmax":
        want = torch.nn.functional.cross_entropy(flat_logits, y, reduction="none")
    else:
        target = torch.nn.functional.one_hot(y.clamp(min=0), NUM_CLASSES).to(flat_logits)
        want = torch.nn.functional.binary_cross_entropy_with_logits(
            flat_logits, target, reduction="none"
        ).sum(dim=1) * (y >= 0)
    want = want.reshape(2, 6)
    have = layer(inputs, labels)
    torch.testing.assert_close(have, want)
    wanted = gradients(want, layer, inputs)
    for grad, right in zip(gradients(have, layer, inputs), wanted, strict=True):
        torch.testing.assert_close(grad, right)
    some = labels != -100
    assert layer.evaluate(inputs, labels) == pytest.approx(want[some].mean().item())
    log_prob = logits.log_softmax(dim=-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(layer.log_prob(inputs, labels), log_prob.detach() * some)
    best = layer.topk(inputs, 4)
    torch.testing.assert_close(best.values, logits.topk(4).values.detach())
    torch.testing.assert_close(best.indices, logits.topk(4).indices)


def test_log_prob_of_several_labels():
    layer = make(num_true=3)
    inputs, labels = batch((5,), num_true=3, absent=0.3)
    want = (inputs @ layer.weight.T + layer.bias).log_softmax(dim=1).detach()
    have = layer.log_prob(inputs, labels)
    torch.testing.assert_close(have, want.gather(1, labels.clamp(min=0)) * (labels >= 0))


def test_temperature_is_for_queries_too():
    layer = make(temperature=0.5).eval()
    inputs, labels = batch()
    logits = 2 * inputs @ layer.weight.T + layer.bias
    torch.testing.assert_close(layer(inputs, labels), torch.nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(layer.topk(inputs, 3).values, logits.topk(3).values.detach())


def test_logits_are_cosines():
    layer = make(normalize=True, temperature=0.5).eval()
    inputs, labels = batch()
    cosines = torch.nn.functional.cosine_similarity(inputs[:, None], layer.weight, dim=2)
    logits = 2 * cosines + layer.bias
    want = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(layer(inputs, labels), want)
    assert layer.evaluate(inputs, labels) == pytest.approx(want.item())
    torch.testing.assert_close(layer.topk(inputs, 3).values, logits.topk(3).values.detach())
    log_prob = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0].detach()
    torch.testing.assert_close(layer.log_prob(inputs, labels), log_prob)


def test_a_row_of_zeros_has_no_direction():
    layer = make(normalize=True, reduction="none")
    with torch.no_grad():
        layer.weight[:] = 0
    inputs, labels = batch()
    want = expected(layer, inputs, labels)
    torch.testing.assert_close(layer(inputs, labels), want)


def test_gradients_are_sparse_with_a_row_for_each_use():
    """As those of `nn.Embedding`; and the memory is not copied on its way to `grad`."""
    layer = make()
    inputs, labels = batch()
    candidates, _, _ = dense.next_candidates(layer, labels[:, None])
    uses = torch.cat([labels, candidates])
    for parameter, grad in zip(
        layer.parameters(),
        torch.autograd.grad(layer(inputs, labels), [layer.weight, layer.bias]), strict=True,
    ):
        assert not grad.is_coalesced()
        assert grad.shape == parameter.shape
        assert torch.equal(grad._indices()[0], uses)


def test_the_memory_of_gradients_is_not_copied(monkeypatch):
    seen = []

    def table_gradient(*given, make=autograd.table_gradient):
        seen.append(make(*given))
        return torch.sparse_coo_tensor(
            seen[-1]._indices().detach(), seen[-1]._values().detach(), seen[-1].shape,
            check_invariants=False,
        )

    layer = make()
    layer(*batch()).backward()  # a step that compiles holds references, for which PyTorch copies
    layer.zero_grad()
    monkeypatch.setattr(autograd, "table_gradient", table_gradient)
    layer(*batch()).backward()
    for parameter, grad in zip(layer.parameters(), seen, strict=True):
        assert parameter.grad._values().data_ptr() == grad._values().data_ptr()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_hidden_states_are_computed_in_float32(half):
    layer, other = make(torch.float32), make(torch.float32)
    inputs, labels = batch(dtype=torch.float32)
    short = inputs.detach().to(half).requires_grad_()
    full = short.detach().float().requires_grad_()
    have, want = layer(short, labels), other(full, labels)
    assert have.dtype == torch.float32
    torch.testing.assert_close(have, want, rtol=0, atol=0)
    have.backward()
    want.backward()
    assert short.grad.dtype == half
    torch.testing.assert_close(short.grad, full.grad.to(half), rtol=0, atol=0)


def test_autocast():
    model = torch.nn.Sequential(torch.nn.Linear(DIM, DIM)).float()
    layer = make(torch.float32)
    inputs, labels = batch(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(inputs)
        assert hidden.dtype == torch.bfloat16
        loss = layer(hidden, labels)
    assert loss.dtype == torch.float32
    loss.backward()
    assert model[0].weight.grad.abs().sum() > 0


def test_nothing_is_drawn_where_no_gradient_is_asked_for():
    layer = make()
    inputs, labels = batch()
    before = layer.get_extra_state()
    with torch.no_grad():
        first = layer(inputs, labels)
    with torch.inference_mode():
        second = layer(inputs, labels)
    assert not first.requires_grad
    torch.testing.assert_close(layer.get_extra_state(), before)
    # By the candidates that the next step will draw: as in recomputation by checkpoints.
    third = layer(inputs, labels)
    assert first == second == third
    assert not torch.equal(layer.get_extra_state(), before)
    layer.eval()(inputs, labels)
    layer.evaluate(inputs, labels)
    after = layer.get_extra_state()
    layer.topk(inputs, 2), layer.log_prob(inputs, labels)
    torch.testing.assert_close(layer.get_extra_state(), after)


def test_recomputation_by_checkpoints_draws_the_same_candidates():
    from torch.utils.checkpoint import checkpoint

    plain, saving = make(), make()
    inputs, labels = batch()
    for _ in range(3):
        want, have = plain(inputs, labels), checkpoint(saving, inputs, labels, use_reentrant=True)
        assert want == have
        want.backward()
        have.backward()
    torch.testing.assert_close(saving.weight.grad.to_dense(), plain.weight.grad.to_dense())


def test_several_batches_at_once():
    """Each has its candidates and buffers from its forward to its backward pass."""
    apart, together = make(), make()
    batches = [(torch.randn(n, DIM, dtype=torch.float64), torch.randint(0, 20, (n,))) for n in (5, 8, 3)]
    for inputs, labels in batches:
        apart(inputs, labels).backward()
    losses = [together(inputs, labels) for inputs, labels in batches]
    del losses[0]  # a graph that is dropped is no matter
    together.zero_grad()
    sum(losses).backward()
    apart.zero_grad()
    again = make()
    for i, (inputs, labels) in enumerate(batches):
        loss = again(inputs, labels)
        if i:
            loss.backward()
    torch.testing.assert_close(together.weight.grad.to_dense(), again.weight.grad.to_dense())
    assert len(together._spare) <= 3


def test_accumulation_adds_up():
    layer = make()
    inputs, labels = batch((8,))
    want = torch.zeros(NUM_CLASSES, DIM, dtype=torch.float64)
    for part in (slice(0, 3), slice(3, 8)):
        want += torch.autograd.grad(expected(layer, inputs[part], labels[part]), layer.weight)[0]
        layer(inputs[part], labels[part]).backward()
    torch.testing.assert_close(layer.weight.grad.to_dense(), want)


def test_backward_twice_is_what_pytorch_says():
    layer = make()
    inputs, labels = batch()
    loss = layer(inputs, labels)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    loss = layer(inputs, labels)
    grads = [torch.autograd.grad(loss, inputs, retain_graph=True)[0] for _ in range(3)]
    other = layer(inputs, labels)  # takes the workspace in between
    grads.append(torch.autograd.grad(loss, inputs)[0])
    other.backward()
    for grad in grads[1:]:
        torch.testing.assert_close(grad, grads[0], rtol=0, atol=0)


def test_gradients_of_gradients_are_refused():
    layer = make()
    inputs, labels = batch()
    grad, = torch.autograd.grad(layer(inputs, labels) ** 2, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weights_that_change_between_forward_and_backward_are_an_error(name):
    layer = make()
    inputs, labels = batch()
    loss = layer(inputs, labels)
    with torch.no_grad():
        getattr(layer, name).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_an_update_by_the_layer_s_optimizer_is_such_a_change():
    layer = make()
    inputs, labels = batch()
    optimizer = layer.optimizer("sgd", lr=0.1)
    loss = layer(inputs, labels)
    layer(inputs, labels).backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_frozen_parameters_get_no_gradient():
    layer = make()
    layer.weight.requires_grad_(False)
    inputs, labels = batch()
    layer(inputs, labels).backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    assert inputs.grad is not None
    layer.requires_grad_(False)
    assert not layer(inputs.detach(), labels).requires_grad


def test_tied_embeddings_add_both_gradients():
    for sparse in (True, False):
        layer = make()
        embedding = torch.nn.Embedding(NUM_CLASSES, DIM, sparse=sparse, dtype=torch.float64)
        layer.weight = embedding.weight
        ids, labels = torch.tensor([3, 7, 3]), torch.tensor([7, 5, 1])
        want = torch.autograd.grad(expected(layer, embedding(ids), labels), layer.weight)[0]
        layer(embedding(ids), labels).backward()
        torch.testing.assert_close(embedding.weight.grad.to_dense(), want.to_dense())


@pytest.mark.parametrize("freeze", [True, False])
def test_a_layer_of_pretrained_embeddings_shares_their_memory(freeze):
    table = torch.randn(NUM_CLASSES, DIM, dtype=torch.float64)
    layer = SampledSoftmax.from_pretrained(table, NUM_SAMPLED, freeze=freeze, seed=3)
    assert layer.weight.data_ptr() == table.data_ptr()
    before, (inputs, labels) = table.clone(), batch()
    want = expected(layer, inputs, labels)
    torch.testing.assert_close(layer(inputs, labels), want)
    layer(inputs, labels).backward()
    layer.optimizer("sgd", lr=1.0).step()
    assert torch.equal(table, before) == freeze
    assert layer.bias.abs().sum() > 0
    plain = SampledSoftmax.from_pretrained(table, NUM_SAMPLED, bias=False, loss="nce")
    assert (plain.bias, plain.loss, plain.weight.requires_grad) == (None, "nce", False)


@pytest.mark.parametrize(("table", "message"), [
    ([[1.0]], "embeddings: expected a torch.Tensor, got list"),
    (torch.ones(3), r"embeddings: expected shape \(num_classes, dim\), got shape \(3,\)"),
    (torch.ones(3, 2, dtype=torch.int64), "embeddings: expected float32 or float64"),
])
def test_embeddings_that_cannot_be_a_layer_s(table, message):
    with pytest.raises(ArgumentError, match=message):
        SampledSoftmax.from_pretrained(table, 2)


def test_copies_train_themselves():
    layer = make()
    inputs, labels = batch()
    layer(inputs, labels)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        optimizer = other.optimizer("sgd", lr=0.5)
        before = layer.weight.detach().clone()
        want = expected(layer, inputs, labels)
        loss = other(inputs, labels)
        torch.testing.assert_close(loss, want)  # at the same place of the stream
        loss.backward()
        optimizer.step()
        assert not torch.equal(other.weight, layer.weight)
        torch.testing.assert_close(layer.weight.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["assign", "float", "to_empty", "new parameter"])
def test_the_memory_that_is_trained_is_the_parameter_s_own(change):
    layer = make()
    inputs, labels = batch()
    layer(inputs, labels)
    if change == "assign":
        layer.load_state_dict(copy.deepcopy(layer.state_dict()), assign=True)
    elif change == "float":
        layer, inputs = layer.float(), inputs.detach().float()
    elif change == "to_empty":
        layer.to_empty(device="cpu")
        layer.reset_parameters()
    else:
        layer.weight = torch.nn.Parameter(torch.ones(NUM_CLASSES, DIM, dtype=torch.float64))
    memory, before = layer.weight.data_ptr(), layer.weight.detach().clone()
    optimizer = layer.optimizer("sgd", lr=0.5)
    layer(inputs, labels).backward()
    optimizer.step()
    assert layer.weight.data_ptr() == memory
    assert not torch.equal(layer.weight, before)


def test_state_is_saved_and_resumed_with_the_same_bits():
    def train(layer, optimizer, steps):
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            optimizer.zero_grad()
            inputs = torch.randn(16, DIM, generator=generator)
            layer(inputs, torch.randint(0, 50, (16,), generator=generator)).backward()
            optimizer.step()

    for sampler in ("log_uniform", "learned_unigram", "mixed"):
        first = make(torch.float32, sampler=sampler)
        optimizer = first.optimizer("adam", lr=0.1)
        train(first, optimizer, range(3))
        file = io.BytesIO()
        torch.save({"layer": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
        train(first, optimizer, range(3, 6))
        file.seek(0)
        state = torch.load(file, weights_only=True)  # no pickled code
        second = make(torch.float32, sampler=sampler, seed=99)
        second.load_state_dict(state["layer"])
        again = second.optimizer("adam", lr=0.7)
        again.load_state_dict(state["optimizer"])
        train(second, again, range(3, 6))
        torch.testing.assert_close(second.weight, first.weight, rtol=0, atol=0)
        torch.testing.assert_close(second.bias, first.bias, rtol=0, atol=0)


def test_the_state_of_another_sampler_is_named():
    with pytest.raises(ArgumentError, match=r"expected 'UniformSampler', got 'LogUniformSampler'$"):
        make(sampler="uniform").load_state_dict(make().state_dict())


def test_a_state_dict_copies_no_table():
    layer = make()
    state = layer.state_dict()
    assert state["weight"].data_ptr() == layer.weight.data_ptr()
    assert all(isinstance(value, torch.Tensor) for value in state.values())


@needs_jit
def test_a_planted_answer_is_learned():
    """The labels depend on the inputs by a table that training is to find."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(200, 16), torch.nn.Linear(16, 16), torch.nn.Tanh())
    layer = SampledSoftmax(16, 200, num_sampled=30, sampler="uniform", seed=1)
    answer = torch.randperm(200)
    body = torch.optim.Adam(model.parameters(), lr=0.01)
    rows = layer.optimizer("adam", lr=0.02)
    for _ in range(300):
        x = torch.randint(0, 200, (128,))
        body.zero_grad()
        rows.zero_grad()
        layer(model(x), answer[x]).backward()
        body.step()
        rows.step()
    best = layer.topk(model(torch.arange(200)), 1).indices[:, 0]
    assert (best == answer).double().mean() > 0.98


def test_seeds_come_from_pytorch_s_generator():
    def weights_and_candidates():
        layer = SampledSoftmax(DIM, NUM_CLASSES, NUM_SAMPLED)
        return layer.weight, dense.next_candidates(layer, torch.tensor([[1]]))[0]

    torch.manual_seed(4)
    first, second = weights_and_candidates(), weights_and_candidates()
    torch.manual_seed(4)
    again = weights_and_candidates()
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, second))


BAD = {
    "labels beyond": ("labels: expected ids in \\[0, num_classes\\)", lambda h, y: (h, y + 50)),
    "a label of -1": ("labels: expected ids in", lambda h, y: (h, y * 0 - 1)),
    "labels that are floats": ("labels: expected integers", lambda h, y: (h, y.double())),
    "too few labels": ("labels: expected shape", lambda h, y: (h, y[1:])),
    "too many labels": ("labels: expected shape", lambda h, y: (h, y[:, None].expand(-1, 2))),
    "no tensor": ("labels: expected a torch.Tensor, got list", lambda h, y: (h, y.tolist())),
    "another dim": ("inputs: expected shape \\(..., dim\\)", lambda h, y: (h[:, 1:], y)),
    "another type": ("inputs: expected torch.float64", lambda h, y: (h.float(), y)),
    "NaN": ("inputs: expected finite numbers, got nan at inputs\\[0, 2\\]", lambda h, y: (
        h.detach().index_fill(1, torch.tensor([2]), torch.nan), y)),
    "infinity": ("inputs: expected finite numbers, got inf", lambda h, y: (h / 0, y)),
    "meta": ("inputs: expected a tensor on the CPU", lambda h, y: (h.to("meta"), y)),
    "meta labels": ("labels: expected a tensor on the CPU", lambda h, y: (h, y.to("meta"))),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_names_the_argument_and_changes_nothing(case, training):
    layer = make().train(training)
    message, change = BAD[case]
    before = layer.get_extra_state()
    with pytest.raises(ArgumentError, match=message):
        layer(*change(*batch()))
    torch.testing.assert_close(layer.get_extra_state(), before)


def test_a_label_that_the_sampler_never_draws_is_named():
    layer = make(sampler=numba_ss.UniformSampler(NUM_CLASSES, seed=1, exclude_ids=[4]))
    inputs, labels = batch()
    with pytest.raises(ArgumentError, match=r"true_expected_count: .*class 4"):
        layer(inputs, torch.full_like(labels, 4))


def test_a_nan_behind_padding_is_no_matter():
    layer = make()
    inputs, labels = batch()
    labels[2] = -100
    broken = inputs.detach().clone()
    broken[2] = torch.nan
    want = expected(layer, inputs, labels)
    torch.testing.assert_close(layer(broken, labels), want)
    torch.testing.assert_close(layer.log_prob(broken, labels), layer.log_prob(inputs, labels))


@pytest.mark.parametrize(("place", "size", "message"), [
    ("inputs", torch.nan, r"inputs: .*nan at inputs\[2, 0\]"),
    ("weight", torch.inf, r"weight: .*inf at weight\[2, 0\]"),
    ("inputs", 1e308, "logits that the type can hold"),
])
def test_a_log_prob_that_is_none_is_refused(place, size, message):
    layer = make()
    inputs, labels = batch()
    inputs = inputs.detach().clone()
    (inputs if place == "inputs" else layer.weight.detach())[2, 0] = size
    layer.weight.detach()[:, 0] *= 100
    labels[0] = -100
    with pytest.raises(ArgumentError, match=message):
        layer.log_prob(inputs, labels)


def test_the_log_prob_of_a_class_left_out_is_minus_infinity():
    layer = make(num_true=2)
    inputs, labels = batch(num_true=2)
    labels[0, 1] = 3
    layer.bias.detach()[3] = -torch.inf
    assert layer.log_prob(inputs, labels)[0, 1] == -torch.inf


@pytest.mark.parametrize(("change", "message"), [
    (lambda layer: layer.to("meta"), "weight: expected a tensor on the CPU"),
    (lambda layer: layer.bfloat16(), "inputs: expected torch.bfloat16|weight: expected float32"),
    (lambda layer: setattr(layer, "weight", torch.nn.Parameter(layer.weight.detach().T.contiguous().T)),
     "weight: expected a contiguous tensor"),
    (lambda layer: setattr(layer, "weight", torch.nn.Parameter(layer.weight.detach()[1:])),
     "weight: expected shape"),
    (lambda layer: torch.nn.init.constant_(layer.weight, torch.nan), "weight: expected finite"),
])
def test_parameters_that_cannot_be_used(change, message):
    layer = make()
    change(layer)
    with pytest.raises(ArgumentError, match=message):
        layer(*batch())


def test_a_view_of_a_larger_table_is_trained_in_place():
    layer = make()
    table = torch.randn(100, DIM, dtype=torch.float64)
    layer.weight = torch.nn.Parameter(table[10 : 10 + NUM_CLASSES])
    optimizer, before = layer.optimizer("sgd", lr=1.0), table.clone()
    layer(*batch()).backward()
    optimizer.step()
    changed = (table != before).any(dim=1).nonzero()[:, 0]
    assert changed.min() >= 10
    assert changed.max() < 70


@pytest.mark.parametrize(("options", "message"), [
    ({"num_sampled": 0}, "num_sampled: expected at least 1"),
    ({"num_sampled": 61}, "num_sampled: expected at most"),
    ({"num_sampled": None}, "num_sampled: expected an integer"),
    ({"sampler": "in_batch"}, "num_sampled: expected None"),
    ({"sampler": numba_ss.UniformSampler(9)}, "sampler: expected range_max"),
    ({"loss": "softmax"}, "loss: expected one of"),
    ({"temperature": 0}, "temperature: expected"),
    ({"reduction": "max"}, "reduction: expected one of"),
    ({"ignore_index": "x"}, "ignore_index: expected an integer"),
    ({"seed": 1.5}, "seed: expected an integer"),
    ({"bias": "no"}, "bias: expected True or False, got 'no'"),
])
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        make(**options)


def test_weights_of_examples_are_a_tensor():
    inputs, labels = batch()
    with pytest.raises(ArgumentError, match=r"sample_weight: expected a torch\.Tensor, got list"):
        make()(inputs, labels, [1.0] * 7)


def test_representation():
    text = repr(torch.nn.Sequential(make()))
    assert "SampledSoftmax(dim=9, num_classes=60, num_sampled=11, loss='sampled_softmax'" in text


def test_a_meta_device_needs_no_memory():
    with torch.device("meta"):
        layer = SampledSoftmax(128, 10**9, num_sampled=5)
    assert layer.weight.is_meta


@needs_jit
def test_torch_compile_breaks_the_graph_and_returns_the_same():
    script = """
import torch
from numba_ss.torch import SampledSoftmax
assert "torch._dynamo" not in __import__("sys").modules
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.out = torch.nn.Linear(9, 9), SampledSoftmax(9, 60, 11, seed=3)
    def forward(self, x, y):
        return 2 * self.out(self.body(x).relu(), y) + 1
x, y = torch.randn(7, 9), torch.randint(0, 60, (7,))
plain, other = Model(), Model()
compiled = torch.compile(other, backend="eager")
for _ in range(3):
    want, have = plain(x, y), compiled(x, y)
    assert torch.equal(want, have), (want, have)
    want.backward(), have.backward()
for a, b in zip(plain.parameters(), other.parameters()):
    assert torch.equal(a.grad.to_dense(), b.grad.to_dense())
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@needs_jit
def test_the_bits_are_the_same_for_any_number_of_threads():
    before, results = torch.get_num_threads(), []
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(256, 64, generator=generator)
    labels = torch.randint(0, 2000, (256,), generator=generator)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            layer = SampledSoftmax(64, 2000, num_sampled=300, seed=1)
            optimizer = layer.optimizer("adagrad", lr=0.1)
            for _ in range(3):
                optimizer.zero_grad()
                layer(inputs, labels).backward()
                optimizer.step()
            results.append((layer.weight.detach().clone(), layer.evaluate(inputs, labels)))
    finally:
        torch.set_num_threads(before)
    for weight, loss in results[1:]:
        assert torch.equal(weight, results[0][0])
        assert loss == results[0][1]


@needs_jit
def test_threads_share_a_layer():
    """Each call is right, in whatever order they come."""
    layer, errors = make(sampler="all", num_sampled=NUM_CLASSES), []
    cases = [(torch.randn(n, DIM, dtype=torch.float64), torch.randint(0, 60, (n,))) for n in range(3, 9)]
    wants = [torch.autograd.grad(expected(layer, *case), layer.bias)[0] for case in cases]

    def work(case, want):
        for _ in range(20):
            grad, = torch.autograd.grad(layer(*case), layer.bias)
            if not torch.allclose(grad.to_dense(), want):
                errors.append(case)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(cases, wants, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return torch.full((DIM,), i / 40, dtype=torch.float64), i


@needs_jit
def test_workers_of_a_data_loader():
    layer = make()
    optimizer = layer.optimizer("sgd", lr=0.1)
    loader = torch.utils.data.DataLoader(Words(), batch_size=8, num_workers=2)
    losses = []
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = layer(inputs, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == 5
    assert np.isfinite(losses).all()


DISTRIBUTED = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from numba_ss.torch import SampledSoftmax
rank, port = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
torch.manual_seed(0)
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = torch.nn.Linear(9, 9), SampledSoftmax(9, 60, 11, seed=3)
    def forward(self, x, y):
        return self.out(self.body(x), y)
model = Model()
parallel = DistributedDataParallel(model)
optimizer = model.out.optimizer("sgd", lr=0.1)
x = torch.randn(2, 7, 9)[rank]
y = torch.randint(0, 60, (2, 7))[rank]
own = Model()
own.load_state_dict(model.state_dict())
own(x, y).backward()
mine = own.out.weight.grad.to_dense()
both = [torch.zeros_like(mine) for _ in range(2)]
dist.all_gather(both, mine)
assert not torch.equal(both[0] != 0, both[1] != 0)  # other labels, and other candidates
optimizer.zero_grad()
parallel(x, y).backward()
mean = (both[0] + both[1]) / 2
torch.testing.assert_close(model.out.weight.grad.to_dense(), mean)
optimizer.step()
weights = [torch.zeros(60, 9) for _ in range(2)]
dist.all_gather(weights, model.out.weight.detach())
assert torch.equal(*weights)
streams = [None, None]
dist.all_gather_object(streams, model.out.sampler.state_dict())
assert streams[0] != streams[1]
state = [model.state_dict()]
dist.broadcast_object_list(state)  # rank 0 saves, all load
model.load_state_dict(state[0])
dist.all_gather_object(streams, model.out.sampler.state_dict())
assert streams[0] != streams[1]
assert streams[0]["block"] == streams[1]["block"] > 0
dist.destroy_process_group()
"""


@needs_jit
def test_two_processes_train_one_model():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    runs = [subprocess.Popen([sys.executable, "-c", DISTRIBUTED, str(rank), port]) for rank in range(2)]
    assert [run.wait(timeout=240) for run in runs] == [0, 0]


def test_memory_of_a_step_is_not_that_of_the_table():
    import tracemalloc

    layer = SampledSoftmax(16, 500_000, num_sampled=20, seed=0)
    optimizer = layer.optimizer("sgd", lr=0.1)
    inputs, labels = torch.randn(8, 16), torch.arange(8)

    def step():
        optimizer.zero_grad()
        layer(inputs, labels).backward()
        optimizer.step()

    for _ in range(2):  # the second draw makes the sampler's cache
        step()
    tracemalloc.start()
    for _ in range(3):
        step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
    assert layer.weight.grad._nnz() < 40
