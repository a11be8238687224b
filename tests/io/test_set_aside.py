"""set_aside.py: copies of arrays in a file without a name, or in memory."""

import tempfile

import numpy as np
import pytest

from numba_ss.io import set_aside as module
from numba_ss.io.set_aside import set_aside


@pytest.fixture
def arrays(rng, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 50)
    wide = rng.standard_normal((70, 16)).astype(np.float32)
    return {
        "table": wide[:, :9], "counts": rng.integers(0, 9, 120), "wide": wide[:3, :0],
        "number": np.array(2.5), "cube": rng.standard_normal((2, 3, 60)), "last": np.arange(7, dtype=np.int8),
    }


def check(copies, arrays):
    expected = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array[...] = 0
    assert list(copies) == list(expected)
    for name, array in expected.items():
        assert copies[name].dtype == array.dtype
        assert copies[name].shape == array.shape
        np.testing.assert_array_equal(copies[name], array)


def test_copies_lie_in_a_file_without_a_name(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    copies = set_aside(arrays)
    assert list(tmp_path.iterdir()) == []
    assert {name for name, copy in copies.items() if isinstance(copy, np.memmap)} == set(arrays) - {"wide"}
    check(copies, arrays)


def test_copies_stay_in_memory_if_no_file_can_be_written(arrays, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    copies = set_aside(arrays)
    assert not [copy for copy in copies.values() if isinstance(copy, np.memmap)]
    check(copies, arrays)
    assert "stays in memory" in caplog.text
