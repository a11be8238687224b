"""The kind of a file, found from its first bytes, because its name may be wrong."""

from __future__ import annotations

import codecs
import json
from typing import NamedTuple

from numba_ss import _checks

# The first bytes of a file that tell its kind; the mark of a tar archive is at offset 257.
HEAD = 2**12

COMPRESSED = {
    "gz": b"\x1f\x8b\x08",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zst": b"\x28\xb5\x2f\xfd",
}
PARQUET, ARROW, PICKLE, ZIP = b"PAR1", b"ARROW1\0\0", b"\x80", b"PK\3\4"
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, because it begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Foreign(NamedTuple):
    """A kind of file that cannot be read, and a hint what to do about it."""

    what: str
    way: str


LFS = b"version https://git-lfs.github.com/spec/"
POINTER = Foreign("a pointer of Git LFS to a file", "git lfs pull brings the file itself")
_UNPACK = "unpack it, and name the files in it or their folder"
_PICTURE = "leave it out, say with a pattern such as 'folder/*.txt'"
_CONVERT = "save its text as .txt"
_FOREIGN = {
    ZIP: Foreign("a zip archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": Foreign("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": Foreign("a RAR archive", _UNPACK),
    b"\x89PNG\r\n\x1a\n": Foreign("a PNG picture", _PICTURE),
    b"\xff\xd8\xff": Foreign("a JPEG picture", _PICTURE),
    b"GIF8": Foreign("a GIF picture", _PICTURE),
    b"%PDF-": Foreign("a PDF document", "take the text out of it, say with pdftotext"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Foreign("an Office document", _CONVERT),
    b"{\\rtf": Foreign("an RTF document", _CONVERT),
    PARQUET: Foreign("a Parquet file in a compressed one", "decompress it"),
    ARROW: Foreign("an Arrow file in a compressed one", "decompress it"),
    b"\xff\xff\xff\xff": Foreign(
        "an Arrow stream", "pyarrow.ipc.open_stream(path).read_all() is a table for open_corpus"
    ),
    b"FEA1": Foreign("a Feather file of version 1", "write it anew with pyarrow.parquet"),
    b"\x93NUMPY": Foreign("a NumPy array", "give its ids as numba_ss.PackedCorpus(ids, offsets)"),
    b"\x89HDF\r\n\x1a\n": Foreign("an HDF5 file", _CONVERT),
    b"SQLite format 3\0": Foreign("an SQLite database", _CONVERT),
    b"\x7fELF": Foreign("a program", "name a file of text"),
    LFS: POINTER,
}


def compression_of(head: bytes) -> str | None:
    """Return "gz", "bz2", "xz", "zst" or None."""
    found = next((name for name, mark in COMPRESSED.items() if head.startswith(mark)), None)
    if found == "bz2" and head[4:10] not in (b"1AY&SY", b"\x17rE8P\x90"):  # text may begin with BZh
        return None
    return found


def encoding_of(head: bytes) -> str:
    """Return the encoding of a byte order mark, or UTF-8 if there is none."""
    return next((name for mark, name in _BOMS.items() if head.startswith(mark)), "utf-8")


def refuse_foreign(name: str, head: bytes) -> None:
    """Refuse a file of a kind that is known not to be text; `name` is that of the file."""
    found = next((kind for mark, kind in _FOREIGN.items() if head.startswith(mark)), None)
    if head[257:262] == b"ustar" and b"\0" in head[:257]:  # not the "mustard" of a text
        found = Foreign("a tar archive", _UNPACK)
    if compression_of(head) is not None:
        found = Foreign("a compressed file in a compressed one", "decompress it once")
    if head[:1] == PICKLE and head[1:2] in b"\2\3\4\5" and len(head) > 1:
        found = Foreign("a Python pickle, which is never opened here", _CONVERT)
    if found is not None:
        _checks.fail(name, "text", f"{found.what}: {found.way}")


def markup_of(head: bytes) -> Foreign | None:
    """Return the kind of markup that a text seems to be, or None if it looks like plain words."""
    start = head.lstrip()
    if start[:10].lower().startswith((b"<mediawiki", b"<?xml", b"<!doctype", b"<html")):
        return Foreign("XML or HTML", "take the text out of it, say with WikiExtractor")
    if start[:1] == b"[" and start[1:].lstrip()[:1] == b"{":
        return Foreign("a JSON array", "one object a line can be read, as jq -c '.[]' writes them")
    line = start.split(b"\n", 1)[0]
    if line.startswith(b"{"):
        try:
            keys = list(json.loads(line)) if len(head) > len(line) else ["..."]
        except ValueError:
            return None
        return Foreign("JSON lines", f"column= (--column) reads one of the keys {keys}"[:300])
    return None
