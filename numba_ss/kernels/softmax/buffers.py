"""The arrays of a pass: declared once, and handed to kernels as one argument.

`FIELDS` declares of each array its type and its shape in symbols; what it means, who writes it
and who reads it says the table in the docstring of this room. A call from Python costs some
fifty nanoseconds for each array it hands over, and the kernels of a pass share more than twenty:
in a small step that would be a fifth of the time. So a table of where they stand is made once,
with `describe`, and each kernel takes from it what it needs. The table does not keep the arrays
alive.

Arrays are taken where no ``prange`` is: Numba drops what a parallel kernel itself writes to an
array that none of its arguments is.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import DTypeLike

_INDEX, _SHORT, _NUMBER = types.int64, types.int32, None

# Type and shape of each. The symbols, see `shape_of`:
# B examples, L and Q rounded up to vectors and to blocks; C own columns; H labels that can be
# accidental hits, E all of them and one; S sampled classes, rounded up to rows of a tile; D
# numbers of a padded row, V of one rounded up to vectors; K inputs of a block, X numbers from row
# to row of a transposed one; P and M rows of probabilities, and strips, of the blocks in memory;
# T chunks, N parts of their work; J places of the hash table; F and W shape of the board.
FIELDS = {
    "sampled_rows": (_NUMBER, "S D"),
    "adjusted_biases": (_NUMBER, "S"),
    "unique_inputs": (_NUMBER, "L D"),
    "transposed_inputs": (_NUMBER, "T V X"),
    "block_scratch": (_NUMBER, "N 3 K"),
    "probabilities": (_NUMBER, "P K"),
    "strip_max": (_NUMBER, "M K"),
    "running_max": (_NUMBER, "B"),
    "running_sum": (_NUMBER, "B"),
    "weighted_rows": (_NUMBER, "Q D"),
    "hit_probabilities": (_NUMBER, "E"),
    "own_factors": (_NUMBER, "C B"),
    "example_scratch": (_NUMBER, "T 2 K"),
    "own_logits": (_NUMBER, "T C K"),
    "targets": (_NUMBER, "T C K"),
    "column_weights": (_NUMBER, "T C K"),
    "own_counts": (_NUMBER, "T C K"),
    "example_sums": (_NUMBER, "B"),
    "target_shares": (_NUMBER, "B"),
    "row_scales": (_NUMBER, "B"),
    "grad_own_logits": (_NUMBER, "B C"),
    "losses": (_NUMBER, "B"),
    "grad_inputs": (_NUMBER, "B D"),
    "grad_sampled_rows": (_NUMBER, "S D"),
    "grad_sampled_biases": (_NUMBER, "S"),
    "hash_table": (_SHORT, "J"),
    "hits": (_SHORT, "B H"),
    "member_hits": (_SHORT, "H B"),
    "hit_list": (_SHORT, "3 E"),
    "input_keys": (_INDEX, "B"),
    "inverse": (_INDEX, "B"),
    "member_indptr": (_INDEX, "B+1"),
    "members": (_INDEX, "B"),
    "hit_indptr": (_INDEX, "B+1"),
    "sizes": (_INDEX, "2"),
    "place_scratch": (_INDEX, "T 2 K"),
    "choices": (_INDEX, "C B"),
    "board": (_INDEX, "F W"),
}
_PLACES = {name: place for place, name in enumerate(FIELDS)}
_WIDTH = 4  # an address, and up to three lengths

# Rows of arrays that have a few of their own: of `sizes`,
NUM_UNIQUE, NUM_LEFT_OUT = range(2)
# of `hit_list`,
MEMBER, COLUMN, HIT = range(3)
# of `block_scratch`: in the forward pass, and in the backward pass,
MAX, SUM, RESCALE = range(3)
SCALE, FACTOR = range(2)
# of `example_scratch`,
TOP, LOSS = range(2)
# and of `place_scratch`.
INPUT, USED = range(2)


def shape_of(name: str, symbols: dict[str, int]) -> tuple[int, ...]:
    """Return the shape of an array by what each of the symbols stands for."""
    lengths = FIELDS[name][1].split()
    return tuple(int(length) if length.isdigit() else symbols[length] for length in lengths)


def type_of(name: str, number: DTypeLike) -> np.dtype[Any]:
    """Return the type of an array's numbers, where `number` is that of the weights."""
    kind = FIELDS[name][0]
    return np.dtype(number if kind is None else str(kind))


def _dimensions(name):
    return len(FIELDS[name][1].split())


def _table(**arrays):
    table = np.zeros((len(FIELDS), _WIDTH), np.int64)
    for name, array in arrays.items():
        fits = array.ndim == _dimensions(name) and array.flags.c_contiguous
        if not fits or array.dtype != type_of(name, array.dtype):
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
    kind = FIELDS[name.literal_value][0]
    array_type = types.Array(kind, _dimensions(name.literal_value), "C")
    return array_type(buffers, name), _emit(array_type, _PLACES[name.literal_value])


@intrinsic(prefer_literal=True)
def _compiled_numbers(context, buffers, name, like):  # pragma: no cover
    array_type = types.Array(like.dtype, _dimensions(name.literal_value), "C")
    return array_type(buffers, name, like), _emit(array_type, _PLACES[name.literal_value])


# describe(**arrays): the table of the arrays.
# integers(buffers, name), numbers(buffers, name, like): the array of that name; `like` is an
# array of the same type of numbers.
if config.DISABLE_JIT:
    describe = dict

    def integers(buffers, name):
        """Return an array of integers."""
        # As the table does, of what was not described an array without numbers.
        return buffers[name] if name in buffers else np.empty((0,) * _dimensions(name), int)

    def numbers(buffers, name, like):
        """Return an array of the type of `like`."""
        return buffers[name] if name in buffers else np.empty((0,) * _dimensions(name), like.dtype)

else:
    describe, integers, numbers = _table, _compiled_integers, _compiled_numbers
