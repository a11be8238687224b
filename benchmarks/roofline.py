"""What the machine can do at best: the limits that speed is held against.

    python benchmarks/roofline.py [--threads 2] [--num-rows 2000000] [--dim 128]

Printed is what it does in a second, as JSON: "sgemm", operations of a matrix product of float32;
"rows", bytes of random rows that are read and written; "exp", exponentials.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np


def machine_limits(threads, num_rows=2_000_000, dim=128):
    """Measure sgemm (flop/s), random-row updates (byte/s) and exp (1/s).

    Rows are those of a table of `num_rows` rows of `dim` numbers.
    """
    rng = np.random.default_rng(0)
    square = rng.standard_normal((1024, 1024), np.float32)
    rows = rng.standard_normal((num_rows, dim), np.float32)
    order = rng.integers(0, len(rows), 100_000)
    values = -rng.random(2**20, np.float32)
    out = np.empty_like(values)

    @numba.njit(parallel=True, fastmath=True)
    def update(rows, order):
        for j in numba.prange(order.size):
            for d in range(rows.shape[1]):
                rows[order[j], d] *= np.float32(0.999)

    def best(work):
        times = []
        for _ in range(8):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    numba.set_num_threads(threads)
    with ThreadPoolExecutor(threads) as pool:
        parts = [np.array_split(array, threads) for array in (values, out)]
        seconds = best(lambda: list(pool.map(np.exp, *parts)))
    return {
        "sgemm": 2 * 1024**3 / best(lambda: square @ square),
        "rows": 2 * 4 * dim * order.size / best(lambda: update(rows, order)),
        "exp": values.size / seconds,
    }


def main():
    """Print the limits as JSON; the process should have as many BLAS threads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=128)
    args = parser.parse_args()
    print(json.dumps(machine_limits(args.threads, args.num_rows, args.dim)))


if __name__ == "__main__":
    main()
