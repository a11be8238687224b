"""folders.py: what jobs write beside their data is none of it."""

from pathlib import Path

import pytest

from numba_ss import ArgumentError
from numba_ss.logs.folders import find_logs, partitions_of


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_marks_are_passed_over_and_folders_are_read(tmp_path):
    files = make(tmp_path, "b.csv", "day=1/part-0.parquet", "day=2/hour=3/part-0.parquet", "more/a.csv")
    make(tmp_path, "_SUCCESS", ".b.csv.crc", "_committed_123", "_metadata", "day=1/_started_1", "_temporary/0/a.csv", ".hidden/a.csv")
    for form in (tmp_path, str(tmp_path), f"{tmp_path}/"):
        assert find_logs("source", form) == files
    assert find_logs("source", tmp_path / "_SUCCESS") == [tmp_path / "_SUCCESS"]


def test_patterns(tmp_path):
    files = make(tmp_path, "a.csv", "b.csv", "day=1/x.parquet", "log.parquet/y.parquet", "old/c.csv")
    make(tmp_path, "_SUCCESS", "log.parquet/notes.txt")
    assert find_logs("source", str(tmp_path / "*")) == files[:4]
    assert find_logs("source", str(tmp_path / "?.csv")) == files[:2]
    assert find_logs("source", str(tmp_path / "day=*")) == [files[2]]
    assert find_logs("source", str(tmp_path / "**" / "*.parquet")) == files[2:4]
    assert sorted(find_logs("source", str(tmp_path / "**"))) == sorted([*files, tmp_path / "log.parquet/notes.txt"])
    assert find_logs("source", tmp_path / "log.parquet") == [files[3]]
    assert find_logs("source", make(tmp_path, "[x].csv")[0]) == [tmp_path / "[x].csv"]


def test_folders_behind_links_are_read_once(tmp_path):
    (path,) = make(tmp_path, "elsewhere/2024/a.csv")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "now").symlink_to(path.parent)
    (tmp_path / "logs" / "back").symlink_to(tmp_path / "logs")
    assert find_logs("source", tmp_path / "logs") == [tmp_path / "logs" / "now" / "a.csv"]


def test_nothing_there(tmp_path):
    make(tmp_path, "empty/_SUCCESS", "delta/_delta_log/0.json", "delta/a.parquet")
    for path, message in [
        (tmp_path / "empty", "source: expected a folder with files, got"),
        (tmp_path / "absent.csv", "source: expected a file, a folder or a pattern that matches files"),
        (str(tmp_path / "empty" / "*"), "source: expected a file, a folder or a pattern that matches files"),
        ("a\0b", "source: expected a file, a folder or a pattern"),
        (tmp_path / "delta", r"delta: expected a folder of files that are all in force, got a Delta table; deltalake"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            find_logs("source", path)


def test_partitions():
    for path, want in [
        ("logs/day=2024-01-01/country=DE/part.parquet", {"day": "2024-01-01", "country": "DE"}),
        ("logs/at=10%3A00/x=/part.csv", {"at": "10:00", "x": ""}),
        ("c=__HIVE_DEFAULT_PARTITION__/a=b=c/d=e.csv", {"c": None, "a": "b=c"}),
        ("logs/part.parquet", {}),
    ]:
        assert partitions_of(Path(path)) == want
