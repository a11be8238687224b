"""Text in any encoding as UTF-8; malformed bytes are counted, and too many of them refused."""

from __future__ import annotations

import codecs
from typing import NoReturn

from numba_ss import _checks
from numba_ss.io.file_kinds import encoding_of

# One byte in _SHARE may be malformed; in a small text one in _MANY, but no more than _FEW.
_SHARE, _FEW, _MANY = 1000, 10, 20
_REPLACED = "\ufffd"


def tolerated(num_bytes: int) -> int:
    """Return how many places of so many bytes may be malformed."""
    return max(1, num_bytes // _SHARE, min(num_bytes // _MANY, _FEW))


class Decoder:
    """Converts the bytes of a file to UTF-8; counts those it has read, and malformed places."""

    def __init__(self, name: str, encoding: str | None, strict: bool) -> None:
        self._name, self._strict = name, strict
        self._rest = b""  # the first bytes of an incomplete character
        self.bad = self.read = 0
        if encoding is not None:
            self._use(encoding)

    def _use(self, encoding: str) -> None:
        self._encoding = codecs.lookup(encoding).name
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def decode(self, data: bytes, final: bool) -> bytes:
        """Return the next part in UTF-8; refuse a file with too many malformed bytes."""
        if not hasattr(self, "_encoding"):
            self._use(encoding_of(data))
        self.read += len(data)
        if self._encoding == "utf-8":
            text = self._checked(self._rest + data, final)
        else:
            try:
                decoded = self._decoder.decode(data, final)
            except UnicodeError as error:  # UTF-16 without a byte order mark, for example
                _checks.fail(self._name, f"text in {self._encoding}", error)
            self.bad += decoded.count(_REPLACED)
            text = decoded.encode("utf-8", "replace")
        self.bad += text.count(b"\0")
        if self.bad > (0 if self._strict else tolerated(self.read)):
            self._refuse(text)
        return text

    def _checked(self, data: bytes, final: bool) -> bytes:
        """Return UTF-8 data with malformed bytes replaced; nearly all data is well-formed."""
        if data.isascii():
            self._rest = b""
            return data
        try:
            used = codecs.utf_8_decode(data, "strict", final)[1]
            text = data[:used]
        except UnicodeDecodeError:
            decoded, used = codecs.utf_8_decode(data, "replace", final)
            text = decoded.encode()
            here = _REPLACED.encode()
            self.bad += text.count(here) - data[:used].count(here)
        self._rest = data[used:]
        return text

    def _refuse(self, text: bytes) -> NoReturn:
        hint = 'encoding= (--encoding) names another, such as "cp1252", "gb18030", "utf-16"'
        otherwise = "; if it is no text, leave it out, say with a pattern such as 'folder/*.txt'"
        if self._strict:
            hint, otherwise = "iconv makes UTF-8 of other encodings", ""
        elif len(text) < 4 * text.count(b"\0") < 3 * len(text):
            # Of two bytes of a letter, the first is the low one.
            order = "le" if text[1::2].count(b"\0") > text[::2].count(b"\0") else "be"
            hint = f'encoding="utf-16-{order}" (--encoding) reads what Windows writes'
        got = f"{self.bad} places that are none in the first {self.read} bytes"
        _checks.fail(self._name, f"text in {self._encoding}", f"{got}; {hint}{otherwise}")


def check_encoding(encoding: str | None) -> str | None:
    """Return the name of an encoding after checking that Python can decode text with it."""
    if encoding is not None:
        try:
            b"a".decode(encoding, "ignore")
        except (LookupError, TypeError, ValueError):
            expected = 'None or the name of an encoding, such as "utf-8", "cp1252" or "gb18030"'
            _checks.fail("encoding", expected, repr(encoding))
    return encoding
