"""threads.py: settings are put back, small work stays on one thread, forks go on."""

import importlib.util
import math
import os
import subprocess
import sys

import numba
import pytest

from numba_ss.kernels.core import threads
from tests.conftest import needs_jit

LAYERS = ["omp", "workqueue"] + ["tbb"] * (importlib.util.find_spec("tbb") is not None)
SECONDS = 300  # after which something hangs


def python(script, **environment):
    """Run a script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_use_threads_puts_the_setting_back():
    before = numba.get_num_threads()
    with threads.use_threads(1):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before
    with pytest.raises(KeyError), threads.use_threads(1):
        raise KeyError
    assert numba.get_num_threads() == before
    with threads.use_threads(None):
        assert numba.get_num_threads() == before
    with threads.use_threads(10**6):  # what is there of them
        assert numba.get_num_threads() == threads.max_num_threads()
    assert numba.get_num_threads() == before


def test_threads_for():
    assert threads.threads_for(10) == 1
    assert threads.threads_for(10**9) == numba.get_num_threads() <= threads.max_num_threads()


@pytest.mark.parametrize("available", [1, 2, 8])
def test_threads_for_update(available, monkeypatch):
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: available)
    assert threads.threads_for_update(10**9) == available
    assert threads.threads_for_update(10) == 1


@pytest.mark.parametrize(
    ("given", "want"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_the_caller_decides_how_long_threads_spin(given, want):
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    script = "import os, numba_ss.kernels.core.threads; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == want


def test_the_default_is_what_the_container_and_openmp_allow():
    script = "from numba_ss.kernels.core import threads; print(threads.get_num_threads())"
    cores = threads.max_num_threads()
    assert python(script, OMP_NUM_THREADS="1,4")[0] == "1"
    assert python(script, OMP_NUM_THREADS=str(10**6))[0] == str(cores)
    assert python(script, OMP_NUM_THREADS="many")[0] == str(cores)
    # Who speaks to Numba means what he says.
    assert python(script, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS=str(cores))[0] == str(cores)


@pytest.mark.parametrize(
    ("files", "own", "want"),
    [
        ({}, "", math.inf),
        ({"cpu.max": "max 100000"}, "0::/", math.inf),
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, "0::/a/b\n", 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", 0.5),
        ({"cpu.max": "nonsense"}, "0::/", math.inf),
    ],
)
def test_quota_of_a_container(files, own, want, tmp_path):
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    assert threads._quota(str(tmp_path / "cgroup"), str(tmp_path / "own")) == want


@pytest.mark.skipif(threads.max_num_threads() < 2, reason="needs two threads")
def test_a_limit_is_the_default_and_no_more(monkeypatch):
    monkeypatch.setattr(threads, "_LIMIT", 1)
    before = numba.get_num_threads()
    assert threads.get_num_threads() == threads.threads_for(10**9) == 1
    with threads.use_threads(2):  # asked for
        assert threads.get_num_threads() == 2
    assert threads.get_num_threads() == 1
    # No more are woken than there is work for.
    monkeypatch.setattr(threads, "_LIMIT", 2)
    assert threads.run(None, numba.get_num_threads, 2, ()) == 2
    assert numba.get_num_threads() == before


FORK = """
import copy, logging, os, sys
import numpy as np
import numba_ss
from numba_ss.kernels.core import threads
rng = np.random.default_rng(0)
weights = rng.standard_normal((20_000, 64)).astype(np.float32)
inputs = weights[:600].copy()
def compute():
    layer = numba_ss.SampledSoftmax(20_000, 64, 300, weights=weights.copy())
    layer.step(inputs, np.arange(600)[:, None])
    with threads.use_threads(2):
        layer.step(inputs, np.arange(600)[:, None])
    found = numba_ss.top_k(layer.weights, layer.biases, inputs, 5)
    table = weights.copy()
    numba_ss.update_rows(table, np.arange(20_000), weights, 0.5)
    layer = copy.deepcopy(used)  # which counts on two threads
    layer.step(inputs, np.arange(600)[:, None])
    return b"".join(array.tobytes() for array in (layer.weights, *found, table))
assert threads.threads_for(10**9) > 1
used = numba_ss.SampledSoftmax(20_000, 64, 300)
used.step(inputs, np.arange(600)[:, None])
want = compute()
said = []
class Handler(logging.Handler):
    def emit(self, record): said.append(record.getMessage())
logging.getLogger("numba_ss").addHandler(Handler())
pid = os.fork()
if pid == 0:
    try:
        assert compute() == want and compute() == want
        assert len(said) == 1 and "forked" in said[0], said
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert compute() == want
assert not said
print(threads.numba.threading_layer())
"""


@needs_jit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(threads.max_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_child_forked_after_use_computes_the_same_bits(layer):
    assert python(FORK, NUMBA_THREADING_LAYER=layer)[0] == layer


POOL = """
import multiprocessing
import numpy as np
import numba_ss
weights = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
def best(i):
    return numba_ss.top_k(weights, np.zeros(len(weights), np.float32), weights[i : i + 9], 3)
want = [best(i) for i in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(best, range(4)).get(120)
for one, other in zip(found, want):
    np.testing.assert_array_equal(one.ids, other.ids)
"""


@needs_jit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_pool_that_forks_after_use_answers():
    python(POOL)


FRESH = """
import os, sys
import numba_ss
from numba_ss.kernels.core import threads
pid = os.fork()
if pid == 0:
    many = threads.get_num_threads() == threads.max_num_threads()
    os._exit(0 if many else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_before_use_has_all_threads():
    python(FRESH, NUMBA_NUM_THREADS=str(threads.max_num_threads()))


TURNS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import numba
import numba_ss
weights = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
def best(i):
    return numba_ss.top_k(weights, np.zeros(len(weights), np.float32), weights[i : i + 9], 3)
want = [best(i) for i in range(40)]
with ThreadPoolExecutor(3) as pool:
    found = list(pool.map(best, range(40)))
for one, other in zip(found, want):
    np.testing.assert_array_equal(one.ids, other.ids)
print(numba.threading_layer())
"""


@needs_jit
@pytest.mark.parametrize("layer", LAYERS)
def test_several_threads_compute_at_once_with_every_threading_layer(layer):
    assert python(TURNS, NUMBA_THREADING_LAYER=layer)[0] == layer
