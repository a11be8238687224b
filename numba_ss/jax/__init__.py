"""Sampled softmax for JAX, on CPUs: a function with TensorFlow's arguments and JAX's gradients.

Needs the extra ``jax``; stands on the engine alone.
"""

from __future__ import annotations

from numba_ss._optional import import_optional

import_optional("jax", "numba_ss.jax")

from numba_ss.jax.functional import sampled_softmax_loss

__all__ = ["sampled_softmax_loss"]
