"""Files of vectors that other programs wrote and that are not read here, and what to do then."""

from __future__ import annotations

import os
import zipfile

from numba_ss import _checks
from numba_ss._types import PathLike
from numba_ss.io.file_kinds import HEAD, LFS, PICKLE, POINTER, Foreign

_FOREIGN = {
    b"\xba\x16\x4f\x2f": Foreign(
        "a model of fastText, whose words are made of parts of words",
        "load its .vec file, or WordVectors.from_keyed_vectors("
        "gensim.models.fasttext.load_facebook_vectors(path))",
    ),
    LFS: POINTER,
    b"<!DOCTYPE": Foreign("a web page", "fetch the file that it speaks of"),
}
_GENSIM = Foreign(
    "a Python pickle, such as gensim's .model and .kv, which is never opened here",
    "WordVectors.from_keyed_vectors(gensim.models.KeyedVectors.load(path)), and of a model "
    "Word2Vec.load(path).wv, brings its vectors here",
)


def refuse_foreign(path: PathLike) -> None:
    """Refuse files of other programs; the error says how to convert them."""
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        head = file.read(HEAD)
    found = next((kind for mark, kind in _FOREIGN.items() if head.startswith(mark)), None)
    if head[:1] == PICKLE and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        found = _GENSIM
    if found is not None:
        _checks.fail(str(path), "a file of vectors", f"{found.what}: {found.way}")
    if head.startswith(b"PK\3\4"):
        _refuse_archive(path)


def _refuse_archive(path: PathLike) -> None:
    """Refuse zip archives that hold no vectors; the reader reports damaged ones later."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile:
        return
    if "content.json" in names:
        got = (
            "a whole model: numba_ss.Word2Vec.load(path).vectors_ are its vectors; or a "
            "checkpoint, from which fit(..., checkpoint=its folder, resume=True) goes on"
        )
    elif not any(name.endswith(".npy") for name in names):
        got = "a zip archive: unpack it, and name the file in it"
    else:
        return
    _checks.fail(str(path), "a file of vectors", got)
