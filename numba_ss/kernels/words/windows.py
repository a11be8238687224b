"""The random draws in a text: which words are kept, sizes of windows, and noise words.

Every draw is a function of (key, position) alone. So it does not depend on threads, on blocks
of the text, or on earlier draws. Keys are uint64, positions int64.

Noise words are drawn by Walker's alias method (A. Walker, "An Efficient Method for
Generating Discrete Random Variables with General Distributions", ACM TOMS 1977).
"""

from typing import Any, NamedTuple

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel, kernel
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


class Span(NamedTuple):
    """A part of a text: the targets stream[begin:end], and their contexts in stream[first:last]."""

    begin: Any
    end: Any
    first: Any
    last: Any


@kernel
def _reach(word, window, by_distance):
    """Return how far a context reaches, from 1 to `window`, for a random word."""
    if by_distance:
        return min(window, int64((uint64(1) << _32) // ((word >> _32) + uint64(1))))
    return _below(word, window) + 1


@exact_kernel
def find_windows(stream, span, window, by_distance, separator, key, position, starts, sizes):
    """Write where the context of each target of a span begins, and how many words it has.

    The context of a target consists of the words in the same sentence, in the span, and at most b
    positions from the target, where b is drawn from 1 .. window. With `by_distance`, b is d or more
    with probability 1 / d; otherwise each b has the same probability. Positions in `starts` are
    counted from span.first. The target itself stands in the middle of its context, and does not
    count.
    """
    first, text = span.first, pointer(stream, 0)
    for p in range(span.begin, span.end):
        low, high = p, p
        if text[p] != separator:
            reach = _reach(hash64(key, uint64(position + p)), window, by_distance)
            lowest, highest = max(first, p - reach), min(span.last - 1, p + reach)
            while low > lowest and text[low - 1] != separator:
                low -= 1
            while high < highest and text[high + 1] != separator:
                high += 1
        starts[p - span.begin] = low - first
        sizes[p - span.begin] = high - low


@exact_kernel
def drop_repeats(words, absent):
    """Replace words that occurred before by `absent`."""
    for i in range(1, words.shape[0]):
        word, repeats = words[i], False
        for j in range(i):
            repeats |= word == words[j]
        words[i] = absent if repeats else word
