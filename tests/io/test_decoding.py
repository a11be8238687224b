"""decoding.py: bytes in any encoding, wherever they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import ArgumentError
from numba_ss.io.decoding import Decoder, check_encoding


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig"]), st.data())
def test_text_is_what_it_was_wherever_it_is_cut(text, encoding, data):
    text = text.replace("\0", "").replace("\ufffd", "")  # which count as no text
    raw = text.encode(encoding)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    decoder = Decoder("t.txt", encoding, True)
    parts = zip([0, *cuts], [*cuts, len(raw)], strict=True)
    pieces = [decoder.decode(raw[i:j], j == len(raw)) for i, j in parts]
    assert b"".join(pieces).decode() == text
    assert decoder.bad == 0


def test_places_that_are_no_text_are_counted():
    decoder = Decoder("t.txt", None, False)
    text = b"wort " * 400
    assert decoder.decode(text + b"\xe4 \xff", False) == text + "\ufffd \ufffd".encode()
    assert decoder.bad == 2
    with pytest.raises(ArgumentError, match=r"t.txt: expected text in utf-8, got 11 places .* first 2022"):
        Decoder("t.txt", "utf-8", False).decode(text + b"\xe4 " * 11, False)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_the_order_of_bytes_is_told_where_the_mark_is_missing(encoding):
    with pytest.raises(ArgumentError, match=f'encoding="{encoding}"'):
        Decoder("t.txt", None, False).decode(("the cat sat\n" * 9).encode(encoding), True)


@pytest.mark.parametrize("name", ["utf8x", "base64", "", 5, "a\0"])
def test_what_is_no_encoding(name):
    with pytest.raises(ArgumentError, match="encoding: expected None or the name"):
        check_encoding(name)
    assert check_encoding(None) is None
    assert check_encoding("cp1252") == "cp1252"
