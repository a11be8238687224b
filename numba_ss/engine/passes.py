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

from numba_ss.kernels.core.team import board_shape
from numba_ss.kernels.core.threads import threads_for, threads_for_update
from numba_ss.kernels.core.tile import LANES, ROWS
from numba_ss.kernels.softmax import backward, batch, candidates, examples, ranking, scatter
from numba_ss.kernels.softmax.batch import STRIDE
from numba_ss.kernels.softmax.buffers import describe
from numba_ss.kernels.softmax.candidates import BLOCK, STRIP, blocks_of
from numba_ss.kernels.softmax.prepare import prepare
from numba_ss.kernels.softmax.ranking import CLASSES
from numba_ss.kernels.softmax.step import NUM_PHASES, parts_of

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

# Numbers in the largest array of a pass: above it a batch is taken in parts. 16 MB of
# float32 stay in the last-level cache of a server.
_EXPS = 2**22
# Parts of the classes whose sums are added up in order, whatever the threads.
_PARTS = 64
NO_BITS = np.empty((0, 0), np.uint32)
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
        """Return an array whose content is undefined."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            # Whole vectors may be read where the last numbers are.
            buffer = self._buffers[name] = np.zeros(size + LANES, dtype)
        return buffer[:size].reshape(shape)

    def batch(
        self, batch_size: int, num_own: int, num_shared: int, num_hits: int, dim: int,
        threads: int, dtype: DTypeLike,
    ) -> BatchBuffers:
        """Return the buffers of a sampled pass; the last ones, if nothing has changed."""
        key = batch_size, num_own, num_shared, num_hits, dim, threads, dtype
        if key == self._key and self._batch is not None:
            return self._batch
        num_rows, stride = _round_up(num_shared, ROWS), padded(dim)
        num_blocks = blocks_of(batch_size)
        part = max(1, min(num_blocks, _EXPS // (BLOCK * max(num_rows, 1))))
        numbers = {
            "rows": (num_rows, stride),
            "offsets": (num_rows,),
            "x": (_round_up(batch_size, LANES), stride),
            "xt": (threads, _round_up(dim, LANES), STRIDE),
            "scratch": (parts_of(threads), 3, BLOCK),
            "exps": (part * num_rows, BLOCK),
            "peaks": (part * -(-num_rows // STRIP), BLOCK),
            "peak": (batch_size,),
            "total": (batch_size,),
            "y": (_round_up(batch_size, BLOCK), stride),
            "kept": (batch_size * num_hits,),
            "factors": (num_own, batch_size),
            "example": (threads, 5, BLOCK),
            "logits": (threads, num_own, BLOCK),
            "targets": (threads, num_own, BLOCK),
            "extra": (threads, num_own, BLOCK),
            "expected": (threads, num_own, BLOCK),
            "parts": (batch_size,),
            "coefficients": (batch_size, num_own),
            "loss": (batch_size,),
            "grad_inputs": (batch_size, stride),
            "grad_rows": (num_rows, stride),
            "grad_offsets": (num_rows,),
        }
        integers = {
            "hashes": (1 << (2 * max(batch_size, num_shared)).bit_length(),),
            "hits": (batch_size, num_hits),
            "joined": (num_hits, batch_size),
            "entries": (3, batch_size * num_hits + 1),
        }
        ids = {
            "keys": (batch_size,),
            "slots": (batch_size,),
            "member_offsets": (batch_size + 1,),
            "members": (batch_size,),
            "entry_offsets": (batch_size + 1,),
            "sizes": (2,),
            "places": (threads, 2, BLOCK),
            "choices": (num_own, batch_size),
            "board": board_shape(NUM_PHASES, threads),
        }
        arrays = {
            name: self.array(name, shape, kind)
            for shapes, kind in ((numbers, dtype), (integers, np.int32), (ids, np.int64))
            for name, shape in shapes.items()
        }
        results = (arrays[name] for name in _RESULTS)
        out = BatchBuffers(part, part >= num_blocks, describe(**arrays), arrays, *results)
        self._key, self._batch = key, out
        return out


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
    `subtract_log_q`. With `remove_hits` an example does not count a label in `shared`.
    """

    private: Integers
    private_counts: Floats
    num_true: int
    shared: Integers
    shared_counts: Floats
    remove_hits: bool
    subtract_log_q: bool

    def operations(self, dim: int) -> int:
        """Return the multiplications of the forward pass."""
        return (self.private.size + len(self.private) * len(self.shared)) * dim


class BatchBuffers(NamedTuple):
    """The arrays of a sampled pass, `all` of them for kernels, and results; rows may be padded.

    With C own columns: `loss` (batch_size,), `coefficients` (batch_size, C) the gradient of
    the own logits, `x` the distinct inputs, that of example i being x[slots[i]],
    `grad_inputs`, and `grad_rows` and `grad_offsets` the gradients of the candidates' rows and
    biases. `sizes` is what `group_inputs` writes. `part` blocks are taken at a
    time; with `is_whole` these are all.
    """

    part: int
    is_whole: bool
    all: Any
    arrays: dict[str, NDArray[Any]]  # what `all` describes, kept alive
    loss: Floats
    coefficients: Floats
    x: Floats
    slots: Integers
    grad_inputs: Floats
    grad_rows: Floats
    grad_offsets: Floats
    sizes: Integers
    board: Integers


_RESULTS = BatchBuffers._fields[4:]


def buffers_of(
    workspace: Workspace, columns: Columns, dim: int, threads: int, dtype: DTypeLike
) -> BatchBuffers:
    """Return buffers for a batch."""
    batch_size, num_own = columns.private.shape
    num_shared = len(columns.shared)
    num_hits = columns.num_true if columns.remove_hits and num_shared else 0
    return workspace.batch(batch_size, num_own, num_shared, num_hits, dim, threads, dtype)


class SampledPass:
    """A batch on its way: its losses when it is made, then its gradients.

    The inputs are the rows `ids` of `table`. Equal ones are worked on together, those of the
    same id, with `by_id`, else those of the same bits. `result` holds what was computed.
    """

    __slots__ = (
        "_columns", "_ids", "_is_relative", "_none", "_num_inputs", "_threads", "_weights",
        "result",
    )

    def __init__(
        self, workspace: Workspace, table: Floats, ids: Integers, weights: Floats,
        biases: Floats, columns: Columns, grad_loss: Floats, logistic: bool, threads: int,
        by_id: bool = False,
    ) -> None:
        out = self.result = buffers_of(
            workspace, columns, weights.shape[1], threads, weights.dtype
        )
        prepare(
            NO_BITS if by_id else table.view(np.uint32), ids, columns.private, columns.shared,
            columns.private_counts, columns.shared_counts, columns.subtract_log_q, weights,
            biases, len(out.grad_rows), threads if len(columns.shared) else 1, out.all,
        )
        num_inputs = self._num_inputs = int(out.sizes[0])
        self._ids, self._columns, self._weights = ids, columns, weights
        self._is_relative, self._threads = not logistic, threads
        self._none = weights.dtype.type(0)  # of a step, where nothing is subtracted
        num_blocks, use_logistic = blocks_of(num_inputs), logistic or None
        for first in range(0, num_blocks, out.part):
            stop = min(first + out.part, num_blocks)
            batch.forward_inputs(
                first, stop, num_blocks, num_inputs, table, ids, use_logistic,
                min(threads, stop - first), out.all,
            )
            examples.forward_examples(
                first, stop, num_blocks, num_inputs, weights, biases, columns.private,
                columns.private_counts, columns.subtract_log_q, columns.num_true, grad_loss,
                use_logistic, threads, out.all,
            )
            if stop < num_blocks:  # before its exps give way to those of the next part
                backward.backward_inputs(
                    first, stop, num_blocks, num_inputs, self._is_relative, True, None, weights,
                    self._none, threads, weights, out.all,
                )
                self._grad_candidates(first, stop)

    def backward(
        self, step: np.float32 | None = None, table: Floats | None = None,
        rows: Integers | None = None,
    ) -> None:
        """Compute the gradients; the weights are still those of the losses.

        With a `table`, which shares no memory with the weights, those of the inputs, taken
        `by_id`, are not kept: step times them is subtracted from the table's `rows`, one by one
        and in order. There is a row for each example, by default its id.
        """
        if not self._num_inputs:
            self.result.grad_rows[:], self.result.grad_offsets[:] = 0, 0
        rows = self._ids if rows is None else rows
        num_blocks = blocks_of(self._num_inputs)
        first = max(num_blocks - 1, 0) // self.result.part * self.result.part
        # Where a row's examples are not next to each other, their order would be lost.
        at_once = table is not None and not self.result.sizes[1]
        backward.backward_inputs(
            first, num_blocks, num_blocks, self._num_inputs, self._is_relative, not at_once, rows,
            self._weights, step if at_once else self._none, self._threads,
            table if at_once else self._weights, self.result.all,
        )
        self._grad_candidates(first, num_blocks)
        if table is not None and not at_once:
            subtract_rows(rows, self.result.grad_inputs, step, table)

    def _grad_candidates(self, first: int, stop: int) -> None:
        candidates.grad_candidates(
            first, stop, blocks_of(self._num_inputs), self._num_inputs, self._weights.shape[1],
            self._threads, self._weights, self.result.all,
        )

    def update_classes(
        self, step: np.float32, weights: Floats, biases: Floats,
        private: Integers | None = None, shared: Integers | None = None,
    ) -> None:
        """Subtract step times the gradients: of own columns in row order, then of candidates.

        The rows are the classes, or others in their place.
        """
        out, columns = self.result, self._columns
        threads = min(self._threads, threads_for_update(out.x.size + out.grad_rows.size))
        scatter.scatter_classes(
            columns.private if private is None else private,
            columns.shared if shared is None else shared, step, threads, weights, biases, out.all,
        )


def subtract_rows(ids: Integers, grads: Floats, step: Any, table: Floats) -> None:
    """Subtract step times the gradients from a table's rows `ids`, one by one."""
    scatter.scatter_rows(ids, grads, step, threads_for_update(grads.size), table)


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
        peak = np.full((_PARTS, len(part)), np.finfo(dtype).min, dtype)
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
    size = max(CLASSES, _EXPS // (max(num_blocks, 1) * BLOCK) // CLASSES * CLASSES)
    size = min(size, _round_up(len(weights), ROWS))
    shared = {
        "x": x,
        "xt": workspace.array("xt", (threads, _round_up(dim, LANES), STRIDE), dtype),
        "scratch": workspace.array("scratch", (threads, 3, BLOCK), dtype),
    }
    nothing = np.empty(0, dtype)
    for start in range(0, len(weights), size):
        classes = np.arange(start, min(start + size, len(weights)))
        num_rows = _round_up(len(classes), ROWS)
        grad_rows = workspace.array("grad_rows", (num_rows, stride), dtype)
        grad_offsets = workspace.array("grad_offsets", (num_rows,), dtype)
        block = {
            "rows": workspace.array("rows", (num_rows, stride), dtype),
            "offsets": workspace.array("offsets", (num_rows,), dtype),
            "exps": workspace.array("exps", (num_blocks * num_rows, BLOCK), dtype),
            "grad_rows": grad_rows,
            "grad_offsets": grad_offsets,
        }
        buffers = describe(**shared, **block)
        prepare(
            None, None, None, classes, None, nothing, False, weights, biases, num_rows, threads,
            buffers,
        )
        batch.forward_classes(
            batch_size, num_blocks, normalizer, grad_loss, logistic or None, start > 0, dim,
            threads, grad_inputs, buffers,
        )
        candidates.grad_candidates(
            0, num_blocks, num_blocks, batch_size, dim, threads, weights, buffers
        )
        if not batch_size:
            grad_rows[:], grad_offsets[:] = 0, 0
        yield FullBlock(slice(start, start + len(classes)), grad_rows, grad_offsets)
