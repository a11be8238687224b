"""warm_up.py: what a later process needs is compiled; nothing else is done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numba_ss
from tests.conftest import needs_jit

CHECK = """
import numba_ss.kernels.{0} as module
from numba_ss.kernels._cache import _folders, prefix_of
files = (path for folder in _folders() for path in folder.glob(prefix_of(module.{1}) + "*"))
raise SystemExit(0 if any(files) else 9)
"""
RECOMMEND = """
import numpy as np
from numba_ss import YouTubeDNN
users = np.arange(500).repeat(4)
log = {"user": users, "item": np.arange(2000) % 99, "timestamp": np.arange(2000)}
YouTubeDNN(epochs=1).fit(log, progress=False).recommend(k=50)
"""


@pytest.fixture
def run(tmp_path):
    """Run Python on a copy of the package, of which nothing is compiled yet."""
    package = Path(numba_ss.__file__).parent
    shutil.copytree(
        package, tmp_path / "numba_ss", ignore=shutil.ignore_patterns("__pycache__")
    )
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path)}

    def run(*arguments, check=True, **environment):
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=os.environ | places | environment,
            check=check, capture_output=True, text=True,
        )

    return run


@needs_jit
@pytest.mark.parametrize(
    ("what", "module", "kernel"),
    [("word2vec", "words.train_windows", "train_windows"), ("layer", "softmax.step", "sampled_step"),
     ("retrieve", "retrieval.items", "gather_items")],
)
def test_warm_up_fills_the_cache(what, module, kernel, run, tmp_path):
    def compiled():
        return run("-c", CHECK.format(module, kernel), check=False).returncode == 0

    assert not compiled()
    done = run("-m", "numba_ss", "warm-up", what, NUMBA_NUM_THREADS="2")
    assert f"{what}: compiled" in done.stderr
    assert done.stdout == ""
    assert compiled()
    if what == "retrieve":
        kept = sorted(tmp_path.rglob("cache/**/*"))
        run("-c", RECOMMEND, NUMBA_NUM_THREADS="2")
        assert sorted(tmp_path.rglob("cache/**/*")) == kept


LATER = """
from numba_ss import Word2Vec
options = {"min_count": 1, "epochs": 1, "num_threads": 1, "loss": "nce"}
for architecture in ("skipgram", "cbow"):
    Word2Vec(20, architecture=architecture, **options).fit([["a", "b", "c"]] * 200, progress=False)
"""


@needs_jit
def test_warm_up_compiles_every_loss(run, tmp_path):
    kept = []
    for command in (["-m", "numba_ss", "warm-up", "word2vec"], ["-c", LATER]):
        run(*command, NUMBA_NUM_THREADS="1")
        files = (path.name for path in tmp_path.rglob("cache/**/*") if path.is_file())
        kept.append({name for name in files if name.startswith(("skipgram", "cbow", "train_windows"))})
    assert kept[0]
    assert kept[0] == kept[1]


def test_an_unknown_part_is_refused():
    command = [sys.executable, "-m", "numba_ss", "warm-up", "everything"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'everything'" in done.stderr


FIT = """
import zlib
from numba_ss import Word2Vec
from tests.word2vec.test_estimator import topic_text
options = {"min_count": 1, "subsample": 0.02, "batch_size": 64, "window": 3, "num_threads": 1}
model = Word2Vec(30, epochs=12, **options).fit(topic_text(2, 20, 1500, 10), progress=False)
print(zlib.crc32(model.vectors_.vectors.tobytes()))
"""


@needs_jit
def test_the_process_that_compiles_has_the_bits_of_later_ones(tmp_path):
    """LLVM must not round differently where it compiles a kernel by itself, and inside another."""
    found = [
        subprocess.run(
            [sys.executable, "-c", FIT], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            check=True, capture_output=True, text=True,
        ).stdout
        for _ in range(2)
    ]
    assert found[0] == found[1]
