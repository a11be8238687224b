"""NumPy's .npz archives of arrays, whose vectors may be mapped into memory."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Arrays, PathLike
from numba_ss.io.files import whole_file
from numba_ss.io.stored_vectors import CHUNK, TYPES, Names, check_types, fail, opened

# A file that decompresses to more than this many times its size is refused: vectors do not.
_UNFOLDS = 100


def write_archive(path: PathLike, arrays: Arrays) -> None:
    """Write arrays that `numpy.load` reads, uncompressed, each at a multiple of 64 bytes."""
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            # An extra field, which readers ignore, pads the header. Without it the header has 30
            # bytes, the name, 20 bytes for the 64-bit sizes, and 4 for the head of this field.
            filling = -(file.tell() + 30 + len(member.filename) + 20 + 4) % 64
            member.extra = struct.pack("<HH", 0xD935, filling) + bytes(filling)
            with archive.open(member, "w", force_zip64=True) as out:
                array = array.astype(TYPES[name], order="C", copy=False)
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(out, header)
                out.write(array.reshape(-1).view(np.uint8).data)  # at once: pieces would be copies


def read_archive(
    path: PathLike, names: Names, *, mmap: bool = False, verify: bool = False
) -> Arrays:
    """Read what `write_archive` wrote; with `mmap`, map the vectors into memory.

    The archive has a checksum of each array. With `verify`, that of mapped vectors is compared,
    too.
    """
    with opened(path, "an .npz file of vectors") as file, zipfile.ZipFile(file) as archive:
        file.seek(-22, os.SEEK_END)
        if file.read(4) != b"PK\5\6":
            fail(path, "the last 22 bytes", "the end of the archive", "something else")
        arrays = {
            name: _mapped(path, file, archive, verify) if mmap and name == "vectors"
            else _member(path, archive, name)
            for name in names([name.removesuffix(".npy") for name in archive.namelist()])
        }
        check_types(path, arrays)
        return arrays


def _member(path: PathLike, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array; unlike ``numpy.load``, compare its shape with the number of bytes."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > CHUNK + _UNFOLDS * info.compress_size:
        got = f"one of {info.compress_size} bytes that unfolds to {info.file_size}"
        fail(path, name, f"an array compressed to a {_UNFOLDS}th at most", got)
    with archive.open(info) as file:
        shape, _ = _array_header(file, name, info.file_size)
        return np.frombuffer(file.read(), TYPES[name]).reshape(shape)


def _mapped(
    path: PathLike, file: IO[bytes], archive: zipfile.ZipFile, verify: bool
) -> NDArray[Any]:
    info = archive.getinfo("vectors.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        fail(path, "vectors", "an uncompressed array, for mmap=True", "a compressed one")
    with archive.open(info) as member:
        shape, header = _array_header(member, "vectors", info.file_size)
        while verify and member.read(CHUNK):  # the end of the member compares the checksum
            pass
    file.seek(info.header_offset + 26)
    start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    return np.memmap(file, TYPES["vectors"], "r", start, shape)


def _array_header(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of an array in NumPy's format, and the offset of its numbers."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is in another version of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != TYPES[name] or fortran_order:
        raise ValueError(f"{name} holds {dtype}, fortran_order={fortran_order}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{name} of shape {shape} in {size - file.tell()} bytes")
    return shape, file.tell()
