"""What a negative number means in the arrays of a pass: three encodings, each in one place.

The class of an absent label, or of an absent own column, is -1. A label that is among the sampled
classes is an accidental hit. If both have the same expected count, they share one logit, and the
hit is the position among the sampled classes. If not, the example must leave the sampled class
out, and the hit is `left_out` of the position.
"""

import numpy as np

from numba_ss.kernels._jit import exact_kernel

NO_HIT = -1  # the label is not among the sampled classes, or has been counted already
NO_ROW = np.iinfo(np.int64).min  # of `choices`: the column is absent


@exact_kernel
def left_out(hit):
    """Return the code for leaving out a sampled class: -2 for position 0, -3 for 1, and so on.

    The function is its own inverse: of a code, it returns the position. Codes are below `NO_HIT`.
    """
    return -2 - hit


@exact_kernel
def packed_row(position):
    """Return the choice that means a packed sampled row: -1 for position 0, -2 for 1, and so on.

    The function is its own inverse: of a choice, it returns the position. A choice of 0 or more is
    a row of the weights.
    """
    return -1 - position


@exact_kernel
def lone_key(example):
    """Return the key of an example that shares its input with no other: a negative number.

    Keys of rows are not negative, so no two are equal.
    """
    return -1 - example
