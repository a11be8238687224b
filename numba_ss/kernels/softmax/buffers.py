"""The arrays of a pass: declared once, and handed to kernels as one argument.

`FIELDS` declares the type of each array and its shape in symbols. The table in the docstring of
this room says what each array means, who writes it and who reads it.

To pass an array from Python to a kernel costs about fifty nanoseconds. The kernels of a pass share
more than twenty arrays, which would take a fifth of the time of a small step. So `describe` writes
the addresses and shapes of all arrays to a table once, and each kernel takes from the table what
it needs. The table does not keep the arrays alive.

A kernel with a ``prange`` must not take arrays from the table itself: Numba drops what it writes
to arrays that are not among its arguments. Kernels that it calls take them.
"""

from typing import Any

import numpy as np
from numba import config, types
from numpy.typing import DTypeLike

from numba_ss.kernels.core.llvm import intrinsic

_INDEX, _SHORT, _NUMBER = types.int64, types.int32, None

# The type and the shape of each array. The symbols of `shape_of`:
#   B examples; L and Q the same, rounded up to vectors and to blocks
#   C own columns; H labels that can be accidental hits; E = B H + 1, their largest number and one
#   S sampled classes, rounded up to rows of a tile
#   D numbers of a padded row; V numbers of a row, rounded up to vectors
#   K inputs of a block; X numbers from row to row of a transposed block
#   P rows of `probabilities` of all blocks in memory; M strips of these blocks
#   T chunks; N parts of their work; J slots of the hash table; F and W the shape of the board
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
_WIDTH = 4  # of an entry of the table: an address, and up to three lengths

# Names of the rows of some arrays.
NUM_UNIQUE, NUM_LEFT_OUT = range(2)  # of `sizes`
MEMBER, COLUMN, HIT = range(3)  # of `hit_list`
MAX, SUM, RESCALE = range(3)  # of `block_scratch` in the forward pass
SCALE, FACTOR = range(2)  # of `block_scratch` in the backward pass
TOP, LOSS = range(2)  # of `example_scratch`
INPUT, USED = range(2)  # of `place_scratch`


def shape_of(name: str, symbols: dict[str, int]) -> tuple[int, ...]:
    """Return the shape of an array, given the number for each symbol."""
    lengths = FIELDS[name][1].split()
    return tuple(int(length) if length.isdigit() else symbols[length] for length in lengths)


def type_of(name: str, number: DTypeLike) -> np.dtype[Any]:
    """Return the type of an array; `number` is the type of the weights."""
    kind = FIELDS[name][0]
    return np.dtype(number if kind is None else str(kind))


def _dimensions(name):
    return len(FIELDS[name][1].split())


def _table(before=None, **arrays):
    table = np.zeros((len(FIELDS), _WIDTH), np.int64) if before is None else before.copy()
    for name, array in arrays.items():
        fits = array.ndim == _dimensions(name) and array.flags.c_contiguous
        if not fits or array.dtype != type_of(name, array.dtype):
            raise TypeError(f"{name}: {array.dtype} of {array.ndim} dimensions")
        table[_PLACES[name], : 1 + array.ndim] = array.ctypes.data, *array.shape
    return table


# describe(**arrays) returns the table of the arrays; with Numba's compiler off, a dictionary.
# describe(before, **arrays) describes other arrays in the place of some of those before.
describe = dict if config.DISABLE_JIT else _table


def _array_type(buffers, name, like=None):  # pragma: no cover
    kind = FIELDS[name.literal_value][0]
    return types.Array(like.dtype if kind is None else kind, _dimensions(name.literal_value), "C")


def _write_array(emit, table, name):  # pragma: no cover
    """Make an array from its entry in the table; it does not own its memory."""
    place = _PLACES[name] * _WIDTH
    shape = [table[place + 1 + d] for d in range(_dimensions(name))]
    return emit.array(table[place], shape)


def _python_integers(buffers, name):
    # An array that was not described is empty, as it is with the table.
    return buffers[name] if name in buffers else np.empty((0,) * _dimensions(name), int)


@intrinsic(_python_integers, result=_array_type, literal=True)
def integers(emit, buffers, name):
    """Return an array of integers by its name."""
    return _write_array(emit, buffers, name)


def _python_numbers(buffers, name, like):
    return buffers[name] if name in buffers else np.empty((0,) * _dimensions(name), like.dtype)


@intrinsic(_python_numbers, result=_array_type, literal=True)
def numbers(emit, buffers, name, like):
    """Return an array of numbers by its name; its type is that of the array `like`."""
    return _write_array(emit, buffers, name)
