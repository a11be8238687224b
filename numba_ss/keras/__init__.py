"""Sampled softmax for Keras 3, on CPUs: an output layer, with PyTorch or JAX below Keras.

Needs the extra ``keras``, and ``torch`` or ``jax``; stands on the rooms of these two.
"""

from __future__ import annotations

from numba_ss._optional import import_optional

import_optional("keras", "numba_ss.keras")

from numba_ss.keras.layer import SampledSoftmax

__all__ = ["SampledSoftmax"]
