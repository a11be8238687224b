"""Passes over all classes: normalizers, and full gradients. The arrays were checked before.

A pass takes a range of classes at a time. No array of the size batch x classes is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numba_ss._types import Floats, Integers
from numba_ss.engine.memory import round_up
from numba_ss.engine.workspace import EXPS, Workspace, padded
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.threads import threads_for
from numba_ss.kernels.softmax import all_classes, phases, ranking
from numba_ss.kernels.softmax.arguments import Blocks
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.buffers import describe, shape_of
from numba_ss.kernels.softmax.ranking import CLASSES
from numba_ss.kernels.softmax.sampled_classes import BLOCK

# Parts of the classes. Their sums are added up in order, so threads do not change the result.
_PARTS = 64
# Examples of one pass over all classes. More would take more memory and no less time.
EXAMPLES = 1024
# A pass over all classes also uses the inputs and these arrays of a sampled pass.
_FIELDS = (
    "sampled_rows", "adjusted_biases", "transposed_inputs", "block_scratch", "probabilities",
    "grad_sampled_rows", "grad_sampled_biases",
)


def transposed(inputs: Floats, batch_size: int, dim: int) -> Floats:
    """Return the blocks of padded inputs, transposed for a pass over all classes."""
    num_blocks = -(-batch_size // BLOCK)
    out = np.empty((num_blocks, round_up(dim, LANES), STRIDE), inputs.dtype)
    ranking.transpose_inputs(inputs, dim, threads_for(inputs.size), out)
    return out


def padded_inputs(inputs: Floats) -> Floats:
    """Return a copy of the inputs in whole blocks of padded rows."""
    batch_size, dim = inputs.shape
    rows = np.zeros((round_up(batch_size, BLOCK), padded(dim)), inputs.dtype)
    rows[:batch_size, :dim] = inputs
    return rows


def walk_scratch(threads: int, dim: int, dtype: DTypeLike) -> tuple[Floats, Floats]:
    """Return memory for the rows and logits of a group of classes, for each chunk."""
    rows = np.zeros((threads, CLASSES, padded(dim)), dtype)
    return rows, np.empty((threads, CLASSES, BLOCK), dtype)


def normalizers(weights: Floats, biases: Floats, inputs: Floats, logistic: bool) -> Floats:
    """Return, in float64, the log of the sum over all classes of exp(logit).

    With `logistic`, return the sum over all classes of log(1 + exp(logit)) instead.
    """
    batch_size, dim = inputs.shape
    dtype = weights.dtype
    result = np.empty(batch_size)
    threads = threads_for(inputs.size * len(weights))
    rows, logits = walk_scratch(threads, dim, dtype)
    group_max, group_sum = np.empty((2, threads, BLOCK), dtype)
    for start in range(0, batch_size, EXAMPLES):
        part = inputs[start : start + EXAMPLES]
        columns = transposed(padded_inputs(part), len(part), dim)
        running_max = np.full((_PARTS, len(part)), np.finfo(dtype).min, dtype)
        running_sum = np.empty((_PARTS, len(part)))
        walk = ranking.Walk(weights, biases, columns, len(part), rows, logits)
        sums = ranking.Sums(running_max, running_sum, group_max, group_sum)
        ranking.normalize(walk, logistic, threads, sums)
        out = result[start : start + EXAMPLES]
        if logistic:
            out[:] = running_sum.sum(axis=0)
        else:
            # A part may be empty, and its numbers may not be finite.
            with np.errstate(divide="ignore", invalid="ignore"):
                out[:] = np.logaddexp.reduce(np.log(running_sum) + running_max, axis=0)
    return result


def label_logits(
    weights: Floats, biases: Floats, inputs: Floats, labels: Integers
) -> tuple[Floats, Floats]:
    """Return the logits and targets of the labels; both are 0 if a label is absent."""
    present = labels >= 0
    rows = np.where(present, labels, 0)
    logits = np.empty(labels.shape, inputs.dtype)
    for j in range(labels.shape[1]):
        logits[:, j] = np.einsum("bd,bd->b", inputs, weights[rows[:, j]]) + biases[rows[:, j]]
    targets = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return np.where(present, logits, 0), targets.astype(inputs.dtype)


class FullBlock(NamedTuple):
    """The gradients of a range of classes, with padded rows."""

    classes: slice
    grad_rows: Floats
    grad_biases: Floats


def full_pass(
    workspace: Workspace, weights: Floats, biases: Floats, inputs: Floats, normalizer: Floats,
    grad_output: Floats, logistic: bool, grad_inputs: Floats,
) -> Iterator[FullBlock]:
    """Yield the gradients of all classes, a range at a time, without what the targets contribute.

    The rows of `inputs` are padded, see `padded_inputs`. `grad_inputs` has the same shape, and is
    complete after the last range. The caller may change the weights of a range before it asks for
    the next one.
    """
    batch_size, dim, dtype = len(grad_output), weights.shape[1], weights.dtype
    stride, threads = padded(dim), threads_for(batch_size * weights.size)
    num_blocks = -(-batch_size // BLOCK)
    size = max(CLASSES, EXPS // (max(num_blocks, 1) * BLOCK) // CLASSES * CLASSES)
    size = min(size, round_up(len(weights), ROWS))
    symbols = {
        "D": stride, "V": round_up(dim, LANES), "K": BLOCK, "X": STRIDE, "T": threads, "N": threads
    }
    no_counts = np.empty(0, dtype)
    for start in range(0, len(weights), size):
        classes = np.arange(start, min(start + size, len(weights)))
        num_rows = round_up(len(classes), ROWS)
        symbols |= {"S": num_rows, "P": num_blocks * num_rows}
        arrays = {
            name: workspace.array(name, shape_of(name, symbols), dtype) for name in _FIELDS
        }
        buffers = describe(unique_inputs=inputs, **arrays)
        all_classes.pack_classes(classes, weights, biases, no_counts, num_rows, threads, buffers)
        given = all_classes.Range(normalizer, grad_output, grad_inputs, start == 0, dim)
        all_classes.forward_classes(num_blocks, given, logistic or None, threads, buffers)
        blocks = Blocks(0, num_blocks, num_blocks, batch_size)
        phases.grad_sampled(blocks, dim, threads, weights, buffers)
        grad_rows, grad_biases = arrays["grad_sampled_rows"], arrays["grad_sampled_biases"]
        if not batch_size:
            grad_rows[:], grad_biases[:] = 0, 0
        yield FullBlock(slice(start, start + len(classes)), grad_rows, grad_biases)
