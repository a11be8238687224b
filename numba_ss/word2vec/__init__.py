"""Word vectors from text: corpora, vocabularies, the trainer, and what vectors are good for.

This room uses `distributed`, `training`, `engine`, `io` and `kernels`, and knows nothing of
`retrieval`. A newcomer opens `estimator` (what a user calls), then `start` (where a run begins),
`run` (passes over the text), `noise` (random draws, from counts alone) and `model` (the tables and
a training step). The result is a `WordVectors` of `vectors`, with its base classes in `neighbours`
and `lookup`. `cluster` and `blocks` are for training on many machines.

Which of the defaults matter? More epochs and more negative samples give better vectors, and take
more time. Twenty-four negative samples for 32 windows, and five epochs, are the compromise
(``benchmarks/README.md`` has the figures). By default, scores have no log-Q correction: they are
then relative to the frequencies of the words, and need no biases.
"""
