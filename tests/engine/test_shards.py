"""shards.py: TensorFlow's layout of classes over shards."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.engine.shards import Table


@pytest.mark.parametrize("num_rows", [1, 2, 9, 10, 11, 12])
@pytest.mark.parametrize("num_shards", [1, 2, 3, 4])
@pytest.mark.parametrize("strategy", ["div", "mod"])
def test_rows_of_shards(num_rows, num_shards, strategy):
    whole = np.arange(2.0 * num_rows).reshape(num_rows, 2)
    if strategy == "div":
        shards = np.array_split(whole, num_shards)
    else:
        shards = [whole[i::num_shards] for i in range(num_shards)]
    table = Table("weights", shards, 2, strategy)
    ids = np.array([num_rows - 1, 0, num_rows // 2])
    np.testing.assert_array_equal(table.rows(ids, np.float32), whole[ids])
    assert table.num_rows == num_rows


def test_a_plain_array_is_read_as_it_is():
    array = np.zeros((3, 2), np.float32)
    table = Table("weights", array, 2, "div")
    assert table.direct(np.float32) is array
    assert table.direct(np.float64) is None
    assert Table("weights", array.T, 3, "div").direct(np.float32) is None


def test_sizes_of_the_wrong_strategy():
    with pytest.raises(ArgumentError, match=r"shards of \[5, 5\] rows"):
        Table("weights", [np.zeros((6, 2)), np.zeros((4, 2))], 2, "div")


def test_a_tuple_is_no_list_of_shards():
    with pytest.raises(ArgumentError, match="weights: expected shape"):
        Table("weights", (np.zeros((5, 2)), np.zeros((5, 2))), 2, "div")


def test_a_list_of_numbers_is_an_array():
    assert Table("biases", [1.0, 2.0], None, "div").num_rows == 2
