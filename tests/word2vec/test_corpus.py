"""corpus.py: every form gives the same words, counts and ids, and says what is wrong."""

import csv
import gc
import gzip
import io
import json
import os
import re
import threading
from collections import Counter, deque
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from numba_ss import ArgumentError, _optional
from numba_ss.io import decoding, text_files
from numba_ss.kernels.core.threads import max_num_threads, use_threads
from numba_ss.word2vec import corpus
from numba_ss.word2vec.corpus import PackedCorpus, SentenceCorpus, open_corpus, open_validation
from numba_ss.word2vec.vocabulary import Vocabulary
from tests.conftest import JIT

SENTENCES = [
    ["the", "cat"], [], ["rare"], ["über", "中文", "the", "cat", "\0"], ["the"], [],
    ["a_word_of_more_than_fifteen_bytes", "the", "rare2"], ["7", "cat"],
]
LINES = [" ".join(sentence) for sentence in SENTENCES]
KNOWN = {"the": 4, "cat": 3, "über": 1, "7": 1, "a_word_of_more_than_fifteen_bytes": 1, "\0": 1, "中文": 1}


def rule_of(data):
    """Return the sentences of a file: the rule of tokens, word for word."""
    lines = (line.removeprefix(b"\xef\xbb\xbf") for line in data.split(b"\n"))
    return [line.decode("utf-8", "replace").split() for line in lines]


def ids_of(sentences, index):
    ids = []
    for sentence in sentences:
        known = [index[word] for word in sentence if word in index]
        ids += [*known, -1] if known else []
    return ids


def stream(opened, vocabulary):
    arrays = list(opened.encode(vocabulary))
    assert all(array.dtype == np.int32 for array in arrays)
    assert {len(array) for array in arrays[:-1]} <= {corpus.STREAM_SIZE}
    return np.concatenate([*arrays, np.zeros(0, np.int32)]).tolist()


class Again:
    """What can be iterated over as often as one likes."""

    def __init__(self, sentences):
        self.sentences = sentences

    def __iter__(self):
        return iter(self.sentences)


class OldStyle:
    def __init__(self, sentences):
        self.sentences = sentences

    def __len__(self):
        return len(self.sentences)

    def __getitem__(self, i):
        return self.sentences[i]


def packed(sentences):
    words = sorted({word for sentence in sentences for word in sentence}, reverse=True)
    ids = [words.index(word) for sentence in sentences for word in sentence]
    offsets = np.cumsum([0, *map(len, sentences)])
    return np.array(ids, np.uint16), offsets.astype(np.int64), words


def text_forms(folder):
    data = "\n".join(LINES).encode()
    crlf = "\r\n".join(LINES).encode()
    (folder / "corpus.txt").write_bytes(data)
    (folder / "crlf.txt").write_bytes(b"\xef\xbb\xbf" + crlf + b"\r\n")
    (folder / "corpus.gz").write_bytes(gzip.compress(data))
    (folder / "parts").mkdir(exist_ok=True)
    for i, line in enumerate(LINES):
        (folder / "parts" / f"{i}.txt").write_bytes(line.encode())
    return {
        "text": folder / "corpus.txt",
        "str": str(folder / "corpus.txt"),
        "crlf": folder / "crlf.txt",
        "gz": folder / "corpus.gz",
        "folder": folder / "parts",
        "pattern": str(folder / "parts" / "*.txt"),
        "paths": [folder / "parts" / f"{i}.txt" for i in range(8)],
        "strings": tuple(str(folder / "parts" / f"{i}.txt") for i in range(8)),
    }


def object_array(sentences):
    array = np.empty(len(sentences), object)
    array[:] = sentences
    return array


def token_forms():
    return {
        "list": SENTENCES,
        "tuples": tuple(map(tuple, SENTENCES)),
        "iterable": Again(SENTENCES),
        "generators": Again([deque(sentence) for sentence in SENTENCES]),
        "getitem": OldStyle(SENTENCES),
        "objects": object_array(SENTENCES),
        "numpy": [np.array(sentence, str) for sentence in SENTENCES[:3]] + SENTENCES[3:],
        "packed": PackedCorpus(*packed(SENTENCES)),
    }


def arrow_forms(folder):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    lists = pa.array(SENTENCES)
    table = pa.table({"id": range(8), "words": lists})
    dictionary = pa.array(sorted({word for s in SENTENCES for word in s}, reverse=True)).dictionary_encode()
    index = {word: i for i, word in enumerate(dictionary.dictionary.to_pylist())}
    codes = pa.array([index[word] for s in SENTENCES for word in s], pa.int32())
    coded = pa.ListArray.from_arrays(
        lists.offsets, pa.DictionaryArray.from_arrays(codes, dictionary.dictionary)
    )
    lines = pa.array([*LINES[:5], None, LINES[6].replace(" ", "\n"), LINES[7]])
    parquet.write_table(table, folder / "words.parquet", row_group_size=3)
    (folder / "many.parquet").mkdir(exist_ok=True)
    for i in range(0, 8, 3):
        parquet.write_table(table[i : i + 3], folder / "many.parquet" / f"{i}.parquet")
    parquet.write_table(pa.table({"text": lines}), folder / "lines.parquet")
    return {
        "table": table,
        "chunks": pa.concat_tables([table[:3], table[3:]]),
        "column": table["words"],
        "large": pa.table({"w": lists.cast(pa.large_list(pa.large_string()))}),
        "coded": pa.table({"w": coded}),
        "null row": pa.table({"w": pa.array([s or None for s in SENTENCES])}),
        "lines": pa.table({"n": [None] * 8, "text": lines}),
        "large lines": pa.table({"text": lines.cast(pa.large_string())}),
        "coded lines": pa.table({"text": lines.dictionary_encode()}),
        "parquet": folder / "words.parquet",
        "parquet folder": folder / "many.parquet",
        "parquet paths": [folder / "many.parquet" / f"{i}.parquet" for i in (0, 3, 6)],
        "parquet lines": str(folder / "lines.parquet"),
    }


def frames():
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    return {
        "polars": polars.DataFrame({"n": range(8), "words": SENTENCES}),
        "polars series": polars.Series(SENTENCES),
        "polars lines": polars.DataFrame({"text": LINES}),
        "pandas": pandas.DataFrame({"n": range(8), "words": SENTENCES}),
        "pandas series": pandas.Series(SENTENCES),
        "pandas lines": pandas.DataFrame({"text": LINES}),
    }


def check_forms(forms):
    vocabulary = Vocabulary.from_words(list(KNOWN), list(KNOWN.values()))
    want = Counter(word for sentence in SENTENCES for word in sentence)
    for name, form in forms.items():
        opened = open_corpus(form)
        words, counts = opened.count()
        assert dict(zip(words, counts.tolist(), strict=True)) == want, name
        assert counts.dtype == np.int64, name
        assert {type(word) for word in words} == {str}, name
        for _ in range(2):
            assert stream(opened, vocabulary) == ids_of(SENTENCES, vocabulary.index), name


def test_text_forms_are_the_same_stream(tmp_path):
    check_forms(text_forms(tmp_path))


def test_token_forms_are_the_same_stream():
    check_forms(token_forms())


@pytest.mark.parametrize("part", [1, 100, 2**23])
def test_arrow_forms_are_the_same_stream(part, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_PART", part)
    check_forms(arrow_forms(tmp_path))


def test_frames_are_the_same_stream():
    check_forms(frames())


def test_standard_input_is_read_once_and_removed(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode())))
    opened = open_corpus("-")
    assert opened.name == "standard input"
    check_forms({"stdin": opened})
    assert len(list(tmp_path.iterdir())) == 1
    del opened
    gc.collect()
    assert not list(tmp_path.iterdir())


# What is rare in random text: whitespace of all widths, and bytes that are no UTF-8.
PARTS = [
    b"a", b"b", b"a_word_of_more_than_fifteen_bytes", b" ", b"\n", b"\r", b"\0", b"\xc2\xa0",
    b"\xe2\x80\x83", b"\xe3\x80\x80", b"\xef\xbf\xbd", b"\xef\xbb\xbf", b"\xd0\xb6", b"\xe2", b"\x80",
    b"\xff", b"\xf0\x9f", b"\xed\xa0\x80",
]
texts = st.lists(st.sampled_from(PARTS) | st.binary(max_size=4), max_size=40).map(b"".join)


def check_text(path, data, num_threads=1):
    sentences = rule_of(data)
    want = Counter(word for sentence in sentences for word in sentence)
    opened = open_corpus(path)
    with use_threads(num_threads):
        if not want:
            with pytest.raises(ArgumentError, match="expected at least one word, got none"):
                opened.count()
            return
        words, counts = opened.count()
        assert list(words) == list(dict.fromkeys(word for s in sentences for word in s))
        assert dict(zip(words, counts.tolist(), strict=True)) == want
        vocabulary = Vocabulary.from_words(words[::2])
        assert stream(opened, vocabulary) == ids_of(sentences, vocabulary.index)


@given(texts, st.integers(1, 20), st.integers(1, 20), st.integers(1, 7), st.booleans())
@example(b"\xef\xbb\xbfa\n\xef\xbb\xbf\xef\xbb\xbfb\n\xef\xbb" * 3, 4, 3, 5, True)
@example(b"a\xe2\x80 \xe2\x80\x83b\xff\xfe\n" * 3, 4, 3, 5, True)
def test_any_bytes_are_split_by_the_rule(tmp_path_factory, data, block, piece, size, parallel):
    path = tmp_path_factory.getbasetemp() / "fuzz.txt"
    data = b"\n" + data  # or it may begin as files of other kinds do
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK", block)
        patch.setattr(text_files, "PIECE", piece)
        patch.setattr(decoding, "_SHARE", 1)
        patch.setattr(corpus, "STREAM_SIZE", size)
        check_text(path, data, max_num_threads() if parallel else 1)


@pytest.mark.parametrize("num_threads", range(1, max_num_threads() + 1))
def test_words_of_many_blocks(num_threads, tmp_path, monkeypatch, rng):
    monkeypatch.setattr(text_files, "BLOCK", 2**12)
    monkeypatch.setattr(text_files, "PIECE", 2**11)
    length = 70_000 if JIT else 7_000
    long = ["x" * length, "x" * (length - 1) + "y", "中" * (length // 2)]
    words = [f"w{i}" for i in rng.zipf(1.3, length // 20) % 1000]
    words[100:100], words[200:200] = long, long[::-1]
    data = " ".join(words).encode() + b"\xff tail"
    (tmp_path / "long.txt").write_bytes(data)
    check_text(tmp_path / "long.txt", data, num_threads)


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=12), st.integers(1, 5))
def test_sentences_across_arrays_and_blocks(sentences, size):
    sentences = [[str(i) for i in sentence] for sentence in sentences]
    vocabulary = Vocabulary(["3", "0", "x", "5"], [4, 3, 2, 1])
    ids = np.array([int(word) for sentence in sentences for word in sentence], np.int64)
    offsets = np.cumsum([0, *map(len, sentences)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "STREAM_SIZE", size)
        patch.setattr(corpus, "_BATCH", size)
        patch.setattr(corpus, "_SENTENCES", 2)
        want = ids_of(sentences, vocabulary.index)
        for form in (sentences, (ids, offsets)):
            opened = open_corpus(form)
            assert stream(opened, vocabulary) == want
            with suppress(ArgumentError):  # there is no word
                words, counts = opened.count()
                got = dict(zip(words, counts.tolist(), strict=True))
                assert got == Counter(word for sentence in sentences for word in sentence)


def test_packed_memory_maps_and_words(tmp_path):
    ids, offsets, words = packed(SENTENCES)
    for name, array in (("ids", ids), ("offsets", offsets)):
        np.save(tmp_path / f"{name}.npy", array)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ids", "offsets")]
    check_forms({"maps": PackedCorpus(*maps, words)})
    decimal = open_corpus(tuple(maps))
    assert isinstance(decimal, PackedCorpus)
    got, counts = decimal.count()
    assert got == [str(i) for i in range(len(words))]
    assert counts.tolist() == np.bincount(ids).tolist()
    vocabulary = Vocabulary(["2", "01", "٣", "4294967296", "9" * 5000, "0", "1e1"], range(7))
    assert set(stream(decimal, vocabulary)) == {0, 5, -1}


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.uint64])
def test_packed_ids_of_any_type(kind):
    largest = min(np.iinfo(kind).max, 2**31 - 2)
    ids = np.array([largest, 0, largest], kind)
    found = stream(PackedCorpus(ids, np.array([0, 3])), Vocabulary(["0", str(largest)], [1, 2]))
    assert found == [1, 0, 1, -1]


BAD_PACKED = [
    ([3, 1], [0, 2], "ids: expected an ndarray of integers, got list"),
    (np.ones(2), np.array([0, 2]), "ids: expected an ndarray of integers, got float64"),
    (np.ones((2, 1), int), np.array([0, 2]), r"ids: expected shape \(num_ids,\)"),
    (np.ones(2, int), np.array([0.0, 2]), "offsets: expected an ndarray of integers"),
    (np.ones(2, int), np.array([], int), "offsets: expected 0 first and num_ids = 2 last, got none"),
    (np.ones(2, int), np.array([1, 2]), r"offsets: .* got 1 \.\.\. 2"),
    (np.ones(2, int), np.array([0, 3]), r"offsets: .* got 0 \.\.\. 3"),
    (np.ones(2, int), np.array([0, 2, 1, 2]), r"offsets that do not fall, got 2, 1 at offsets\[1:3\]"),
]


@pytest.mark.parametrize(("ids", "offsets", "message"), BAD_PACKED)
def test_bad_packed_ids(ids, offsets, message, monkeypatch):
    monkeypatch.setattr(corpus, "STREAM_SIZE", 1)
    with pytest.raises(ArgumentError, match=message):
        PackedCorpus(ids, offsets)


def test_a_tuple_of_arrays_is_packed_where_one_has_integers():
    with pytest.raises(ArgumentError, match="offsets: expected an ndarray of integers, got float64"):
        open_corpus((np.array([0, 0]), np.array([0.0, 2])))
    words, counts = open_corpus((np.array(["a", "b"]), np.array(["a", "c"]))).count()
    assert (words, counts.tolist()) == (["a", "b", "c"], [2, 1, 1])


@pytest.mark.parametrize(
    ("ids", "words", "message"),
    [
        ([0, 1, 2], ["a", "b"], r"ids in \[0, num_words\) = \[0, 2\), got 2 at ids\[2\]"),
        ([0, -1], None, r"ids in \[0, 2\*\*31 - 1\) = \[0, 2147483647\), got -1 at ids\[1\]"),
        ([2**31 - 1], None, r"got 2147483647 at ids\[0\]"),
    ],
)
def test_ids_out_of_range(ids, words, message, monkeypatch):
    monkeypatch.setattr(corpus, "STREAM_SIZE", 2)
    opened = PackedCorpus(np.array(ids), np.array([0, len(ids)]), words)
    for read in (opened.count, lambda: list(opened.encode(Vocabulary(["0"], [1])))):
        with pytest.raises(ArgumentError, match=message):
            read()
    with pytest.raises(ArgumentError, match=r"words: .*'a' 2 times"):
        PackedCorpus(np.array([0]), np.array([0, 1]), ["a", "a"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "corpus: expected a path, paths, .* got NoneType"),
        (b"text.txt", "got bytes"),
        ({"a": 1}, "got dict"),
        (3, "got int"),
        (SimpleNamespace(tocsr=None), "got SimpleNamespace, a sparse matrix: words have an order"),
        (SimpleNamespace(collect=None), r"got SimpleNamespace; its collect\(\) is a table"),
        ({("a", "b")}, "got set, whose order is another in every process: give a list"),
        (lambda: [["a"]], "got function: call it in the __iter__ of a class"),
        (iter([["a"]]), "got list_iterator, which can be read once only: give a list, a file"),
        ("the cat sat", "corpus: expected a file, .*sentences are lists of words.*'the cat sat'"),
        (["the cat sat", "on the mat"], r"corpus\[0\]: expected a file.*sentences are lists of words"),
    ],
)
def test_what_is_no_corpus(value, message):
    with pytest.raises(ArgumentError, match=message):
        open_corpus(value)
    with pytest.raises(ArgumentError, match="passes"):
        open_corpus([["a"]], passes=0)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (Again(["the cat", "sat"]), r"corpus\[0\]: expected a list of words, got the string 'the cat', .* letter by"),
        ([["a"], "the cat"], r"corpus\[1\]: expected a list of words, got the string"),
        ([["a"], ["b", 7.0]], r"corpus\[1\]\[1\]: expected a string or an integer, got 7\.0"),
        ([["a"], ["b", True]], r"corpus\[1\]\[1\]: expected a string or an integer, got True"),
        ([["a"], ("b", None)], r"corpus\[1\]\[1\]: expected a string or an integer, got None"),
        ([["a"], ["b", ["c"]]], r"corpus\[1\]\[1\]: expected a string or an integer, got \['c'\]"),
        ([["a"], {"b", "c"}], r"corpus\[1\]: .* got set, whose order is another in every process"),
        ([["a"], frozenset("bc")], r"corpus\[1\]: .* got frozenset, whose order"),
        ([["a"], 5], r"corpus\[1\]: expected a list of words, got int"),
        ([["a"], {"b": 1}], r"corpus\[1\]: expected a list of words, got dict"),
        ([b"abc"], r"corpus\[0\]: expected a list of words, got bytes"),
        (np.array([[1.0, 2]]), r"corpus\[0\]\[0\]: expected a string or an integer, got np.float64\(1"),
    ],
)
def test_sentences_that_are_none(sentences, message):
    opened = open_corpus(sentences)
    for read in (opened.count, lambda: list(opened.encode(Vocabulary(["a"], [1])))):
        with pytest.raises(ArgumentError, match=message):
            read()


def test_integers_are_words_in_decimal_digits():
    sentences = [[3, "a", np.int64(12)], np.array([12, -1], np.int16), ["3"]]
    opened = open_corpus(sentences)
    words, counts = opened.count()
    assert (words, counts.tolist()) == (["3", "a", "12", "-1"], [2, 1, 2, 1])
    vocabulary = Vocabulary(["12", "3"], [2, 2])
    assert stream(opened, vocabulary) == [1, 0, -1, 0, -1, 1, -1]


class WithoutEnd(OldStyle):
    """As many data sets of PyTorch: any position gives a sentence."""

    def __getitem__(self, i):
        return self.sentences[i % len(self.sentences)]


class WithoutLength:
    def __len__(self):
        raise TypeError("of unknown length")

    def __iter__(self):
        return iter(SENTENCES)


def test_a_corpus_may_not_know_its_length():
    check_forms({"without length": WithoutLength()})


def test_a_corpus_that_knows_its_length_ends_there():
    check_forms({"without end": WithoutEnd(SENTENCES)})


def test_files_are_told_by_their_first_bytes(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet, feather = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.feather")
    table = pa.table({"words": SENTENCES})
    parquet.write_table(table, tmp_path / "t.pq")
    for compression in ("uncompressed", "zstd"):
        feather.write_feather(table, tmp_path / f"{compression}.txt", compression=compression)
    spark = tmp_path / "spark"
    spark.mkdir()
    for i in range(0, 8, 3):
        parquet.write_table(table[i : i + 3], spark / f"part-{i}")
    (spark / "_SUCCESS").write_bytes(b"")
    names = ("t.pq", "uncompressed.txt", "zstd.txt", "spark")
    check_forms({name: tmp_path / name for name in names})
    feathers = [tmp_path / "uncompressed.txt", tmp_path / "zstd.txt"]
    assert open_corpus(feathers).count()[1].sum() == 28
    feather.write_feather(table.rename_columns(["w"]), tmp_path / "zstd.txt")
    with pytest.raises(ArgumentError, match=r"corpus: expected Arrow files of the same columns, got .*Schema"):
        open_corpus(feathers)
    (tmp_path / "zstd.txt").write_bytes((tmp_path / "zstd.txt").read_bytes()[:-99])
    with pytest.raises(ArgumentError, match=r"zstd\.txt: expected an Arrow file, got a damaged one"):
        open_corpus(tmp_path / "zstd.txt")


def test_columns_of_csv_and_json_lines(tmp_path):
    rows = [{"id": i, "text": line} for i, line in enumerate(LINES)]
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    (tmp_path / "t16").write_text((tmp_path / "t.csv").read_text("utf-8"), "utf-16")
    (tmp_path / "parts").mkdir()
    for row in rows:
        (tmp_path / "parts" / f"{row['id']}.jsonl").write_text(json.dumps(row))
    names = ("t.csv", "t.jsonl", "t.gz", "t16", "parts")
    check_forms({name: open_corpus(tmp_path / name, column="text") for name in names})


def test_cells_of_other_columns_may_be_long(tmp_path):
    picture = "A" * (text_files.LONGEST_WORD + 1)
    (tmp_path / "t.jsonl").write_text(json.dumps({"picture": picture, "text": "a cat"}))
    (tmp_path / "t.csv").write_text(f"picture,text\n{picture},a cat\n")
    for name in ("t.jsonl", "t.csv"):
        assert open_corpus(tmp_path / name, column="text").count()[0] == ["a", "cat"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "id,text\n1,a b\n", "looks like a table, .*column="),
        ("t.tsv.gz", "id\ttext\n", "looks like a table"),
        ("t.txt", '{"id": 1, "text": "a b"}\n{}\n', r"looks like JSON lines, .*keys \['id', 'text'\]"),
        ("wiki", "<mediawiki xmlns=...>\n<page>\n", "looks like XML or HTML, .*WikiExtractor"),
        ("t.txt", "{a set} of words\n", None),
        ("t.txt", "<doc id=1>\nwords\n</doc>\n", None),
    ],
)
def test_markup_is_warned_of(name, text, message, tmp_path, caplog):
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    opened = open_corpus(tmp_path / name)
    opened.count()
    assert len(caplog.messages) == (message is not None)
    if message:
        assert re.search(message, caplog.messages[0])


def test_printed_lists_are_warned_of(tmp_path, caplog):
    """In files and in columns: pandas and others write lists of words to CSV files like this."""
    words = ["the", "cat"]
    columns = [str(words), json.dumps(words), str(np.array(words))]
    for i, line in enumerate(columns):
        path = tmp_path / f"{i}.csv"
        path.write_text("n,text\n" + f'1,"{line.replace(chr(34), 2 * chr(34))}"\n' * 2)
        open_corpus(path, column="text").count()
        (tmp_path / f"{i}.txt").write_text(f"{line}\n" * 2)
        open_corpus(tmp_path / f"{i}.txt").count()
    assert len(caplog.messages) == 2 * len(columns)
    assert all("['the', 'cat'] looks like a printed list" in message for message in caplog.messages[:2])
    (tmp_path / "t.txt").write_text('[the cat] sat\n["the cat"]\n')
    open_corpus(tmp_path / "t.txt").count()
    assert len(caplog.messages) == 2 * len(columns)


def test_markup_is_warned_of_in_any_file_and_once(tmp_path, caplog):
    for i, text in enumerate(["a b\n", "<html>\n", "<?xml version=1?>\n", "c d\n"]):
        (tmp_path / f"{i}.txt").write_text(text)
    opened = open_corpus(tmp_path)
    for _ in range(2):
        opened.count()
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / '1.txt'} looks like XML or HTML")


@pytest.mark.parametrize(
    ("lines", "warned"),
    [(["今天天气很好"] * 30, True), (["alone"] * 99 + ["two words"], True), (["a b"] * 30, False),
     (["alone"] * 9, False), (["alone", "not alone"] * 30, False)],
)
def test_lines_of_single_words_are_warned_of(lines, warned, tmp_path, caplog):
    (tmp_path / "t.txt").write_text("\n\n".join(lines), "utf-8")
    open_corpus(tmp_path / "t.txt").count()
    assert len(caplog.messages) == warned
    assert all("single words have no neighbours to learn from" in text for text in caplog.messages)


def test_text_without_any_word_is_told_of_once(tmp_path, caplog):
    (tmp_path / "t.txt").write_text("\n \n" * 99)
    with pytest.raises(ArgumentError, match=r"t\.txt: expected at least one word, got none"):
        open_corpus(tmp_path / "t.txt").count()
    assert not caplog.messages


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_read_and_their_copies_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = "\n".join(LINES).encode()
    for content in (data, gzip.compress(data)):
        writer = threading.Thread(target=pipe.write_bytes, args=[content])
        writer.start()
        check_forms({"pipe": open_corpus([str(pipe)])})
        writer.join()
        gc.collect()
        assert list(tmp_path.iterdir()) == [pipe]
    writer = threading.Thread(target=pipe.write_bytes, args=[b"PK\3\4"])
    writer.start()
    with pytest.raises(ArgumentError, match="pipe: expected text, got a zip archive"):
        open_corpus(pipe)
    writer.join()
    assert list(tmp_path.iterdir()) == [pipe]


class Failing:
    def __iter__(self):
        yield ["a"]
        raise TypeError("its own")


def test_errors_of_the_iterable_are_its_own():
    opened = open_corpus(Failing())
    for read in (opened.count, lambda: list(opened.encode(Vocabulary(["a"], [1])))):
        with pytest.raises(TypeError, match="its own"):
            read()


def test_an_iterator_can_be_read_once():
    vocabulary = Vocabulary(["the"], [1])
    opened = open_corpus(iter(SENTENCES), passes=1)
    assert stream(opened, vocabulary) == ids_of(SENTENCES, vocabulary.index)
    with pytest.raises(ArgumentError, match="can be read again, got an iterator"):
        opened.count()


@pytest.mark.parametrize("empty", [[], [[]], Again([]), (np.array([], int), np.array([0, 0]))])
def test_an_empty_corpus_cannot_be_counted(empty):
    opened = open_corpus(empty)
    with pytest.raises(ArgumentError, match="corpus: expected at least one word, got none"):
        opened.count()
    assert stream(opened, Vocabulary(["a"], [1])) == []


def test_a_file_that_changed_between_passes_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a b")
    opened = open_corpus([path])
    opened.count()
    path.write_bytes(b"a b c")
    with pytest.raises(ArgumentError, match=r"text.txt: expected the file that the first pass read"):
        list(opened.encode(Vocabulary(["a"], [1])))


def test_a_parquet_file_that_changed_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "words.parquet"
    parquet.write_table(pa.table({"w": SENTENCES}), path)
    opened = open_corpus(path)
    opened.count()
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArgumentError, match=r"words.parquet: expected the file that the first pass"):
        list(opened.encode(Vocabulary(["the"], [1])))


def test_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK", 8)
    monkeypatch.setattr(text_files, "PIECE", 8)
    monkeypatch.setattr(corpus, "_SENTENCES", 3)
    forms = text_forms(tmp_path)
    forms = {name: forms[name] for name in ("text", "gz", "folder")} | {
        name: token_forms()[name] for name in ("list", "iterable", "packed")
    }
    with suppress(pytest.skip.Exception):
        arrow = arrow_forms(tmp_path)
        forms |= {name: arrow[name] for name in ("table", "lines", "parquet", "parquet lines")}
    totals = {"text": os.path.getsize(tmp_path / "corpus.txt"), "gz": os.path.getsize(tmp_path / "corpus.gz")}
    totals["folder"] = totals["text"] - 7  # newlines
    for name, form in forms.items():
        reports = []
        open_corpus(form).count(lambda *report, reports=reports: reports.append(report))
        done, total = zip(*reports, strict=True)
        whole = totals.get(name, 8)
        assert list(done) == sorted(done), name
        assert done[-1] == whole, name
        assert set(total) == {None if name in ("iterable", "table", "lines") else whole}, name


def test_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"n": range(8), "words": SENTENCES, "text": LINES})
    parquet.write_table(table, tmp_path / "a.parquet")
    parquet.write_table(table.drop_columns("text"), tmp_path / "b.parquet")
    both = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for column in ("words", "text"):
        for form in (table, tmp_path / "a.parquet"):
            assert len(open_corpus(form, column=column).count()[0]) == 9
    with pytest.raises(ArgumentError, match=r"column: expected a name, .* None: n \(int64\), words \(list"):
        open_corpus(table)
    with pytest.raises(ArgumentError, match=r"column: expected a column of .* got 'n': n \(int64\)"):
        open_corpus(table, column="n")
    with pytest.raises(ArgumentError, match=r"column: .* got None: n"):
        open_corpus(table.select(["n"]))
    with pytest.raises(ArgumentError, match=r"b.parquet: expected the columns of the other files"):
        open_corpus(both, column="text").count()
    (tmp_path / "c.txt").write_bytes(b"a")
    with pytest.raises(ArgumentError, match=r"Parquet files, Arrow files or text files, got several: .*a.parquet, .*c.txt"):
        open_corpus([both[0], tmp_path / "c.txt"])
    (tmp_path / "c.parquet").write_bytes(b"a")
    with pytest.raises(ArgumentError, match=r"c.parquet: expected a Parquet file"):
        open_corpus(tmp_path / "c.parquet")


def test_columns_of_integers():
    pa = pytest.importorskip("pyarrow")
    lists = [[7, 3], None, [], [7, 10**9]]
    table = pa.table({"n": range(4), "ids": lists})
    narrow = pa.array(lists, pa.large_list(pa.uint32()))
    for form in (table, table.slice(0, 4)["ids"], pa.table({"ids": narrow})):
        corpus = open_corpus(form)
        assert dict(zip(*corpus.count(), strict=True)) == {"7": 2, "3": 1, "1000000000": 1}
        assert stream(corpus, Vocabulary(["3", "7"], [1, 2])) == [1, 0, -1, 1, -1]
    # A text is preferred to its words, encoded.
    both = table.append_column("text", [["a b", "c", "d", "e"]])
    assert open_corpus(both).count()[0] == ["a", "b", "c", "d", "e"]
    assert len(open_corpus(both, column="ids").count()[0]) == 3
    with pytest.raises(ArgumentError, match="column: expected a name"):
        open_corpus(table.append_column("more", [lists]))


def test_columns_of_several_types():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for mixed in (pandas.Series(["a b", 1]), pandas.DataFrame({"t": ["a b", "c"], "n": [["a"], "b"]})):
        with pytest.raises(ArgumentError, match="corpus: expected a table or a series with values of one type"):
            open_corpus(mixed)


def test_columns_are_for_tables(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"a")
    with pytest.raises(ArgumentError, match=r"c\.txt: expected a column or key 'x'"):
        open_corpus(tmp_path / "c.txt", column="x").count()
    with pytest.raises(ArgumentError, match='column: expected None or a name, such as "text" or "0", got 0'):
        open_corpus(tmp_path / "c.txt", column=0)
    with pytest.raises(ArgumentError, match="encoding: expected None for what is no file, got 'utf-8'"):
        open_corpus([["a"]], encoding="utf-8")
    with pytest.raises(ArgumentError, match="column: expected None for a list, got 'x'"):
        open_corpus([["a"]], column="x")


def test_words_that_are_null_are_named(monkeypatch):
    pa = pytest.importorskip("pyarrow")
    monkeypatch.setattr(corpus, "_PART", 20)
    lists = pa.array([["a"], ["b"], None, ["c", "d"], ["e", None]])
    values = pa.DictionaryArray.from_arrays([0, 0, 0, 0, 0, 1], pa.array(["a", None]))
    coded = pa.ListArray.from_arrays([0, 1, 2, 2, 4, 6], values)
    for column in (lists, coded):
        opened = open_corpus(pa.table({"w": column}))
        with pytest.raises(ArgumentError, match=r"corpus\[4\]\[1\]: expected a string or an integer, got null"):
            opened.count()


def test_an_arrow_stream_that_can_be_read_once():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"w": SENTENCES})
    with pytest.raises(ArgumentError, match="can be read once only"):
        open_corpus(table.to_reader())
    vocabulary = Vocabulary(["the"], [1])
    opened = open_corpus(table.to_reader(), passes=1)
    assert stream(opened, vocabulary) == ids_of(SENTENCES, vocabulary.index)


def test_tables_need_pyarrow(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(_optional, "import_module", missing)
    with pytest.raises(ImportError, match=r'tables needs pyarrow: pip install "numba-ss\[all\]"'):
        open_corpus(SimpleNamespace(__arrow_c_stream__=None))


def test_an_open_corpus_is_itself():
    opened = SentenceCorpus(SENTENCES)
    assert open_corpus(opened) is opened
    for name in ("column", "encoding"):
        with pytest.raises(ArgumentError, match=f"{name}: expected None for a corpus that is open"):
            open_corpus(opened, **{name: "text"})


def test_held_out_text_has_the_column_and_the_encoding_of_the_text(tmp_path):
    (tmp_path / "text.csv").write_bytes("id,text\n1,Öl Öl\n".encode("cp1252"))
    table = pytest.importorskip("pyarrow").table({"a": ["x y"], "b": ["z z"]})
    for form, column, words in (
        (tmp_path / "text.csv", "text", ["Öl"]), ([tmp_path / "text.csv"], "text", ["Öl"]),
        (table, "b", ["z"]), ([["u", "v"]], "text", ["u", "v"]),
    ):
        assert open_validation(form, column, "cp1252").count()[0] == words
    assert open_validation(None, "text", "cp1252") is None
    opened = SentenceCorpus(SENTENCES)
    assert open_validation(opened, "text", None) is opened
    with pytest.raises(ArgumentError, match=r"^validation\[0\]\[1\]: expected a string"):
        open_validation([["a", 0.5]], None, None).count()
