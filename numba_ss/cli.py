"""The command line: a small, real training run that shows what the engine does."""

from __future__ import annotations

import argparse
import logging
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger("numba_ss")


def read_words(path: str | None) -> list[str]:
    """Return the words of a text file; by default of Python's own language reference."""
    if path is None:
        from pydoc_data.topics import topics

        text = "\n".join(topics[name] for name in sorted(topics))
    else:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    return re.findall(r"[^\W\d_]+", text.lower())


def make_pairs(ids: NDArray[np.int64], window: int) -> tuple[NDArray[np.int64], ...]:
    """Return all pairs of a word and another at most `window` words away."""
    shifts = [s for s in range(-window, window + 1) if s]
    position = np.arange(len(ids))
    pairs = [
        (ids[inside], ids[position[inside] + s])
        for s in shifts
        for inside in [np.flatnonzero((position + s >= 0) & (position + s < len(ids)))]
    ]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def demo(args: argparse.Namespace) -> None:
    """Train word embeddings with SampledSoftmax.step_rows and show neighbours."""
    from numba_ss import LinearDecay, SampledSoftmax, top_k

    text = read_words(args.text)
    words = [word for word, count in Counter(text).most_common() if count >= args.min_count]
    if len(words) < 2:
        raise ValueError(f"text: expected two words of {args.min_count} occurrences, got fewer")
    index = {word: i for i, word in enumerate(words)}
    ids = np.array([index[w] for w in text if w in index])
    rng = np.random.default_rng(args.seed)
    # Frequent words say little: keep each with word2vec's probability.
    share = np.bincount(ids) / len(ids)
    keep = np.minimum(1, np.sqrt(args.subsample / share))
    ids = ids[rng.random(len(ids)) < keep[ids]]
    inputs, labels = make_pairs(ids, args.window)
    num_steps = args.epochs * -(-len(inputs) // args.batch_size)
    layer = SampledSoftmax(
        len(words), args.dim, min(args.num_sampled, len(words)), reduction="sum",
        learning_rate=LinearDecay(args.learning_rate, 0.0, num_steps), seed=args.seed,
        weights=np.zeros((len(words), args.dim), np.float32), num_threads=args.num_threads,
    )
    table = (rng.random((len(words), args.dim), np.float32) - 0.5) / np.float32(args.dim)
    held_out = rng.integers(0, len(inputs), 2000)

    def evaluate() -> float:
        return layer.evaluate(table[inputs[held_out]], labels[held_out, None])

    log.info("%d words, %d pairs, %d classes", len(ids), len(inputs), len(words))
    log.info("full softmax loss before training: %.3f", evaluate())
    seconds = 0.0
    for epoch in range(args.epochs):
        order = rng.permutation(len(inputs))
        layer_loss = 0.0
        for start in range(0, len(order), args.batch_size):
            batch = order[start : start + args.batch_size]
            begin = time.perf_counter()
            layer_loss += layer.step_rows(table, inputs[batch], labels[batch, None])
            if epoch or start:  # the first step compiles, or loads the compiled code
                seconds += time.perf_counter() - begin
        log.info(
            "epoch %d: sampled loss %.3f, full softmax loss %.3f", epoch + 1,
            layer_loss / len(order), evaluate(),
        )
    pairs = args.epochs * len(inputs) - args.batch_size
    log.info("%.2f million pairs a second", pairs / max(seconds, 1e-9) / 1e6)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    for word in args.words or [w for w in ("string", "loop", "class", "float") if w in index]:
        if word not in index:
            log.info("%s: not among the words of the text", word)
            continue
        row = index[word]
        best = top_k(unit, np.zeros(len(words), np.float32), unit[[row]], 6, exclude=[[row]])
        pairs_of = zip(best.scores[0], best.ids[0], strict=True)
        near = [f"{words[i]} {score:.2f}" for score, i in pairs_of]
        log.info("%s: %s", word, ", ".join(near))
    if args.output:
        np.savez(args.output, vectors=table, words=np.array(words))
        log.info("vectors saved to %s", args.output)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="numba-ss", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "demo",
        help="train word embeddings on a text and show neighbours",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    run.add_argument("text", nargs="?", help="a text file; by default Python's own documentation")
    run.add_argument("-o", "--output", help="save the vectors to this .npz file")
    run.add_argument("--words", nargs="+", help="words to show the neighbours of")
    for name, kind, value, text in (
        ("dim", int, 64, "length of a vector"),
        ("window", int, 5, "words to either side"),
        ("min-count", int, 5, "occurrences that a word needs"),
        ("subsample", float, 1e-3, "share above which words are thinned out"),
        ("num-sampled", int, 64, "candidates of a batch"),
        ("batch-size", int, 256, "pairs of a step"),
        ("epochs", int, 5, "passes over the pairs"),
        ("learning-rate", float, 0.05, "of the first step; it falls to 0"),
        ("num-threads", int, None, "threads; by default all"),
        ("seed", int, 1, "of samples, order and initial vectors"),
    ):
        run.add_argument(f"--{name}", type=kind, default=value, help=text)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        demo(args)
    except (OSError, ValueError) as error:
        parser.error(str(error))
