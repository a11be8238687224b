"""schedules.py: the rate of each step."""

import numpy as np
import pytest

from numba_ss import ArgumentError, LinearDecay


def test_linear_decay():
    rate = LinearDecay(0.4, 0.1, 3)
    assert [rate(i) for i in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("bad", [(-1, 0, 1), (1, np.inf, 1), (1, 0, 0), (1e38, 0, 1)])
def test_bad_linear_decay(bad):
    with pytest.raises(ArgumentError):
        LinearDecay(*bad)
