"""As many threads as PyTorch has."""

from __future__ import annotations

import torch

from numba_ss.kernels.core.threads import get_num_threads, use_threads


class pytorch_threads:
    """Let kernels use as many threads as PyTorch inside the block, and leave it their number.

    Where both find the same OpenMP library they share its threads, and Numba, when it starts,
    changes how many PyTorch uses.
    """

    __slots__ = ("_count", "_threads")

    def __enter__(self) -> None:
        self._count = torch.get_num_threads()
        # Of one setting there is nothing to change, nor to put back.
        self._threads = use_threads(None if get_num_threads() == self._count else self._count)
        self._threads.__enter__()

    def __exit__(self, *error: object) -> None:
        self._threads.__exit__(*error)
        if torch.get_num_threads() != self._count:
            torch.set_num_threads(self._count)
