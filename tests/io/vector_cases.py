"""Word vectors that several test files save and load."""

import numpy as np
import pytest

FORMATS = ["npz", "bin", "txt", "safetensors", "parquet"]
LIBRARY = {"safetensors": "safetensors", "parquet": "pyarrow.parquet"}
WORD2VEC = ("bin", "txt")


def need(format):
    if format in LIBRARY:
        pytest.importorskip(LIBRARY[format], reason=f"{format} files need {LIBRARY[format]}")


def same(got, want, counts=True):
    assert got.index_to_key == want.index_to_key
    # As integers: minus zero is another number than zero here.
    np.testing.assert_array_equal(got.vectors.view(np.int32), want.vectors.view(np.int32))
    if counts and want.counts is not None:
        np.testing.assert_array_equal(got.counts, want.counts)
    else:
        assert got.counts is None
