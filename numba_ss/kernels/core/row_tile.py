"""Block products of rows that are scattered over a table.

A window of text needs the inner products of, say, ten rows of one table with six rows of
another, and then adds weighted sums of each side to the other. Such blocks are too small to be
copied together first. So here rows are given by their offsets, and the sums stay in
registers, as in `tile`.

Tables are float32, offsets int64; a row is `num_vectors` vectors of LANES numbers.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES, ROWS, VECTORS, intrinsic

# Sums that are held in registers: two rows of _MOST vectors, or one row of 14. Together with their
# operands they fit into the host's registers, which are 32 or 16.
_MOST = 8 if ROWS * VECTORS > 16 else 6
_MOST_OF_ONE = 14


class Rows(NamedTuple):
    """Some rows of a table: row i begins at table[offsets[i]]."""

    table: Any  # pointer
    offsets: Any  # pointer
    count: Any


def _python_rows(rows, first, count, size):
    """Return the positions in the table of the numbers of some rows: (count, size)."""
    return rows.offsets[first : first + count, None] + np.arange(size)


def _add_lanes(emit, vectors):  # pragma: no cover
    """Return one vector whose lane i is the sum of vector i; there are at most LANES vectors.

    Each round adds pairs of vectors, half of the lanes from each, and so halves their number.
    """
    vectors = vectors + [emit.zeros_like(vectors[0])] * (LANES - len(vectors))
    step = 1
    while len(vectors) > 1:
        low = [
            lane // (2 * step) * 2 * step + lane % step + LANES * (lane // step % 2)
            for lane in range(LANES)
        ]
        high = [lane + step for lane in low]
        vectors = [
            emit.shuffle(x, y, low) + emit.shuffle(x, y, high)
            for x, y in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        step *= 2
    return vectors[0]


def _python_multiply_two(a, m, b, n, width, c, num_vectors):
    size = num_vectors * LANES
    left, right = a.table[_python_rows(a, m, 2, size)], b.table[_python_rows(b, n, width, size)]
    places = np.arange(n, n + width)[:, None] * c.row + np.arange(m, m + 2)
    c.numbers[places] = right @ left.T


@intrinsic(_python_multiply_two)
def _multiply_two(emit, a, m, b, n, width, c, num_vectors):
    """Write the inner products of two rows of A, from m on, with `width` rows of B, from n on.

    For j < width and r = 0, 1: C[n + j, m + r] = sum over d of A[m + r, d] * B[n + j, d].
    """

    def write(width):
        left = [a.table + a.offsets[m + r] for r in (0, 1)]
        right = [b.table + b.offsets[n + j] for j in range(width)]

        def add(k, sums):
            at = k * LANES
            rows = [emit.load(place + at) for place in left]
            added = []
            for j in range(width):
                column = emit.load(right[j] + at)
                for row in rows:
                    added.append(emit.multiply_add(row, column, sums[len(added)]))
            return added

        zeros = [emit.zeros(a.table)] * (2 * width)
        sums = emit.loop(num_vectors, zeros, add, is_rolled=True)
        for first in range(0, 2 * width, LANES):
            group = sums[first : first + LANES]
            totals = _add_lanes(emit, group)
            for lane in range(0, len(group), 2):
                place = c.numbers + ((n + (first + lane) // 2) * c.row + m)
                emit.store(emit.shuffle(totals, totals, [lane, lane + 1]), place)

    emit.switch(width, _MOST, write)


def _make_add(height, most):
    """Return a function that computes C += G B on `height` rows and at most `most` vectors of C.

    For i < height: C[r + i] += sum over k < B.count of G[r + i, k] * B[k], in vectors from
    `column` on. Each vector of B is loaded once for all `height` rows.
    """

    def python_add(c, r, g, b, column, width):
        size = width * LANES
        places, sources = (
            column + _python_rows(rows, first, count, size)
            for rows, first, count in ((c, r, height), (b, 0, b.count))
        )
        for k in range(b.count):
            factors = g.numbers[np.arange(r, r + height) * g.row + k * g.column]
            c.table[places] += factors[:, None] * b.table[sources[k]]

    @intrinsic(python_add)
    def add_products(emit, c, r, g, b, column, width):
        rows = [r + i for i in range(height)]
        out = [column + c.offsets[row] for row in rows]
        factors = [row * g.row for row in rows]

        def write(width):
            places = [c.table + (place + v * LANES) for place in out for v in range(width)]

            def add(k, sums):
                source, at = column + b.offsets[k], k * g.column
                scales = [emit.splat(g.numbers[factor + at]) for factor in factors]
                added = list(sums)
                for v in range(width):
                    vector = emit.load(b.table + (source + v * LANES))
                    for i in range(height):
                        cell = i * width + v
                        added[cell] = emit.multiply_add(scales[i], vector, sums[cell])
                return added

            start = [emit.load(place) for place in places]
            sums = emit.loop(b.count, start, add, is_rolled=True)
            for total, place in zip(sums, places, strict=True):
                emit.store(total, place)

        emit.switch(width, most, write)

    return add_products


_add_to_one, _add_to_two = _make_add(1, _MOST_OF_ONE), _make_add(2, _MOST)


@kernel
def _share(left, most):
    """Return the size of the next part if `left` is cut into equal parts of at most `most`."""
    parts = (left + most - 1) // most
    return (left + parts - 1) // parts


@kernel
def multiply_rows(a, b, c, num_vectors):
    """Set C[n, m] to the inner product of row m of A and row n of B.

    A and B are `Rows`; A has an even number of them. C is a `Matrix` with numbers side by side.
    """
    n = 0
    while n < b.count:
        width = _share(b.count - n, _MOST)
        for m in range(0, a.count, 2):
            _multiply_two(a, m, b, n, width, c, num_vectors)
        n += width


@kernel
def add_products(c, g, b, num_vectors):
    """Compute C += G B: add the sum over k of G[r, k] B[k] to each row r of C.

    C and B are `Rows`, G is a `Matrix` with a row for each row of C and a column for each row of
    B. A row of C may occur twice only if zeros are added to it. The sums run over k in order, so
    the result has the same bits however the rows are cut into vectors.
    """
    # Two rows of C share each load of B; with one row of B there is little to share.
    pairs = c.count // 2 if b.count > 1 else 0
    left, column = num_vectors, 0
    while left > 0 and pairs > 0:
        width = _share(left, _MOST)
        for r in range(0, 2 * pairs, 2):
            _add_to_two(c, r, g, b, column, width)
        column += width * LANES
        left -= width
    left, column = num_vectors, 0
    while left > 0 and b.count > 0 and 2 * pairs < c.count:
        width = _share(left, _MOST_OF_ONE)
        for r in range(2 * pairs, c.count):
            _add_to_one(c, r, g, b, column, width)
        column += width * LANES
        left -= width
