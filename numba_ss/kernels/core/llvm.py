"""The one place that writes LLVM code, and what that code depends on: vectors, registers, cache.

Numba translates Python loops to LLVM code by itself, and that is right for most kernels. In a few
of them LLVM would not keep a block of sums in vector registers, which costs two thirds of the
speed of a matrix product. Those loops are written here, instruction by instruction:

    def _python_dot(x, y, num_vectors):
        return x[: num_vectors * LANES] @ y[: num_vectors * LANES]

    @intrinsic(_python_dot, result=lambda x, y, num_vectors: x.dtype)
    def dot(emit, x, y, num_vectors):
        def add(k, sums):
            at = k * LANES
            return [emit.multiply_add(emit.load(x + at), emit.load(y + at), sums[0])]

        return emit.sum_lanes(emit.loop(num_vectors, [emit.zeros(x)], add)[0])

A function such as `dot` runs once, while Numba compiles. It computes nothing, but writes
instructions. Its arguments are not numbers: each `Value` stands for a number, a vector of numbers
or an address that the compiled code will have, and ``x + at`` writes an instruction that adds. So
a Python loop is unrolled: it writes its body several times. A loop that the compiled code runs is
`Emitter.loop`, a branch is `Emitter.either` or `Emitter.switch`.

The function in plain Python, here ``_python_dot``, says what the code computes. It replaces the
code when Numba's compiler is switched off; then an address is a flat array.
"""

import functools

from llvmlite import binding, ir
from numba import config, extending, types
from numba.core import cgutils
from numba.np.arrayobj import populate_array


def _register_tile():
    """Return the lanes of a vector, and the rows and vectors of a block of sums.

    The sums of such a block and their operands fill the host's vector registers.
    """
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
        features = {}
    if features.get("avx512f") and config.ENABLE_AVX:
        return 16, 8, 3
    if features.get("avx2") and config.ENABLE_AVX:
        return 8, 4, 3
    if features.get("neon"):
        return 4, 8, 3
    return 4, 4, 3


LANES, ROWS, VECTORS = _register_tile()

CACHE_LINE = 64  # bytes
LINE = CACHE_LINE // 4  # float32 numbers of a cache line

_INT, _SHORT, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


def intrinsic(python, result=None, literal=False):
    """Return a decorator: kernels that call the decorated function contain the code it writes.

    `python` is the same function in plain Python. `result` is a function that returns the Numba
    type of the result, given the types of the arguments; if it is None, there is no result.
    Integers are passed as int64. With `literal`, an argument whose value is known while Numba
    compiles, such as a string, is passed as that Python value and not as a `Value`.
    """

    def decorate(write):  # pragma: no cover
        if config.DISABLE_JIT:
            return python

        @functools.wraps(write)  # with its signature, which Numba reads
        def define(context, *kinds):
            kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in kinds]

            def codegen(context, builder, signature, values):
                emit = Emitter(context, builder, signature)
                written = write(emit, *map(emit.argument, signature.args, values))
                return context.get_dummy_value() if written is None else written.value

            return (result(*kinds) if result else types.void)(*kinds), codegen

        return extending.intrinsic(prefer_literal=literal)(define)

    return decorate


class Value:  # pragma: no cover
    """A number, a vector or an address of the compiled code; operators write instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value
        kind = value.type
        self._is_address = isinstance(kind, ir.PointerType)
        self._is_integer = isinstance(getattr(kind, "element", kind), ir.IntType)

    def _write(self, operation, *operands):
        operands = [
            other.value if isinstance(other, Value) else ir.Constant(self.value.type, other)
            for other in operands
        ]
        return Value(self.builder, operation(*operands))

    def _arithmetic(self, name, x, y):
        return self._write(getattr(self.builder, name if self._is_integer else f"f{name}"), x, y)

    def _compare(self, sign, other):
        return self._write(functools.partial(self.builder.icmp_signed, sign), self, other)

    def __add__(self, other):
        if self._is_address:
            offset = other.value if isinstance(other, Value) else ir.Constant(_INT, other)
            return Value(self.builder, self.builder.gep(self.value, [offset]))
        return self._arithmetic("add", self, other)

    def __sub__(self, other):
        return self._arithmetic("sub", self, other)

    def __rsub__(self, other):
        return self._arithmetic("sub", other, self)

    def __mul__(self, other):
        return self._arithmetic("mul", self, other)

    def __floordiv__(self, other):
        return self._write(self.builder.sdiv, self, other)  # rounds to 0

    def __lt__(self, other):
        return self._compare("<", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __ge__(self, other):
        return self._compare(">=", other)

    def __eq__(self, other):
        return self._compare("==", other)

    __hash__ = None

    def __getitem__(self, offset):
        """Load the number that stands `offset` numbers after an address."""
        return Value(self.builder, self.builder.load((self + offset).value))

    def __setitem__(self, offset, number):
        """Store a number, `offset` numbers after an address."""
        self.builder.store(number.value, (self + offset).value)

    def lane(self, index):
        """Return one number of a vector."""
        place = ir.Constant(_SHORT, index)
        return Value(self.builder, self.builder.extract_element(self.value, place))

    def short(self):
        """Return an int64 as int32."""
        return Value(self.builder, self.builder.trunc(self.value, _SHORT))


class Emitter:  # pragma: no cover
    """Writes the instructions of one intrinsic; vectors have LANES numbers unless they say so."""

    def __init__(self, context, builder, signature):
        self._context, self._builder = context, builder
        self.result, self.kinds = signature.return_type, signature.args

    def argument(self, kind, value):
        """Return an argument: a named tuple with its fields, an array as its address."""
        if isinstance(kind, types.Literal):
            return kind.literal_value
        if isinstance(kind, types.Array):
            array = self._context.make_array(kind)
            return self._value(array(self._context, self._builder, value).data)
        if isinstance(kind, types.BaseNamedTuple):
            fields = map(self.argument, kind.types, cgutils.unpack_tuple(self._builder, value))
            return kind.instance_class(*fields)
        return self._value(value)

    def _value(self, value):
        return Value(self._builder, value)

    # Vectors

    def _vector_at(self, address, lanes):
        kind = ir.VectorType(address.value.type.pointee, lanes)
        return self._builder.bitcast(address.value, kind.as_pointer()), _size_of(kind.element)

    def load(self, address, lanes=LANES):
        """Return the vector at an address."""
        place, align = self._vector_at(address, lanes)
        return self._value(self._builder.load(place, align=align))

    def store(self, vector, address):
        """Write a vector to an address."""
        place, align = self._vector_at(address, vector.value.type.count)
        self._builder.store(vector.value, place, align=align)

    def zeros(self, address, lanes=LANES):
        """Return a vector of zeros of the type that an address points to."""
        kind = ir.VectorType(address.value.type.pointee, lanes)
        return self._value(ir.Constant(kind, [0.0] * lanes))

    def zeros_like(self, vector):
        """Return a vector of zeros of the type of another."""
        kind = vector.value.type
        return self._value(ir.Constant(kind, [0.0] * kind.count))

    def constants(self, numbers):
        """Return a vector of int32."""
        return self._value(ir.Constant(ir.VectorType(_SHORT, len(numbers)), list(numbers)))

    def splat(self, number, lanes=LANES):
        """Return a vector whose lanes all hold one number."""
        nothing = self._value(ir.Constant(ir.VectorType(number.value.type, lanes), ir.Undefined))
        first = self._builder.insert_element(nothing.value, number.value, ir.Constant(_SHORT, 0))
        return self.shuffle(self._value(first), nothing, [0] * lanes)

    def shuffle(self, x, y, lanes):
        """Return a vector of the given lanes; those of `y` are counted after those of `x`."""
        mask = self.constants(lanes)
        return self._value(self._builder.shuffle_vector(x.value, y.value, mask.value))

    def multiply_add(self, x, y, z):
        """Return x y + z, rounded once where the CPU can."""
        # "fmuladd" fuses only if the CPU can; "fma" may call a slow library function.
        kind = x.value.type
        name = f"llvm.fmuladd.v{kind.count}f{8 * _size_of(kind.element)}"
        return self.call(name, x, y, z, result=kind)

    def sum_lanes(self, x):
        """Return the sum of a vector's numbers: each round adds the upper half to the lower."""
        lanes = x.value.type.count
        half = lanes // 2
        while half:
            upper = [lane + half if lane < half else lane for lane in range(lanes)]
            x = x + self.shuffle(x, x, upper)
            half //= 2
        return x.lane(0)

    # Branches and loops

    def select(self, condition, x, y):
        """Return x where a condition holds, else y, without a branch."""
        return self._value(self._builder.select(condition.value, x.value, y.value))

    def either(self, condition, then, otherwise):
        """Run then() or otherwise(); return the values of the one that ran."""
        ends = []
        with self._builder.if_else(condition.value) as branches:
            for branch, body in zip(branches, (then, otherwise), strict=True):
                with branch:
                    ends.append((body(), self._builder.block))
        return [self._join(ends, i) for i in range(len(ends[0][0]))]

    def _join(self, ends, i):
        phi = self._builder.phi(ends[0][0][i].value.type)
        for values, block in ends:
            phi.add_incoming(values[i].value, block)
        return self._value(phi)

    def loop(self, count, start, body, is_rolled=False):
        """Run values = body(k, values) for k = 0, 1, ... count - 1, at least once; return them.

        `start` are the values for k = 0. With `is_rolled`, LLVM must not unroll the loop.
        """
        builder, before = self._builder, self._builder.block
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = self._value(builder.phi(_INT))
        values = [self._value(builder.phi(value.value.type)) for value in start]
        changed = body(k, values)
        following, end = k + 1, builder.block
        k.value.add_incoming(ir.Constant(_INT, 0), before)
        for phi, first in zip(values, start, strict=True):
            phi.value.add_incoming(first.value, before)
        for phi, new in zip([k, *values], [following, *changed], strict=True):
            phi.value.add_incoming(new.value, end)
        branch = builder.cbranch((following < count).value, loop, after)
        if is_rolled:
            self._forbid_unrolling(branch)
        builder.position_at_end(after)
        return changed

    def _forbid_unrolling(self, branch):
        module = self._builder.module
        flag = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        loop_id = ir.values.MDValue(module, [flag], name=str(len(module.metadata)))
        loop_id.operands = (loop_id, flag)  # the reference to itself makes it unique
        branch.set_metadata("llvm.loop", loop_id)

    def switch(self, count, most, body):
        """Run body(count), written out for each count from 1 to `most`; do nothing for others."""
        after = self._builder.append_basic_block("after")
        switch = self._builder.switch(count.value, after)
        for case in range(1, most + 1):
            block = self._builder.append_basic_block(f"count_{case}")
            switch.add_case(ir.Constant(_INT, case), block)
            self._builder.position_at_end(block)
            body(case)
            self._builder.branch(after)
        self._builder.position_at_end(after)

    # Calls, other threads, arrays

    def call(self, name, *arguments, result=None):
        """Call a function of LLVM or of the C library by its name."""
        values = [argument.value for argument in arguments]
        kind = ir.FunctionType(result or ir.VoidType(), [value.type for value in values])
        function = cgutils.get_or_insert_function(self._builder.module, kind, name)
        return self._value(self._builder.call(function, values))

    def call_kernel(self, address, kinds, arguments):
        """Call a kernel that returns nothing, by its address, with a tuple of arguments."""
        convention = self._context.call_conv
        kind = convention.get_function_type(types.none, kinds).as_pointer()
        callee = self._builder.inttoptr(address.value, kind)
        values = cgutils.unpack_tuple(self._builder, arguments.value)
        convention.call_function(self._builder, callee, types.none, kinds, values)

    def uncounted(self, kind, value):
        """Return a value whose arrays, in tuples or alone, have no count of references."""
        if isinstance(kind, types.Array):
            array = self._context.make_array(kind)(self._context, self._builder, value.value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            return self._value(array._getvalue())
        if isinstance(kind, types.BaseTuple):
            parts = map(self._value, cgutils.unpack_tuple(self._builder, value.value))
            parts = [self.uncounted(*pair).value for pair in zip(kind.types, parts, strict=True)]
            return self._value(self._context.make_tuple(self._builder, kind, parts))
        return value

    def prefetch(self, address):
        """Ask for the cache line at an address."""
        hints = (self._value(ir.Constant(_SHORT, hint)) for hint in (0, 3, 1))  # read, keep, data
        self.call("llvm.prefetch.p0", address, *hints)

    def bytes_at(self, address, size):
        """Return an address as an address of bytes, and the number of bytes in `size` numbers."""
        place = self._builder.bitcast(address.value, _BYTE.as_pointer())
        return self._value(place), size * _size_of(address.value.type.pointee)

    def change_atomically(self, operation, address, number):
        """Change a number that other threads change too; return what it was before."""
        values = address.value, number.value
        return self._value(self._builder.atomic_rmw(operation, *values, "acq_rel"))

    def read_atomically(self, address):
        """Return an int64; what its writer wrote before it can be read from then on, too."""
        return self._value(self._builder.load_atomic(address.value, "acquire", 8))

    def array(self, address, shape):
        """Return the C-contiguous array, of the type of the result, that begins at an address."""
        context, builder, kind = self._context, self._builder, self.result
        number = context.get_data_type(kind.dtype)
        size = context.get_constant(types.intp, context.get_abi_sizeof(number))
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length.value))
        array = context.make_array(kind)(context, builder)
        data = builder.inttoptr(address.value, number.as_pointer())
        populate_array(array, data, [length.value for length in shape], strides, size, None)
        return self._value(array._getvalue())


def _size_of(number):  # pragma: no cover
    """Return how many bytes a number of an LLVM type has."""
    return {"float": 4, "double": 8}.get(str(number)) or number.width // 8
