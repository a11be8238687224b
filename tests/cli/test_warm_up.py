"""warm_up.py: what a later process needs is compiled; nothing else is done."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import needs_jit

CHECK = """
import numba_ss.kernels.{0} as module
from numba_ss.kernels._cache import _folders, prefix_of
files = (path for folder in _folders() for path in folder.glob(prefix_of(module.{1}) + "*"))
raise SystemExit(0 if any(files) else 9)
"""


@needs_jit
@pytest.mark.parametrize(
    ("what", "module", "kernel"),
    [("word2vec", "words.train_windows", "train_windows"), ("layer", "softmax.step", "sampled_step"),
     ("retrieve", "retrieval.items", "gather_items")],
)
def test_warm_up_fills_the_cache(what, module, kernel, tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}

    def compiled():
        command = [sys.executable, "-c", CHECK.format(module, kernel)]
        return subprocess.run(command, env=environment, check=False).returncode == 0

    assert not compiled()
    done = subprocess.run(
        [sys.executable, "-m", "numba_ss", "warm-up", what], env=environment, check=True,
        capture_output=True, text=True,
    )
    assert f"{what}: compiled" in done.stderr
    assert done.stdout == ""
    assert compiled()


def test_an_unknown_part_is_refused():
    command = [sys.executable, "-m", "numba_ss", "warm-up", "everything"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'everything'" in done.stderr


@needs_jit
def test_the_run_that_compiles_has_the_bits_of_later_runs(tmp_path):
    """LLVM may not round differently where it compiles a kernel by itself, and inside another."""
    words = np.random.default_rng(0).integers(0, 40, (300, 10)).tolist()
    (tmp_path / "text.txt").write_text("".join(" ".join(map(str, line)) + "\n" for line in words))
    options = ["--vector-size", "30", "--batch-size", "64", "--num-threads", "1", "--quiet"]
    found = []
    for name in ("compiled.npz", "loaded.npz"):
        subprocess.run(
            [sys.executable, "-m", "numba_ss", "word2vec", "text.txt", "-o", name, *options],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}, check=True, cwd=tmp_path,
        )
        found.append((tmp_path / name).read_bytes())
    assert found[0] == found[1]
