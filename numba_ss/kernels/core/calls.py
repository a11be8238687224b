"""Calls by address, for parallel kernels that do not contain what they call.

Numba compiles the body of a parallel loop three times, one inside the other, each time with all
that it calls. A kernel that is called by its address is compiled once.
"""

import numba
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

# The function that emits code runs while Numba compiles, where coverage is not measured.


@intrinsic
def _compiled_call(context, address, arguments):  # pragma: no cover
    signature = types.void(types.int64, arguments)

    def codegen(context, builder, signature, values):
        convention = context.call_conv
        function = convention.get_function_type(types.none, arguments.types)
        callee = builder.inttoptr(values[0], function.as_pointer())
        unpacked = cgutils.unpack_tuple(builder, values[1])
        convention.call_function(builder, callee, types.none, arguments.types, unpacked)
        return context.get_dummy_value()

    return signature, codegen


def _compiled_address(kernel, *arguments):
    kinds = tuple(map(numba.typeof, arguments))
    kernel.compile(kinds)
    compiled = kernel.overloads[kinds]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _python_call(address, arguments):
    address(*arguments)


def _python_address(kernel, *arguments):
    return kernel


# address_of(kernel, *arguments): where the code of a kernel is that takes such arguments and
# returns nothing; call(address, arguments): call it. The types have to be the same: nobody checks.
if config.DISABLE_JIT:
    address_of, call = _python_address, _python_call
else:
    address_of, call = _compiled_address, _compiled_call
