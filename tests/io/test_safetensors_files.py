"""safetensors_files.py: checksums, and files of others."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io.packed_words import pack_words
from numba_ss.word2vec.vectors import WordVectors


def test_tensors_without_checksums_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors files need safetensors")
    arrays = pack_words(["a"]) | {"vectors": np.ones((1, 2), np.float32)}
    metadata = {"format": "numba_ss word vectors", "version": "1"}
    numpy.save_file(arrays, tmp_path / "v.safetensors", metadata=metadata)
    assert WordVectors.load(tmp_path / "v.safetensors").index_to_key == ["a"]


def test_other_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors files need safetensors")
    numpy.save_file({"vectors": np.ones((2, 2), np.float32)}, tmp_path / "v.safetensors")
    with pytest.raises(ArgumentError, match=r"metadata: expected .*word vectors.*, got None"):
        WordVectors.load(tmp_path / "v.safetensors")
