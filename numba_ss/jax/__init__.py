"""Sampled softmax for JAX, on CPUs: a function with TensorFlow's arguments and JAX's gradients.

Needs the extra ``jax``; stands on the engine alone.
"""

from __future__ import annotations

try:
    import jax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "numba_ss.jax needs JAX: pip install 'numba-ss[jax]'", name="jax"
    ) from error

from numba_ss.jax.functional import sampled_softmax_loss

__all__ = ["sampled_softmax_loss"]
