"""The bundled sample of text: ten million bytes of Wikipedia."""

from __future__ import annotations

from pathlib import Path


def sample_path() -> Path:
    """Return the path of the bundled text, an ``.xz`` file.

    It holds 297 articles of English Wikipedia, one on each line, in lower-case letters and
    spaces: 1,667,221 words; 17,348 different words occur at least five times. The text is under
    CC BY-SA 3.0; ``data/LICENSE-DATA.md`` names its origin and the changes,
    ``data/wikipedia-articles.tsv`` lists the articles.

    Returns
    -------
    Path
        A file in the package's folder.

    Examples
    --------
    >>> import lzma
    >>> with lzma.open(sample_path(), "rt", encoding="ascii") as lines:
    ...     " ".join(next(lines).split()[:7])
    'alabama alabama is a state located in'
    """
    return Path(__file__).parents[1] / "data" / "wikipedia.txt.xz"
