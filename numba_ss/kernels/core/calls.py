"""Calls by address, for parallel kernels that do not contain what they call.

Numba compiles the body of a parallel loop three times, one inside the other, and each time
everything that it calls. A kernel that is called by its address is compiled once.
"""

import numba
from numba import config

from numba_ss.kernels.core.llvm import intrinsic


def _python_call(address, arguments):
    address(*arguments)


@intrinsic(_python_call)
def call(emit, address, arguments):
    """Call the kernel at an address. Nothing checks that the types of the arguments are right."""
    emit.call_kernel(address, emit.kinds[1].types, arguments)


def _python_uncounted(arguments):
    return arguments


@intrinsic(_python_uncounted, result=lambda arguments: arguments)
def uncounted(emit, arguments):
    """Return a tuple of arguments whose arrays have no count of references.

    A function counts a reference to each array that it is passed, also those in named tuples. Each
    time, that is an atomic instruction, twenty cycles long. The arguments of a kernel stay with
    its caller until it returns, so it need not count.
    """
    return emit.uncounted(emit.kinds[0], arguments)


def address_of(kernel, *arguments):
    """Return the address of the code of a kernel that takes such arguments and returns nothing."""
    if config.DISABLE_JIT:
        return kernel
    kinds = tuple(map(numba.typeof, arguments))
    kernel.inner.compile(kinds)
    compiled = kernel.inner.overloads[kinds]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
