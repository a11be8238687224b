"""csv_files.py: what Python's csv module reads, wherever a block ends."""

import csv
import gzip
import io
import random

import pytest

from numba_ss import ArgumentError
from numba_ss.io import csv_files, text_files
from numba_ss.io.csv_files import CsvFile, is_csv, plain_suffix

COLUMNS = ["user", "item", "text"]


def read(path, columns=COLUMNS):
    pytest.importorskip("pyarrow")
    rows = []
    for batch in CsvFile(path, columns).batches(columns):
        rows += zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    return rows


def random_file(rng, separator):
    """Return the text of a file, legal, but as wild as can be."""

    def cell():
        letters = ["a", "b", "\r\n", "\n", "\r", '"', separator, " ", "ä"]
        text = "".join(rng.choices(letters, [8, 8, 2, 2, 1, 2, 2, 1, 1], k=rng.randrange(9)))
        wild = any(letter in text for letter in f'"\r\n{separator}')
        return '"' + text.replace('"', '""') + '"' if wild or rng.random() < 0.2 else text

    end = rng.choice(["\n", "\r\n", "\r"])
    rows = [COLUMNS, *([cell() for _ in COLUMNS] for _ in range(rng.randrange(1, 30)))]
    return end.join(separator.join(row) for row in rows) + end * rng.randrange(2)


@pytest.mark.parametrize("separator", [",", ";"])
def test_what_python_reads_wherever_a_block_ends(tmp_path, monkeypatch, separator):
    rng = random.Random(3)
    path = tmp_path / "log.csv"
    for _ in range(300):
        text = random_file(rng, separator)
        path.write_bytes(text.encode())
        want = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row][1:]
        for size in (1, rng.randrange(2, 60), 2**20):
            monkeypatch.setattr(csv_files, "_BLOCK", size)
            monkeypatch.setattr(text_files, "PIECE", size)
            got = [tuple(cell or "" for cell in row) for row in read(path)]
            assert got == want, text


def test_nobody_puts_events_in_a_comment(tmp_path):
    """With blocks of their real size; a quoted line break moves over the end of a block."""
    path = tmp_path / "log.csv"
    head, comment = "user,item,text\n", 'u,i,"a\r\nwho,is,this"\r\n'
    for shift in range(-len(comment) - 1, 2):
        filling = "u,i," + "x" * (2**20 + shift - len(head) - 5) + "\n"
        path.write_bytes((head + filling + 2 * comment).encode())
        assert [row[2] for row in read(path)[1:]] == 2 * ["a\r\nwho,is,this"]
        assert {row[0] for row in read(path)} == {"u"}


def test_quotes_that_are_not_closed(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('user,item,text\nu,i,a\nu,i,"b\nu,i,c\n')
    with pytest.raises(ArgumentError, match=r"log.csv, line 3: expected quotes that are closed, .* got 'u,i,\"b"):
        read(path)


def test_a_row_is_not_read_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    monkeypatch.setattr(csv_files, "_LONGEST", 2**12)
    monkeypatch.setattr(csv_files, "_BLOCK", 2**10)
    monkeypatch.setattr(text_files, "PIECE", 2**10)
    path.write_text('user,item,text\nu,i,"' + "b" * 10**6)
    with pytest.raises(ArgumentError, match=r"line 2: expected .* rows of less than 4,096 bytes, got '.{60}'\.\.\.$"):
        read(path)


def test_a_stray_quote_between_tabs_is_told(tmp_path):
    path = tmp_path / "log.tsv"
    rows = ['a\t"x\t1', "b\ty\t2", 'c\tz"\t3', "d\tw\t4"]
    path.write_text("\n".join(["user\titem\ttext", *rows]))
    with pytest.raises(ArgumentError, match=r"log.tsv, line 2: expected a quote that is closed in its line, got one"):
        read(path)
    path.write_text("\n".join(["user\titem\ttext", rows[1], rows[0], rows[3]]))
    with pytest.raises(ArgumentError, match=r"log.tsv, line 3: expected quotes that are closed"):
        read(path)
    # Quotes in cells, quoted cells and those of several lines are what they are everywhere.
    path.write_text('user\titem\ttext\na\t5" disk\t"x ""y"" z"\nb\t"\t"\t"one\ntwo"\n')
    assert read(path) == [("a", '5" disk', 'x "y" z'), ("b", "\t", "one\ntwo")]


def test_faults_name_file_and_row(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,text\nu,i,a\nu,i\n")
    with pytest.raises(Exception, match="Row #3: Expected 3 columns, got 2"):
        read(path)
    for data, message in [
        (b"", "log.csv: expected a CSV file, got an empty one"),
        (b"\n\n", "log.csv: expected a CSV file, got an empty one"),
        (b"\xffser,item\n", "log.csv: expected text in utf-8, got 1 places that are none in the first"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ArgumentError, match=message):
            read(path)


def test_no_letter_of_a_key_is_replaced(tmp_path):
    path = tmp_path / "log.csv"
    rows = b"".join(b"%d,tea,x\n" % i for i in range(10_000))
    path.write_bytes(b"user,item,text\n" + rows + b"Zo\xeb,tea,x\n")
    with pytest.raises(ArgumentError, match=r"log.csv: expected text in utf-8, got 1 places .*; iconv makes UTF-8"):
        read(path)


def test_cells_may_be_longer_than_words(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,text\n1,2,{'x' * 3 * 2**20}\n")
    assert [len(cell) for cell in read(path)[0]] == [1, 1, 3 * 2**20]


def test_other_separators_and_no_header(tmp_path):
    rows = [("7", "tea", "1"), ("8", "rum", "2")]
    for name, separator in [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", ","), ("A.CSV", ";")]:
        lines = [separator.join(row) + "\n" for row in rows]
        (tmp_path / name).write_text("".join([separator.join(COLUMNS) + "\n", *lines]))
        assert read(tmp_path / name) == rows
        (tmp_path / name).write_text("".join(lines))
        assert read(tmp_path / name, ["0", "1", "2"]) == rows
        assert CsvFile(tmp_path / name, COLUMNS).names[0].startswith("7")


def test_numbers_in_the_first_row_are_cells_unless_they_count_up(tmp_path, caplog):
    path = tmp_path / "a.csv"
    for separator in (",", "::"):
        first = ("2", "0", "1", "5")
        path.write_text("".join(separator.join(row) + "\n" for row in [first, "abcd"]))
        assert read(path, ["0", "1", "2"]) == [("2", "0", "1"), ("a", "b", "c")]
    assert not caplog.records
    for header, row in [("0,1,2", "a,b,c"), (",0,1,2", "7,a,b,c")]:  # as pandas writes them
        path.write_text(f"{header}\n{row}\n")
        assert read(path, ["0", "1", "2"]) == [("a", "b", "c")]
        assert f"a.csv: the first row, '{header}', is taken for names" in caplog.messages.pop()


def test_empty_and_quoted_cells(tmp_path):
    (tmp_path / "a.csv").write_text('\n\nuser,item,text\n1,,""\n"",NA,x\n\n')
    assert read(tmp_path / "a.csv") == [("1", None, ""), ("", "NA", "x")]


def test_names_of_files(tmp_path):
    for name, suffix in [("a.CSV.GZ", ".csv"), ("a.b.tsv.xz", ".tsv"), ("a.csv", ".csv"), ("a.gz", "")]:
        assert plain_suffix(tmp_path / name) == suffix
        assert is_csv(tmp_path / name) == bool(suffix)
    (tmp_path / "a.CSV.GZ").write_bytes(gzip.compress(b"user,item,text\n1,2,3\n"))
    assert read(tmp_path / "a.CSV.GZ") == [("1", "2", "3")]


def test_two_colons_separate_as_in_movielens(tmp_path, monkeypatch):
    rows = [("1", "1193", "a:b"), ("1", "661", ":"), ("2", "", "c, d;e f"), ("3", "7", "x::"[:1])]
    data = "".join("::".join(row) + "\n" for row in rows).encode()
    want = [tuple(cell or None for cell in row) for row in rows]
    for name in ("ratings.dat", "ratings.csv", "ratings.txt", "ratings.dat.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        for size in (1, 2, 3, 2**20):
            monkeypatch.setattr(text_files, "PIECE", size)
            assert read(path, ["0", "1", "2"]) == want
    path = tmp_path / "named.dat"
    path.write_bytes(b"user::item::text\n" + data)
    assert read(path) == want


@pytest.mark.parametrize("separator", [" ", "\t", ",", "|"])
def test_suffixes_that_mean_no_separator(tmp_path, separator):
    for name in ("u.data", "edges.txt", "log.tab", "log.dat"):
        if separator != " " or name != "log.tab":
            path = tmp_path / name
            path.write_text("".join(separator.join([i, "7", "x"]) + "\n" for i in "123"))
            assert read(path, ["0", "1", "2"]) == [(i, "7", "x") for i in "123"]


def test_headers_and_cells_longer_than_python_s_own_limit(tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"column {i}" for i in range(20_000)]
    path.write_text(",".join([*names, *COLUMNS]) + "\n" + ",".join(["x"] * 20_000 + ["1", "7", "y" * 200_000]) + "\n")
    assert read(path) == [("1", "7", "y" * 200_000)]
