"""bundles.py: blocks that are trained together give what each gives alone."""

import numpy as np
import pytest

from numba_ss.distributed.bundles import prepare_bundle, train_bundle
from numba_ss.distributed.shards import Shard
from tests.distributed.toy import Toy


def learned(toy, blocks, num_shards):
    shards = [Shard(toy, number, num_shards, None) for number in range(num_shards)]
    bundle, *requests = prepare_bundle(toy, 0, blocks, num_shards)
    pulled = [shard.pull(0, request)[0] for shard, request in zip(shards, requests, strict=True)]
    (figures, moved), *by_shard = train_bundle(toy, bundle, 4, *pulled)
    return figures, moved, by_shard


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_bundle_gives_what_its_blocks_give_alone(num_shards):
    toy = Toy()
    figures, moved, by_shard = learned(toy, [2, 3, 4], num_shards)
    alone = [learned(toy, [block], num_shards) for block in (2, 3, 4)]
    assert figures == [figure for single, _, _ in alone for figure in single]
    assert moved["rows"] == sum(one["rows"] for _, one, _ in alone)
    assert moved["bytes_pushed"] == sum(one["bytes_pushed"] for _, one, _ in alone)
    assert moved["bytes_pulled"] < sum(one["bytes_pulled"] for _, one, _ in alone)
    for shard in range(num_shards):
        for table, (rows, new) in by_shard[shard].items():
            parts = [single[shard][table] for _, _, single in alone if table in single[shard]]
            np.testing.assert_array_equal(rows, np.concatenate([part[0] for part in parts]))
            np.testing.assert_array_equal(new, np.concatenate([part[1] for part in parts]))


def test_a_block_may_do_without_a_table():
    _, _, (only,) = learned(Toy(), [4], 1)
    assert list(only) == ["inputs"]
