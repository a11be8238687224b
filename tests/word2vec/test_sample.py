"""sample.py: the bundled text is whole, clean, small, and its articles are named."""

import lzma
import re

import pytest

from numba_ss.word2vec.sample import sample_path

FOLDER = sample_path().parent


@pytest.fixture(scope="module")
def text():
    return lzma.decompress(sample_path().read_bytes())


@pytest.fixture(scope="module")
def articles():
    lines = (FOLDER / "wikipedia-articles.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


def test_sizes(text):
    assert 9_500_000 <= len(text) <= 10_500_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 3_000_000


def test_lower_case_letters_and_single_spaces(text):
    assert re.fullmatch(rb"(?:[a-z]+(?: [a-z]+)*\n)+", text)


def test_each_line_is_the_article_named(text, articles):
    lines = text.decode("ascii").splitlines()
    assert len(lines) == len(articles)
    assert all(len(line) > 200 for line in lines)
    for line, (number, title) in zip(lines, articles, strict=True):
        assert line.startswith(f"{title.lower()} "), (number, title)


def test_ids_rise(articles):
    numbers = [int(number) for number, _ in articles]
    assert numbers == sorted(set(numbers))


def test_the_documents_figures_are_the_text_s(text, articles):
    words = text.split()
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    frequent = sum(count >= 5 for count in counts.values())
    licence = (FOLDER / "LICENSE-DATA.md").read_text(encoding="utf-8")
    for number in (len(text), len(words)):
        assert f"{number:,}" in licence
    for number in (len(words), frequent, len(articles)):
        assert f"{number:,}" in sample_path.__doc__
    assert f"{len(articles)} articles" in licence
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in licence
    assert "https://en.wikipedia.org/?curid=" in licence
