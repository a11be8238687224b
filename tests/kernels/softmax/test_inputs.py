"""inputs.py: which examples of a batch are worked on together."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels.softmax import inputs
from numba_ss.kernels.softmax.arguments import Batch
from numba_ss.kernels.softmax.buffers import describe

NO_BITS = np.empty((0, 0), np.uint32)
NO_HITS = np.empty((0, 0), np.int32)


def join(hits, true_counts, sampled_counts, subtract=True):
    hits = np.array(hits, np.int32)
    true_counts, sampled_counts = np.array(true_counts, float), np.array(sampled_counts, float)
    ref = reference.join_hits(hits, true_counts, sampled_counts, subtract)
    num_apart = inputs.join_hits(hits, true_counts, sampled_counts, subtract)
    assert hits.tolist() == ref
    assert num_apart == sum(hit < -1 for row in ref for hit in row)
    return hits.tolist()


def group(ids, bits=NO_BITS, hits=NO_HITS, true_counts=NO_HITS, sampled_counts=(), subtract=True):
    """Return inverse, members and member_hits, from scratch full of what another call left."""
    ids = np.array(ids, np.int64)
    size = len(ids)
    hits = np.array(hits, np.int32).reshape(size, -1)
    true_counts = np.array(true_counts, float).reshape(size, -1)
    num_sampled, width = len(sampled_counts), hits.shape[1]
    candidates = np.arange(100, 100 + num_sampled)
    labels = np.where(hits < 0, 7, candidates[hits] if num_sampled else 7)
    keys, inverse, members = np.full((3, size), -7)
    indptr, hit_indptr = np.full((2, size + 1), -7)
    member_hits, hit_list = np.full((width, size), -7, np.int32), np.full((3, size * width + 1), -7, np.int32)
    hashes = np.full(1 << (2 * max(size, num_sampled)).bit_length(), 3, np.int32)
    found, sizes = np.full(hits.shape, -7, np.int32), np.full(2, -7)
    nothing = np.empty((0, 0)), np.empty(0)
    batch = Batch(
        nothing[0], ids, *nothing, labels, true_counts, width, candidates,
        np.array(sampled_counts, float), subtract,
    )
    buffers = describe(
        hash_table=hashes, input_keys=keys, hits=found, inverse=inverse, member_indptr=indptr,
        members=members, member_hits=member_hits, hit_list=hit_list, hit_indptr=hit_indptr,
        sizes=sizes,
    )
    inputs.group_inputs(bits, batch, buffers)
    count, num_apart = sizes
    assert (indptr[0], indptr[count]) == (0, size)
    lists = [members[i:j].tolist() for i, j in pairwise(indptr[: count + 1])]
    got = inverse.tolist(), lists
    ref_hits = reference.join_hits(hits, true_counts, sampled_counts, subtract)
    assert member_hits.T.tolist() == [ref_hits[i] for i in members]
    assert num_apart == sum(hit < -1 for row in ref_hits for hit in row)
    ref_entries = [
        [(m, t, hit) for m in range(i, j) for t, hit in enumerate(ref_hits[members[m]]) if hit != -1]
        for i, j in pairwise(indptr[: count + 1])
    ]
    assert ref_entries == [
        list(zip(*hit_list[:, i:j].tolist(), strict=True))
        for i, j in pairwise(hit_indptr[: count + 1])
    ]
    given_inputs = [bits[i] for i in ids] if len(bits) else ids.tolist()
    assert got == reference.group_inputs(given_inputs, ref_hits)
    return *got, ref_hits


def row_keys(bits):
    keys = np.full(len(bits), -7)
    inputs.row_keys(bits, np.arange(len(bits)), bits.shape[1], keys)
    assert keys.tolist() == reference.row_keys(bits)
    return keys.tolist()


def colliding(rng, dim):
    """Return two different rows of bits that have the same key."""
    first = rng.integers(2**20, 2**30, dim, np.uint32)
    second = first.copy()
    place = np.uint32(0x803779B9)  # by which a number counts as another one, one place on
    second[:2] = first[:2][::-1] + np.array([place, -int(place) % 2**32], np.uint32)
    return first, second


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_keys(dtype, rng):
    table = rng.standard_normal((30, 5)).astype(dtype)
    table[3], table[17] = np.nan, table[11]
    keys = row_keys(table.view(np.uint32))
    assert min(keys) >= 0
    assert len(set(keys)) == 29
    assert keys[11] == keys[17]
    picked = np.full(4, -7)
    bits = table.view(np.uint32)
    inputs.row_keys(bits, np.array([5, 29, 5, 0]), bits.shape[1], picked)
    assert picked.tolist() == [keys[5], keys[29], keys[5], keys[0]]
    inputs.row_keys(bits, np.array([5, 29, 5, 0]), 3, picked)
    few = row_keys(np.ascontiguousarray(bits[:, :3]))
    assert picked.tolist() == [few[5], few[29], few[5], few[0]]


def test_rows_of_the_same_key(rng):
    """What the tests of such rows stand on."""
    first, second = colliding(rng, 5)
    assert first.tolist() != second.tolist()
    a, b = row_keys(np.stack([first, second]))
    assert a == b


def test_join_hits():
    counts = [1.0, 2.0, 3.0]
    assert join([[0, -1], [2, 1], [-1, 2]], [[1, 9], [3, 2], [3, 3]], counts) == [[0, -1], [2, 1], [-1, 2]]
    assert join([[0, -1], [2, 1]], [[2, 9], [3, 3]], counts) == [[-2, -1], [2, -3]]
    assert join([[0, -1], [2, 1]], [[2, 9], [3, 3]], counts, subtract=False) == [[0, -1], [2, 1]]


def test_a_label_that_comes_twice():
    """It is the candidate once, or leaves it out once."""
    counts = [1.0, 2.0, 3.0]
    assert join([[2, 2, 0, 2]], [[3, 3, 1, 3]], counts) == [[2, -1, 0, -1]]
    assert join([[2, 2, 0, 2]], [[4, 4, 1, 4]], counts) == [[-4, -1, 0, -1]]
    assert join([[2, 2]], [[4, 3]], counts) == [[-4, -1]]
    assert join([[2, 2]], [[3, 4]], counts) == [[2, -1]]
    assert join([[-1, -1]], [[3, 3]], counts) == [[-1, -1]]


def test_equal_ids():
    got = group([8, 5, 8, 0, 5, 8])
    assert got[:2] == ([0, 1, 0, 2, 1, 0], [[0, 2, 5], [1, 4], [3]])
    assert group([4])[:2] == ([0], [[0]])


def test_equal_contents(rng):
    """Under the same id or different ones; ids are not looked at, 0 is not -0, NaN is NaN."""
    table = rng.standard_normal((8, 3)).astype(np.float32)
    table[5], table[6], table[7] = table[1], 0, np.array([0, -0.0, 0])
    table[3, 1] = np.nan
    got = group([5, 2, 1, 2, 6, 7, 5, 3, 3], table.view(np.uint32))
    assert got[0] == [0, 1, 0, 1, 2, 3, 0, 4, 4]
    assert got[1] == [[0, 2, 6], [1, 3], [4], [5], [7, 8]]


def test_ids_are_not_contents(rng):
    """The same examples, grouped by id: rows that are equal stay apart."""
    assert group([5, 2, 1, 2])[0] == [0, 1, 2, 1]
    table = np.ones((6, 2), np.float32)
    assert group([5, 2, 1, 2], table.view(np.uint32))[0] == [0, 0, 0, 0]


def test_different_rows_of_the_same_key(rng):
    """All inputs are on their own then, those of other keys too."""
    first, second = colliding(rng, 5)
    bits = np.stack([first, rng.integers(0, 2**32, 5, np.uint32), second])
    assert group([0, 1, 0, 1], bits)[0] == [0, 1, 0, 1]
    assert group([2, 1, 2, 1], bits)[0] == [0, 1, 0, 1]
    for ids in ([0, 1, 2, 1], [1, 1, 1, 2, 0], [2, 0]):
        size = len(ids)
        got = group(ids, bits)
        assert got[:2] == (list(range(size)), [[i] for i in range(size)])


def test_such_a_row_that_is_alone_anyway_is_no_matter(rng):
    bits = np.stack(colliding(rng, 4))
    got = group([0, 1, 0], bits, [[-1], [0], [-1]], [[1], [1], [1]], [2.0])
    assert got[0] == [0, 1, 0]
    assert got[2] == [[-1], [-2], [-1]]


@pytest.mark.parametrize("by_id", [True, False])
def test_who_leaves_candidates_out_is_alone(by_id):
    bits = NO_BITS if by_id else np.arange(9, dtype=np.uint32)[:, None]
    ids, hits = [7, 7, 3, 7, 7, 3], [[0], [1], [-1], [-1], [0], [-1]]
    true_counts = [[1], [1], [9], [9], [1], [9]]
    got = group(ids, bits, hits, true_counts, [1.0, 2.0])
    assert got[0] == [0, 1, 2, 0, 0, 2]
    assert got[1] == [[0, 3, 4], [1], [2, 5]]
    assert got[2] == [[0], [-3], [-1], [-1], [0], [-1]]
    # With counts that play no part nobody leaves anything out.
    got = group(ids, bits, hits, true_counts, [1.0, 2.0], subtract=False)
    assert got[:2] == ([0, 0, 1, 0, 0, 1], [[0, 1, 3, 4], [2, 5]])


@given(
    st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 3), st.integers(1, 4),
    st.sampled_from(["ids", "float32", "float64", "keys"]), st.sampled_from([0.0, 0.1, 0.9]),
    st.booleans(),
)
def test_group_inputs(seed, size, num_true, num_rows, kind, differ, subtract):
    """Against the twin: `group` compares."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 2 * num_rows, size)
    bits = NO_BITS
    if kind == "keys":
        bits = np.stack([*colliding(rng, 4), *rng.integers(0, 2**32, (6, 4), np.uint32)])
    elif kind != "ids":
        table = rng.standard_normal((num_rows, 3)).astype(kind)
        bits = np.concatenate([table, table]).view(np.uint32)
    num_sampled = rng.integers(1, 4)
    hits = rng.integers(-1, num_sampled, (size, num_true))
    sampled_counts = rng.uniform(0.1, 2, num_sampled)
    true_counts = np.where(rng.random(hits.shape) < differ, 3.0, sampled_counts[hits])
    inverse, members, member_hits = group(ids, bits, hits, true_counts, sampled_counts, subtract)
    assert sorted(chain(*members)) == list(range(size))
    assert [m[0] for m in members] == sorted(m[0] for m in members)
    for u, m in enumerate(members):
        assert m == sorted(m) == [i for i in range(size) if inverse[i] == u]
        assert len(m) == 1 or not any(j < -1 for i in m for j in member_hits[i])


def test_rows_that_begin_alike(rng):
    """Their first numbers do not tell them apart, all of them do."""
    bits = np.zeros((6, 40), np.uint32)
    bits[:, 30] = [1, 2, 1, 3, 2, 1]
    got = group(list(range(6)), bits)
    assert got[:2] == ([0, 1, 0, 2, 1, 0], [[0, 2, 5], [1, 4], [3]])
