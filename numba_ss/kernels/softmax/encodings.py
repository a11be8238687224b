"""What a number below zero means in the arrays of a pass: three encodings, each in one place.

An absent label or own column is the class -1. A label that is among the sampled classes is an
accidental hit: its position there, or `left_out` of it. A hit of the same expected count as the
sampled class is worked on as that class; another makes its example leave the class out.
"""

import numpy as np

from numba_ss.kernels._jit import exact_kernel

NO_HIT = -1  # the label is not among the sampled classes, or has been counted already
NO_ROW = np.iinfo(np.int64).min  # of `choices`: the column is absent


@exact_kernel
def left_out(hit):
    """Return the code of a sampled class that an example leaves out; of a code, the position.

    It is its own inverse, and below `NO_HIT` for a position: -2, -3, ...
    """
    return -2 - hit


@exact_kernel
def packed_row(position):
    """Return the choice of a row among the packed sampled rows; of a choice, the position.

    It is its own inverse, and negative for a position: -1, -2, ... A choice that is not negative
    is a row of the weights.
    """
    return -1 - position


@exact_kernel
def lone_key(example):
    """Return the key of an example that has its input to itself: no row's key is negative."""
    return -1 - example
