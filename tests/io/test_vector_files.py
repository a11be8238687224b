"""vector_files.py: every format gives back what it took, and no damaged file goes through."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.io.vector_files import READERS
from numba_ss.word2vec.vectors import WordVectors
from tests.io.vector_cases import FORMATS, LIBRARY, WORD2VEC, need, same


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(format, vectors, tmp_path):
    need(format)
    path = tmp_path / f"vectors.{format}"
    for want in (vectors, WordVectors(vectors.index_to_key, vectors.vectors)):
        want.save(path)
        same(WordVectors.load(path), want, counts=format not in WORD2VEC)
    vectors.save(tmp_path / "named", format=format)
    assert (tmp_path / "named").read_bytes()
    same(WordVectors.load(tmp_path / "named", format), vectors, counts=format not in WORD2VEC)


@pytest.mark.parametrize("format", ["npz", "safetensors", "parquet"])
def test_words_may_hold_anything(format, vectors, tmp_path):
    need(format)
    words = ["", " ", "a b\n", "\0", "\t"]
    path = tmp_path / f"vectors.{format}"
    WordVectors(words, vectors.vectors).save(path)
    assert WordVectors.load(path).index_to_key == words


def test_projector(tmp_path):
    vectors = WordVectors(["a", "b c"], [[0.5, -1.0], [1e-5, 3.0]], [5, 2])
    vectors.save(tmp_path / "v.tsv")
    assert (tmp_path / "v.tsv").read_text() == "0.5\t-1.0\n1e-05\t3.0\n"
    assert (tmp_path / "v_metadata.tsv").read_text() == "word\tcount\na\t5\nb c\t2\n"
    WordVectors(["a", "b c"], vectors.vectors).save(tmp_path / "v.tsv")
    assert (tmp_path / "v_metadata.tsv").read_text() == "a\nb c\n"


@pytest.mark.parametrize("format", ["npz", "bin", "txt", "safetensors", "parquet"])
def test_limit(format, vectors, tmp_path):
    need(format)
    vectors.save(tmp_path / "v", format=format)
    for limit in (1, 4, 5, 9):
        want = WordVectors(vectors.index_to_key[:limit], vectors.vectors[:limit], vectors.counts[:limit])
        same(WordVectors.load(tmp_path / "v", format, limit=limit), want, counts=format not in WORD2VEC)
    with pytest.raises(ArgumentError, match="limit: expected at least 1"):
        WordVectors.load(tmp_path / "v", format, limit=0)


def test_a_flipped_number_is_found_by_checksums(rng, tmp_path):
    vectors = WordVectors(list(map(str, range(2000))), rng.standard_normal((2000, 3)))
    number = vectors.vectors[1993].tobytes()
    for name in ("v.npz", "v.safetensors"):
        need(name.removeprefix("v."))
        path = tmp_path / name
        vectors.save(path)
        path.write_bytes(path.read_bytes().replace(number, bytes([number[0] ^ 1]) + number[1:]))
        with pytest.raises(ArgumentError, match=rf"{name}.*CRC"):
            WordVectors.load(path)
    path = tmp_path / "v.npz"
    assert WordVectors.load(path, mmap=True).index_to_key == vectors.index_to_key
    with pytest.raises(ArgumentError, match="CRC"):
        WordVectors.load(path, mmap=True, verify=True)
    vectors.save(path)
    same(WordVectors.load(path, mmap=True, verify=True), vectors)


FULL_DISK = """
import resource, signal, sys
import numpy as np
from numba_ss import WordVectors
vectors = WordVectors(["a", "b"], np.random.default_rng(0).standard_normal((2, 2**14)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**13, 2**13))
try:
    vectors.save(sys.argv[1])
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of resources")
@pytest.mark.parametrize("name", ["v.npz", "v.bin", "v.txt", "v.safetensors", "v.parquet", "v.txt.gz"])
def test_a_full_disk_is_told_with_the_file_s_name(name, tmp_path):
    need(name.rpartition(".")[2])
    (tmp_path / name).write_text("older")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert str(tmp_path / name) in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def damaged(data, rng):
    """Yield the file cut short at every byte, with bytes changed, put in and left out."""
    for stop in range(len(data)):
        yield data[:stop]
    for _ in range(100):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        yield bytes(changed)
        start, stop = np.sort(rng.integers(0, len(data), 2))
        yield data[:start] + data[stop:]
        yield data[:start] + rng.bytes(5) + data[start:]


@pytest.mark.parametrize("format", [*FORMATS, "bin.gz", "txt.gz", "mapped"])
def test_damage_is_told_or_harmless(format, rng, tmp_path):
    need(format)
    mmap = format == "mapped"
    plain = "npz" if mmap else format.removesuffix(".gz")
    path = tmp_path / f"vectors.{plain}"
    words = ["the", "Käse", "zz"]
    WordVectors(words, rng.standard_normal((3, 2)).astype(np.float32), [9, 5, 1]).save(path)
    data = path.read_bytes()
    if format.endswith(".gz"):
        data, path = gzip.compress(data), path.with_suffix(f".{format}")
    messages = []
    for content in damaged(data, rng):
        path.write_bytes(content)
        try:
            loaded = WordVectors.load(path, mmap=mmap)
        except ArgumentError as error:
            messages.append(str(error))
        else:
            assert len(set(loaded.index_to_key)) == len(loaded) == len(loaded.vectors)
            assert mmap or np.isfinite(loaded.vectors).all()
    assert len(messages) > len(data) * 0.8
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    ("message", "path", "options"),
    [
        (r"path: .*\.npz.*\.vec, or a format, got .*v\.xyz", "v.xyz", {}),
        ("path", "v", {}),
        ("path", "v.npz.gz", {}),
        ("path", "v.tsv", {}),
        ("format: .*'npz'", "v.npz", {"format": "tsv"}),
        ("mmap: .*all but npz files", "v.bin", {"mmap": True}),
        ("mmap: .*True or False", "v.npz", {"mmap": 1}),
    ],
)
def test_bad_arguments_of_load(message, path, options, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        WordVectors.load(tmp_path / path, **options)


def test_bad_arguments_of_save(vectors, tmp_path):
    for path, options in [("v.npz.gz", {}), ("v.bin.xz", {}), ("v", {}), ("v.npz", {"format": "pickle"})]:
        with pytest.raises(ArgumentError, match=r"path|format"):
            vectors.save(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_absent_files_are_absent(format, tmp_path):
    need(format)
    with pytest.raises(FileNotFoundError):
        READERS[format](tmp_path / f"vectors.{format}")


@pytest.mark.parametrize("format", LIBRARY)
def test_absent_libraries_are_named(format, vectors, monkeypatch, tmp_path):
    module = {"safetensors": "safetensors", "parquet": "pyarrow"}[format]
    for name in (module, f"{module}.numpy", f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {module}: .*numba-ss\[all\]"):
        vectors.save(tmp_path / f"vectors.{format}")
    with pytest.raises(ImportError, match=module):
        WordVectors.load(tmp_path / f"vectors.{format}")
