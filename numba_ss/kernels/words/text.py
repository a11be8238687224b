"""From bytes of text to word ids: a tokeniser and a hash table of words.

A word is a run of UTF-8 characters that are not whitespace in the sense of ``str.split``.

The table consists of two arrays. `arena` holds the words one after the other, each followed by
a newline, which no word contains; the id of a word is its position in that order. `slots` is a
hash table with open addressing. The number of slots is a power of two, and at least one is
free. A slot has three numbers: the two of the word's key, and its id. The second number of a
key is never 0; a 0 there marks a free slot.

The key of a word of up to 15 bytes is the word itself and its length, so it is found without
looking into the arena. The key of a longer word is a hash and its offset in the arena, where
its bytes are compared.

Words are read eight bytes at a time, so `block` and `arena` have `PADDING` bytes more than are
in use.
"""

from numba import prange
from numpy import int32, int64, uint8, uint64

from numba_ss.kernels._jit import exact_kernel, parallel_kernel

PADDING = 16
END_OF_SENTENCE = -1
MALFORMED = -1

_NEWLINE = uint8(10)
_SPACE = uint8(32)

_NONE = uint64(0)
_ONE = uint64(1)
_ALL = uint64(0xFFFFFFFFFFFFFFFF)
_EACH_BYTE = uint64(0x0101010101010101)
_HIGH_BITS = uint64(0x8080808080808080)
_PRINTABLE = uint64(0x2121212121212121)  # the first ASCII character after the space
_TOP = uint64(56)  # shift of the highest byte
_LONG = uint64(0xFF) << _TOP
_SHORT = 15  # longest word that fits into a key, in bytes
_MIX = uint64(0x9E3779B97F4A7C15)
_MIX_SECOND = uint64(0xD6E8FEB86659FD93)


@exact_kernel
def _load(block, position):
    """Return eight bytes as one number, the first byte lowest; LLVM makes it a single load."""
    p = uint64(position)
    return (
        uint64(block[p])
        | uint64(block[p + _ONE]) << uint64(8)
        | uint64(block[p + uint64(2)]) << uint64(16)
        | uint64(block[p + uint64(3)]) << uint64(24)
        | uint64(block[p + uint64(4)]) << uint64(32)
        | uint64(block[p + uint64(5)]) << uint64(40)
        | uint64(block[p + uint64(6)]) << uint64(48)
        | uint64(block[p + uint64(7)]) << uint64(56)
    )


@exact_kernel
def _specials(eight):
    """Mark the bytes that may end a word: control characters, the space, and non-ASCII bytes.

    The lowest mark is correct; a borrow may set wrong marks above it.
    """
    return ((eight - _PRINTABLE) | eight) & _HIGH_BITS


@exact_kernel
def _before(marks):
    """Return a mask of all bytes below the lowest mark."""
    return ((marks & (_NONE - marks)) >> uint64(7)) - _ONE


@exact_kernel
def _first(length):
    """Return a mask of the first `length` of eight bytes."""
    if length <= 0:
        return _NONE
    return _ALL >> uint64(64 - 8 * min(length, 8))


@exact_kernel
def _is_space(byte):
    """Return whether an ASCII byte is whitespace."""
    return byte == _SPACE or uint8(9) <= byte <= uint8(13) or uint8(28) <= byte <= uint8(31)


@exact_kernel
def _is_wide_space(a, b, c):
    """Return whether a valid UTF-8 sequence of two bytes (c = 0) or three is whitespace."""
    if a == 0xC2:
        return b == 0x85 or b == 0xA0
    if a == 0xE1:
        return b == 0x9A and c == 0x80
    if a == 0xE2:
        if b == 0x80:
            return c <= 0x8A or c == 0xA8 or c == 0xA9 or c == 0xAF
        return b == 0x81 and c == 0x9F
    return a == 0xE3 and b == 0x80 and c == 0x80


@exact_kernel
def _follows(byte):
    """Return whether a byte is a continuation byte of UTF-8."""
    return byte & 0xC0 == 0x80


@exact_kernel
def _character(block, p, stop):
    """Return the length in bytes of the character at `p`, which is not ASCII.

    The length is negative for whitespace, and 0 for bytes that are not UTF-8. It may reach
    beyond `stop` if the block ends inside the character.
    """
    first = block[p]
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    for i in range(1, length):
        if p + i >= stop:
            return length
        if not _follows(block[p + i]):
            return 0
    second = block[p + 1]
    if (
        (first == 0xE0 and second < 0xA0)  # an overlong form
        or (first == 0xED and second > 0x9F)  # a surrogate
        or (first == 0xF0 and second < 0x90)  # an overlong form
        or (first == 0xF4 and second > 0x8F)  # above U+10FFFF
    ):
        return 0
    if length < 4 and _is_wide_space(first, second, block[p + 2] if length == 3 else 0):
        return -length
    return length


@exact_kernel
def _length(mask):
    """Return the number of bytes in a mask."""
    return int64(((mask & _EACH_BYTE) * _EACH_BYTE) >> _TOP)


@exact_kernel
def _end_of_word(block, p, stop):
    """Return where the word around `p` ends, at most `stop`, or MALFORMED."""
    while p < stop:
        byte = block[p]
        if byte < 0x80:
            if byte > _SPACE:
                p += _length(_before(_specials(_load(block, p))))
            elif _is_space(byte):
                return p
            else:
                p += 1
        # Most letters take one of these two branches: none here is whitespace or malformed.
        elif 0xC3 <= byte <= 0xDF and _follows(block[p + 1]):
            p += 2
        elif 0xE4 <= byte <= 0xEC and _follows(block[p + 1]) and _follows(block[p + 2]):
            p += 3
        else:
            length = _character(block, p, stop)
            if length <= 0:
                return p if length < 0 else MALFORMED
            p += length
    return stop


@exact_kernel
def _key(block, start, length):
    """Return the key of a word; the offset in the arena is missing in that of a long word."""
    if length <= _SHORT:
        low = _load(block, start) & _first(length)
        high = _load(block, start + 8) & _first(length - 8)
        return low, high | uint64(length) << _TOP
    hashed = uint64(length)
    for i in range(0, length, 8):
        hashed = (hashed ^ (_load(block, start + i) & _first(length - i))) * _MIX
        hashed ^= hashed >> uint64(29)
    return hashed, _LONG


@exact_kernel
def _same(block, start, length, arena, place):
    """Return whether a word is the one at offset `place` of the arena."""
    for i in range(0, length, 8):
        differ = _load(block, start + i) ^ _load(arena, place + i)
        if differ & _first(length - i) != _NONE:
            return False
    return arena[place + length] == _NEWLINE


@exact_kernel
def _find(block, start, length, low, high, arena, slots):
    """Return the slot of a word, or the free slot where it belongs."""
    mask = uint64(slots.shape[0] // 3 - 1)
    hashed = (low ^ (high * _MIX_SECOND)) * _MIX
    i = (((hashed ^ (hashed >> uint64(32))) * _MIX) >> uint64(32)) & mask
    while True:
        slot = uint64(3) * i
        known = slots[slot + _ONE]
        if known == _NONE or (slots[slot] == low and known == high):
            return slot
        if known > _LONG and slots[slot] == low and high == _LONG:
            if _same(block, start, length, arena, int64(known - _LONG) - 1):
                return slot
        i = (i + _ONE) & mask


@exact_kernel
def _encode(block, p, limit, stop, arena, slots, keep_unknown, out, n):
    """Encode the words that begin in [p, limit); return where `out` ends, and the next byte.

    A word that touches `stop` is not encoded, because the rest of it may be missing.
    """
    start = n
    while p < limit:
        low, high = _load(block, p), _load(block, p + 8)
        # The length is computed without branches, which would be mispredicted. If the first eight
        # bytes are all inside the word, `inside` is all ones and its shifted sign a mask of ones.
        inside = _before(_specials(low))
        beyond = _before(_specials(high)) & uint64(int64(inside) >> 63)
        length = _length(inside) + _length(beyond)
        q = p + length
        if length <= _SHORT and q < stop and _is_space(block[q]):
            low &= inside
            high = (high & beyond) | uint64(length) << _TOP
        else:
            q = _end_of_word(block, q, stop)
            if q == stop:
                return n, p
            if q == MALFORMED:
                return n, q
            length = q - p
            low, high = _key(block, p, length)
        if length > 0:
            slot = _find(block, p, length, low, high, arena, slots)
            if slots[slot + _ONE] != _NONE:
                out[n] = int32(slots[slot + uint64(2)])
                n += 1
            elif keep_unknown != 0:
                out[n] = int32(-2 - p)
                n += 1
        byte = block[q]
        if byte == _NEWLINE and (n == start or out[n - 1] != END_OF_SENTENCE):
            out[n] = END_OF_SENTENCE
            n += 1
        p = q + 1 if byte < 0x80 else q - _character(block, q, stop)
    return n, stop


@exact_kernel
def _cut(block, stop, chunk, num_chunks):
    """Return where a chunk begins: at whitespace, or at the start or the end of the block."""
    p = int64(chunk) * stop // num_chunks
    while 0 < p < stop and not _is_space(block[p]):
        p += 1
    return p


@parallel_kernel
def encode_words(block, stop, arena, slots, keep_unknown, num_chunks, out, out_chunks):
    """Encode the words in the first `stop` bytes of a block.

    Row c of `out_chunks` is (first, last, done): the ids of chunk c are out[first:last], and the
    block is encoded up to the byte `done`, or MALFORMED if bytes are not UTF-8. A newline is
    written as END_OF_SENTENCE, unless the last id of the chunk is one. A word that is not in the
    table is left out or, with `keep_unknown`, written as -2 minus its position in the block.
    """
    for chunk in prange(num_chunks):
        first = _cut(block, stop, chunk, num_chunks)
        last, done = _encode(
            block, first, _cut(block, stop, chunk + 1, num_chunks), stop, arena, slots,
            keep_unknown, out, first,
        )
        out_chunks[chunk, 0] = first
        out_chunks[chunk, 1] = last
        out_chunks[chunk, 2] = done


@exact_kernel
def count_words(ids, i, block, stop, arena, slots, counts, sizes):
    """Count the ids that `encode_words` wrote, from ids[i] on, and add unknown words to the table.

    `sizes` holds the number of words, and the number of used bytes of the arena. Returns the
    number of ids, or the position where it stopped because an array is full.
    """
    while i < ids.shape[0]:
        word = int64(ids[i])
        if word < END_OF_SENTENCE:
            start = -2 - word
            length = _end_of_word(block, start, stop) - start
            low, high = _key(block, start, length)
            slot = _find(block, start, length, low, high, arena, slots)
            if slots[slot + _ONE] == _NONE:
                word, place = sizes[0], sizes[1]
                if (
                    word == counts.shape[0]
                    or word * 9 >= slots.shape[0] * 2
                    or place + length + PADDING >= arena.shape[0]
                ):
                    return i
                for j in range(length):
                    arena[place + j] = block[start + j]
                arena[place + length] = _NEWLINE
                slots[slot] = low
                slots[slot + _ONE] = high + uint64(place + 1) if high == _LONG else high
                slots[slot + uint64(2)] = uint64(word)
                counts[word] = 0
                sizes[0] = word + 1
                sizes[1] = place + length + 1
            word = int64(slots[slot + uint64(2)])
        if word >= 0:
            counts[word] += 1
        i += 1
    return i


@exact_kernel
def fill_slots(arena, stop, slots):
    """Enter the words in the first `stop` bytes of the arena into a table of zeros.

    An empty line takes an id but no slot.
    """
    start = int64(0)  # a literal 0 would compile what it is passed to once more
    word = uint64(0)
    while start < stop:
        length = 0
        while arena[start + length] != _NEWLINE:
            length += 1
        if length > 0:
            low, high = _key(arena, start, length)
            slot = _find(arena, start, length, low, high, arena, slots)
            slots[slot] = low
            slots[slot + _ONE] = high + uint64(start + 1) if high == _LONG else high
            slots[slot + uint64(2)] = word
        word += _ONE
        start += length + 1
