"""What every kernel may use: rows, tiles, exact scalar functions, random numbers, threads.

Stands on `kernels._jit` alone. A newcomer opens `rows` (operations on one row of a table), then
`tile` (matrix products of blocks) and `team` (a task queue for threads). `llvm` is for whoever
wants to change how the inner loops are compiled.
"""
