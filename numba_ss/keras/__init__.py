"""Sampled softmax for Keras 3, on CPUs: an output layer, with PyTorch or JAX below Keras.

Needs the extra ``keras``, and ``torch`` or ``jax``; stands on the rooms of these two.
"""

from __future__ import annotations

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "keras":  # but Keras' backend
        raise
    raise ModuleNotFoundError(
        "numba_ss.keras needs Keras: pip install 'numba-ss[keras]'", name="keras"
    ) from error

from numba_ss.keras.layer import SampledSoftmax

__all__ = ["SampledSoftmax"]
