"""The commands about words."""

from __future__ import annotations

import glob
import json
import logging
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss.cli.cluster import cluster_of
from numba_ss.cli.console import (
    give_memory_back,
    require_room,
    save_all,
    save_history,
    save_or_keep,
    saving,
    say,
)
from numba_ss.io.copies import Copies
from numba_ss.io.files import is_remote, require_distinct, require_writable
from numba_ss.io.packed_words import require_words
from numba_ss.io.text_files import TextFiles
from numba_ss.io.vector_files import format_of, metadata_path
from numba_ss.word2vec.corpus import (
    Corpus,
    Ids,
    Progress,
    WordCounts,
    open_corpus,
    open_validation,
)
from numba_ss.word2vec.estimator import Word2Vec
from numba_ss.word2vec.parameters import default_min_count
from numba_ss.word2vec.plots import plot_loss, plot_words
from numba_ss.word2vec.sample import sample_path
from numba_ss.word2vec.tasks import analogies, similarity
from numba_ss.word2vec.vectors import WordVectors
from numba_ss.word2vec.vocabulary import Vocabulary

log = logging.getLogger("numba_ss")

# Small texts need more epochs: five are meant for a hundred times the words of the sample.
_SAMPLE_EPOCHS = 20
_SAMPLE_WORDS = ("water", "music", "king", "three", "germany")
_EXTRAS = {"safetensors": "safetensors.numpy", "parquet": "pyarrow.parquet"}
_COUNTED = re.compile(r"\S+\s+\d+")
_TEXT_NUMBER = 11  # bytes of a number as text, at least
_PARAMETERS = (
    "vector_size window min_count max_vocabulary architecture loss num_sampled sampler "
    "distortion subtract_log_q subsample learning_rate min_learning_rate schedule batch_size "
    "num_threads seed early_stopping"
).split()


def _neighbours(vectors: WordVectors, words: list[str], topn: int) -> Iterable[str]:
    for word, near in zip(words, vectors.most_similar_many(words, topn=topn), strict=True):
        yield f"{word}: " + ", ".join(f"{other} {cosine:.2f}" for other, cosine in near)


def _some_words(vectors: WordVectors) -> list[str]:
    """Return a few words that are frequent, but not the most frequent."""
    last = len(vectors) - 1
    ranks = sorted({min(last, rank) for rank in (200, 500, 1000, 2000, 4000)})
    return [vectors.index_to_key[rank] for rank in ranks]


def _check_files(args: Namespace, inputs: dict[str, Any]) -> None:
    """Check the outputs now, because otherwise they would fail after hours of training."""
    outputs = {
        "--output": _written(args.output), "--model": args.model, "--history": args.history,
        "--checkpoint": getattr(args, "checkpoint", None),
    }
    require_distinct(outputs, inputs | {"the text": args.corpus, "--validation": args.validation})
    for path in _written(args.output):
        require_writable("--output", path)
    for flag in ("--model", "--history"):
        if outputs[flag] is not None:
            require_writable(flag, outputs[flag])
    for word in () if args.corpus else args.words or ():
        if Path(word).is_file():
            _checks.fail("--words", "words, after the files", f"the file {word}, and no corpus")


def _written(output: str) -> list[str]:
    """Return the files that vectors are written to; fail if the format cannot be written."""
    kind = format_of(output, None, False)
    if kind in _EXTRAS:
        import_optional(_EXTRAS[kind], f"writing {kind} files")
    return [output] if kind != "tsv" else [output, str(metadata_path(output))]


def _read_vocabulary(path: str, encoding: str | None) -> list[str]:
    """Return the words of a file, one a line; if a count follows each, as in word2vec, drop it."""
    with Copies() as copies:
        file = Path(copies.local("--vocabulary", path))
        pieces = TextFiles([file], encoding, {file: path}, strict=True).pieces()
        text = b"".join(piece for piece, _ in pieces).decode()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and all(_COUNTED.fullmatch(line) for line in lines):
        return [line.split()[0] for line in lines]
    return lines


class _Foreseen(Corpus):
    """A corpus that checks, after it was counted, whether its vectors can be written."""

    def __init__(self, corpus: Corpus, args: Namespace) -> None:
        self.name = corpus.name
        self._corpus, self._args = corpus, args

    def _count(self, progress: Progress) -> WordCounts:
        words, counts = self._corpus._count(progress)
        if self._args.vocabulary is None:
            given = self._args.min_count
            least = default_min_count(int(counts.sum())) if given is None else given
            frequent = counts >= least
            _require_room(self._args, [word for word, f in zip(words, frequent, strict=True) if f])
        return words, counts

    def _encode(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        return self._corpus._encode(vocabulary)


def _require_room(args: Namespace, words: list[str]) -> None:
    """Require that vectors of these words can be written: in the format, and on the disk."""
    kind = format_of(args.output, None, False)
    require_words(kind, words)
    num_words = min(len(words), args.max_vocabulary or len(words))
    numbers = num_words * args.vector_size
    size = numbers * (_TEXT_NUMBER if kind in ("txt", "tsv") else 4)
    require_room("--output", args.output, size, f"{num_words} vectors")
    if args.model is not None:
        require_room("--model", args.model, 2 * 4 * numbers, f"a model of {num_words} words")


def word2vec(args: Namespace) -> None:
    """Train, save, and show neighbours of a few words."""
    give_memory_back()
    inputs: dict[str, Any] = {"--vocabulary": args.vocabulary}
    if args.checkpoint is not None:  # existing checkpoints may be of the run that is resumed
        inputs["--checkpoint"] = f"{glob.escape(args.checkpoint)}/checkpoint-*.npz"
    _check_files(args, inputs)
    vocabulary = None
    if args.vocabulary is not None:
        vocabulary = _read_vocabulary(args.vocabulary, args.encoding)
        _require_room(args, vocabulary)
    epochs = args.epochs
    if epochs is None and not args.corpus:
        epochs = _SAMPLE_EPOCHS
    parameters = {name: getattr(args, name) for name in _PARAMETERS}
    model = Word2Vec(vocabulary=vocabulary, epochs=epochs, **parameters)
    if not args.corpus:
        log.info("no corpus given: training on the bundled sample of Wikipedia")
    paths, cluster = args.corpus or [str(sample_path())], cluster_of(args)
    corpus: Any = paths if cluster else _Foreseen(_opened(paths, args), args)
    files = {"column": args.column, "encoding": args.encoding} if cluster else {}
    with saving(model, lambda: _save(args, model), args.output):
        model.fit(
            corpus, validation=_held_out(args), progress=not args.quiet and "auto",
            checkpoint=args.checkpoint, checkpoint_minutes=args.checkpoint_minutes,
            checkpoint_words=args.checkpoint_words, resume=args.resume, cluster=cluster, **files,
        )
    some = [word for word in _SAMPLE_WORDS if not args.corpus and word in model.vectors_]
    _show(args, model.vectors_, some)


def update(args: Namespace) -> None:
    """Train a saved model on a further text."""
    give_memory_back()
    _check_files(args, {"MODEL": args.before})
    model = Word2Vec.load(args.before)
    names = "epochs", "learning_rate", "early_stopping", "num_threads"
    given = {name: getattr(args, name) for name in names}
    model.set_params(**{name: value for name, value in given.items() if value is not None})
    patience = model.early_stopping
    if args.validation is None:
        model.set_params(early_stopping=None)
    corpus = _opened(args.corpus, args)

    def save() -> None:
        model.set_params(early_stopping=patience)
        _save(args, model)

    with saving(model, save, args.output):
        model.partial_fit(
            corpus, validation=_held_out(args), progress=not args.quiet and "auto"
        )
    _show(args, model.vectors_, [])


def _opened(paths: list[str], args: Namespace) -> Corpus:
    one_or_many: Any = paths[0] if len(paths) == 1 else paths
    return open_corpus(one_or_many, column=args.column, encoding=args.encoding)


def _save(args: Namespace, model: Word2Vec) -> None:
    """Write the vectors and, if asked for, the model and the history."""
    vectors = model.vectors_

    def save_vectors() -> None:
        # NumPy's format can hold any words.
        save_or_keep(args.output, vectors.save, "vectors.npz", "numba-ss convert")
        size = vectors.vector_size
        log.info("%d vectors of length %d saved to %s", len(vectors), size, args.output)

    def save_model() -> None:
        if args.model is not None:
            save_or_keep(args.model, model.save, "model.npz")
            log.info("the model, for numba-ss update, saved to %s", args.model)

    save_all(save_vectors, save_model, lambda: save_history(args.history, model.history_))


def _show(args: Namespace, vectors: WordVectors, some: list[str]) -> None:
    """Show the neighbours of the words that were asked for, or else, if not quiet, of some."""
    wanted = args.words or ([] if args.quiet else some or _some_words(vectors))
    for word in wanted:
        if word not in vectors:
            log.warning("%s: not in the vocabulary", word)
    shown = [word for word in wanted if word in vectors]
    if shown and len(vectors) > 1:
        say(_neighbours(vectors, shown, min(6, len(vectors) - 1)))


def _held_out(args: Namespace) -> Corpus | None:
    return open_validation(args.validation, args.column, args.encoding)


def _load(path: str, args: Namespace) -> WordVectors:
    mmap = path.lower().endswith(".npz") and not is_remote(path)
    return WordVectors.load(path, mmap=mmap, limit=args.limit, errors=args.errors)


def neighbors(args: Namespace) -> None:
    """Show the nearest words of each word, or of a sum of words."""
    vectors = _load(args.vectors, args)
    if args.sum or args.negative:
        near = vectors.most_similar(args.words, args.negative, topn=args.topn)
        say(f"{word}\t{cosine:.4f}" for word, cosine in near)
    else:
        say(_neighbours(vectors, args.words, args.topn))


def analogy(args: Namespace) -> None:
    """Show the words that are to C as B is to A."""
    vectors = _load(args.vectors, args)
    found = vectors.analogy(args.a, args.b, args.c, topn=args.topn)
    say(f"{word}\t{cosine:.4f}" for word, cosine in found)


def evaluate(args: Namespace) -> None:
    """Evaluate vectors on analogies and on similarity."""
    if args.analogies is None and not args.similarity:
        _checks.fail("--analogies, --similarity", "a file for one of them at least", "none")
    for path in args.vectors:
        vectors = _load(path, args)
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
    written = _written(args.target)
    require_distinct({"the target": written}, {"the source": args.source})
    for path in written:
        require_writable("the target", path)
    WordVectors.load(args.source, limit=args.limit, errors=args.errors).save(args.target)
    log.info("saved to %s", args.target)


def _read_history(path: str) -> list[dict[str, Any]]:
    try:
        with Copies() as copies:
            history = json.loads(Path(copies.local("source", path)).read_text(encoding="utf-8"))
    except ValueError as error:
        _checks.fail(path, "what --history wrote, in JSON", error)
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        _checks.fail(path, "what --history wrote, a list of epochs", "something else")
    return history


def plot(args: Namespace) -> None:
    """Draw a loss curve from a history, or a map of words from vectors."""
    require_distinct({"--output": args.output}, {"the source": args.source})
    require_writable("--output", args.output)
    if args.source.lower().endswith(".json"):
        plot_loss(_read_history(args.source), args.output)
    else:
        vectors = _load(args.source, args)
        plot_words(vectors, args.output, words=args.words, top=args.top)
    log.info("saved to %s", args.output)


_COMMANDS = {
    "word2vec": word2vec, "update": update, "neighbors": neighbors, "analogy": analogy,
    "evaluate": evaluate, "convert": convert, "plot": plot,
}


def run(args: Namespace) -> None:
    """Run the command that was parsed."""
    _COMMANDS[args.command](args)
