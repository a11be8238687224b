"""retrieve_commands.py: from logs to recommendations, with what the library gives by hand."""

import csv
import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.cli import main, retrieve_commands
from numba_ss.distributed.ray_cluster import RayCluster
from numba_ss.retrieval import run as retrieval_run
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.id_vectors import load_vectors
from tests.cli.test_main import start
from tests.conftest import JIT
from tests.word2vec.test_estimator import as_flags

OPTIONS = {
    "embedding_dim": 8, "epochs": 3 if JIT else 1, "batch_size": 16, "num_sampled": 4,
    "num_threads": 1,
}
FLAGS = as_flags(OPTIONS)
NAMES = ["user", "item", "timestamp", "country"]


def events(num_users=20, length=5):
    """Users of two countries, who take different items; some keys need quotes and UTF-8."""
    rng = np.random.default_rng(5)
    special = {0: 'Zoë "z"', 1: "a, b", 2: "tab\there"}
    for u in range(num_users):
        for t in range(length):
            item = f"{'ÄB'[u % 2]}{rng.integers(6)}"
            yield special.get(u, f"{u:03d}"), item, t, "XY"[u % 2]


def columns(rows):
    return dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=True))


def write_log(path, rows=None, names=NAMES):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *(events() if rows is None else rows)])


LOG = columns(events())


@cache
def fitted():
    return YouTubeDNN(**OPTIONS, user_features=["country"]).fit(LOG, progress=False)


@cache
def fitted_to_numbers():
    rng = np.random.default_rng(1)
    pairs = np.stack([rng.integers(-3, 12, 60), rng.integers(100, 110, 60)], axis=1)
    return YouTubeDNN(**OPTIONS, timestamp=None).fit(pairs, progress=False)


@pytest.fixture
def model():
    return fitted()


@pytest.fixture
def numbered():
    """A model with integers for keys, some of them negative, and no times."""
    return fitted_to_numbers()


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, caplog, model, numbered):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "numba_ss")
    model.save("model")
    numbered.save("numbered")
    (tmp_path / "dir").mkdir()


@pytest.fixture
def run(capsys):
    """Run a command line; return what it writes to standard output, as lines."""

    def run(*arguments):
        main.main(["retrieve", *arguments])
        return capsys.readouterr().out.split("\n")[:-1]

    return run


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command line that fails and leaves no file; return its message."""

    def refused(*arguments):
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(SystemExit) as end:
            main.main(["retrieve", *arguments])
        assert end.value.code == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"numba-ss retrieve {arguments[0]}: ")
        return err

    return refused


def rows(found):
    """Return the rows of recommendations, scores as float32 holds them."""
    return [tuple(row) for row in zip(*(c.tolist() for c in found.columns().values()), strict=True)]


def parsed(line_rows, kind=str):
    return [(kind(u), kind(i), int(r), float(np.float32(s))) for u, i, r, s in line_rows]


def test_train_from_csv(run, caplog, model, tmp_path):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("log.csv")
    assert run("train", "log.csv", "-o", "got", *FLAGS, "--user-features", "country", "--history", "h.json") == []
    got = YouTubeDNN.load("got")
    assert got.get_params() == model.get_params() | {"user_features": ("country",)}
    assert got.item_vectors_.tobytes() == model.item_vectors_.tobytes()
    history = json.loads((tmp_path / "h.json").read_text())
    assert [entry["loss"] for entry in history] == [entry["loss"] for entry in model.history_]
    assert caplog.messages[-1] == "20 users and 12 items saved to got"


def test_train_from_several_files_in_a_folder(run, model):
    arrow = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(LOG)
    parquet.write_table(table.slice(0, 33), "dir/1.parquet")
    parquet.write_table(table.slice(33), "dir/2.parquet", row_group_size=10)
    for logs in (["dir"], ["dir/*.parquet"], ["dir/1.parquet", "dir/2.parquet"]):
        run("train", *logs, "-o", "got", *FLAGS, "--user-features", "country")
        assert YouTubeDNN.load("got").item_vectors_.tobytes() == model.item_vectors_.tobytes()


def test_every_option_arrives(run, monkeypatch):
    seen = []

    def fit(self, logs, **arguments):
        seen.append((self.get_params(), logs, arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(YouTubeDNN, "fit", fit)
    monkeypatch.setattr(retrieve_commands, "read_interactions", lambda logs, **given: (logs, given))
    monkeypatch.setattr(retrieve_commands, "saved_bytes", lambda log, options: 0)
    parameters = {
        "embedding_dim": 7, "history_length": 3, "num_sampled": 9, "sampler": "mixed",
        "distortion": 0.5, "temperature": 0.25, "optimizer": "sgd", "learning_rate": 0.5,
        "l2": 0.125, "batch_size": 32, "epochs": 2, "validation": 0.5, "early_stopping": 4,
        "num_threads": 1, "seed": 8,
    }
    names = {"user": "who", "item": "what", "timestamp": "when"}
    flags = as_flags(parameters | {f"{name}_column": column for name, column in names.items()})
    with pytest.raises(SystemExit):
        run(
            "train", "a", "b", "-o", "m", *flags, "--hidden-units", "5,6", "--no-normalize",
            "--no-subtract-log-q", "--user-features", "x,y", "--item-features", "z",
            "--checkpoint", "folder", "--checkpoint-minutes", "2.5", "--resume", "--quiet",
        )
    with pytest.raises(SystemExit):
        run("train", "a", "-o", "m", "--no-timestamp")
    with pytest.raises(SystemExit):
        run("train", "a", "-o", "m", "--ray", "head:6379", "--workers", "3", "--blocks-per-round", "16")
    params, logs, arguments = seen[0]
    assert params == parameters | names | {
        "hidden_units": (5, 6), "normalize": False, "subtract_log_q": False,
        "user_features": ("x", "y"), "item_features": ("z",),
    }
    assert logs == (["a", "b"], {
        **names, "user_features": ["x", "y"], "item_features": ["z"], "progress": False,
    })
    assert arguments == {
        "checkpoint": "folder", "checkpoint_minutes": 2.5, "resume": True, "progress": False,
        "cluster": None,
    }
    params, logs, arguments = seen[1]
    assert params == YouTubeDNN().get_params() | {"timestamp": None}
    assert logs[1]["timestamp"] is None
    assert arguments["progress"] == "auto"
    assert seen[2][2]["cluster"] == RayCluster(num_workers=3, blocks_per_round=16, address="head:6379")


def test_recommend_to_standard_output(run, caplog, model):
    """For all users, and for given ones: each once, in the given order."""
    want = rows(model.recommend(k=3))
    lines = run("recommend", "model", "-k", "3")
    assert parsed(csv.reader(io.StringIO("\n".join(lines)), delimiter="\t")) == want
    assert len(want) == len(lines)
    assert lines[3].split("\t")[:3] == ["a, b", want[3][1], "1"]
    users = ["007", "a, b", "004"]
    got = run("recommend", "model", "--users", *users, "007", "--include-seen")
    assert parsed(line.split("\t") for line in got) == rows(
        model.recommend(users, 10, exclude_seen=False)
    )
    assert caplog.messages == []


def test_parts_are_recommended_for_one_after_the_other(run, model, monkeypatch):
    want = run("recommend", "model")
    monkeypatch.setattr(retrieve_commands, "_USERS", 3)
    assert run("recommend", "model") == want


def test_a_model_from_a_larger_machine(run, tmp_path):
    want = run("recommend", "numbered")
    YouTubeDNN.load("numbered").set_params(num_threads=2**20).save("larger")
    assert run("recommend", "larger") == want


def test_recommend_to_files(run, caplog, model, tmp_path):
    want = rows(model.recommend(k=4))
    run("recommend", "model", "-k", "4", "-o", "r.csv")
    with open("r.csv", encoding="utf-8", newline="") as file:
        header, *cells = csv.reader(file)
    assert header == ["user", "item", "rank", "score"]
    assert parsed(cells) == want
    run("recommend", "model", "-k", "4", "-o", "r.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()]
    assert {tuple(entry) for entry in entries} == {("user", "item", "rank", "score")}
    assert parsed(entry.values() for entry in entries) == want
    assert caplog.messages == [f"items for 20 users saved to r.{s}" for s in ("csv", "jsonl")]


@pytest.mark.parametrize(("name", "kind"), [("model", "string"), ("numbered", "int64")])
def test_recommend_to_parquet(name, kind, run, monkeypatch):
    """Written in parts; columns have the types of the keys."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files need pyarrow")
    want = YouTubeDNN.load(name).recommend(k=4)
    monkeypatch.setattr(retrieve_commands, "_USERS", 7)
    run("recommend", name, "-k", "4", "-o", "r.parquet")
    table = parquet.read_table("r.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "user": kind, "item": kind, "rank": "int64", "score": "float",
    }
    assert [tuple(row.values()) for row in table.to_pylist()] == rows(want)


def test_users_who_have_had_everything(run, tmp_path):
    log = {"user": ["a", "a", "b"], "item": ["x", "y", "y"], "timestamp": [1, 2, 3]}
    YouTubeDNN(**OPTIONS).fit(log, progress=False).save("m")
    assert run("recommend", "m", "--users", "a") == []
    run("recommend", "m", "--users", "a", "-o", "r.csv")
    assert (tmp_path / "r.csv").read_text() == "user,item,rank,score\n"
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files need pyarrow")
    run("recommend", "m", "--users", "a", "-o", "r.parquet")
    table = parquet.read_table("r.parquet")
    assert (len(table), str(table.schema.field("item").type)) == (0, "string")


def test_integer_keys(run, refused, numbered):
    want = rows(numbered.recommend([5, -2], 2))
    got = run("recommend", "numbered", "-k", "2", "--users", "5", "-2")
    assert parsed((line.split("\t") for line in got), int) == want
    message = refused("recommend", "numbered", "--users", "5", "ann")
    assert "--users: expected integers in [-2**63, 2**63), as the model's users are, got 'ann'" in message
    for text in ("007", "1_0", "+5", " 5", "\u0665", "5.0", str(2**63)):  # no integers in a log either
        assert f"as the model's users are, got {text!r}" in refused("recommend", "numbered", "--users", text)


def test_users_that_are_not_known(run, caplog, model):
    got = run("recommend", "model", "--users", "nobody", "003", "-k", "2")
    assert parsed(line.split("\t") for line in got) == rows(model.recommend(["nobody", "003"], 2))
    assert caplog.messages == ["1 of 2 users are not known, and get what a newcomer gets: nobody"]
    caplog.clear()
    run("recommend", "model", "--users", *"abcdefg")
    assert caplog.messages[0].startswith("7 of 7 users")
    assert caplog.messages[0].endswith(": a, b, c, d, e, ...")


def test_users_from_files(run, model, tmp_path):
    """Numbers stay strings where the model's keys are: 007 is not 7."""
    arrow = pytest.importorskip("pyarrow", reason="CSV and Parquet files need pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    users = ["007", "a, b", "011", "Zoë \"z\""]
    want = run("recommend", "model", "--users", *users)
    (tmp_path / "u.txt").write_text("\ufeff007\r\na, b\r\n\n011\r\nZoë \"z\"\n007\n", encoding="utf-8")
    (tmp_path / "u.gz").write_bytes(gzip.compress((tmp_path / "u.txt").read_bytes()))
    cells = [[user, "x", 1, "y"] for user in users]
    write_log("u.csv", cells)
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress((tmp_path / "u.csv").read_bytes()))
    write_log("who.csv", cells, ["who", *NAMES[1:]])
    with open("u.tsv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["user"], *([user] for user in users)])
    with open("semicolon.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([NAMES, *cells])
    shutil.copy("u.tsv", "u.tab")
    shutil.copy("u.tsv", "u.dat")
    for name in ("u.txt", "u.gz", "u.csv", "u.csv.gz", "u.tsv", "u.tab", "u.dat", "semicolon.csv"):
        assert run("recommend", "model", "--users-from", name) == want, name
    assert run("recommend", "model", "--users-from", "who.csv", "--user-column", "who") == want
    write_log("plain.csv", cells[1:], cells[0])
    shutil.copy("plain.csv", "plain.txt")
    for name in ("plain.csv", "plain.txt"):
        assert run("recommend", "model", "--users-from", name, "--user-column", "0") == want
    parquet.write_table(arrow.table({"user": users}), "u.parquet", row_group_size=2)
    assert run("recommend", "model", "--users-from", "u.parquet") == want
    parquet.write_table(arrow.table({"user": [4, 5]}), "n.parquet")
    assert run("recommend", "numbered", "--users-from", "n.parquet") == run(
        "recommend", "numbered", "--users", "4", "5"
    )


def test_bad_files_of_users(refused, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"user": [1], "who": ["a"]}), "u.parquet")
    parquet.write_table(arrow.table({"user": ["a", None]}), "null.parquet")
    for name, data in {
        "empty": b"\n\n", "binary": b"\xff\xfd", "u.csv": b"user,item\na,b\nc\n", "none.csv": b"",
        "header.csv": b"user\n", "words": b"4\nfive\n",
    }.items():
        (tmp_path / name).write_bytes(data)
    for name, message in {
        "absent": "No such file or directory: 'absent'",
        "empty": "empty: expected at least one user, got none",
        "header.csv": "header.csv: expected at least one user, got none",
        "binary": "binary: expected text in utf-8, got 2 places that are none",
        "u.csv": "u.csv: expected a CSV file, each row with as many cells as the first, got another one (CSV parse error",
        "none.csv": "none.csv: expected a CSV file, got an empty one",
        "u.parquet": "u.parquet: expected string keys in the column 'user', as the model's users are, got integer",
        "null.parquet": "null.parquet, column 'user', row 1: expected a string or an integer, got null",
    }.items():
        assert message in refused("recommend", "model", "--users-from", name), name
    message = refused("recommend", "model", "--users-from", "u.csv", "--user-column", "who")
    assert "u.csv: expected a column 'who', got none among 'user' (text), 'item' (text)" in message
    message = refused("recommend", "model", "--user-column", "who")
    assert "--user-column: expected --users-from, the file with this column, got none" in message
    message = refused("recommend", "numbered", "--users-from", "words")
    assert "words: expected integers in [-2**63, 2**63), as the model's users are, got 'five'" in message
    message = refused("recommend", "model", "--users-from", "absent", "-o", "r.csv")
    assert "No such file" in message


def test_evaluate(run, refused, model, tmp_path):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    test = [("a, b", "B1", 9, ""), ("003", "B4", 9, ""), ("005", "Ä5", 9, ""), ("new", "Ä1", 9, "")]
    write_log("test.csv", test[:2])
    write_log("more.csv", test[2:])
    arguments = ("evaluate", "model", "test.csv", "more.csv")
    for flags, k, exclude in (
        ([], (10, 50), True), (["-k", "2"], 2, True), (["-k", "1", "3", "--include-seen"], (1, 3), False),
    ):
        want = model.evaluate(columns(test), k, exclude_seen=exclude)
        assert json.loads("\n".join(run(*arguments, *flags, "--json"))) == want
        shown = dict(line.split("\t") for line in run(*arguments, *flags))
        assert list(shown) == list(want)
        assert shown["protocol"] == want["protocol"]
        assert shown["users"] == str(want["users"])
        name = f"HR@{np.max(k)}"
        assert shown[name] == f"{want[name]:.4f}"
    assert "k: expected at least 1, got 0" in refused(*arguments, "-k", "0")
    assert "absent.csv" in refused("evaluate", "model", "absent.csv")
    write_log("other.csv", test, ["who", *NAMES[1:]])
    assert "expected a column 'user'" in refused("evaluate", "model", "other.csv")


@pytest.mark.parametrize("name", ["model", "numbered"])
@pytest.mark.parametrize("suffix", ["parquet", "npz", "safetensors"])
def test_export(name, suffix, run, caplog):
    if suffix != "npz":
        pytest.importorskip({"parquet": "pyarrow"}.get(suffix, suffix), reason="needs the library")
    model = YouTubeDNN.load(name)
    for what, keys, vectors in (
        ("items", model.log_.item_keys, model.item_vectors_),
        ("users", model.log_.user_keys, model.user_vectors()),
    ):
        run("export", name, "-o", f"{what}.{suffix}", *(["--what", what] if what == "users" else []))
        ids, table = load_vectors(f"{what}.{suffix}")
        assert ids.tolist() == keys.take(np.arange(len(keys))).tolist()
        assert table.tobytes() == vectors.tobytes()
    assert caplog.messages == [f"vectors of {what} saved to {what}.{suffix}" for what in ("items", "users")]


def test_what_would_fail_late_fails_early(refused, monkeypatch):
    """It fails before the model or the log is read."""
    assert "--output: expected a file, got the folder dir" in refused("train", "log.csv", "-o", "dir")
    message = refused("train", "no log", "-o", "m", "--resume")
    assert "resume: expected a folder as checkpoint=, got none" in message
    assert "--output: expected a file in a folder" in refused("export", "absent", "-o", "no/v.npz")
    assert "--output: expected a file name that ends in .npz" in refused("export", "absent", "-o", "dir")
    for module in ("pyarrow", "pyarrow.parquet", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    for arguments in (["recommend"], ["export"]):
        message = refused(*arguments, "absent", "-o", "v.parquet")
        assert 'writing .parquet files needs pyarrow: pip install "numba-ss[all]"' in message
    assert "needs safetensors" in refused("export", "absent", "-o", "v.safetensors")


def test_no_input_is_written_over(refused, run, tmp_path):
    """Two results cannot be written to one file either; the message names both arguments."""
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("dir/log.csv")
    (tmp_path / "link").symlink_to("dir/log.csv")
    (tmp_path / "u.csv").write_text("user\n007\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for arguments, first, second in [
        (["train", "dir/log.csv", "-o", "link"], "--output", "LOG"),
        (["train", "dir", "-o", "m", "--history", "dir/log.csv"], "--history", "LOG"),
        (["train", "dir/*.csv", "-o", "dir/../dir/log.csv"], "--output", "LOG"),
        (["train", "dir", "-o", "m", "--checkpoint", "dir"], "--checkpoint", "LOG"),
        (["train", "dir", "-o", "m", "--history", "./m"], "--history", "--output"),
        (["train", "dir", "-o", "m", "--checkpoint", "m"], "--checkpoint", "--output"),
        (["recommend", "model", "--users-from", "u.csv", "-o", "u.csv"], "--output", "--users-from"),
        (["export", "a.npz", "-o", "a.npz"], "--output", "MODEL"),
    ]:
        assert f"{first}: expected another file than {second}, got " in refused(*arguments), arguments
    os.link("model", "hard.npz")
    assert "than MODEL, got hard.npz, which is model" in refused("export", "model", "-o", "hard.npz")
    os.unlink("hard.npz")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_is_no_place_for_a_model(run, refused):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("log.csv")
    run("train", "log.csv", "-o", "m", "--checkpoint", "folder", *FLAGS)
    message = refused("train", "log.csv", "-o", "folder/checkpoint-1.npz", "--checkpoint", "folder", "--resume")
    assert "--output: expected another file than --checkpoint" in message
    with pytest.raises(ArgumentError, match="checkpoint: expected another file than interactions"):
        YouTubeDNN().fit("dir", checkpoint="dir")


def test_what_was_learned_is_kept_where_it_cannot_be_saved(run, capsys, monkeypatch, tmp_path, model):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("log.csv")
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    real = YouTubeDNN.save

    def full(self, path):
        if str(path) == "out put":
            raise OSError(28, "No space left on device", path)
        real(self, path)

    monkeypatch.setattr(YouTubeDNN, "save", full)
    with pytest.raises(SystemExit) as end:
        run("train", "log.csv", "-o", "out put", *FLAGS, "--user-features", "country")
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device: 'out put'" in last
    command = shlex.split(last.rpartition(" goes there with: ")[2])
    assert command[0] == "mv"
    subprocess.run(command, check=True)
    assert YouTubeDNN.load("out put").item_vectors_.tobytes() == model.item_vectors_.tobytes()


def test_the_last_finished_epoch_of_a_failed_training_is_saved(run, refused, caplog, monkeypatch, model):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("log.csv")
    flags = [*as_flags(OPTIONS | {"epochs": 9}), "--user-features", "country"]
    learn, seen = retrieval_run.RetrievalModel.learn, []
    steps = -(-100 // OPTIONS["batch_size"])

    def diverge(self, *arguments):
        seen.append(0)
        return np.nan if len(seen) > fine else learn(self, *arguments)

    monkeypatch.setattr(retrieval_run.RetrievalModel, "learn", diverge)
    fine = 2
    assert "training diverged in epoch 1" in refused("train", "log.csv", "-o", "got", *flags)
    seen.clear()
    fine = OPTIONS["epochs"] * steps + 1
    with pytest.raises(SystemExit) as end:
        run("train", "log.csv", "-o", "got", *flags)
    assert end.value.code == 2
    assert caplog.messages[-1] == f"the model of epoch {OPTIONS['epochs']} saved to got"
    assert YouTubeDNN.load("got").item_vectors_.tobytes() == model.item_vectors_.tobytes()


def test_a_saved_model_learns_on(run):
    """The result is that of Python; options that are not given keep their old values."""
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    more = [(u, i, t + 100, c) for u, i, t, c in events(7, 3)] + [("new", "ÄX", 200, "X")]
    write_log("more.csv", more)
    run("update", "model", "more.csv", "-o", "new", "--epochs", "2", "--history", "h.json", "--num-threads", "1")
    want = YouTubeDNN.load("model").set_params(epochs=2, num_threads=1).partial_fit("more.csv", progress=False)
    got = YouTubeDNN.load("new")
    assert got.item_vectors_.tobytes() == want.item_vectors_.tobytes()
    assert got.log_.num_users == 20 + 1
    with open("h.json") as file:
        assert len(json.load(file)) == OPTIONS["epochs"] + 2


def test_an_update_may_be_too_small_to_hold_events_out(run, refused):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    model = YouTubeDNN(**OPTIONS, user_features=["country"], validation=0.1, early_stopping=2)
    model.fit(LOG, progress=False).save("model")
    write_log("more.csv", [("new", "ÄX", 200, "X")])
    assert "validation: expected a share that holds" in refused("update", "model", "more.csv", "-o", "new")
    run("update", "model", "more.csv", "-o", "new", "--no-validation")
    assert len(YouTubeDNN.load("new").history_) == len(model.history_) + OPTIONS["epochs"]


def test_a_model_elsewhere_is_read_through_a_copy(run, tmp_path):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    system = pytest.importorskip("fsspec").filesystem("memory")
    write_log("log.csv")
    for name in ("model", "log.csv"):
        system.pipe(f"/bucket/{name}", (tmp_path / name).read_bytes())
    try:
        for command in (["recommend", "{}model", "-k", "2"], ["evaluate", "{}model", "{}log.csv", "--include-seen"]):
            here, there = ([part.format(place) for part in command] for place in ("", "memory://bucket/"))
            assert run(*there) == run(*here) != []
        run("update", "memory://bucket/model", "memory://bucket/log.csv", "-o", "new", "--epochs", "1")
        assert len(YouTubeDNN.load("new").history_) == OPTIONS["epochs"] + 1
    finally:
        system.store.clear()


def test_an_update_spares_the_model(refused, tmp_path):
    write_log("more.csv")
    before = (tmp_path / "model").read_bytes()
    assert "--output: expected another file than MODEL" in refused("update", "model", "more.csv", "-o", "model")
    assert (tmp_path / "model").read_bytes() == before


def test_a_disk_that_is_too_small_is_found_before_training(refused, monkeypatch):
    pytest.importorskip("pyarrow", reason="CSV files need pyarrow")
    write_log("log.csv")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(YouTubeDNN, "fit", lambda *_, **__: pytest.fail("it began"))
    message = refused("train", "log.csv", "-o", "got", *FLAGS, "--user-features", "country")
    assert "--output: expected room for the model, 0.0" in message


def test_recommendations_go_to_a_device_too(run):
    if not os.path.exists("/dev/null"):
        pytest.skip("no such device")
    os.symlink("/dev/null", "r.csv")
    run("recommend", "model", "-o", "r.csv")
    assert os.path.islink("r.csv")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_from_log_to_recommendations_in_the_shell(suffix, model, tmp_path):
    """Each command runs in a process of its own."""
    arrow = pytest.importorskip("pyarrow", reason="tables need pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    log, found = tmp_path / f"log.{suffix}", tmp_path / f"found.{suffix}"
    if suffix == "csv":
        write_log(log)
    else:
        parquet.write_table(arrow.table(LOG), log)
    saved = tmp_path / "shell"
    for arguments in (
        ["train", log, "-o", saved, *FLAGS, "--user-features", "country"],
        ["recommend", saved, "-k", "3", "-o", found],
    ):
        process = start("retrieve", *arguments, "--quiet" if arguments[0] == "train" else "-k3")
        out, err = process.communicate()
        assert (process.returncode, out) == (0, b""), err
    if suffix == "csv":
        with open(found, encoding="utf-8", newline="") as file:
            got = parsed(list(csv.reader(file))[1:])
    else:
        got = [tuple(row.values()) for row in parquet.read_table(found).to_pylist()]
    assert got == rows(model.recommend(k=3))
