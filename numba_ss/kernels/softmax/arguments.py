"""The arguments of a pass besides its buffers: three tuples that kernels pass on to each other."""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """The inputs of a batch, the table of classes, and the classes it is compared with.

    The first `num_true` of an example's own classes are its labels; the others are samples drawn
    for this example alone. An absent class is -1. Each class has an expected count, whose log is
    subtracted from the logit if `subtract_log_q`.
    """

    table: Any  # (num_rows, dim)
    ids: Any  # int64 (batch_size,): example i's input is the row ids[i] of the table
    weights: Any  # (num_classes, dim)
    biases: Any  # (num_classes,)
    own: Any  # int64 (batch_size, num_own)
    own_counts: Any  # (batch_size, num_own)
    num_true: Any
    sampled: Any  # int64 (num_sampled,)
    sampled_counts: Any  # (num_sampled,)
    subtract_log_q: Any


class Blocks(NamedTuple):
    """A range of the blocks into which the unique inputs of a batch are cut."""

    first: Any
    stop: Any
    count: Any  # of all blocks of the batch
    num_inputs: Any  # number of unique inputs


class Step(NamedTuple):
    """Which part of a step of SGD is taken, and what it does with the gradients."""

    part: Any  # WHOLE, FORWARD or BACKWARD
    learning_rate: Any
    inputs: Any  # what happens to the gradients of the inputs: KEPT, SUBTRACTED or TIED
    num_updates: Any  # number of tasks into which the columns are cut for an update; 0: no update


# A step is taken at once; or in two calls, of which the first ends with the losses and the second
# begins with the upstream gradient.
WHOLE, FORWARD, BACKWARD = range(3)
# The gradients of the inputs are KEPT in `grad_inputs`, SUBTRACTED from the rows of the table, or
# subtracted after those of the classes, because the table is TIED: it is the table of classes.
KEPT, SUBTRACTED, TIED = range(3)
