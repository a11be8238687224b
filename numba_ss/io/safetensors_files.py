"""Files of arrays in the safetensors format, with a checksum for each array."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss._optional import import_optional
from numba_ss._types import Arrays, PathLike
from numba_ss.io.files import whole_file
from numba_ss.io.stored_vectors import Names, check_types, fail, opened

_METADATA = {"format": "numba_ss word vectors", "version": "1"}


def write_tensors(path: PathLike, arrays: Arrays) -> None:
    """Write arrays as tensors, with a checksum for each."""
    save_file = import_optional("safetensors.numpy", "safetensors").save_file
    failure = import_optional("safetensors", "safetensors").SafetensorError
    sums = {f"crc32 {name}": _checksum(array) for name, array in arrays.items()}
    with whole_file(path) as file:
        try:
            save_file(arrays, file.name, metadata=_METADATA | sums)
        except failure as error:  # for example of a full disk
            raise OSError(str(error)) from error


def read_tensors(path: PathLike, names: Names) -> Arrays:
    """Read what `write_tensors` wrote; older files have no checksums."""
    safe_open = import_optional("safetensors", "safetensors").safe_open
    with (
        opened(path, "a safetensors file of vectors"),
        safe_open(path, framework="np") as file,
    ):
        metadata = file.metadata() or {}
        if not _METADATA.items() <= metadata.items():
            fail(path, "metadata", f"{_METADATA}", file.metadata())
        arrays = {name: file.get_tensor(name) for name in names(file.keys())}
        check_types(path, arrays)
        for name, array in arrays.items():
            expected, got = metadata.get(f"crc32 {name}"), _checksum(array)
            if expected not in (None, got):
                fail(path, name, f"an array whose CRC-32 is {expected}", got)
        return arrays


def _checksum(array: NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"
