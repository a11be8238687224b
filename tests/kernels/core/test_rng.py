"""rng.py: Philox's known answers, and TensorFlow's ways to numbers."""

import itertools

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.core import rng as kernels

# The known answers of the authors' Random123 library, version 1.09.
KNOWN = [
    (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88, "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("key", "high", "block", "words"), KNOWN)
def test_philox_known_answers(key, high, block, words):
    out = np.empty(4, np.uint64)
    kernels.philox(np.uint64(key), np.uint64(high), np.uint64(block), out)
    assert [f"{w:08x}" for w in out.tolist()] == words.split()
    assert reference.philox(key, high, block) == out.tolist()


def make_stream(key=123, high=17, block=0):
    stream = np.zeros(kernels.STREAM_SIZE, np.uint64)
    kernels.start_stream(stream, np.uint64(key), np.uint64(high), np.uint64(block))
    return stream, reference.start_stream(key, high, block)


def test_floats_over_several_refills():
    stream, ref = make_stream()
    got = [float(kernels.next_float(stream)) for _ in range(400)]
    assert got == [reference.next_float(ref) for _ in range(400)]
    assert 0 <= min(got) < max(got) < 1


def test_doubles():
    stream, ref = make_stream(block=5)
    for _ in range(3):
        out = np.empty(kernels.NUM_DOUBLES)
        kernels.next_doubles(stream, out)
        assert out.tolist() == reference.next_doubles(ref, kernels.NUM_DOUBLES)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("bound", [1, 2, 3, 10, 1024, 2**31 - 1, 3 * 2**29])
def test_integers_below_a_bound(bits, bound):
    stream, ref = make_stream()
    got = [int(kernels.next_below(stream, bound, bits)) for _ in range(200)]
    assert got == [reference.next_below(ref, bound, bits) for _ in range(200)]
    assert max(got) < bound


def test_integers_below_a_large_bound():
    stream, ref = make_stream()
    bound = 2**63 - 1
    got = [int(kernels.next_below(stream, np.int64(bound), 64)) for _ in range(50)]
    assert got == [reference.next_below(ref, bound, 64) for _ in range(50)]


def test_streams_of_close_seeds_are_disjoint():
    words = [list(itertools.islice(make_stream(key)[1], 1000)) for key in (1, 2)]
    assert len(set(words[0]) | set(words[1])) == 2000


def test_tensorflows_own_draws():
    """The first draws of TensorFlow's C++ sampler tests, Philox(123, 17)."""
    stream, _ = make_stream()
    got = [int(kernels.next_below(stream, 10, 64)) for _ in range(20)]
    assert got == [9, 4, 6, 2, 1, 3, 0, 2, 8, 1, 4, 2, 7, 5, 9, 2, 4, 3, 7, 8]
