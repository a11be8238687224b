"""The arrays of a sampled pass, as one argument of its kernels.

A call from Python costs some fifty nanoseconds for each array it hands over, and the kernels
of a pass share more than twenty: in a small step that were a fifth of the time. So a table of
where they stand is made once, with `describe`, and each kernel takes from it what it needs.
The table does not keep the arrays alive.

Arrays are taken where no ``prange`` is: Numba drops what a parallel kernel itself writes to an
array that none of its arguments is.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_INDEX, _SHORT, _NUMBER = types.int64, types.int32, None

# Number of dimensions and type of each; the kernels that write them say what they are.
FIELDS = {
    "rows": (2, _NUMBER),
    "offsets": (1, _NUMBER),
    "x": (2, _NUMBER),
    "xt": (3, _NUMBER),
    "scratch": (3, _NUMBER),
    "exps": (2, _NUMBER),
    "peaks": (2, _NUMBER),
    "peak": (1, _NUMBER),
    "total": (1, _NUMBER),
    "y": (2, _NUMBER),
    "kept": (1, _NUMBER),
    "factors": (2, _NUMBER),
    "example": (3, _NUMBER),
    "logits": (3, _NUMBER),
    "targets": (3, _NUMBER),
    "extra": (3, _NUMBER),
    "expected": (3, _NUMBER),
    "parts": (1, _NUMBER),
    "coefficients": (2, _NUMBER),
    "loss": (1, _NUMBER),
    "grad_inputs": (2, _NUMBER),
    "grad_rows": (2, _NUMBER),
    "grad_offsets": (1, _NUMBER),
    "hashes": (1, _SHORT),
    "hits": (2, _SHORT),
    "joined": (2, _SHORT),
    "entries": (2, _SHORT),
    "keys": (1, _INDEX),
    "slots": (1, _INDEX),
    "member_offsets": (1, _INDEX),
    "members": (1, _INDEX),
    "entry_offsets": (1, _INDEX),
    "sizes": (1, _INDEX),
    "places": (3, _INDEX),
    "choices": (2, _INDEX),
    "board": (2, _INDEX),
}
_PLACES = {name: place for place, name in enumerate(FIELDS)}
_WIDTH = 4  # an address, and up to three lengths


def _table(**arrays):
    table = np.zeros((len(FIELDS), _WIDTH), np.int64)
    for name, array in arrays.items():
        num_dimensions, kind = FIELDS[name]
        fits = array.ndim == num_dimensions and array.flags.c_contiguous
        if not fits or (kind is not None and array.dtype != str(kind)):
            raise TypeError(f"{name}: {array.dtype} of {array.ndim} dimensions")
        table[_PLACES[name], : 1 + array.ndim] = array.ctypes.data, *array.shape
    return table


# The functions that emit code run while Numba compiles, where coverage is not measured.


def _emit(array_type, place):  # pragma: no cover
    """Return code that makes an array of what the table says of it; it owns nothing."""

    def codegen(context, builder, signature, arguments):
        table = context.make_array(signature.args[0])(context, builder, arguments[0])

        def load(k):
            at = ir.Constant(ir.IntType(64), place * _WIDTH + k)
            return builder.load(builder.gep(table.data, [at]))

        number = context.get_data_type(array_type.dtype)
        size = context.get_constant(types.intp, context.get_abi_sizeof(number))
        shape = [load(1 + d) for d in range(array_type.ndim)]
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        array = context.make_array(array_type)(context, builder)
        data = builder.inttoptr(load(0), number.as_pointer())
        populate_array(array, data, shape, strides, size, None)
        return array._getvalue()

    return codegen


@intrinsic(prefer_literal=True)
def _compiled_integers(context, buffers, name):  # pragma: no cover
    num_dimensions, kind = FIELDS[name.literal_value]
    array_type = types.Array(kind, num_dimensions, "C")
    return array_type(buffers, name), _emit(array_type, _PLACES[name.literal_value])


@intrinsic(prefer_literal=True)
def _compiled_numbers(context, buffers, name, like):  # pragma: no cover
    array_type = types.Array(like.dtype, FIELDS[name.literal_value][0], "C")
    return array_type(buffers, name, like), _emit(array_type, _PLACES[name.literal_value])


# describe(**arrays): the table of the arrays.
# integers(buffers, name), numbers(buffers, name, like): the array of that name; `like` is an
# array of the same type of numbers.
if config.DISABLE_JIT:
    describe = dict

    def integers(buffers, name):
        """Return an array of integers."""
        # As the table does, of what was not described an array without numbers.
        return buffers[name] if name in buffers else np.empty((0,) * FIELDS[name][0], int)

    def numbers(buffers, name, like):
        """Return an array of the type of `like`."""
        return buffers[name] if name in buffers else np.empty((0,) * FIELDS[name][0], like.dtype)

else:
    describe, integers, numbers = _table, _compiled_integers, _compiled_numbers
