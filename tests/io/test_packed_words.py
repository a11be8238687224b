"""packed_words.py: words come back, and what a format cannot hold is refused."""

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.word2vec.vectors import WordVectors


@pytest.mark.parametrize(
    ("format", "word"),
    [("bin", "a b"), ("txt", "a\n"), ("txt", ""), ("tsv", "a\tb"), ("npz", "\ud800")],
)
def test_words_a_format_cannot_hold(format, word, tmp_path):
    path = tmp_path / f"vectors.{format}"
    path.write_text("older")
    with pytest.raises(ArgumentError, match=r"words: .* got "):
        WordVectors(["the", word], np.ones((2, 2), np.float32)).save(path)
    assert path.read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1


def test_packed_words_come_back():
    for words in ([], [""], ["the", "Käse", "", "日本", "a\n"], [str(i) for i in range(5000)]):
        packed = pack_words(words)
        assert packed["words"].tobytes() == "".join(words).encode()
        assert unpack_words("file", packed["words"], packed["offsets"]) == words
