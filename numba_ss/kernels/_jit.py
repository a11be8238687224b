"""Compile options of every kernel, in one place.

``kernel`` is for functions that run on one thread, ``ordered_kernel`` for those that
need their operations in the order in which they are written, ``exact_kernel`` for
those whose every bit is part of a contract, ``parallel_kernel`` for functions that
are called from Python only and start with one ``prange`` over chunks. No other module
of the library names a Numba option.

Each says its fast-math flags aloud: a function without any takes those of whichever
caller is compiled first.
"""

import functools
import hashlib
import inspect
import os
import tempfile
from pathlib import Path

import numba
import numpy as np
from numba import config, extending, types

# All of LLVM's fast-math flags but "nnan" and "ninf": reductions may be
# reordered, and so vectorised, while NaN and infinity keep their meaning.
FASTMATH = frozenset({"afn", "arcp", "contract", "nsz", "reassoc"})

_OPTIONS = {
    "cache": True,
    "error_model": "numpy",  # a division by zero gives inf and costs no branch
    "nogil": True,
    "no_cfunc_wrapper": True,  # for callers in C, of whom there are none
}


def _writable_root():
    """Return the first folder that takes a cache: the user's choice comes first."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    choices = [Path(__file__).parent / "__pycache__", Path(home) / "numba_ss"]
    if config.CACHE_DIR:
        choices.insert(0, Path(config.CACHE_DIR))
    for root in choices:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(root, os.W_OK):
            return root
    return Path(tempfile.gettempdir()) / f"numba_ss-{os.getpid()}"


def _cache_dir():
    """Return a directory that is new whenever any kernel source is.

    Numba's cache does not notice a change in a function that lives in another
    file (numba/numba#1833), so the key covers the whole folder.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return str(_writable_root() / f"numba_ss-{digest.hexdigest()[:12]}")


_CACHE_DIR = _cache_dir()


def _compile(function, folder="", **options):
    saved = config.CACHE_DIR
    # Read when the function's cache is set up.
    config.CACHE_DIR = os.path.join(_CACHE_DIR, folder)
    try:
        return numba.njit(**_OPTIONS, **options)(function)
    finally:
        config.CACHE_DIR = saved


def kernel(function):
    """Compile `function` for one thread; other kernels may call it."""
    return _compile(function, fastmath=set(FASTMATH))


def ordered_kernel(function):
    """Compile `function` for one thread; a product and a sum may fuse, no more."""
    return _compile(function, fastmath={"contract"})


def exact_kernel(function):
    """Compile `function` for one thread, each operation rounded as it is written."""
    return _compile(function, fastmath=False)


class ParallelKernel:
    """One function, compiled for many threads and, where it gets one chunk, for one.

    A thread that has to be woken can cost more than a small call does: microseconds on
    a free machine, milliseconds on a busy one. Each form is compiled when first needed.
    """

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self._chunks = list(inspect.signature(function).parameters).index("num_chunks")
        self.parallel = _compile(function, parallel=True, fastmath=False)
        # In a folder of its own, for Numba's cache does not look at options.
        self.serial = _compile(function, "serial", fastmath=False)

    def __call__(self, *arguments):
        """Run over ``num_chunks`` chunks."""
        form = self.serial if arguments[self._chunks] == 1 else self.parallel
        return form(*arguments)


def compiled_before(kernel) -> bool:
    """Tell whether a parallel kernel was compiled on this machine, now or earlier."""
    name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}-*.nbi"
    return any(Path(_CACHE_DIR).glob(f"**/{name}"))


def parallel_kernel(function):
    """Compile `function`, which starts with ``prange``; only Python calls it."""
    return ParallelKernel(function)


def by_precision(single, double):
    """Return a function of one number: `single` for float32, `double` for float64."""

    def choose(x):
        return single(x) if isinstance(x, np.float32) else double(x)

    @extending.overload(choose, inline="never")
    def _overload(x):
        if x == types.float32:
            return lambda x: single(x)
        return lambda x: double(x)

    return choose
