"""buffers.py: arrays by their names, the very memory that was described."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from numba import prange, types

from numba_ss.kernels import softmax
from numba_ss.kernels._jit import kernel, parallel_kernel
from numba_ss.kernels.softmax.buffers import (
    FIELDS,
    describe,
    integers,
    numbers,
    shape_of,
    type_of,
)
from tests.conftest import needs_jit

ROOM = Path(softmax.__file__).parent
PHASES = {
    "P": "prepare", "I": "forward_inputs", "E": "forward_examples", "S": "scale_examples",
    "B": "backward_inputs", "C": "grad_sampled", "U": "scatter_classes",
}
FUNCTIONS = {
    node.name: node
    for path in ROOM.glob("*.py")
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef)
}


def arrays_of(name, callers=()):
    """Return the arrays that a kernel, or what it calls, takes from the buffers."""
    found = set()
    for call in ast.walk(FUNCTIONS[name]):
        callee = getattr(getattr(call, "func", None), "id", "")
        if callee in ("numbers", "integers"):
            found.add(call.args[1].value)
        elif callee in FUNCTIONS and callee not in callers:
            found |= arrays_of(callee, (*callers, name))
    return found


def listed():
    """Return (name, shape, type, writers, readers) of each line of the room's table."""
    row = re.compile(
        r"^(\w+) +((?:\d|[A-Z](?:\+1)?)(?: (?:\d|[A-Z]))*) +(number|int32|int64)  (.{6})  (.{5})  ", re.M
    )
    return [tuple(cell.strip() for cell in match.groups()) for match in row.finditer(softmax.__doc__)]


def test_the_table_of_the_room_is_what_is_declared():
    """Names, shapes, types; and the phases that take an array are those that the table names."""
    kinds = {"number": None, "int32": types.int32, "int64": types.int64}
    table = listed()
    declared = {name: (kinds[kind], shape) for name, shape, kind, _, _ in table}
    assert declared == FIELDS
    assert list(declared) == list(FIELDS)
    taken = {letter: arrays_of(kernel) for letter, kernel in PHASES.items()}
    for name, _, _, writers, readers in table:
        used = {letter for letter, arrays in taken.items() if name in arrays}
        assert used == {*writers, *readers}, name


def test_shapes_follow_the_symbols():
    assert shape_of("hit_list", {"E": 7}) == (3, 7)
    assert shape_of("sizes", {}) == (2,)
    assert shape_of("member_indptr", {"B": 4, "B+1": 5}) == (5,)
    assert type_of("losses", np.float64) == np.float64
    assert type_of("hits", np.float64) == np.int32


@kernel
def change(buffers, like):
    x, own, slots = numbers(buffers, "grad_inputs", like), numbers(buffers, "targets", like), integers(buffers, "inverse")
    x[1, 2] = own[1, 2, 3] + slots[4]
    own[0, 0, 1] = own.shape[0] * 100 + own.shape[1] * 10 + own.shape[2]
    slots[0] = integers(buffers, "hits").shape[1]
    return x.shape[1] * 10 + slots.shape[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_those_that_were_described(dtype):
    x, own = np.zeros((2, 3), dtype), np.arange(24).astype(dtype).reshape(2, 3, 4)
    slots, hits = np.arange(5), np.zeros((0, 7), np.int32)
    assert change(describe(grad_inputs=x, targets=own, inverse=slots, hits=hits), x) == 35
    assert x[1, 2] == 23 + 4
    assert x.sum() == 27
    assert own[0, 0, 1] == 234
    assert slots[0] == 7


def test_other_arrays_in_the_place_of_some():
    x, own = np.zeros((2, 3), np.float32), np.zeros((2, 3, 4), np.float32)
    before = describe(grad_inputs=x, targets=own, inverse=np.zeros(5, int))
    slots = np.full(7, 9)
    assert change(describe(before, inverse=slots), x) == 37
    assert x[1, 2] == 9
    x[:] = 0
    assert change(before, x) == 35
    assert x[1, 2] == 0


@kernel
def double_row(row, like, buffers):
    numbers(buffers, "row_scales", like)[row] *= 2


@parallel_kernel
def double(num_chunks, like, buffers):
    """Double the numbers of each chunk."""
    for chunk in prange(num_chunks):
        double_row(chunk, like, buffers)


def test_in_parallel_kernels(rng):
    parts = rng.standard_normal(3).astype(np.float32)
    want = 2 * parts
    double(3, parts, describe(row_scales=parts))
    np.testing.assert_array_equal(parts, want)


@needs_jit
@pytest.mark.parametrize(
    "arrays",
    [
        {"grad_inputs": np.zeros(3)}, {"grad_inputs": np.zeros((3, 4))[:, ::2]}, {"inverse": np.zeros(3, np.int32)},
        {"hits": np.zeros((3, 1), int)},
    ],
    ids=["dimensions", "layout", "int32", "int64"],
)
def test_other_arrays_are_refused(arrays):
    with pytest.raises(TypeError, match=next(iter(arrays))):
        describe(**arrays)


@needs_jit
def test_unknown_names_are_refused():
    with pytest.raises(KeyError):
        describe(unknown=np.zeros(1))
    assert "unknown" not in FIELDS


@kernel
def lengths(buffers, like):
    return numbers(buffers, "probabilities", like).shape[0], integers(buffers, "member_hits").shape[0]


def test_what_was_not_described_is_empty():
    assert lengths(describe(grad_inputs=np.ones((2, 2))), np.ones(1)) == (0, 0)
