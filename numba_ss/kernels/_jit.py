"""Compile options of every kernel, in one place.

There are four decorators:

- `kernel`, for functions that run on one thread;
- `ordered_kernel`, for those that need their operations in the order in which they are written;
- `exact_kernel`, for those whose every bit is part of a contract;
- `parallel_kernel`, for those that start with one ``prange`` over chunks and are called from
  Python only.

No other module of the library names a Numba option. Each decorator states its fast-math flags,
because a function without flags would take those of whichever caller is compiled first.
"""

import functools
import inspect

import numba
import numpy as np
from numba import config, extending, types
from numba.core.registry import CPUDispatcher

from numba_ss.kernels import _compiling
from numba_ss.kernels._cache import KernelCache
from numba_ss.kernels.core import threads

_compiling.in_log.start()  # the log says why a first call takes long

# All of LLVM's fast-math flags but "nnan" and "ninf": reductions may be
# reordered, and so vectorised, while NaN and infinity keep their meaning.
FASTMATH = frozenset({"afn", "arcp", "contract", "nsz", "reassoc"})

_OPTIONS = {
    "error_model": "numpy",  # a division by zero gives inf, without a branch
    "nogil": True,
    "no_cfunc_wrapper": True,  # nothing calls kernels from C
}


def _compile(function, form="", **options):
    compiled = numba.njit(**_OPTIONS, **options)(function)
    if not config.DISABLE_JIT:
        # Numba's own cache does not notice if a function in another file changes
        # (numba/numba#1833), and it fails if it cannot write or a file is damaged.
        compiled._cache = KernelCache(function, form)
        compiled.compile = _compiling.signals_wait()(compiled.compile)
    return compiled


def _compile_both(function, **options):
    """Compile a kernel that Python and other kernels may call.

    For Python, code is added that takes the numbers out of Python's objects. Those of other kernels
    that only kernels call do without: it takes a fifth of the time of compiling, and must not be
    called by Python. So `inner` is what other kernels contain.
    """
    compiled = _compile(function, **options)
    if not config.DISABLE_JIT:
        compiled.inner = _compile(function, "inner", no_cpython_wrapper=True, **options)
    return compiled


@extending.typeof_impl.register(CPUDispatcher)
def _type_of(compiled, context):
    """Tell Numba what a kernel contains if it calls a compiled function."""
    return types.Dispatcher(getattr(compiled, "inner", compiled))


def kernel(function):
    """Compile `function` for one thread; other kernels may call it."""
    return _compile_both(function, fastmath=set(FASTMATH))


def ordered_kernel(function):
    """Compile `function` for one thread; only a product and a sum may be fused."""
    return _compile_both(function, fastmath={"contract"})


def exact_kernel(function):
    """Compile `function` for one thread, with each operation rounded as it is written."""
    return _compile_both(function, fastmath=False)


class ParallelKernel:
    """One function in two compiled forms: for several threads, and for a single chunk.

    To wake a thread can cost more than a small call: microseconds on a free machine,
    milliseconds on a busy one. Each form is compiled when it is first needed.
    """

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self._chunks = list(inspect.signature(function).parameters).index("num_chunks")
        self.parallel = _compile(function, parallel=True, fastmath=False)
        self.serial = _compile(function, "serial", fastmath=False)

    def __call__(self, *arguments):
        """Run over ``num_chunks`` chunks."""
        return threads.run(self.serial, self.parallel, arguments[self._chunks], arguments)


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
