"""As many threads as PyTorch has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from numba_ss.kernels.core.threads import use_threads


@contextmanager
def pytorch_threads() -> Iterator[None]:
    """Let kernels use as many threads as PyTorch, and leave it their number.

    Where both find the same OpenMP library they share its threads, and Numba, when it starts,
    changes how many PyTorch uses.
    """
    count = torch.get_num_threads()
    with use_threads(count):
        yield
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
