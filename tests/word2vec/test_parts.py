"""Parts of a corpus: one after the other they are the corpus."""

import gzip

import numpy as np
import pytest

from numba_ss import ArgumentError, Vocabulary, open_corpus
from numba_ss.distributed.local import LocalCluster
from numba_ss.word2vec import parts
from numba_ss.word2vec.parts import Encoder, add_counts, count_part, parts_of, summary_of

WORDS = ["one", "two", "drei", "vier", "fünf", "日本"]


def encoded(listed, vocabulary):
    cluster = LocalCluster()
    from numba_ss.io.packed_words import pack_words

    packed = pack_words(vocabulary.words)
    encoder = Encoder(cluster.put(packed["words"]), cluster.put(packed["offsets"]))
    return np.concatenate([encoder(part)[0] for part in listed])


def test_what_is_odd_about_files_is_told_where_the_user_sees_it(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n' * 5)
    with caplog.at_level("WARNING", "numba_ss"):
        parts_of([tmp_path / "a.jsonl"] * 2, None, None, LocalCluster())
    repeated, markup = caplog.messages
    assert "a.jsonl is given 2 times" in repeated
    assert "looks like JSON lines" in markup
    (tmp_path / "b.txt").write_bytes(b"PK\3\4" + bytes(99))
    with pytest.raises(ArgumentError, match=r"b\.txt: expected text, got a zip archive"):
        parts_of(tmp_path / "b.txt", None, None, LocalCluster())


@pytest.mark.parametrize("span", [9, 64, 1000, 2**25])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_spans_of_a_text_are_the_text(span, end, tmp_path, monkeypatch, rng):
    monkeypatch.setattr(parts, "SPAN", span)
    lines = [" ".join(rng.choice(WORDS, rng.integers(0, 9))) for _ in range(20)]
    path = tmp_path / "text.txt"
    path.write_text("\ufeff" + "\n".join(lines) + end, "utf-8")
    (tmp_path / "empty.txt").write_text("")
    with gzip.open(tmp_path / "z.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines[:5]))
    corpus = open_corpus(tmp_path)
    words, counts = corpus.count()
    listed = parts_of(tmp_path, None, None, LocalCluster())
    assert len(listed) > (2 if span >= 1000 else 3)
    assert add_counts([count_part(part) for part in listed])[0] == words
    np.testing.assert_array_equal(add_counts([count_part(part) for part in listed])[1], counts)
    vocabulary = Vocabulary.from_counts(words, counts, min_count=1)
    expected = np.concatenate(list(corpus.encode(vocabulary)))
    np.testing.assert_array_equal(encoded(listed, vocabulary), expected)
    assert summary_of(expected)[2] == counts.sum()


def test_what_only_this_process_can_read_has_no_parts():
    cluster = LocalCluster()
    for corpus in ([["one", "two"]], "-", np.arange(3), iter([])):
        assert parts_of(corpus, None, None, cluster) is None


def test_columns_and_other_encodings_are_read_as_whole_files(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "SPAN", 4)
    path = tmp_path / "text.csv"
    path.write_text("id,text\n1,one two\n2,two drei\n")
    (part,) = parts_of(str(path), "text", None, LocalCluster())
    assert count_part(part)[0] == ["one", "two", "drei"]
    path.write_bytes("fünf zwei\nfünf vier".encode("cp1252"))
    (part,) = parts_of(path, None, "cp1252", LocalCluster())
    assert count_part(part)[0] == ["fünf", "zwei", "vier"]
    path.write_bytes("one two\nfünf".encode("utf-16"))
    (part,) = parts_of(path, None, None, LocalCluster())
    assert count_part(part)[0] == ["one", "two", "fünf"]


@pytest.mark.parametrize("column", [None, "text"])
def test_notes_in_a_folder_of_tables_are_no_parts(column, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "_notes.txt").write_text("three four\n")
    parquet.write_table(arrow.table({"text": ["one two"]}), tmp_path / "a.parquet")
    (part,) = parts_of(tmp_path, column, None, LocalCluster())
    assert count_part(part)[0] == open_corpus(tmp_path, column=column).count()[0] == ["one", "two"]


def test_a_file_that_a_worker_cannot_read_is_named(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one two\n")
    (part,) = parts_of(path, None, None, LocalCluster())
    path.write_text("one two three\n")
    with pytest.raises(ArgumentError, match=r"text\.txt: .*a changed one"):
        part.open()
    path.unlink()
    with pytest.raises(ArgumentError, match=r"text\.txt: .*every worker can read, got No such file"):
        part.open()


def test_no_word_in_any_part():
    with pytest.raises(ArgumentError, match="at least one word"):
        add_counts([([], np.empty(0, np.int64))])
