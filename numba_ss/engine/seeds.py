"""How TensorFlow turns a global seed and an op seed into a stream of random numbers."""

from __future__ import annotations

import random

import numpy as np

MODULUS = 2**31 - 1
_DEFAULT_GLOBAL_SEED = 87654321


def stream_of(seed: int | None, global_seed: int | None) -> tuple[int, int]:
    """Return the key and the high half of the counter, as `tf.random` derives them.

    Without seeds, both are 64 new random bits.
    """
    if seed is None and global_seed is None:
        key, high = np.random.SeedSequence().generate_state(2, np.uint64)
        return int(key), int(high)
    if global_seed is None:
        global_seed = _DEFAULT_GLOBAL_SEED
    assert seed is not None
    pair = global_seed % MODULUS, seed % MODULUS
    return pair if pair != (0, 0) else (0, MODULUS)


class ImplicitSeeds:
    """The op seeds that TensorFlow gives to eager ops, one after another, after set_seed."""

    def __init__(self, global_seed: int, given: int = 0) -> None:
        self._random = random.Random(global_seed)
        self.given = -1
        while self.given < given:
            self.advance()

    def advance(self) -> None:
        """Move to the next op."""
        self.given += 1
        self.following = self._random.randint(0, MODULUS)
