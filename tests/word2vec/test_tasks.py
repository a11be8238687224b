"""tasks.py: analogies and similarity, compared with gensim's and SciPy's figures."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from numba_ss import ArgumentError
from numba_ss.word2vec.tasks import analogies, similarity, spearman
from numba_ss.word2vec.vectors import WordVectors
from tests.conftest import needs_jit

# The public test sets: too large for this folder, they lie beside the checkout if anywhere.
TEST_SETS = Path(__file__).parents[2] / "shared" / "data" / "wordeval"
needs_test_sets = pytest.mark.skipif(not TEST_SETS.is_dir(), reason="the public test sets are absent")

QUESTIONS = """: family
man king woman queen
Man Queen Woman King
king man queen nobody

: capitals
paris france rome italy
PARIS FRANCE BERLIN GERMANY
: empty
nobody knows the trouble
"""


@pytest.fixture
def vectors(rng):
    """Words in capitals and not, whose analogies nearly hold."""
    words = ["the", "king", "Man", "woman", "queen", "man", "paris", "France", "rome", "berlin",
             "Italy", "germany", "KING", "Paris"]
    parts = {
        "king": (0, 1), "man": (0, 2), "queen": (3, 1), "woman": (3, 2), "paris": (4, 5),
        "france": (4, 6), "rome": (7, 5), "italy": (7, 6), "berlin": (8, 5), "germany": (8, 6),
        "the": (9, 10),
    }
    basis = rng.standard_normal((11, 12))
    rows = [basis[list(parts[word.lower()])].sum(axis=0) for word in words]
    return WordVectors(words, rows + 0.3 * rng.standard_normal((len(words), 12)))


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(QUESTIONS)
    return path


def test_analogies(vectors, questions):
    got = analogies(vectors, questions)
    assert [s.name for s in got.sections] == ["family", "capitals", "empty"]
    assert [s.num_used for s in got.sections] == [2, 2, 0]
    assert [s.num_skipped for s in got.sections] == [1, 0, 1]
    assert (got.name, got.num_used, got.num_skipped) == ("total", 4, 2)
    assert got.num_correct == sum(s.num_correct for s in got.sections) >= 2
    assert got.accuracy == got.num_correct / 4
    assert np.isnan(got.sections[2].accuracy)


def same_as_gensim(vectors, path, restrict_vocab):
    score, sections = vectors.to_keyed_vectors().evaluate_word_analogies(
        str(path), restrict_vocab=restrict_vocab
    )
    got = analogies(vectors, path, restrict_vocab)
    assert got.num_used > 0
    assert got.accuracy == score
    for ours, theirs in zip([*got.sections, got], sections, strict=True):
        assert ours.name == theirs["section"] or ours is got
        assert ours.num_correct == len(theirs["correct"])
        assert ours.num_used == len(theirs["correct"]) + len(theirs["incorrect"])
    return got


@pytest.mark.parametrize("restrict_vocab", [6, 12, 30_000, None])
def test_analogies_are_gensim_s(restrict_vocab, vectors, questions):
    pytest.importorskip("gensim", reason="compares with gensim")
    same_as_gensim(vectors, questions, restrict_vocab)


@needs_jit
@needs_test_sets
def test_public_analogies_are_gensim_s(rng):
    """Vectors are random sums of two parts: one for the pair, one for the side of the pair."""
    pytest.importorskip("gensim", reason="compares with gensim")
    path = TEST_SETS / "questions-words.txt"
    lines = [line.lower().split() for line in path.read_text().splitlines() if line[0] != ":"]
    words = list(dict.fromkeys(word for line in lines[::3] for word in line))
    index = {word: i for i, word in enumerate(words)}
    table = rng.standard_normal((len(words), 20))
    side = rng.standard_normal(20)
    for a, b, _, _ in lines[::3]:
        table[index[b]] = 0.7 * table[index[a]] + side + 0.7 * rng.standard_normal(20)
    got = same_as_gensim(WordVectors(words, table), path, 600)
    assert 0.05 < got.accuracy < 0.95
    assert len(got.sections) == 14
    assert got.num_used + got.num_skipped == 19_544


PAIRS = "# first, second, score\nking\tqueen\t8.5\nKing\tman\t6\nparis\tnobody\t1\n\nman\tmAN\t10\r\nthe\tpARIS\t1\nrome\titaly\t6\n"


def test_similarity(vectors, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(PAIRS.encode())
    got = similarity(vectors, path)
    assert (got.num_used, got.num_skipped) == (5, 1)
    assert got.oov_ratio == pytest.approx(1 / 6)
    pairs = [("king", "queen"), ("king", "Man"), ("Man", "Man"), ("the", "paris"), ("rome", "Italy")]
    cosines = [vectors.similarity(a, b) for a, b in pairs]
    assert got.rho == pytest.approx(stats.spearmanr([8.5, 6, 10, 1, 6], cosines)[0])
    assert similarity(vectors, path, restrict_vocab=7).num_used == 4


def test_a_vector_of_zeros_is_far_from_everything_as_in_gensim(tmp_path):
    pytest.importorskip("gensim", reason="compares with gensim")
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\t1\nb\tc\t2\nc\td\t3\nb\td\t2.5\n")
    vectors = WordVectors(list("abcd"), np.float32([[0, 0], [1, 0], [-1, 1], [-1, 3]]))
    _, (rho, _), _ = vectors.to_keyed_vectors().evaluate_word_pairs(str(path), delimiter="\t")
    assert similarity(vectors, path).rho == pytest.approx(rho)


@pytest.mark.parametrize("name", ["EN-MEN-TR-3k", "EN-SIMLEX-999", "EN-WS-353-ALL"])
@needs_test_sets
def test_public_similarity_is_gensim_s(name, rng):
    pytest.importorskip("gensim", reason="compares with gensim")
    path = TEST_SETS / f"{name}.txt"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    words = list(dict.fromkeys(word.lower() for line in lines[::2] for word in line[:2]))
    vectors = WordVectors(words, rng.standard_normal((len(words), 10)))
    _, (rho, _), oov = vectors.to_keyed_vectors().evaluate_word_pairs(str(path), delimiter="\t")
    got = similarity(vectors, path)
    assert got.rho == pytest.approx(rho, abs=1e-6)
    assert 100 * got.oov_ratio == pytest.approx(oov)


HEADS_AND_ROWS = {
    "MEN": ("", "{} {} {}"),
    "MEN lemmas": ("", "{}-n {}-j {}"),
    "WordSim-353": ("Word 1\tWord 2\tHuman (mean)\n", "{}\t{}\t{}"),
    "WordSim-353 csv": ("\ufeffWord 1,Word 2,Human (mean)\r\n", "{},{},{}\r"),
    "a comment of C": ("// made by hand 5\n", "{} {} {}"),
    "WordSim-353 by person": ("# all\nWord 1\tWord 2\tHuman (mean)\t1\t2\n", "{}\t{}\t{}\t7.0\t8.0"),
    "SimLex-999": ("word1\tword2\tPOS\tSimLex999\tconc(w1)\n", "{}\t{}\tA\t{}\t2.72"),
    "RareWords": ("", "{}\t{}\t{}\t10\t7\t8"),
    "SimVerb": ("", "{}\t{}\tV\t{}\tSYNONYMS"),
    "semicolons": ("a;b;c\n", "{};{};{}"),
    "quotes": ('"a","b","c"\n', '"{}","{}","{}"'),
}


@pytest.mark.parametrize("name", HEADS_AND_ROWS)
def test_published_pairs(name, vectors, tmp_path):
    head, row = HEADS_AND_ROWS[name]
    pairs = [("king", "queen", 8.5), ("man", "king", 6), ("man", "woman", 10), ("the", "nobody", 1)]
    lines = (row.format(*pair) for pair in pairs)
    (tmp_path / "pairs").write_bytes((head + "\n".join(lines) + "\n").encode())
    got = similarity(vectors, tmp_path / "pairs")
    cosines = [vectors.similarity(a, b) for a, b in [("king", "queen"), ("Man", "king"), ("Man", "woman")]]
    assert (got.num_used, got.num_skipped) == (3, 1)
    assert got.rho == pytest.approx(stats.spearmanr([8.5, 6, 10], cosines)[0])


def test_a_word_may_end_as_a_part_of_speech_does(vectors, tmp_path):
    hyphened = WordVectors([*vectors.index_to_key, "x-n"], [*vectors.vectors, vectors.vectors[0]])
    (tmp_path / "pairs").write_text("king x-n 1\nking queen 2\n")
    assert similarity(hyphened, tmp_path / "pairs").num_used == 2


@pytest.mark.parametrize("head", ["", "\ufeff: x\n", ":x\n", "# by my hand\n", "//Copyright 2013 Some Inc.\n"])
def test_published_questions(head, vectors, tmp_path):
    path = tmp_path / "syntax.txt"
    path.write_text(head + "man king woman queen\nking man queen nobody\n", "utf-8")
    got = analogies(vectors, path)
    assert [section.name for section in got.sections] == ["x" if "x" in head else "syntax"]
    assert (got.num_used, got.num_skipped) == (1, 1)


def test_compressed_files_and_those_of_windows(vectors, tmp_path):
    text = "king\tqueen\t9\r\nMan\tking\t2\r\n"
    wanted = None
    for name, data in {
        "plain": text.encode(), "packed.gz": gzip.compress(text.encode()), "wide": text.encode("utf-16"),
    }.items():
        (tmp_path / name).write_bytes(data)
        wanted = wanted or similarity(vectors, tmp_path / name)
        assert similarity(vectors, tmp_path / name) == wanted


def test_spearman_is_scipy_s(rng):
    for high in (3, 10, 10**6):
        x, y = rng.integers(0, high, (2, 200))
        assert spearman(x, y + x // 2) == pytest.approx(stats.spearmanr(x, y + x // 2)[0])
    assert spearman([1, 2, 3], [5.0, 6.0, 60.0]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (r"questions\.txt, line 2: expected four words.*got 'a b c'", b": s\na b c\n"),
        ("line 1: expected four words", b"a b c\n"),
        ("line 2: expected four words", b"a b c d\na,b,c,d\n"),
        ("expected text in utf-8, .*iconv", b": s\na b \xff d\n"),
        ("expected questions, got none", b"\n"),
    ],
)
def test_malformed_questions(message, content, vectors, tmp_path):
    path = tmp_path / "questions.txt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        analogies(vectors, path)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (r"pairs\.tsv, line 3: expected word, word", b"king\tman\t1\na\tb\t1\nking man 2\n"),
        ("line 3: expected word, word", b"king\tman\t1\na\tb\t1\nking\tman\tnear\n"),
        ("line 1: expected word, word", b"king\tman\tnear\nking\tman\tfar\n"),
        ("line 1: expected word, word", b"Word 1\tWord 2\tHuman\nking\tman\n"),
        ("line 1: expected word, word", b"king\tman\tnan\n"),
        ("line 2: expected word, word", b"king\tman\t1\t2\nking\tman\t1\n"),
        ("expected text in utf-8, .*iconv", b"king\t\xff\t1\n"),
        ("different scores and cosines, got 1 pairs, 1 skipped", b"king\tman\t1\nx\ty\t1\n"),
        ("different scores and cosines, got 2 pairs", b"king\tman\t1\nking\tqueen\t1\n"),
        ("different scores and cosines, got 0 pairs", b""),
    ],
)
def test_malformed_pairs(message, content, vectors, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        similarity(vectors, path)


@pytest.mark.parametrize("task", [analogies, similarity])
def test_bad_restrict_vocab(task, vectors, questions):
    with pytest.raises(ArgumentError, match="restrict_vocab"):
        task(vectors, questions, 0)
