"""encodings.py: what is encoded comes back, and is not taken for anything else."""

from numba_ss import reference
from numba_ss.kernels.softmax.encodings import NO_HIT, NO_ROW, left_out, lone_key, packed_row


def test_left_out():
    for hit in range(5):
        assert left_out(hit) == reference.left_out(hit) < NO_HIT < 0
        assert left_out(left_out(hit)) == hit


def test_packed_row():
    for position in range(5):
        assert NO_ROW < packed_row(position) == reference.packed_row(position) < 0
        assert packed_row(packed_row(position)) == position


def test_lone_key():
    keys = [lone_key(i) for i in range(5)]
    assert keys == [reference.lone_key(i) for i in range(5)]
    assert len(set(keys)) == 5
    assert max(keys) < 0
