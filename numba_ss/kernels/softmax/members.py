"""The gradients of an input's members: written, or subtracted from the input's row.

The gradient of member k is

    scales[k] * common + factors[0, k] * row + factors[1, k] * row' + ...

with a row of its own for each column. An input has few members of a few vectors each, so
loops of their own for each member, over what others wrote, take several times as long as
the arithmetic: here some columns of the input's row stay in registers while its members
are subtracted one after the other. See `rows` for what a pointer is.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.tile import LANES, ROWS
from numba_ss.kernels.softmax.encodings import NO_ROW, packed_row

# Vectors that are worked on together: three times as many, and a few more, are in registers.
_MOST = ROWS
# What is left of a row is taken in short vectors, then one by one.
_SHORT = 4


class Members(NamedTuple):
    """The members of an input, at least one, and what their gradients are made of.

    The numbers of the next column stand `plane` further.
    """

    count: Any
    common: Any  # pointer: the input's sum of rows
    scales: Any  # pointer: one a member
    factors: Any  # pointer: one a member and own column
    choices: Any  # pointer, likewise: which row is a column's own; see `encodings`
    plane: Any
    num_columns: Any  # at least one
    weights: Any  # pointer
    dim: Any  # from one row of the weights to the next
    rows: Any  # pointer: the packed sampled rows
    stride: Any  # from one of them to the next


# The functions that emit code run while Numba compiles, where coverage is not measured.


class _Emitter:  # pragma: no cover
    """Writes LLVM code on vectors of some numbers."""

    def __init__(self, builder, number, bits, lanes):
        self.builder, self.lanes, self.bits = builder, lanes, bits
        self.index = ir.IntType(64)
        self.vector = ir.VectorType(number, lanes)

    def integer(self, value):
        return ir.Constant(self.index, value)

    def item(self, base, place):
        return self.builder.load(self.builder.gep(base, [place]))

    def address(self, base, v):
        place = self.builder.gep(base, [self.integer(v * self.lanes)])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, base, count):
        places = [self.address(base, v) for v in range(count)]
        return [self.builder.load(place, align=self.bits // 8) for place in places]

    def store(self, values, base):
        for v, value in enumerate(values):
            self.builder.store(value, self.address(base, v), align=self.bits // 8)

    def total(self, vector):
        """Return the sum of the lanes: each round adds the upper half of what is left."""
        half = self.lanes // 2
        while half:
            mask = [lane + half if lane < half else lane for lane in range(self.lanes)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), mask)
            vector = self.builder.fadd(vector, self.builder.shuffle_vector(vector, vector, mask))
            half //= 2
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def muladd(self, x, y, z):
        """Return x y + z, fused where the CPU can."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fmuladd.v{self.lanes}f{self.bits}",
        )
        return self.builder.call(function, [x, y, z])

    def splat(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, mask)

    def loop(self, count, start, body):
        """Run body(k, values) -> values for k = 0 .. count - 1, at least once."""
        builder, before = self.builder, self.builder.block
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(self.index)
        values = [builder.phi(self.vector) for _ in start]
        changed = body(k, values)
        following = builder.add(k, self.integer(1))
        last = builder.block
        k.add_incoming(self.integer(0), before)
        k.add_incoming(following, last)
        for value, first, new in zip(values, start, changed, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(new, last)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return changed

    def switch(self, count, most, body):
        """Run body(count), written out for each count from 1 to `most`."""
        after = self.builder.append_basic_block("after")
        switch = self.builder.switch(count, after)
        for case in range(1, most + 1):
            block = self.builder.append_basic_block(f"count_{case}")
            switch.add_case(self.integer(case), block)
            self.builder.position_at_end(block)
            body(case)
            self.builder.branch(after)
        self.builder.position_at_end(after)


def _compiled_members(lanes, most, is_written):  # pragma: no cover
    """Emit the work on `width` vectors of `lanes` numbers, at most `most`, from `start` on.

    `how` is where the members' rows are written, or what their gradients are multiplied by.
    """

    @intrinsic
    def members(context, width, start, group, how, out):
        signature = types.void(types.int64, types.int64, group, how, out)

        def codegen(context, builder, signature, arguments):
            width, start, packed, how, out = arguments
            group = Members(*cgutils.unpack_tuple(builder, packed))
            number = signature.args[4].dtype
            emit = _Emitter(builder, context.get_value_type(number), number.bitwidth, lanes)
            common, base = builder.gep(group.common, [start]), builder.gep(out, [start])
            step = None if is_written else emit.splat(how)

            def own_row(choice):
                absent = builder.icmp_signed("==", choice, emit.integer(NO_ROW))
                negative = builder.icmp_signed("<", choice, emit.integer(0))
                # As `packed_row` says.
                candidate = builder.mul(builder.sub(emit.integer(-1), choice), group.stride)
                offset = builder.select(negative, candidate, builder.mul(choice, group.dim))
                row = builder.gep(
                    builder.select(negative, group.rows, group.weights),
                    [builder.add(offset, start)],
                )
                return builder.select(absent, common, row)

            def work(size):
                shared = emit.load(common, size)

                def member(k, values):
                    scale = emit.splat(emit.item(group.scales, k))

                    def column(c, sums):
                        place = builder.add(builder.mul(c, group.plane), k)
                        factor = emit.splat(emit.item(group.factors, place))
                        own = emit.load(own_row(emit.item(group.choices, place)), size)
                        return [
                            emit.muladd(factor, x, total)
                            for x, total in zip(own, sums, strict=True)
                        ]

                    first = [builder.fmul(scale, x) for x in shared]
                    grads = emit.loop(group.num_columns, first, column)
                    if is_written:
                        row = builder.mul(emit.item(how, k), group.stride)
                        emit.store(grads, builder.gep(base, [row]))
                        return []
                    return [
                        builder.fsub(value, builder.fmul(step, grad))
                        for value, grad in zip(values, grads, strict=True)
                    ]

                left = emit.loop(group.count, [] if is_written else emit.load(base, size), member)
                if not is_written:
                    emit.store(left, base)

            emit.switch(width, most, work)
            return context.get_dummy_value()

        return signature, codegen

    return members


def _python_members(lanes, most, is_written):
    def members(width, start, group, how, out):
        size = width * lanes
        for k in range(group.count):
            grad = group.scales[k] * group.common[start : start + size]
            for c in range(group.num_columns):
                choice = group.choices[c * group.plane + k]
                if choice == NO_ROW:
                    continue
                base, at = group.weights, choice * group.dim
                if choice < 0:
                    base, at = group.rows, packed_row(choice) * group.stride
                grad += group.factors[c * group.plane + k] * base[at + start : at + start + size]
            if is_written:
                out[how[k] * group.stride + start :][:size] = grad
            else:
                out[start : start + size] -= how * grad

    return members


@intrinsic
def _compiled_sum_others(  # pragma: no cover
    context, hit, row_scales, member_hits, num_columns, stride, count
):
    index, short = types.int64, types.int32
    signature = row_scales.dtype(index, row_scales, types.CPointer(short), index, index, index)

    def codegen(context, builder, signature, arguments):
        hit, row_scales, member_hits, num_columns, stride, count = arguments
        number = context.get_value_type(signature.return_type)
        bits = signature.return_type.bitwidth
        emit = _Emitter(builder, number, bits, LANES)
        narrow = _Emitter(builder, ir.IntType(32), 32, LANES)
        zero = ir.Constant(emit.vector, [0.0] * LANES)
        lanes = ir.Constant(narrow.vector, list(range(LANES)))
        few = ir.IntType(32)
        wanted, last = (narrow.splat(builder.trunc(value, few)) for value in (hit, count))
        rounds = builder.sdiv(
            builder.add(count, emit.integer(LANES - 1)), emit.integer(LANES)
        )

        def add(k, sums):
            first = builder.mul(k, emit.integer(LANES))
            places = builder.add(narrow.splat(builder.trunc(first, few)), lanes)
            beyond = builder.icmp_signed(">=", places, last)
            kept = builder.select(beyond, zero, emit.load(builder.gep(row_scales, [first]), 1)[0])

            def leave_out(t, kept):
                place = builder.add(builder.mul(t, stride), first)
                same = builder.icmp_signed(
                    "==", narrow.load(builder.gep(member_hits, [place]), 1)[0], wanted
                )
                return [builder.select(same, zero, kept[0])]

            return [builder.fadd(sums[0], emit.loop(num_columns, [kept], leave_out)[0])]

        total = emit.loop(rounds, [zero], add)[0]
        return emit.total(total)

    return signature, codegen


def _python_sum_others(hit, row_scales, member_hits, num_columns, stride, count):
    kept = row_scales[:count].copy()
    for t in range(num_columns):
        kept[member_hits[t * stride : t * stride + count] == hit] = 0
    return kept.sum()


_sum_others = _python_sum_others if config.DISABLE_JIT else _compiled_sum_others
_make = _python_members if config.DISABLE_JIT else _compiled_members
_subtract_long, _subtract_short, _subtract_one = (
    _make(LANES, _MOST, False), _make(_SHORT, 3, False), _make(1, 3, False)
)
_write_long, _write_short, _write_one = (
    _make(LANES, _MOST, True), _make(_SHORT, 3, True), _make(1, 3, True)
)


# Exact, as the others: what is written out takes over a caller's leave to reorder sums.
@exact_kernel
def sum_others(hit, row_scales, member_hits, num_columns, stride, count):
    """Return the sum of the scales of members of which no label is the sampled class `hit`.

    What `join_hits` said of label t of member m is member_hits[t * stride + m]. Whole vectors are
    read, beyond the last member too.
    """
    return _sum_others(hit, row_scales, member_hits, num_columns, stride, count)


@exact_kernel
def subtract_members(group, learning_rate, out):
    """Subtract learning_rate times the gradients of `Members` from a row, one by one, in order."""
    whole, single = group.dim // LANES, group.dim % _SHORT
    for v in range(0, whole, _MOST):
        _subtract_long(min(whole - v, _MOST), v * LANES, group, learning_rate, out)
    _subtract_short(group.dim % LANES // _SHORT, whole * LANES, group, learning_rate, out)
    _subtract_one(single, group.dim - single, group, learning_rate, out)


@exact_kernel
def write_members(group, places, out):
    """Write the gradients of `Members` to the rows `places` of `out`, `stride` numbers apart.

    They have the same bits as those of `subtract_members`.
    """
    whole, single = group.dim // LANES, group.dim % _SHORT
    for v in range(0, whole, _MOST):
        _write_long(min(whole - v, _MOST), v * LANES, group, places, out)
    _write_short(group.dim % LANES // _SHORT, whole * LANES, group, places, out)
    _write_one(single, group.dim - single, group, places, out)
