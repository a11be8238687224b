"""README.md: its commands and its Python examples run, and print what it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numba_ss.cli.main import build_parser
from tests.conftest import needs_jit

README = Path(__file__).parent.parent / "README.md"
MEASUREMENTS = README.parent / "benchmarks" / "README.md"
TEXT = README.read_text()


def section(title):
    """Return what stands below a heading, up to the next one."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.S | re.M)[1]


def blocks(language, text=TEXT):
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def run_commands(commands, folder):
    """Run a shell block with the Python and the package of these tests."""
    root = os.pathsep.join([str(README.parent), os.environ.get("PYTHONPATH", "")])
    functions = f"""python() {{ {sys.executable} "$@"; }}
    numba-ss() {{ python -m numba_ss "$@"; }}\n"""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", functions + commands], cwd=folder,
        env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr


def test_it_has_at_most_two_pages():
    assert len(TEXT.encode()) <= 12 * 1024


def test_examples_for_pytorch_run():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    for block in blocks("python"):
        if "torch" in block:
            exec(compile(block, str(README), "exec"), {})


def test_examples_run(capsys, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    # Those for PyTorch have a test of their own, and a cluster is not at hand.
    examples = [part for part in blocks("python") if "torch" not in part and "auto" not in part]
    assert len(examples) >= 2
    names = {}
    for example in examples:
        exec(compile(example, str(README), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    # The losses that TensorFlow 2.21 prints for the same call.
    said = re.search(r"^# (\[[\d. ]+\])$", TEXT, re.M)[1]
    assert printed[1].startswith("True leave one out: all 100 items ranked")
    assert printed[2].split() == said.split()
    assert printed[0].split()[1] == "True"
    assert np.isfinite(float(printed[-1]))
    assert names["ids"].shape == (2, 5)


def test_the_cluster_of_the_example_can_be_named():
    (block,) = [part for part in blocks("python") if "auto" in part]
    exec(compile(block.partition("Word2Vec()")[0], str(README), "exec"), {})


def test_every_command_is_one_that_the_parser_knows():
    commands = re.findall(r"^numba-ss (.*?)(?: *#.*)?$", "".join(blocks("bash")), re.M)
    assert len(commands) >= 8
    for command in commands:
        build_parser().parse_args(command.split())


@needs_jit
def test_commands_for_items_run(tmp_path):
    pytest.importorskip("pyarrow")
    for commands in blocks("bash", section("Items for users")):
        run_commands(commands, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"events.csv", "shop.model", "recommendations.parquet", "items.parquet"}


@needs_jit
def test_commands_for_words_run(tmp_path):
    pytest.importorskip("matplotlib")
    for commands in blocks("bash", section("Word vectors")):
        shorter = "numba-ss word2vec --epochs 1 --vector-size 8"
        run_commands(commands.replace("numba-ss word2vec ", f"{shorter} ", 1), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"vectors.npz", "vectors.bin", "map.svg"}


def test_the_map_names_every_room():
    for path in (README.parent / "numba_ss").rglob("__init__.py"):
        assert f"`{path.parent.name}/`" in TEXT or path.parent.name == "numba_ss", path


@pytest.mark.parametrize("path", [README, MEASUREMENTS], ids=["README", "benchmarks"])
def test_files_that_are_named_exist(path):
    text = path.read_text()
    linked = {path.parent / name for name in re.findall(r"\]\((?!http)([^)#]+)\)", text)}
    named = {README.parent / name for name in re.findall(r"\b(?:benchmarks|tests|numba_ss)/[\w/]+\.\w+", text)}
    assert linked | named
    for file in linked | named:
        assert file.exists(), file
