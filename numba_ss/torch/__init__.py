"""Sampled softmax for PyTorch: an output layer over huge vocabularies, on CPUs.

`SampledSoftmax` is the layer; newcomers open `layer` first. `sampled_softmax_loss` and
`nce_loss` are the functions, with TensorFlow's arguments. The kernels work on the tensors' own
memory. Needs the extra ``torch``; stands on the engine alone.
"""

from __future__ import annotations

# What it tells OpenMP has to be said before PyTorch loads it.
import numba_ss.kernels.core.threads  # noqa: F401
from numba_ss._optional import import_optional

import_optional("torch", "numba_ss.torch")

from numba_ss.torch.functional import nce_loss, sampled_softmax_loss
from numba_ss.torch.layer import SampledSoftmax, TopK
from numba_ss.torch.optimizers import RowOptimizer

__all__ = ["RowOptimizer", "SampledSoftmax", "TopK", "nce_loss", "sampled_softmax_loss"]
