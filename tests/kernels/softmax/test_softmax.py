"""softmax.py: the losses of a block against the specification."""

from itertools import pairwise

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.softmax import softmax

SIZE, NUM_SHARED, NUM_OWN = 5, 9, 3
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SCALES = pytest.mark.parametrize("scale", [1, 30])
STRIPS = pytest.mark.parametrize("cuts", [[], [4], [1, 2, 7], [0, 5, 5]])


def limit_of(dtype, scale=1):
    return 3e-6 * scale if dtype == np.float32 else 1e-12


def make_shared(rng, dtype, scale):
    """Return products (classes, inputs), adjusted biases and logits (inputs, classes).

    One candidate is none; one input leaves another out, and one input all of them.
    """
    products = (scale * rng.standard_normal((NUM_SHARED, SIZE))).astype(dtype)
    adjusted_biases = rng.standard_normal(NUM_SHARED).astype(dtype)
    adjusted_biases[6] = products[2, 1] = products[:, 4] = -np.inf
    return products, adjusted_biases, (products.astype(float) + adjusted_biases[:, None]).T


def make_own(rng, dtype, scale, num_true):
    """Return targets and logits; -inf is an absent column."""
    logits = (scale * rng.standard_normal((SIZE, NUM_OWN))).astype(dtype)
    logits[1, 1] = logits[3, 2] = -np.inf
    own = np.where(np.isneginf(logits), -1, 7)
    targets = reference._targets(own, num_true).astype(dtype)
    return targets, logits, own


def run_strips(products, adjusted_biases, cuts, use_logistic):
    """Return probabilities as if of one strip, (inputs, classes), and their maxima and sums."""
    dtype = products.dtype
    guard = 2
    logits = np.full((guard + NUM_SHARED, SIZE + 1), 5, dtype)
    logits[guard:, :SIZE] = products
    running_max = np.full(SIZE, softmax.LOWEST, dtype)
    running_sum, rescale = np.zeros((2, SIZE), dtype)
    maxima, bounds = [], [0, *cuts, NUM_SHARED]
    for start, stop in pairwise(bounds):
        if use_logistic:
            softmax.logistic_strip(SIZE, adjusted_biases[start:stop], logits, guard + start, running_sum)
        else:
            before = running_max.astype(float)
            softmax.softmax_strip(
                SIZE, adjusted_biases[start:stop], logits, guard + start, running_max, running_sum, rescale
            )
            np.testing.assert_allclose(rescale, np.exp(before - running_max), rtol=limit_of(dtype))
            maxima += [running_max.astype(float)] * (stop - start)
    assert (logits[:guard] == 5).all(), "another block was written"
    assert (logits[:, SIZE] == 5).all(), "what is no input was written"
    probabilities = logits[guard:, :SIZE].T.astype(float)
    if not use_logistic:
        probabilities *= np.exp(np.transpose(maxima) - running_max[:, None])
    return probabilities, running_max, running_sum


@DTYPES
@SCALES
@STRIPS
def test_softmax_strip(dtype, scale, cuts, rng):
    """Strips one after the other give what one gives."""
    products, adjusted_biases, logits = make_shared(rng, dtype, scale)
    probabilities, running_max, running_sum = run_strips(products, adjusted_biases, cuts, False)
    start = np.full(SIZE, float(softmax.LOWEST)), np.zeros(SIZE)
    ref = reference.softmax_strip(logits, *start)
    np.testing.assert_array_equal(running_max, ref[1].astype(dtype))
    assert running_max[4] == softmax.LOWEST, "an input without sampled classes has a maximum"
    limit = limit_of(dtype, scale)
    np.testing.assert_allclose(probabilities, ref[0], atol=limit, rtol=0)
    np.testing.assert_allclose(running_sum, ref[2], atol=limit, rtol=0)
    assert not probabilities[np.isneginf(logits)].any(), "what is no column counts"


def test_softmax_strip_goes_on(rng):
    """The twin in strips is the twin at once, whatever came before."""
    _, _, logits = make_shared(rng, np.float64, 30)
    running_max, running_sum = rng.standard_normal(SIZE), rng.uniform(1, 2, SIZE)
    ref = reference.softmax_strip(logits, running_max, running_sum)
    first = reference.softmax_strip(logits[:, :4], running_max, running_sum)
    last = reference.softmax_strip(logits[:, 4:], *first[1:3])
    np.testing.assert_allclose(last[1], ref[1], rtol=1e-15)
    np.testing.assert_allclose(last[2], ref[2], rtol=1e-13)
    got = np.concatenate([first[0] * last[3][:, None], last[0]], axis=1)
    np.testing.assert_allclose(got, ref[0], atol=1e-13)


@DTYPES
@SCALES
@STRIPS
def test_logistic_strip(dtype, scale, cuts, rng):
    products, adjusted_biases, logits = make_shared(rng, dtype, scale)
    sigmoids, _, running_sum = run_strips(products, adjusted_biases, cuts, True)
    ref = reference.logistic_strip(logits, np.zeros(SIZE))
    limit = limit_of(dtype, scale)
    np.testing.assert_allclose(sigmoids, ref[0], atol=limit, rtol=0)
    np.testing.assert_allclose(running_sum, ref[1], atol=limit, rtol=0)
    assert not sigmoids[np.isneginf(logits)].any(), "what is no column counts"
    more = reference.logistic_strip(logits, np.arange(SIZE))
    np.testing.assert_allclose(more[1], ref[1] + np.arange(SIZE), rtol=1e-15)


@DTYPES
@SCALES
@pytest.mark.parametrize("num_true", [1, 2, 3])
@pytest.mark.parametrize("shared", ["none", "low", "high"])
def test_softmax_own(dtype, scale, num_true, shared, rng):
    targets, logits, _ = make_own(rng, dtype, scale, num_true)
    running_max = {"none": softmax.LOWEST, "low": -2 * scale, "high": 9 * scale}[shared]
    running_max = np.full(SIZE, running_max, dtype)
    running_sum = np.zeros(SIZE, dtype) if shared == "none" else rng.uniform(1, 4, SIZE).astype(dtype)
    column_weights = np.ones_like(logits)
    if shared == "high":
        column_weights[0, 0] = column_weights[2] = 0
    ref = reference.softmax_own(*(a.astype(float) for a in (targets, column_weights, logits, running_max, running_sum)))
    highest = np.maximum(running_max, logits.max(axis=1))
    share, loss = np.full((2, SIZE), np.nan, dtype)
    by_column = [np.ascontiguousarray(a.T) for a in (targets, column_weights, logits)]
    softmax.softmax_own(*by_column, running_max, running_sum, share, loss)
    logits = by_column[2].T
    np.testing.assert_array_equal(running_max, highest)
    np.testing.assert_allclose(running_sum, ref[2], rtol=limit_of(dtype))
    limit = limit_of(dtype, scale)
    np.testing.assert_allclose(loss, ref[0], atol=limit, rtol=0)
    np.testing.assert_allclose(logits, ref[1], atol=limit, rtol=0)
    np.testing.assert_allclose(share, ref[3], atol=limit, rtol=0)
    assert not logits[1, 1], "an absent column has a gradient"
    assert not logits[3, 2], "an absent column has a gradient"
    assert share.any() == (shared != "none")


@DTYPES
@SCALES
@pytest.mark.parametrize("num_true", [1, 2, 3])
def test_logistic_own(dtype, scale, num_true, rng):
    targets, logits, _ = make_own(rng, dtype, scale, num_true)
    column_weights, running_sum = np.ones_like(logits), rng.uniform(0, 4, SIZE).astype(dtype)
    column_weights[0, 0] = column_weights[2] = 0
    ref = reference.logistic_own(*(a.astype(float) for a in (targets, column_weights, logits, running_sum)))
    loss = np.full(SIZE, np.nan, dtype)
    by_column = [np.ascontiguousarray(a.T) for a in (targets, column_weights, logits)]
    softmax.logistic_own(*by_column, running_sum, loss)
    logits = by_column[2].T
    limit = limit_of(dtype, scale)
    np.testing.assert_allclose(loss, ref[0], atol=limit, rtol=0)
    np.testing.assert_allclose(logits, ref[1], atol=limit, rtol=0)
    assert not logits[1, 1], "an absent column has a gradient"
    assert not logits[3, 2], "an absent column has a gradient"


@DTYPES
@SCALES
@STRIPS
@pytest.mark.parametrize("num_true", [1, 2, 3])
@pytest.mark.parametrize("use_logistic", [False, True])
def test_all_columns(dtype, scale, cuts, num_true, use_logistic, rng):
    """Shared and own columns together: the plain loss, with hits left out of the sampled classes."""
    products, adjusted_biases, shared = make_shared(rng, dtype, scale)
    targets, own_logits, own = make_own(rng, dtype, scale, num_true)
    column_weights = np.ones_like(own_logits)
    left_out = shared.copy()
    for i, hit in ((0, 3), (2, 8)):  # labels that take their logits from sampled classes
        own_logits[i, 0], column_weights[i, 0], left_out[i, hit] = shared[i, hit], 0, -np.inf
    block = reference._logistic_block if use_logistic else reference._softmax_block
    columns = np.concatenate([own_logits.astype(float), left_out], axis=1)
    ref_loss, ref_grad = block(columns, own, num_true, np.ones(SIZE))
    probabilities, running_max, running_sum = run_strips(products, adjusted_biases, cuts, use_logistic)
    loss, share = np.full(SIZE, np.nan, dtype), np.ones(SIZE, dtype)
    by_column = [np.ascontiguousarray(a.T) for a in (targets, column_weights, own_logits)]
    if use_logistic:
        softmax.logistic_own(*by_column, running_sum, loss)
        per_sum = np.ones((SIZE, 1))
    else:
        softmax.softmax_own(*by_column, running_max, running_sum, share, loss)
        per_sum = 1 / running_sum[:, None]
    own_logits = by_column[2].T * per_sum
    limit = limit_of(dtype, scale)
    np.testing.assert_allclose(loss, ref_loss, atol=limit, rtol=0)
    got = own_logits - targets
    np.testing.assert_allclose(got, ref_grad[:, :NUM_OWN], atol=limit, rtol=0)
    got = probabilities * share[:, None] * per_sum
    for i, hit in ((0, 3), (2, 8)):
        # What the candidate would get is what the label got.
        np.testing.assert_allclose(got[i, hit], own_logits[i, 0], atol=limit, rtol=0)
        got[i, hit] = 0
    np.testing.assert_allclose(got, ref_grad[:, NUM_OWN:], atol=limit, rtol=0)


@DTYPES
def test_classes(dtype, rng):
    logits = rng.standard_normal((SIZE, 8)).astype(dtype)
    grad_output = rng.standard_normal(SIZE).astype(dtype)
    adjusted_biases = np.zeros(8, dtype)
    normalizer = reference.normalize(logits, False).astype(dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    got = np.ascontiguousarray(logits.T)
    softmax.softmax_classes(0, SIZE, normalizer, grad_output, adjusted_biases, got, 0)
    ref = reference.softmax_classes(logits, normalizer, grad_output)
    np.testing.assert_allclose(got.T, ref, atol=tolerance)
    got = np.ascontiguousarray(logits.T)
    softmax.logistic_classes(0, SIZE, grad_output, adjusted_biases, got, 0)
    np.testing.assert_allclose(got.T, reference.logistic_classes(logits, grad_output), atol=tolerance)


def test_a_small_logistic_loss_is_exact():
    """Of a label with a large logit nothing cancels."""
    z = np.array([8, 12, 16, 30], np.float32)
    loss, ones = np.empty(4, np.float32), np.ones((1, 4), np.float32)
    softmax.logistic_own(ones, ones, z[None].copy(), np.zeros(4, np.float32), loss)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-z.astype(float))), rtol=1e-6)
