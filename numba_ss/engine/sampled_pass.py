"""The forward and backward pass of a batch over sampled classes, and its update.

`SampledPass` cuts a batch into parts and calls the kernels; its arrays were checked before. The
losses, the layer, the retrieval model and the layer for PyTorch use it. The results depend on
shapes and values alone, not on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numba_ss._types import Floats, Integers
from numba_ss.engine.columns import Columns
from numba_ss.engine.rows import add_rows, distinct, subtract_rows
from numba_ss.engine.workspace import BatchBuffers, Workspace
from numba_ss.kernels.core.llvm import LANES, ROWS
from numba_ss.kernels.core.threads import threads_for_update
from numba_ss.kernels.softmax import phases
from numba_ss.kernels.softmax.arguments import (
    BACKWARD,
    FORWARD,
    KEPT,
    WHOLE,
    Batch,
    Blocks,
    Step,
)
from numba_ss.kernels.softmax.buffers import NUM_UNIQUE
from numba_ss.kernels.softmax.sampled_classes import blocks_of
from numba_ss.kernels.softmax.step import sampled_step, sampled_step_chunk
from numba_ss.kernels.softmax.uses import list_uses

NO_BITS = np.empty((0, 0), np.uint32)


def buffers_of(
    workspace: Workspace, columns: Columns, dim: int, threads: int, dtype: DTypeLike
) -> BatchBuffers:
    """Return buffers for a batch."""
    batch_size, num_own = columns.own.shape
    num_sampled = len(columns.sampled)
    num_hits = columns.num_true if columns.remove_hits and num_sampled else 0
    return workspace.batch(batch_size, num_own, num_sampled, num_hits, dim, threads, dtype)


def batch_of(
    table: Floats, ids: Integers, weights: Floats, biases: Floats, columns: Columns
) -> Batch:
    """Return the arrays of a batch as the kernels take them."""
    return Batch(
        table, ids, weights, biases, columns.own, columns.own_counts, columns.num_true,
        columns.sampled, columns.sampled_counts, columns.subtract_log_q,
    )


class Gradients(NamedTuple):
    """The gradients of the sum of grad_output * loss, as arrays of the workspace.

    Attributes
    ----------
    inputs : ndarray, shape (batch_size, dim)
        Gradient with respect to each example's input.
    own_logits : ndarray, shape (batch_size, num_own)
        Gradient with respect to the logits of each example's own columns, 0 if a column is
        absent. It is also the gradient of the class's bias; times the input, it is that of the
        class's row.
    sampled_rows : ndarray, shape (num_sampled, dim)
        Gradient with respect to the rows of the sampled classes.
    sampled_biases : ndarray, shape (num_sampled,)
        Gradient with respect to their biases.
    """

    inputs: Floats
    own_logits: Floats
    sampled_rows: Floats
    sampled_biases: Floats


class ClassGradients(NamedTuple):
    """The gradients of rows (num_rows, dim) and biases of classes, and the classes' ids.

    There may be fewer biases than rows. They belong to the first rows.
    """

    ids: Integers
    rows: Floats
    biases: Floats


class SampledPass:
    """The computation of a batch: call `forward`, then `backward`, then use the gradients.

    The constructor computes nothing. From `forward` to the last use of the gradients, the caller
    changes none of the arrays, and uses the workspace for nothing else.

    Parameters
    ----------
    workspace : Workspace
        Holds everything that the pass computes, including its results.
    table : ndarray, shape (num_rows, dim)
        The inputs are rows of this table.
    ids : ndarray of int64, shape (batch_size,)
        The row of each input.
    weights, biases : ndarray, shape (num_classes, dim) and (num_classes,)
        Rows and biases of the classes.
    columns : Columns
        The classes that each example is compared with.
    logistic : bool
        Whether the loss is logistic; otherwise it is softmax.
    threads : int
        Number of threads.
    train_table : bool
        Whether rows of the table are trained, too. Equal inputs are computed once. If the table
        is trained, inputs are equal if they have the same id; otherwise, if they have the same
        bits.
    """

    def __init__(
        self, workspace: Workspace, table: Floats, ids: Integers, weights: Floats, biases: Floats,
        columns: Columns, logistic: bool, threads: int, train_table: bool = False,
    ) -> None:
        self.buffers = buffers_of(workspace, columns, weights.shape[1], threads, weights.dtype)
        self._batch = batch_of(table, ids, weights, biases, columns)
        self._bits = NO_BITS if train_table else table.view(np.uint32)
        self._weights, self._biases, self._columns = weights, biases, columns
        self._trains_table = train_table
        self._use_logistic, self._threads = logistic or None, threads
        self._at_once = self.buffers.is_whole and len(ids) > 0
        self._num_inputs = 0
        self._uses: ClassGradients | None = None
        # The part whose probabilities are in memory; True if there is one part, computed at once.
        self._compared: Blocks | bool = False

    def forward(self) -> Floats:
        """Return the losses (batch_size,), an array of the workspace; they may not be finite."""
        losses: Floats = self.buffers.arrays.losses
        if self._at_once:
            self._call(FORWARD, losses)
            return losses
        self._group()
        for blocks in self._parts():
            self._compare(blocks)
        return losses

    def backward(
        self, grad_output: Floats | None = None, lender: Workspace | None = None
    ) -> Gradients:
        """Return the gradients of the sum of grad_output * loss.

        Parameters
        ----------
        grad_output : ndarray of the weights' type, shape (batch_size,), optional
            Upstream gradient of each example's loss; ones by default.
        lender : Workspace, optional
            Lends the arrays that `class_gradients` will return.
        """
        if lender is not None:
            self._lend(lender)
        if grad_output is None:
            grad_output = np.ones_like(self.buffers.arrays.losses)
        if self._at_once:
            if not self._compared:  # the probabilities are used up
                self._call(FORWARD, grad_output)
            self._call(BACKWARD, grad_output)
            return self.gradients
        for blocks in self._parts():
            if self._compared != blocks:  # another part has overwritten the probabilities
                self._compare(blocks)
            self._differentiate(blocks, grad_output)
        return self.gradients

    def forward_and_backward(self, grad_output: Floats) -> tuple[Floats, Gradients]:
        """Return the losses and the gradients, for an upstream gradient that is already known.

        The results are those of `forward` and `backward`. But if the batch is so large that it is
        computed in parts, each part is computed only once.
        """
        if self._at_once:
            self._call(WHOLE, grad_output)
            return self.buffers.arrays.losses, self.gradients
        self._group()
        for blocks in self._parts():
            self._compare(blocks)
            self._differentiate(blocks, grad_output)
        return self.buffers.arrays.losses, self.gradients

    @property
    def gradients(self) -> Gradients:
        """The gradients that `backward` has computed."""
        out, dim = self.buffers.arrays, self._weights.shape[1]
        num_sampled = len(self._columns.sampled)
        return Gradients(
            out.grad_inputs[:, :dim], out.grad_own_logits,
            out.grad_sampled_rows[:num_sampled, :dim], out.grad_sampled_biases[:num_sampled],
        )

    def class_gradients(self) -> ClassGradients:
        """Return the gradients of the classes, one for each use of a class.

        They are new arrays, or what `backward` has borrowed. First come the labels, example by
        example; then candidates that were drawn for one example alone; then the sampled classes.
        Absent columns are left out.
        """
        columns, uses = self._columns, self._uses or self._make_uses(Workspace())
        in_place = np.may_share_memory(uses.rows, self.buffers.arrays.grad_sampled_rows)
        num_written = len(uses.ids) - in_place * len(columns.sampled)
        threads = min(self._threads, threads_for_update(num_written * uses.rows.shape[1]))
        list_uses(
            columns.own, columns.num_true, columns.sampled, in_place, threads, *uses,
            self.buffers.all,
        )
        return uses

    def _make_uses(self, lender: Workspace) -> ClassGradients:
        """Borrow arrays for the gradients of the classes."""
        columns, dtype = self._columns, self._weights.dtype
        size = int(np.count_nonzero(columns.own >= 0)) + len(columns.sampled)
        return ClassGradients(
            lender.lend("ids", (size,), np.int64),
            lender.lend("rows", (size, self._weights.shape[1]), dtype),
            lender.lend("biases", (size,), dtype),
        )

    def _lend(self, lender: Workspace) -> None:
        """Borrow the arrays of `class_gradients`, and let the kernels write to them if they can.

        Their rows are not padded, and the kernels write whole vectors and whole tiles of rows.
        """
        uses, num_sampled = self._make_uses(lender), len(self._columns.sampled)
        self._uses, first = uses, len(uses.ids) - num_sampled
        if num_sampled and num_sampled % ROWS == 0 and uses.rows.shape[1] % LANES == 0:
            self.buffers = self.buffers.with_arrays(
                grad_sampled_rows=uses.rows[first:], grad_sampled_biases=uses.biases[first:]
            )

    def summed_class_gradients(
        self, scratch: Workspace | None = None, *, with_inputs: bool = False
    ) -> ClassGradients:
        """Return the distinct classes of the batch and the sums of their gradients.

        They are in the order of first use.

        Parameters
        ----------
        scratch : Workspace, optional
            Holds the result; by default the result has new arrays.
        with_inputs : bool
            For a table that is the weights themselves: add the gradients of the inputs to those of
            their rows. Rows that are inputs only come last, and have no bias.
        """
        columns, scratch = self._columns, scratch or Workspace()
        present = columns.own >= 0
        classes = np.concatenate([columns.own[present], columns.sampled])
        uses = np.concatenate([classes, self._batch.ids]) if with_inputs else classes
        ids, inverse, num_biases = distinct(uses, len(classes))
        num_own = len(classes) - len(columns.sampled)
        own = np.full_like(columns.own, -1)
        own[present] = inverse[:num_own]
        dtype = self._weights.dtype
        rows = scratch.array("sums", (len(ids), self._weights.shape[1]), dtype)
        biases = scratch.array("bias_sums", (num_biases,), dtype)
        rows[:], biases[:] = 0, 0
        self._scatter(own, inverse[num_own : len(classes)], dtype.type(-1), rows, biases)
        if with_inputs:
            add_rows(inverse[len(classes) :], self.buffers.arrays.grad_inputs, rows)
        return ClassGradients(ids, rows, biases)

    def add_class_gradients(self, rows: Floats, biases: Floats) -> None:
        """Add the gradients of the classes to arrays of the shapes of weights and biases."""
        columns, one = self._columns, self._weights.dtype.type(1)
        self._scatter(columns.own, columns.sampled, -one, rows, biases)

    def update(self, learning_rate: np.floating[Any]) -> None:
        """Take a step of SGD on rows and biases of classes, and on the table if it is trained.

        The gradients are subtracted one by one, in this order: own columns, example by example;
        sampled classes; inputs.
        """
        columns = self._columns
        self._scatter(columns.own, columns.sampled, learning_rate, self._weights, self._biases)
        if self._trains_table:
            grads = self.buffers.arrays.grad_inputs
            subtract_rows(self._batch.ids, grads, learning_rate, self._batch.table)

    def _call(self, part: int, grad_output: Floats) -> None:
        """Go through the phases of a part of a step, in one call; nothing is updated."""
        out, rate = self.buffers.arrays, self._weights.dtype.type(0)
        out.board.fill(0)
        given = (
            self._bits, self._batch, grad_output, self._use_logistic, Step(part, rate, KEPT, 0),
            self._threads, self.buffers.all,
        )
        if self._threads == 1:
            sampled_step_chunk(0, *given)
        else:
            sampled_step(*given)
        self._compared = part == FORWARD

    def _parts(self) -> list[Blocks]:
        """Return the parts of the batch; the probabilities of one part fit into memory."""
        count, part = blocks_of(self._num_inputs), self.buffers.part
        return [
            Blocks(first, min(first + part, count), count, self._num_inputs)
            for first in range(0, count, part)
        ]

    def _group(self) -> None:
        """Find the unique inputs, and gather the rows of the sampled classes."""
        out = self.buffers.arrays
        threads = self._threads if len(self._columns.sampled) else 1
        phases.prepare(
            self._bits, self._batch, len(out.grad_sampled_rows), threads, self.buffers.all
        )
        self._num_inputs = int(out.sizes[NUM_UNIQUE])
        if not self._num_inputs:  # there is no part that would write them
            out.grad_sampled_rows[:], out.grad_sampled_biases[:] = 0, 0

    def _compare(self, blocks: Blocks) -> None:
        """Compute probabilities and losses of a part."""
        phases.forward_inputs(
            blocks, self._batch.table, self._batch.ids, self._use_logistic,
            min(self._threads, blocks.stop - blocks.first), self.buffers.all,
        )
        phases.forward_examples(
            blocks, self._batch, self._use_logistic, self._threads, self.buffers.all
        )
        self._compared = blocks

    def _differentiate(self, blocks: Blocks, grad_output: Floats) -> None:
        """Turn the probabilities of a part into gradients; the last part completes the inputs'."""
        phases.scale_examples(
            blocks, self._columns.num_true, grad_output, self._use_logistic, self._threads,
            self.buffers.all,
        )
        phases.backward_inputs(
            blocks, self._use_logistic is None, blocks.stop == blocks.count, self._batch,
            self._threads, self.buffers.all,
        )
        phases.grad_sampled(
            blocks, self._weights.shape[1], self._threads, self._weights, self.buffers.all
        )
        self._compared = False

    def _scatter(
        self, own: Integers, sampled: Integers, learning_rate: Any, rows: Floats, biases: Floats
    ) -> None:
        """Subtract learning_rate times the gradients of the classes from their rows and biases."""
        arrays = self.buffers.arrays
        size = arrays.unique_inputs.size + arrays.grad_sampled_rows.size
        threads = min(self._threads, threads_for_update(size))
        phases.scatter_classes(own, sampled, learning_rate, threads, rows, biases, self.buffers.all)
