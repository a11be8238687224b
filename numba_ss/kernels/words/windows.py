"""The random draws in a text: which words are kept, sizes of windows, and noise words.

Every draw is a function of (key, position) alone. So it does not depend on threads, on blocks
of the text, or on earlier draws. Keys are uint64, positions int64.

Noise words are drawn by Walker's alias method (A. Walker, "An Efficient Method for
Generating Discrete Random Variables with General Distributions", ACM TOMS 1977).
"""

from typing import Any, NamedTuple

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rng import hash64
from numba_ss.kernels.core.rows import pointer

_32 = uint64(32)
_LOW = uint64(0x7FFFFFFF)


@exact_kernel
def _below(word, bound):
    """Return an integer in [0, bound), bound < 2**31, from the high half of a word."""
    return int64(((word >> _32) * uint64(bound)) >> _32)


@exact_kernel
def thin_words(ids, keep, key, position, separator, out):
    """Subsample a text: copy the words that are kept to `out`; return the length of the copy.

    ids[i] is kept with probability keep[ids[i]] / 2**32. A negative id marks the end of a
    sentence and becomes `separator`. `position` is that of ids[0] in the epoch.
    """
    count = 0
    for i in range(ids.shape[0]):
        word = ids[i]
        if word < 0:
            out[count] = separator
            count += 1
        else:
            out[count] = word
            drawn = int64(hash64(key, uint64(position + i)) >> _32)
            count += 1 if drawn < keep[word] else 0
    return count


@exact_kernel
def draw_noise(table, key, position, out):
    """Fill `out` with noise words; the first draw is the position-th of the epoch.

    The high half of a table entry holds the probability of its own word, times 2**31. The low
    half holds its alias, the word that gets the rest. So a draw reads memory once.
    """
    for i in range(out.shape[0]):  # becomes vector code
        out[i] = int64(hash64(key, uint64(position + i)))
    for i in range(out.shape[0]):
        word = uint64(out[i])
        own = _below(word, table.shape[0])
        entry = table[own]
        out[i] = own if int64(word & _LOW) < (entry >> 32) else entry & int64(0x7FFFFFFF)


@exact_kernel
def choose_places(key, position, pool, out):
    """Choose distinct positions in a pool for each row of `out`.

    `pool` is the size of the pool, a power of two.
    """
    mask = uint64(pool - 1)
    for g in range(out.shape[0]):
        word = hash64(key, uint64(position + g))
        step = word >> _32 | uint64(1)  # odd, so that no position repeats
        row = pointer(out, g * out.shape[1])
        for j in range(out.shape[1]):
            row[j] = int64(word & mask)
            word += step


class Span(NamedTuple):
    """A part of a text: the targets stream[begin:end], and their contexts in stream[first:last]."""

    begin: Any
    end: Any
    first: Any
    last: Any


@exact_kernel
def find_windows(stream, span, window, separator, key, position, places, sizes):
    """Write the positions of the context of each target of a span, and their number.

    The context of a target consists of the words in the same sentence, in the span, and at most b
    positions from the target, where b is drawn from 1 .. window. Row w of `places` gets the
    positions of the context of stream[span.begin + w], counted from span.first.
    """
    first, last, text = span.first, span.last, pointer(stream, 0)
    for p in range(span.begin, span.end):
        w = p - span.begin
        row, count = pointer(places, w * places.shape[1]), 0
        if text[p] != separator:
            reach = _below(hash64(key, uint64(position + p)), window) + 1
            low, lowest, end = p, max(first, p - reach), min(last, p + reach + 1)
            while low > lowest and text[low - 1] != separator:
                low -= 1
            for q in range(low, p):
                row[count] = q - first
                count += 1
            q = p + 1
            while q < end and text[q] != separator:
                row[count] = q - first
                count += 1
                q += 1
        sizes[w] = count


@exact_kernel
def drop_hits(words, targets, absent, keep_hits, dropped):
    """Replace repeated words in each row, and the row's target, by `absent`.

    Writes to `dropped` how many words of a row were replaced. With `keep_hits`, the target is kept.
    """
    for w in range(targets.shape[0]):
        row, count = pointer(words, w * words.shape[1]), 0
        for i in range(words.shape[1]):
            word = row[i]
            drop = word == targets[w] and not keep_hits
            for j in range(i):
                drop |= word == row[j]
            if drop:
                row[i] = absent
                count += 1
        dropped[w] = count
