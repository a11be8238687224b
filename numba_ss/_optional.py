"""Imports of libraries that are optional: each is imported where it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Names for pip, if they differ from the names of the modules.
_PACKAGES = {"faiss": "faiss-cpu", "sklearn": "scikit-learn"}
_OWN_EXTRAS = ("jax", "keras", "ray", "torch")  # so large that "all" leaves them out


def import_optional(module: str, purpose: str) -> Any:
    """Import an optional module; if it is missing, the error says what to install.

    If it is there, but cannot be imported, its own error says why.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        extra = name if name in _OWN_EXTRAS else "all"
        raise ModuleNotFoundError(
            f'{purpose} needs {name}: pip install "numba-ss[{extra}]", or {package} alone',
            name=name,
        ) from error
