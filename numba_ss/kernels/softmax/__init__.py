"""Sampled and full softmax: classes drawn, scores, losses, gradients, rows updated.

Stands on `kernels.core`. A newcomer opens `phases`, which runs the phases of a pass one by one;
`step` runs them all in one call. `arguments` holds what a pass is given, `encodings` says what
negative numbers mean, and `buffers` declares the arrays of the table below, which all phases share.

Why is it fast?

- Words and items follow Zipf's law, so a batch of 512 inputs has only about 170 different ones.
  The products of an input with the sampled classes are most of the work. They are computed once for
  all examples that share the input (`inputs`). Inputs are equal if their row ids are; without ids,
  if the bits of their rows are.
- A label that is among the sampled classes (an accidental hit) takes its logit from there. This
  gives the same result as removing the hit and adding the label, and it lets examples of one input
  stay together.
- Inputs are taken in blocks of at most 64, sampled classes in strips of 128. The logits of a block
  and a strip are a matrix product whose sums stay in vector registers (`core.tile`; loops that
  Numba compiles by itself reach about a third of its speed). The log-Q correction, exp with a
  running maximum, and the product with the sampled rows follow while both are in the cache.
- Each row is prefetched, gathered once and updated once.

If all inputs differ, finding equal ones is wasted: this costs nothing visible with 1,024 sampled
classes, and up to half more time with 20.

Why is a step one compiled call? A step of a tenth of a millisecond has six phases, and each phase
needs all results of the one before. Six parallel loops with Python in between took 0.09 ms; one
parallel loop through all phases takes 0.07 ms (512 examples, 64 sampled classes, 128 dimensions).
Its threads take tasks from a shared board, first their own, then those that are left, and wait for
each other between phases (`core.team`). Where the upstream gradient
comes from somebody else's code, a step is two calls.

The arrays of a pass. Shapes are in the symbols of `buffers.FIELDS` (B examples, C own columns,
S sampled classes, K inputs of a block, ...); "number" is the type of the weights. The letters
say which phases write an array and which read it: P `prepare`, I `forward_inputs`,
E `forward_examples`, S `scale_examples`, B `backward_inputs`, C `grad_sampled`,
U `scatter_classes`. An array that only one phase uses is its scratch, or a result for the caller.

The unique inputs have numbers u. The examples that have input u are its members. All members,
those of input 0 first, have numbers m.

===================  =====  ======  ======  =====  ===========================================
array                shape  type    writes  reads  meaning
===================  =====  ======  ======  =====  ===========================================
sampled_rows         S D    number  P       IB     rows of the sampled classes
adjusted_biases      S      number  P       I      their biases - log Q; -inf is no column
unique_inputs        L D    number  I       ECU    the unique inputs
transposed_inputs    T V X  number  I       I      a block of them, transposed
block_scratch        N 3 K  number  IBC     IBC    of a block: rows MAX, SUM ... of `buffers`
probabilities        P K    number  IB      BC     [block, s, u] exp(logit - strip_max), or the
                                                   sigmoid; after B the gradient of the logit
strip_max            M K    number  I       B      [block, strip, u] running maximum after a strip
running_max          B      number  I       EB     [u] largest logit of a sampled class
running_sum          B      number  I       E      [u] sum of exp(logit - running_max); logistic:
                                                   sum of losses
weighted_rows        Q D    number  I       B      [u] sum of probability times sampled row
hit_probabilities    E      number  I       B      [entry] probability of a hit, moved here from
                                                   `probabilities`; 0 where the same hit of the
                                                   same input has an earlier entry
own_factors          C B    number  IES     ESB    [c, m] I: logit of a hit; E: probability of an
                                                   own column; S: factor of the column's row
example_scratch      T 2 K  number  ES      ES     of a piece of the members: rows TOP, LOSS
own_logits           T C K  number  ES      ES     of a piece: logits; in S their gradients
targets              T C K  number  ES      ES     of a piece: 1/T on the labels
column_weights       T C K  number  E       E      of a piece: 0 for a hit, as `running_sum` has
                                                   it already; else 1
own_counts           T C K  number  E       E      of a piece: expected counts
example_sums         B      number  ES      S      [m] sum of exp over all columns
target_shares        B      number  E       S      [m] 1/T, T the number of labels
row_scales           B      number  ES      SB     [m] E: exp(running_max - maximum with the own
                                                   columns); S: factor that turns probabilities
                                                   of sampled classes into gradients
grad_own_logits      B C    number  S       U      gradients of the own logits, and biases
losses               B      number  E              losses of the examples
grad_inputs          B D    number  B              gradients of the examples' inputs
grad_sampled_rows    S D    number  C       BCU    gradients of the sampled rows; B reads only S,
                                                   its length
grad_sampled_biases  S      number  C       CU     gradients of the sampled biases
hash_table           J      int32   P       P      of the sampled classes, then of input keys
hits                 B H    int32   P       P      which sampled class a label is, see `encodings`
member_hits          H B    int32   P       EB     the same, [t, m] for label t
hit_list             3 E    int32   P       IB     accidental hits: rows MEMBER, COLUMN, HIT
input_keys           B      int64   P       P      equal for equal inputs
inverse              B      int64   P       EBU    unique input of an example, as in np.unique
member_indptr        B+1    int64   P       IESB   [u] number of its first member
members              B      int64   P       IESB   [m] which example it is
hit_indptr           B+1    int64   P       IB     [u] its first entry in hit_list
sizes                2      int64   P              NUM_UNIQUE inputs, NUM_LEFT_OUT classes
place_scratch        T 2 K  int64   E       E      of a piece: rows INPUT, USED
choices              C B    int64   E       SB     [c, m] own row of a column, see `encodings`
board                F W    int64                  tasks of the fused `step`; see `core.team`
===================  =====  ======  ======  =====  ===========================================
"""
