"""The user network of a retrieval model, with all layers in flat arrays for the kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from numba_ss._types import Float32s
from numba_ss.engine.memory import aligned_zeros, round_up


class Tower:
    """A ReLU network with a linear output; `kernels.retrieval.tower` describes its arrays.

    With `hidden_units`, its input is the concatenation of the mean of a history and
    `num_features` vectors, all of length `dim`. Without, there is no layer, and the output is the
    sum of these vectors. The weights are random, or zero without `rng`.
    """

    def __init__(
        self, dim: int, hidden_units: Sequence[int], num_features: int, adaptive: bool,
        rng: np.random.Generator | None = None,
    ) -> None:
        width = round_up(dim)
        self.step = width if hidden_units else 0
        widths = [width * (1 + num_features) if hidden_units else width]
        units = [*hidden_units, dim] if hidden_units else []
        widths += map(round_up, units)
        self._widths = widths
        self.layers = np.zeros((len(widths), 4), np.int64)
        self.layers[:, 0] = widths
        size = 0
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            self.layers[layer, 2:] = size, size + inputs * outputs
            size += (inputs + 1) * outputs
        self.dense, self.transposed = aligned_zeros(size), aligned_zeros(size)
        self.squares = aligned_zeros(size if adaptive else 0)
        self.grads = aligned_zeros(size)
        used = np.arange(widths[0]) % width < dim
        for layer, outputs in enumerate(units):
            # Glorot and Bengio, "Understanding the difficulty of training deep feedforward
            # neural networks" (2010), section 4.2.1.
            inputs = int(used.sum())
            limit = math.sqrt(6 / (inputs + outputs))
            if rng is not None:
                self.weights(layer)[used, :outputs] = rng.uniform(
                    -limit, limit, (inputs, outputs)
                )
            used = np.arange(widths[layer + 1]) < outputs
        self.transpose()

    def weights(self, layer: int) -> Float32s:
        """Return the weights of a layer, (width, next width)."""
        width, _, start, biases = self.layers[layer]
        return self.dense[start:biases].reshape(width, -1)

    def transpose(self) -> None:
        """Update the transposed weights after `dense` was changed."""
        for layer in range(len(self.layers) - 1):
            _, _, start, biases = self.layers[layer]
            self.transposed[start:biases] = self.weights(layer).T.reshape(-1)

    def place(self, num_examples: int) -> tuple[NDArray[np.int64], int]:
        """Return `layers` with the starts of all inputs, and how many numbers these have."""
        layers, start = self.layers.copy(), 0
        for layer, width in enumerate(self._widths):
            layers[layer, 1] = start
            start += num_examples * width
        return layers, start
