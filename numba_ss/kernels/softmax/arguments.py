"""What a pass is given beside its buffers: three tuples that its kernels hand on as they are."""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """The inputs of a batch, the table of classes, and the classes that it is compared with.

    The first `num_true` of an example's own classes are its labels, the others are samples drawn
    for it alone; an absent one is -1. An expected count stands beside each class; its log is
    subtracted from the logit where `subtract_log_q`.
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
    """Some of the blocks that the unique inputs of a batch are cut into."""

    first: Any
    stop: Any
    count: Any  # of all inputs
    num_inputs: Any  # unique ones


class Step(NamedTuple):
    """What a step of SGD does with the gradients."""

    learning_rate: Any
    inputs: Any  # what happens to those of the inputs: KEPT, SUBTRACTED or TIED
    num_updates: Any  # parts of the columns that a scatter is done in


# KEPT in `grad_inputs`, SUBTRACTED from the rows of the table, or from those of the weights, with
# which the table is TIED.
KEPT, SUBTRACTED, TIED = range(3)
