"""routes.py: every id finds its row, in whatever shard it lies."""

import numpy as np
import pytest

from numba_ss.distributed.routes import Scattered, distinct, route, rows_of_shard, take
from numba_ss.distributed.work import Table


@pytest.mark.parametrize("num_shards", [1, 2, 5, 70_000])
def test_blocks_get_their_rows_in_the_order_of_their_ids(rng, num_shards):
    table = rng.standard_normal((90, 3)).astype(np.float32)
    shards = [table[shard::num_shards].copy() for shard in range(num_shards)]
    blocks = [rng.permutation(90)[:40], np.empty(0, np.int64), rng.permutation(90)[:60]]
    found = route(blocks, num_shards)
    pulled = [take(rows, shard) for rows, shard in zip(found.requests, shards, strict=True)]
    for ids, parts in zip(blocks, found.parts, strict=True):
        rows = Scattered(parts, pulled)
        np.testing.assert_array_equal(rows.collect(), table[ids])
        target = np.full((len(ids) + 2, 5), 7, np.float32)
        rows.copy_to(target)
        np.testing.assert_array_equal(target[: len(ids), :3], table[ids])
        assert (target[len(ids) :] == 7).all()
        assert (target[:, 3:] == 7).all()
        for shard, part in enumerate(parts):
            np.testing.assert_array_equal(ids[part.places], part.rows * num_shards + shard)


def test_a_row_that_several_blocks_need_is_pulled_once(rng):
    blocks = [rng.permutation(90)[:80] for _ in range(4)]
    requests = route(blocks, 3).requests
    pulled = sorted(id for shard, rows in enumerate(requests) for id in rows * 3 + shard)
    assert pulled == sorted(set(np.concatenate(blocks).tolist()))


@pytest.mark.parametrize("num_rows", [0, 1, 7, 10])
def test_the_shards_share_all_rows(num_rows):
    sizes = [rows_of_shard(Table(num_rows, 4), shard, 3) for shard in range(3)]
    assert sizes == [len(np.arange(num_rows)[shard::3]) for shard in range(3)]


def test_distinct_ids_and_where_they_are(rng):
    ids = rng.integers(0, 50, 200)
    unique, inverse = distinct(ids)
    assert len(set(unique.tolist())) == len(unique)
    np.testing.assert_array_equal(unique[inverse], ids)
