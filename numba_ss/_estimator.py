"""Parameters the way scikit-learn keeps them, without depending on it."""

from __future__ import annotations

import inspect
import reprlib
from typing import Any, Self

from numba_ss import _checks


class Estimator:
    """Parameters are the keywords of ``__init__``, kept as attributes and not touched."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Of no effect: no parameter is an estimator.
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; all or, if one is unknown, none.

        Parameters
        ----------
        params
            New values.
        """
        for name in params:
            if name not in self._names():
                _checks.fail(name, "one of the parameters " + ", ".join(self._names()), "no such")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={reprlib.repr(value)}"
            for name, value in self.get_params().items()
            # Not by ==, which arrays and True == 1 have notions of their own about.
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
