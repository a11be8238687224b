"""plots.py: pictures whose content is read back, and labels that leave each other alone."""

import re
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.lookup import UnknownWordError
from numba_ss.word2vec.plots import _drawn, _label, _map, plot_loss, plot_words
from numba_ss.word2vec.vectors import WordVectors

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

HISTORY = [
    {"epoch": 1, "loss": 3.0, "validation_loss": None},
    {"epoch": 2, "loss": 2.0, "validation_loss": 2.5},
    {"epoch": 3, "loss": np.float32(1.5)},
    {"epoch": 4, "loss": 1.25, "validation_loss": 2.25},
]


@pytest.fixture
def vectors(rng):
    """Two groups of words, far from each other."""
    table = 0.3 * rng.standard_normal((30, 8))
    table[:15, 0] += 1
    table[15:, 1] += 1
    words = [f"{'left' if i < 15 else 'right'}{i}" for i in range(30)]
    return WordVectors(["$x_", "the<&>", *words[2:]], table)


@pytest.fixture
def without_tsne(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)


def texts(path):
    """Return what an SVG file says: matplotlib puts it into comments beside the outlines."""
    content = path.read_text()
    assert ET.fromstring(content).tag.endswith("svg")
    return re.findall(r"<!-- (.*?) -->", content)


def marks(path, colour):
    """Return the positions of the marks of one colour."""
    found = re.findall(rf'<use xlink:href="#\w+" x="(\S+)" y="(\S+)" style="fill: {colour}', path.read_text())
    return np.array(found, float)


def test_loss(tmp_path):
    path = tmp_path / "loss.svg"
    plot_loss(HISTORY, path)
    assert {"epoch", "loss per example (nats)", "training", "validation", "1", "4"} <= set(texts(path))
    training, validation = marks(path, "#1f5fa8")[:4], marks(path, "#c8590c")[:2]
    np.testing.assert_allclose(np.diff(training[:, 0]), np.diff(training[:, 0])[0], rtol=1e-4)
    # Twice the fall is twice the way down; validation shares both axes.
    scale = -np.diff(training[:, 1]) / [-1, -0.5, -0.25]
    np.testing.assert_allclose(scale, scale[0], rtol=1e-4)
    np.testing.assert_allclose(validation[:, 0], training[[1, 3], 0])
    np.testing.assert_allclose((validation[:, 1] - training[[1, 3], 1]) / -scale[0], [0.5, 1], rtol=1e-4)
    plot_loss([{"epoch": 1, "loss": 3}], path)
    assert {"training", "0.5"}.isdisjoint(texts(path))


def test_validation_figures_of_retrieval(tmp_path):
    history = [
        {"epoch": i, "loss": 3 / i, "validation_HR@50": 0.1 * i, "validation_NDCG@50": 0.05 * i}
        for i in (1, 2, 3)
    ]
    path = tmp_path / "loss.svg"
    figure = plot_loss(history, path)
    losses, figures = figure.axes
    assert [line.get_label() for line in figures.lines] == ["HR@50", "NDCG@50"]
    np.testing.assert_allclose(figures.lines[1].get_ydata(), [0.05, 0.1, 0.15])
    assert figures.get_ylim()[0] == 0
    assert len(losses.lines) == 1
    assert losses.get_xlim() == figures.get_xlim()
    assert {"HR@50", "NDCG@50", "loss per example (nats)"} <= set(texts(path))


def test_figures_without_a_file(vectors, without_tsne, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(plot_loss(HISTORY).axes) == len(plot_words(vectors).axes) == 1
    assert not list(tmp_path.iterdir())


def test_the_map_passes_over_the_most_frequent_words(rng, without_tsne):
    words = [f"w{i}" for i in range(3000)]
    vectors = WordVectors(words, rng.standard_normal((3000, 4)))
    (axes,) = plot_words(vectors, top=20).axes
    assert axes.get_title(loc="left").startswith("Words 301 to 320 by frequency")
    assert axes.texts[0].get_text() == "w300"
    (axes,) = plot_words(WordVectors(words[:2999], vectors.vectors[:2999]), top=20).axes
    assert axes.texts[0].get_text() == "w0"


@pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
def test_pictures_are_files_and_the_same_twice(suffix, vectors, without_tsne, tmp_path):
    path = tmp_path / f"picture.{suffix}"
    for draw in (lambda: plot_loss(HISTORY, path), lambda: plot_words(vectors, path)):
        draw()
        first = path.read_bytes()
        assert first.startswith(b"<?xml" if suffix == "svg" else b"\x89PNG")
        draw()
        assert path.read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 1


def test_words(vectors, without_tsne, tmp_path):
    path = tmp_path / "words.svg"
    plot_words(vectors, path, top=20)
    said = texts(path)
    title = next(text for text in said if text.startswith("The first 20 words, principal components"))
    missing = int((re.search(r"(\d+) labels", title) or [0, 0])[1])
    shown = [word for word in vectors.index_to_key if word.replace("<&>", "&lt;&amp;&gt;") in said or word in said]
    assert set(shown) <= set(vectors.index_to_key[:20])
    assert len(shown) == 20 - missing >= 10
    assert any(re.fullmatch(r"component 1 \(\d+% of the variance\)", text) for text in said)
    plot_words(vectors, path, ["left3", "right17", "left3"])
    assert {"left3", "right17"} <= set(texts(path))
    assert any(text.startswith("2 words") for text in texts(path))


def test_principal_components(vectors, without_tsne):
    units = vectors.unit_vectors()
    points, method, labels = _map(units)
    assert "principal" in method
    variances, directions = np.linalg.eigh(np.cov(units.T.astype(float)))
    want = (units - units.mean(axis=0)) @ directions[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(points), np.abs(want), atol=1e-5)
    assert labels[0] == f"component 1 ({variances[-1] / variances.sum():.0%} of the variance)"
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize("table", [[[1.0], [-1.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
def test_words_in_a_line_or_a_point(table, tmp_path):
    plot_words(WordVectors(["a", "b"], table), tmp_path / "words.png")
    assert (tmp_path / "words.png").stat().st_size > 5000


def test_tsne(vectors, tmp_path):
    pytest.importorskip("sklearn.manifold", reason="t-SNE is scikit-learn's")
    path = tmp_path / "words.svg"
    points, method, _ = _map(vectors.unit_vectors())
    assert "t-SNE" in method
    middles = points[:15].mean(axis=0), points[15:].mean(axis=0)
    side = np.linalg.norm(points - middles[0], axis=1) < np.linalg.norm(points - middles[1], axis=1)
    assert side.tolist() == [True] * 15 + [False] * 15
    plot_words(vectors, path)
    assert "t-SNE axis 1 (no unit)" in texts(path)
    np.testing.assert_array_equal(_map(vectors.unit_vectors())[0], points)


def test_labels_leave_each_other_alone(rng, tmp_path):
    points = rng.standard_normal((150, 2))
    words = [f"word{i}" * (1 + i % 3) for i in range(150)]
    with _drawn(tmp_path / "words.png", "png", (6, 5)) as figure:
        axes = figure.add_subplot()
        axes.scatter(*points.T)
        count = _label(axes, points, words)
        frame = axes.get_window_extent()
        boxes = [text.get_window_extent() for text in axes.texts]
    assert 40 < count == len(boxes) < 150
    assert axes.texts[0].get_text() == "word0"
    for a, b in combinations(boxes, 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


@pytest.mark.parametrize(
    ("message", "history", "name"),
    [
        (r"path: .*\.png or \.svg, got .*loss\.pdf", HISTORY, "loss.pdf"),
        ("path", HISTORY, "loss"),
        ("history: .*at least one epoch", [], "loss.png"),
        (r"history\[0\]\['loss'\]: expected a finite number, got None", [{"epoch": 1}], "loss.png"),
        (r"history\[1\]\['loss'\]: .*nan", [HISTORY[0], {"epoch": 2, "loss": np.nan}], "loss.png"),
        (r"history\[0\]\['epoch'\]", [{"loss": 1.0}], "loss.png"),
    ],
)
def test_bad_history(message, history, name, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        plot_loss(history, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_bad_words(vectors, tmp_path):
    path = tmp_path / "words.png"
    for message, arguments in [
        ("at least two words", {"words": ["left3"]}), ("a sequence of words", {"words": "left3"}),
        ("top", {"top": 1}),
    ]:
        with pytest.raises(ArgumentError, match=message):
            plot_words(vectors, path, **arguments)
    with pytest.raises(UnknownWordError, match=r"left33.*left3"):
        plot_words(vectors, path, ["left33", "left3"])
    with pytest.raises(ArgumentError, match="path"):
        plot_words(vectors, tmp_path / "words.jpg")
    assert not list(tmp_path.iterdir())


def test_absent_matplotlib_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: .*numba-ss\[all\]"):
        plot_loss(HISTORY, tmp_path / "loss.png")
