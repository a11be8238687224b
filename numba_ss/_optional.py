"""Libraries that are not required to be installed: imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# What pip calls a library that is imported by another name.
_PACKAGES = {"faiss": "faiss-cpu", "sklearn": "scikit-learn"}


def import_optional(module: str, purpose: str) -> Any:
    """Import a module of an extra; without it the error says what needs it, and what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        raise ImportError(
            f'{purpose} needs {name}: pip install "numba-ss[all]", or {package} alone'
        ) from error
