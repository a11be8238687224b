"""shards.py: rows, merges in order and exactly once, and files for any number of shards."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.distributed.shards import Saved, Shard
from tests.distributed.toy import Toy


def learned(rng, shard, toy, num_blocks=3):
    """Return random rows of some bundles of one block, as `merge` gets them."""
    blocks = []
    for _ in range(num_blocks):
        block = {}
        for name, table in toy.tables.items():
            rows = rng.permutation(table.num_rows // 2 - 1)[:100]
            block[name] = rows, (10 ** rng.uniform(-3, 3, (100, table.dim))).astype(np.float32)
        blocks.append(block)
    return blocks


def tables(shard, toy):
    return [shard.rows(name, 0, table.num_rows).copy() for name, table in toy.tables.items()]


def test_a_round_is_merged_as_its_blocks_come(rng):
    toy = Toy()
    shard = Shard(toy, 1, 2, None)
    old = tables(shard, toy)
    blocks = learned(rng, shard, toy)
    lengths = shard.merge(0, *blocks)
    for k, name in enumerate(toy.tables):
        expected = old[k].copy()
        for row in range(len(expected)):
            own = [new[list(rows).index(row)] for rows, new in (block[name] for block in blocks) if row in rows]
            if len(own) == 1:
                expected[row] = own[0]
            else:
                for new in own:
                    expected[row] += new - old[k][row]
        got = shard.rows(name, 0, toy.tables[name].num_rows)
        np.testing.assert_array_equal(got, expected)
        assert lengths[name] >= np.linalg.norm(got, axis=1).max() * (1 - 1e-6)


def test_the_order_of_blocks_can_be_seen_in_the_bits(rng):
    toy = Toy()
    one, other = Shard(toy, 0, 2, None), Shard(toy, 0, 2, None)
    blocks = learned(rng, one, toy)
    one.merge(0, *blocks)
    other.merge(0, *blocks[::-1])
    assert not np.array_equal(tables(one, toy)[0], tables(other, toy)[0])


def test_a_round_is_merged_exactly_once(rng):
    toy = Toy()
    shard = Shard(toy, 0, 2, None)
    first, second = learned(rng, shard, toy), learned(rng, shard, toy)
    lengths = shard.merge(0, *first)
    after = tables(shard, toy)
    assert shard.merge(0, *first) == lengths
    np.testing.assert_array_equal(tables(shard, toy)[0], after[0])
    with pytest.raises(RuntimeError, match="shard 0: expected round 1, got 2"):
        shard.merge(2, *second)
    with pytest.raises(RuntimeError, match="shard 0: expected round 1, got 0"):
        shard.pull(0, {})
    shard.merge(1, *second)
    assert shard.rounds == 2


def test_lengths_tell_of_rows_that_are_not_finite(rng):
    toy = Toy()
    shard = Shard(toy, 0, 1, None)
    bad = np.full((1, 7), np.nan, np.float32)
    lengths = shard.merge(0, {"inputs": (np.array([3]), bad)}, {"inputs": (np.array([5]), bad * 0)})
    assert np.isnan(lengths["inputs"])
    assert lengths["outputs"] == 0


@pytest.mark.parametrize("num_shards", [1, 2, 3])
def test_rows_between_two_ids(num_shards):
    toy = Toy(num_rows=20)
    whole = toy.first_rows("inputs", 0, 20)
    for number in range(num_shards):
        shard = Shard(toy, number, num_shards, None)
        for start in range(20):
            for stop in range(start, 21):
                ids = [id for id in range(start, stop) if id % num_shards == number]
                np.testing.assert_array_equal(shard.rows("inputs", start, stop), whole[ids])
        np.testing.assert_array_equal(
            shard.look_up("inputs", np.array([2, 0])), whole[number::num_shards][[2, 0]]
        )


def test_first_rows_are_made_in_pieces(monkeypatch):
    asked = []
    toy = Toy()

    def first_rows(table, start, stop):
        asked.append((table, stop - start))
        return Toy.first_rows(toy, table, start, stop)

    toy.first_rows = first_rows
    monkeypatch.setattr("numba_ss.distributed.shards._PIECE", 100)
    shard = Shard(toy, 2, 3, None)
    assert max(size * toy.tables[table].dim for table, size in asked) <= 100
    np.testing.assert_array_equal(tables(shard, toy)[1], Toy().first_rows("outputs", 0, 413)[2::3])


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 2), (3, 2), (4, 6), (6, 4), (5, 1)])
def test_files_are_read_by_any_number_of_shards(tmp_path, rng, before, after):
    toy = Toy()
    saved = Saved(str(tmp_path), before, 1, 0, 1)
    whole = {name: np.empty((table.num_rows, table.dim), np.float32) for name, table in toy.tables.items()}
    for number in range(before):
        shard = Shard(toy, number, before, None)
        shard.merge(0, {"inputs": (np.arange(9), rng.standard_normal((9, 7)).astype(np.float32))})
        shard.save(saved)
        for name in whole:
            whole[name][number::before] = shard.rows(name, 0, len(whole[name]))
    for number in range(after):
        shard = Shard(toy, number, after, saved)
        assert shard.rounds == 1
        for name in whole:
            np.testing.assert_array_equal(shard.rows(name, 0, len(whole[name])), whole[name][number::after])


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    toy = Toy()
    saved = Saved(str(tmp_path), 1, 0, 0, 0)
    Shard(toy, 0, 1, None).save(saved)
    content = bytearray(saved.file(0).read_bytes())
    content[len(content) // 2] ^= 1
    with pytest.raises(ArgumentError, match=r"shard-0-of-1\.npz: expected the file of a shard"):
        Shard(Toy(num_rows=300), 0, 1, saved)
    with pytest.raises(ArgumentError, match="rounds 0"):
        Shard(toy, 0, 1, Saved(str(tmp_path), 1, 7, 0, 0))
    saved.file(0).write_bytes(content)
    with pytest.raises(ArgumentError, match="wrong checksum"):
        Shard(toy, 0, 1, saved)
