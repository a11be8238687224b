"""npz_files.py: NumPy's own format, mapped into memory, compressed or malformed."""

import struct
import zipfile

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.vectors import WordVectors
from tests.io.vector_cases import same


def test_npz_is_numpy_s(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["vectors"], vectors.vectors)
        joined = "".join(vectors.index_to_key).encode()
        assert arrays["words"].tobytes() == joined
    first = path.read_bytes()
    vectors.save(path)
    assert path.read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            lengths = struct.unpack_from("<HH", first, member.header_offset + 26)
            assert (member.header_offset + 30 + sum(lengths)) % 64 == 0


def test_mapped(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    mapped = WordVectors.load(path, mmap=True)
    same(mapped, vectors)
    base = mapped.vectors
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.ctypes.data % 64 == 0
    mapped.save(path)  # over the file that is mapped
    same(mapped, vectors)
    same(WordVectors.load(path), vectors)


def test_mapped_numbers_are_looked_at_when_used(rng, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors = WordVectors(list(map(str, range(2000))), rng.standard_normal((2000, 3)))
    vectors.save(path)
    number = vectors.vectors[1993].tobytes()
    path.write_bytes(path.read_bytes().replace(number, np.float32([1, np.nan, 1]).tobytes()))
    with pytest.raises(ArgumentError, match="CRC"):
        WordVectors.load(path)
    mapped = WordVectors.load(path, mmap=True)
    with pytest.raises(ArgumentError, match=r"length nan at vectors\[1993\]"):
        mapped.most_similar("7")


def test_archives_of_other_kinds(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ArgumentError, match=r"vectors\.npz, the last 22 bytes: .*end of the archive"):
        WordVectors.load(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("vectors.npy", "w") as member:
        np.lib.format.write_array(member, vectors.vectors, version=(2, 0))
    with pytest.raises(ArgumentError, match="vectors is in another version"):
        WordVectors.load(path)


def test_compressed_arrays(vectors, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors.save(path)
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)
    same(WordVectors.load(path), vectors)
    with pytest.raises(ArgumentError, match="uncompressed"):
        WordVectors.load(path, mmap=True)


def test_an_array_that_unfolds_to_much_is_refused(vectors, tmp_path):
    path = tmp_path / "v.npz"
    vectors.save(path)
    with np.load(path) as arrays:
        bomb = dict(arrays) | {"vectors": np.zeros((2**20, 8), np.float32)}
    np.savez_compressed(path, **bomb)
    with pytest.raises(ArgumentError, match=r"v\.npz, vectors: expected an array compressed to a 100th"):
        WordVectors.load(path)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("a vector for each", {"vectors": np.ones((3, 2), np.float32)}),
        ("at least one word", {"vectors": np.ones((2, 0), np.float32)}),
        ("vectors: .*2 dimensions", {"vectors": np.ones(2, np.float32)}),
        ("vectors holds float64", {"vectors": np.ones((2, 2))}),
        ("fortran_order=True", {"vectors": np.asfortranarray(np.ones((2, 2), np.float32))}),
        ("finite numbers, got inf", {"vectors": np.float32([[1, 2], [3, np.inf]])}),
        ("offsets: .*rising", {"offsets": np.array([0, 2, 1])}),
        ("offsets: .*rising", {"offsets": np.array([1, 1, 2])}),
        ("offsets: .*rising", {"offsets": np.array([0, 1, 3])}),
        ("offsets: .*rising", {"offsets": np.array([], np.int64)}),
        ("a count >= 0", {"counts": np.array([1, -1])}),
        ("a count >= 0", {"counts": np.array([1])}),
        ("word 1: .*distinct words", {"words": np.frombuffer(b"aa", np.uint8)}),
        ("words, byte 1: .*UTF-8", {"words": np.frombuffer(b"a\xff", np.uint8)}),
        ("words holds .*object|words holds .O", {"words": np.array(["a", "b"], object)}),
        ("KeyError", {"offsets": None}),
    ],
)
def test_malformed_arrays(message, changes, tmp_path):
    sound = {
        "vectors": np.ones((2, 2), np.float32), "words": np.frombuffer(b"ab", np.uint8),
        "offsets": np.array([0, 1, 2]),
    }
    arrays = {name: array for name, array in (sound | changes).items() if array is not None}
    path = tmp_path / "vectors.npz"
    np.savez(path, **sound)
    assert WordVectors.load(path).index_to_key == ["a", "b"]
    np.savez(path, **arrays)
    with pytest.raises(ArgumentError, match=rf"vectors\.npz.*({message})"):
        WordVectors.load(path)
