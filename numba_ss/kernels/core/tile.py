"""Matrix products of blocks at the speed of the machine, and the transposition they need.

Loops that Numba compiles reach a third of the machine's rate on a matrix product, because LLVM
does not keep a block of the result in registers. Here the innermost block, `ROWS` rows by up to
`VECTORS` vectors of `LANES` numbers, is written out as vector code (see `llvm`). Its sums stay in
registers while the loop runs over the depth. The code runs on any CPU that LLVM knows; the shape
of the block follows the registers of the host.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.core.llvm import LANES, ROWS, VECTORS, intrinsic
from numba_ss.kernels.core.rows import pointer

# The depth of a panel: that many rows of the right-hand side are finished before the next ones
# are read. A panel of VECTORS vectors fits into the first-level cache.
_DEPTH = 128


class Matrix(NamedTuple):
    """A matrix inside a larger array: element (i, k) stands at numbers[i * row + k * column]."""

    numbers: Any  # pointer to element (0, 0)
    row: Any  # numbers from one row to the next
    column: Any  # 1 if the numbers of a row stand next to each other


@kernel
def _block(matrix, i, k):
    """Return the part of a matrix that begins at element (i, k)."""
    start = pointer(matrix.numbers, i * matrix.row + k * matrix.column)
    return Matrix(start, matrix.row, matrix.column)


def _view(matrix, num_rows, num_columns):
    """Return a part of a matrix as an array, with Numba's compiler switched off."""
    size = matrix.numbers.itemsize
    strides = matrix.row * size, matrix.column * size
    return np.lib.stride_tricks.as_strided(matrix.numbers, (num_rows, num_columns), strides)


def _make_tile(vectors):
    """Return a function that computes C = A B, or C += A B, on one block of C.

    C has ROWS rows of `vectors` vectors, A has ROWS rows, and the depth is what the sums run over:

        C[r, v] = sum over k of A[r, k] * B[k, v], where v is a vector of LANES columns.
    """

    def python_tile(a, b, c, depth, accumulate):
        product = _view(a, ROWS, depth) @ _view(b, depth, vectors * LANES)
        out = _view(c, ROWS, vectors * LANES)
        out[...] = out + product if accumulate else product

    @intrinsic(python_tile)
    def tile(emit, a, b, c, depth, accumulate):
        left = [a.numbers + a.row * r for r in range(ROWS)]
        right = [b.numbers + v * LANES for v in range(vectors)]
        out = [c.numbers + c.row * r + v * LANES for r in range(ROWS) for v in range(vectors)]
        zero = emit.zeros(c.numbers)
        start = emit.either(
            accumulate, lambda: [emit.load(place) for place in out], lambda: [zero] * len(out)
        )

        def run():
            # The following rows of A are asked for a little at a time. If all of them were asked
            # for at once, the processor would wait until it can note so many lines.
            following, share = a.numbers + a.row * ROWS, a.row * ROWS // depth

            def add(k, sums):
                emit.prefetch(emit.bytes_at(following + k * share, k)[0])
                at, below = k * a.column, k * b.row
                columns = [emit.load(place + below) for place in right]
                added = []
                for r in range(ROWS):
                    number = emit.splat(left[r][at])
                    for column in columns:
                        added.append(emit.multiply_add(number, column, sums[len(added)]))
                return added

            return emit.loop(depth, start, add)

        sums = emit.either(depth > 0, run, lambda: start)
        for total, place in zip(sums, out, strict=True):
            emit.store(total, place)

    return tile


_tile_1, _tile_2, _tile_3 = (_make_tile(vectors) for vectors in (1, 2, 3))


def _python_transpose(source, out):
    _view(out, LANES, LANES)[...] = _view(source, LANES, LANES).T


@intrinsic(_python_transpose)
def _transpose(emit, source, out):
    """Write the transpose of a square block: LANES rows of one vector each.

    A perfect shuffle of two rows takes a number of each in turn. If row r is shuffled with row
    r + LANES / 2, for all r, log2(LANES) times, the block is transposed.
    """
    rows = [emit.load(source.numbers + source.row * r) for r in range(LANES)]
    half = LANES // 2
    in_turn = [lane + LANES * which for lane in range(LANES) for which in (0, 1)]
    for _ in range(LANES.bit_length() - 1):
        rows = [
            emit.shuffle(rows[r], rows[r + half], lanes)
            for r in range(half)
            for lanes in (in_turn[:LANES], in_turn[LANES:])
        ]
    for r, row in enumerate(rows):
        emit.store(row, out.numbers + out.row * r)


@kernel
def multiply(a, b, c, num_rows, num_vectors, depth, accumulate):
    """Compute C = A B, or C += A B, for matrices inside larger arrays.

    C has `num_rows` rows, a multiple of ROWS, of `num_vectors` vectors. The numbers of a row of
    B, or of C, stand next to each other. The sums run over k in order. `accumulate` is 0 or 1: a
    literal False would compile the function once more.
    """
    for k in range(0, max(depth, 1), _DEPTH):
        span = min(_DEPTH, depth - k)
        add = accumulate != 0 or k > 0
        v = 0
        while v < num_vectors:
            # Four vectors are taken as two and two: a single one would leave the adders idle.
            left = num_vectors - v
            width = 2 if left in (2, 4) else min(left, VECTORS)
            right = _block(b, k, v * LANES)
            for i in range(0, num_rows, ROWS):
                rows, out = _block(a, i, k), _block(c, i, v * LANES)
                if width == 3:
                    _tile_3(rows, right, out, span, add)
                elif width == 2:
                    _tile_2(rows, right, out, span, add)
                else:
                    _tile_1(rows, right, out, span, add)
            v += width


@kernel
def transpose(source, num_rows, num_columns, out):
    """Write the transpose of a matrix to another; both counts are rounded up to vectors."""
    for i in range(0, num_rows, LANES):
        for d in range(0, num_columns, LANES):
            _transpose(_block(source, i, d), _block(out, d, i))
