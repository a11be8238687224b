"""The losses of a block of inputs; logits are replaced by probabilities, in place.

A column is a class that an example is compared with. The *shared* columns are the sampled classes
that all examples have in common. Their logits form a block with a row for each sampled class and
a column for each input, so that vector code runs over inputs. The block comes in strips. Only the
running maximum and the running sum of exp are kept from one strip to the next (M. Milakov,
N. Gimelshein, "Online normalizer calculation for softmax", 2018). The *own* columns belong to one
example: first its labels, then any sampled classes that were drawn for it alone. An absent column
has the logit -inf.

If T labels of an example are present, each of them has the target 1/T, and all other columns have
the target 0. The logistic loss has the same targets, and is summed over the columns.
"""

import numpy as np
from numpy import float32

from numba_ss.kernels._jit import kernel, ordered_kernel
from numba_ss.kernels.core.scalar import exp, log, log1p

# The first running maximum. It is finite, so that no difference is inf - inf.
LOWEST = float32(-3.4e38)


@kernel
def softmax_strip(size, adjusted_biases, logits, first, running_max, running_sum, rescale):
    """Turn a strip of products into exp(logit - running_max); update the maximum and the sum.

    logits[first + s, i] is the product of sampled class s and input i; the adjusted bias is added
    here. `rescale` gets exp(old maximum - new maximum): earlier results must be multiplied by it.
    """
    for i in range(size):
        rescale[i] = running_max[i]
    for s in range(adjusted_biases.shape[0]):
        bias = adjusted_biases[s]
        row = logits[first + s]
        for i in range(size):
            z, highest = row[i] + bias, running_max[i]
            row[i] = z
            running_max[i] = highest if z <= highest else z
    for i in range(size):
        rescale[i] = exp(rescale[i] - running_max[i])
        running_sum[i] *= rescale[i]
    for s in range(adjusted_biases.shape[0]):
        row = logits[first + s]
        for i in range(size):
            e = exp(row[i] - running_max[i])
            row[i] = e
            running_sum[i] += e


@kernel
def _sigmoid(z, negative_exp):
    """Return the sigmoid of z, from exp(-|z|)."""
    top = float32(1) if z >= float32(0) else negative_exp
    return top / (float32(1) + negative_exp)


@kernel
def logistic_strip(size, adjusted_biases, logits, first, running_sum):
    """Turn a strip of products into sigmoids of logits; add the losses to `running_sum`."""
    for s in range(adjusted_biases.shape[0]):
        bias = adjusted_biases[s]
        row = logits[first + s]
        for i in range(size):
            z = row[i] + bias
            e = exp(-abs(z))
            running_sum[i] += max(z, float32(0)) + log1p(e)
            row[i] = _sigmoid(z, e)


@kernel
def _softmax_column(targets, column_weights, logits, running_max, running_sum, loss):
    for j in range(logits.shape[0]):
        z, target = logits[j] - running_max[j], targets[j]
        e = exp(z)
        logits[j] = e
        running_sum[j] += e * column_weights[j]
        loss[j] -= z * target if target > float32(0) else float32(0)


@kernel
def softmax_own(targets, column_weights, logits, running_max, running_sum, rescale, loss):
    """Finish the losses of examples; turn their own logits into exp(logit - running_max).

    `logits`, `targets` and `column_weights` have a row for each own column. The weight is 0 if the
    class is already counted among the shared columns, else 1. `running_max` and `running_sum` are
    those of the shared columns, and become those of all columns. `rescale` gets the factor that
    makes the exp of a shared column relative to the new maximum.
    """
    size = loss.shape[0]
    for j in range(size):
        loss[j] = running_max[j]
    for c in range(logits.shape[0]):
        for j in range(size):
            z, highest = logits[c, j], running_max[j]
            running_max[j] = highest if z <= highest else z
    for j in range(size):
        rescale[j] = exp(loss[j] - running_max[j])
        running_sum[j] *= rescale[j]
        loss[j] = float32(0)
    for c in range(logits.shape[0]):
        _softmax_column(
            targets[c], column_weights[c], logits[c, :size], running_max, running_sum, loss
        )
    for j in range(size):
        loss[j] += log(running_sum[j])


# Summed in the order as written: if a label's logit is large, the terms before log1p must cancel
# exactly.
@ordered_kernel
def _logistic_column(targets, column_weights, logits, loss):
    for j in range(logits.shape[0]):
        z, target = logits[j], targets[j]
        e = exp(-abs(z))
        part = (max(z, float32(0)) * column_weights[j] - z * target) + log1p(e) * column_weights[j]
        absent = z == -np.inf
        loss[j] += float32(0) if absent else part
        logits[j] = float32(0) if absent else _sigmoid(z, e)


@kernel
def logistic_own(targets, column_weights, logits, running_sum, loss):
    """Finish the losses of examples; turn their own logits into sigmoids.

    See `softmax_own` for the arguments; `running_sum` holds the losses of the shared columns.
    """
    size = loss.shape[0]
    for j in range(size):
        loss[j] = running_sum[j]
    for c in range(logits.shape[0]):
        _logistic_column(targets[c], column_weights[c], logits[c, :size], loss)


@kernel
def softmax_classes(start, stop, normalizer, grad_output, adjusted_biases, logits, first):
    """Turn a block of products into softmax probabilities times the upstream gradient.

    As in `softmax_strip`, the adjusted biases are added here. `normalizer` holds the log of the sum
    of exp(logit) over all classes, for each example.
    """
    for s in range(adjusted_biases.shape[0]):
        bias = adjusted_biases[s]
        row = logits[first + s]
        for i in range(stop - start):
            row[i] = exp(min(row[i] + bias - normalizer[start + i], float32(0)))
            row[i] *= grad_output[start + i]


@kernel
def logistic_classes(start, stop, grad_output, adjusted_biases, logits, first):
    """Turn a block of products into sigmoids of logits, times the upstream gradient."""
    for s in range(adjusted_biases.shape[0]):
        bias = adjusted_biases[s]
        row = logits[first + s]
        for i in range(stop - start):
            z = row[i] + bias
            row[i] = _sigmoid(z, exp(-abs(z))) * grad_output[start + i]
