"""Pictures of a training run and of word vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Floats, PathLike
from numba_ss.io.files import whole_file
from numba_ss.word2vec.lookup import words_of
from numba_ss.word2vec.vectors import WordVectors

_INK, _GREY, _BLUE = "#222222", "#777777", "#1f5fa8"
_COLOURS, _MARKERS = (_BLUE, "#c8590c", "#3a7d44", "#7a4fa3"), "os^D"
_STOP_WORDS = 300  # the most frequent words, most of which say little
# t-SNE arranges neighbours; with fewer words than this, principal components show more.
_FEWEST_FOR_TSNE = 20
# Where a label may be placed: its offset from the word's dot, in points, and its alignment.
_PLACES = [
    (3, 0, "left", "center"), (-3, 0, "right", "center"),
    (0, 3, "center", "bottom"), (0, -3, "center", "top"),
    (3, 3, "left", "bottom"), (3, -3, "left", "top"),
    (-3, 3, "right", "bottom"), (-3, -3, "right", "top"),
]


def plot_loss(history: Sequence[Mapping[str, Any]], path: PathLike | None = None) -> Any:
    """Draw the loss of each epoch, and below it the validation figures of retrieval.

    Parameters
    ----------
    history : sequence of dict
        One for each epoch, with "epoch", "loss" and, with validation, "validation_loss",
        "validation_HR@50" and so on.
    path : str or path, optional
        A ``.png`` or ``.svg`` file to write.

    Returns
    -------
    matplotlib.figure.Figure
        The picture, which a notebook shows.

    Raises
    ------
    ArgumentError
        If the history is empty, or has values that are not numbers.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> history = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.75}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     figure = plot_loss(history, f"{folder}/loss.png")
    """
    suffix = _suffix(path)
    if not history:
        _checks.fail("history", "at least one epoch", "none")
    losses = {"training": _series(history, "loss")}
    figures: dict[str, Floats] = {}
    for key in dict.fromkeys(key for entry in history for key in entry):
        if key.startswith("validation_") and any(e.get(key) is not None for e in history):
            name = key.removeprefix("validation_")
            part, label = (losses, "validation") if name == "loss" else (figures, name)
            part[label] = _series(history, key)
    epochs = _series(history, "epoch")
    with _drawn(path, suffix, (7, 6.8 if figures else 4.2)) as figure:
        parts = [("loss per example (nats)", losses)]
        if figures:
            parts.append(("mean over held-out events", figures))
        axes = figure.subplots(len(parts), squeeze=False, sharex=True)[:, 0]
        for part, (label, curves) in zip(axes, parts, strict=True):
            _draw_curves(part, epochs, curves)
            part.set_ylabel(label)
        axes[0].set_title("Loss by epoch", loc="left")
        if figures:
            axes[1].set_title("Validation by epoch", loc="left")
            axes[1].set_ylim(bottom=0)
        axes[-1].set_xlabel("epoch")
        axes[-1].set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        axes[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def _draw_curves(axes: Any, epochs: Floats, curves: Mapping[str, Floats]) -> None:
    for i, (label, values) in enumerate(curves.items()):
        there = ~np.isnan(values)
        axes.plot(
            epochs[there], values[there], color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)], markersize=4, linewidth=1.6, label=label,
        )
    if set(curves) != {"training"}:
        axes.legend(frameon=False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def plot_words(
    vectors: WordVectors, path: PathLike | None = None, words: Iterable[str] | None = None,
    top: int = 200,
) -> Any:
    """Draw a map on which words with similar vectors lie close together.

    The map is scikit-learn's t-SNE of the cosines if scikit-learn is installed and there are at
    least 20 words. Otherwise it shows the first two principal components of the vectors, scaled
    to length 1. The picture says which. The same vectors give the same picture.

    Parameters
    ----------
    vectors : WordVectors
        Words and their vectors.
    path : str or path, optional
        A ``.png`` or ``.svg`` file to write.
    words : iterable of str, optional
        At least two words to show. Earlier words are labelled first; a label for which there is
        no room is left out.
    top : int, default=200
        Without `words`, how many words to show: the most frequent ones. With 3000 words or more,
        the first 300 are left out, most of which are words such as "the" and "of".

    Returns
    -------
    matplotlib.figure.Figure
        The picture, which a notebook shows.

    Raises
    ------
    UnknownWordError
        If a word has no vector.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> vectors = WordVectors(["cat", "dog", "car"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     figure = plot_words(vectors, f"{folder}/words.svg")
    """
    suffix = _suffix(path)
    if words is None:
        skipped = _STOP_WORDS if len(vectors) >= 10 * _STOP_WORDS else 0
        shown = vectors.index_to_key[skipped : skipped + _checks.integer("top", top, 2)]
        what = f"The first {len(shown)} words"
        if skipped:
            what = f"Words {skipped + 1} to {skipped + len(shown)} by frequency"
    else:
        shown = list(dict.fromkeys(words_of(words)))
        what = f"{len(shown)} words"
    if len(shown) < 2:
        _checks.fail("words", "at least two words", f"{shown}")
    points, method, labels = _map(WordVectors(shown, vectors[shown]).unit_vectors())
    with _drawn(path, suffix, (9.5, 8.5)) as figure:
        axes = figure.add_subplot()
        axes.scatter(*points.T, s=6, color=_BLUE, linewidths=0)
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.06)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(color="#eeeeee", linewidth=0.8)
        axes.set_axisbelow(True)
        title = axes.set_title(f"{what}, {method}", loc="left")
        missing = len(shown) - _label(axes, points, shown)
        if missing:
            title.set_text(f"{title.get_text()}; {missing} labels found no room")
    return figure


def _map(units: Floats) -> tuple[Floats, str, list[str]]:
    """Return points in the plane, the name of the method, and of the axes."""
    centred = units - units.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is arbitrary: choose it such that the farthest point is positive.
    signs = np.sign(np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], 0))
    points = np.zeros((len(units), max(2, len(sizes))))
    points[:, : len(sizes)] = left * sizes * signs
    points = points[:, :2]
    if len(units) >= _FEWEST_FOR_TSNE:
        try:
            from sklearn.manifold import TSNE  # type: ignore[import-untyped,import-not-found]
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,import-not-found]
        except ImportError:
            pass
        else:
            start = (1e-4 * points / max(points[:, 0].std(), 1e-9)).astype(np.float32)
            neighbours = min(30, len(units) / 4)
            tsne = TSNE(metric="cosine", init=start, perplexity=neighbours, random_state=0)
            with threadpool_limits(1):  # with so few points, threads only wait for each other
                points = tsne.fit_transform(units)
            axes = ["t-SNE axis 1 (no unit)", "t-SNE axis 2 (no unit)"]
            return points, "t-SNE of cosines", axes
    shares = np.zeros(2)
    shares[: len(sizes)] = (sizes**2 / max(np.sum(sizes**2), 1e-30))[:2]
    axes = [f"component {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares)]
    return points, "principal components of vectors at length 1", axes


def _label(axes: Any, points: Floats, words: Sequence[str]) -> int:
    """Write words beside their points unless they would cover others; return how many fitted."""
    bbox = import_optional("matplotlib.transforms", "drawing").Bbox
    figure = axes.figure
    figure.draw_without_rendering()  # fixes the layout, so that positions of labels stay valid
    figure.set_layout_engine("none")
    frame = axes.get_window_extent()
    taken = [bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in axes.transData.transform(points)]
    for point, word in zip(points, words, strict=True):
        text = axes.annotate(
            word, point, (0, 0), textcoords="offset points", fontsize=8, parse_math=False
        )
        for x, y, horizontal, vertical in _PLACES:
            text.set(position=(x, y), horizontalalignment=horizontal, verticalalignment=vertical)
            box = text.get_window_extent()
            inside = frame.containsx(box.x0) and frame.containsx(box.x1)
            inside = inside and frame.containsy(box.y0) and frame.containsy(box.y1)
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
        else:
            text.remove()
    return len(taken) - len(points)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> Floats:
    """Return one number for each epoch; NaN if an epoch has no such figure."""
    values = []
    for i, entry in enumerate(history):
        if key.startswith("validation_") and entry.get(key) is None:
            values.append(np.nan)
        else:
            values.append(_checks.number(f"history[{i}][{key!r}]", entry.get(key)))
    return np.array(values)


def _suffix(path: PathLike | None) -> str:
    if path is None:
        return ""
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        _checks.fail("path", "a file name that ends in .png or .svg", repr(str(path)))
    return suffix[1:]


@contextmanager
def _drawn(path: PathLike | None, suffix: str, inches: tuple[float, float]) -> Iterator[Any]:
    """Provide a figure to draw on; at the end, write the picture if a path is given.

    Equal pictures give equal files.
    """
    matplotlib = import_optional("matplotlib", "drawing")
    figures = import_optional("matplotlib.figure", "drawing")
    canvases = import_optional("matplotlib.backends.backend_agg", "drawing")
    style = {
        "axes.edgecolor": _GREY, "axes.labelcolor": _INK, "axes.titlecolor": _INK,
        "svg.hashsalt": "numba_ss", "text.color": _INK, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }
    # pyplot is not used, because its state belongs to the caller.
    with matplotlib.rc_context(style):
        figure = figures.Figure(inches, dpi=150, layout="constrained")
        canvases.FigureCanvasAgg(figure)
        yield figure
        if path is not None:
            metadata = {"Date": None} if suffix == "svg" else None
            with whole_file(path) as file:
                figure.savefig(file, format=suffix, metadata=metadata)
