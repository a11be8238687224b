"""Files of vectors with keys of any kind: NumPy, safetensors, Parquet."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, Float32s, Integers, PathLike
from numba_ss.io.copies import Copies
from numba_ss.io.npz_files import read_archive, write_archive
from numba_ss.io.packed_words import pack_words, unpack_words
from numba_ss.io.parquet_files import read_table, write_table
from numba_ss.io.safetensors_files import read_tensors, write_tensors
from numba_ss.io.stored_vectors import first_not_finite, first_repeated
from numba_ss.logs.columns import Place, as_array, factorize

_SUFFIXES = (".npz", ".safetensors", ".parquet")


def suffix_of(path: PathLike, name: str = "path") -> str:
    """Return the suffix of a file of vectors, which selects its format; `name` is for messages."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        expected = f"a file name that ends in {', '.join(_SUFFIXES)}"
        _checks.fail(name, expected, repr(str(path)))
    return suffix


def save_vectors(path: PathLike, ids: ArrayLike, vectors: ArrayLike) -> None:
    """Write vectors and their ids to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        Its suffix selects the format. ``.npz`` and ``.safetensors`` hold the array ``vectors``.
        Integer ids are the array ``ids``. Strings are the arrays ``words``, the UTF-8 of all ids
        one after the other, and ``offsets``, where each begins and ends. ``.parquet`` holds the
        columns ``id``, int64 or string, and ``vector``, lists of float32 of a fixed size.
    ids : array or list of str or int, shape (n,)
        Distinct keys, all strings or all integers.
    vectors : array of float32, shape (n, dim)
        Finite numbers.

    Raises
    ------
    ArgumentError
        If ids or vectors cannot be used, or the suffix is none of these.
    ImportError
        If the format needs a library that is not installed.

    See Also
    --------
    load_vectors : reads the file
    WordVectors.load : also reads the file, if ids are strings

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_vectors(f"{folder}/items.npz", [30, 7], np.eye(2, 3, dtype=np.float32))
    ...     load_vectors(f"{folder}/items.npz")
    (array([30,  7]), array([[1., 0., 0.], [0., 1., 0.]], dtype=float32))
    """
    suffix = suffix_of(path)
    keys = _check_ids(ids)
    table = _check_vectors(vectors, len(keys))
    if suffix == ".parquet":
        write_table(path, keys, table)
        return
    named = pack_words(keys) if isinstance(keys, list) else {"ids": keys}
    write = write_archive if suffix == ".npz" else write_tensors
    write(path, {"vectors": table, **named})


def load_vectors(path: PathLike) -> tuple[NDArray[Any], Float32s]:
    """Read a file that `save_vectors` wrote, or `WordVectors.save` in one of its formats.

    Parameters
    ----------
    path : str or path
        The file; with a scheme, such as ``s3://``, fsspec makes a temporary copy.

    Returns
    -------
    ids : ndarray of int64 or of str objects, shape (n,)
        Keys.
    vectors : ndarray of float32, shape (n, dim)
        Vectors, with the bits that were saved.

    Raises
    ------
    ArgumentError
        If the file is damaged or of another kind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_vectors(f"{folder}/items.npz", ["tea", "rum"], np.eye(2, dtype=np.float32))
    ...     ids, vectors = load_vectors(f"{folder}/items.npz")
    >>> ids, vectors.shape
    (array(['tea', 'rum'], dtype=object), (2, 2))
    """
    ids: list[str] | Integers
    with Copies() as copies:
        here = copies.local("path", path)
        suffix = suffix_of(here)
        if suffix == ".parquet":
            ids, vectors, _ = read_table(here, ["string", "int64"])
        else:
            arrays = (read_archive if suffix == ".npz" else read_tensors)(here, _names)
            ids, vectors = _ids_of(here, arrays), cast(Float32s, arrays["vectors"])
        _check_sound(here, ids, vectors)
    keys = np.array(ids, object if isinstance(ids, list) else np.int64)
    return keys, np.require(vectors, requirements=["C", "W"])


def _names(present: Collection[str]) -> list[str]:
    return ["vectors", "ids"] if "ids" in present else ["vectors", "words", "offsets"]


def _ids_of(path: PathLike, arrays: Arrays) -> list[str] | Integers:
    if "ids" in arrays:
        return arrays["ids"]
    return unpack_words(path, arrays["words"], arrays["offsets"])


def _check_ids(ids: Any) -> list[str] | Integers:
    values, positions = factorize(as_array("ids", ids), Place("ids"))
    if not len(positions):
        _checks.fail("ids", "at least one key", "none")
    if len(values) < len(positions):
        # Distinct values are numbered 0, 1, ... as they come; any other number is a repetition.
        row = int(np.argmax(positions != np.arange(len(positions))))
        key = values[positions[row]]
        got = repr(key) if isinstance(key, str) else key
        _checks.fail("ids", "distinct keys", f"{got} again at ids[{row}]")
    return values


def _check_vectors(value: Any, length: int) -> Float32s:
    vectors = np.asarray(value)
    if vectors.dtype != np.float32:
        _checks.fail("vectors", "float32 numbers", vectors.dtype)
    _checks.shaped("vectors", vectors, (length, None), "n, dim")
    if not vectors.size:
        _checks.fail("vectors", "vectors of at least one number", f"shape {vectors.shape}")
    _checks.finite([("vectors", vectors, None)])
    return np.ascontiguousarray(vectors)


def _check_sound(path: PathLike, ids: list[str] | Integers, vectors: Float32s) -> None:
    if not vectors.size or len(ids) != len(vectors):
        got = f"{len(ids)} keys and vectors of shape {vectors.shape}"
        _checks.fail(str(path), "at least one key, and a vector for each", got)
    keys = ids if isinstance(ids, list) else ids.tolist()
    row = first_repeated(keys)
    if row is not None:
        _checks.fail(f"{path}, key {row}", "distinct keys", f"{keys[row]!r} again")
    bad = first_not_finite(vectors)
    if bad is not None:
        got = f"{vectors[bad]} as number {bad[1] + 1} of {keys[bad[0]]!r}"
        _checks.fail(f"{path}, key {bad[0]}", "finite numbers", got)
