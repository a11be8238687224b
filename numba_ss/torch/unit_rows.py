"""Rows divided by their lengths, and gradients on the way back to the rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numba_ss._types import Floats, Integers

_SHORTEST = 1e-12  # a row that is shorter is divided by this, as in torch.nn.functional.normalize


class UnitRows(NamedTuple):
    """Rows of length one, (num_rows, dim), and what they were divided by, (num_rows, 1)."""

    rows: Floats
    lengths: Floats

    def gradients(self, ids: Integers | slice, grads: Floats) -> Floats:
        r"""Return the gradients of rows from those of the unit rows `ids`.

        With u the unit row and g its gradient they are :math:`(g - (g \cdot u) u)` over the length:
        what lies along the row does not change the unit row.
        """
        unit = self.rows[ids]
        along = (grads * unit).sum(axis=1, keepdims=True)
        result: Floats = (grads - along * unit) / self.lengths[ids]
        return result


def unit_rows(rows: Floats) -> UnitRows:
    """Return copies of rows, divided by their lengths."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths = np.maximum(lengths, rows.dtype.type(_SHORTEST))
    with np.errstate(invalid="ignore"):  # told by the loss
        return UnitRows(rows / lengths, lengths)
