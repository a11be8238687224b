"""Types of arrays and paths, for annotations."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 or float64
Float32s = NDArray[np.float32]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
PathLike = str | os.PathLike[str]
Show = bool | Literal["auto"]  # of progress
