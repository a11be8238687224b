"""text.py: the tokeniser and the table of words, against Python's own split."""

import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from numba_ss import reference
from numba_ss.kernels.words import text
from tests.conftest import JIT, needs_jit

# Bytes that a random text rarely has by chance: whitespace of all widths and parts of it.
PARTS = [
    b"a", b"word", b"fifteen_letters", b"sixteen__letters", b"\xd0\xb6", b"\xe4\xb8\xad",
    b"\xf0\x9f\x8c\x8d", b" ", b"\n", b"\t", b"\r", b"\x1c", b"\x1b", b"\0", b"\xc2\xa0",
    b"\xc2\x85", b"\xc2\xa1", b"\xe1\x9a\x80", b"\xe2\x80\x83", b"\xe2\x80\x8b", b"\xe2\x80\xa8",
    b"\xe2\x80\xa7", b"\xe2\x81\x9f", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"\xe3", b"\x80", b"\xe2\x80",
    b"\xf0\x9f", b"\xc2", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80",
]
texts = st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=30).map(b"".join)
sound = texts.map(lambda data: data.decode("utf-8", "replace").encode())


def padded(data):
    return np.frombuffer(data + b"!" * text.PADDING, np.uint8).copy()


class Table:
    """A table of few slots, with no room to spare."""

    def __init__(self, words=(), num_slots=64, room=0):
        lines = "".join(f"{word}\n" for word in words).encode()
        self.arena = np.zeros(len(lines) + room + text.PADDING, np.uint8)
        self.arena[: len(lines)] = np.frombuffer(lines, np.uint8)
        self.sizes = np.array([len(words), len(lines)])
        self.slots = np.zeros(3 * num_slots, np.uint64)
        text.fill_slots(self.arena, len(lines), self.slots)

    def encode(self, data, keep_unknown=0, num_chunks=1):
        """Return the ids, without what each chunk cannot know, and to where it is done."""
        block, out = padded(data), np.empty(len(data) + 1, np.int32)
        chunks = np.empty((num_chunks, 3), np.int64)
        text.encode_words(
            block, len(data), self.arena, self.slots, keep_unknown, num_chunks, out, chunks
        )
        ids = []
        for first, last, _ in chunks:
            part = out[first:last].tolist()
            ids += part[1:] if part[:1] == ids[-1:] == [-1] else part
        return ids, chunks[:, 2].min()


def index(words):
    return reference.fill_slots("".join(f"{word}\n" for word in words).encode())


@given(sound, st.sampled_from([1, 2, 3, 8]), st.sampled_from([0, 1]))
@example("long_words_of_more_than_fifteen_bytes\u3000and \0 short\n\n\u2003x ".encode(), 2, 0)
def test_encode_words(data, num_chunks, keep_unknown):
    words = list(dict.fromkeys(data.decode().split()))[::2]
    got, done = Table(words).encode(data, keep_unknown, num_chunks)
    assert got == reference.encode_words(data, index(words), keep_unknown)
    rest = data[done:].decode().split()
    assert rest == (data.decode().split()[-1:] if not data[-1:].isspace() and rest else [])


@given(texts)
def test_malformed_bytes_are_found(data):
    data += b"\n"
    try:
        data.decode()
        sound = True
    except UnicodeDecodeError:
        sound = False
    assert (Table().encode(data)[1] != text.MALFORMED) == sound


@pytest.mark.parametrize("start", [b"\xe2", b"\xed\xa0", b"\xf0\x9f\x8c", b"\xf4\x90", b"\xc2"])
def test_what_may_go_on_is_not_judged(start):
    assert Table().encode(b"a b" + start) == ([], 2)
    assert Table().encode(b"a b" + start + b"\n")[1] == text.MALFORMED


@needs_jit
def test_every_pair_of_bytes_is_judged_as_python_does():
    """As the first two of four, so that any sequence can be complete."""
    table = Table()
    for tail in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf"):
        for lead in range(128, 256):
            for second in range(256):
                data = bytes([lead, second]) + tail + b"\n"
                try:
                    data.decode()
                    done = len(data)
                except UnicodeDecodeError:
                    done = text.MALFORMED
                assert table.encode(data)[1] == done, data


def test_every_character_separates_words_as_in_python():
    characters = range(sys.maxunicode + 1) if JIT else [*range(300), *range(0x1FF0, 0x2070), 0x3000]
    data = "".join(f"a{chr(c)}b " for c in characters if not 0xD800 <= c < 0xE000).encode()
    ids, done = Table(["a", "b"]).encode(data)
    assert done == len(data)
    assert ids == reference.encode_words(data, {"a": 0, "b": 1}, False)


def test_a_word_that_touches_the_end_is_left():
    data = "two ж中🌍 last".encode()
    words = data.decode().split()
    for stop in range(len(data) + 1):
        ids, done = Table(words).encode(data[:stop])
        assert ids == list(range(data[:stop].count(b" ")))
        assert done == (data[:stop].rfind(b" ") + 1 if not data[:stop].endswith(b" ") else stop)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 14, 15, 16, 17, 24, 40, 1000])
def test_words_that_differ_in_one_byte_are_different(length):
    word = "x" * length
    words = [word, word + "\0", word[:-1] + "y", "y" + word[1:] + "z", word[:-1] + "\0\0"]
    data = " ".join(words).encode() + b" "
    assert Table(words).encode(data)[0] == list(range(5))
    assert Table(words[:1]).encode(data, 1)[0][1:] == [-2 - data.index(w.encode() + b" ") for w in words[1:]]


def test_long_words_of_equal_hash_are_told_apart():
    """Two words whose hashes collide, found by undoing the hash for the second half."""
    rng = np.random.default_rng(5)
    mix = 0x9E3779B97F4A7C15

    def half(word, hashed):
        hashed = (hashed ^ int.from_bytes(word, "little")) * mix % 2**64
        return hashed ^ (hashed >> 29)

    first = half(b"abcdefgh", 16)
    second = b""
    while not (second.isascii() and second.decode().isprintable() and second.split() == [second]):
        start = bytes(rng.integers(97, 123, 8, np.uint8))
        second = (int.from_bytes(b"ijklmnop", "little") ^ first ^ half(start, 16)).to_bytes(8, "little")
    pair = [b"abcdefghijklmnop", start + second]
    assert text._key(padded(pair[0]), 0, 16) == text._key(padded(pair[1]), 0, 16)
    ids, _ = Table([word.decode() for word in pair]).encode(b" ".join([*pair, pair[0], b""]))
    assert ids == [0, 1, 0]
    assert Table([pair[0].decode()]).encode(pair[1] + b" ", 1)[0] == [-2]


@given(sound)
@example(b"a " + b"w" * 50 + b" b c d e f g h i j k l m n o p \n")
def test_count_words_stops_for_want_of_room(data):
    """Give it room one piece at a time."""
    data += b" "
    table = Table(["a", "word"], num_slots=4)
    counts = np.zeros(3, np.int64)
    ids = np.array(table.encode(data, 1)[0], np.int32)
    want = reference.count_words(ids.tolist(), data, {"a": 0, "word": 0})
    done = 0
    while True:
        done = text.count_words(
            ids, done, padded(data), len(data), table.arena, table.slots, counts, table.sizes
        )
        if done == len(ids):
            break
        num_words, used = table.sizes
        full = num_words == len(counts), 9 * num_words >= 2 * len(table.slots)
        if full[0]:
            counts = np.append(counts, [77])
        elif full[1]:
            table.slots = np.zeros(2 * len(table.slots), np.uint64)
            text.fill_slots(table.arena, used, table.slots)
        else:
            assert used + len(data) + text.PADDING > len(table.arena)
            table.arena = np.append(table.arena, np.zeros(10, np.uint8))
    words = table.arena[: table.sizes[1]].tobytes().decode().split("\n")[:-1]
    assert dict(zip(words, counts.tolist(), strict=False)) == want


def test_fill_slots_skips_empty_lines():
    words = ["first", "", "a_word_of_more_than_fifteen_bytes", "", "last"]
    data = " ".join(words).encode() + b"\n"
    assert Table(words).encode(data)[0] == [0, 2, 4, -1]
    assert sorted(index(words).values()) == [0, 2, 4]
    assert np.count_nonzero(Table(words).slots[1::3]) == 3
