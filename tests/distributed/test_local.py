"""local.py: a cluster in this process."""

import numpy as np

from numba_ss.distributed.local import LocalCluster
from tests.distributed.toy import Toy


def test_what_is_asked_is_done_at_once():
    cluster = LocalCluster(num_workers=2, num_shards=3)
    toy = Toy()
    sizes = cluster.wait(cluster.start_shards(toy, None))
    assert sum(sizes) == 4 * (400 * 7 + 413 * 9)
    assert cluster.map(len, ["ab", "c"]) == [2, 1]
    ((stored, rest),) = cluster.store(lambda item: (np.full(2, item), "rest"), [5])
    assert (stored.read().tolist(), rest) == ([5, 5], "rest")
    assert cluster.put("value").read() == "value"
    (rows,) = cluster.ask(1, "rows", "inputs", 4, 5)
    np.testing.assert_array_equal(rows, toy.first_rows("inputs", 4, 5))
    assert cluster.run(lambda work, x: [work, x], 3, results=2) == [toy, 3]
    cluster.close()
    assert cluster.shards == []


def test_blocks_of_a_data_set_are_tables():
    class Dataset:
        def iter_batches(self, batch_size, batch_format):
            assert (batch_size, batch_format) == (None, "pyarrow")
            return iter(["first", "second"])

    assert [table.read() for table in LocalCluster().tables_of(Dataset())] == ["first", "second"]
