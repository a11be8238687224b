"""Pipes, standard input, and paths with a scheme."""

import io
import os
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from numba_ss import (
    ArgumentError,
    Vocabulary,
    WordVectors,
    load_vectors,
    open_corpus,
    read_interactions,
    save_vectors,
    similarity,
)
from numba_ss.io.copies import Copies, is_stream, remote_files

TEXT = b"the cat sat\non the mat\n"
LOG = "user,item,timestamp\nann,tea,1\nbob,rum,2\n"


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    """Have all copies below a folder that is looked at."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def bucket():
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()

    def put(name, data):
        system.pipe(f"/bucket/{name}", data.encode() if isinstance(data, str) else data)
        return f"memory://bucket/{name}"

    yield put
    system.store.clear()


class Broken(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        raise KeyboardInterrupt


def test_standard_input_is_copied(monkeypatch, temporary):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT)))
    with Copies() as copies:
        path = copies.local("corpus", "-")
        assert path.read_bytes() == TEXT
        assert copies.names == {path: "standard input"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Broken()))
    with pytest.raises(KeyboardInterrupt), Copies() as copies:
        copies.local("corpus", "-")
    assert not list(temporary.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_copied_under_their_names(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    assert is_stream(pipe)
    assert is_stream("-")
    assert not is_stream(tmp_path)
    assert not is_stream("absent\0")

    def used(use):
        writer = threading.Thread(target=pipe.write_text, args=[LOG])
        writer.start()
        result = use()
        writer.join()
        return result

    with Copies() as copies:
        path = used(lambda: copies.local("source", pipe))
        assert path.name == "pipe.csv"
        assert path.read_text() == LOG
    assert used(lambda: read_interactions(pipe, progress=False)).num_events == 2
    pipe = tmp_path / "63"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["cat 1 2\n"])
    writer.start()
    assert WordVectors.load(pipe)["cat"].tolist() == [1, 2]
    writer.join()


def test_a_log_comes_through_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LOG.encode())))
    assert read_interactions("-", progress=False).num_events == 2


def test_a_closed_standard_input(monkeypatch, temporary):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ArgumentError, match="standard input: expected an open one"), Copies() as copies:
        copies.local("corpus", "-")
    assert not list(temporary.iterdir())


def test_what_is_here_is_not_copied(tmp_path, temporary):
    path = tmp_path / "a file.txt"
    path.write_bytes(TEXT)
    table = {"user": [1]}
    with Copies() as copies:
        assert copies.local("corpus", path) is path
        assert copies.local("corpus", [str(path), "absent"]) == [str(path), "absent"]
        assert copies.local("corpus", table) is table
        assert copies.local("corpus", [["a", "b"]]) == [["a", "b"]]
        assert Path(copies.local("corpus", path.as_uri())) == path
        assert copies.local("corpus", "C:\\text.txt") == "C:\\text.txt"
        assert not copies.names
    assert not list(temporary.iterdir())


def test_files_elsewhere_without_the_marks_of_jobs(bucket):
    """They come as from a folder of this machine: "inside/" is before "inside-out"."""
    files = [bucket(f"texts/{name}", TEXT) for name in ("a.txt", "inside/_b.txt", "inside-out.txt")]
    marks = [
        bucket(f"texts/{name}", TEXT)
        for name in ("_SUCCESS", "inside/_committed_1", ".a.txt.crc", ".hidden/c.txt")
    ]
    for path in ("memory://bucket/texts", "memory://bucket/*"):
        assert remote_files("corpus", path) == [file.replace("bucket", "/bucket") for file in files]
    assert remote_files("corpus", marks[0]) == [marks[0]]
    assert remote_files("corpus", "memory://bucket/texts/.hidden") == ["memory:///bucket/texts/.hidden/c.txt"]


def test_corpora_elsewhere(bucket, temporary):
    one = bucket("texts/a.txt", TEXT)
    bucket("texts/inside/b.txt", "a dog sat\n")
    bucket("texts/c.csv", "text,n\nan owl sat,1\n")
    expected = {one: "the", "memory://bucket/texts/*/b.txt": "dog", "memory://bucket/texts/**/*.txt": "dog"}
    for path, word in expected.items():
        opened = open_corpus(path)
        words, _ = opened.count()
        assert word in words
        for _ in range(2):
            assert sum(map(len, opened.encode(Vocabulary.from_words(words)))) >= 4
        assert list(temporary.iterdir())
        del opened
        assert not list(temporary.iterdir())
    assert open_corpus("memory://bucket/texts").count()[1].sum() == 13
    assert open_corpus([one, one]).count()[1].sum() == 12
    assert open_corpus("memory://bucket/texts/c.csv", column="text").count()[0] == ["an", "owl", "sat"]


def test_logs_elsewhere_keep_the_columns_of_their_folders(bucket, temporary):
    bucket("log/day=1/part-0.csv", LOG)
    bucket("log/day=2/part-0.csv", LOG)
    bucket("log/_SUCCESS", "")
    for path in ("memory://bucket/log", "memory://bucket/log/day=*/*.csv"):
        log = read_interactions(path, user_features=["day"], progress=False)
        assert log.num_events == 4
        assert log.user_features["day"].keys.take([0, 1]).tolist() == [1, 2]
    assert not list(temporary.iterdir())


def test_vectors_elsewhere(bucket, tmp_path, temporary):
    vectors = WordVectors(["cat", "dog"], [[1.0, 2.0], [3.0, 5.0]])
    for name in ("v.npz", "v.txt", "v.bin.gz"):
        vectors.save(tmp_path / name)
        path = bucket(name, (tmp_path / name).read_bytes())
        assert WordVectors.load(path)["dog"].tolist() == [3, 5]
    with pytest.raises(ArgumentError, match="mmap: expected False for all but npz files of this"):
        WordVectors.load("memory://bucket/v.npz", mmap=True)
    save_vectors(tmp_path / "ids.npz", [3, 4], vectors.vectors)
    ids, _ = load_vectors(bucket("ids.npz", (tmp_path / "ids.npz").read_bytes()))
    assert ids.tolist() == [3, 4]
    pairs = bucket("pairs.tsv", "cat\tdog\t9\ncat\tcat\t10\n")
    assert similarity(vectors, pairs).num_used == 2
    assert not list(temporary.iterdir())


def test_messages_name_the_path_that_was_asked_for(bucket):
    path = bucket("v.txt", "1 2\ncat 1 nan\n")
    with pytest.raises(ArgumentError, match=r"^memory://bucket/v.txt, line 2: expected finite"):
        WordVectors.load(path)
    path = bucket("log.csv", "user,item,timestamp\nann,tea\n")
    with pytest.raises(ArgumentError, match=r"^memory://bucket/log.csv"):
        read_interactions(path, progress=False)
    with pytest.raises(ArgumentError, match=r"^memory://bucket/t.txt: expected text"):
        open_corpus(bucket("t.txt", b"PK\3\4 and so on")).count()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("memory://bucket/absent.txt", r"corpus: expected a path that.*memory://bucket/absent.txt"),
        ("memory://bucket/*.absent", r"corpus: expected a path that leads to files"),
        ("nothing://bucket/a.txt", r"corpus: expected a path that can be read.*nothing"),
    ],
)
def test_paths_that_lead_nowhere(path, message, bucket, temporary):
    with pytest.raises(ArgumentError, match=message):
        open_corpus(path)
    assert not list(temporary.iterdir())


def test_packages_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"reading s3:// paths needs fsspec: pip install"):
        open_corpus("s3://bucket/text.txt")


def test_names_elsewhere_do_not_lead_out_of_the_folder(bucket, temporary):
    system = pytest.importorskip("fsspec").filesystem("memory")
    system.store["/bucket/x/../../../../evil.txt"] = system.store.pop(
        "/" + bucket("a.txt", TEXT).partition("://")[2]
    )
    with Copies() as copies:
        copy = copies._copy("corpus", "memory://bucket", copies._place(), system, "/bucket/x/../../../../evil.txt")
        assert temporary in copy.parents


def test_room_is_looked_at_before_anything_is_copied(bucket, monkeypatch):
    path = bucket("a.txt", TEXT)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 5}))
    with pytest.raises(ArgumentError, match=r"a.txt: expected room for a copy in .*TMPDIR"):
        open_corpus(path)


def test_without_any_temporary_folder(bucket, monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    path = bucket("a.txt", TEXT)
    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(ArgumentError, match="the variable TMPDIR: expected the name of a folder"):
        open_corpus(path)


def test_archives_through_chained_schemes(tmp_path):
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.txt", TEXT)
    assert open_corpus(f"zip://*.txt::{tmp_path / 'texts.zip'}").count()[1].sum() == 12


def test_the_web(tmp_path, monkeypatch):
    pytest.importorskip("aiohttp")
    fsspec = pytest.importorskip("fsspec")
    asked = []

    def noted(path, **options):
        asked.append(options)
        return original(path, **options)

    original = fsspec.core.url_to_fs
    monkeypatch.setattr(fsspec.core, "url_to_fs", noted)
    (tmp_path / "a b.txt").write_bytes(TEXT)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert open_corpus(f"{address}/a%20b.txt?key=1/2").count()[1].sum() == 6
        (tmp_path / "v.txt").write_text("cat 1 2\n")
        assert WordVectors.load(f"{address}/v.txt?key=1/2.bin")["cat"].tolist() == [1, 2]
        with pytest.raises(ArgumentError, match=r"expected a path that can be read.*not found"):
            open_corpus(f"{address}/absent.txt")
        server.shutdown()
    assert {options["client_kwargs"]["timeout"].total for options in asked} == {None}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_leaves_the_copies(bucket, temporary):
    copies = Copies()
    path = copies.local("corpus", bucket("a.txt", TEXT))
    child = os.fork()
    if not child:
        copies.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()
    copies.close()
    assert not path.exists()
