"""sampled_pass.py: forward, backward by an upstream gradient, update; see also the kernels."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import workspace as workspaces
from numba_ss.engine.candidate_sampler import SampledCandidates
from numba_ss.engine.candidate_sampling import find_hits
from numba_ss.engine.columns import make_columns
from numba_ss.engine.sampled_pass import SampledPass
from numba_ss.engine.workspace import Workspace
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.softmax.sampled_classes import BLOCK
from tests.conftest import Problem, densify

DIM, SIZE = 9, 2 * BLOCK + 7


def make(rng, dtype=np.float32, ragged=False):
    problem = Problem(rng, 60, DIM, SIZE, 2, 11, dtype, ragged=ragged)
    counts = rng.uniform(0.05, 2, 60).astype(dtype)
    problem.true_count, problem.sampled_count = counts[problem.labels], counts[problem.sampled]
    problem.grad_output = rng.standard_normal(SIZE).astype(dtype)
    problem.table = rng.standard_normal((40, DIM)).astype(dtype)
    problem.ids = rng.integers(0, 40, SIZE)
    return problem


def make_pass(problem, logistic=False, columns=None, train_table=False, table=None):
    return SampledPass(
        Workspace(), problem.table if table is None else table, problem.ids, problem.weights,
        problem.biases, columns or problem.columns(), logistic, 2, train_table,
    )


def specified(problem, grad_output, logistic=False):
    return reference.forward_examples(
        problem.table[problem.ids], problem.weights, problem.biases, problem.labels,
        np.log(problem.true_count), 2, problem.sampled, np.log(problem.sampled_count),
        find_hits(problem.labels, problem.sampled), grad_output, logistic,
    )


def in_parts(monkeypatch):
    """Let probabilities of no more than a block be in memory."""
    monkeypatch.setattr(workspaces, "EXPS", 1)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("parts", [False, True])
def test_the_upstream_gradient_comes_in_backward(logistic, parts, rng, monkeypatch):
    """There is one number for each example; zero stops only this example's gradient."""
    if parts:
        in_parts(monkeypatch)
    problem = make(rng, np.float64, ragged=True)
    problem.grad_output[[3, 70]] = 0
    batch = make_pass(problem, logistic)
    losses = batch.forward().copy()
    grads = batch.backward(problem.grad_output)
    ref = specified(problem, problem.grad_output, logistic)
    np.testing.assert_allclose(losses, ref.loss, atol=1e-11)
    np.testing.assert_array_equal(batch.buffers.arrays.losses, losses)
    rows, biases = reference.grad_sampled(problem.table[problem.ids], ref.probabilities)
    np.testing.assert_allclose(grads.inputs, ref.grad_inputs, atol=1e-11)
    np.testing.assert_allclose(grads.own_logits, ref.grad_own_logits, atol=1e-11)
    np.testing.assert_allclose(grads.sampled_rows, rows, atol=1e-11)
    np.testing.assert_allclose(grads.sampled_biases, biases, atol=1e-11)
    assert not grads.inputs[[3, 70]].any()
    assert not grads.own_logits[[3, 70]].any()


@pytest.mark.parametrize("logistic", [False, True])
def test_gradients_are_those_of_finite_differences(logistic, rng):
    """Differences of the sum of grad_output * loss, with the losses of `forward`."""
    problem = make(rng, np.float64)
    batch = make_pass(problem, logistic)
    batch.forward()
    grad_inputs = densify(problem.ids, batch.backward(problem.grad_output).inputs, 40)
    classes = batch.summed_class_gradients()
    grad_weights = densify(classes.ids, classes.rows, 60)
    grad_biases = densify(classes.ids, classes.biases, 60)

    def weighted():
        return make_pass(problem, logistic).forward() @ problem.grad_output

    row, column = int(problem.labels[5, 0]), 4
    for array, place, grad in (
        (problem.table, (int(problem.ids[8]), column), grad_inputs),
        (problem.weights, (row, column), grad_weights),
        (problem.weights, (int(problem.sampled[3]), column), grad_weights),
        (problem.biases, row, grad_biases),
        (problem.biases, int(problem.sampled[3]), grad_biases),
    ):
        before = array[place]
        array[place] = before + 1e-5
        high = weighted()
        array[place] = before - 1e-5
        difference = (high - weighted()) / 2e-5
        array[place] = before
        assert grad[place] == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("parts", [False, True])
def test_backward_can_be_called_again(logistic, parts, rng, monkeypatch):
    """Called with another upstream gradient, then with the first one again: the same bits."""
    if parts:
        in_parts(monkeypatch)
    problem = make(rng)
    batch = make_pass(problem, logistic)
    batch.forward()
    first = [grad.copy() for grad in batch.backward(problem.grad_output)]
    other = batch.backward().inputs.copy()
    assert not np.array_equal(first[0], other)
    for before, after in zip(first, batch.backward(problem.grad_output), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("parts", [False, True])
def test_forward_and_backward_together_are_the_same(logistic, parts, rng, monkeypatch):
    if parts:
        in_parts(monkeypatch)
    problem = make(rng)
    apart, together = make_pass(problem, logistic), make_pass(problem, logistic)
    losses = apart.forward()
    got_losses, got = together.forward_and_backward(problem.grad_output)
    np.testing.assert_array_equal(got_losses, losses)
    for a, b in zip(apart.backward(problem.grad_output), got, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("own_samples", [False, True])
def test_class_gradients(own_samples, rng):
    """Labels by example, then each example's own samples, then sampled classes; none absent."""
    problem = make(rng, np.float64, ragged=True)
    columns = problem.columns()
    if own_samples:
        drawn = rng.integers(-1, 60, (SIZE, 3))
        sampled = SampledCandidates(drawn, problem.true_count, np.ones((SIZE, 3)))
        columns = make_columns(problem.labels, sampled, np.float64, False, True)
    batch = make_pass(problem, columns=columns)
    batch.forward()
    own_logits = batch.backward(problem.grad_output).own_logits
    got = batch.class_gradients()
    ids, rows, biases = [], [], []
    for first, stop in ((0, 2), (2, columns.own.shape[1])):
        for i, c in np.argwhere(columns.own[:, first:stop] >= 0):
            ids.append(columns.own[i, first + c])
            biases.append(own_logits[i, first + c])
            rows.append(biases[-1] * problem.table[problem.ids[i]])
    number = len(ids)
    np.testing.assert_array_equal(got.ids, [*ids, *columns.sampled])
    np.testing.assert_array_equal(got.biases[:number], biases)
    np.testing.assert_array_equal(got.rows[:number], rows)
    np.testing.assert_array_equal(got.rows[number:], batch.gradients.sampled_rows)
    summed = batch.summed_class_gradients()
    first_uses = list(dict.fromkeys([*columns.own[columns.own >= 0], *columns.sampled]))
    assert summed.ids.tolist() == first_uses
    for name in ("rows", "biases"):
        want = densify(got.ids, getattr(got, name), 60)
        np.testing.assert_allclose(
            densify(summed.ids, getattr(summed, name), 60), want, atol=1e-12
        )


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(
    ("dim", "num_sampled", "in_place"),
    [(2 * LANES, 3 * ROWS, True), (2 * LANES, 3 * ROWS - 1, False), (2 * LANES - 1, 3 * ROWS, False)],
)
def test_class_gradients_in_borrowed_arrays(dim, num_sampled, in_place, parts, rng, monkeypatch):
    """The bits of those in new arrays; where nothing is padded, the kernels have written them."""
    if parts:
        in_parts(monkeypatch)
    problem = Problem(rng, 60, dim, SIZE, 2, num_sampled, ragged=True)
    problem.table, problem.ids = problem.inputs, np.arange(SIZE)
    plain, borrowing, lender = make_pass(problem), make_pass(problem), Workspace()
    for batch, given in ((plain, None), (borrowing, lender)):
        batch.forward()
        batch.backward(problem.grad_output, given)
    got = borrowing.class_gradients()
    assert np.shares_memory(got.rows, borrowing.gradients.sampled_rows) is in_place
    for one, two in zip(got, plain.class_gradients(), strict=True):
        np.testing.assert_array_equal(one, two)
    # They are the caller's until he lets them go.
    copies = [array.copy() for array in got]
    borrowing.forward()
    borrowing.backward(2 * problem.grad_output, lender)
    for one, two in zip(got, copies, strict=True):
        np.testing.assert_array_equal(one, two)


def test_summed_gradients_with_inputs(rng):
    """The table is the weights: an input's gradient is added to its row, and has no bias."""
    problem = make(rng, np.float64)
    problem.table = problem.weights
    problem.ids[:3] = 59
    problem.labels[problem.labels == 59] = 1
    problem.sampled[problem.sampled == 59] = 1
    batch = make_pass(problem)
    batch.forward()
    inputs = batch.backward(problem.grad_output).inputs
    apart, together = batch.summed_class_gradients(), batch.summed_class_gradients(with_inputs=True)
    np.testing.assert_array_equal(together.ids[: len(together.biases)], apart.ids)
    np.testing.assert_array_equal(together.biases, apart.biases)
    assert 59 in together.ids[len(together.biases) :]
    want = densify(apart.ids, apart.rows, 60) + densify(problem.ids, inputs, 60)
    np.testing.assert_allclose(densify(together.ids, together.rows, 60), want, atol=1e-12)


@pytest.mark.parametrize("train_table", [False, True])
def test_update(train_table, rng):
    """The update subtracts the learning rate times the sum of the gradients."""
    problem = make(rng, np.float64)
    batch = make_pass(problem, train_table=train_table)
    inputs = batch.forward_and_backward(problem.grad_output)[1].inputs
    classes = batch.class_gradients()
    want = [
        problem.weights - 0.3 * densify(classes.ids, classes.rows, 60),
        problem.biases - 0.3 * densify(classes.ids, classes.biases, 60),
        problem.table - 0.3 * train_table * densify(problem.ids, inputs, 40),
    ]
    sums = np.zeros_like(problem.weights), np.zeros_like(problem.biases)
    batch.add_class_gradients(*sums)
    np.testing.assert_allclose(sums[0], densify(classes.ids, classes.rows, 60), atol=1e-12)
    np.testing.assert_allclose(sums[1], densify(classes.ids, classes.biases, 60), atol=1e-12)
    batch.update(np.float64(0.3))
    for got, ref in zip((problem.weights, problem.biases, problem.table), want, strict=True):
        np.testing.assert_allclose(got, ref, atol=1e-12)


def test_nothing_is_computed_when_a_pass_is_made(rng):
    problem = make(rng)
    shared = Workspace()
    given = problem.table, problem.ids, problem.weights, problem.biases, problem.columns()
    first = SampledPass(shared, *given, False, 2)
    before = {name: array.copy() for name, array in vars(first.buffers.arrays).items()}
    SampledPass(shared, *given, False, 2)
    for name, array in vars(first.buffers.arrays).items():
        np.testing.assert_array_equal(array, before[name], name)


def test_an_empty_batch_has_no_gradients(rng):
    problem = Problem(rng, batch_size=0)
    batch = SampledPass(
        Workspace(), problem.inputs, np.arange(0), problem.weights, problem.biases,
        problem.columns(), False, 1,
    )
    assert batch.forward().shape == (0,)
    grads = batch.backward()
    assert grads.inputs.shape == (0, problem.weights.shape[1])
    assert not grads.sampled_rows.any()
    assert not grads.sampled_biases.any()


def test_columns_of_the_classes_in_use(rng):
    problem = make(rng, ragged=True)
    columns = problem.columns()
    classes, compact = columns.compact()
    assert (np.diff(classes) > 0).all()
    np.testing.assert_array_equal(classes[compact.sampled], columns.sampled)
    np.testing.assert_array_equal(compact.own >= 0, columns.own >= 0)
    present = columns.own >= 0
    np.testing.assert_array_equal(classes[compact.own[present]], columns.own[present])
    assert compact.own_counts is columns.own_counts
