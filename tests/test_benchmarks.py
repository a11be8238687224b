"""The benchmarks run: every one of them once, at the first value of each parameter."""

import ast
import importlib.util
import inspect
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numba
import numpy as np
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
        try:
            result = method(*cache, *params)
        finally:
            getattr(benchmark, "teardown", lambda *args: None)(*cache, *params)
        if name.startswith("track_"):
            assert math.isfinite(result)
            assert method.unit


def imported(body):
    """Yield what the statements of a module import at once."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Try):
            yield from imported(node.body)


def test_the_extra_has_what_asv_imports():
    """It imports every script here, and ends if one of them fails."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    installed = project["dependencies"] + project["optional-dependencies"]["bench"]
    found = {"benchmarks", "numba_ss", *sys.stdlib_module_names}
    found |= set(re.findall(r"[\w-]+", " ".join(installed)))
    for path in FOLDER.glob("*.py"):
        names = imported(ast.parse(path.read_text()).body)
        assert {name.partition(".")[0] for name in names} <= found, path.name


# Stands for gensim: it takes what gensim's Word2Vec takes, and writes random vectors.
STAND_IN = """
import numpy as np
from collections import Counter
__version__ = "0.0"

class Word2Vec:
    total_train_time = 2.0

    def __init__(self, corpus_file, workers, seed, vector_size, window, negative, sample,
                 min_count, alpha, epochs, sg, cbow_mean=1):
        self.wv, self.epochs = self, epochs
        with open(corpus_file) as file:
            self.lines = file.read().splitlines()
        assert all(len(line.split()) == 1000 for line in self.lines[:-1])
        self.counts = Counter(" ".join(self.lines).split())
        self.index_to_key = [w for w, n in self.counts.most_common() if n >= min_count]
        self.shape = len(self.index_to_key), vector_size

    def get_vecattr(self, word, name):
        return np.int64(self.counts[word])

    def save_word2vec_format(self, path, binary):
        vectors = np.random.default_rng(0).standard_normal(self.shape, np.float32)
        with open(path, "wb") as file:
            file.write("{} {}\\n".format(*self.shape).encode())
            for word, vector in zip(self.index_to_key, vectors):
                file.write(word.encode() + b" " + vector.tobytes() + b"\\n")
"""


@pytest.fixture
def word2vec(tmp_path):
    """Run the comparison on a small text; return what it prints and keeps."""
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.3, 30_000), 2_000)
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in ids))
    (tmp_path / "questions-words.txt").write_text(": some\nw1 w2 w3 w4\nW5 W6 W7 W8\n")
    for name in ("WS-353-ALL", "MEN-TR-3k", "SIMLEX-999"):
        lines = [f"w{i}\tw{i + 1}\t{i % 7}\n" for i in range(1, 20)]
        (tmp_path / f"EN-{name}.txt").write_text("".join(lines))
    for name in ("__init__", "models"):
        path = tmp_path / "gensim" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(STAND_IN)
    output = tmp_path / "runs.json"

    def compare(*options):
        search = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [
            sys.executable, FOLDER / "compare_word2vec.py", tmp_path / "text.txt", tmp_path,
            "--output", output, *options,
        ]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": search}, cwd=FOLDER.parent,
        )
        assert done.returncode == 0, done.stderr
        return done, json.loads(output.read_text())["runs"]

    return compare


def test_comparison_with_gensim(word2vec, tmp_path):
    done, runs = word2vec("--only", "gensim-skipgram", "skipgram", "--seeds", "1")
    assert [run["seed"] for run in runs] == [1, 1]
    theirs, ours = runs
    ratio = theirs["seconds"] / ours["seconds"]
    row = next(line for line in done.stdout.splitlines() if line.startswith("numba_ss skip-gram"))
    assert row.split(" | ")[2] == f"{ratio:.2f}"
    for run in runs:
        assert run["peak"] > 10e6
        assert run["analogies"] in (0, 0.5, 1)
        assert abs(run["WS-353"]) <= 1
    # Words of the vocabulary in five epochs: both sides have the same.
    assert sum(entry["words"] for entry in ours["history"]) == theirs["history"][0]["words"]

    chart = tmp_path / "chart.svg"
    pytest.importorskip("matplotlib", reason="the chart needs matplotlib")
    again, kept = word2vec(
        "--only", "gensim-skipgram", "skipgram", "--seeds", "1", "--chart", chart
    )
    assert kept == runs, "a run that is there is not done again"
    assert again.stdout == done.stdout
    assert chart.read_text().count("<path") > 2


@pytest.mark.parametrize("limit", [None, 500, 7_000, 10**6])
def test_lines_hold_the_words_of_the_text(limit, tmp_path, monkeypatch):
    compare = load(FOLDER / "compare_word2vec.py")
    monkeypatch.setattr(compare, "PIECE", 64)
    words = [f"word{i}" for i in range(2_500)]
    (tmp_path / "text").write_text("\n".join(words) + " ")
    compare.write_lines(tmp_path / "text", tmp_path / "lines", limit)
    lines = (tmp_path / "lines").read_text().splitlines()
    found = " ".join(lines).split()
    assert found == words[: len(found)]
    assert [len(line.split()) for line in lines[:-1]] == [1000] * (len(lines) - 1)
    if limit in (None, 10**6):
        assert found == words
    else:
        assert len(" ".join(found)) <= limit <= len(" ".join(words[: len(found) + 1]))


def test_names_of_a_chart_stay_within_it():
    compare = load(FOLDER / "compare_word2vec.py")
    points = [(1.0, -5, "low"), *((39.0 + i / 10, -i, str(i)) for i in range(7))]
    heights = compare.places(points, 45.0)
    assert heights[0] == 1
    assert max(heights) <= 45 - 1.5
    np.testing.assert_allclose(np.diff(heights[1:]), 3)
    assert compare.places([(10.0, 0, "a"), (30.0, 0, "b")], 45.0) == [10, 30]


def test_bounds_of_a_window():
    compare = load(FOLDER / "compare_word2vec.py")
    limits = {"sgemm": 1e9, "rows": 1e9}
    options = compare.settings(["--window", "3", "--num-sampled", "7", "--vector-size", "10"])
    # m words of context times a target; those of the stretch of 32 windows times 7 noise words;
    # forward and two gradients. 2 * 7 / 32 rows of noise words and 6 others, of 40 bytes.
    m = 2 * (1 + 1 / 2 + 1 / 3)
    flops = 3 * 2 * (m + (32 + m) * 7 / 32) * 10
    assert compare.window_bounds(limits, options) == pytest.approx((flops * 1e-9, 257.5e-9))
    options.architecture = "cbow"
    flops = 3 * 2 * 8 * 10 + 2 * 2 * 4 * 10
    assert compare.window_bounds(limits, options) == pytest.approx((flops * 1e-9, 257.5e-9))


def test_tasks_are_dealt_to_threads():
    """It is ideal if all tasks are equal, and never worse than the ideal plus one task."""
    scaling = load(FOLDER / "scaling_word2vec.py")
    assert scaling.makespan([1.0] * 64, 1) == 64
    assert scaling.makespan([1.0] * 64, 4) == 16
    assert scaling.makespan([1.0] * 64, 64) == 1
    assert scaling.makespan([9.0, *[1.0] * 63], 64) == 9
    costs = np.random.default_rng(0).exponential(size=64).tolist()
    for threads in (2, 3, 16):
        tasks = np.add.reduceat(costs, np.arange(0, 64, 64 // min(64, 4 * threads)))
        ideal = sum(costs) / threads
        assert ideal <= scaling.makespan(costs, threads) <= ideal + tasks.max()


def test_the_model_of_threads_counts_a_text(tmp_path):
    scaling = load(FOLDER / "scaling_word2vec.py")
    ids = np.random.default_rng(0).integers(0, 1_000, 200_000)
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in ids))
    found = scaling.Measured(tmp_path / "text.txt", "skipgram", 16)
    assert 0.7 * 200_000 < found.words < 200_000
    assert np.shape(found.chunks) == (scaling.COUNTED, len(found.model.losses))
    assert np.all(np.sum(found.owners, axis=1) > found.model.batch_size)
    learned = found.model.pairs.copy()
    with scaling.use_threads(1):
        found._python_of_a_call()  # without the kernel
    np.testing.assert_array_equal(found.model.pairs, learned)
    # What was measured of so small a text is mostly noise.
    found.reading, found.call, found.seconds = 0.0, 0.0, (2e-3, 1e-3)
    seconds, shares = zip(*(found.predicted(n, 0.0) for n in (1, 2, 8)), strict=True)
    assert seconds[0] > seconds[1] > seconds[2] > 0
    assert all(0 < share <= 1.0001 for pair in shares for share in pair)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_processes_of_others_are_left_alone():
    cluster = load(FOLDER / "compare_cluster.py")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        found = cluster._processes("")
        child.stdin.close()
    assert child.pid in found
    assert os.getppid() not in found


@pytest.mark.parametrize(("arguments", "missing"), [
    (["benchmarks.compare_retrieval"], "--movielens, --gowalla, --diginetica or --steps"),
    (["benchmarks.compare_cluster", "text.txt"], "--evaluation for quality"),
    (["benchmarks.compare_cluster", "t.txt", "--only", "items"], "--diginetica for items"),
])
def test_what_a_comparison_lacks_is_said_at_once(arguments, missing):
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False,
        cwd=FOLDER.parent,
    )
    assert done.returncode == 2
    assert f"error: expected {missing}, got none" in done.stderr


def compare_language_models(*options):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    command = [sys.executable, FOLDER / "compare_language_model.py", *options]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=FOLDER.parent,
    )


def test_comparison_of_language_models(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.3, 30_000), 2_000)
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in ids))
    done = compare_language_models(
        tmp_path / "text.txt", "--minutes", "0.02", "--dim", "8", "--num-sampled", "50",
        "--batch-size", "4", "--length", "5",
    )
    assert done.returncode == 0, done.stderr
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in done.stdout.splitlines()}
    full, sampled, ratio = map(float, rows["100"])
    assert ratio == pytest.approx(sampled / full, abs=3e-3)
    # Of words in any order no model can say more than how often they come.
    words, counts = np.unique(ids[:-12_800], return_counts=True)
    held_out = np.where(np.isin(ids[-12_800:], words[counts > 1]), ids[-12_800:], -1)
    shares = np.unique(held_out, return_counts=True)[1] / len(held_out)
    bound = np.exp(-(shares * np.log(shares)).sum())
    for side in "full softmax", "sampled softmax":
        assert float(rows[side][-1]) == pytest.approx(bound, rel=0.1), side


def test_a_text_that_is_not_there_is_said(tmp_path):
    done = compare_language_models(tmp_path / "text.txt")
    assert done.returncode == 1
    assert "skipped: there is no text" in done.stderr
