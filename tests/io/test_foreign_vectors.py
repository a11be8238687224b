"""foreign_vectors.py: files of other programs are named."""

import struct
import zipfile

import pytest

from numba_ss import ArgumentError, Word2Vec
from numba_ss.word2vec.vectors import WordVectors


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cc.en.300.bin", struct.pack("<ii", 793712314, 12) + bytes(99), "a model of fastText, .*load its .vec"),
        ("word2vec.model", b"\x80\x04\x95" + bytes(9), r"a Python pickle, such as gensim's .*from_keyed_vectors"),
        ("w.bin", b"\x80\x02}" + bytes(9), "a Python pickle"),
        ("p.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS .*: git lfs pull"),
        ("p.txt", b"<!DOCTYPE html><html>404</html>", "a web page"),
    ],
)
def test_files_of_others_are_named(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArgumentError, match=rf"{name}: expected a file of vectors, got {message}"):
        WordVectors.load(tmp_path / name)


def test_other_archives_are_named(tmp_path):
    path = tmp_path / "v.npz"
    Word2Vec(4, min_count=1, epochs=1, subsample=0).fit([["a", "b"]] * 9, progress=False).save(path)
    with pytest.raises(ArgumentError, match=r"v\.npz: .*a whole model: numba_ss\.Word2Vec\.load.* or a checkpoint"):
        WordVectors.load(path)
    with zipfile.ZipFile(tmp_path / "wiki.vec.zip", "w") as archive:
        archive.writestr("wiki.vec", "1 1\na 1\n")
    with pytest.raises(ArgumentError, match=r"wiki\.vec\.zip: .*a zip archive: unpack it"):
        WordVectors.load(tmp_path / "wiki.vec.zip")
