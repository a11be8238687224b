"""windows.py: draws that are functions of (key, position), and their statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from numba_ss import reference
from numba_ss.kernels.words import windows

KEY = 0x1234567890ABCDEF
SEPARATOR = 50
streams = st.lists(st.integers(0, 3) | st.just(SEPARATOR), min_size=1, max_size=40)


def test_hash64():
    """Steele et al.'s first numbers for seed 1234567, which start at counter 1."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [reference.hash64(1234567, i) for i in (1, 2, 3)] == known


@given(
    st.lists(st.integers(-1, 5), max_size=60), st.integers(0, 2**64 - 1), st.integers(0, 2**40)
)
def test_thin_words(ids, key, position):
    keep = np.array([0, 2**30, 2**31, 2**32, 2**32, 1], np.int64)
    out = np.full(len(ids) + 1, -9)
    count = windows.thin_words(
        np.array(ids, np.int32), keep, np.uint64(key), position, SEPARATOR, out
    )
    assert out[:count].tolist() == reference.thin_words(ids, keep, key, position, SEPARATOR)


def test_thin_words_keeps_the_share_it_should():
    ids = np.zeros(200_000, np.int32)
    keep = np.array([int(0.3 * 2**32)])
    count = windows.thin_words(ids, keep, np.uint64(KEY), 0, 1, np.empty(len(ids) + 1, np.int64))
    assert stats.binomtest(count, len(ids), 0.3).pvalue > 1e-4


def alias_table(cut, alias):
    return np.array(cut, np.int64) << 32 | np.array(alias, np.int64)


@pytest.mark.parametrize("position", [0, 2**31 - 5, 2**40])
def test_draw_noise(position):
    cut, alias = [2**31, 2**30, 0, 2**29, 2**31], [0, 0, 4, 1, 4]
    out = np.empty(50, np.int64)
    windows.draw_noise(alias_table(cut, alias), np.uint64(KEY), position, out)
    assert out.tolist() == reference.draw_noise(cut, alias, KEY, position, 50)
    parts = np.empty(50, np.int64)
    for i in range(0, 50, 10):
        windows.draw_noise(alias_table(cut, alias), np.uint64(KEY), position + i, parts[i : i + 10])
    np.testing.assert_array_equal(parts, out)


def test_draw_noise_follows_its_table():
    cut, alias = [2**31, 2**30, 0, 2**29], [0, 0, 3, 1]
    p = reference.fill_alias(np.array(cut) / 2**31, np.array(alias))
    out = np.empty(100_000, np.int64)
    windows.draw_noise(alias_table(cut, alias), np.uint64(KEY), 0, out)
    counts = np.bincount(out, minlength=4)
    assert counts[2] == 0
    assert stats.chisquare(counts[p > 0], p[p > 0] * len(out)).pvalue > 1e-4


def windows_of(stream, begin, end, first, last, window, by_distance, position):
    starts, sizes = np.full((2, end - begin), -1)
    windows.find_windows(
        stream, windows.Span(begin, end, first, last), window, by_distance, SEPARATOR,
        np.uint64(KEY), position, starts, sizes,
    )
    return [
        [q for q in range(start, start + size + 1) if q != own]
        for own, start, size in zip(range(begin - first, end - first), starts, sizes, strict=True)
    ]


@given(streams, st.integers(1, 6), st.booleans(), st.data())
def test_find_windows(stream, window, by_distance, data):
    stream = np.array(stream)
    first, begin, end, last = sorted(data.draw(st.integers(0, len(stream))) for _ in range(4))
    expected = reference.find_windows(
        stream, begin, end, first, last, window, by_distance, SEPARATOR, KEY, 9
    )
    assert windows_of(stream, begin, end, first, last, window, by_distance, 9) == expected


@pytest.mark.parametrize("by_distance", [False, True])
def test_windows_have_the_sizes_that_are_promised(by_distance):
    found = windows_of(np.zeros(20_000, np.int64), 10, 19_990, 0, 20_000, 10, by_distance, 0)
    counts = np.bincount([len(places) for places in found], minlength=21)[2::2]
    assert counts.sum() == len(found)
    at_least = 1 / np.arange(1, 11) if by_distance else np.arange(10, 0, -1) / 10
    expected = -np.diff(at_least, append=0) * len(found)
    assert stats.chisquare(counts, expected).pvalue > 1e-4


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_drop_repeats(words):
    got = np.array(words, np.int64)
    windows.drop_repeats(got, SEPARATOR)
    assert got.tolist() == reference.drop_repeats(words, SEPARATOR)
