"""cluster.py: what is stored in this process."""

import pickle

import numpy as np

from numba_ss.distributed.cluster import Stored


def test_a_stored_array_is_read_as_it_is_also_where_it_was_sent():
    array = np.arange(3)
    assert Stored(array).read() is array
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(Stored(array))).read(), array)
