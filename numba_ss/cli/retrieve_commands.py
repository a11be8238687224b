"""The commands about items and users."""

from __future__ import annotations

import csv
import glob
import io
import json
import logging
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._optional import import_optional
from numba_ss._types import Show
from numba_ss.cli.cluster import cluster_of
from numba_ss.cli.console import (
    require_room,
    save_all,
    save_history,
    save_or_keep,
    saving,
    say,
)
from numba_ss.distributed.run import checkpoints_of
from numba_ss.io.copies import Copies
from numba_ss.io.csv_files import plain_suffix
from numba_ss.io.files import require_distinct, require_writable, whole_file
from numba_ss.io.text_files import TextFiles
from numba_ss.logs.columns import Place
from numba_ss.logs.interactions import read_interactions
from numba_ss.logs.keys import GrowingKeys, Keys, plain_integers
from numba_ss.logs.sources import Columns, open_events
from numba_ss.retrieval.cluster import require_able
from numba_ss.retrieval.estimator import YouTubeDNN
from numba_ss.retrieval.growth import feature_columns
from numba_ss.retrieval.id_vectors import suffix_of
from numba_ss.retrieval.parameters import checked_parameters
from numba_ss.retrieval.training_set import saved_bytes
from numba_ss.training.session import FitSession

log = logging.getLogger("numba_ss")

_USERS = 2**14  # users whose recommendations are held in memory at a time
_LIBRARIES = {".parquet": "pyarrow.parquet", ".safetensors": "safetensors.numpy"}
_TABLES = (".csv", ".tsv", ".tab", ".dat", ".data")  # .txt may also be lines
# The columns of the recommendations, see `Recommendations.columns`.
Parts = Iterator[dict[str, NDArray[Any]]]


def _check_output(args: Namespace, suffix: str) -> None:
    if suffix in _LIBRARIES:
        import_optional(_LIBRARIES[suffix], f"writing {suffix} files")
    inputs = {"MODEL": args.model, "--users-from": getattr(args, "users_from", None)}
    require_distinct({"--output": args.output}, inputs)
    require_writable("--output", args.output)


def train(args: Namespace) -> None:
    """Learn from logs, and save the model."""
    written = {"--output": args.output, "--history": args.history}
    before = {} if args.checkpoint is None else {
        "--checkpoint": f"{glob.escape(args.checkpoint)}/checkpoint-*.npz"
    }
    require_distinct(written | {"--checkpoint": args.checkpoint}, {"LOG": args.logs} | before)
    for flag, path in written.items():
        if path is not None:
            require_writable(flag, path)
    model = YouTubeDNN(**{name: getattr(args, name) for name in YouTubeDNN().get_params()})
    options, cluster = checked_parameters(model.get_params()), cluster_of(args)
    show: Show = not args.quiet and "auto"
    # So that what `fit` would refuse fails now.
    session = FitSession(
        model, options, (), show, args.checkpoint, args.checkpoint_minutes,
        folder=checkpoints_of(cluster),
    )
    if cluster is not None:
        require_able(session, cluster)
    session.newest(args.resume)
    columns = feature_columns(options)
    events = read_interactions(
        args.logs, user=args.user, item=args.item, timestamp=args.timestamp,
        user_features=columns["user_features"], item_features=columns["item_features"],
        progress=show,
    )
    require_room("--output", args.output, saved_bytes(events, options), "the model")
    with saving(model, lambda: _save(args, model), args.output):
        model.fit(
            events, progress=show, checkpoint=args.checkpoint,
            checkpoint_minutes=args.checkpoint_minutes, resume=args.resume, cluster=cluster,
        )


def update(args: Namespace) -> None:
    """Train a saved model on further logs."""
    written = {"--output": args.output, "--history": args.history}
    require_distinct(written, {"MODEL": args.model, "LOG": args.logs})
    for flag, path in written.items():
        if path is not None:
            require_writable(flag, path)
    model = _load(args.model)
    given = {name: getattr(args, name) for name in ("epochs", "learning_rate", "num_threads")}
    model.set_params(**{name: value for name, value in given.items() if value is not None})
    if args.no_validation:
        model.set_params(validation=None, early_stopping=None)
    size = saved_bytes(model.log_, checked_parameters(model.get_params()))
    require_room("--output", args.output, size, "the model")
    with saving(model, lambda: _save(args, model), args.output):
        model.partial_fit(args.logs, progress=not args.quiet and "auto")


def _save(args: Namespace, model: YouTubeDNN) -> None:
    """Write the model and, if asked for, the history."""

    def save_model() -> None:
        save_or_keep(args.output, model.save, "model")
        known = model.log_
        log.info("%d users and %d items saved to %s", known.num_users, known.num_items, args.output)

    save_all(save_model, lambda: save_history(args.history, model.history_))


def _load(path: str) -> YouTubeDNN:
    """Load a model, and set the number of threads of this machine, not of the one that trained."""
    return YouTubeDNN.load(path).set_params(num_threads=None)


def recommend(args: Namespace) -> None:
    """Write recommendations for users."""
    _checks.integer("k", args.k, 1)
    if args.user_column is not None and args.users_from is None:
        _checks.fail("--user-column", "--users-from, the file with this column", "none")
    suffix = "" if args.output is None else Path(args.output).suffix.lower()
    if args.output is not None:
        if suffix not in _WRITERS:
            expected = f"a file name that ends in {', '.join(_WRITERS)}"
            _checks.fail("--output", expected, repr(args.output))
        _check_output(args, suffix)
    model = _load(args.model)
    users = _users_of(args, model)
    parts = (
        model.recommend(users[i : i + _USERS], args.k, exclude_seen=not args.include_seen).columns()
        for i in range(0, len(users), _USERS)
    )
    if args.output is None:
        for part in parts:
            say(_delimited(part, "\t").split("\n")[:-1])
    else:
        _WRITERS[suffix](args.output, parts)
        log.info("items for %d users saved to %s", len(users), args.output)


def _users_of(args: Namespace, model: YouTubeDNN) -> NDArray[Any]:
    """Return the users that were asked for, each once; warn of unknown ones."""
    known = model.log_.user_keys
    if args.users is None and args.users_from is None:
        return known.take(np.arange(len(known)))
    if args.users is not None:
        name, keys = "--users", _typed("--users", args.users, known.kind)
    else:
        name = args.users_from
        keys = _read_users(name, args.user_column, model)
    if not len(keys):
        _checks.fail(name, "at least one user", "none")
    users = keys.take(np.arange(len(keys)))
    unknown = users[known.codes(users) < 0]
    if len(unknown):
        log.warning(
            "%d of %d users are not known, and get what a newcomer gets: %s", len(unknown),
            len(users), ", ".join(map(str, unknown[:5])) + ", ..." * (len(unknown) > 5),
        )
    return users


def _typed(name: str, texts: list[str], kind: str) -> Keys:
    """Convert texts to keys of the model's kind, by the rule that logs are read by."""
    if kind == "string":
        return Keys(texts)
    integers = plain_integers(texts)
    if integers is None:
        bad = next(text for text in texts if plain_integers([text]) is None)
        expected = "integers in [-2**63, 2**63), as the model's users are"
        _checks.fail(name, expected, repr(bad[:100]))
    return Keys(integers)


def _read_users(path: str, column: str | None, model: YouTubeDNN) -> Keys:
    """Return the users in a text file by lines, or in a column of a file as logs are."""
    kind = model.log_.user_keys.kind
    with Copies() as copies:
        here = Path(copies.local("--users-from", path))
        is_table = here.suffix.lower() == ".parquet" or plain_suffix(here) in _TABLES
        if is_table or column is not None:
            return _column_keys(str(here), column or model.user, kind)
        file = TextFiles([here], names=copies.names, strict=True)
        text = b"".join(piece for piece, _ in file.pieces()).decode()
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return _typed(path, list(filter(None, lines)), kind)


def _column_keys(path: str, column: str, kind: str) -> Keys:
    growing, is_text = GrowingKeys(), False
    for table in open_events(path, Columns(column, column, None)):
        for batch in table.batches():
            place = Place(f"{table.name}, column {column!r}", batch.row)
            growing.encode(batch.columns[column], place)
            is_text = batch.text
    keys = growing.keys()
    if is_text:  # the model decides whether they are numbers
        return _typed(path, keys.take(np.arange(len(keys))).tolist(), kind)
    if len(keys) and keys.kind != kind:
        expected = f"{kind} keys in the column {column!r}, as the model's users are"
        _checks.fail(path, expected, f"{keys.kind} ones")
    return keys


def _rows(part: dict[str, NDArray[Any]]) -> Iterator[tuple[Any, Any, int, str]]:
    """Return the rows of a table; scores have as few digits as identify a float32."""
    user, item, rank, score = part.values()
    scores = score.astype("U").tolist()
    return zip(user.tolist(), item.tolist(), rank.tolist(), scores, strict=True)


def _delimited(part: dict[str, NDArray[Any]], separator: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(_rows(part))
    return out.getvalue()


def _write_csv(path: str, parts: Parts) -> None:
    with whole_file(path) as file:
        file.write(b"user,item,rank,score\n")
        for part in parts:
            file.write(_delimited(part, ",").encode())


def _write_jsonl(path: str, parts: Parts) -> None:
    with whole_file(path) as file:
        for part in parts:
            for user, item, rank, score in _rows(part):
                entry = {"user": user, "item": item, "rank": rank, "score": float(score)}
                file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")


def _write_parquet(path: str, parts: Parts) -> None:
    arrow = import_optional("pyarrow", "writing .parquet files")
    parquet = import_optional("pyarrow.parquet", "writing .parquet files")
    types = {"O": arrow.string(), "i": arrow.int64(), "f": arrow.float32()}
    first = next(parts)
    # The types are given, because Arrow cannot tell that an empty column of objects is of strings.
    schema = arrow.schema({name: types[array.dtype.kind] for name, array in first.items()})
    with whole_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for part in chain([first], parts):
            writer.write_table(arrow.table(part, schema=schema))


_WRITERS: dict[str, Callable[[str, Parts], None]] = {
    ".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl,
}


def evaluate(args: Namespace) -> None:
    """Evaluate a model on a later log."""
    model = _load(args.model)
    figures = model.evaluate(args.logs, args.k, exclude_seen=not args.include_seen)
    if args.json:
        say([json.dumps(figures, indent=1)])
        return
    for name, figure in figures.items():
        say([f"{name}\t{figure:.4f}" if isinstance(figure, float) else f"{name}\t{figure}"])


def export(args: Namespace) -> None:
    """Write the vectors of items or of users."""
    _check_output(args, suffix_of(args.output, "--output"))
    model = _load(args.model)
    if args.what == "items":
        model.save_items(args.output)
    else:
        model.save_users(args.output)
    log.info("vectors of %s saved to %s", args.what, args.output)


_COMMANDS = {
    "train": train, "update": update, "recommend": recommend, "evaluate": evaluate,
    "export": export,
}


def run(args: Namespace) -> None:
    """Run the command that was parsed."""
    _COMMANDS[args.action](args)
