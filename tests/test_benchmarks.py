"""The benchmarks run: every one of them once, at the first value of each parameter."""

import importlib.util
import inspect
import math
from pathlib import Path

import numba
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PREFIXES = ("time_", "peakmem_", "track_")

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="without compiled kernels it takes hours"
)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def benchmark_classes():
    return [
        pytest.param(value, id=f"{path.stem}.{name}")
        for path in sorted(FOLDER.glob("bench_*.py"))
        for name, value in vars(load(path)).items()
        if inspect.isclass(value) and value.__module__ == path.stem and name[0] != "_"
    ]


@pytest.mark.parametrize("cls", benchmark_classes())
def test_every_method_runs_once(cls):
    names = [name for name in dir(cls) if name.startswith(PREFIXES)]
    assert names, f"{cls.__name__} has no benchmark"
    params = [values[0] for values in getattr(cls, "params", ())]
    assert len(params) == len(getattr(cls, "param_names", ()))
    cache = [cls().setup_cache()] if hasattr(cls, "setup_cache") else []
    for name in names:
        benchmark = cls()
        if hasattr(benchmark, "setup"):
            try:
                benchmark.setup(*cache, *params)
            except NotImplementedError:
                pytest.skip("not on this machine")
        method = getattr(benchmark, name)
        result = method(*cache, *params)
        if name.startswith("track_"):
            assert math.isfinite(result)
            assert method.unit
