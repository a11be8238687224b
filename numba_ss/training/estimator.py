"""The base of estimators: scikit-learn's protocol without scikit-learn, and the file of a model."""

from __future__ import annotations

import inspect
import reprlib
from typing import Any, Self

import numpy as np

from numba_ss import _checks
from numba_ss._guards import of_a_moment
from numba_ss._types import Arrays, PathLike
from numba_ss.io.checkpoint import read_state, reading, write_state
from numba_ss.io.copies import Copies
from numba_ss.io.files import whole_file

_FORMAT = 2  # the format of model files; those of version 0.3 have no number
_EXACT = 2**53  # a larger float64 may stand for several integers


class NotFittedError(_checks.ArgumentError, AttributeError):
    """A model is used before it has been fitted.

    Like scikit-learn's error of this name, it is a ValueError and an AttributeError.

    Examples
    --------
    >>> from numba_ss import Word2Vec
    >>> try:
    ...     Word2Vec().save("model")
    ... except NotFittedError:
    ...     print("nothing is learned yet")
    nothing is learned yet
    """


class Estimator:
    """An estimator: its parameters are the keywords of ``__init__``, kept unchanged as attributes.

    `_takes` says what `fit` takes, in the names of scikit-learn's ``InputTags``.
    """

    _takes: tuple[str, ...] = ()

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Has no effect, because no parameter is an estimator.
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; if one is unknown, none is set.

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
            # Not by ==: it is no bool for arrays, and True == 1.
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @of_a_moment
    def save(self, path: PathLike) -> None:
        """Write the whole model to one file; `partial_fit` can continue from it.

        Parameters
        ----------
        path : str or path
            The file; it is written whole or not at all.

        Raises
        ------
        ArgumentError
            If nothing has been learned yet.
        """
        self._require_fit()
        arrays, state = self._pack()
        params = {name: _plain(value) for name, value in self._parameters_to_save().items()}
        with whole_file(path) as file:
            write_state(file, arrays, {"format": _FORMAT, "params": params, **state})

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Return a model that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file; with a scheme, such as ``s3://``, fsspec makes a temporary copy.

        Raises
        ------
        ArgumentError
            If the file is damaged or of another kind.
        """
        expected = f"a model that {cls.__name__}.save wrote"
        with Copies() as copies, open(copies.local("path", path), "rb") as file:
            with reading(str(path), expected):
                arrays, state = read_state(file)
        if "run" in state:
            got = "a checkpoint, from which fit(..., checkpoint=its folder, resume=True) goes on"
            _checks.fail(str(path), expected, got)
        if "params" in state and "format" not in state:
            got = "one of 0.3: train again, or stay on 0.3"
            _checks.fail(str(path), "a model of numba_ss 0.4 or later", got)
        with reading(str(path), expected):
            _checks.integer("format", state["format"], _FORMAT, _FORMAT)
            model = cls._of_parameters(state["params"])
            model._unpack(str(path), arrays, state)
        return model

    @classmethod
    def _of_parameters(cls, params: dict[str, Any]) -> Self:
        """Return an estimator with parameters from JSON, which has no tuples."""
        defaults = inspect.signature(cls.__init__).parameters
        tuples = {
            name: tuple(value) for name, value in params.items()
            if isinstance(defaults[name].default, tuple)
        }
        return cls(**params | tuples)

    def _parameters_to_save(self) -> dict[str, Any]:
        return self.get_params()

    def _pack(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what was learned, as arrays and as JSON values."""
        raise NotImplementedError

    def _unpack(self, name: str, arrays: Arrays, state: dict[str, Any]) -> None:
        """Restore what `_pack` returned from a file of that name, which may be damaged."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn calls this, so scikit-learn is installed.
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        transforms = hasattr(type(self), "transform")
        return Tags(
            estimator_type=None, target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]) if transforms else None,
            input_tags=InputTags(**{"two_d_array": False} | dict.fromkeys(self._takes, True)),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

    def _require_fit(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("model: expected one that has learned, by fit, got none yet")


def integer_events(name: str, source: Any) -> Any:
    """Return an array of events, (n, 2) or (n, 3), as integers; return other objects unchanged.

    Steps of a pipeline may turn integers into floats. So floats are accepted if they are whole
    numbers. Messages contain the words that scikit-learn's checks look for.
    """
    if not isinstance(source, np.ndarray):
        return source
    _checks.shaped(name, source, (None, None), "n, 2 or 3")
    rows, columns = source.shape
    if columns not in (2, 3):
        few = " while a minimum of 2 is required." if columns < 2 else ""
        _checks.fail(
            name, "shape (n, 2), users and items, or (n, 3), with timestamps",
            f"{rows} sample(s) of {columns} feature(s) (shape=({rows}, {columns})){few}",
        )
    if source.dtype.kind != "f":
        return source
    # Also true of NaN and infinity.
    bad = np.argwhere(~((np.abs(source) < _EXACT) & (np.trunc(source) == source)))
    if len(bad):
        row, column = bad[0]
        _checks.fail(
            name, "integers, or floats that are whole numbers below 2**53 and not NaN",
            f"{source[row, column]} at {name}[{row}, {column}]",
        )
    return source.astype(np.int64)


def _plain(value: Any) -> Any:
    """Return a parameter without NumPy's types, which JSON cannot store."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value
