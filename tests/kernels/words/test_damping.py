"""Tests of the damping of a block's change."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine.memory import widen
from numba_ss.kernels.words import damping


def decaying(rng, num_rows, dim):
    """Return rows whose second moment has a few large eigenvalues."""
    scales = 0.5 ** np.arange(dim)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return (rng.standard_normal((num_rows, dim)) * scales @ basis).astype(np.float32)


def damped(weights, vectors, values, rest, num_blocks, changes):
    """Return what `damp_rows` makes of the changes."""
    padded, wide = widen(vectors, len(vectors)), widen(changes, len(changes) + 1)
    scratch = damping.scratch_of(*padded.shape)
    directions = damping.Directions(padded, values, np.float32(rest), scratch)
    damping.damp_rows(weights, directions, num_blocks, np.zeros_like(wide), wide)
    return wide[:-1, : changes.shape[1]].copy()


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_moment(dim, rng):
    rows, center = decaying(rng, 50, dim), rng.standard_normal(dim).astype(np.float32)
    moment = np.zeros((dim, dim), np.float32)
    damping.add_moment(rows.copy(), center, moment)
    apart = rows.astype(float) - center
    np.testing.assert_allclose(moment, apart.T @ apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dim", "count"), [(1, 1), (5, 3), (40, 6)])
def test_iteration_finds_the_leading_eigenvectors(dim, count, rng):
    rows = decaying(rng, 200, dim).astype(float)
    moment = (rows.T @ rows / 200).astype(np.float32)
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    values, scratch = np.zeros(count, np.float32), np.zeros(dim, np.float32)
    for _ in range(30):
        damping.iterate(moment, vectors, values, scratch)
    exact, basis = np.linalg.eigh(moment.astype(float))
    np.testing.assert_allclose(values, exact[::-1][:count], rtol=1e-3, atol=1e-6)
    along = np.abs(np.einsum("jd,dj->j", vectors, basis[:, ::-1][:, :count]))
    np.testing.assert_allclose(along, 1, atol=1e-3)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-4)


def test_zero_rows_have_no_direction():
    vectors, values = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    damping.iterate(np.zeros((3, 3), np.float32), vectors, values, np.zeros(3, np.float32))
    assert not vectors.any()
    assert not values.any()
    changes = np.ones((1, 3), np.float32)
    assert damped(np.ones(1, np.float32), vectors, values, 0.0, 8, changes).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("count", [1, 31, 300])
@pytest.mark.parametrize("num_blocks", [2, 8, 64])
def test_damping_equals_its_twin(num_blocks, count, rng):
    dim = 20
    vectors = np.linalg.qr(rng.standard_normal((dim, 4)))[0].T.astype(np.float32).copy()
    values = np.sort(rng.random(4).astype(np.float32))[::-1].copy()
    weights = (10.0 ** rng.uniform(-6, 3, count)).astype(np.float32)
    changes = rng.standard_normal((count, dim)).astype(np.float32)
    expected = reference.damp_rows(weights, vectors, values, 0.01, num_blocks, changes)
    result = damped(weights, vectors, values, 0.01, num_blocks, changes)
    np.testing.assert_allclose(result, expected, rtol=2e-3, atol=2e-3)
    untouched = weights * values[0] * num_blocks < 0.1
    np.testing.assert_array_equal(result[untouched], changes[untouched])
    assert untouched.any() or count < 300


def test_the_sum_over_all_blocks_goes_as_far_as_single_steps(rng):
    """A planted quadratic: blocks of many single steps, each of which shrinks the distance.

    One after the other, W blocks shrink the distance along eigenvector j by exp(-W x_j). So do W
    equal blocks whose changes are damped and added.
    """
    dim, num_blocks = 12, 8
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0].T.astype(np.float32).copy()
    values = (2.0 ** -np.arange(dim)).astype(np.float32)
    for weight in (0.01, 1.0, 30.0):
        start = rng.standard_normal(dim)
        along = basis.astype(float) @ start
        one = basis.T.astype(float) @ (along * np.expm1(-weight * values.astype(float)))
        changes = one[None].astype(np.float32)
        changes = damped(np.float32([weight]), basis, values, 0.0, num_blocks, changes)
        reached = basis.astype(float) @ (start + num_blocks * changes[0])
        expected = along * np.exp(-num_blocks * weight * values.astype(float))
        np.testing.assert_allclose(reached, expected, atol=0.01)


@pytest.mark.parametrize("x", [0.0, 1e-7, 0.1, 5.0, 1e4])
def test_the_sum_of_damped_changes_is_no_more_than_the_way(x):
    for num_blocks in (2, 16, 256):
        factor = float(damping.phi(np.float32(x), np.float32(num_blocks)))
        assert 1 / num_blocks <= factor * (1 + 1e-5)
        assert factor <= 1 + 1e-5
        assert num_blocks * factor * -np.expm1(-x) <= 1 + 1e-5
