"""console.py: results on any console, files that are tried out and left alone."""

import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from numba_ss.cli.console import save_all, save_history, save_or_keep, say

KEPT = """
import resource, sys
import numpy as np
from numba_ss.cli.console import give_memory_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

np.ones(2**21)  # from now on, glibc keeps what is freed
if sys.argv[1] == "give":
    give_memory_back()
arrays, last = [np.ones(2**19) for _ in range(16)], np.ones(2**16)
before = resident()
del arrays
print(before - resident())
"""


def test_a_console_that_lacks_letters(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1", newline=""))
    say(iter(["Ähre", "日本"]))
    assert written.getvalue().decode("latin-1") == "Ähre\n\\u65e5\\u672c\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory")
def test_memory_that_is_given_back():
    def freed(how):
        command = [sys.executable, "-c", KEPT, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert freed("keep") < 2**22
    assert freed("give") > 2**26 - 2**22


def test_a_full_disk_behind_standard_output(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left on device: 'standard output'"):
        say(["text"])


def test_history(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    history = [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 2.5}]
    save_history(None, history)
    save_history(tmp_path / "h.json", history)
    assert json.loads((tmp_path / "h.json").read_text()) == history
    with pytest.raises(OSError, match=r"kept, .* with: mv \S+history\.json \S+gone\S+h\.json$") as caught:
        save_history(tmp_path / "gone" / "h.json", history)
    assert json.loads(Path(str(caught.value).split()[-2]).read_text()) == history


def test_all_is_saved_that_can_be():
    saved = []

    def fail():
        raise OSError("disk")

    with pytest.raises(OSError, match=r"^disk$"):
        save_all(fail, lambda: saved.append("model"))
    with pytest.raises(OSError, match=r"^disk\ndisk$"):
        save_all(fail, fail, lambda: saved.append("history"))
    assert saved == ["model", "history"]


def test_without_any_temporary_folder_results_are_kept_at_home(tmp_path, monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(os, "getcwd", none)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(OSError, match=f"with: mv {tmp_path}/\\S+/history.json gone/h.json$"):
        save_history("gone/h.json", [])


def test_what_cannot_be_saved_is_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))

    def save(path):
        if str(path) == "there":
            raise OSError("disk")
        Path(path).write_text("learned")

    save_or_keep(tmp_path / "other", save, "kept.bin")
    assert (tmp_path / "other").read_text() == "learned"
    with pytest.raises(OSError, match=r"^disk; what was learned is kept, .* with: make .*kept.bin there$") as caught:
        save_or_keep("there", save, "kept.bin", "make")
    assert Path(str(caught.value).split(" ")[-2]).read_text() == "learned"

    def fail(path):
        raise OSError("disk")

    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match=r"^disk; nor could what was learned be kept elsewhere"):
        save_or_keep("there", fail, "kept.bin")
    assert sorted(tmp_path.iterdir()) == before
