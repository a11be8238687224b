"""The random draws in a text: which words are kept, sizes of windows, and noise words.

Every draw is a function of (key, position) alone. So it does not depend on threads, on blocks
of the text, or on earlier draws. Keys are uint64, positions int64.

Noise words are drawn by Walker's alias method (A. Walker, "An Efficient Method for
Generating Discrete Random Variables with General Distributions", ACM TOMS 1977).
"""

from numpy import int64, uint64

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rng import hash64

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
    for i in range(out.shape[0]):
        word = hash64(key, uint64(position + i))
        own = _below(word, table.shape[0])
        entry = table[own]
        out[i] = own if int64(word & _LOW) < (entry >> 32) else entry & int64(0x7FFFFFFF)


@exact_kernel
def choose_places(key, position, pool, out):
    """Choose distinct positions in a pool for each row of `out`; its size is a power of two."""
    mask = uint64(pool - 1)
    for g in range(out.shape[0]):
        word = hash64(key, uint64(position + g))
        step = word >> _32 | uint64(1)  # odd, so that no position repeats
        for j in range(out.shape[1]):
            out[g, j] = int64(word & mask)
            word += step


@exact_kernel
def find_windows(stream, begin, end, first, last, window, separator, key, position, places, sizes):
    """Write the positions of the context of stream[p], for begin <= p < end, and their number.

    The context of p is what lies in the same sentence, in [first, last), and at most b positions
    from p, where b is drawn from 1 .. window. Row p - begin of `places` gets the positions, minus
    `first`.
    """
    for p in range(begin, end):
        w = p - begin
        count = 0
        if stream[p] != separator:
            reach = _below(hash64(key, uint64(position + p)), window) + 1
            low = p
            while low > max(first, p - reach) and stream[low - 1] != separator:
                low -= 1
            for q in range(low, p):
                places[w, count] = q - first
                count += 1
            q = p + 1
            while q < min(last, p + reach + 1) and stream[q] != separator:
                places[w, count] = q - first
                count += 1
                q += 1
        sizes[w] = count


@exact_kernel
def drop_hits(words, targets, absent, keep_hits, dropped):
    """Replace repeated words in each row, and the row's target, by `absent`; count them.

    With `keep_hits` the target is not replaced.
    """
    for w in range(targets.shape[0]):
        count = 0
        for i in range(words.shape[1]):
            word = words[w, i]
            drop = word == targets[w] and not keep_hits
            for j in range(i):
                drop |= word == words[w, j]
            if drop:
                words[w, i] = absent
                count += 1
        dropped[w] = count
