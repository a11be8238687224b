"""seeds.py: TensorFlow's rules from seeds to streams (spec of get_seed)."""

import random

import pytest

from numba_ss.engine.seeds import MODULUS, ImplicitSeeds, stream_of


@pytest.mark.parametrize(
    ("seed", "global_seed", "pair"),
    [
        (0, None, (87654321, 0)),
        (5, None, (87654321, 5)),
        (-1, None, (87654321, MODULUS - 1)),
        (MODULUS, None, (87654321, 0)),
        (2, 7, (7, 2)),
        (0, 0, (0, MODULUS)),
        (MODULUS, -MODULUS, (0, MODULUS)),
        (2**40, 2**35, (2**35 % MODULUS, 2**40 % MODULUS)),
    ],
)
def test_stream_of(seed, global_seed, pair):
    assert stream_of(seed, global_seed) == pair


def test_without_seeds_streams_differ():
    assert len({stream_of(None, None) for _ in range(20)}) == 20


def test_implicit_seeds():
    generator = random.Random(1234)
    want = [generator.randint(0, MODULUS) for _ in range(5)]
    seeds = ImplicitSeeds(1234)
    for value in want:
        assert seeds.following == value
        seeds.advance()
    assert ImplicitSeeds(1234, 3).following == want[3]
