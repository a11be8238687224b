"""sampled_problem.py: what may be given, what is refused, and shards."""

import numpy as np
import pytest

import numba_ss
from numba_ss import ArgumentError
from tests.conftest import Problem
from tests.engine.loss_calls import SAMPLED, both, call, call_one, own_candidates


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("num_shards", [1, 3, 4])
@pytest.mark.parametrize("shard_biases", [True, False])
def test_shards(strategy, num_shards, shard_biases, rng):
    problem = Problem(rng, 22, num_true=2)

    def split(array):
        if strategy == "mod":
            return [array[i::num_shards].copy() for i in range(num_shards)]
        return np.array_split(array, num_shards)

    whole = numba_ss.sampled_softmax_loss_and_grad(*problem.arguments)
    weights, biases, *rest = problem.arguments
    got = numba_ss.sampled_softmax_loss_and_grad(
        split(weights), split(biases) if shard_biases else biases, *rest,
        partition_strategy=strategy,
    )
    np.testing.assert_allclose(got.loss, whole.loss, rtol=1e-6)
    assert len(got.rows) == num_shards
    ids = split(np.arange(22))
    for i in range(num_shards):
        mine = np.isin(whole.rows, ids[i])
        np.testing.assert_array_equal(ids[i][got.rows[i]], whole.rows[mine])
        np.testing.assert_allclose(got.grad_weights[i], whole.grad_weights[mine], atol=1e-6)
        np.testing.assert_allclose(got.grad_biases[i], whole.grad_biases[mine], atol=1e-6)


def test_masked_labels_are_absent_ones(rng):
    problem = Problem(rng, num_true=3, ragged=True)
    weights, biases, labels, *rest = problem.arguments
    masked = np.ma.array(np.where(labels < 0, 5, labels), mask=labels < 0)
    got = numba_ss.sampled_softmax_loss(weights, biases, masked, *rest)
    np.testing.assert_array_equal(got, numba_ss.sampled_softmax_loss(*problem.arguments))


def test_mixed_types(rng):
    """The inputs' type rules: float64 inputs over float32 weights give float64."""
    problem = Problem(rng)
    weights, biases, labels, inputs, *rest = problem.arguments
    ref = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, *rest)
    for w, h in ((weights, inputs.astype(float)), (weights.astype(float), inputs), (weights.T.copy().T, inputs)):
        got = numba_ss.sampled_softmax_loss(w, biases, labels, h, *rest)
        assert got.dtype == h.dtype
        np.testing.assert_allclose(got, ref, rtol=1e-5)


def test_default_sampler_is_the_seeded_log_uniform(rng):
    problem = Problem(rng)
    weights, biases, labels, inputs = problem.arguments[:4]
    values = numba_ss.log_uniform_candidate_sampler(labels, 1, 9, True, 60, seed=5)
    got = numba_ss.sampled_softmax_loss(weights, biases, labels, inputs, 9, 60, seed=5)
    ref = numba_ss.sampled_softmax_loss(
        weights, biases, labels, inputs, 9, 60, sampled_values=values
    )
    np.testing.assert_array_equal(got, ref)


def _bad(message, **changes):
    return pytest.param(message, changes, id=message + "-" + "-".join(changes))


SOUND = {
    "weights": np.ones((9, 3), np.float32), "biases": np.ones(9, np.float32),
    "labels": [[1], [2]], "inputs": np.ones((2, 3), np.float32), "num_sampled": 4,
    "num_classes": 9,
}
NAN_ROW = np.ones((9, 3), np.float32)
INF_ROW = np.where(np.arange(9)[:, None] == 2, np.float32(-np.inf), NAN_ROW * 0 + 1).astype(np.float32)
NAN_ROW[2, 1] = np.nan
INF_ROW[2, 0] = -np.inf
FOUR = np.array([0, 3, 4, 5])


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        _bad(r"labels: .*\[0, num_classes\) = \[0, 9\), got 9 at labels\[1, 0\]", labels=[[1], [9]]),
        _bad(r"labels: .*got -2 at labels\[0, 0\]", labels=[[-2], [1]]),
        _bad(r"labels: expected shape \(batch_size, num_true\) = \(2, 1\), got shape \(2,\)", labels=[1, 2]),
        _bad(r"labels: .*got shape \(2, 2\)", labels=[[1, 2], [2, 3]]),
        _bad("labels: expected integers", labels=[[1.0], [2.0]]),
        _bad("labels", labels=[[1]]),
        _bad("inputs", inputs=np.ones((2, 3), int)),
        _bad("inputs", inputs=np.ones((2, 3), complex)),
        _bad("inputs", inputs=np.ones(3, np.float32)),
        _bad("weights: expected shape", inputs=np.ones((2, 4), np.float32)),
        _bad("weights: expected floating", weights=np.ones((9, 3), int)),
        _bad("biases", biases=np.ones((9, 1), np.float32)),
        _bad("biases", biases=np.ones(8, np.float32)),
        _bad("num_sampled: .*softmax_loss", num_sampled=10),
        _bad("num_sampled", num_sampled=0),
        _bad("num_sampled", num_sampled=2.0),
        _bad("num_classes", num_classes=0),
        _bad("num_classes: expected at most the 9 rows", num_classes=10),
        _bad("num_true", num_true=0),
        _bad("remove_accidental_hits", remove_accidental_hits=1),
        _bad("partition_strategy", partition_strategy="diff"),
        _bad("seed", seed="a"),
        _bad(r"weights: .*shards of \[5, 4\] rows", weights=[np.ones((4, 3)), np.ones((5, 3))]),
        _bad(r"inputs: expected finite numbers, got nan at inputs\[1, 2\]", inputs=np.array([[1, 1, 1], [1, 1, np.nan]])),
        _bad("inputs: expected finite", inputs=np.array([[1, 1, 1], [1, np.inf, 1]])),
        _bad(r"weights: expected finite numbers, got nan at weights\[2, 1\]", weights=NAN_ROW),
        _bad(r"weights: expected finite numbers, got -inf at weights\[2, 0\]", weights=INF_ROW),
        # Rows that are copied together keep their names.
        _bad(r"weights: expected finite numbers, got nan at weights\[2, 1\]", weights=NAN_ROW.astype(float)),
        _bad(r"weights\[0\]: .*got nan at weights\[0\]\[2, 1\]", weights=[NAN_ROW[:5], NAN_ROW[5:]]),
        _bad(r"weights\[0\]: .*got nan at weights\[0\]\[1, 1\]", weights=[NAN_ROW[::2], NAN_ROW[1::2]], partition_strategy="mod"),
        _bad("biases: expected finite", biases=np.full(9, np.inf, np.float32)),
        _bad("inputs, weights: .*can hold", inputs=np.full((2, 3), 3e38, np.float32)),
        _bad("sampled_values", sampled_values=3),
        _bad("sampled_candidates", sampled_values=(FOUR[:3], np.ones((2, 1)), np.ones(3))),
        _bad(r"sampled_candidates: .*\[0, rows of weights\) = \[0, 9\), got 9 at", sampled_values=(FOUR + 4, np.ones((2, 1)), np.ones(4))),
        _bad("true_expected_count", sampled_values=(FOUR, np.ones((2, 2)), np.ones(4))),
        _bad(r"true_expected_count: .*got 0.0 at true_expected_count\[0, 0\], class 1", sampled_values=(FOUR, np.zeros((2, 1)), np.ones(4))),
        _bad("sampled_expected_count", sampled_values=(FOUR, np.ones((2, 1)), np.full(4, np.nan))),
    ],
)
@pytest.mark.parametrize("name", ["sampled_softmax", "nce"])
def test_bad_input(message, changes, name):
    with np.errstate(over="ignore"), pytest.raises(ArgumentError, match=message):
        both(name)[0](**(SOUND | {"seed": 1} | changes))


def test_bad_candidate_row_is_found_behind_a_label(rng):
    """A sampled row is not finite, but no loss shows it, because its logit is -inf."""
    weights = np.ones((9, 3), np.float32)
    weights[5] = -np.inf
    values = FOUR, np.ones((2, 1), np.float32), np.ones(4, np.float32)
    with pytest.raises(ArgumentError, match=r"weights\[5, 0\]"):
        numba_ss.sampled_softmax_loss(**(SOUND | {"weights": weights, "sampled_values": values}))


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_candidates_of_bias_minus_infinity_are_left_out(name, own, dtype, rng):
    problem = Problem(rng, num_sampled=150 if not own else 6, num_classes=400, batch_size=70, dtype=dtype)
    if own:
        own_candidates(problem, rng)
    masked = np.setdiff1d(np.arange(0, 400, 2), problem.labels)
    masked = np.union1d(masked, np.setdiff1d(problem.sampled.reshape(-1)[:140], problem.labels))
    problem.biases[masked] = -np.inf
    got = call(problem, name)
    if own:  # the candidates of one example after the other's, each alone in a batch
        for i in range(len(problem.inputs)):
            there = ~np.isin(problem.sampled[i], masked)
            if not there.any():
                continue
            alone = call_one(problem, name, i, there)
            np.testing.assert_allclose(got[0][i], alone.loss[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(got[1][i], alone.grad_inputs[0], rtol=1e-4, atol=1e-5)
        return
    there = ~np.isin(problem.sampled, masked)
    assert 0 < there.sum() < 150
    values = problem.sampled[there], problem.true_count, problem.sampled_count[there]
    want = call(problem, name, sampled_values=values, num_sampled=int(there.sum()))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("own", [False, True])
def test_a_label_of_bias_minus_infinity_is_refused(name, own, rng):
    for among in (False, True):  # the candidates
        problem = Problem(rng, num_true=2)
        if own:
            own_candidates(problem, rng)
        if among:
            problem.sampled.reshape(-1)[0] = problem.labels[3, 1]
        problem.biases[problem.labels[3, 1]] = -np.inf
        with pytest.raises(ArgumentError, match=r"labels: expected classes whose bias is not -inf"):
            both(name)[0](*problem.arguments)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8", "longdouble", "bfloat16"])
def test_floats_of_every_kind(name, kind, rng):
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes").bfloat16
    problem = Problem(rng)
    for part in ("weights", "biases", "inputs"):
        other = getattr(problem, part).astype(kind)
        like = np.float32 if other.dtype.itemsize <= 4 else np.float64
        got = call(problem, name, **{part: other})
        want = call(problem, name, **{part: other.astype(like)})
        for one, two in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, two)
            assert one.dtype == two.dtype


@pytest.mark.parametrize("name", SAMPLED)
def test_no_biases_are_zeros(name, rng):
    problem = Problem(rng)
    for one, other in zip(call(problem, name, biases=None), call(problem, name, biases=np.zeros(60)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_float32_cannot_hold_is_refused(rng):
    problem = Problem(rng)
    weights = problem.weights.astype(float)
    weights[problem.labels[0, 0]] = 1e300
    with pytest.raises(ArgumentError, match="can hold"):
        call(problem, "sampled_softmax", weights=weights)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("labels: expected rows of one length, where -1 or a mask", {"labels": [[3], [4, 5]]}),
        ("inputs: expected rows of one length", {"inputs": [[1.0, 2.0], [1.0]]}),
        (r"inputs: .*reshape\(-1, .*got shape \(2, 3, 4\)", {"inputs": np.ones((2, 3, 4))}),
    ],
)
def test_what_to_do_is_said(message, changes):
    sound = {
        "weights": np.ones((50, 4)), "biases": np.zeros(50), "labels": [[3], [4]],
        "inputs": np.ones((2, 4)), "num_sampled": 5, "num_classes": 50,
    }
    with pytest.raises(ArgumentError, match=message):
        numba_ss.sampled_softmax_loss(**sound | changes)
