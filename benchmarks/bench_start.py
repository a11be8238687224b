"""Start-up: the import, and the first step with and without cached kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import numpy as np

IMPORT = """
import time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""
FIRST_STEP = """
import time
start = time.perf_counter()
import numba
numba_imported = time.perf_counter()
import numpy as np
import numba_ss
layer = numba_ss.SampledSoftmax(1000, 16, 20)
layer.step(np.ones((4, 16), np.float32), [[1], [2], [3], [4]])
end = time.perf_counter()
print(end - start, end - numba_imported)
"""


def run_fresh(code, **environment):
    """Return the numbers that `code` prints in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(number) for number in process.stdout.split()]


class Import:
    """What the import of the layer takes beyond `import numba`."""

    timeout = 600

    def track_import_seconds(self):
        imports = "import numba", "from numba_ss import SampledSoftmax"
        turns = [[run_fresh(IMPORT.format(line))[0] for line in imports] for _ in range(5)]
        numba, layer = np.median(turns, axis=0)
        return float(layer - numba)

    track_import_seconds.unit = "seconds"


class FirstStep:
    """From a new process to the end of its first step."""

    params = ([True, False],)
    param_names = ("import of numba included",)
    timeout = 600

    def setup_cache(self):
        with tempfile.TemporaryDirectory() as folder:
            return [run_fresh(FIRST_STEP, NUMBA_CACHE_DIR=folder) for _ in ("cold", "cached")]

    def track_cold_first_step_seconds(self, measured, included):
        return measured[0][0 if included else 1]

    def track_cached_first_step_seconds(self, measured, included):
        return measured[1][0 if included else 1]

    setup_cache.timeout = 600
    track_cold_first_step_seconds.unit = track_cached_first_step_seconds.unit = "seconds"
