"""layer.py: steps against functional gradients, bit for bit, and training that learns."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError, LogUniformSampler, SampledSoftmax, reference
from numba_ss.engine import adagrad, adam, rows, sampled_pass, workspace
from numba_ss.engine import layer as layers
from numba_ss.engine.autotune import ThreadTuner
from tests.conftest import JIT, densify, needs_jit

CLASSES, DIM, SAMPLED, BATCH = (300, 12, 40, 150) if JIT else (60, 5, 12, 10)
LOSSES = ["sampled_softmax", "nce", "sampled_logistic", "negative_sampling"]


def make(rng=None, **options):
    rng = np.random.default_rng(5) if rng is None else rng
    weights = rng.standard_normal((CLASSES, DIM)).astype(np.float32)
    options.setdefault("learning_rate", 0.3)
    return SampledSoftmax(CLASSES, DIM, SAMPLED, weights=weights, **options)


def batch(rng, num_true=1, size=BATCH):
    inputs = rng.standard_normal((size, DIM)).astype(np.float32)
    # Zipf: most labels repeat, and many are drawn as candidates too.
    labels = np.minimum(rng.zipf(1.3, (size, num_true)), CLASSES) - 1
    return inputs, labels


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("num_true", [1, 2])
def test_step_is_the_functional_gradient_row_by_row(loss, reduction, num_true, rng):
    layer = make(loss=loss, reduction=reduction, num_true=num_true)
    inputs, labels = batch(rng, num_true)
    weights, biases = layer.weights.copy(), layer.biases.copy()
    values = numba_ss.LogUniformSampler(CLASSES, seed=0).sample(labels, SAMPLED)
    grad_output = np.full(BATCH, 1 / BATCH if reduction == "mean" else 1, np.float32)
    ref = getattr(numba_ss, f"{loss}_loss_and_grad")(
        weights, biases, labels, inputs, SAMPLED, CLASSES, num_true, values, grad_output=grad_output
    )
    got, grad_inputs = layer.step(inputs, labels)
    assert got == pytest.approx(getattr(ref.loss, reduction)(), rel=1e-6)
    np.testing.assert_array_equal(grad_inputs, ref.grad_inputs)
    step = np.float32(0.3)
    want = reference.scatter_rows(weights, ref.rows, ref.grad_weights, step)
    np.testing.assert_array_equal(layer.weights, want)
    want = reference.scatter_rows(biases, ref.rows, ref.grad_biases, step)
    np.testing.assert_array_equal(layer.biases, want)


@pytest.mark.parametrize("tied", [False, True])
def test_step_rows_updates_the_table_as_well(tied, rng):
    layer, other = make(), make()
    table = layer.weights if tied else rng.standard_normal((50, DIM)).astype(np.float32)
    ids, (_, labels) = rng.integers(0, len(table), BATCH), batch(rng)
    before = table.copy()
    loss, grad_inputs = other.step(table[ids], labels)
    assert layer.step_rows(table, ids, labels) == loss
    start = other.weights if tied else before
    want = reference.scatter_rows(start, ids, grad_inputs, np.float32(0.3))
    np.testing.assert_array_equal(table, want)
    if not tied:
        np.testing.assert_array_equal(layer.weights, other.weights)


@pytest.mark.parametrize("loss", ["softmax", "logistic"])
def test_full_losses_train_by_the_full_gradient(loss, rng):
    layer = SampledSoftmax(CLASSES, DIM, None, loss=loss, reduction="sum", learning_rate=0.3)
    inputs, labels = batch(rng)
    weights, biases = layer.weights.copy(), layer.biases.copy()
    name = "softmax" if loss == "softmax" else "sigmoid"
    ref = getattr(numba_ss, f"{name}_loss_and_grad")(weights, biases, labels, inputs)
    got, grad_inputs = layer.step(inputs, labels)
    assert got == pytest.approx(ref.loss.sum(), rel=1e-6)
    np.testing.assert_allclose(grad_inputs, ref.grad_inputs, atol=1e-6)
    np.testing.assert_allclose(layer.weights, weights - 0.3 * ref.grad_weights, atol=1e-4)
    np.testing.assert_allclose(layer.biases, biases - 0.3 * ref.grad_biases, atol=1e-4)
    table = inputs.copy()
    twin = SampledSoftmax(CLASSES, DIM, None, loss=loss, reduction="sum", learning_rate=0.3)
    twin.step_rows(table, np.arange(BATCH), labels)
    np.testing.assert_array_equal(table, inputs - np.float32(0.3) * grad_inputs)
    np.testing.assert_array_equal(twin.weights, layer.weights)


class DenseAdagrad:
    """Dense steps in float64; a row that has seen nothing takes none."""

    def __init__(self, values):
        self.squares = np.zeros(len(values))

    def step(self, values, grads, rate, touched):
        self.squares = self.squares + (grads.reshape(len(grads), -1) ** 2).mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(self.squares > 0, rate / np.sqrt(self.squares), 0)
        return values - (step * grads.T).T


class DenseAdam:
    """Dense steps in float64, of which only those of touched rows are taken."""

    def __init__(self, values):
        self.means, self.mean_squares, self.steps = 0 * values, 0 * values, 0

    def step(self, values, grads, rate, touched):
        self.steps += 1
        out = values.copy()
        for row in touched:
            self.means[row] = 0.9 * self.means[row] + 0.1 * grads[row]
            self.mean_squares[row] = 0.999 * self.mean_squares[row] + 0.001 * grads[row] ** 2
            mean = self.means[row] / (1 - 0.9**self.steps)
            root = np.sqrt(self.mean_squares[row] / (1 - 0.999**self.steps))
            # As in PyTorch, epsilon comes to the root that is not corrected.
            out[row] -= rate * mean / (root + 1e-8 / np.sqrt(1 - 0.999**self.steps))
        return out


RULES = {"adagrad": DenseAdagrad, "adam": DenseAdam}


def gradients(loss, weights, biases, labels, inputs, sampler):
    """Return the summed loss, its gradients, dense, and the classes; of the functional form."""
    if loss in ("softmax", "logistic"):
        name = {"softmax": "softmax", "logistic": "sigmoid"}[loss]
        ref = getattr(numba_ss, f"{name}_loss_and_grad")(weights, biases, labels, inputs)
    else:
        values = sampler._sample(labels, SAMPLED, True)
        ref = getattr(numba_ss, f"{loss}_loss_and_grad")(
            weights, biases, labels, inputs, SAMPLED, CLASSES, labels.shape[1], values
        )
    dense = (densify(ref.rows, grad, CLASSES) for grad in (ref.grad_weights, ref.grad_biases))
    return ref.loss.sum(), *dense, ref.grad_inputs, ref.rows


@pytest.mark.parametrize("loss", [*LOSSES, "softmax", "logistic"])
@pytest.mark.parametrize("inputs", ["given", "table", "tied"])
@pytest.mark.parametrize("optimizer", RULES)
def test_a_rule_is_that_of_the_summed_gradients(optimizer, loss, inputs, rng):
    """Compared with float64. Labels repeat, are absent, and are also candidates and inputs."""
    full = loss in ("softmax", "logistic")
    layer = make(loss=loss, reduction="sum", num_true=2, optimizer=optimizer)
    if full:
        layer = SampledSoftmax(
            CLASSES, DIM, None, loss=loss, reduction="sum", num_true=2, learning_rate=0.3,
            optimizer=optimizer, weights=layer.weights,
        )
    # Where a gradient is nearly 0, Adam's step is what rounding makes of it.
    rate, tolerance = (0.3, 2e-3) if optimizer == "adagrad" else (1e-3, 2e-4)
    sampler = numba_ss.LogUniformSampler(CLASSES, seed=0)
    table = layer.weights if inputs == "tied" else rng.standard_normal((50, DIM)).astype(np.float32)
    want = [a.astype(float) for a in (layer.weights, layer.biases, table)]
    rules = [RULES[optimizer](a) for a in want]
    for _ in range(3):
        _, labels = batch(rng, 2)
        labels[::3, 1] = -1
        ids = rng.integers(0, 50, BATCH)
        *grads, grad_inputs, classes = gradients(loss, *want[:2], labels, want[2][ids], sampler)
        grads.append(densify(ids, grad_inputs, len(table)))
        touched = [set(classes), set(classes), set(ids)]
        if inputs == "given":
            got, grad = layer.step(table[ids], labels, rate)
            np.testing.assert_allclose(grad, grad_inputs, atol=1e-3)
            grads[-1][:], touched[-1] = 0, set()
        else:
            got = layer.step_rows(table, ids, labels, rate)
        assert got == pytest.approx(grads.pop(0), rel=1e-4)
        if inputs == "tied":
            grads[0] += grads[2]
            touched[0] |= touched[2]
        for i in range(3):
            want[i] = rules[i].step(want[i], grads[i], rate, touched[i])
        if inputs == "tied":
            want[2] = want[0]
        for have, value in zip((layer.weights, layer.biases, table), want, strict=True):
            np.testing.assert_allclose(have, value, atol=tolerance)
    state = layer.state_dict()
    for field, kept in vars(rules[0]).items():
        names = ["weights", "biases", *["table"] * (inputs == "table")]
        for name, rule in zip(names, rules, strict=False):
            np.testing.assert_allclose(state[field][name], getattr(rule, field), rtol=2e-3, atol=1e-4)
        assert np.shape(state[field]["weights"]) == np.shape(kept)


def test_adagrad_changes_what_a_batch_touches_alone(rng):
    layer = SampledSoftmax(CLASSES, DIM, None, sampler="in_batch", optimizer="adagrad")
    before, table = layer.weights.copy(), np.ones((9, DIM), np.float32)
    layer.step_rows(table, [2, 5, 2], [[3], [7], [7]])
    touched = np.flatnonzero((layer.weights != before).any(axis=1))
    assert touched.tolist() == [3, 7]
    assert np.flatnonzero((table != 1).any(axis=1)).tolist() == [2, 5]
    state = layer.state_dict()["squares"]
    assert [np.flatnonzero(state[k]).tolist() for k in ("weights", "biases", "table")] == [
        [3, 7], [3, 7], [2, 5],
    ]


@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("optimizer", RULES)
def test_a_rule_does_not_depend_on_chunks(optimizer, loss, tied, monkeypatch):
    results = []
    for chunks in (1, 2, 5):
        for module in (adagrad, adam, rows, sampled_pass):
            monkeypatch.setattr(module, "threads_for_update", lambda numbers, n=chunks: n)
        monkeypatch.setattr(ThreadTuner, "threads_for", lambda tuner, operations, n=chunks: n)
        rng = np.random.default_rng(3)
        number = None if loss == "softmax" else SAMPLED
        layer = SampledSoftmax(CLASSES, DIM, number, loss=loss, optimizer=optimizer)
        table = layer.weights if tied else rng.standard_normal((50, DIM)).astype(np.float32)
        for _ in range(2):
            layer.step_rows(table, rng.integers(0, 50, BATCH), batch(rng)[1])
        results.append((layer.weights, layer.biases, table))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_adagrad_knows_a_table_by_its_memory(rng):
    """A new view of the array is the same table; for another table all sums start at 0."""
    ids, labels = [1, 2, 2], [[3], [4], [5]]
    layer, table = make(optimizer="adagrad"), rng.standard_normal((9, DIM)).astype(np.float32)
    seen = []
    for view in (table, table[:], table, table.copy(), table[:5]):
        layer.step_rows(view, ids, labels)
        seen.append(layer.state_dict()["squares"]["table"])
    assert [len(squares) for squares in seen] == [9, 9, 9, 9, 5]
    assert seen[0][2] < seen[1][2] < seen[2][2]
    assert seen[3][2] < seen[2][2]
    layer.step_rows(layer.weights, ids, labels)
    np.testing.assert_array_equal(layer.state_dict()["squares"]["table"], seen[4])


@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("optimizer", RULES)
def test_a_rule_resumes_exactly(optimizer, loss, tied, rng):
    number = None if loss == "softmax" else SAMPLED
    layer, other = (
        SampledSoftmax(CLASSES, DIM, number, loss=loss, optimizer=optimizer, seed=seed)
        for seed in (1, 2)
    )
    table = layer.weights if tied else rng.standard_normal((50, DIM)).astype(np.float32)
    batches = [(rng.integers(0, 50, BATCH), batch(rng)[1]) for _ in range(4)]
    for ids, labels in batches[:2]:
        layer.step_rows(table, ids, labels)
    other.step_rows(np.ones((7, DIM), np.float32), [1], [[1]])  # of no weight afterwards
    other.load_state_dict(layer.state_dict())
    copy = other.weights if tied else table.copy()
    for ids, labels in batches[2:]:
        assert layer.step_rows(table, ids, labels) == other.step_rows(copy, ids, labels)
    np.testing.assert_array_equal(table, copy)
    np.testing.assert_array_equal(layer.weights, other.weights)
    np.testing.assert_array_equal(layer.biases, other.biases)


@pytest.mark.parametrize("optimizer", RULES)
def test_a_rule_of_changing_batches(optimizer, rng):
    layer, table = make(num_true=3, optimizer=optimizer), np.ones((5, DIM), np.float32)
    for size in (1, 70, 3, 0, 129):
        inputs, labels = batch(rng, 3, size)
        labels[::2, 1] = -1
        assert np.isfinite(layer.step(inputs, labels)[0])
        assert np.isfinite(layer.step_rows(table, np.zeros(size, int), labels))


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize(
    ("loss", "sampler"),
    [
        *[(loss, s) for loss in ("sampled_softmax", "nce") for s in ("log_uniform", "learned_unigram", "in_batch", "mixed")],
        ("softmax", "log_uniform"),
    ],
)
def test_bits_do_not_depend_on_threads(loss, sampler, optimizer, monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")
    results = []
    for num_threads in (1, 2):
        rng = np.random.default_rng(3)
        num_sampled = None if sampler == "in_batch" or loss == "softmax" else SAMPLED
        table = rng.standard_normal((400, 40)).astype(np.float32)
        layer = SampledSoftmax(
            CLASSES, 40, num_sampled, sampler=sampler, loss=loss, optimizer=optimizer,
            num_threads=num_threads,
        )
        # As many threads as there are, however small the step.
        monkeypatch.setattr(ThreadTuner, "threads_for", lambda *given: numba.get_num_threads())
        for module in (adagrad, rows, sampled_pass):
            monkeypatch.setattr(module, "threads_for_update", lambda *given: numba.get_num_threads())
        for _ in range(3 if JIT else 1):
            ids = rng.integers(0, 400, 500 if JIT else 70)
            labels = np.minimum(rng.zipf(1.3, (len(ids), 1)), CLASSES) - 1
            layer.step_rows(table, ids, labels)
        results.append((layer.weights, layer.biases, table))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "sampler", "optimizer"),
    [
        *[(loss, s, "sgd") for loss in ("sampled_softmax", "nce", "negative_sampling") for s in ("log_uniform", "uniform")],
        ("softmax", "log_uniform", "sgd"),
        ("sampled_softmax", "in_batch", "sgd"),
        ("sampled_softmax", "learned_unigram", "sgd"),
        ("sampled_softmax", "mixed", "sgd"),
        ("sampled_softmax", "mixed", "adagrad"),
        ("nce", "log_uniform", "adagrad"),
    ],
)
def test_learns_a_planted_answer(loss, sampler, optimizer):
    """Input k belongs to class 3 k: after training it comes first for nearly all."""
    rng = np.random.default_rng(1)
    num_inputs = 60 if JIT else 8
    num_sampled = None if sampler == "in_batch" or loss == "softmax" else 20
    layer = SampledSoftmax(
        3 * num_inputs, 16, num_sampled, loss=loss, sampler=sampler, reduction="sum",
        learning_rate=0.2 if "softmax" in loss or optimizer == "adagrad" else 0.05,
        optimizer=optimizer,
    )
    table = rng.standard_normal((num_inputs, 16)).astype(np.float32)
    before = layer.evaluate(table, 3 * np.arange(num_inputs)[:, None])
    for _ in range(300 if JIT else 100):
        ids = rng.integers(0, num_inputs, 64 if JIT else 8)
        layer.step_rows(table, ids, 3 * ids[:, None])
    truth = 3 * np.arange(num_inputs)
    found = layer.top_k(table, 1).ids[:, 0] == truth
    assert found.mean() > 0.9
    if loss != "negative_sampling":
        assert layer.evaluate(table, truth[:, None]) < before / 2


def test_state_dict_resumes_exactly(rng):
    layer = make(learning_rate=numba_ss.LinearDecay(0.5, 0.0, 10))
    inputs, labels = batch(rng)
    layer.step(inputs, labels)
    state = layer.state_dict()
    other = SampledSoftmax(CLASSES, DIM, SAMPLED, learning_rate=layer.learning_rate, seed=99)
    other.load_state_dict(state)
    for _ in range(2):
        assert layer.step(inputs, labels)[0] == other.step(inputs, labels)[0]
    np.testing.assert_array_equal(layer.weights, other.weights)
    assert not np.array_equal(layer.weights, state["weights"]), "the state is no copy"


def test_trains_the_caller_s_own_arrays(rng):
    weights, biases = np.zeros((CLASSES, DIM), np.float32), np.zeros(CLASSES, np.float32)
    layer = SampledSoftmax(CLASSES, DIM, SAMPLED, weights=weights, biases=biases)
    layer.step(*batch(rng))
    assert layer.weights is weights
    assert weights.any()
    assert biases.any()
    with pytest.raises(AttributeError):
        layer.weights = weights
    with pytest.raises(AttributeError):
        layer.biases = biases


def test_ragged_labels_and_changing_batches(rng):
    layer = make(num_true=3)
    for size in (1, 70, 3, 0, 129):
        inputs, labels = batch(rng, 3, size)
        labels[::2, 1] = -1
        loss, grad_inputs = layer.step(inputs, labels)
        assert np.isfinite(loss)
        assert grad_inputs.shape == (size, DIM)


def test_learning_rates(rng):
    inputs, labels = batch(rng)
    steps = []
    for options, argument in (({"learning_rate": 0.7}, None), ({}, 0.7), ({"learning_rate": lambda step: 0.7 + step}, None)):
        layer = make(**options)
        layer.step(inputs, labels, argument)
        steps.append(layer.weights)
    np.testing.assert_array_equal(steps[0], steps[1])
    np.testing.assert_array_equal(steps[0], steps[2])


def test_no_reduction(rng):
    inputs, labels = batch(rng)
    losses, _ = make(reduction="none").step(inputs, labels)
    assert losses.shape == (BATCH,)
    assert losses.mean() == pytest.approx(make().step(inputs, labels)[0], rel=1e-6)


def test_threads_setting_is_put_back(rng):
    before = numba.get_num_threads()
    # It is a wish: a copy may be used where there are fewer.
    given = batch(rng)
    assert pickle.loads(pickle.dumps(make(num_threads=10**6))).step(*given)[0] == make().step(*given)[0]
    layer = make(num_threads=1)
    layer.step(*batch(rng))
    assert numba.get_num_threads() == before
    with pytest.raises(ArgumentError):
        layer.step(np.full((BATCH, DIM), np.nan), batch(rng)[1])
    assert numba.get_num_threads() == before


def _spoil(name):
    def spoil(layer, table, ids, labels):
        if name == "weights":
            layer.weights[labels[0, 0], 3] = np.nan
        elif name == "biases":
            layer.biases[labels[0, 0]] = np.inf
        elif name == "table":
            table[ids[0], 2] = np.inf
        elif name == "labels":
            labels[-1, 0] = CLASSES
        elif name == "ids":
            ids[-1] = -1

    return spoil


@pytest.mark.parametrize("name", ["weights", "biases", "table", "labels", "ids"])
@pytest.mark.parametrize("sampler", ["log_uniform", "learned_unigram", "in_batch", "mixed"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax"])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
def test_a_failed_step_changes_nothing(name, sampler, loss, optimizer, rng):
    num_sampled = None if sampler == "in_batch" or loss == "softmax" else SAMPLED
    layer = SampledSoftmax(
        CLASSES, DIM, num_sampled, sampler=sampler, loss=loss, optimizer=optimizer
    )
    table = rng.standard_normal((50, DIM)).astype(np.float32)
    ids, (_, labels) = rng.integers(0, 50, BATCH), batch(rng)
    layer.step_rows(table, ids, labels)
    _spoil(name)(layer, table, ids, labels)
    state, before = layer.state_dict(), table.copy()
    for same in (table, table.copy()):
        with pytest.raises(ArgumentError, match=f"^{name}: "):
            layer.step_rows(same, ids, labels)
        np.testing.assert_array_equal(same, before)
    after = layer.state_dict()
    for key in ("weights", "biases", "num_steps"):
        np.testing.assert_array_equal(after[key], state[key])
    for part in ("sampler", "squares"):
        for key, value in state.get(part, {}).items():
            np.testing.assert_array_equal(after[part][key], value)


@pytest.mark.parametrize("optimizer", RULES)
@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax"])
@pytest.mark.parametrize("spoiled", ["inputs", "weights", "tied"])
def test_gradients_whose_squares_are_too_large_change_nothing(spoiled, loss, optimizer, rng):
    layer = make(loss=loss, optimizer=optimizer)
    ids, (inputs, labels) = np.arange(BATCH) % 20, batch(rng)
    table = layer.weights if spoiled == "tied" else rng.standard_normal((20, DIM)).astype(F32)
    layer.step_rows(table, ids, labels)
    if spoiled == "inputs":
        table *= F32(1e17)
    else:
        layer.weights[:] *= F32(1e17)
    before, kept = table.copy(), layer.state_dict()
    with pytest.raises(ArgumentError, match="gradients: expected a sum of squares"):
        layer.step_rows(table, ids, labels)
    if spoiled == "inputs":
        with pytest.raises(ArgumentError, match="gradients: expected a sum of squares"):
            layer.step(inputs * F32(1e17), labels)
    np.testing.assert_array_equal(table, before)
    np.testing.assert_equal(layer.state_dict(), kept)


def test_labels_that_are_never_drawn_have_no_correction(rng):
    sampler = numba_ss.UniformSampler(CLASSES, exclude_ids=[7], seed=0)
    layer = SampledSoftmax(CLASSES, DIM, SAMPLED, sampler=sampler)
    inputs, _ = batch(rng, size=2)
    with pytest.raises(ArgumentError, match=r"true_expected_count: .*class 7"):
        layer.step(inputs, [[3], [7]])


READ_ONLY = np.zeros((CLASSES, DIM), np.float32)
READ_ONLY.flags.writeable = False
F32 = np.float32
TABLE = np.zeros((CLASSES, DIM), F32)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("weights: .*float32", {"weights": np.zeros((CLASSES, DIM))}),
        ("weights: .*shape", {"weights": np.zeros((CLASSES, DIM + 1), F32)}),
        ("weights: .*read-only", {"weights": READ_ONLY}),
        ("weights: .*not contiguous", {"weights": np.zeros((DIM, CLASSES), F32).T}),
        ("weights", {"weights": [[1.0]]}),
        ("biases", {"biases": np.zeros((CLASSES, 1), F32)}),
        ("biases: expected memory of its own", {"weights": TABLE, "biases": TABLE.reshape(-1)[:CLASSES]}),
        ("loss: expected one of", {"loss": "hinge"}),
        ("sampler", {"sampler": "zipf"}),
        ("sampler: expected range_max", {"sampler": numba_ss.UniformSampler(3)}),
        ("reduction", {"reduction": "max"}),
        ("num_threads", {"num_threads": 0}),
        ("learning_rate", {"learning_rate": np.nan}),
        ("learning_rate", {"learning_rate": -0.1}),
        ("num_true", {"num_true": 0}),
        ("num_sampled", {"num_sampled": 0}),
        ("num_sampled", {"num_sampled": None}),
        ("num_sampled: .*softmax_loss", {"num_sampled": CLASSES + 1}),
        ("num_sampled", {"sampler": "in_batch"}),
        ("num_sampled", {"sampler": "mixed", "num_sampled": None}),
        ("num_sampled: .*softmax_loss", {"sampler": "mixed", "num_sampled": CLASSES + 1}),
        ("optimizer: expected one of 'sgd', 'adagrad', 'adam'", {"optimizer": "rmsprop"}),
        ("dim", {"dim": 0}),
    ],
)
def test_bad_options(message, options):
    sizes = {"num_classes": CLASSES, "dim": DIM, "num_sampled": SAMPLED}
    with pytest.raises(ArgumentError, match=message):
        SampledSoftmax(**(sizes | options))


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("inputs", (np.zeros((2, DIM), int), [[1], [2]])),
        ("inputs", (np.zeros((2, DIM + 1)), [[1], [2]])),
        ("labels", (np.zeros((2, DIM)), [1, 2])),
        ("labels", (np.zeros((2, DIM)), [[1]])),
        ("learning_rate", (np.zeros((2, DIM)), [[1], [2]], np.inf)),
    ],
)
def test_bad_steps(message, arguments):
    with pytest.raises(ArgumentError, match=message):
        make().step(*arguments)


def test_bad_tables(rng):
    layer = make()
    for table in (READ_ONLY, np.zeros((5, DIM)), np.zeros((5, DIM + 1), F32), layer.weights[3:]):
        with pytest.raises(ArgumentError, match="table"):
            layer.step_rows(table, [0, 1], [[1], [2]])
    table = np.zeros((5, DIM), F32)
    layer.step_rows(table, [0, 1], [[1], [2]])
    table.flags.writeable = False
    with pytest.raises(ArgumentError, match="read-only"):
        layer.step_rows(table, [0, 1], [[1], [2]])


def test_a_table_that_is_more_than_the_weights():
    both = np.zeros((CLASSES + 5, DIM), np.float32)
    for optimizer in ("adagrad", "sgd"):
        layer = SampledSoftmax(
            CLASSES, DIM, SAMPLED, weights=both[:CLASSES], optimizer=optimizer
        )
        if optimizer == "sgd":
            layer.step_rows(both, [CLASSES + 1], [[1]])
            continue
        with pytest.raises(ArgumentError, match=r"table: .*more than them"):
            layer.step_rows(both, [CLASSES + 1], [[1]])
        layer.step_rows(both[:9], [8], [[1]])


@pytest.mark.parametrize("change", [{"weights": np.zeros((2, 2))}, {"num_steps": -1}, {"sampler": {}}])
def test_bad_state(change):
    layer = make()
    before = layer.weights.copy()
    with pytest.raises(ArgumentError, match="state_dict"):
        layer.load_state_dict(layer.state_dict() | change)
    np.testing.assert_array_equal(layer.weights, before)


def _squares(**change):
    sound = {"weights": np.zeros(CLASSES, F32), "biases": np.zeros(CLASSES, F32), "table": np.ones(9, F32)}
    return {"squares": sound | change}


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"squares": None},
        _squares(weights=np.zeros(CLASSES)),
        _squares(biases=np.zeros(3, F32)),
        _squares(table=np.full(3, np.nan, F32)),
        _squares(table=np.full(3, -1, F32)),
        _squares(table=None),
        {"num_steps": -1},
    ],
)
def test_bad_state_of_adagrad(change):
    layer = make(optimizer="adagrad")
    layer.step_rows(np.ones((5, DIM), F32), [0, 1], [[1], [2]])
    before = layer.state_dict()
    with pytest.raises(ArgumentError, match="state_dict"):
        layer.load_state_dict(before | change)
    for key, value in before["squares"].items():
        np.testing.assert_array_equal(layer.state_dict()["squares"][key], value)


def test_a_state_is_for_the_same_optimizer():
    with pytest.raises(ArgumentError, match=r"^state_dict: expected what state_dict\(\) returned"):
        make().load_state_dict(None)
    with pytest.raises(ArgumentError, match=r"state_dict\['optimizer'\]: expected 'sgd', got 'adagrad'"):
        make().load_state_dict(make(optimizer="adagrad").state_dict())
    state = make().state_dict()
    del state["optimizer"]  # as it was before there were two
    make().load_state_dict(state)


@pytest.mark.parametrize("loss", ["softmax", "logistic", "sampled_softmax", "nce"])
def test_an_empty_batch_changes_nothing(loss, rng):
    """The contents that the previous step left in the buffers have no effect either."""
    number = None if loss in ("softmax", "logistic") else SAMPLED
    layer = SampledSoftmax(CLASSES, DIM, number, loss=loss, learning_rate=0.5)
    inputs, labels = batch(rng)
    layer.step(inputs, labels)
    before = layer.weights.copy(), layer.biases.copy()
    loss_of_none, grad_inputs = layer.step(inputs[:0], labels[:0])
    assert loss_of_none == 0
    assert grad_inputs.shape == (0, DIM)
    np.testing.assert_array_equal(layer.weights, before[0])
    np.testing.assert_array_equal(layer.biases, before[1])


def test_a_sampler_is_pickled_without_what_it_remembers(rng):
    sampler = numba_ss.LogUniformSampler(100_000, seed=3)
    labels = rng.integers(0, 1000, (20, 1))
    for _ in range(3):
        sampler.sample(labels, 50)
    other = pickle.loads(pickle.dumps(sampler))
    assert len(pickle.dumps(sampler)) < 10_000
    for a, b in zip(sampler.sample(labels, 50), other.sample(labels, 50), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_bits_do_not_depend_on_pace(optimizer, monkeypatch):
    """One thread or several give the same bits; the layer uses as many as the tuner says."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")

    def change(pace, seconds):
        assert seconds > 0
        pace.alone = not pace.alone

    def noted(function):
        def note_and_call(*given):
            seen.append(numba.get_num_threads())
            return function(*given)

        return note_and_call

    results, seen = [], []
    of_parts = sampled_pass.SampledPass, "forward_and_backward"
    monkeypatch.setattr(*of_parts, noted(getattr(*of_parts)))
    monkeypatch.setattr(layers, "sampled_step", noted(layers.sampled_step))
    for record in (lambda tuner, seconds: None, change):
        monkeypatch.setattr(ThreadTuner, "record", record)
        monkeypatch.setattr(ThreadTuner, "threads_for", lambda tuner, operations: 2)
        rng = np.random.default_rng(3)
        layer = SampledSoftmax(CLASSES, DIM, SAMPLED, optimizer=optimizer)
        table = rng.standard_normal((50, DIM)).astype(np.float32)
        for _ in range(4):
            layer.step_rows(table, rng.integers(0, 50, BATCH), batch(rng)[1])
        results.append((layer.weights, layer.biases, table))
    most = numba.get_num_threads()
    assert seen == [most] * 4 + [most, 1, most, 1]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", ["sampled_softmax", "nce"])
@pytest.mark.parametrize("kind", ["table", "tied", "step"])
def test_one_call_or_several(loss, kind, monkeypatch):
    """A step is one compiled call, for any number of threads; any step can be taken in parts."""
    results, made = [], workspace.Workspace.batch
    for threads_used, in_parts in ((1, False), (2, False), (1, True), (2, True)):
        monkeypatch.setattr(
            ThreadTuner, "threads_for", lambda tuner, operations, n=threads_used: n
        )
        if in_parts:
            monkeypatch.setattr(
                workspace.Workspace, "batch", lambda *given: made(*given)._replace(is_whole=False)
            )
        rng = np.random.default_rng(3)
        layer = SampledSoftmax(CLASSES, DIM, SAMPLED, loss=loss)
        table = layer.weights if kind == "tied" else rng.standard_normal((CLASSES, DIM), np.float32)
        losses = []
        for _ in range(3):
            ids, labels = rng.integers(0, CLASSES, BATCH), batch(rng)[1]
            if kind == "step":
                loss_of_step, grads = layer.step(table[ids], labels)
                np.subtract.at(table, ids, grads)
            else:
                loss_of_step = layer.step_rows(table, ids, labels)
            losses.append(loss_of_step)
        results.append((layer.weights, layer.biases, table, losses))
    for same in zip(*results, strict=True):
        for other in same[1:]:
            np.testing.assert_array_equal(same[0], other)


def test_a_large_batch_on_one_thread(monkeypatch):
    """The batch is computed in parts, with the same result."""
    results = []
    for exps in (workspace.EXPS, 1):
        monkeypatch.setattr(workspace, "EXPS", exps)
        rng = np.random.default_rng(3)
        layer = SampledSoftmax(CLASSES, DIM, SAMPLED, num_threads=1)
        table = rng.standard_normal((400, DIM), np.float32)
        for _ in range(2):
            ids, labels = rng.permutation(400)[:300], rng.integers(0, CLASSES, (300, 1))
            layer.step_rows(table, ids, labels)
        results.append((layer, table))
    (whole, one), (parts, other) = results
    assert [layer._workspace._batch.is_whole for layer in (whole, parts)] == [True, False]
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(whole.weights, parts.weights, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("loss", [*LOSSES, "softmax", "logistic"])
def test_a_bias_of_minus_infinity_leaves_a_class_out(loss, optimizer, rng):
    """The step equals one in which the class has such a low bias that its probability is 0."""
    found = []
    masked = np.arange(5, CLASSES, 2)
    for bias in (-np.inf, -1e30):
        layer = make(
            loss=loss, optimizer=optimizer, sampler="uniform", biases=np.zeros(CLASSES, np.float32)
        )
        layer.biases[masked] = bias
        inputs, _ = batch(np.random.default_rng(1))
        labels = np.random.default_rng(2).integers(0, 3, (BATCH, 1)) * 2
        before = layer.weights[masked].copy()
        losses = [layer.step(inputs, labels) for _ in range(2)]
        np.testing.assert_array_equal(layer.weights[masked], before)
        assert (layer.biases[masked] == np.float32(bias)).all()
        found.append((losses[1][0], losses[1][1].tolist(), layer.weights.tolist()))
    assert found[0] == found[1]
    layer.biases[masked] = -np.inf
    assert set(layer.top_k(inputs, CLASSES).ids[0]) == {-1, *np.setdiff1d(np.arange(CLASSES), masked)}
    labels[7, 0] = masked[0]
    with pytest.raises(ArgumentError, match=r"labels: .*got 5 at labels\[7, 0\]"):
        layer.step(inputs, labels)


@pytest.mark.parametrize("loss", ["sampled_softmax", "logistic"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("by_rows", [False, True])
def test_examples_without_a_label_are_as_if_they_were_not_there(loss, reduction, by_rows, rng):
    inputs, labels = batch(rng)
    labels[::3] = -1
    some = labels[:, 0] >= 0
    layer, other = (make(loss=loss, reduction=reduction, sampler="uniform") for _ in range(2))
    if by_rows:
        tables = inputs.copy(), inputs.copy()
        ids = np.arange(BATCH)
        got, want = layer.step_rows(tables[0], ids, labels), other.step_rows(tables[1], ids[some], labels[some])
        np.testing.assert_array_equal(*tables)
    else:
        got, grad = layer.step(inputs, labels)
        want, part = other.step(inputs[some], labels[some])
        np.testing.assert_array_equal(grad[some], part)
        assert not grad[~some].any()
    if reduction == "none":
        assert not got[~some].any()
        got = got[some]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(layer.weights, other.weights)
    assert layer.evaluate(inputs, labels) == other.evaluate(inputs[some], labels[some])
    labels[:] = -1
    assert not np.any(layer.step(inputs, labels)[0])
    np.testing.assert_array_equal(layer.weights, other.weights)
    assert layer.evaluate(inputs, labels) == 0


@pytest.mark.parametrize("optimizer", ["sgd", *RULES])
@pytest.mark.parametrize("sampler", ["uniform", "in_batch", "mixed"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax"])
def test_a_batch_of_nothing_but_padding_is_no_step(loss, sampler, optimizer, rng):
    number = None if sampler == "in_batch" or loss == "softmax" else SAMPLED
    layer = SampledSoftmax(CLASSES, DIM, number, loss=loss, sampler=sampler, optimizer=optimizer)
    inputs, labels = batch(rng)
    table, ids = inputs.copy(), np.arange(BATCH)
    layer.step_rows(table, ids, labels)
    kept, before = layer.state_dict(), table.copy()
    assert layer.step_rows(table, ids, np.full_like(labels, -1)) == 0
    loss, grad_inputs = layer.step(inputs, np.full_like(labels, -1))
    assert loss == 0
    np.testing.assert_array_equal(grad_inputs, np.zeros_like(inputs))
    np.testing.assert_array_equal(table, before)
    np.testing.assert_equal(layer.state_dict(), kept)


@pytest.mark.parametrize("loss", [*LOSSES, "softmax"])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weights_of_examples(loss, optimizer, reduction, rng):
    """Weights of 1 change nothing; a whole number counts like so many equal examples."""
    options = {"loss": loss, "optimizer": optimizer, "sampler": "uniform", "reduction": reduction}
    inputs, labels = batch(rng)
    plain, ones, weighted, often = (make(**options) for _ in range(4))
    want = plain.step(inputs, labels)
    got = ones.step(inputs, labels, sample_weight=np.ones(BATCH, bool))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(ones.weights, plain.weights)
    weight = rng.integers(0, 3, BATCH)
    share = weight.sum() / BATCH if reduction == "mean" else 1.0
    times = np.repeat(np.arange(BATCH), weight)
    got, grad = weighted.step(inputs, labels, sample_weight=weight)
    many, grads = often.step(inputs[times], labels[times], 0.3 * (share if optimizer == "sgd" else 1))
    if reduction == "none":
        np.testing.assert_allclose(got, np.bincount(times, many, BATCH), rtol=1e-5, atol=1e-6)
    else:
        assert got == pytest.approx(many * share, rel=1e-5)
    np.testing.assert_allclose(grad[times] / np.maximum(weight, 1)[times, None], grads * share, atol=1e-5)
    assert not grad[weight == 0].any()
    if optimizer == "sgd":  # Adagrad's first step is of one length, whatever it is multiplied by
        np.testing.assert_allclose(weighted.weights, often.weights, atol=1e-5)


@pytest.mark.parametrize("bad", [np.ones(BATCH + 1), -np.ones(BATCH), np.full(BATCH, np.nan), np.full(BATCH, 1e7), "x"])
def test_bad_weights_of_examples_change_nothing(bad, rng):
    layer, before = make(), make().weights
    with pytest.raises(ArgumentError, match="sample_weight: "):
        layer.step(*batch(rng), sample_weight=bad)
    np.testing.assert_array_equal(layer.weights, before)
    assert layer.num_steps == layer.sampler.state_dict()["block"] == 0


def test_inputs_may_be_rows_of_the_weights(rng):
    """The inputs are the rows before the step."""
    for loss in ("sampled_softmax", "softmax"):
        layer, other = make(loss=loss), make(loss=loss)
        _, labels = batch(rng, size=20)
        got = layer.step(layer.weights[:20], labels)
        want = other.step(other.weights[:20].copy(), labels)
        assert got[0] == want[0]
        np.testing.assert_array_equal(got[1], want[1])
        np.testing.assert_array_equal(layer.weights, other.weights)


@pytest.mark.parametrize("rate", [1e38, 1e39, 1.1e30])
def test_a_rate_that_float32_cannot_follow_changes_nothing(rate, rng):
    with pytest.raises(ArgumentError, match=r"learning_rate: .*at most 1e\+30"):
        make(learning_rate=rate)
    layer, before = make(), make().weights
    with pytest.raises(ArgumentError, match="learning_rate"):
        layer.step(*batch(rng), rate)
    layer.learning_rate = lambda step: rate
    with pytest.raises(ArgumentError, match="learning_rate"):
        layer.step(*batch(rng))
    np.testing.assert_array_equal(layer.weights, before)


def test_what_a_float32_cannot_hold_is_refused():
    layer = SampledSoftmax(30, DIM, 9)
    with pytest.raises(ArgumentError, match=r"inputs: expected numbers that float32 can hold, got 1e\+300"):
        layer.step(np.full((2, DIM), 1e300), [[1], [2]])
    with pytest.raises(ArgumentError, match=r"inputs: .*reshape"):
        layer.step(np.ones((2, 3, DIM)), [[1], [2]])


def test_the_reduction_can_change():
    layers_of = [SampledSoftmax(30, DIM, 9, reduction=kind) for kind in ("mean", "sum")]
    inputs, labels = np.ones((4, DIM), np.float32), [[1], [2], [3], [4]]
    layers_of[0].reduction = "sum"
    steps = [layer.step(inputs, labels) for layer in layers_of]
    assert steps[0][0] == steps[1][0]
    np.testing.assert_array_equal(steps[0][1], steps[1][1])
    layers_of[0].reduction = layers_of[1].reduction = "mean"
    steps = [layer.step(inputs, labels) for layer in layers_of]
    np.testing.assert_array_equal(steps[0][1], steps[1][1])
    assert abs(steps[0][1]).max() < 1


def test_a_pickle_leaves_the_table_behind():
    layer = SampledSoftmax(30, DIM, 9)
    size = len(pickle.dumps(layer))
    layer.step_rows(np.ones((10_000, DIM), np.float32), [1, 2], [[1], [2]])
    assert len(pickle.dumps(layer)) < size + 1000


def at_once(*tasks):
    """Run functions in threads of their own, and return what they return."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [done.result() for done in [pool.submit(task) for task in tasks]]


@needs_jit
def test_steps_from_two_threads_have_the_losses_of_one(rng):
    """At rate 0 and with all classes for candidates, a loss depends on the batch alone."""
    size = 2000
    weights = rng.standard_normal((size, DIM)).astype(np.float32)
    batches = [batch(rng, size=64) for _ in range(100)]

    def run():
        return [layer.step(*given)[0] for given in batches]

    layer = SampledSoftmax(size, DIM, size, sampler="all", learning_rate=0.0, weights=weights)
    alone = run()
    assert at_once(run, run) == [alone, alone]
    assert layer.num_steps == 3 * len(batches)


@needs_jit
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_steps_and_queries_from_several_threads_do_not_mix(optimizer, rng):
    """A query between two steps sees one state: here all weights are equal."""
    layer = SampledSoftmax(
        CLASSES, DIM, None, loss="softmax", optimizer=optimizer, learning_rate=1.0,
        weights=np.zeros((CLASSES, DIM), np.float32), num_true=CLASSES,
    )
    inputs = np.full((4, DIM), 0.5, np.float32)
    labels = np.tile(np.arange(CLASSES), (4, 1))
    steps = 40

    def train():
        for _ in range(steps):
            layer.step(inputs, labels)

    def ask():
        for _ in range(steps):
            state = layer.state_dict()
            assert len(np.unique(state["weights"], axis=0)) == 1
            assert len(np.unique(layer.top_k(inputs, 5).scores)) == 1
            assert layer.evaluate(inputs, labels) == pytest.approx(np.log(CLASSES), rel=1e-5)

    at_once(train, ask, train, ask)
    assert layer.num_steps == 2 * steps


@needs_jit
def test_two_layers_with_one_sampler_draw_what_one_would(rng):
    given = batch(rng)
    sampler = LogUniformSampler(CLASSES, seed=3)
    layers = [make(sampler=sampler) for _ in range(2)]
    rounds = 50
    seen = []
    draw = sampler.propose

    def propose(*arguments):
        sampled, accept = draw(*arguments)
        seen.append(sampled.sampled_candidates)
        return sampled, accept

    sampler.propose = propose
    at_once(*[lambda layer=layer: [layer.step(*given) for _ in range(rounds)] for layer in layers])
    other = LogUniformSampler(CLASSES, seed=3)
    want = [other.sample(given[1], SAMPLED).sampled_candidates for _ in range(2 * rounds)]
    np.testing.assert_array_equal(seen, want)


STRESS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import numba_ss
for sizes in ((64, 20), (700, 300)) * 5:
    layer = numba_ss.SampledSoftmax(5000, 32, 100, learning_rate=1e-3, seed=1)
    def work(seed):
        rng = np.random.default_rng(seed)
        for step in range(40):
            size = sizes[step % 2]
            inputs = rng.standard_normal((size, 32), np.float32)
            labels = rng.integers(0, 5000, (size, 1))
            layer.step(inputs, labels)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert layer.num_steps == 120
    sys.exit("weights") if not np.abs(layer.weights).max() < 2 else None
"""


@needs_jit
def test_threads_that_step_one_layer_leave_the_heap_whole():
    """In processes of their own, because the fault that this looks for ends a process."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", STRESS], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for _ in range(3)
    ]
    for run in runs:
        error = run.communicate(timeout=300)[1]
        assert run.returncode == 0, error.decode()
