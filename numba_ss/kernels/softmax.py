"""The losses of a block of examples, turned in place into their gradients.

A column is a class that an example is compared with. The *shared* columns are the
candidates that all examples have in common: their logits come as a block with the
candidates as rows and the examples side by side, so that everything done to them is
vector code over examples. The *private* columns are an example's own: first its
labels, then any candidates drawn for it alone; a row id of -1 marks an absent one.

Softmax has the targets 1/T on the T labels that are present; the logistic loss is
summed over the columns, with the same targets.
"""

import numpy as np
from numpy import float32

from numba_ss.kernels._jit import kernel
from numba_ss.kernels.scalar import exp, log1p


@kernel
def _fill_targets(start, stop, columns, num_true, target):
    """Write 1/T for each example, T being its labels that are present."""
    for i in range(stop - start):
        count = 0
        for c in range(num_true):
            count += columns[start + i, c] >= 0
        target[i] = target.dtype.type(1) / target.dtype.type(count)


@kernel
def softmax_block(
    start, stop, columns, num_true, grad_loss, offsets, logits, first, coefficients, loss, scratch
):
    """Turn a block's logits into losses and the gradients with respect to them.

    logits[first + s, i - start] is the product of candidate s and example i, without
    its offset; coefficients[i, c] is a private logit, -inf where the column is absent.
    `scratch` is (3, examples of a block).
    """
    size = stop - start
    peak, total, target = scratch[0], scratch[1], scratch[2]
    _fill_targets(start, stop, columns, num_true, target)
    for i in range(size):
        peak[i] = -np.inf
        total[i] = float32(0)
        loss[start + i] = float32(0)
    for c in range(columns.shape[1]):
        for i in range(size):
            z, highest = coefficients[start + i, c], peak[i]
            peak[i] = highest if z <= highest else z
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(size):
            z, highest = row[i] + offset, peak[i]
            row[i] = z
            peak[i] = highest if z <= highest else z
    for s in range(offsets.shape[0]):
        row = logits[first + s]
        for i in range(size):
            e = exp(row[i] - peak[i])
            row[i] = e
            total[i] += e
    for c in range(columns.shape[1]):
        for i in range(size):
            z = coefficients[start + i, c] - peak[i]
            e = exp(z)
            coefficients[start + i, c] = e
            total[i] += e
            if c < num_true and columns[start + i, c] >= 0:
                loss[start + i] -= z * target[i]
    for i in range(size):
        loss[start + i] += np.log(total[i])
        total[i] = grad_loss[start + i] / total[i]
    for c in range(columns.shape[1]):
        for i in range(size):
            coefficients[start + i, c] *= total[i]
            if c < num_true and columns[start + i, c] >= 0:
                coefficients[start + i, c] -= target[i] * grad_loss[start + i]
    for s in range(offsets.shape[0]):
        row = logits[first + s]
        for i in range(size):
            row[i] *= total[i]


@kernel
def _logistic(z, negative_exp):
    """Return the sigmoid of z, from exp(-|z|)."""
    top = float32(1) if z >= float32(0) else negative_exp
    return top / (float32(1) + negative_exp)


@kernel
def logistic_block(
    start, stop, columns, num_true, grad_loss, offsets, logits, first, coefficients, loss, scratch
):
    """As `softmax_block`, for the logistic loss of each column."""
    size = stop - start
    upstream, total, target = scratch[0], scratch[1], scratch[2]
    _fill_targets(start, stop, columns, num_true, target)
    for i in range(size):
        upstream[i] = grad_loss[start + i]
        total[i] = float32(0)
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(size):
            z = row[i] + offset
            e = exp(-abs(z))
            total[i] += max(z, float32(0)) + log1p(e)
            row[i] = _logistic(z, e) * upstream[i]
    for i in range(size):
        for c in range(columns.shape[1]):
            if columns[start + i, c] < 0:
                coefficients[start + i, c] = float32(0)
                continue
            z = coefficients[start + i, c]
            e = exp(-abs(z))
            goal = target[i] if c < num_true else target[i] * float32(0)
            total[i] += max(z, float32(0)) + log1p(e) - z * goal
            coefficients[start + i, c] = (_logistic(z, e) - goal) * upstream[i]
        loss[start + i] = total[i]


@kernel
def softmax_classes(start, stop, normalizer, grad_loss, offsets, logits, first):
    """Turn a block of logits into softmax probabilities times the upstream gradient.

    `normalizer` holds each example's log of the sum of exp over all classes.
    """
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(stop - start):
            row[i] = exp(min(row[i] + offset - normalizer[start + i], float32(0)))
            row[i] *= grad_loss[start + i]


@kernel
def logistic_classes(start, stop, grad_loss, offsets, logits, first):
    """As `softmax_classes`, for the sigmoid of each column."""
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(stop - start):
            z = row[i] + offset
            row[i] = _logistic(z, exp(-abs(z))) * grad_loss[start + i]
