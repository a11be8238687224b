"""Sampled and full softmax: candidates drawn, scores, losses, gradients, rows updated.

Stands on `kernels.core`. A newcomer opens `step`: one step of the layer, phase by phase.

Why is it fast?

- Words and items are as frequent as Zipf's law says: a batch of 512 inputs has some 170 different
  ones. The products of an input with the candidates, most of the work, are computed once for all
  examples that share the input (`inputs`). The ids of the rows tell which inputs are equal; where
  there are no ids, the bits of the rows do.
- A label that is also a candidate is worked on as that candidate. This gives the same result as
  removing the accidental hit and adding the label, and it lets examples of one input stay together.
- Inputs are taken in blocks of at most 64, candidates in strips of 128. The logits of a block and
  a strip are a block product whose sums stay in vector registers (`core.tile` emits the LLVM code;
  loops that Numba compiles by itself reach about a third of its speed). The log-Q correction, exp
  with a running maximum, and the product with the candidates' rows follow while both are in the
  cache.
- Each row is prefetched, gathered once and updated once.

Where all inputs differ, only the bookkeeping is left: no visible cost with 1,024 candidates, up to
half more time with 20.

Why is a step one compiled call? A step of a tenth of a millisecond has six phases, and each needs
all of the one before. Six parallel loops with Python in between took 0.09 ms; one parallel loop
through all phases takes 0.07 (512 examples, 64 candidates, 128 dimensions). Its threads take tasks
from a shared board, first their own, then what is left, and wait for each other between phases
(`core.team`).
"""
