"""file_kinds.py: compressed files, byte order marks, what is no text, what is marked up."""

import bz2
import gzip
import lzma

import pytest

from numba_ss import ArgumentError
from numba_ss.io.file_kinds import compression_of, encoding_of, markup_of, refuse_foreign


@pytest.mark.parametrize("data", [b"", b"some text " * 50])
def test_compression(data):
    for name, module in (("gz", gzip), ("bz2", bz2), ("xz", lzma)):
        assert compression_of(module.compress(data)) == name
    for text in (b"", b"BZh", b"BZh9 or so", b"plain"):
        assert compression_of(text) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(encoding):
    data = "über".encode(encoding)
    assert encoding_of(data) == encoding.removesuffix("-sig")
    assert data.decode(encoding_of(data)).removeprefix("\ufeff") == "über"


@pytest.mark.parametrize(
    "data", [b"", b"GIF", b"PK", b"\x80", "€ 5".encode(), b"words" * 200, b"a " * 128 + b"mustard"]
)
def test_text_is_let_through(data):
    refuse_foreign("name", data)
    assert encoding_of(data) == "utf-8"


def test_what_is_foreign_is_named():
    with pytest.raises(ArgumentError, match="name: expected text, got a GIF picture: leave it out"):
        refuse_foreign("name", b"GIF89a")
    with pytest.raises(ArgumentError, match=r"name: expected text, got a pointer of Git LFS .*git lfs pull"):
        refuse_foreign("name", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b" <?xml version='1.0'?>", "XML or HTML"),
        (b"<!DOCTYPE html>", "XML or HTML"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON lines"),
        (b'{"a": "cut', "JSON lines"),
        (b"{a}\n", None),
        (b"[1]\n", None),
        (b'[\n {"a": 1},\n', "a JSON array"),
        (b"< a b\n", None),
        (b"", None),
    ],
)
def test_markup(head, what):
    found = markup_of(head)
    assert (found and found.what) == what
