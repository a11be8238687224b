"""text_columns.py: one column of CSV and of JSON lines, and errors that name file and line."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numba_ss import ArgumentError
from numba_ss.io import text_columns, text_files
from numba_ss.io.text_columns import TextColumn
from numba_ss.io.text_files import TextFiles


def lines_of(*paths, column="text"):
    source = TextColumn([TextFiles([path]) for path in paths], column)
    pieces = list(source.pieces())
    positions = [position for _, position in pieces]
    assert positions == sorted(positions)
    assert positions[-1] == source.total() == sum(path.stat().st_size for path in paths)
    return b"".join(piece for piece, _ in pieces).decode().split("\n")[:-1]


cells = st.text("ab \n\r\"',;\t|", max_size=9)


@given(st.lists(cells, min_size=1, max_size=9), st.sampled_from(",\t;|"), st.integers(1, 40))
def test_any_cells(tmp_path_factory, texts, separator, piece):
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([["n", "text"], *enumerate(texts)])
    with pytest.MonkeyPatch.context() as patch:
        for module in (text_files, text_columns):
            patch.setattr(module, "PIECE", piece)
        path.write_bytes(out.getvalue().encode())
        assert lines_of(path) == [text.replace("\n", " ") for text in texts]
        path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
        assert lines_of(path) == [text.replace("\n", " ") for text in texts]


def test_numbers_are_positions(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,the cat\n2,a dog\n")
    assert lines_of(path, column="1") == ["the cat", "a dog"]


def test_a_long_cell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text\n" + "a " * 200_000 + "\n")
    assert lines_of(path) == ["a " * 200_000]


def test_lists_and_nulls_of_json(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('\n{"text": ["a", 12, "b"]}\n\n{"text": null}\n{"text": "c \\ud800", "n": [1]}')
    assert lines_of(path) == ["a 12 b", "", "c ?"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "t: expected a column or key 'text'"),
        ("id,txt\n1,a\n", "t: expected a column or key 'text' .*got the header 'id,txt'"),
        ("id,text\n1,a\n2\n", "t, row that ends in line 3: expected 2 cells, as in the first line, got 1"),
        ("id,text\n1,a,b\n", "t, row that ends in line 2: expected 2 cells"),
        ("id,text\r1,a\r2,b\r", "t, line 1: expected CSV, got new-line character"),
        ('id,text\n1,"a\n', "t, line 3: expected CSV, got unexpected end of data"),
        ('{"text": "a"}\n{"txt": "a"}\n', "t, line 2: expected a column or key 'text'.*keys"),
        ('{"text": "a"}\n[1]\n', "t, line 2: expected a column or key 'text'.*another value"),
        ('{"text": "a"}\n{"text\n', "t, line 2: expected a JSON object"),
        ('[{"text": "a"}]\n', "t: expected CSV or JSON lines, one object a line, got a JSON array"),
        ('{"text": 5}\n', "t, line 1: expected a string as 'text', got 5"),
        ('{"text": ["a b"]}\n', "t, line 1: expected words without blanks .*in a list, got 'a b'"),
        ('{"text": [5.0]}\n', "t, line 1: expected words without blanks or integers"),
        ('{"text": [true]}\n', "t, line 1: expected words without blanks"),
    ],
)
def test_damage_is_named(data, message, tmp_path):
    path = tmp_path / "t"
    path.write_text(data)
    with pytest.raises(ArgumentError, match=message):
        lines_of(path)


def test_json_that_is_nested_too_deep(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_text('{"text": ' + "[" * 99_999 + "]" * 99_999 + "}\n")
    with pytest.raises(ArgumentError, match=r"deep.jsonl, line 1: expected a JSON object, got maximum recursion"):
        lines_of(path)


def test_files_without_a_header(tmp_path):
    path = tmp_path / "tweets.csv"
    path.write_text('4,"the cat; he",x\n5,"sat\non it",y\n')
    assert lines_of(path, column="1") == ["the cat; he", "sat on it"]
    with pytest.raises(ArgumentError, match=r"tweets.csv: expected a column or key '3' .* got the header"):
        lines_of(path, column="3")
    path.write_text('4,"the cat",x\n5,sat\n')
    with pytest.raises(ArgumentError, match=r"tweets.csv, row that ends in line 2: expected 3 cells, .* got 2"):
        lines_of(path, column="1")
    path.write_text("text,text\na,b\n")
    with pytest.raises(ArgumentError, match=r"expected a column or key 'text' .* got the header 'text,text'"):
        lines_of(path)
