"""What the commands about items and users do."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_ss import _checks
from numba_ss._columns import Place
from numba_ss._console import require_writable, say, write_history
from numba_ss._event_sources import Columns, open_events
from numba_ss._files import whole_file
from numba_ss._text_files import TextFiles, extra
from numba_ss.id_vectors import suffix_of
from numba_ss.keys import GrowingKeys, Keys
from numba_ss.retrieval import YouTubeDNN

log = logging.getLogger("numba_ss")

_USERS = 2**14  # recommended for at a time, so that no more recommendations are held
_LIBRARIES = {".parquet": "pyarrow.parquet", ".safetensors": "safetensors.numpy"}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
# Recommendations, a column each: see `Recommendations.columns`.
Parts = Iterator[dict[str, NDArray[Any]]]


def _check_output(path: str, suffix: str) -> None:
    if suffix in _LIBRARIES:
        extra(_LIBRARIES[suffix], f"writing {suffix} files")
    require_writable("--output", path)


def train(args: Namespace) -> None:
    """Learn from logs, and save the model."""
    require_writable("--output", args.output, args.logs)
    if args.history is not None:
        require_writable("--history", args.history)
    model = YouTubeDNN(**{name: getattr(args, name) for name in YouTubeDNN().get_params()})
    model.fit(
        args.logs, progress=not args.quiet and "auto", checkpoint=args.checkpoint,
        checkpoint_minutes=args.checkpoint_minutes, resume=args.resume,
    )
    model.save(args.output)
    known = model.log_
    log.info("%d users and %d items saved to %s", known.num_users, known.num_items, args.output)
    if args.history:
        write_history(args.history, model.history_)


def _load(path: str) -> YouTubeDNN:
    """Load a model, for as many threads as there are here, not where it was trained."""
    return YouTubeDNN.load(path).set_params(num_threads=None)


def recommend(args: Namespace) -> None:
    """Write the items that users take next."""
    _checks.integer("k", args.k, 1)
    suffix = "" if args.output is None else Path(args.output).suffix.lower()
    if args.output is not None:
        if suffix not in _WRITERS:
            expected = f"a file name that ends in {', '.join(_WRITERS)}"
            _checks.fail("--output", expected, repr(args.output))
        _check_output(args.output, suffix)
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
    """Return the users that were asked for, each once; of unknown ones say that they are."""
    known = model.log_.user_keys
    if args.users is None and args.users_from is None:
        return known.take(np.arange(len(known)))
    if args.users is not None:
        name, keys = "--users", _typed("--users", args.users, known.kind)
    else:
        name = args.users_from
        keys = _read_users(name, args.user_column or model.user, known.kind)
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


def _typed(name: str, texts: Iterable[str], kind: str) -> Keys:
    """Return keys of the kind that the model has."""
    if kind == "string":
        return Keys(list(texts))
    numbers = []
    for text in texts:
        try:
            numbers.append(int(text))
        except ValueError:
            _checks.fail(name, "integers, as the model's users are", repr(text))
    return Keys(numbers)


def _read_users(path: str, column: str, kind: str) -> Keys:
    """Return the users of a Parquet, CSV or TSV column, or of a text with one a line."""
    if path.lower().endswith(".parquet"):
        return _parquet_keys(path, column, kind)
    file = TextFiles([Path(path)], strict=True)
    text = b"".join(piece for piece, _ in file.pieces()).decode()
    suffix = Path(re.sub(r"\.(gz|bz2|xz|zst)$", "", path.lower())).suffix
    if suffix in _SEPARATORS:
        return _typed(path, _cells(path, text, _SEPARATORS[suffix], column), kind)
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return _typed(path, filter(None, lines), kind)


def _cells(path: str, text: str, separator: str, column: str) -> Iterator[str]:
    """Yield a column as it stands: whether it holds numbers, the model knows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = next(reader, [])
    if names.count(column) != 1:
        _checks.fail(path, f"a column {column!r}", f"{', '.join(map(repr, names)) or 'none'}")
    place = names.index(column)
    for row in filter(None, reader):
        if len(row) != len(names):
            got = f"{len(row)} of them"
            _checks.fail(f"{path}, line {reader.line_num}", f"{len(names)} cells", got)
        yield row[place]


def _parquet_keys(path: str, column: str, kind: str) -> Keys:
    growing = GrowingKeys()
    for table in open_events(path, Columns(column, column, None)):
        for batch in table.batches():
            place = Place(f"{table.name}, column {column!r}", batch.row)
            growing.encode(batch.columns[column], place)
    keys = growing.keys()
    if len(keys) and keys.kind != kind:
        expected = f"{kind} keys in the column {column!r}, as the model's users are"
        _checks.fail(path, expected, f"{keys.kind} ones")
    return keys


def _rows(part: dict[str, NDArray[Any]]) -> Iterator[tuple[Any, Any, int, str]]:
    """Return the rows of a table; scores are as short as float32 allows."""
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
    arrow = extra("pyarrow", "writing .parquet files")
    parquet = extra("pyarrow.parquet", "writing .parquet files")
    types = {"O": arrow.string(), "i": arrow.int64(), "f": arrow.float32()}
    first = next(parts)
    # Arrow would not take objects for strings where there are none.
    schema = arrow.schema({name: types[array.dtype.kind] for name, array in first.items()})
    with whole_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for part in chain([first], parts):
            writer.write_table(arrow.table(part, schema=schema))


_WRITERS: dict[str, Callable[[str, Parts], None]] = {
    ".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl,
}


def evaluate(args: Namespace) -> None:
    """Judge a model by a later log."""
    model = _load(args.model)
    figures = model.evaluate(args.logs, args.k, exclude_seen=not args.include_seen)
    if args.json:
        say([json.dumps(figures, indent=1)])
        return
    for name, figure in figures.items():
        say([f"{name}\t{figure:.4f}" if isinstance(figure, float) else f"{name}\t{figure}"])


def export(args: Namespace) -> None:
    """Write the vectors of items or of users."""
    _check_output(args.output, suffix_of(args.output))
    model = _load(args.model)
    if args.what == "items":
        model.save_items(args.output)
    else:
        model.save_users(args.output)
    log.info("vectors of %s saved to %s", args.what, args.output)


_COMMANDS = {"train": train, "recommend": recommend, "evaluate": evaluate, "export": export}


def run(args: Namespace) -> None:
    """Do what the parsed arguments ask for."""
    _COMMANDS[args.action](args)
