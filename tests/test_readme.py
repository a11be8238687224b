"""README.md: its Python examples run, and print what it says they print."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


def test_examples_run(capsys, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    # The losses that TensorFlow 2.21 prints for the same call.
    said = re.search(r"^# (\[[\d. ]+\])$", README.read_text(), re.M)[1]
    assert printed[1].startswith("True leave one out: all 100 items ranked")
    assert printed[2].split() == said.split()
    assert printed[0].split()[1] == "True"
    assert np.isfinite(float(printed[-1]))
    assert names["ids"].shape == (2, 5)


def test_the_map_names_every_room():
    text = README.read_text()
    for path in (README.parent / "numba_ss").rglob("__init__.py"):
        assert f"`{path.parent.name}/`" in text or path.parent.name == "numba_ss", path
