"""torch/threads.py: PyTorch's number of threads, before, within and after."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

import numba  # noqa: E402

from numba_ss.torch.threads import pytorch_threads  # noqa: E402
from tests.conftest import needs_jit  # noqa: E402


@needs_jit
def test_kernels_use_as_many_threads_as_pytorch():
    before, numba_before = torch.get_num_threads(), numba.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with pytorch_threads():
                assert numba.get_num_threads() == min(count, numba.config.NUMBA_NUM_THREADS)
            assert torch.get_num_threads() == count
            assert numba.get_num_threads() == numba_before
    finally:
        torch.set_num_threads(before)


def test_openmp_is_told_before_pytorch_loads_it():
    script = """
import os, sys
class Finder:
    def find_spec(name, path, target=None):
        if name == "torch":
            print("GOMP_SPINCOUNT" in os.environ)
sys.meta_path.insert(0, Finder)
import numba_ss.torch
"""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ
    )
    assert done.stdout.split()[0] == "True"


@needs_jit
@pytest.mark.parametrize("first", ["torch", "numba_ss.torch"])
@pytest.mark.parametrize("num_sampled", [10, 4096])
def test_numba_s_start_leaves_pytorch_its_number(first, num_sampled):
    """Numba starts its threads when a number is first asked for: many candidates ask early."""
    script = f"""
import {first}, torch
torch.set_num_threads(1)
from numba_ss.torch import SampledSoftmax
layer = SampledSoftmax(8, 50_000, {num_sampled})
layer(torch.ones(2, 8), torch.tensor([1, 2])).backward()
assert torch.get_num_threads() == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True)
