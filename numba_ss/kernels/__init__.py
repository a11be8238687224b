"""Everything that is compiled; the Python layer above checks arguments, allocates and calls.

`core` serves the other three rooms: `softmax` (sampled and full softmax), `words` (text and word
vectors) and `retrieval` (items for users). These three do not know each other. `_jit` holds every
option of the compiler, `_cache` keeps the compiled code on disk, and `_compiling` tells those who
wait.

Kernels take at most a dozen arguments. Arguments that belong together form a NamedTuple, which
costs nothing inside compiled code. A NamedTuple that a parallel kernel takes must not hold
another one: Numba cannot hand it to threads.

The rules of this folder:

1. A kernel takes C-contiguous arrays whose ids were checked, and returns
   nothing or a scalar.
2. It allocates nothing and raises nothing.
3. Arithmetic has the type of the arrays, float32 or float64. So constants are
   written ``float32(...)``, and integers are not mixed in.
4. A ``parallel_kernel`` starts with one ``prange`` over ``num_chunks`` chunks, is
   called from Python only, and calls ``kernel`` functions.
5. Two chunks never write the same element, and no result depends on
   ``num_chunks``.
6. Each kernel has a namesake in ``numba_ss.reference``, which says what it means.
"""
