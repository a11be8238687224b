"""The losses of a block of inputs, turned in place into their gradients.

A column is a class that an example is compared with. The *shared* columns are the
candidates that all examples have in common: their logits come as a block with the
candidates as rows and the inputs side by side, so that everything done to them is
vector code over inputs. They come in strips, and of what came before only the largest
logit and the sum of exp beside it are kept (M. Milakov, N. Gimelshein, "Online normalizer
calculation for softmax", 2018). The *own* columns are an example's own: first its labels,
then any candidates drawn for it alone; an absent one has the logit -inf.

Softmax has the targets 1/T on the T labels that are present; the logistic loss is
summed over the columns, with the same targets.
"""

import numpy as np
from numpy import float32

from numba_ss.kernels._jit import kernel, ordered_kernel
from numba_ss.kernels.core.scalar import exp, log, log1p

# Where a maximum starts: finite, so that what is taken from it never is inf - inf.
LOWEST = float32(-3.4e38)


@kernel
def softmax_strip(size, offsets, logits, first, peak, total, rise):
    """Turn a strip of shared logits into exp(logit - peak), and go on with peak and total.

    logits[first + s, i] is the product of candidate s and input i, without its offset.
    `rise` is written: the factor by which all that came before is too large.
    """
    for i in range(size):
        rise[i] = peak[i]
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(size):
            z, highest = row[i] + offset, peak[i]
            row[i] = z
            peak[i] = highest if z <= highest else z
    for i in range(size):
        rise[i] = exp(rise[i] - peak[i])
        total[i] *= rise[i]
    for s in range(offsets.shape[0]):
        row = logits[first + s]
        for i in range(size):
            e = exp(row[i] - peak[i])
            row[i] = e
            total[i] += e


@kernel
def _sigmoid(z, negative_exp):
    """Return the sigmoid of z, from exp(-|z|)."""
    top = float32(1) if z >= float32(0) else negative_exp
    return top / (float32(1) + negative_exp)


@kernel
def logistic_strip(size, offsets, logits, first, total):
    """Turn a strip of shared logits into sigmoids; add the losses to `total`."""
    for s in range(offsets.shape[0]):
        offset = offsets[s]
        row = logits[first + s]
        for i in range(size):
            z = row[i] + offset
            e = exp(-abs(z))
            total[i] += max(z, float32(0)) + log1p(e)
            row[i] = _sigmoid(z, e)


@kernel
def _softmax_column(targets, extra, logits, peak, total, loss):
    for j in range(logits.shape[0]):
        z, target = logits[j] - peak[j], targets[j]
        e = exp(z)
        logits[j] = e
        total[j] += e * extra[j]
        loss[j] -= z * target if target > float32(0) else float32(0)


@kernel
def softmax_own(upstream, targets, extra, logits, peak, total, share, loss):
    """Finish the losses of examples; turn their own logits into gradients, less the targets'.

    `logits`, `targets` and `extra` have a row for each own column; extra is 1, or 0 where the
    column is among the shared ones already. `peak` and `total` are those of the shared columns.
    Written: `total` and `share`, by which exp(logit - peak) of all columns and of the shared
    ones is multiplied to be a gradient.
    """
    size = upstream.shape[0]
    for j in range(size):
        loss[j] = peak[j]
    for c in range(logits.shape[0]):
        for j in range(size):
            z, highest = logits[c, j], peak[j]
            peak[j] = highest if z <= highest else z
    for j in range(size):
        share[j] = exp(loss[j] - peak[j])
        total[j] *= share[j]
        loss[j] = float32(0)
    for c in range(logits.shape[0]):
        _softmax_column(targets[c], extra[c], logits[c, :size], peak, total, loss)
    for j in range(size):
        loss[j] += log(total[j])
        total[j] = upstream[j] / total[j]
        share[j] *= total[j]
    for c in range(logits.shape[0]):
        for j in range(size):
            logits[c, j] *= total[j]


# In the order that is written: of a label's large logit nothing is left but log1p.
@ordered_kernel
def _logistic_column(upstream, targets, extra, logits, loss):
    for j in range(logits.shape[0]):
        z, target = logits[j], targets[j]
        e = exp(-abs(z))
        part = (max(z, float32(0)) * extra[j] - z * target) + log1p(e) * extra[j]
        grad = _sigmoid(z, e) * upstream[j]
        absent = z == -np.inf
        loss[j] += float32(0) if absent else part
        logits[j] = float32(0) if absent else grad


@kernel
def logistic_own(upstream, targets, extra, logits, total, loss):
    """As `softmax_own`; `total` holds the losses of the shared columns."""
    size = upstream.shape[0]
    for j in range(size):
        loss[j] = total[j]
    for c in range(logits.shape[0]):
        _logistic_column(upstream, targets[c], extra[c], logits[c, :size], loss)


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
            row[i] = _sigmoid(z, exp(-abs(z))) * grad_loss[start + i]
