"""What the commands about words do."""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._console import require_writable, say, write_history
from numba_ss.plots import plot_loss, plot_words
from numba_ss.sample import sample_path
from numba_ss.vector_files import extra, format_of
from numba_ss.vectors import WordVectors
from numba_ss.word2vec import Word2Vec
from numba_ss.word_tasks import analogies, similarity

log = logging.getLogger("numba_ss")

# Small texts need more passes: the sample has a hundredth of the words that five are for.
_EPOCHS, _SAMPLE_EPOCHS = 5, 20
_SAMPLE_WORDS = ("water", "music", "king", "three", "germany")
_EXTRAS = {"safetensors": "safetensors.numpy", "parquet": "pyarrow.parquet"}
_PARAMETERS = (
    "vector_size window min_count max_vocabulary architecture loss num_sampled sampler "
    "distortion subtract_log_q subsample learning_rate min_learning_rate schedule batch_size "
    "num_threads seed"
).split()


def _neighbours(vectors: WordVectors, words: list[str], topn: int) -> Iterable[str]:
    for word, near in zip(words, vectors.most_similar_many(words, topn=topn), strict=True):
        yield f"{word}: " + ", ".join(f"{other} {cosine:.2f}" for other, cosine in near)


def _some_words(vectors: WordVectors) -> list[str]:
    """Return a few words, neither the most frequent nor rare."""
    last = len(vectors) - 1
    ranks = sorted({min(last, rank) for rank in (200, 500, 1000, 2000, 4000)})
    return [vectors.index_to_key[rank] for rank in ranks]


def _check_files(args: Namespace) -> None:
    """Let what would fail after hours of work fail now."""
    kind = format_of(args.output, None, False)
    if kind in _EXTRAS:
        extra(_EXTRAS[kind])
    require_writable("--output", args.output, args.corpus)
    if args.history is not None:
        require_writable("--history", args.history)
    for word in () if args.corpus else args.words or ():
        if Path(word).is_file():
            _checks.fail("--words", "words, after the files", f"the file {word}, and no corpus")


def _read_vocabulary(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        _checks.fail(path, "words in UTF-8, one a line", error)
    return [line.strip() for line in text.split("\n") if line.strip()]


def word2vec(args: Namespace) -> None:
    """Train, save, and show neighbours of a few words."""
    _check_files(args)
    output = Path(args.output)
    vocabulary = None if args.vocabulary is None else _read_vocabulary(args.vocabulary)
    epochs = args.epochs
    if epochs is None:
        epochs = _EPOCHS if args.corpus else _SAMPLE_EPOCHS
    parameters = {name: getattr(args, name) for name in _PARAMETERS}
    model = Word2Vec(vocabulary=vocabulary, epochs=epochs, **parameters)
    corpus: Any = args.corpus or [str(sample_path())]
    if not args.corpus:
        log.info("no corpus given: training on the bundled sample of Wikipedia")
    model.fit(
        corpus[0] if len(corpus) == 1 else corpus, validation=args.validation,
        column=args.column, progress=not args.quiet and "auto", checkpoint=args.checkpoint,
        checkpoint_minutes=args.checkpoint_minutes, checkpoint_words=args.checkpoint_words,
        resume=args.resume,
    )
    vectors = model.vectors_
    vectors.save(output)
    log.info("%d vectors of length %d saved to %s", len(vectors), vectors.vector_size, output)
    if args.history:
        write_history(args.history, model.history_)
    wanted = args.words or [w for w in _SAMPLE_WORDS if not args.corpus and w in vectors]
    shown = [word for word in wanted or _some_words(vectors) if word in vectors]
    for word in args.words or []:
        if word not in vectors:
            log.warning("%s: not in the vocabulary", word)
    if shown and len(vectors) > 1:
        say(_neighbours(vectors, shown, min(6, len(vectors) - 1)))


def neighbors(args: Namespace) -> None:
    """Show the nearest words of each word, or of a sum of words."""
    vectors = WordVectors.load(args.vectors, mmap=str(args.vectors).endswith(".npz"))
    if args.sum or args.negative:
        near = vectors.most_similar(args.words, args.negative, topn=args.topn)
        say(f"{word}\t{cosine:.4f}" for word, cosine in near)
    else:
        say(_neighbours(vectors, args.words, args.topn))


def analogy(args: Namespace) -> None:
    """Say what is to C as B is to A."""
    vectors = WordVectors.load(args.vectors, mmap=str(args.vectors).endswith(".npz"))
    found = vectors.analogy(args.a, args.b, args.c, topn=args.topn)
    say(f"{word}\t{cosine:.4f}" for word, cosine in found)


def evaluate(args: Namespace) -> None:
    """Judge vectors by analogies and by similarity."""
    if args.analogies is None and not args.similarity:
        _checks.fail("--analogies, --similarity", "a file for one of them at least", "none")
    for path in args.vectors:
        vectors = WordVectors.load(path)
        lines = [f"{path}: {len(vectors)} words of {vectors.vector_size} numbers"]
        if args.analogies is not None:
            score = analogies(vectors, args.analogies, restrict_vocab=args.restrict_vocabulary)
            solved = f"{score.accuracy:.1%}" if score.num_used else "none"
            lines.append(
                f"  analogies {solved} of {score.num_used} ({score.num_skipped} skipped), "
                f"among {args.restrict_vocabulary} words"
            )
        for file in args.similarity:
            found = similarity(vectors, file)
            lines.append(
                f"  {Path(file).stem} Spearman {found.rho:.3f} on {found.num_used} pairs "
                f"({found.oov_ratio:.1%} have unknown words)"
            )
        say(lines)


def convert(args: Namespace) -> None:
    """Read vectors in one format and write another."""
    format_of(args.target, None, False)
    WordVectors.load(args.source).save(args.target)
    log.info("saved to %s", args.target)


def _read_history(path: str) -> list[dict[str, Any]]:
    try:
        history = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        _checks.fail(path, "what --history wrote, in JSON", error)
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        _checks.fail(path, "what --history wrote, a list of epochs", "something else")
    return history


def plot(args: Namespace) -> None:
    """Draw a loss curve from a history, or a map of words from vectors."""
    if str(args.source).endswith(".json"):
        plot_loss(_read_history(args.source), args.output)
    else:
        vectors = WordVectors.load(args.source)
        plot_words(vectors, args.output, words=args.words, top=args.top)
    log.info("saved to %s", args.output)


_COMMANDS = {
    "word2vec": word2vec, "neighbors": neighbors, "analogy": analogy, "evaluate": evaluate,
    "convert": convert, "plot": plot,
}


def run(args: Namespace) -> None:
    """Do what the parsed arguments ask for."""
    _COMMANDS[args.command](args)
