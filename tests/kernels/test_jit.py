"""jit.py: options that hold whoever compiles first, and both forms of a kernel."""

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import needs_jit


@needs_jit
@pytest.mark.parametrize("option", ["exact_kernel", "ordered_kernel"])
def test_flags_are_not_the_caller_s(option):
    """(x + big) - big is x rounded; a caller with reassociation must not undo it."""
    script = f"""
import numpy as np
from numba_ss.kernels._jit import kernel, {option}
big = np.float32(12582912.0)
def rounded(x):
    return (x + big) - big
rounded.__module__ = "m"
from numba_ss.kernels import _cache
_cache._folders = lambda: []
inner = {option}(rounded)
def outer(x):
    return inner(x[0])
print(kernel(outer)(np.array([2.3], np.float32)))
"""
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert float(out) == 2.0


@needs_jit
def test_both_forms_of_a_parallel_kernel_agree(rng):
    from numba_ss.kernels.softmax.phases import scatter_rows

    rows, grads = rng.integers(0, 9, 40), rng.standard_normal((40, 5)).astype(np.float32)
    tables = np.zeros((2, 9, 5), np.float32)
    scatter_rows.serial(rows, grads, np.float32(0.5), 1, tables[0])
    scatter_rows.parallel(rows, grads, np.float32(0.5), 1, tables[1])
    np.testing.assert_array_equal(*tables)
    assert scatter_rows.serial.signatures


@needs_jit
def test_what_only_kernels_call_is_not_compiled_for_python():
    """And the other way round, so that Python can call what a kernel has compiled before."""
    from numba_ss.kernels._jit import kernel

    @kernel
    def double(x):
        return 2 * x

    @kernel
    def quadruple(x):
        return double(double(x))

    assert quadruple(1.5) == 6
    assert not double.signatures
    assert double.inner.signatures
    assert double(1.5) == 3
    assert not quadruple.inner.signatures
