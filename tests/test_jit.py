"""kernels/_jit.py: the cache's place, and options that hold whoever compiles first."""

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import needs_jit

from numba_ss.kernels import _jit


def test_cache_goes_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "mine"))
    assert Path(_jit._cache_dir()).parent == tmp_path / "mine"


def test_cache_falls_back_where_it_cannot_write(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package = str(Path(_jit.__file__).parent)
    monkeypatch.setattr(_jit.os, "access", lambda path, mode: not str(path).startswith(package))
    assert _jit._writable_root() == tmp_path / "numba_ss"
    monkeypatch.setattr(_jit.os, "access", lambda path, mode: False)
    assert "numba_ss" in _jit._writable_root().name

    def refuse(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(_jit.Path, "mkdir", refuse)
    assert "numba_ss" in _jit._writable_root().name


def test_cache_key_covers_every_kernel(monkeypatch):
    before = _jit._cache_dir()
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "scalar.py")
    )
    assert _jit._cache_dir() != before


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
import numba
from numba_ss.kernels import _jit
_jit._OPTIONS = dict(_jit._OPTIONS, cache=False)
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
    from numba_ss.kernels.scatter import scatter_rows

    rows, grads = rng.integers(0, 9, 40), rng.standard_normal((40, 5)).astype(np.float32)
    tables = np.zeros((2, 9, 5), np.float32)
    scatter_rows.serial(rows, grads, np.float32(0.5), 1, tables[0])
    scatter_rows.parallel(rows, grads, np.float32(0.5), 1, tables[1])
    np.testing.assert_array_equal(*tables)
    assert scatter_rows.serial.signatures


@needs_jit
def test_what_was_compiled_is_known(monkeypatch, tmp_path, caplog):
    from numba_ss._training import announce
    from numba_ss.kernels.scatter import scatter_rows

    table = np.zeros((1, 2), np.float32)
    scatter_rows(np.zeros(1, int), table.copy(), np.float32(1), 1, table)
    caplog.set_level("INFO", "numba_ss")
    announce(scatter_rows)
    assert not caplog.messages
    monkeypatch.setattr(_jit, "_CACHE_DIR", str(tmp_path))
    announce(scatter_rows)
    assert caplog.messages == ["compiling for this machine, once: about a minute"]
