"""The gradients of the members of an input, which are the examples that share it.

They are written to memory, or subtracted from the input's row.

The gradient of member k is

    scales[k] * common + sum over own columns c of factors[c, k] * row of the choice [c, k]

An input has few members, and their rows are short. With a loop for each member and each column,
loading and storing would take several times as long as the arithmetic. So here a part of the
input's row stays in registers while the members' gradients are subtracted from it, one after the
other. `core.rows` explains pointers, and `core.llvm` the code that is written by hand.
"""

from typing import Any, NamedTuple

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.llvm import LANES, ROWS, intrinsic
from numba_ss.kernels.softmax.encodings import NO_ROW, packed_row

# Vectors of a row that are worked on together; about three times as many registers are in use.
_MOST = ROWS
# The rest of a row, less than LANES numbers, is taken in short vectors, then number by number.
_SHORT = 4


class Members(NamedTuple):
    """The members of an input, at least one, and what their gradients are made of."""

    count: Any
    common: Any  # pointer: the weighted sum of sampled rows of the input
    scales: Any  # pointer: a number for each member
    factors: Any  # pointer: column c and member k have the number at c * plane + k
    choices: Any  # pointer, likewise: the row of the column, see `encodings`
    plane: Any
    num_columns: Any  # at least one
    weights: Any  # pointer to the rows of the classes
    dim: Any  # numbers of a row of the weights
    rows: Any  # pointer to the packed sampled rows
    stride: Any  # numbers from one packed row to the next, also in `common`



def _own_row(emit, group, choice, start):  # pragma: no cover
    """Return the address of element `start` of the row that a choice means, without a branch.

    For an absent column it is some row that can be read: its factor is 0.
    """
    packed = (-1 - choice) * group.stride  # as `packed_row` says
    base = emit.select(choice < 0, group.rows, group.weights)
    offset = emit.select(choice < 0, packed, choice * group.dim)
    return emit.select(choice == NO_ROW, group.common + start, base + (offset + start))


def _make_members(lanes, most, is_written):
    """Return a function that computes gradients of members, in a part of the columns.

    The part is `width` vectors of `lanes` numbers, from column `start` on; `width` is at most
    `most`. If `is_written`, the gradient of member k is written to the row how[k] of `out`. If not,
    `how` is a number: the gradients are multiplied by it and subtracted from the row `out`.
    """

    def python_members(width, start, group, how, out):
        part = slice(start, start + width * lanes)
        for k in range(group.count):
            grad = group.scales[k] * group.common[part]
            for c in range(group.num_columns):
                choice = group.choices[c * group.plane + k]
                if choice == NO_ROW:
                    continue
                row = group.weights[choice * group.dim :]
                if choice < 0:
                    row = group.rows[packed_row(choice) * group.stride :]
                grad += group.factors[c * group.plane + k] * row[part]
            if is_written:
                out[how[k] * group.stride :][part] = grad
            else:
                out[part] -= how * grad

    @intrinsic(python_members)
    def members(emit, width, start, group, how, out):
        common, out = group.common + start, out + start
        step = None if is_written else emit.splat(how, lanes)

        def vectors(address, size):
            return [emit.load(address + v * lanes, lanes) for v in range(size)]

        def store(values, address):
            for v, value in enumerate(values):
                emit.store(value, address + v * lanes)

        def work(size):
            shared = vectors(common, size)

            def member(k, values):
                scale = emit.splat(group.scales[k], lanes)

                def column(c, sums):
                    at = c * group.plane + k
                    factor = emit.splat(group.factors[at], lanes)
                    row = vectors(_own_row(emit, group, group.choices[at], start), size)
                    return [
                        emit.multiply_add(factor, x, total)
                        for x, total in zip(row, sums, strict=True)
                    ]

                grads = emit.loop(group.num_columns, [scale * x for x in shared], column)
                if is_written:
                    store(grads, out + how[k] * group.stride)
                    return []
                return [
                    value - step * grad for value, grad in zip(values, grads, strict=True)
                ]

            left = emit.loop(group.count, [] if is_written else vectors(out, size), member)
            if not is_written:
                store(left, out)

        emit.switch(width, most, work)

    return members


_subtract_long, _subtract_short, _subtract_one = (
    _make_members(LANES, _MOST, False), _make_members(_SHORT, 3, False), _make_members(1, 3, False)
)
_write_long, _write_short, _write_one = (
    _make_members(LANES, _MOST, True), _make_members(_SHORT, 3, True), _make_members(1, 3, True)
)


def _python_sum_others(hit, row_scales, member_hits, num_columns, stride, count):
    kept = row_scales[:count].copy()
    for t in range(num_columns):
        kept[member_hits[t * stride : t * stride + count] == hit] = 0
    return kept.sum()


@intrinsic(_python_sum_others, result=lambda hit, row_scales, *_: row_scales.dtype)
def _sum_others(emit, hit, row_scales, member_hits, num_columns, stride, count):
    """Sum the scales of the members for which no hit is `hit`, LANES members at a time.

    In each vector of scales, those after the last member and those of members with this hit are
    replaced by 0. The vectors are added up, and in the end the lanes of their sum.
    """
    lanes, zero = emit.constants(range(LANES)), emit.zeros(row_scales)
    wanted, last = emit.splat(hit.short()), emit.splat(count.short())

    def add(k, sums):
        first = k * LANES
        is_beyond = (emit.splat(first.short()) + lanes) >= last
        kept = emit.select(is_beyond, zero, emit.load(row_scales + first))

        def leave_out(t, kept):
            is_same = emit.load(member_hits + (t * stride + first)) == wanted
            return [emit.select(is_same, zero, kept[0])]

        return [sums[0] + emit.loop(num_columns, [kept], leave_out)[0]]

    return emit.sum_lanes(emit.loop((count + (LANES - 1)) // LANES, [zero], add)[0])


# This and the functions below are exact kernels. LLVM code that is written by hand is compiled with
# the flags of the kernel that contains it, and those of `kernel` would let LLVM reorder the sums.
@exact_kernel
def sum_others(hit, row_scales, member_hits, num_columns, stride, count):
    """Return the sum of the scales of those members that do not have a hit.

    The hits of member m are member_hits[t * stride + m] for the labels t. Whole vectors are read.
    So both arrays are also read after the last member.
    """
    return _sum_others(hit, row_scales, member_hits, num_columns, stride, count)


@exact_kernel
def subtract_members(group, learning_rate, out):
    """Subtract learning_rate times the gradients of `Members` from a row, one member at a time."""
    whole, single = group.dim // LANES, group.dim % _SHORT
    for v in range(0, whole, _MOST):
        _subtract_long(min(whole - v, _MOST), v * LANES, group, learning_rate, out)
    _subtract_short(group.dim % LANES // _SHORT, whole * LANES, group, learning_rate, out)
    _subtract_one(single, group.dim - single, group, learning_rate, out)


@exact_kernel
def write_members(group, places, out):
    """Write the gradient of member k to the row places[k] of `out`, whose rows are `stride` apart.

    These are the gradients that `subtract_members` subtracts, bit for bit.
    """
    whole, single = group.dim // LANES, group.dim % _SHORT
    for v in range(0, whole, _MOST):
        _write_long(min(whole - v, _MOST), v * LANES, group, places, out)
    _write_short(group.dim % LANES // _SHORT, whole * LANES, group, places, out)
    _write_one(single, group.dim - single, group, places, out)
