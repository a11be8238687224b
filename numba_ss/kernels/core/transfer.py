"""Rows that move between tables: copied from places to places, and changes that are merged."""

from numpy import float32

from numba_ss.kernels._jit import exact_kernel
from numba_ss.kernels.core.rows import dot, pointer, prefetch

_AHEAD = 8  # rows that are asked for before they are needed


@exact_kernel
def copy_rows(rows, source, places, target):
    """Copy the row rows[k] of `source` to the row places[k] of `target`, for each k.

    If rows of one of them are longer, they have padding at their ends, which is left as it is.
    """
    width, stride = source.shape[1], target.shape[1]
    dim = min(width, stride)
    for k in range(rows.shape[0]):
        if k + _AHEAD < rows.shape[0]:
            prefetch(pointer(source, rows[k + _AHEAD] * width), dim)
        old, new = pointer(source, rows[k] * width), pointer(target, places[k] * stride)
        for d in range(dim):
            new[d] = old[d]


@exact_kernel
def merge_rows(rows, new, slots, old, table):
    """Merge new[k], which a block has made of the row rows[k], into the table, for each k in turn.

    If several blocks have learned the row, slots[k] is its place in `old`, which has the rows as
    they were before all of them, and new[k] - old[slots[k]] is added. Otherwise slots[k] is
    negative, and new[k] replaces the row. Returns the largest squared length of a row of the
    table after its change, or NaN if one is not finite.
    """
    dim, largest, probe = table.shape[1], float32(0), float32(0)
    for k in range(rows.shape[0]):
        if k + _AHEAD < rows.shape[0]:
            prefetch(pointer(table, rows[k + _AHEAD] * dim), dim)
        learned, row = pointer(new, k * dim), pointer(table, rows[k] * dim)
        if slots[k] < 0:
            for d in range(dim):
                row[d] = learned[d]
        else:
            before = pointer(old, slots[k] * dim)
            for d in range(dim):
                row[d] += learned[d] - before[d]
        length = dot(row, row, dim)
        largest = max(largest, length)
        probe += length * float32(0)
    return largest + probe
