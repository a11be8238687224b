"""Words as UTF-8 bytes: one by one, as the formats of files want them, or packed into arrays."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._types import Arrays, PathLike
from numba_ss.io.stored_vectors import fail

_PACKED = 2**12  # words that are encoded at a time: each alone takes several times its bytes
_WHITESPACE = (r"\s", "whitespace, for word2vec's formats")
_FORBIDDEN = {
    "bin": _WHITESPACE, "txt": _WHITESPACE,
    "tsv": (r"\t\n\r", "tabs or newlines, for a .tsv file"),
}


def encode_words(words: list[str]) -> list[bytes]:
    """Return the words in UTF-8."""
    try:
        return [word.encode() for word in words]
    except UnicodeEncodeError as error:
        _checks.fail("words", "words that UTF-8 can hold", ascii(error.object))


def decode_word(
    path: PathLike, unit: str, position: int, raw: bytes, errors: str = "strict"
) -> str:
    """Decode a word; an error names its `position` in the file, in bytes or lines (`unit`)."""
    try:
        return raw.decode(errors=errors)
    except UnicodeDecodeError as error:
        got = f"{raw[:40]!r} ({error.reason}); errors=\"replace\" (--errors) reads it"
        fail(path, f"{unit} {position}", "a word in UTF-8", got)


def pack_words(words: list[str]) -> Arrays:
    """Return words as arrays: the UTF-8 of all words, one after the other, and offsets into it."""
    pieces, offsets = [], np.zeros(len(words) + 1, np.int64)
    for start in range(0, len(words), _PACKED):
        encoded = encode_words(words[start : start + _PACKED])
        offsets[start + 1 : start + 1 + len(encoded)] = [len(word) for word in encoded]
        pieces.append(b"".join(encoded))
    np.cumsum(offsets, out=offsets)
    return {"words": np.frombuffer(b"".join(pieces), np.uint8), "offsets": offsets}


def unpack_words(path: PathLike, data: NDArray[Any], offsets: NDArray[Any]) -> list[str]:
    """Return the words that `pack_words` packed; `path` is the file of the arrays."""
    raw, ends = data.tobytes(), offsets.tolist()
    if ends[:1] != [0] or ends[-1] != len(raw) or (offsets[1:] < offsets[:-1]).any():
        fail(path, "offsets", f"rising numbers from 0 to {len(raw)}", offsets)
    return [decode_word(path, "words, byte", i, raw[i:j]) for i, j in pairwise(ends)]


def require_words(format: str, words: list[str]) -> None:
    """Require that a format can hold the words: some cannot hold empty words or blanks."""
    if format in _FORBIDDEN:
        separators, what = _FORBIDDEN[format]
        forbidden = re.compile(f"[{separators}]|^$", re.ASCII)
        for word in words:
            if forbidden.search(word):
                expected = f"words without {what}, none of them empty (or another format)"
                _checks.fail("words", expected, repr(word))


def encode_for(format: str, words: list[str]) -> list[bytes]:
    """Return the words in UTF-8, if a format can hold them."""
    require_words(format, words)
    return encode_words(words)
