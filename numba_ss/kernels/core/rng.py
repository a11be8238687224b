"""Random numbers: the counter-based Philox 4x32-10, turned into numbers as TensorFlow does.

The random words of a stream depend on (key, counter) alone. A stream is an array of uint64:
the key, the high half of the counter (constant), the next block (the low half of the
counter), how many of the buffered words were used, and the buffered words themselves.

J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

Draws that need not match TensorFlow's bits use `hash64`, which takes a fifth of the time. It is
SplitMix64 with its counter as an argument (G. Steele et al., "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014).
"""

from numpy import float32, float64, int64, uint64

from numba_ss.kernels._jit import exact_kernel

_BLOCKS = 32  # computed together: as vector code, a block takes an eighth of the time
_KEY, _HIGH, _BLOCK, _USED, _WORDS = 0, 1, 2, 3, 4
_NUM_WORDS = 4 * _BLOCKS
STREAM_SIZE = _WORDS + _NUM_WORDS
NUM_DOUBLES = _NUM_WORDS // 2

_MASK = uint64(0xFFFFFFFF)
_FLOAT_STEP, _DOUBLE_STEP = float32(2.0**-23), 2.0**-52
_32 = uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_BUMP_0, _BUMP_1 = uint64(0x9E3779B9), uint64(0xBB67AE85)


_GOLDEN = uint64(0x9E3779B97F4A7C15)
_MIX_0, _MIX_1 = uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)
_27, _30, _31 = uint64(27), uint64(30), uint64(31)


@exact_kernel
def hash64(key, counter):
    """Return 64 random bits, a function of the stream's key and the counter."""
    z = key + counter * _GOLDEN
    z = (z ^ (z >> _30)) * _MIX_0
    z = (z ^ (z >> _27)) * _MIX_1
    return z ^ (z >> _31)


@exact_kernel
def philox(key, high, block, out):
    """Write the four words of each counter (block, high), (block + 1, high), ..."""
    for i in range(out.shape[0] // 4):
        counter = block + uint64(i)
        k0, k1 = key & _MASK, key >> _32
        c0, c1 = counter & _MASK, counter >> _32
        c2, c3 = high & _MASK, high >> _32
        for _ in range(10):
            product_0, product_1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
            c0 = (product_1 >> _32) ^ c1 ^ k0
            c1 = product_1 & _MASK
            c2 = (product_0 >> _32) ^ c3 ^ k1
            c3 = product_0 & _MASK
            k0 = (k0 + _BUMP_0) & _MASK
            k1 = (k1 + _BUMP_1) & _MASK
        out[4 * i] = c0
        out[4 * i + 1] = c1
        out[4 * i + 2] = c2
        out[4 * i + 3] = c3


@exact_kernel
def start_stream(stream, key, high, block):
    """Point `stream` at the first word of a block."""
    stream[_KEY] = key
    stream[_HIGH] = high
    stream[_BLOCK] = block
    stream[_USED] = uint64(_NUM_WORDS)


@exact_kernel
def _next_word(stream):
    """Return the next 32-bit word, as uint64."""
    used = stream[_USED]
    if used == uint64(_NUM_WORDS):
        philox(stream[_KEY], stream[_HIGH], stream[_BLOCK], stream[_WORDS:])
        stream[_BLOCK] += uint64(_BLOCKS)
        used = uint64(0)
    stream[_USED] = used + uint64(1)
    return stream[uint64(_WORDS) + used]


@exact_kernel
def next_float(stream):
    """Return a float32 in [0, 1): the low 23 bits of a word."""
    return float32(_next_word(stream) & uint64(0x7FFFFF)) * _FLOAT_STEP


@exact_kernel
def next_doubles(stream, out):
    """Write NUM_DOUBLES float64 in [0, 1), each from 20 bits of one word and 32 of the next.

    The stream must stand at the start of a block, so it may serve no other kind of draw.
    """
    words = stream[_WORDS:]
    philox(stream[_KEY], stream[_HIGH], stream[_BLOCK], words)
    stream[_BLOCK] += uint64(_BLOCKS)
    for i in range(NUM_DOUBLES):
        bits = ((words[2 * i] & uint64(0xFFFFF)) << _32) | words[2 * i + 1]
        out[i] = float64(int64(bits)) * _DOUBLE_STEP


@exact_kernel
def next_below(stream, bound, bits):
    """Return an unbiased integer in [0, bound), from words of 32 or 64 bits."""
    bound = uint64(bound)
    largest = _MASK if bits == 32 else ~uint64(0)
    # If the bound is a power of two, no word is rejected and the low bits are the result.
    rest = (largest % bound + uint64(1)) % bound
    while True:
        value = _next_word(stream)
        if bits == 64:
            value |= _next_word(stream) << _32
        if rest == uint64(0):
            return value & (bound - uint64(1))
        if value > largest % bound:
            return value % bound
