"""text_files.py: which files, their bytes as one stream, and blocks of it."""

import bz2
import gzip
import lzma
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import ArgumentError, _optional
from numba_ss.io import text_files
from numba_ss.io.text_files import (
    BlockReader,
    TextFiles,
    UnchangedFile,
    read_ahead,
)

TEXT = "any text, über 中\n".encode() * 5000


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def write(folder, name, data=b"x"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def read(*paths, encoding=None):
    return b"".join(piece for piece, _ in TextFiles(paths, encoding).pieces())


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_files(suffix, tmp_path):
    compress = COMPRESS[suffix]
    path = write(tmp_path, "text" + suffix, compress(TEXT) + compress(b"") + compress(b"more"))
    assert read(path) == TEXT + b"more\n"
    assert read(write(tmp_path, "UPPER" + suffix.upper(), compress(b"a"))) == b"a\n"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_files_of_other_names(suffix, tmp_path):
    assert read(write(tmp_path, "corpus.txt", COMPRESS[suffix](TEXT))) == TEXT + b"\n"
    assert read(write(tmp_path, "corpus", COMPRESS[suffix](b""))) == b"\n"


def test_words_may_begin_as_a_compressed_file_does(tmp_path):
    assert read(write(tmp_path, "a.txt", b"BZh is a word\n")) == b"BZh is a word\n\n"


def test_zstd_of_a_long_window(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(TEXT) + compressor.flush()
    assert read(write(tmp_path, "text.zst", data)) == TEXT + b"\n"


TAR = bytes(257) + b"ustar\x0000" + bytes(500)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4" + bytes(30), "a zip archive: unpack it"),
        (TAR, "a tar archive: unpack it"),
        (gzip.compress(TAR, mtime=0), "a tar archive: unpack it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture: leave it out"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"%PDF-1.7\n", "a PDF document: .*pdftotext"),
        (b"\x80\x04\x95" + bytes(9), "a Python pickle, which is never opened"),
        (gzip.compress(gzip.compress(b"a b", mtime=0), mtime=0), "a compressed file in a compressed one: decompress it once"),
        (b"\xff\xff\xff\xff" + bytes(40), r"an Arrow stream: pyarrow\.ipc\.open_stream"),
        (gzip.compress(b"PAR1" + bytes(30), mtime=0), "a Parquet file in a compressed one"),
    ],
)
def test_what_is_no_text_is_refused_by_what_it_is(data, message, tmp_path):
    path = write(tmp_path, "corpus.txt", data)
    with pytest.raises(ArgumentError, match=rf"corpus\.txt: expected text, got {message}"):
        read(path)


def test_bytes_of_no_kind_are_refused(tmp_path, rng):
    path = write(tmp_path, "noise.txt", rng.bytes(100_000))
    with pytest.raises(ArgumentError, match=r"noise\.txt: expected text in utf-8, got \d+ places"):
        read(path)


@pytest.mark.parametrize("data", ["le café est là\n".encode("latin-1"), "the cat\n".encode("utf-16-le")])
def test_small_files_in_other_encodings_are_refused(data, tmp_path):
    with pytest.raises(ArgumentError, match="expected text in utf-8"):
        read(write(tmp_path, "t.txt", data))
    assert read(write(tmp_path, "t.txt", b"long enough for one \xe9\n")) != data


def test_strict_files_have_no_byte_that_is_no_text(tmp_path):
    path = write(tmp_path, "keys", b"a key\n" * 10_000 + b"another \xe9\n")
    assert read(path)
    with pytest.raises(ArgumentError, match="keys: expected text in utf-8, got 1 places"):
        list(TextFiles([path], strict=True).pieces())


WORDS = {"cp1252": "café où thè\n", "gb18030": "今天 天气 很好\n", "utf-16": "the cat\n", "utf-16-le": "où\n"}


@pytest.mark.parametrize("encoding", WORDS)
@pytest.mark.parametrize("piece", [1, 3, 2**20])
def test_other_encodings(encoding, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "PIECE", piece)
    text = WORDS[encoding] * 500
    path = write(tmp_path, "t.txt", text.encode(encoding))
    assert read(path, encoding=encoding).decode() == text + "\n"
    if encoding == "utf-16":  # its byte order mark tells
        assert read(path).decode() == text + "\n"
    else:
        hint = "utf-16-le" if encoding == "utf-16-le" else "encoding= .*cp1252"
        with pytest.raises(ArgumentError, match=rf"t\.txt: expected text in utf-8, .*{hint}"):
            read(path)


def test_a_mark_that_is_missing_is_told_with_the_file_s_name(tmp_path):
    path = write(tmp_path, "t.txt", b"the cat sat")
    with pytest.raises(ArgumentError, match=r"t\.txt: expected text in utf-16, got UTF-16 stream"):
        read(path, encoding="utf-16")


def test_a_few_bytes_that_are_no_text_are_replaced_and_told_of_once(tmp_path, caplog):
    text = "ein Wort von vielen, \ufffd\n" * 1000
    paths = [write(tmp_path, name, text.encode()) for name in "abc"]
    paths[1].write_bytes(b"\xe4\xff" + text.encode() + b"\xe4")
    files = TextFiles(paths)
    for _ in range(2):
        got = b"".join(piece for piece, _ in files.pieces()).decode()
        assert got == f"{text}\n\ufffd\ufffd{text}\ufffd\n{text}\n"
    (message,) = caplog.messages
    assert message == f"{paths[1]}: 3 places that are no text were replaced, in 1 of 3 files"
    paths[2].write_bytes(b"\xe4" * 200 + text.encode())
    with pytest.raises(ArgumentError, match="c: expected text in utf-8, got 200 places"):
        read(*paths)


def test_many_small_files_in_another_encoding_are_refused(tmp_path):
    """Each alone has so few bytes that are no text that it would pass."""
    text = "mañana es otro día, y ya veremos lo que nos trae si no llueve tanto\n".encode("cp1252")
    paths = [write(tmp_path, str(i), text) for i in range(30)]
    assert b"\n" in read(*paths[:3])
    with pytest.raises(ArgumentError, match=r"0: expected text in its encoding, got 60 places .* 30 of 30 files"):
        read(*paths)
    assert "mañana".encode() in read(*paths, encoding="cp1252")


@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()])
def test_text_without_blanks_is_refused_before_it_fills_the_memory(compress, tmp_path):
    """A few KB decompress to much text, which is checked piece by piece."""
    path = write(tmp_path, "t.txt", compress(b"a b\n" + b"x" * 2**25))
    seen = []
    with pytest.raises(ArgumentError, match=r"t\.txt: expected a blank or a line end every 1048576"):  # noqa: PT012
        for piece, _ in TextFiles([path]).pieces():
            seen.append(len(piece))
    assert sum(seen) < 2**24
    longest = b"x" * text_files.LONGEST_WORD
    assert read(write(tmp_path, "u.txt", longest + b" " + longest)) == longest + b" " + longest + b"\n"


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "halved", "changed", "text"])
def test_damaged_files_are_named(suffix, damage, tmp_path):
    data = COMPRESS[suffix](TEXT)
    middle = len(data) // 2
    data = {
        "cut": data[:-1],
        "halved": data[:middle],
        "changed": data[:middle] + bytes(255 - byte for byte in data[middle:]),
        "text": TEXT,
    }[damage]
    path = write(tmp_path, "text" + suffix, data)
    with pytest.raises(ArgumentError, match=rf"text\{suffix}: expected a sound \{suffix} file"):
        read(path)


def test_reading_zst_without_its_library(tmp_path, monkeypatch):
    path = write(tmp_path, "text.zst")

    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(_optional, "import_module", missing)
    with pytest.raises(ImportError, match=r"zst.* needs zstandard"):
        read(path)


def test_errors_of_the_system_name_the_file(tmp_path, monkeypatch):
    def broken(raw, kind):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(text_files, "_decompress", broken)
    with pytest.raises(OSError, match=r"Input/output error: .*disk.txt"):
        read(write(tmp_path, "disk.txt"))


def test_errors_of_plain_files_are_their_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        read(tmp_path / "gone")


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 2**20])
def test_each_file_ends_with_a_newline_and_loses_its_bom(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "PIECE", piece)
    bom = b"\xef\xbb\xbf"
    files = [bom + b"a b", b"", bom, bom + bom + b"c", b"\xef\xbb", b"d\n", b"e\n" + bom + b"f" + bom]
    paths = [write(tmp_path, str(i), data) for i, data in enumerate(files)]
    files_ = TextFiles(paths)
    assert files_.total() == sum(map(len, files))
    pieces = list(files_.pieces())
    assert b"".join(data for data, _ in pieces) == b"a b\n\n\n" + bom + b"c\n\xef\xbf\xbd\nd\n\ne\nf" + bom + b"\n"
    positions = [position for _, position in pieces]
    assert positions == sorted(positions)
    assert positions[-1] == sum(map(len, files))


def test_a_file_that_changes_is_refused(tmp_path):
    path = write(tmp_path, "text")
    file = UnchangedFile(path)
    assert file.check() == file.check() == 1
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArgumentError, match=r"text: expected the file that the first pass read"):
        file.check()
    file, _ = UnchangedFile(path), path.write_bytes(b"longer")
    assert file.check() == 6
    path.write_bytes(b"short")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArgumentError, match="text: expected the file that the first pass read"):
        file.check()


def numbered(count, log):
    try:
        for i in range(count):
            log.append((i, threading.current_thread().name))
            yield b"%d" % i, i
    finally:
        log.append("closed")


def test_read_ahead_is_the_same_but_on_another_thread():
    log = []
    assert list(read_ahead(numbered(5, log))) == list(numbered(5, []))
    assert {name.startswith("numba_ss-reader") for _, name in log[:-1]} == {True}
    assert log[-1] == "closed"
    log.clear()
    ahead = read_ahead(numbered(5, log))
    next(ahead)
    ahead.close()
    assert log[-1] == "closed"
    assert [entry[0] for entry in log[:-1]] == [0, 1]


def test_read_ahead_does_without_a_thread_where_there_is_none(monkeypatch):
    def none(self, function):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(text_files.ThreadPoolExecutor, "submit", none)
    assert list(read_ahead(numbered(5, []))) == list(numbered(5, []))


def test_read_ahead_passes_errors_on():
    def failing():
        yield b"a", 1
        raise ArgumentError("here")

    ahead = read_ahead(failing())
    assert next(ahead) == (b"a", 1)
    with pytest.raises(ArgumentError, match="here"):
        next(ahead)


@given(st.lists(st.binary(max_size=9), max_size=20), st.integers(1, 12), st.data())
def test_blocks_are_the_stream(pieces, size, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK", size)
        patch.setattr(text_files, "PIECE", 1)
        reader = BlockReader(((piece, i) for i, piece in enumerate(pieces)))
        seen, done = b"", 0
        while reader.fill(done):
            assert reader.stop <= len(reader.block) - text_files.PADDING
            done = data.draw(st.integers(0, reader.stop))
            seen += reader.block[:done].tobytes()
        assert seen + reader.block[: reader.stop].tobytes() == b"".join(pieces)
        assert reader.position == max(len(pieces) - 1, 0)


def test_a_word_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK", 8)
    monkeypatch.setattr(text_files, "PIECE", 8)
    monkeypatch.setattr(text_files, "_LARGEST_BLOCK", 64)
    reader = BlockReader((b"x" * 8, i) for i in range(100))
    with pytest.raises(ArgumentError, match="words of less than 32 bytes"):  # noqa: PT012
        while True:
            reader.fill(0)


@given(st.binary(max_size=30), st.binary(max_size=9))
def test_repair(data, more):
    """The next block may complete the last character only."""
    reader = BlockReader(iter([(data, 1), (more, 2)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK", 1)
        reader.fill(0)
        reader.repair()
        reader.fill(0)
    reader.repair()
    reader.fill(0)
    got = reader.block[: reader.stop].tobytes()
    assert got.decode("utf-8", "replace") == (data + more).decode("utf-8", "replace")
