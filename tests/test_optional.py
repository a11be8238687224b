"""_optional.py: a library that is missing is named, with what installs it."""

import numpy as np
import pytest

from numba_ss._optional import import_optional


def test_a_library_that_is_there():
    assert import_optional("numpy.linalg", "x") is np.linalg


@pytest.mark.parametrize(
    ("module", "package", "monkeypatched"),
    [("no_such.part", "no_such", False), ("faiss.contrib", "faiss-cpu", True)],
)
def test_a_missing_library_is_named(module, package, monkeypatched, monkeypatch):
    if monkeypatched:
        monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    name = module.partition(".")[0]
    said = rf'x needs {name}: pip install "numba-ss\[all\]", or {package} alone'
    with pytest.raises(ImportError, match=said):
        import_optional(module, "x")


def test_a_large_library_has_an_extra_of_its_own(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r'x needs ray: pip install "numba-ss\[ray\]", or ray alone'):
        import_optional("ray", "x")
