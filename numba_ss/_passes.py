"""The forward and backward pass of a batch, over arrays that were checked.

This module allocates, splits the work and calls the kernels; `losses` and `layer`
stand on it. The numbers it returns depend on shapes and values alone, not on the
number of threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from numba_ss.kernels import batch, ranking
from numba_ss.kernels.batch import BLOCK, STRIDE
from numba_ss.kernels.ranking import CLASSES
from numba_ss.kernels.threads import threads_for
from numba_ss.kernels.tile import LANES, ROWS

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

# Numbers in the array of probabilities: above it a batch is taken in parts. 16 MB of
# float32 stay in the last-level cache of a server.
_PROBABILITIES = 2**22
# Multiplications that take as long as gathering a number.
_GATHERED = 4
# Parts of the classes whose sums are added up in order, whatever the threads.
_PARTS = 64
# Examples of one walk over all classes; more would need more memory, not less time.
EXAMPLES = 1024


class Workspace:
    """Buffers that are kept from one call to the next, and grow when they have to."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}
        self._key: object = None
        self._batch: BatchBuffers | None = None

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Leave the buffers behind when it is copied or sent to another process."""
        return Workspace, ()

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array whose content is undefined, but finite where untouched."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = np.zeros(size, dtype)
        return buffer[:size].reshape(shape)

    def batch(
        self, batch_size: int, num_private: int, num_shared: int, dim: int, threads: int,
        dtype: DTypeLike,
    ) -> BatchBuffers:
        """Return the buffers of a sampled pass; the last ones, if nothing has changed."""
        key = batch_size, num_private, num_shared, dim, threads, dtype
        if key == self._key and self._batch is not None:
            return self._batch
        num_blocks = -(-batch_size // BLOCK)
        num_rows, stride = _round_up(num_shared, ROWS), padded(dim)
        group = max(1, min(num_blocks, _PROBABILITIES // (BLOCK * max(num_rows, 1))))
        shapes = {
            "rows": (num_rows, stride),
            "offsets": (num_rows,),
            "x": (num_blocks * BLOCK, stride),
            "xt": (threads, _round_up(dim, LANES), STRIDE),
            "scratch": (threads, 3, BLOCK),
            "probabilities": (group * num_rows, BLOCK),
            "coefficients": (batch_size, num_private),
            "loss": (batch_size,),
            "grad_inputs": (num_blocks * BLOCK, stride),
            "grad_rows": (num_rows, stride),
            "grad_offsets": (num_rows,),
        }
        arrays = {name: self.array(name, shape, dtype) for name, shape in shapes.items()}
        self._key, self._batch = key, BatchBuffers(examples=group * BLOCK, **arrays)
        return self._batch


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def padded(dim: int) -> int:
    """Return the length of a padded row: whole vectors, an odd number of cache lines.

    With an even number of lines the rows would compete for half of the cache's sets.
    """
    lines = -(-_round_up(dim, LANES) // 16)
    return 16 * (lines | 1)


class Columns(NamedTuple):
    """The classes that the examples of a batch are compared with.

    `private` (batch_size, num_true, or more with candidates of an example's own) are row
    ids, -1 where absent, the first `num_true` of them labels; `shared` (num_sampled,) are
    row ids; both with their expected counts, whose log is subtracted from the logits where
    `subtract_log_q`. `hits` (batch_size, any) are positions in `shared` that an example
    does not count, or -1.
    """

    private: Integers
    private_counts: Floats
    num_true: int
    shared: Integers
    shared_counts: Floats
    hits: NDArray[np.int32]
    subtract_log_q: bool

    def operations(self, dim: int) -> int:
        """Return the multiplications of the forward pass."""
        return (self.private.size + len(self.private) * len(self.shared)) * dim


class BatchBuffers(NamedTuple):
    """The arrays of a sampled pass; rows may be padded.

    What it computes, with C private columns: `loss` (batch_size,), `coefficients`
    (batch_size, C) the gradient of the private logits, `x` the inputs, `grad_inputs`,
    and `grad_rows` and `grad_offsets` the gradients of the candidates' rows and biases.
    The batch is taken in parts of `examples`.
    """

    examples: int
    rows: Floats
    offsets: Floats
    x: Floats
    xt: Floats
    scratch: Floats
    probabilities: Floats
    coefficients: Floats
    loss: Floats
    grad_inputs: Floats
    grad_rows: Floats
    grad_offsets: Floats


def sampled_pass(
    workspace: Workspace, table: Floats, ids: Integers, weights: Floats, biases: Floats,
    columns: Columns, grad_loss: Floats, logistic: bool, threads: int,
) -> BatchBuffers:
    """Compute losses and gradients; the inputs are the rows `ids` of `table`."""
    batch_size, num_private = columns.private.shape
    num_shared, dim = len(columns.shared), weights.shape[1]
    out = workspace.batch(batch_size, num_private, num_shared, dim, threads, weights.dtype)
    if not batch_size:
        out.grad_rows[:], out.grad_offsets[:] = 0, 0
        return out
    if num_shared:
        batch.pack_candidates(
            weights, biases, columns.shared, columns.shared_counts, columns.subtract_log_q,
            min(threads, threads_for(_GATHERED * out.rows.size)), out.rows, out.offsets,
        )
    for start in range(0, batch_size, out.examples):
        stop = min(start + out.examples, batch_size)
        batch.forward(
            start, stop, table, ids, weights, biases, columns.private, columns.private_counts,
            columns.subtract_log_q, columns.num_true, out.rows, out.offsets, grad_loss,
            columns.hits, logistic or None, min(threads, -(-(stop - start) // BLOCK)), out.x,
            out.xt, out.scratch, out.probabilities, out.coefficients, out.loss, out.grad_inputs,
        )
        if num_shared:
            batch.grad_candidates(
                start, stop, out.x, dim, out.probabilities, start > 0, threads, out.grad_rows,
                out.grad_offsets,
            )
    return out


def transposed(x: Floats, batch_size: int, dim: int) -> Floats:
    """Return the blocks of padded inputs, transposed for a walk over all classes."""
    num_blocks = -(-batch_size // BLOCK)
    out = np.empty((num_blocks, _round_up(dim, LANES), STRIDE), x.dtype)
    ranking.transpose_inputs(x, dim, threads_for(x.size), out)
    return out


def padded_inputs(inputs: Floats) -> Floats:
    """Return a copy of the inputs in whole blocks of padded rows."""
    batch_size, dim = inputs.shape
    x = np.zeros((_round_up(batch_size, BLOCK), padded(dim)), inputs.dtype)
    x[:batch_size, :dim] = inputs
    return x


def walk_scratch(threads: int, dim: int, dtype: DTypeLike) -> tuple[Floats, Floats]:
    """Return the rows and logits of a group of classes, one of each a chunk."""
    rows = np.zeros((threads, CLASSES, padded(dim)), dtype)
    return rows, np.empty((threads, CLASSES, BLOCK), dtype)


def normalizers(weights: Floats, biases: Floats, inputs: Floats, logistic: bool) -> Floats:
    """Return, in float64, the log of the sum over all classes of exp(logit).

    With `logistic`, the sum over all classes of log(1 + exp(logit)).
    """
    batch_size, dim = inputs.shape
    dtype = weights.dtype
    result = np.empty(batch_size)
    threads = threads_for(inputs.size * len(weights))
    rows, logits = walk_scratch(threads, dim, dtype)
    highest, added = np.empty((2, threads, BLOCK), dtype)
    for start in range(0, batch_size, EXAMPLES):
        part = inputs[start : start + EXAMPLES]
        xt = transposed(padded_inputs(part), len(part), dim)
        peak = np.empty((_PARTS, len(part)), dtype)
        total = np.empty((_PARTS, len(part)))
        ranking.normalize(
            weights, biases, xt, len(part), logistic, threads, rows, logits, highest, added,
            peak, total,
        )
        out = result[start : start + EXAMPLES]
        if logistic:
            out[:] = total.sum(axis=0)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):  # empty parts; what is not finite
                out[:] = np.logaddexp.reduce(np.log(total) + peak, axis=0)
    return result


def label_logits(
    weights: Floats, biases: Floats, inputs: Floats, labels: Integers
) -> tuple[Floats, Floats]:
    """Return the labels' logits and targets, both 0 where a label is absent."""
    present = labels >= 0
    rows = np.where(present, labels, 0)
    logits = np.empty(labels.shape, inputs.dtype)
    for j in range(labels.shape[1]):
        logits[:, j] = np.einsum("bd,bd->b", inputs, weights[rows[:, j]]) + biases[rows[:, j]]
    targets = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return np.where(present, logits, 0), targets.astype(inputs.dtype)


class FullBlock(NamedTuple):
    """The gradients of a range of classes, padded: its slice, rows and biases."""

    classes: slice
    grad_rows: Floats
    grad_offsets: Floats


def full_pass(
    workspace: Workspace, weights: Floats, biases: Floats, x: Floats, normalizer: Floats,
    grad_loss: Floats, logistic: bool, grad_inputs: Floats,
) -> Any:
    """Yield the gradients of all classes, a range at a time, less the labels' part.

    The inputs lie padded in `x`; `grad_inputs`, as large, is complete when the last
    range was yielded. A range's weights may be changed before the next is asked for.
    """
    batch_size, dim, dtype = len(grad_loss), weights.shape[1], weights.dtype
    stride, threads = padded(dim), threads_for(batch_size * weights.size)
    num_blocks = -(-batch_size // BLOCK)
    size = max(CLASSES, _PROBABILITIES // (max(num_blocks, 1) * BLOCK) // CLASSES * CLASSES)
    size = min(size, _round_up(len(weights), ROWS))
    xt = workspace.array("xt", (threads, _round_up(dim, LANES), STRIDE), dtype)
    no_counts = np.empty(0, dtype)
    for start in range(0, len(weights), size):
        classes = np.arange(start, min(start + size, len(weights)))
        num_rows = _round_up(len(classes), ROWS)
        rows = workspace.array("rows", (num_rows, stride), dtype)
        offsets = workspace.array("offsets", (num_rows,), dtype)
        probabilities = workspace.array("probabilities", (num_blocks * num_rows, BLOCK), dtype)
        grad_rows = workspace.array("grad_rows", (num_rows, stride), dtype)
        grad_offsets = workspace.array("grad_offsets", (num_rows,), dtype)
        batch.pack_candidates(
            weights, biases, classes, no_counts, False, threads, rows, offsets
        )
        batch.forward_classes(
            x, batch_size, rows, offsets, normalizer, grad_loss, logistic or None, start > 0, dim,
            threads, xt, probabilities, grad_inputs,
        )
        batch.grad_candidates(
            0, batch_size, x, dim, probabilities, False, threads, grad_rows, grad_offsets
        )
        yield FullBlock(slice(start, start + len(classes)), grad_rows, grad_offsets)
