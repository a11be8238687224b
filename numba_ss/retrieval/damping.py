r"""How much of its changes a block keeps, so that those of all blocks of a round can be added.

All blocks of a round start from the same rows, so each takes steps that are too long: of several
blocks one after the other, the later ones would find larger sums of squares. Let a block raise
the sum of a row from s to s + q. Adagrad's steps are in proportion to :math:`g / \sqrt{s}`. For
gradients alike they add up to :math:`\int ds / \sqrt{s}`, hence the block moves the row in
proportion to :math:`\sqrt{s + q} - \sqrt{s}`, and m such blocks, one after the other, in proportion
to :math:`\sqrt{s + m q} - \sqrt{s}`. So each of m blocks keeps

.. math:: \frac{\sqrt{s + m q} - \sqrt{s}}{m (\sqrt{s + q} - \sqrt{s})}
   = \frac{\sqrt{s} + \sqrt{s + q}}{\sqrt{s} + \sqrt{s + m q}} .

This is 1 for m = 1, about 1 where a row has learned much before, and :math:`1 / \sqrt{m}` where it
has not. The sums of squares themselves are added as they are. A block takes it that all others
change a row as it does itself, also a rare row: that is cautious.

Every event changes the network, and the loss soon curves along its weights. So a sum of changes
overshoots there, even with this factor; that leaves large sums of squares, and the network has
stopped. Hence it becomes the mean of what the blocks made of it, its sums of squares as well, as in
C. Xie, O. Koyejo, I. Gupta, H. Lin, "Local AdaAlter", arXiv:1911.09030. The same is done with rows
that learn by plain gradient descent, which says nothing about the length of further steps.
"""

from __future__ import annotations

import numpy as np

from numba_ss._types import Float32s


def damped(
    old: Float32s, new: Float32s, num_blocks: int, before: Float32s, after: Float32s
) -> Float32s:
    """Return `new` rows with a part of their change from the `old` ones, by Adagrad's rule.

    Parameters
    ----------
    old, new : ndarray of float32, shape (n, dim)
        Rows before and after a block.
    num_blocks : int
        Blocks m of the round.
    before, after : ndarray of float32, shape (n, 1)
        Sums of squares before and after the block.
    """
    start, end = before.astype(np.float64), after.astype(np.float64)
    whole = np.sqrt(start) + np.sqrt(start + num_blocks * (end - start))
    # Where nothing was learned there is no change.
    kept = np.divide(
        np.sqrt(start) + np.sqrt(end), whole, out=np.ones_like(whole), where=whole > 0
    )
    moved: Float32s = old + kept.astype(np.float32) * (new - old)
    return moved


def averaged(old: Float32s, new: Float32s, num_blocks: int) -> Float32s:
    """Return `new` rows with the part of their change of which the sum over blocks is the mean."""
    return old + np.float32(1 / num_blocks) * (new - old)
