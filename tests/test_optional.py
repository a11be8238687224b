"""_optional.py: a library that is missing is named, with what installs it."""

import subprocess
import sys

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


def test_a_library_that_cannot_be_imported_says_why(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for reason in ("raise ImportError('GLIBCXX not found')", "import no_such"):
        (tmp_path / "torn.py").write_text(reason)
        with pytest.raises(ImportError, match=r"^(GLIBCXX not found|No module named 'no_such')$"):
            import_optional("torn", "x")


@pytest.mark.parametrize("room", ["torch", "jax", "keras"])
def test_a_room_whose_library_is_missing(room):
    code = f"import sys; sys.modules['{room}'] = None; import numba_ss.{room}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = f'numba_ss.{room} needs {room}: pip install "numba-ss[{room}]", or {room} alone'
    assert done.stderr.endswith(f"ModuleNotFoundError: {said}\n")


def test_a_room_whose_library_cannot_be_imported(tmp_path):
    (tmp_path / "torch.py").write_text("import no_such")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numba_ss.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'no_such'\n")
