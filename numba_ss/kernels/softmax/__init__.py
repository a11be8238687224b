"""Sampled and full softmax: classes drawn, scores, losses, gradients, rows updated.

Stands on `kernels.core`. A newcomer opens `phases`: the phases of a pass, one after the other;
`step` has them in one call. `arguments` is what a pass is given, `encodings` what numbers below
zero mean, and `buffers` declares the arrays below, which all phases share.

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

The arrays of a pass. Shapes are in the symbols of `buffers.FIELDS` (B examples, C own columns,
S sampled classes, K inputs of a block, ...); "number" is the type of the weights. The letters
say which phases write an array and which read it: P `prepare`, I `forward_inputs`,
E `forward_examples`, S `scale_examples`, B `backward_inputs`, C `grad_candidates`,
U `scatter_classes`. What only one phase has is its scratch, or a result. An input u is one of
the unique inputs, a member m an example in the order of inputs.

===================  =====  ======  ======  =====  ===========================================
array                shape  type    writes  reads  meaning
===================  =====  ======  ======  =====  ===========================================
sampled_rows         S D    number  P       IB     rows of the sampled classes
adjusted_biases      S      number  P       I      their biases - log Q; -inf is no column
unique_inputs        L D    number  I       ECU    the unique inputs
transposed_inputs    T V X  number  I       I      a block of them, transposed
block_scratch        N 3 K  number  IBC     IBC    of a block, see rows MAX, SUM ... in `buffers`
probabilities        P K    number  IB      BC     [block, s, u] exp(logit - strip_max), or the
                                                   sigmoid; after B the logit's gradient
strip_max            M K    number  I       B      running maximum when the strip was compared
running_max          B      number  I       EB     [u] largest logit of a sampled class
running_sum          B      number  I       E      [u] sum of exp(logit - running_max); logistic:
                                                   sum of losses
weighted_rows        Q D    number  I       B      [u] sum of probability times sampled row
hit_probabilities    E      number  I       B      [entry] probability of a hit, moved from the
                                                   sampled class, for the first of equal ones
own_factors          C B    number  IES     ESB    [c, m] I: logit of a hit; E: probability of an
                                                   own column; S: what its row is multiplied by
example_scratch      T 2 K  number  ES      ES     of a piece of the examples: rows TOP, LOSS
own_logits           T C K  number  ES      ES     of a piece: logits; in S their gradients
targets              T C K  number  ES      ES     of a piece: 1/T on the labels
column_weights       T C K  number  E       E      of a piece: 0 for a hit, counted already, else 1
own_counts           T C K  number  E       E      of a piece: expected counts
example_sums         B      number  ES      S      [m] sum of exp over all columns
target_shares        B      number  E       S      [m] 1/T, T the number of labels
row_scales           B      number  ES      SB     [m] E: exp(running_max - maximum with the own
                                                   columns); S: makes probabilities gradients
grad_own_logits      B C    number  S       U      gradients of the own logits, and biases
losses               B      number  E              losses of the examples
grad_inputs          B D    number  B              gradients of the examples' inputs
grad_sampled_rows    S D    number  C       BCU    gradients of the sampled rows; its length tells S
grad_sampled_biases  S      number  C       CU     gradients of the sampled biases
hash_table           J      int32   P       P      of the sampled classes, then of input keys
hits                 B H    int32   P       P      which sampled class a label is, see `encodings`
member_hits          H B    int32   P       EB     the same, [t, m]
hit_list             3 E    int32   P       IB     accidental hits: rows MEMBER, COLUMN, HIT
input_keys           B      int64   P       P      a number for the bits of an input
inverse              B      int64   P       EBU    unique input of an example, as in np.unique
member_indptr        B+1    int64   P       IESB   [u] where the members of an input begin
members              B      int64   P       IESB   [m] which example
hit_indptr           B+1    int64   P       IB     [u] where its entries in hit_list begin
sizes                2      int64   P              NUM_UNIQUE inputs, NUM_LEFT_OUT classes
place_scratch        T 2 K  int64   E       E      of a piece: rows INPUT, USED
choices              C B    int64   E       SB     [c, m] own row of a column, see `encodings`
board                F W    int64                  tasks of the fused `step`; see `core.team`
===================  =====  ======  ======  =====  ===========================================
"""
